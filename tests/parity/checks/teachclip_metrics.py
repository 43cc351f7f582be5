"""Retrieval figures against those of the authors' metrics, and against plain sorted ranks."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.parity.cases import Case, check
from video_adapt.metrics import (
    DualSoftmax,
    MatrixScores,
    RetrievalFigures,
    count_wrong,
    rank_queries,
    retrieval_figures,
    retrieval_recall,
)

AT = (1, 5, 10, 50, 100)
# Names of one figure in the different repositories.
NAMES = {
    **{f"R{k}": lambda figures, k=k: figures.recall[k] for k in AT},
    **dict.fromkeys(("MR", "MedianR", "MedR", "MdR"), lambda figures: figures.median_rank),
    **dict.fromkeys(("MeanR", "MnR"), lambda figures: figures.mean_rank),
    "Std_Rank": lambda figures: figures.ranking.rank.std(),
    "SumR": lambda figures: figures.sum_r,
    "mAP": lambda figures: figures.mean_ap,
}


def compare(case: Case, figures: RetrievalFigures | None, expected: dict[str, Any], what: str):
    assert figures is not None
    for name, value in expected.items():
        if name == "cols":  # of every query together, in the order of queries
            assert (figures.ranking.rank - 1).astype(int).tolist() == value, what
        elif name != "mAP_all_captions_index_order":
            mine = torch.tensor(NAMES[name](figures), dtype=torch.float64)
            case.assert_close(mine, torch.tensor(value, dtype=torch.float64), f"{what} {name}")


def official(sim: Tensor, owner: Tensor):
    return retrieval_recall(MatrixScores(sim), owner, ties="official", at=AT)


@check("teachclip", "metrics_square")
def square(case: Case) -> None:
    sim = case.tensors["inputs/sim"]
    owner = torch.arange(len(sim))
    expected = case.meta["expected"]["official"]
    for name, scores in (
        ("t2v", MatrixScores(sim)),
        ("v2t", MatrixScores(sim.T)),
        ("v2t_argsort_input", MatrixScores(sim.T)),
        ("t2v_dsl", DualSoftmax(MatrixScores(sim))),
        ("v2t_dsl_of_transpose", DualSoftmax(MatrixScores(sim.T))),
    ):
        every = retrieval_recall(scores, owner, ties="every", at=AT)
        compare(case, every.t2v, expected[name], name)
    # The same figures from one matrix, read along its columns.
    both = retrieval_recall(MatrixScores(sim), owner, ties="every", at=AT)
    compare(case, both.v2t, expected["v2t"], "columns")
    compare(case, both.v2t_groups, expected["v2t"], "columns as groups")
    by_video = retrieval_recall(
        DualSoftmax(MatrixScores(sim), "videos"), owner, ties="every", at=AT
    )
    compare(case, by_video.v2t, expected["v2t_dsl_of_transpose"], "columns, reweighted")
    one_matrix = retrieval_recall(DualSoftmax(MatrixScores(sim)), owner, ties="every", at=AT)
    compare(case, one_matrix.t2v, expected["ts2net_dsl"]["t2v"], "ts2net_dsl t2v")
    compare(case, one_matrix.v2t, expected["ts2net_dsl"]["v2t"], "ts2net_dsl v2t")
    compare(case, official(sim, owner).t2v, expected["t2v_argsort"], "t2v_argsort")
    compare(case, official(sim, owner).v2t_groups, expected["v2t_argsort_input"], "v2t_argsort")
    for ties in case.meta["expected"]["reference"]["t2v"]:
        result = retrieval_recall(MatrixScores(sim), owner, ties=ties, at=AT)
        for direction in ("t2v", "v2t"):
            plain = case.meta["expected"]["reference"][direction][ties]
            compare(case, getattr(result, direction), plain, f"{direction} {ties}")


@check("teachclip", "metrics_all_equal")
def all_equal(case: Case) -> None:
    square(case)


@check("teachclip", "metrics_multicaption")
def multicaption(case: Case) -> None:
    sim, owner = case.tensors["inputs/sim"], case.tensors["inputs/owner"]
    expected = case.meta["expected"]["official"]
    compare(case, official(sim, owner).t2v, expected["t2v"], "t2v")
    compare(case, official(sim, owner).v2t_groups, expected["v2t"], "v2t")
    listed = retrieval_recall(MatrixScores(sim), owner, ties="index", at=AT)
    compare(case, listed.t2v, expected["xpool_t2v"], "xpool_t2v")
    compare(case, listed.v2t_groups, expected["xpool_v2t"], "xpool_v2t")

    reference = case.meta["expected"]["reference"]
    counts = count_wrong(MatrixScores(sim), owner)
    for direction, part in (
        ("t2v", counts.t2v),
        ("v2t_all_captions", counts.v2t),
        ("v2t_caption_groups", counts.v2t_groups),
    ):
        for ties, plain in reference[direction].items():
            figures = retrieval_figures(rank_queries(part, ties), AT)
            compare(case, figures, plain, f"{direction} {ties}")
            if (ap := plain.get("mAP_all_captions_index_order")) is not None:
                in_order = np.mean(rank_queries(part, "index").precision) * 100
                case.assert_close(
                    torch.tensor(in_order), torch.tensor(ap, dtype=torch.float64), "mAP"
                )
