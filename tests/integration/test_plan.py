"""Predicted memory against a real step, for all four jobs and their regimes; no data is there."""

import pytest
import torch
import yaml

from video_adapt.apps.plan_experiment import Experiment
from video_adapt.reports.plan_batches import random_batch
from video_adapt.reports.plan_measure import measure
from video_adapt.reports.plan_memory import predict

RATES = {"weight_decay": 0.01, "betas": [0.9, 0.999], "eps": 1e-8}
SCHEDULE = {
    "class_path": "WarmupCosine",
    "init_args": {"max_epochs": 2, "warmup_epochs": 1},
}
TINY = {"class_path": "TinyCLIP"}


def clips(frames):
    return {
        "root": "unset",
        "train": "train.txt",
        "sampler": {"class_path": "SegmentSampler", "init_args": {"num_frames": frames}},
        "loader": {"batch_size": 4},
    }


JOBS = {
    "recognition": (
        "TunedClassifier",
        {
            "backbone": TINY,
            "tuning": "frozen",
            "readout": "embedding",
            "optimizer": {**RATES, "lr": 1e-3},
        },
        "KineticsDataModule",
        clips(4),
    ),
    "detection": (
        "AdaTAD",
        {
            "backbone": TINY,
            "tuning": "adapter",
            "detector": {
                "class_path": "ActionFormer",
                "init_args": {
                    "pyramid": {"width": 32, "embed_layers": 1, "stem_layers": 1, "levels": 2},
                    "towers": {"width": 32, "layers": 1},
                    "assignment": {"ranges": [[0, 4], [4, 10000]]},
                    "heads": 2,
                },
            },
            "optimizer": {"lr": 1e-3, "adapter_lr": 1e-3, "schedule": SCHEDULE},
        },
        "THUMOSDataModule",
        {
            "root": "unset",
            "train": "annotations.json",
            "frames_per_chunk": 1,
            "sampler": {
                "class_path": "SlidingWindows",
                "init_args": {"positions": 16, "frames_per_position": 1, "snippet_stride": 1},
            },
            "loader": {"batch_size": 2},
        },
    ),
    "retrieval": (
        "TeachCLIP",
        {
            "backbone": TINY,
            "tuning": "full",
            "micro_batch": 2,
            "student": {"kind": "afa", "layers": 1, "heads": 2},
            "optimizer": {**RATES, "lr": 1e-3, "tower_lr": 1e-3, "schedule": SCHEDULE},
        },
        "MSRVTTDataModule",
        {
            "root": "unset",
            "train": "train.csv",
            "captions": "captions.json",
            "max_words": 12,
            "sampler": {"class_path": "SecondSampler", "init_args": {"num_frames": 4}},
            "loader": {"batch_size": 4},
        },
    ),
    "open_vocabulary": (
        "FROSTER",
        {
            "backbone": TINY,
            "regime": "full",
            "optimizer": {**RATES, "lr": 1e-3, "new_lr": 1e-3, "schedule": SCHEDULE},
        },
        "KineticsDataModule",
        clips(4),
    ),
}


@pytest.fixture
def written(tmp_path):
    """Write the experiment file of a job, whose data are nowhere."""

    def write(job):
        method, arguments, module, data = JOBS[job]
        content = {
            "model": {"class_path": method, "init_args": arguments},
            "data": {"class_path": module, "init_args": data},
            "trainer": {"max_epochs": 2, "precision": "32-true"},
        }
        path = tmp_path / "experiment.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


@pytest.mark.parametrize(
    ("job", "names"),
    [
        ("recognition", {"frozen", "full"}),
        ("detection", {"adapter"}),
        ("retrieval", {"full"}),
        ("open_vocabulary", {"full", "residual_only"}),
    ],
)
def test_the_predicted_peak_is_that_of_a_real_step(job, names, written):
    experiment = Experiment(written(job), classes=5)
    planned = [regime for regime in experiment.regimes() if regime.name in names]
    assert {regime.name for regime in planned} == names
    for regime in planned:
        size = experiment.batch_size
        method = experiment.build(regime, content=False)
        batch = random_batch(
            method, experiment.data(), size, lambda shape: torch.empty(shape, device="meta")
        )
        needs = predict(method, batch, experiment.precision, cached=regime.cached)
        found = measure(experiment, regime, batch_size=size, device="cpu", steps=1)
        assert needs.peak == pytest.approx(found.allocated, rel=0.15), regime
        assert needs.trained > 0
