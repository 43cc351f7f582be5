"""Published files of retrievers, students and teachers: they hold their CLIP and tell all sizes."""

import argparse
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from lightning.pytorch.cli import instantiate_module

from video_adapt.backbones.clip_config import CLIPConfig, parse_config, read_config
from video_adapt.checkpoints import read_state
from video_adapt.errors import ConfigurationError, WeightsError
from video_adapt.methods import TeachCLIP, TeacherRetriever
from video_adapt.methods.teachclip import sizes
from video_adapt.methods.teachclip.convert import load_student, load_teacher
from video_adapt.methods.teachclip.reading import drop_temperature
from video_adapt.tasks import RetrievalTask
from video_adapt.video import BicubicCrop, MiddleSampler, MomentSampler, SecondSampler

from .convert import Converted, refuse_options, require_option

STUDENTS = ("teachclip", "clip4clip")
HEADS = {"xclip": sizes.xclip_of, "ts2net": sizes.ts2net_of, "xpool": sizes.xpool_of}
FRAMES, WORDS = 12, 32  # of all published runs but those on paragraphs, which have 64 of each


def check(args: argparse.Namespace) -> None:
    """Refuse what does not go together.

    Raises:
        ConfigurationError: If an option is missing or one too many, or the CLIP is another kind.
    """
    refuse_options(args, "config", "classes", "weights", "stride")
    require_option(args, "backbone", "ViT-B-32-quickgelu")
    if not _description(args).quick_gelu:
        raise ConfigurationError(
            f"--backbone {args.backbone} computes GELU, the CLIP of published retrievers "
            f"QuickGELU; give --backbone {args.backbone}-quickgelu"
        )


def convert(args: argparse.Namespace, unfinished: ExitStack) -> Converted:
    """Read a published file of a retriever; all of it goes into the checkpoint.

    Args:
        args: Of the command.
        unfinished: Nothing lies beside the checkpoint.

    Raises:
        ConfigurationError: If a number of frames or words contradicts the file.
        WeightsError: If the file is of another method or does not fit the backbone.
    """
    state = read_state(args.file)
    method_class: type[RetrievalTask] = TeachCLIP
    if args.method not in STUDENTS:
        method_class = TeacherRetriever
    try:
        arguments = _arguments(args.method, state, _description(args).towers["text_cfg"]["heads"])
        arguments["backbone"] = {
            "class_path": "video_adapt.backbones.CLIP",
            "init_args": {"name": args.backbone, "weights": None},
        }
        method: Any = instantiate_module(method_class, arguments)
        if args.method in STUDENTS:
            report = load_student(method.student, method.backbone, state)
        else:
            report = load_teacher(method.head, method.backbone, state)
    except WeightsError as error:
        raise WeightsError(f"{args.file}: {error}") from error
    if not method.backbone.logit_scale.requires_grad:
        drop_temperature(method.backbone)
    return Converted(method, arguments, _input_recipe(args, arguments), report)


def _description(args: argparse.Namespace) -> CLIPConfig:
    return parse_config(args.backbone, read_config(args.backbone), image_size=None)


def _arguments(method: str, state: dict[str, Any], heads: int) -> dict[str, Any]:
    whole = {"tuning": "full", "text_tuning": "full"}
    if method in STUDENTS:
        student = sizes.student_of(state)
        if sizes.is_attentive(student) != (method == "teachclip"):
            other = next(name for name in STUDENTS if name != method)
            raise WeightsError(f"is a file of the other kind; give --method {other}")
        return {"student": {**student, "heads": heads}, **whole}
    head = HEADS[method](state)
    if "layers" in head["init_args"]:
        head["init_args"]["heads"] = heads
    arguments = {"head": head, **whole}
    if shifted := sizes.shifted_blocks(state):
        arguments["adapter"] = {
            "class_path": "video_adapt.adapters.TokenShift",
            "init_args": {"last_blocks": shifted},
        }
    return arguments


def _input_recipe(args: argparse.Namespace, arguments: dict[str, Any]) -> dict[str, Any]:
    """How the authors prepare a video for testing, as a data module would record it."""
    told = arguments.get("head", {}).get("init_args", {})
    for option, known in (("num_frames", told.get("frames")), ("max_words", told.get("words"))):
        given = getattr(args, option)
        if known is not None and given not in (None, known):
            raise ConfigurationError(
                f"{args.file} was trained with {known}: leave out "
                f"--{option.replace('_', '-')} {given}"
            )
    frames = told.get("frames") or args.num_frames or FRAMES
    sampler: MomentSampler = SecondSampler(frames)
    if args.method == "xpool":
        sampler = MiddleSampler(frames)
    return {
        "sampler": _plain(sampler),
        "transform": _plain(BicubicCrop()),
        "short_side": None,
        "max_words": told.get("words") or args.max_words or WORDS,
    }


def _plain(component: Any) -> dict[str, Any]:
    return {"class": type(component).__name__, **asdict(component)}
