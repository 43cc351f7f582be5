"""What a method reads of a frozen backbone, as rows that can be stored, and back."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

from video_adapt.backbones.base import Backbone, Features
from video_adapt.checkpoints import digest

_BLOCK, _QUERY, _KEY = "block", "query", "key"


class Reads(NamedTuple):
    """The features that a method needs, and nothing else of a video.

    Attributes:
        fields: Names of fields of :class:`video_adapt.backbones.base.Features`: ``class_token``,
            ``embedding``, ``tokens``.
        blocks: Blocks whose output it reads.
        queries_keys: Blocks whose attention queries and keys it reads.
    """

    fields: tuple[str, ...] = ()
    blocks: tuple[int, ...] = ()
    queries_keys: tuple[int, ...] = ()


def rows_of(features: Features, reads: Reads) -> dict[str, Tensor]:
    """Features that are read, by name, each ``[B, T, ...]``."""
    rows = {name: getattr(features, name) for name in reads.fields}
    rows |= {f"{_BLOCK}{number}": features.blocks[number] for number in reads.blocks}
    for number in reads.queries_keys:
        rows[f"{_QUERY}{number}"], rows[f"{_KEY}{number}"] = features.queries_keys[number]
    return rows


def features_of(rows: Mapping[str, Tensor], reads: Reads) -> Features:
    """The features behind stored rows; what was not read has no width, ``[B, T, 0]``."""
    first = next(iter(rows.values()))
    nothing = first.new_empty((*first.shape[:2], 0))
    return Features(
        class_token=rows.get("class_token", nothing),
        embedding=rows.get("embedding", nothing),
        tokens=rows.get("tokens", nothing),
        blocks={number: rows[f"{_BLOCK}{number}"] for number in reads.blocks},
        queries_keys={n: (rows[f"{_QUERY}{n}"], rows[f"{_KEY}{n}"]) for n in reads.queries_keys},
    )


def facts_of(backbone: Backbone, reads: Reads) -> dict[str, object]:
    """All that features of a clip depend on beside the clip, as plain values."""
    return {
        "backbone": backbone.name,
        "weights": digest(backbone.state_dict()),
        "adapters": {k: f"{type(e).__name__} {_settings(e)}" for k, e in backbone.adapters.items()},
        "pixels": list(backbone.pixels),
        "reads": reads._asdict(),
    }


def _settings(module: nn.Module) -> dict[str, object]:
    """Plain values of a module, which tell what it does beside its weights."""
    plain = (bool, int, float, str, tuple, type(None))
    return {k: v for k, v in sorted(vars(module).items()) if k[0] != "_" and isinstance(v, plain)}
