"""``video-adapt convert``: published weights become a checkpoint of this project."""

import argparse
import importlib
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from video_adapt.errors import ConfigurationError

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule

    from video_adapt.checkpoints import LoadReport

HELP = "turn a published file of a recogniser, detector or retriever into a checkpoint"


class Converted(NamedTuple):
    """A published file as one of our methods.

    Attributes:
        method: The method with its weights.
        arguments: What it was built with, as plain values.
        input: How a video is prepared for it, as a data module records it.
        report: The account of every tensor.
    """

    method: "LightningModule"
    arguments: dict[str, Any]
    input: dict[str, Any]
    report: "LoadReport"


class Converter(Protocol):
    """What a module that reads published files of some methods offers."""

    def check(self, args: argparse.Namespace) -> None:
        """Refuse options that do not go with the method, before anything is read."""

    def convert(self, args: argparse.Namespace, unfinished: ExitStack) -> Converted:
        """Read the file; what it leaves beside the checkpoint is removed by ``unfinished``."""


CONVERTERS = {
    "dist": "convert_recogniser",
    "evl": "convert_recogniser",
    "st_adapter": "convert_recogniser",
    "adatad": "convert_detector",
    "teachclip": "convert_retriever",
    "clip4clip": "convert_retriever",
    "xclip": "convert_retriever",
    "ts2net": "convert_retriever",
    "xpool": "convert_retriever",
    "froster": "convert_open_vocabulary",
    "open_vclip": "convert_open_vocabulary",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", type=Path, help="the published file")
    parser.add_argument(
        "--method",
        choices=CONVERTERS,
        required=True,
        help="whose file it is; adatad: any detector of its toolbox OpenTAD",
    )
    parser.add_argument("--out", type=Path, required=True, help="checkpoint to write")
    parser.add_argument(
        "--config",
        type=Path,
        help="AdaTAD: experiment file with the same model and data, e.g. "
        "experiments/adatad/thumos14_vitb.yaml",
    )
    parser.add_argument(
        "--classes",
        type=Path,
        help="class names: JSON, or one name per line; AdaTAD has them from the data of --config; "
        "for FROSTER with descriptions",
    )
    parser.add_argument(
        "--backbone",
        help="CLIP that a recogniser or retriever was trained on, e.g. ViT-B-16-quickgelu",
    )
    parser.add_argument(
        "--weights",
        help="hub tag or file of the CLIP's weights; left out for DiST, whose files hold them: "
        "they are then written beside the checkpoint, as the model of AdaTAD's files is; for "
        "FROSTER and Open-VCLIP those of the CLIP that training started from, which only training "
        "checkpoints of FROSTER hold",
    )
    parser.add_argument(
        "--num-frames",
        type=int,
        help="frames of a clip: wanted for ST-Adapter, whose files do not tell; for DiST another "
        "number than in training, to which what it learnt per frame is resized; for retrievers 12 "
        "unless said or told by the file; for FROSTER and Open-VCLIP 8 unless said",
    )
    parser.add_argument(
        "--max-words", type=int, help="tokens of a caption for retrievers: 32 unless said or told"
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
    _check_out(args.out)
    converter: Converter = importlib.import_module(f".{CONVERTERS[args.method]}", __package__)
    converter.check(args)
    with ExitStack() as unfinished:
        found = converter.convert(args, unfinished)
        checkpoint = checkpoint_of(found.method, found.arguments)
        checkpoint["video_adapt"]["input"] = found.input
        _write(checkpoint, args.out)
        unfinished.pop_all()
    sys.stdout.write(f"{args.out}: {found.report.render()}\n")
    return 0


def refuse_options(args: argparse.Namespace, *names: str) -> None:
    """Refuse options that mean nothing for the method.

    Raises:
        ConfigurationError: If one of them is given.
    """
    for name in names:
        if getattr(args, name.replace("-", "_")):
            raise ConfigurationError(
                f"--{name} does not go with --method {args.method}; leave it out"
            )


def require_option(args: argparse.Namespace, name: str, example: str) -> None:
    """Want an option that the method cannot do without.

    Raises:
        ConfigurationError: If it is not given.
    """
    if getattr(args, name) is None:
        raise ConfigurationError(f"--method {args.method} wants --{name}, e.g. --{name} {example}")


def _check_out(out: Path) -> None:
    if out.exists():
        raise ConfigurationError(f"{out} exists already; choose another --out")
    if not out.parent.is_dir():
        raise ConfigurationError(f"{out.parent} is no folder; make it or mend --out")


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


def _write(checkpoint: dict[str, Any], path: Path) -> None:
    import torch

    unfinished = path.with_name(f"{path.name}.part")
    torch.save(checkpoint, unfinished)
    unfinished.replace(path)
