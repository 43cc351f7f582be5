"""Published files of detectors: an experiment file says what they are, so it says what comes out.

OpenTAD's files tell neither the head nor how its videos are cut. Both stand in the experiment file
of the same data set and model, whose videos need not be there.
"""

import argparse
import importlib
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch.cli import instantiate_module
from safetensors.torch import save_file

from data_modules import WindowDataModule
from video_adapt.checkpoints import read_state
from video_adapt.errors import ConfigurationError, WeightsError
from video_adapt.methods.adatad.convert import load_published, towers_of
from video_adapt.tasks import DetectionTask

from .convert import Converted, refuse_options, require_option
from .experiment_file import read_experiment


def check(args: argparse.Namespace) -> None:
    """Refuse what does not go together.

    Raises:
        ConfigurationError: If an option is missing or one too many.
    """
    refuse_options(args, "backbone", "weights", "num-frames", "max-words", "stride")
    require_option(args, "config", "experiments/adatad/thumos14_vitb.yaml")
    if not args.config.is_file():
        raise ConfigurationError(f"{args.config}: no such file; check --config")
    if args.classes is not None and not args.classes.is_file():
        raise ConfigurationError(f"{args.classes}: no such file; check --classes")


def convert(args: argparse.Namespace, unfinished: ExitStack) -> Converted:
    """Read a published file of a detector.

    Args:
        args: Of the command.
        unfinished: Where the removal of the backbone's file goes.

    Raises:
        ConfigurationError: If the experiment is not one of detection.
        WeightsError: If the file does not fit the experiment.
    """
    state = read_state(args.file)
    towers = towers_of(state)
    _check_kind(args, has_backbone=bool(towers))
    config = read_experiment(args.config, *_overrides(args, has_backbone=bool(towers)))
    data = _data(config, args.config)
    arguments = _plain(config.model.init_args.as_dict())
    arguments["class_names"] = data.class_names
    if towers:
        arguments["backbone"]["init_args"]["weights"] = None
    method = instantiate_module(_method_class(config, args.config), arguments)
    try:
        report = load_published(method, state)
    except WeightsError as error:
        raise WeightsError(f"{args.file}: does not fit {args.config}: {error}") from error
    if towers:
        # The file has no other copy of the model that the detector was trained on.
        path = args.out.with_suffix(".videomae.safetensors").resolve()
        unfinished.callback(path.unlink, missing_ok=True)
        save_file({name: tensor.contiguous() for name, tensor in towers.items()}, path)
        arguments["backbone"]["init_args"]["weights"] = str(path)
    return Converted(method, arguments, data.evaluation_recipe(), report)


def _check_kind(args: argparse.Namespace, *, has_backbone: bool) -> None:
    """Refuse frames where there is no backbone, and the reverse."""
    reads_frames = "backbone" in _written(args.config, "model", "init_args")
    if has_backbone and not reads_frames:
        raise WeightsError(
            f"{args.file}: holds a backbone, {args.config} reads features; name an experiment "
            "that reads frames"
        )
    if reads_frames and not has_backbone:
        raise WeightsError(
            f"{args.file}: holds no backbone, {args.config} has one; name an experiment that "
            "reads features"
        )


def _written(path: Path, *keys: str) -> dict[str, Any]:
    """A part of an experiment file as it stands, whichever file it names for it."""
    found = _yaml(path)
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
        while isinstance(found, str):
            path = path.parent / found
            found = _yaml(path)
    return found if isinstance(found, dict) else {}


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        cause = " ".join(str(error).split())
        raise ConfigurationError(f"{path}: no experiment file: {cause}") from error


def _overrides(args: argparse.Namespace, *, has_backbone: bool) -> list[str]:
    """What the file and the options say in place of the experiment file."""
    # The file's own weights stand in for those that the experiment wants, which need not be there.
    words = ["--model.init_args.backbone.init_args.weights=hub"] if has_backbone else []
    if args.classes is not None:
        # With the names told, nothing below the root is read, and it need not be there.
        classes = args.classes.resolve()
        words += [
            f"--data.init_args.classes={classes}",
            f"--data.init_args.root={classes.parent}",
            "--data.init_args.exclude=null",
        ]
    return words


def _data(config: Namespace, path: Path) -> WindowDataModule:
    if config.data.get("init_args.frames_per_chunk") is None:
        raise ConfigurationError(f"{path}: its data are not long videos; name THUMOSDataModule")
    parser = ArgumentParser()
    parser.add_subclass_arguments(WindowDataModule, "data")
    built = parser.instantiate(parser.parse_object({"data": config.data.as_dict()})).data
    assert isinstance(built, WindowDataModule)
    return built


def _method_class(config: Namespace, path: Path) -> type[DetectionTask]:
    module, _, name = config.model.class_path.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    if not (isinstance(found, type) and issubclass(found, DetectionTask)):
        raise ConfigurationError(f"{path}: {config.model.class_path} detects nothing")
    return found


def _plain(value: Any) -> Any:
    """What a checkpoint may hold: paths as text, tuples as lists."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    plain = value is None or isinstance(value, str | int | float | bool)
    return value if plain else str(value)
