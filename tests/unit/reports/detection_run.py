"""What a run of detection leaves, written by hand: three videos, of which the last is empty."""

import csv
import json
from pathlib import Path

from video_adapt.callbacks.detection_files import (
    Detection,
    TrueVideo,
    write_csv,
    write_ground_truth,
)
from video_adapt.reports.plots import bars, save_figure

FOUND = {
    "one": [Detection(1, 5, "jump", 0.9), Detection(20, 30, "run", 0.8)],
    "two": [Detection(10, 19, "jump", 0.6), Detection(50, 60, "run", 0.5)],
    "three": [Detection(30, 40, "run", 0.7), Detection(0, 5, "run", 0.1)],
}
TRUTH = {
    "one": [Detection(1, 5, "jump", 1.0), Detection(20, 32, "run", 1.0)],
    "two": [Detection(10, 19, "jump", 1.0)],
    "three": [Detection(0, 5, "run", 1.0), Detection(7, 9, "jump", 1.0)],
    "empty": [],
}
POINT = {"threshold": 0.5, "precision": 0.6, "recall": 0.6, "false_alarms_per_hour": 4.0}
FIGURES = {
    "mAP": 0.875,
    "mAP_by_tiou": {"0.30": 1.0, "0.50": 0.75},
    "events": 5,
    "AR@100": 0.5,
    "videos": 4,
    "hours": 0.5,
    "precision_wanted": 0.5,
    "tiou": 0.5,
    "all_classes": POINT,
}


def make_detection_run(
    folder: Path,
    paths: dict[str, str] | None = None,
    *,
    seed: int = 0,
    lr: float = 0.1,
    **figures: object,
) -> Path:
    """A trained and tested run.

    Args:
        folder: Where to write it.
        paths: Files of some videos by name.
        seed: Its seed, which is the name of its folder in ``run_dir``, too.
        lr: A setting.
        figures: In place of :data:`FIGURES`.
    """
    (folder / "test").mkdir(parents=True)
    truth = {name: TrueVideo(60.0, (paths or {}).get(name), TRUTH[name]) for name in TRUTH}
    write_csv(FOUND, folder / "test/detections.csv")
    write_ground_truth(truth, folder / "test/ground_truth.json")
    (folder / "test/metrics.json").write_text(json.dumps(FIGURES | figures))
    blank = bars(["one"], {"seconds": [1.0]})
    for name in ("precision_recall", "class_ap"):
        save_figure(blank, folder / f"test/{name}.png")
    rows = [
        {"step": 0, "cost/trained_parameters": 1234},
        {"step": 2, "train/loss": 1.0, "cost/step_ms": 20 + seed, "val/mAP": 0.1},
        {"step": 4, "train/loss": 0.5, "cost/step_ms": 20 + seed, "val/mAP": 0.2},
    ]
    with (folder / "metrics.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, sorted({key for row in rows for key in row}))
        table.writeheader()
        table.writerows(rows)
    config = {
        "seed_everything": seed,
        "run_dir": str(folder),
        "overwrite": bool(seed),
        "model": {"class_path": "video_adapt.methods.AdaTAD", "init_args": {"lr": lr}},
        "data": {"class_path": "data_modules.THUMOSDataModule"},
    }
    machine = {"device": "a small computer", "system": f"kernel {seed}"}
    record = {"config": config, "machine": machine, "seed": seed, "git": f"commit {seed}"}
    (folder / "run.json").write_text(json.dumps(record))
    return folder
