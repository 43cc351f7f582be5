"""Declarative maps from the names in foreign files to ours."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from video_adapt.errors import WeightsError


class KeyRule(NamedTuple):
    r"""One line of a key map.

    Attributes:
        pattern: Regular expression that must match the whole foreign name.
        replacement: Our name; ``\1`` and ``\g<name>`` insert what groups of the pattern matched.
        convert: What to do to the tensor, e.g. drop the unit axes of a 1x1 convolution.
    """

    pattern: str
    replacement: str
    convert: Callable[[Tensor], Tensor] | None = None


def convert_keys(state: Mapping[str, Tensor], rules: Sequence[KeyRule]) -> dict[str, Tensor]:
    """Rename, and where a rule says so reshape, the tensors of a foreign file.

    The first rule that matches a name decides. A name without a rule stays as it is, so that
    strict loading reports it; nothing is dropped here.

    Args:
        state: Tensors by foreign name.
        rules: The map, most specific first.

    Raises:
        WeightsError: If two names become one.
    """
    origins: dict[str, str] = {}
    converted: dict[str, Tensor] = {}
    for key, tensor in state.items():
        name, value = _apply(rules, key, tensor)
        if name in origins:
            raise WeightsError(f"{origins[name]!r} and {key!r} both mean {name!r}; keep one")
        origins[name], converted[name] = key, value
    return converted


def _apply(rules: Sequence[KeyRule], key: str, tensor: Tensor) -> tuple[str, Tensor]:
    for rule in rules:
        if match := re.fullmatch(rule.pattern, key):
            return match.expand(rule.replacement), rule.convert(tensor) if rule.convert else tensor
    return key, tensor
