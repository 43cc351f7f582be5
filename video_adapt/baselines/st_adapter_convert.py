"""From published ST-Adapter files to :class:`TunedClassifier`: names, and the adapter they imply.

Published files hold the adapters and the classifier; the frozen CLIP tower is not in them.
"""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from video_adapt.adapters import STAdapter
from video_adapt.checkpoints import KeyRule, LoadReport, convert_keys, load_strictly
from video_adapt.errors import WeightsError

from .tuned_classifier import TunedClassifier

_BLOCK = r"transformer\.resblocks\.(?P<block>\d+)\.adapter_pre_"
_KERNEL = rf"{_BLOCK}(?P<site>attn|mlp)\.conv\.weight"

RULES = (
    KeyRule(rf"{_BLOCK}attn\.(.+)", r"backbone.adapters.\1.attention.\2"),
    KeyRule(rf"{_BLOCK}mlp\.(.+)", r"backbone.adapters.\1.mlp.\2"),
    KeyRule(r"fc\.(.+)", r"head.1.\1"),
)


def read_arguments(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Read constructor arguments of :class:`TunedClassifier` off a published file.

    Args:
        state: Tensors by published name, as :func:`video_adapt.checkpoints.read_state` gives them.

    Returns:
        Plain values; the adapter as class path and arguments, as in an experiment file.

    Raises:
        WeightsError: If this is no file of ST-Adapter.
    """
    found = [m for name in state if (m := re.fullmatch(_KERNEL, name))]
    if not found:
        raise WeightsError("not a published file of ST-Adapter: it holds no adapter_pre_* weights")
    width, _, *kernel = state[found[0].string].shape  # [A, 1, time, rows, columns]
    sites = {match["site"] for match in found}
    adapter = {
        "width": width,
        "kernel": tuple(kernel),
        "before_attention": "attn" in sites,
        "before_mlp": "mlp" in sites,
        "last_blocks": len({match["block"] for match in found}),
    }
    return {
        "tuning": "adapter",
        "adapter": {"class_path": "video_adapt.adapters.STAdapter", "init_args": adapter},
        "readout": "mean_then_norm",
    }


def read_adapter(state: Mapping[str, Tensor]) -> STAdapter:
    """Build the adapter that a published file implies.

    Raises:
        WeightsError: If this is no file of ST-Adapter.
    """
    return STAdapter(**read_arguments(state)["adapter"]["init_args"])


def load_published(method: TunedClassifier, state: Mapping[str, Tensor]) -> LoadReport:
    """Put the weights of a published file into a method with the same adapters.

    The published adapter before the MLP of the last block edits patch tokens that nobody reads;
    ours does not have it, and the report names it as unused.

    Args:
        method: Receives the weights; its backbone keeps its own.
        state: Tensors by published name, as :func:`video_adapt.checkpoints.read_state` gives them.

    Returns:
        The account of every tensor outside the backbone.

    Raises:
        WeightsError: If the file is not of ST-Adapter, or its adapters differ from the method's.
    """
    read_arguments(state)  # refuses files of something else
    last = method.backbone.depth - 1
    report = load_strictly(
        method,
        convert_keys(state, RULES),
        allow_new=[r"backbone\.(?!adapters\.).*"],
        allow_unused=[rf"backbone\.adapters\.{last}\.mlp\..*"],
    )
    return report._replace(new=())
