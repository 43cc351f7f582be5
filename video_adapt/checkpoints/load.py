"""Putting weights into a module so that nothing goes unnoticed."""

import re
from collections.abc import Collection, Iterable, Mapping

from torch import Tensor, nn

from video_adapt.errors import WeightsError

from .ledger import LoadReport, summarise


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
    new, unused = check_fit(module, state, allow_new=allow_new, allow_unused=allow_unused)
    loaded = {name: state[name] for name in own if name in state}
    module.load_state_dict(loaded, strict=False)
    return LoadReport(
        loaded=tuple(loaded),
        converted=tuple(name for name in loaded if name in converted),
        new=tuple(new),
        unused=tuple(unused),
    )


def check_fit(
    module: nn.Module,
    state: Mapping[str, Tensor],
    *,
    allow_new: Iterable[str] = (),
    allow_unused: Iterable[str] = (),
) -> tuple[list[str], list[str]]:
    """Compare weights with a module; every difference that was not stated beforehand is an error.

    Args:
        module: What the weights are for.
        state: Tensors by the module's own names.
        allow_new: Regular expressions of names that the weights may lack.
        allow_unused: Regular expressions of names that the module may lack.

    Returns:
        Names that only the module has, and names that only the weights have.

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
    return new, unused


def _unmatched(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    allowed = [re.compile(pattern) for pattern in patterns]
    return [name for name in names if not any(p.fullmatch(name) for p in allowed)]
