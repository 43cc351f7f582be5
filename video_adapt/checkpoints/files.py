"""Reading files of weights safely, whoever wrote them."""

import logging
import pickle
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from video_adapt.errors import WeightsError

logger = logging.getLogger(__name__)

# Keys under which training frameworks keep the weights, and data-parallel training's prefix.
_CONTAINERS = ("state_dict_ema", "state_dict", "model_state", "model", "module")
_PARALLEL_PREFIX = "module."
_UNREADABLE = (OSError, RuntimeError, EOFError, ValueError, LookupError, SafetensorError)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a whole checkpoint to the CPU; plain values and tensors only, no code is run.

    Args:
        path: A file written by ``torch.save``.

    Raises:
        WeightsError: If the file is missing, damaged, or holds anything but plain values.
    """
    content = _read(Path(path))
    _check_sums(Path(path))
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: holds a {type(content).__name__}, not a checkpoint")
    return content


def first_whole(paths: Sequence[str | Path]) -> tuple[Path, dict[str, Any]]:
    """Read the first of several checkpoints that is whole; the others are named in a warning.

    Args:
        paths: In the order in which they are wanted, at least one.

    Returns:
        The file and what :func:`read_checkpoint` says of it.

    Raises:
        WeightsError: If none is whole; says it of the first.
    """
    faults: list[WeightsError] = []
    for path in map(Path, paths):
        try:
            content = read_checkpoint(path)
        except WeightsError as error:
            faults.append(error)
            continue
        for fault in faults:
            logger.warning("%s; taking %s instead", str(fault).rpartition(";")[0], path)
        return path, content
    raise faults[0]


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Read the weights of a file, whoever wrote it, to the CPU.

    Understands ``torch.save`` files (also weights below ``state_dict``, ``model_state``, ``model``
    or ``module``, and names that all begin with ``module.``), safetensors and TorchScript archives.

    Args:
        path: The file.

    Returns:
        Tensors by name.

    Raises:
        WeightsError: If the file is missing, damaged, or holds no weights.
    """
    path = Path(path)
    if is_torchscript(path):
        content: Any = read_torchscript(path).state_dict()
    elif path.suffix == ".safetensors" and path.is_file():
        try:
            content = load_file(path)
        except _UNREADABLE as error:
            raise _damaged(path, error) from error
    else:
        content = _read(path)
    return _unwrap(content, path)


def is_torchscript(path: str | Path) -> bool:
    """Whether a file is a TorchScript archive, as OpenAI publishes its models."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_torchscript(path: str | Path) -> torch.jit.ScriptModule:
    """Open a TorchScript archive on the CPU.

    Raises:
        WeightsError: If the archive is damaged.
    """
    with warnings.catch_warnings():
        # TorchScript is deprecated for writing; reading what OpenAI published stays necessary.
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.load` is", category=Warning)
        try:
            return torch.jit.load(str(path), map_location="cpu")
        except _UNREADABLE as error:
            raise _damaged(Path(path), error) from error


def _read(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such file; check the path") from error
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path}: is no file of weights, or holds objects beside tensors and plain values, "
            "which could run code; save its state dict alone where it was written"
        ) from error
    except _UNREADABLE as error:
        raise _damaged(path, error) from error


def _check_sums(path: Path) -> None:
    """Compare every tensor with its check sum, which torch does not."""
    if not zipfile.is_zipfile(path):
        return  # the format of torch before 1.6 has none
    with zipfile.ZipFile(path) as archive:
        if (part := archive.testzip()) is not None:
            raise _damaged(path, ValueError(f"check sum of {part}"))


def _damaged(path: Path, error: Exception) -> WeightsError:
    cause = str(error).partition("\n")[0]
    return WeightsError(f"{path}: damaged or incomplete ({cause}); download or copy it again")


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    for key in _CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path}: holds no weights; expected tensors by name")
    foreign = [name for name, value in content.items() if not isinstance(value, Tensor)]
    if foreign:
        raise WeightsError(
            f"{path}: {foreign[0]!r} is a {type(content[foreign[0]]).__name__}, not a tensor; "
            "expected tensors by name"
        )
    if all(name.startswith(_PARALLEL_PREFIX) for name in content):
        return {name.removeprefix(_PARALLEL_PREFIX): t for name, t in content.items()}
    return dict(content)
