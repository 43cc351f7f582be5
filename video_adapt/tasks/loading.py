"""From one checkpoint file back to the method that wrote it."""

import importlib
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule

from video_adapt.checkpoints import read_checkpoint
from video_adapt.errors import WeightsError


def load_method(
    path: str | Path, *, map_location: str | torch.device = "cpu", **components: Any
) -> LightningModule:
    """Rebuild the method of a checkpoint: its class, its arguments, its backbone, its weights.

    Args:
        path: A checkpoint written by a run of this project.
        map_location: Device of the result.
        **components: Constructor arguments that the file cannot hold, such as a backbone that was
            built in Python; those of a run started by the command line are in the file.

    Returns:
        The method in eval mode.

    Raises:
        WeightsError: If the file is missing, damaged, not ours, or does not fit its backbone.
    """
    checkpoint = read_checkpoint(path)
    record = checkpoint.get("video_adapt")
    if record is None:
        raise WeightsError(
            f"{path}: not a checkpoint of video_adapt; turn published files into one with "
            "`video-adapt convert`"
        )
    module_name, _, class_name = record["method"].rpartition(".")
    try:
        cls = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise WeightsError(f"{path}: its method {record['method']} cannot be imported") from error
    if not (isinstance(cls, type) and issubclass(cls, LightningModule)):
        raise WeightsError(f"{path}: {record['method']} is not a method")
    try:
        method = cls.load_from_checkpoint(path, map_location=map_location, **components)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    except TypeError as error:
        raise WeightsError(
            f"{path}: was built in Python, so load_method needs its components again: {error}"
        ) from error
    return method.eval()
