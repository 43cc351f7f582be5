"""Where a recogniser comes from: a checkpoint, an experiment on zero-shot CLIP, a CLIP's name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jsonargparse import ArgumentParser
from lightning.pytorch.cli import instantiate_module

from data_modules import ClipDataModule
from data_modules.base import plain
from video_adapt.checkpoints import read_checkpoint
from video_adapt.errors import ConfigurationError, WeightsError
from video_adapt.methods import FROSTER
from video_adapt.tasks import Prompts, load_method
from video_adapt.video import EvalTransform, SegmentSampler
from video_adapt.vocabulary import Vocabulary

from .experiment_file import read_experiment

_EXPERIMENTS = (".yaml", ".yml")
_FRAMES, _SHORT_SIDE = 8, 256
"""Of a video that a CLIP by name looks at: as data modules have it where nothing is said."""


class RecogniserModel(NamedTuple):
    """A method and what it takes to use it.

    Attributes:
        method: In eval mode, on its device.
        recipe: How a video is prepared for it, as a data module records it.
        class_names: The classes of its training, or those that were typed.
        arguments: Constructor arguments as plain values, which rebuild it from a checkpoint.
    """

    method: Any
    recipe: Mapping[str, Any]
    class_names: list[str]
    arguments: dict[str, Any]


def open_model(
    source: str | Path,
    device: torch.device,
    vocabulary: Vocabulary | None = None,
    **components: Any,
) -> RecogniserModel:
    """Open whatever recognises.

    Args:
        source: A checkpoint; the experiment file of a zero-shot CLIP; or ``MODEL:WEIGHTS``, a name
            and a hub tag or file of open_clip, such as ``ViT-B-16-quickgelu:openai``.
        device: Where the method goes.
        vocabulary: Typed classes, which a model without training needs.
        **components: Constructor arguments that a checkpoint cannot hold.

    Raises:
        WeightsError: If the checkpoint or the weights cannot be used.
        ConfigurationError: If an experiment is not that of a zero-shot CLIP, or there is no class.
    """
    name, colon, weights = str(source).partition(":")
    if Path(source).suffix.lower() in _EXPERIMENTS:
        return _from_experiment(source, device, vocabulary)
    if colon and Path(source).suffix != ".ckpt" and not Path(source).exists():
        return _from_name(name, weights, device, vocabulary)
    return _from_checkpoint(source, device, components)


def _from_checkpoint(
    path: str | Path, device: torch.device, components: Mapping[str, Any]
) -> RecogniserModel:
    checkpoint = read_checkpoint(path)
    record = checkpoint.get("video_adapt", {})
    if "frames_per_chunk" in (record.get("input") or {}):
        raise WeightsError(f"{path}: finds segments in long videos; use `video-adapt detect`")
    if "max_words" in (record.get("input") or {}):
        raise WeightsError(f"{path}: compares videos with sentences; use `video-adapt search`")
    method: Any = load_method(path, map_location=device, **components)
    if (recipe := record.get("input")) is None:
        raise WeightsError(
            f"{path}: does not say how its videos were prepared; train it with a data module of "
            "this project"
        )
    given = checkpoint.get("hyper_parameters", {})
    arguments = {name: value for name, value in given.items() if not name.startswith("_")}
    return RecogniserModel(method.to(device), recipe, list(record["class_names"]), arguments)


def _from_experiment(
    path: str | Path, device: torch.device, vocabulary: Vocabulary | None
) -> RecogniserModel:
    config = read_experiment(path)
    kind = str(config.model.class_path).rpartition(".")[2]
    if kind != "ZeroShot":
        raise ConfigurationError(
            f"{path}: its {kind} is not trained; give a checkpoint of it, or an experiment on "
            "ZeroShot"
        )
    parser = ArgumentParser()
    parser.add_subclass_arguments(ClipDataModule, "data")
    data = parser.instantiate(parser.parse_object({"data": config.data.as_dict()})).data
    recipe = {
        "sampler": plain(data.sampler),
        "transform": plain(data.eval_transform),
        "short_side": data.loader.short_side,
        "eval_views": data.eval_views,
    }
    given = config.model.init_args
    classes = vocabulary or Vocabulary("train", tuple(data.class_names))
    prompts = Prompts(templates=(given.template,), described=False)
    return _zero_shot(given.backbone.as_dict(), recipe, classes, prompts, device)


def _from_name(
    name: str, weights: str, device: torch.device, vocabulary: Vocabulary | None
) -> RecogniserModel:
    if vocabulary is None:
        raise ConfigurationError(f"{name}:{weights} knows no classes; type them with --classes")
    backbone = {
        "class_path": "video_adapt.backbones.CLIP",
        "init_args": {"name": name, "weights": weights},
    }
    recipe = {
        "sampler": plain(SegmentSampler(num_frames=_FRAMES)),
        "transform": plain(EvalTransform()),
        "short_side": _SHORT_SIDE,
        "eval_views": 1,
    }
    model = _zero_shot(backbone, recipe, vocabulary, Prompts(described=False), device)
    # Frames are never scaled up twice.
    side = max(_SHORT_SIDE, model.method.backbone.pixels.image_size)
    return model._replace(recipe={**recipe, "short_side": side})


def _zero_shot(
    backbone: dict[str, Any],
    recipe: Mapping[str, Any],
    vocabulary: Vocabulary,
    prompts: Prompts,
    device: torch.device,
) -> RecogniserModel:
    """FROSTER's residual networks before any training: the identity, so the CLIP as it is."""
    names = list(vocabulary.classes)
    arguments = {
        "backbone": backbone,
        "class_names": names,
        "regime": "residual_only",
        "prompts": {"templates": list(prompts.templates), "described": prompts.described},
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # what is fitted to examples then starts alike every time
        method: Any = instantiate_module(FROSTER, arguments)
    method.vocabulary = vocabulary
    return RecogniserModel(method.eval().to(device), recipe, names, arguments)
