"""Reading files of weights safely and putting them into a module strictly."""

import logging
import pickle
import re
import warnings
import zipfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import WeightsError
from .ledger import LoadReport, summarise

logger = logging.getLogger(__name__)

# Keys under which training frameworks keep the weights, and data-parallel training's prefix.
_CONTAINERS = ("state_dict", "model_state", "model")
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
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: holds a {type(content).__name__}, not a checkpoint")
    return content


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Read the weights of a file, whoever wrote it, to the CPU.

    Understands ``torch.save`` files (also weights below ``state_dict``, ``model_state`` or
    ``model``, and names that all begin with ``module.``), safetensors and TorchScript archives.

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


def load_strictly(
    module: nn.Module,
    state: Mapping[str, Tensor],
    *,
    allow_new: Iterable[str] = (),
    allow_unused: Iterable[str] = (),
    converted: Collection[str] = (),
) -> LoadReport:
    """Copy weights into a module; every difference that was not stated beforehand is an error.

    Args:
        module: Receives the weights; its own type and device are kept. Untouched on error.
        state: Tensors by the module's own names.
        allow_new: Regular expressions of names that the weights may lack.
        allow_unused: Regular expressions of names that the module may lack.
        converted: Names whose values the caller changed, for the report.

    Returns:
        The account of every name.

    Raises:
        WeightsError: If names or shapes do not fit; the message lists the first few.
    """
    own = module.state_dict()
    new = [name for name in own if name not in state]
    unused = [name for name in state if name not in own]
    misfits = [
        f"{name} {list(state[name].shape)}, the model wants {list(tensor.shape)}"
        for name, tensor in own.items()
        if name in state and state[name].shape != tensor.shape
    ]
    problems = {
        "missing": _unmatched(new, allow_new),
        "unknown": _unmatched(unused, allow_unused),
        "of another shape": misfits,
    }
    if any(problems.values()):
        listed = "; ".join(
            f"{len(names)} {what}: {summarise(names, limit=3)}"
            for what, names in problems.items()
            if names
        )
        raise WeightsError(f"weights do not fit {type(module).__name__}: {listed}")
    loaded = {name: state[name] for name in own if name in state}
    module.load_state_dict(loaded, strict=False)
    return LoadReport(
        loaded=tuple(loaded),
        converted=tuple(name for name in loaded if name in converted),
        new=tuple(new),
        unused=tuple(unused),
    )


def _unmatched(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    allowed = [re.compile(pattern) for pattern in patterns]
    return [name for name in names if not any(p.fullmatch(name) for p in allowed)]


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
