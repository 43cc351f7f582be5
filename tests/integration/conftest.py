"""Small rendered worlds, backbones that fit them, and finished runs to look at."""

import json
import shutil
import sys
import warnings
from pathlib import Path

import lightning.pytorch  # noqa: F401  # its log keeps the stderr of now, not that of one test
import pytest
import torch
import wandb
import yaml

from video_adapt.__main__ import main
from video_adapt.video.synthetic_files import WorldSpec, write_world

MOTIONS = ("moves left", "moves right", "grows")
TOWER = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
VIDEO_MODEL = {
    "model_type": "videomae",
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 48,
    "patch_size": 8,
    "image_size": 32,
    "num_frames": 4,
}
PYRAMID = {
    "pyramid": {"width": 16, "embed_layers": 1, "stem_layers": 1, "levels": 2, "max_length": 16},
    "towers": {"width": 16, "layers": 1},
    "assignment": {"ranges": [[0, 4], [4, 10000]]},
}
SCHEDULE = {"class_path": "WarmupCosine", "init_args": {"max_epochs": 2, "warmup_epochs": 1}}
GRAPHS = {"positions": 16, "max_duration": 8, "hidden": 32, "map_width": 16, "confidence_width": 16}
DETECTORS = {
    "ActionFormer": {**PYRAMID, "heads": 2},
    "TriDet": {**PYRAMID, "sgp": {"mlp_width": 16}, "bins": 4},
    "GTAD": GRAPHS,
}
LEFTOVERS = ("*.tmp", "*.partial", "*.part", ".*.ckpt*")


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """12 training and 7 validation clips of three motions, 48 pixels."""
    root = tmp_path_factory.mktemp("world") / "trimmed"
    spec = WorldSpec(layout="trimmed", train=12, val=7, size=48, fps=8, motions=MOTIONS)
    write_world(root, spec, workers=1)
    return root


@pytest.fixture(scope="session")
def tower(tmp_path_factory) -> Path:
    """open_clip's description of a very small CLIP; its weights are random but seeded."""
    path = tmp_path_factory.mktemp("tower") / "micro.json"
    path.write_text(json.dumps(TOWER))
    return path


@pytest.fixture(scope="session")
def experiment(world, tower):
    """Write an experiment file below a folder; keyword arguments replace parts of it."""

    def write(folder: Path, *, method: str = "DiST", epochs: int = 2, **data) -> Path:
        arguments = {
            "backbone": {"class_path": "CLIP", "init_args": {"name": str(tower), "weights": None}},
            "head": "linear",
            "optimizer": {"lr": 0.003, "weight_decay": 0.0001},
        }
        if method == "DiST":
            branch = {"integration_dim": 64, "temporal_dim": 8, "pooling_layers": 1}
            arguments |= {"num_frames": 8, "frame_ratio": 2, "branch": branch}
        content = {
            "run_dir": str(folder / "run"),
            "model": {"class_path": method, "init_args": arguments},
            "data": {
                "class_path": "KineticsDataModule",
                "init_args": {
                    "root": str(world),
                    "sampler": {"class_path": "SegmentSampler", "init_args": {"num_frames": 8}},
                    "loader": {"batch_size": 4, "num_workers": 0},
                    **data,
                },
            },
            "trainer": {
                "max_epochs": epochs,
                "accelerator": "cpu",
                "devices": 1,
                "enable_progress_bar": False,
                "log_every_n_steps": 1,
            },
        }
        path = folder / "experiment.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


@pytest.fixture(scope="session")
def long_world(tmp_path_factory) -> Path:
    """5 training and 3 validation videos of ten seconds in which three motions happen."""
    root = tmp_path_factory.mktemp("long_world") / "untrimmed"
    spec = WorldSpec(
        layout="untrimmed", train=5, val=3, seconds=10, size=32, fps=4, motions=MOTIONS
    )
    write_world(root, spec, workers=1)
    return root


@pytest.fixture(scope="session")
def video_model(tmp_path_factory) -> Path:
    """transformers' description of a very small VideoMAE that sees four frames at once."""
    path = tmp_path_factory.mktemp("video_model") / "config.json"
    path.write_text(json.dumps(VIDEO_MODEL))
    return path


@pytest.fixture(scope="session")
def detection(long_world, tower, video_model):
    """Write an experiment file of detection; keyword arguments replace parts of its data."""
    backbones = {
        "CLIP": {"name": str(tower), "weights": None},
        "VideoMAE": {"name": str(video_model), "weights": None, "image_size": 32},
    }

    def write(
        folder: Path, *, backbone: str = "CLIP", features: dict | None = None, **data
    ) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        arguments = {
            "detector": {"class_path": "ActionFormer", "init_args": DETECTORS["ActionFormer"]},
            "optimizer": {
                "lr": 0.003,
                "adapter_lr": 0.003,
                "backbone_lr": 0.0003,
                "schedule": SCHEDULE,
            },
        }
        if features is None:
            model = {"class_path": backbone, "init_args": backbones[backbone]}
            arguments |= {"backbone": model, "tuning": "adapter"}
        else:
            arguments |= {"width": features["width"]}
        content = {
            "run_dir": str(folder / "run"),
            "model": {
                "class_path": "AdaTAD" if features is None else "FeatureDetector",
                "init_args": arguments,
            },
            "data": {
                "class_path": "THUMOSDataModule",
                "init_args": {
                    "root": str(long_world),
                    "train": "annotations.json",
                    "val": "annotations.json",
                    "classes": "category_idx.txt",
                    "sampler": {
                        "class_path": "SlidingWindows",
                        "init_args": {"positions": 16, "snippet_stride": 1, "overlap": 0.25},
                    },
                    "frames_per_chunk": 4,
                    "train_transform": {"short_side": 32, "rand_augment": None, "jitter": None},
                    "loader": {"batch_size": 2, "num_workers": 0},
                    "features": features,
                    **data,
                },
            },
            "trainer": {
                "max_epochs": 1,
                "accelerator": "cpu",
                "devices": 1,
                "enable_progress_bar": False,
                "log_every_n_steps": 1,
                "callbacks": [{"class_path": "EMA", "init_args": {"decay": 0.5}}],
            },
        }
        path = folder / "experiment.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


def run(*words: str | Path) -> int:
    """Run a command of the program inside this process, as a shell would."""
    before = sys.argv[:]
    with warnings.catch_warnings():
        # Few workers and no GPU are the point here.
        warnings.filterwarnings("ignore", category=UserWarning, module="lightning")
        warnings.filterwarnings("ignore", message="The '.*_dataloader' does not have many workers")
        try:
            return main([str(word) for word in words])
        finally:
            sys.argv[:] = before


@pytest.fixture(scope="session")
def finished(tmp_path_factory, experiment) -> Path:
    """The folder of a DiST run of two epochs; tests must not write into it."""
    folder = tmp_path_factory.mktemp("finished")
    assert run("fit", "-c", experiment(folder)) == 0
    return folder / "run"


@pytest.fixture(scope="session")
def detected(tmp_path_factory, detection) -> Path:
    """The folder of an AdaTAD run of one epoch; tests must not write into it."""
    folder = tmp_path_factory.mktemp("detected")
    assert run("fit", "-c", detection(folder)) == 0
    return folder / "run"


@pytest.fixture
def detected_copy(tmp_path, detected) -> Path:
    """A copy of the finished run to write into."""
    return Path(shutil.copytree(detected, tmp_path / "run"))


@pytest.fixture
def finished_copy(tmp_path, finished) -> Path:
    """A copy of the finished run to write into."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def refused(capsys):
    """Run a command that must fail with one line; returns the line."""

    def check(*words):
        capsys.readouterr()
        try:
            code = run(*words)
        except SystemExit as stop:
            code = stop.code
        said = capsys.readouterr().err
        assert code in (1, 2), said
        assert "Traceback" not in said
        errors = [line for line in said.splitlines() if "error" in line.lower()]
        assert len(errors) == 1, said
        assert said.splitlines()[-1] == errors[0]
        assert errors[0].startswith("video-adapt: error: ")
        assert wandb.run is None
        return errors[0]

    return check


def left_over(folder):
    """Half-written files, and checkpoints that cannot be read."""
    found = [path for pattern in LEFTOVERS for path in folder.rglob(pattern)]
    for path in folder.rglob("*.ckpt"):
        try:
            torch.load(path, weights_only=True)
        except Exception:
            found.append(path)
    return found
