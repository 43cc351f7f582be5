from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.multiprocessing import spawn

from video_adapt.batches import RetrievalPredictions
from video_adapt.errors import AnnotationError, ConfigurationError
from video_adapt.metrics import (
    DualSoftmax,
    FeatureScores,
    MatrixScores,
    RetrievalRecall,
    SimilarityScores,
    bootstrap_intervals,
    count_wrong,
    rank_queries,
    retrieval_recall,
)

POLICIES = ("pessimistic", "mean", "optimistic", "index")


def coarse_scores(captions=23, videos=9, seed=0):
    """Captions of seven of nine videos, shuffled, with many ties."""
    rng = torch.Generator().manual_seed(seed)
    owner = torch.randint(videos - 2, (captions,), generator=rng)
    return torch.randint(5, (captions, videos), generator=rng).float(), owner


def place(right, wrong, ties):
    """Place of ``(score, index)`` among others, by the book."""
    above = sum(score > right[0] for score, _ in wrong)
    equal = [index for score, index in wrong if score == right[0]]
    among = {
        "pessimistic": len(equal),
        "mean": len(equal) / 2,
        "optimistic": 0,
        "index": sum(index < right[1] for index in equal),
    }
    return above + among[ties] + 1


def slow_t2v(sim, owner, ties):
    for row, video in zip(sim.tolist(), owner.tolist(), strict=True):
        wrong = [(score, v) for v, score in enumerate(row) if v != video]
        yield place((row[video], video), wrong, ties)


def slow_v2t(sim, owner, ties):
    """Rank of the first right caption, and average precision."""
    for video in sorted(set(owner.tolist())):
        column = list(enumerate(sim[:, video].tolist()))
        right = [(score, c) for c, score in column if owner[c] == video]
        wrong = [(score, c) for c, score in column if owner[c] != video]
        right.sort(key=lambda pair: (-pair[0], pair[1]))
        places = [place(pair, wrong, ties) + i for i, pair in enumerate(right)]
        yield places[0], np.mean([(i + 1) / p for i, p in enumerate(places)])


def slow_groups(sim, owner, ties):
    videos = sorted(set(owner.tolist()))
    for video in videos:
        best = [(sim[owner == other, video].max().item(), other) for other in videos]
        right = best.pop(videos.index(video))
        yield place(right, best, ties)


@pytest.mark.parametrize("ties", POLICIES)
@pytest.mark.parametrize("rows", [1, 4, 100])
def test_places_are_those_of_a_slow_second_version(ties, rows, monkeypatch):
    monkeypatch.setattr(MatrixScores, "block_rows", rows)
    sim, owner = coarse_scores()
    counts = count_wrong(MatrixScores(sim), owner)
    t2v, v2t, groups = (rank_queries(part, ties) for part in counts)
    assert t2v.rank.tolist() == list(slow_t2v(sim, owner, ties))
    assert t2v.precision == pytest.approx(1 / t2v.rank)
    assert t2v.video.tolist() == owner.tolist()
    expected = list(slow_v2t(sim, owner, ties))
    assert v2t.rank.tolist() == [rank for rank, _ in expected]
    assert v2t.precision == pytest.approx([precision for _, precision in expected])
    assert v2t.query.tolist() == v2t.video.tolist() == sorted(set(owner.tolist()))
    assert groups.rank.tolist() == list(slow_groups(sim, owner, ties))


def test_a_group_of_one_is_its_caption():
    sim, _ = coarse_scores(captions=9)
    owner = torch.randperm(9, generator=torch.Generator().manual_seed(3))
    counts = count_wrong(MatrixScores(sim), owner)
    optimistic, groups = rank_queries(counts.v2t, "optimistic"), counts.v2t_groups
    assert optimistic.rank.tolist() == rank_queries(groups, "optimistic").rank.tolist()
    assert optimistic.rank.tolist() == list(slow_groups(sim, owner, "optimistic"))


def test_every_tied_place_counts_and_what_is_not_finite_has_none():
    sim = torch.tensor([[2.0, 2.0, 3.0], [1.0, torch.nan, 0.0], [1.0, 5.0, torch.inf]])
    ranking = rank_queries(count_wrong(MatrixScores(sim), torch.arange(3)).t2v, "every")
    assert ranking.query.tolist() == [0, 0]
    assert ranking.rank.tolist() == [2, 3]


def test_scores_that_are_no_numbers_come_last_and_the_callers_are_left_alone():
    sim = torch.tensor([[torch.nan, 0.5, -9.0], [torch.nan, 0.0, 1.0], [0.0, 0.0, 0.0]])
    before = sim.clone()
    t2v, _, _ = count_wrong(MatrixScores(sim), torch.arange(3))
    assert rank_queries(t2v, "optimistic").rank.tolist() == [3, 2, 1]
    torch.testing.assert_close(sim, before, equal_nan=True, rtol=0, atol=0)


@pytest.mark.parametrize(("ties", "top1"), [("pessimistic", 0.0), ("optimistic", 100.0)])
def test_a_collapsed_model_is_seen(ties, top1):
    """Not by the last bit of a sum: every size of block gives the same."""
    torch.manual_seed(0)
    vector = nn.functional.normalize(torch.randn(1, 67), dim=-1)
    scores = FeatureScores(vector.repeat(33, 1), vector.repeat(33, 1))
    figures = retrieval_recall(scores, torch.arange(33), ties=ties)
    for direction in figures:
        assert direction.recall[1] == top1
    assert retrieval_recall(scores, torch.arange(33), ties="mean").t2v.median_rank == 17


def test_features_score_as_in_full_precision():
    torch.manual_seed(0)
    text, video = torch.randn(5, 8), torch.randn(3, 8)
    scores, rows = FeatureScores(text, video), torch.tensor([4, 0, 2])
    exact = (text.double() @ video.double().T).float()
    assert torch.equal(scores.block(rows), exact[rows])
    assert torch.equal(scores.pairs(rows, torch.tensor([0, 2, 1])), exact[rows, [0, 2, 1]])


def test_features_without_a_dot_product_are_refused():
    with pytest.raises(ConfigurationError, match=r"\[2, 4\] and videos \[3, 4, 4\] have no dot"):
        FeatureScores(torch.zeros(2, 4), torch.zeros(3, 4, 4))


@pytest.mark.parametrize(("over", "dim"), [("captions", 0), ("videos", 1)])
def test_dual_softmax_reweights_in_blocks(over, dim, monkeypatch):
    monkeypatch.setattr(MatrixScores, "block_rows", 3)
    torch.manual_seed(0)
    sim = torch.randn(10, 4)
    scores = DualSoftmax(MatrixScores(sim), over, scale=20.0)
    expected = 20 * sim * (20 * sim).softmax(dim=dim)
    torch.testing.assert_close(torch.cat(list(scores.blocks())), expected)


def test_official_figures_take_the_lower_median_of_captions_only():
    sim = torch.tensor([[1.0, 0, 0, 0], [1, 0.5, 0, 0], [0, 1, 0.5, 1], [1, 1, 1, 0]])
    figures = retrieval_recall(MatrixScores(sim), torch.arange(4), ties="official")
    assert sorted(figures.t2v.ranking.rank) == [1, 2, 3, 4]
    assert figures.t2v.median_rank == 2
    assert figures.v2t is None
    assert figures.v2t_groups.ranking.rank.tolist() == [1, 2, 3, 3, 2, 2, 3, 4]
    assert figures.v2t_groups.median_rank == 2.5


def test_figures_by_hand():
    sim = torch.zeros(4, 12)
    for caption, rank in enumerate((1, 3, 6, 12)):
        sim[caption, caption] = 1
        wrong = [video for video in range(12) if video != caption]
        sim[caption, wrong[: rank - 1]] = 2
    figures = retrieval_recall(MatrixScores(sim), torch.arange(4), at=(3, 12)).t2v
    assert figures.recall == {1: 25, 3: 50, 5: 50, 10: 75, 12: 100}
    assert figures.sum_r == 150
    assert (figures.median_rank, figures.mean_rank) == (4.5, 5.5)
    assert figures.mean_ap == pytest.approx(100 * (1 + 1 / 3 + 1 / 6 + 1 / 12) / 4)


def test_intervals_draw_whole_videos():
    """Two videos, one always found, one never: with both drawn or one twice."""
    owner = torch.tensor([0, 0, 0, 1])
    sim = torch.tensor([[1.0, 0], [1, 0], [1, 0], [1, 0]])
    intervals = bootstrap_intervals(retrieval_recall(MatrixScores(sim), owner).t2v)
    assert intervals["R@1"] == (0, 100)
    assert intervals["R@5"] == (100, 100)
    assert intervals["SumR"] == (200, 300)
    assert intervals["mean_rank"] == (1, 2)
    assert intervals["mAP"] == (50, 100)


def test_intervals_shrink_with_the_square_root_of_the_videos():
    widths = []
    for size in (50, 800):
        torch.manual_seed(0)
        sim = torch.randn(size, 2)
        sim[:, 1] = 0
        wrong = torch.cat([sim, torch.full((size, size), -1e9)], dim=1)
        wrong[torch.arange(size), torch.arange(size) + 2] = 0.5
        figures = retrieval_recall(MatrixScores(wrong), torch.arange(size) + 2).t2v
        interval = bootstrap_intervals(figures, samples=400)["R@1"]
        assert interval.low < figures.recall[1] < interval.high
        widths.append(interval.high - interval.low)
        share = figures.recall[1] / 100
        assert widths[-1] == pytest.approx(392 * (share * (1 - share) / size) ** 0.5, rel=0.2)
    assert bootstrap_intervals(figures, seed=1) == bootstrap_intervals(figures, seed=1)


def make_predictions(videos=7, captions=15, width=6, seed=0):
    rng = torch.Generator().manual_seed(seed)
    ids = 10 + torch.randperm(videos, generator=rng)
    owner = torch.randint(videos, (captions,), generator=rng)
    return RetrievalPredictions(
        ids,
        torch.randn(videos, width, generator=rng),
        100 + torch.randperm(captions, generator=rng),
        ids[owner],
        torch.randn(captions, width, generator=rng),
    )


def take(whole, videos, captions):
    return RetrievalPredictions(
        whole.video_id[videos],
        whole.video[videos],
        whole.caption_id[captions],
        whole.caption_video_id[captions],
        whole.text[captions],
    )


def measure(*parts, **settings):
    metric = RetrievalRecall(**settings)
    for part in parts:
        metric.update(part)
    return metric.compute()


def assert_same(one, other):
    for ours, theirs in zip(one, other, strict=True):
        if isinstance(ours, tuple):
            assert_same(ours, theirs)
        else:
            np.testing.assert_equal(ours, theirs)


def test_measures_features_by_id():
    whole = make_predictions()
    result = measure(whole)
    by_id, order = whole.video_id.argsort(), whole.caption_id.argsort()
    sim = (whole.text.double() @ whole.video.double().T)[order][:, by_id].float()
    owner = whole.caption_video_id[order] - 10
    expected = list(slow_t2v(sim, owner, "pessimistic"))
    assert result.plain.t2v.ranking.rank.tolist() == expected
    expected = [rank for rank, _ in slow_v2t(sim, owner, "pessimistic")]
    assert result.plain.v2t.ranking.rank.tolist() == expected
    assert result.caption_id.tolist() == list(range(100, 115))
    assert result.video_id.tolist() == list(range(10, 17))
    assert result.dual_softmax == (None, None, None)


def test_order_batches_and_copies_change_nothing():
    whole = make_predictions()
    videos, captions = torch.randperm(7), torch.randperm(15)
    parts = [
        take(whole, videos[:3], captions[:0]),
        take(whole, videos[2:], captions[:9]),
        take(whole, videos[:0], captions[5:]),
    ]
    assert_same(measure(*parts, dual_softmax=5.0), measure(whole, dual_softmax=5.0))


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
@pytest.mark.parametrize("shares", [(0, 3, 7), (0, 2, 5, 7), (0, 7, 7)])
def test_processes_gather_to_the_same_figures(shares):
    """The last split leaves a process without anything."""
    whole = make_predictions()
    metrics = []
    for start, stop in pairwise(shares):
        metrics.append(RetrievalRecall())
        if stop > start:
            captions = torch.arange(15)[start::7] if start else torch.arange(15)
            metrics[-1].update(take(whole, torch.arange(start, stop), captions))
    local = [[torch.cat(getattr(m, name)) for name in m._defaults] for m in metrics]
    for states in zip(*local, strict=True):  # what gathering needs: same type, same dimensions
        assert len({(state.dtype, state.ndim) for state in states}) == 1
    for metric in metrics:
        states = iter(zip(*local, strict=True))
        metric.dist_sync_fn = lambda _, group, states=states: list(next(states))
        metric.distributed_available_fn = lambda: True
        assert_same(metric.compute(), measure(whole))


def _one_process(rank, world, folder):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world
    )
    whole, metric = make_predictions(), RetrievalRecall()
    if rank < world - 1:  # the last process sees nothing
        part = torch.arange(7)[rank :: world - 1], torch.arange(15)[rank :: world - 1]
        metric.update(take(whole, *part))
    else:
        metric._update_count = 1
    assert_same(metric.compute(), torch.load(f"{folder}/alone.pt", weights_only=False))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_three_real_processes(tmp_path):
    torch.save(measure(make_predictions()), tmp_path / "alone.pt")
    spawn(_one_process, (3, str(tmp_path)), nprocs=3)


def test_a_method_of_several_vectors_brings_its_similarity():
    whole = make_predictions()
    frames = torch.stack([whole.video, -whole.video], dim=1)  # [V, 2, E]
    several = whole._replace(video=frames)
    result = measure(several, similarity=lambda text, video: text @ video[:, 0].T)
    assert_same(result.plain, measure(whole).plain)
    scores = SimilarityScores(whole.text, frames, lambda text, video: text @ video[:, 1].T)
    rows = torch.tensor([3, 1])
    torch.testing.assert_close(scores.block(rows), -(whole.text[rows] @ whole.video.T))


def test_reweighted_figures_are_labelled_and_separate():
    whole = make_predictions()
    result = measure(whole, dual_softmax=3.0, ties="mean")
    by_id, order = whole.video_id.argsort(), whole.caption_id.argsort()
    sim = 3 * (whole.text @ whole.video.T)[order][:, by_id]
    owner = whole.caption_video_id[order] - 10
    over_captions = list(slow_t2v(sim * sim.softmax(0), owner, "mean"))
    over_videos = [rank for rank, _ in slow_v2t(sim * sim.softmax(1), owner, "mean")]
    assert result.dual_softmax.t2v.ranking.rank.tolist() == over_captions
    assert result.dual_softmax.v2t.ranking.rank.tolist() == over_videos
    assert_same(result.plain, measure(whole, ties="mean").plain)


def test_captions_without_their_video_are_counted_and_left_out():
    whole = make_predictions()
    rest = torch.arange(1, 7)
    result = measure(take(whole, rest, torch.arange(15)))
    lost = int((whole.caption_video_id == whole.video_id[0]).sum())
    assert result.num_unmatched == lost > 0
    there = torch.isin(whole.caption_video_id, whole.video_id[rest])
    assert_same(result.plain, measure(take(whole, rest, there)).plain)


def test_a_caption_of_two_videos_is_refused():
    whole = make_predictions()
    moved = whole._replace(caption_video_id=whole.caption_video_id.roll(1))
    with pytest.raises(AnnotationError, match=r"caption 1\d\d belongs to several videos"):
        measure(whole, moved)


def test_without_captions_there_are_no_figures_and_reset_forgets():
    metric = RetrievalRecall()
    metric.update(make_predictions(seed=1))
    metric.reset()
    whole = make_predictions()
    metric.update(take(whole, torch.arange(7), torch.arange(0)))
    assert metric.compute().plain == (None, None, None)
