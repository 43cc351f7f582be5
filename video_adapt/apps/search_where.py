"""Conditions on hits, as people type them: ``path=*/kitchen/*``, ``start_s>=60``."""

import operator
import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from video_adapt.errors import ConfigurationError
from video_adapt.retrieval import Entry
from video_adapt.retrieval.index import Filter

CONDITIONS = "path=GLOB, path!=GLOB, start_s or end_s with >, >=, <, <= and seconds"
_SHAPE = re.compile(r"(\w+)\s*(!=|>=|<=|=|>|<)\s*(.+)")
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


def where_all(conditions: Sequence[str]) -> Filter | None:
    """A filter that passes what meets every condition; None without any.

    Args:
        conditions: ``path=GLOB`` or ``path!=GLOB``, where ``*`` matches slashes, too; ``start_s``
            or ``end_s``, an order, and seconds.

    Raises:
        ConfigurationError: If one of them says something else.
    """
    if not conditions:
        return None
    filters = [_parse(condition) for condition in conditions]
    return lambda entry: all(passes(entry) for passes in filters)


def _parse(condition: str) -> Filter:
    found = _SHAPE.fullmatch(condition.strip())
    if found is not None:
        name, sign, value = found.groups()
        if name == "path" and sign in ("=", "!="):
            return _path(value, wanted=sign == "=")
        if name in ("start_s", "end_s") and sign in _ORDERS:
            return _time(name, _ORDERS[sign], value, condition)
    raise ConfigurationError(f"condition {condition!r} is unknown; use {CONDITIONS}")


def _path(pattern: str, *, wanted: bool) -> Filter:
    def passes(entry: Entry) -> bool:
        return fnmatchcase(entry.path, pattern) is wanted

    return passes


def _time(name: str, order: Callable[[Any, Any], bool], value: str, condition: str) -> Filter:
    try:
        limit_s = float(value)
    except ValueError as error:
        raise ConfigurationError(f"condition {condition!r}: {value!r} is no number") from error

    def passes(entry: Entry) -> bool:
        time_s: float = getattr(entry, name)
        return order(time_s, limit_s)

    return passes
