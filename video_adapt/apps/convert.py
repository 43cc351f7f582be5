"""``video-adapt convert``: published weights become a checkpoint of this project."""

import argparse
import importlib
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from video_adapt.errors import ConfigurationError, WeightsError

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule

    from video_adapt.video import FrameSampler

HELP = "turn a published file of DiST, EVL or ST-Adapter into a checkpoint"


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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", type=Path, help="the published file")
    parser.add_argument("--method", choices=SOURCES, required=True, help="whose file it is")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint to write")
    parser.add_argument(
        "--backbone", required=True, help="CLIP that it was trained on, e.g. ViT-B-16-quickgelu"
    )
    parser.add_argument(
        "--weights",
        help="hub tag or file of the CLIP's weights; left out for DiST, whose files hold them: "
        "they are then written beside the checkpoint",
    )
    parser.add_argument(
        "--classes", type=Path, required=True, help="class names: JSON, or one name per line"
    )
    parser.add_argument(
        "--num-frames",
        type=int,
        help="frames of a clip: wanted for ST-Adapter, whose files do not tell; for DiST another "
        "number than in training, to which what it learnt per frame is resized",
    )
    parser.add_argument(
        "--stride",
        type=int,
        help="look at every so many frames, as EVL and ST-Adapter do on Kinetics (16); without it "
        "frames are spread over the whole video",
    )


def run(args: argparse.Namespace) -> int:
    """Convert one file.

    Raises:
        ConfigurationError: If the output exists or an option does not go with the method.
        WeightsError: If the file does not fit the method or the backbone.
    """
    # Lightning takes seconds to import, which `video-adapt --help` must not wait for.
    from lightning.pytorch.cli import instantiate_module

    from data_modules.classes import read_class_names
    from video_adapt.checkpoints import read_state

    _check(args)
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
    with ExitStack() as unfinished:
        weights = args.weights
        if weights is None:
            towers = _write_towers(converter.split(state).towers, args.out)
            unfinished.callback(towers.unlink)
            weights = str(towers)
        arguments["backbone"] = {
            "class_path": "video_adapt.backbones.CLIP",
            "init_args": {"name": args.backbone, "weights": weights},
        }
        method_class = getattr(importlib.import_module(source.package), source.method)
        method = instantiate_module(method_class, arguments)
        report = converter.load_published(method, state, **options)
        checkpoint = checkpoint_of(method, arguments)
        checkpoint["video_adapt"]["input"] = _input_recipe(args.method, num_frames, args.stride)
        _write(checkpoint, args.out)
        unfinished.pop_all()
    sys.stdout.write(f"{args.out}: {report.render()}\n")
    return 0


def _check(args: argparse.Namespace) -> None:
    if args.out.exists():
        raise ConfigurationError(f"{args.out} exists already; choose another --out")
    if not args.out.parent.is_dir():
        raise ConfigurationError(f"{args.out.parent} is no folder; make it or mend --out")
    if args.method == "dist" and args.stride:
        raise ConfigurationError("--stride does not go with --method dist; leave it out")
    if args.method != "dist" and args.weights is None:
        raise ConfigurationError(
            f"files of {args.method} do not hold the CLIP that they were trained on: give its "
            "--weights, e.g. --weights openai"
        )


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


def _write_towers(towers: dict[str, Any], checkpoint: Path) -> Path:
    """Keep the towers of a published file where the backbone finds them."""
    from safetensors.torch import save_file

    if not towers:
        raise ConfigurationError("the file holds no towers: give the CLIP's --weights")
    # The name tells whoever loads it that these weights want QuickGELU.
    path = checkpoint.with_suffix(".quickgelu_towers.safetensors").resolve()
    save_file({name: tensor.contiguous() for name, tensor in towers.items()}, path)
    return path


def checkpoint_of(method: "LightningModule", arguments: dict[str, Any]) -> dict[str, Any]:
    """What a run of the command line would write, so that the file rebuilds its method."""
    import lightning

    checkpoint: dict[str, Any] = {
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": lightning.__version__,
        "state_dict": method.state_dict(),
        "hyper_parameters": arguments
        | {"_instantiator": "lightning.pytorch.cli.instantiate_module"},
    }
    method.on_save_checkpoint(checkpoint)
    return checkpoint


def _input_recipe(method: str, num_frames: int, stride: int | None) -> dict[str, Any]:
    """How the authors prepare a video for testing, as a data module would record it."""
    from video_adapt.video import DenseSampler, EvalTransform, SegmentSampler, UniformSampler

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


def _write(checkpoint: dict[str, Any], path: Path) -> None:
    import torch

    unfinished = path.with_name(f"{path.name}.part")
    torch.save(checkpoint, unfinished)
    unfinished.replace(path)
