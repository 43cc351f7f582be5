"""Retrievers on the shipped tiny CLIP, which knows colours, and their checkpoints."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.cli import instantiate_module

from data_modules import LoaderOptions, MSRVTTDataModule
from video_adapt.apps.convert import checkpoint_of
from video_adapt.methods import TeachCLIP
from video_adapt.video import SecondSampler

MAX_WORDS = 12
SAMPLER = SecondSampler(num_frames=4, per_second=2)


def arguments(**student: Any) -> dict[str, Any]:
    """What an experiment file would say."""
    return {
        "backbone": {"class_path": "video_adapt.backbones.TinyCLIP"},
        "student": {"layers": 1, "heads": 2, **student},
    }


def build_retriever(**student: Any) -> TeachCLIP:
    """An untrained student; attentive pooling finds some frames more important than others."""
    torch.manual_seed(0)
    method: TeachCLIP = instantiate_module(TeachCLIP, arguments(**student))
    if student["kind"] == "afa":
        with torch.no_grad():
            method.student.pooling.score.weight.normal_(0, 2)
    return method.eval()


def data_module(root: Path, **changes: Any) -> MSRVTTDataModule:
    """Prepares videos for these retrievers: two frames a second, at most four."""
    loader = LoaderOptions(num_workers=0, short_side=None)
    settings: dict[str, Any] = {"sampler": SAMPLER, "max_words": MAX_WORDS, "loader": loader}
    return MSRVTTDataModule(root, **settings | changes)


def write_retriever(path: Path, *, seed: int = 0, **student: Any) -> Path:
    """The checkpoint that training would leave; another seed, other weights."""
    method = build_retriever(**student)
    if seed:
        with torch.no_grad():
            method.backbone.visual.proj.add_(0.01 * seed)
    checkpoint = checkpoint_of(method, arguments(**student))
    checkpoint["video_adapt"]["input"] = data_module(path.parent).evaluation_recipe()
    torch.save(checkpoint, path)
    return path
