"""A small rendered world, a backbone that fits it, and one finished run to look at."""

import json
import shutil
import sys
import warnings
from pathlib import Path

import lightning.pytorch  # noqa: F401  # its log keeps the stderr of now, not that of one test
import pytest
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


@pytest.fixture
def finished_copy(tmp_path, finished) -> Path:
    """A copy of the finished run to write into."""
    return Path(shutil.copytree(finished, tmp_path / "run"))
