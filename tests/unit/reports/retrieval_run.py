"""What a run of retrieval leaves, written by hand: two queries among three videos."""

import csv
import json
from pathlib import Path

from video_adapt.callbacks.evaluation import Clip
from video_adapt.callbacks.retrieval_examples import Query, write_examples

FOUND = {
    "R@1": 50.0,
    "R@5": 100.0,
    "R@10": 100.0,
    "SumR": 250.0,
    "median_rank": 1.5,
    "mean_rank": 1.5,
    "intervals": {"R@1": [25.0, 75.0]},
}
QUERIES = [
    Query("a dog sleeps", "one", 1.0, ("one", "two")),
    Query("a cat runs", "two", 2.0, ("three", "two")),
]
COST = {"numbers_per_video": 64, "numbers_per_caption": 64, "multiply_adds_per_pair": 64}


def make_retrieval_run(
    folder: Path, clips: dict[str, Clip] | None = None, *, seed: int = 0, **results: object
) -> Path:
    """A run that validated twice and was better the first time.

    Args:
        folder: Where to write it.
        clips: Where some videos lie.
        seed: Its seed.
        results: In place of parts of ``metrics.json``.
    """
    (folder / "val").mkdir(parents=True)
    figures = {"captions": 2, "videos": 3, "t2v": FOUND, "v2t": FOUND, "search": COST}
    (folder / "val/metrics.json").write_text(json.dumps(figures | results))
    (folder / "val/ranks.csv").write_text("caption_id,caption,video,rank,best_video\n")
    write_examples(folder / "val/examples.json", QUERIES, clips or {})
    rows = [
        {"step": 0, "cost/trained_parameters": 1234, "cost/multiply_adds": 5e8},
        {"step": 2, "train/loss": 1.0, "val/t2v_R@1": 60.0, "val/t2v_SumR": 260.0},
        {"step": 4, "train/loss": 0.5, "val/t2v_R@1": 50.0, "val/t2v_SumR": 250.0},
    ]
    with (folder / "metrics.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, sorted({key for row in rows for key in row}))
        table.writeheader()
        table.writerows(rows)
    config = {
        "model": {"class_path": "video_adapt.methods.TeachCLIP"},
        "data": {"class_path": "data_modules.MSRVTTDataModule"},
    }
    record = {"config": config, "machine": {"device": "a small computer"}, "seed": seed}
    (folder / "run.json").write_text(json.dumps(record))
    return folder
