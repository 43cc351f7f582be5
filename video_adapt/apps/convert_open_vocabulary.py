"""Published files of FROSTER and Open-VCLIP, which tell everything but the CLIP and the classes."""

import argparse
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from lightning.pytorch.cli import instantiate_module

from data_modules.open_vocabulary_classes import part_of, read_classes
from video_adapt.baselines import OpenVCLIP
from video_adapt.baselines import open_vclip_convert as open_vclip
from video_adapt.checkpoints import read_state
from video_adapt.errors import ConfigurationError, WeightsError
from video_adapt.methods import FROSTER
from video_adapt.methods.froster import convert as froster
from video_adapt.video import EvalTransform, PublishedViewSampler
from video_adapt.vocabulary import Vocabulary

from .convert import Converted, refuse_options, require_option
from .convert_recogniser import write_towers

FRAMES, STRIDE, VIEWS = 8, 16, 3
_TRAINED = "base"


def check(args: argparse.Namespace) -> None:
    """Refuse what does not go together.

    Raises:
        ConfigurationError: If an option is missing or one too many.
    """
    refuse_options(args, "config", "max-words")
    require_option(args, "backbone", "ViT-B-16-quickgelu")
    require_option(args, "classes", "classes.json")


def convert(args: argparse.Namespace, unfinished: ExitStack) -> Converted:
    """Read a published file, averaged or of training.

    Args:
        args: Of the command.
        unfinished: Where the removal of the original's file goes.

    Raises:
        ConfigurationError: If the original CLIP is neither in the file nor given.
        WeightsError: If the file does not fit the method or the backbone.
    """
    state = read_state(args.file)
    vocabulary = _read_vocabulary(args)
    try:
        arguments = {
            "backbone": {
                "class_path": "video_adapt.backbones.CLIP",
                "init_args": {"name": args.backbone, "weights": _original(args, state, unfinished)},
            },
            "class_names": list(vocabulary.classes),
            "adapter": {"class_path": "video_adapt.adapters.ExpandedAttention"},
        }
        kind = FROSTER if args.method == "froster" else OpenVCLIP
        method: Any = instantiate_module(kind, arguments)
        load = froster.load_published if args.method == "froster" else open_vclip.load_published
        report = load(method, state)
    except WeightsError as error:
        raise WeightsError(f"{args.file}: {error}") from error
    method.vocabulary = vocabulary
    return Converted(method, arguments, _input_recipe(args), report)


def _read_vocabulary(args: argparse.Namespace) -> Vocabulary:
    """The training classes: of a file with parts, the base classes."""
    parts = read_classes(args.classes)
    part = None if None in parts else _TRAINED
    described = args.method == "froster"  # Open-VCLIP knows plain names
    return part_of(parts, part, args.classes).vocabulary("train", described=described)


def _original(args: argparse.Namespace, state: dict[str, Any], unfinished: ExitStack) -> str:
    """Where the weights of the original CLIP are, without which no checkpoint loads."""
    if args.weights is not None:
        return str(args.weights)
    teacher = froster.split(state).teacher if args.method == "froster" else {}
    if not teacher:
        raise ConfigurationError(
            f"{args.file} does not hold the CLIP that it was trained from: give its --weights, "
            "e.g. --weights openai"
        )
    towers = write_towers(teacher, args.out)
    unfinished.callback(towers.unlink)
    return str(towers)


def _input_recipe(args: argparse.Namespace) -> dict[str, Any]:
    """How the authors prepare a video for testing, as a data module would record it."""
    frames, stride = args.num_frames or FRAMES, args.stride or STRIDE
    return {
        "sampler": _plain(PublishedViewSampler(num_frames=frames, stride=stride)),
        "transform": _plain(EvalTransform(crops=1)),
        "short_side": None,
        "eval_views": VIEWS,
    }


def _plain(component: Any) -> dict[str, Any]:
    return {"class": type(component).__name__, **asdict(component)}
