"""From published ST-Adapter files to :class:`TunedClassifier`: names, and the adapter they imply.

Published files hold the adapters and the classifier; the frozen CLIP tower is not in them.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from video_adapt.adapters import STAdapter
from video_adapt.checkpoints import KeyRule, LoadReport, convert_keys, load_strictly
from video_adapt.errors import WeightsError

from .tuned_classifier import TunedClassifier

_ADAPTER = r"transformer\.resblocks\.(\d+)\.adapter_pre_"

RULES = (
    KeyRule(rf"{_ADAPTER}attn\.(.+)", r"backbone.adapters.\1.attention.\2"),
    KeyRule(rf"{_ADAPTER}mlp\.(.+)", r"backbone.adapters.\1.mlp.\2"),
    KeyRule(r"fc\.(.+)", r"head.1.\1"),
)


def read_adapter(state: Mapping[str, Tensor]) -> STAdapter:
    """Read the form of the adapters off a published file.

    Args:
        state: Tensors by published name, as :func:`video_adapt.checkpoints.read_state` gives them.

    Raises:
        WeightsError: If this is no file of ST-Adapter.
    """
    found = [
        m for name in state if (m := re.fullmatch(rf"{_ADAPTER}(attn|mlp)\.conv\.weight", name))
    ]
    if not found:
        raise WeightsError("not a published file of ST-Adapter: it holds no adapter_pre_* weights")
    kernel = state[found[0][0]]  # [A, 1, time, rows, columns]
    time, rows, columns = kernel.shape[2:]
    return STAdapter(
        width=len(kernel),
        kernel=(time, rows, columns),
        before_attention=any(match[2] == "attn" for match in found),
        before_mlp=any(match[2] == "mlp" for match in found),
        last_blocks=len({match[1] for match in found}),
    )


def load_published(method: TunedClassifier, state: Mapping[str, Tensor]) -> LoadReport:
    """Put the weights of a published file into a method with the same adapters.

    The published adapter before the MLP of the last block edits patch tokens that nobody reads;
    ours does not have it, and the report names it as unused.

    Args:
        method: Receives the weights; its backbone keeps its own.
        state: Tensors by published name, as :func:`video_adapt.checkpoints.read_state` gives them.

    Returns:
        The account of every tensor.

    Raises:
        WeightsError: If the file is not of ST-Adapter, or its adapters differ from the method's.
    """
    read_adapter(state)
    last = method.backbone.depth - 1
    return load_strictly(
        method,
        convert_keys(state, RULES),
        allow_new=[r"backbone\.(?!adapters\.).*"],
        allow_unused=[rf"backbone\.adapters\.{last}\.mlp\..*"],
    )
