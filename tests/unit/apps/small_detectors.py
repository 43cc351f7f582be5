"""A detector on the shipped tiny CLIP, its checkpoints, and the data module it would train with."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.cli import instantiate_module

from data_modules import LoaderOptions, THUMOSDataModule
from video_adapt.apps.convert import checkpoint_of
from video_adapt.methods import AdaTAD
from video_adapt.video import SlidingWindows

CLASSES = ["jump", "run"]
SAMPLER = SlidingWindows(16, 2, snippet_stride=4)
_HEAD = {
    "class_path": "video_adapt.detection.ActionFormer",
    "init_args": {
        "pyramid": {"width": 16, "embed_layers": 1, "stem_layers": 1, "levels": 2},
        "towers": {"width": 16, "layers": 1},
        "assignment": {"ranges": [[0, 4], [4, 10000]]},
        "heads": 2,
    },
}
ARGUMENTS: dict[str, Any] = {
    "backbone": {"class_path": "video_adapt.backbones.TinyCLIP"},
    "detector": _HEAD,
    "class_names": CLASSES,
    "tuning": "frozen",
}


def build_detector() -> AdaTAD:
    """One whose scores are spread over [0, 1]; what it finds makes no sense."""
    torch.manual_seed(0)
    method: AdaTAD = instantiate_module(AdaTAD, ARGUMENTS)
    with torch.no_grad():
        for parameter in method.head.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return method.eval()


def data_of(root: Path, **changes: Any) -> THUMOSDataModule:
    """The data module of the long videos; all but one are for training."""
    settings: dict[str, Any] = {
        "val": "annotations.json",
        "subsets": {"val": "training"},
        "sampler": SAMPLER,
        "frames_per_chunk": 1,
        "loader": LoaderOptions(num_workers=0, eval_batch_size=1, short_side=None),
    }
    return THUMOSDataModule(root, **settings | changes)


def write_checkpoint(path: Path, method: AdaTAD, data: THUMOSDataModule | None) -> Path:
    """What training would leave."""
    checkpoint = checkpoint_of(method, ARGUMENTS)
    if data is not None:
        checkpoint["video_adapt"]["input"] = data.evaluation_recipe()
    torch.save(checkpoint, path)
    return path
