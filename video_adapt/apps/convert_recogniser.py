"""Published files of recognisers, which tell all of their sizes but the CLIP they stand on."""

import argparse
import importlib
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch.cli import instantiate_module

from data_modules.classes import read_class_names
from video_adapt.checkpoints import read_state
from video_adapt.errors import ConfigurationError, WeightsError
from video_adapt.video import (
    DenseSampler,
    EvalTransform,
    FrameSampler,
    SegmentSampler,
    UniformSampler,
)

from .convert import Converted, refuse_options, require_option


class Source(NamedTuple):
    """Whose file it is.

    Attributes:
        package: Where the method lives.
        method: Name of its class.
        converter: Module with ``read_arguments(state)`` and ``load_published(method, state)``.
    """

    package: str
    method: str
    converter: str


SOURCES = {
    "dist": Source("video_adapt.methods", "DiST", "video_adapt.methods.dual_encoder.convert"),
    "evl": Source("video_adapt.baselines", "EVL", "video_adapt.baselines.evl.convert"),
    "st_adapter": Source(
        "video_adapt.baselines", "TunedClassifier", "video_adapt.baselines.st_adapter_convert"
    ),
}


def check(args: argparse.Namespace) -> None:
    """Refuse what does not go together.

    Raises:
        ConfigurationError: If an option is missing or one too many.
    """
    refuse_options(args, "config", "max-words")
    require_option(args, "backbone", "ViT-B-16-quickgelu")
    require_option(args, "classes", "classes.txt")
    if args.method == "dist":
        refuse_options(args, "stride")
    elif args.weights is None:
        raise ConfigurationError(
            f"files of {args.method} do not hold the CLIP that they were trained on: give its "
            "--weights, e.g. --weights openai"
        )


def convert(args: argparse.Namespace, unfinished: ExitStack) -> Converted:
    """Read a published file of a recogniser.

    Args:
        args: Of the command.
        unfinished: Where the removal of the towers' file goes.

    Raises:
        ConfigurationError: If the number of frames contradicts the file.
        WeightsError: If the file does not fit the method or the backbone.
    """
    source = SOURCES[args.method]
    converter = importlib.import_module(source.converter)
    state = read_state(args.file)
    try:
        arguments = converter.read_arguments(state)
    except WeightsError as error:
        raise WeightsError(f"{args.file}: {error}") from error
    arguments["class_names"] = list(read_class_names(args.classes).names)
    options = {}
    if args.method == "dist" and args.num_frames is not None:
        arguments["num_frames"], options = args.num_frames, {"resize_time": True}
    num_frames = _num_frames(arguments.get("num_frames"), args)
    weights = args.weights
    if weights is None:
        towers = write_towers(converter.split(state).towers, args.out)
        unfinished.callback(towers.unlink)
        weights = str(towers)
    arguments["backbone"] = {
        "class_path": "video_adapt.backbones.CLIP",
        "init_args": {"name": args.backbone, "weights": weights},
    }
    method_class = getattr(importlib.import_module(source.package), source.method)
    method = instantiate_module(method_class, arguments)
    report = converter.load_published(method, state, **options)
    recipe = _input_recipe(args.method, num_frames, args.stride)
    return Converted(method, arguments, recipe, report)


def _num_frames(told: int | None, args: argparse.Namespace) -> int:
    """Frames of a clip, from the file if it tells them."""
    given: int | None = args.num_frames
    if told is None:
        if given is None:
            raise ConfigurationError(f"{args.file} does not tell: give --num-frames, e.g. 8")
        return given
    if given not in (None, told):
        raise ConfigurationError(
            f"{args.file} was trained with {told} frames: leave out --num-frames {given}"
        )
    return told


def write_towers(towers: dict[str, Any], checkpoint: Path) -> Path:
    """Keep the towers of a published file where the backbone finds them."""
    from safetensors.torch import save_file

    if not towers:
        raise ConfigurationError("the file holds no towers: give the CLIP's --weights")
    # The name tells whoever loads it that these weights want QuickGELU.
    path = checkpoint.with_suffix(".quickgelu_towers.safetensors").resolve()
    save_file({name: tensor.contiguous() for name, tensor in towers.items()}, path)
    return path


def _input_recipe(method: str, num_frames: int, stride: int | None) -> dict[str, Any]:
    """How the authors prepare a video for testing, as a data module would record it."""
    views, crops = 3, 1
    sampler: FrameSampler = SegmentSampler(num_frames)
    if method != "dist" and stride:
        sampler = DenseSampler(num_frames, stride)
    elif method != "dist":
        sampler, views, crops = UniformSampler(num_frames), 1, 3
    return {
        "sampler": _plain(sampler),
        "transform": _plain(EvalTransform(crops=crops)),
        "short_side": None,
        "eval_views": views,
    }


def _plain(component: Any) -> dict[str, Any]:
    return {"class": type(component).__name__, **asdict(component)}
