"""From published EVL files to :class:`EVL`: the names, and the sizes that a file implies.

Published files hold the decoder and the classifier; the frozen CLIP tower is not in them.
"""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from video_adapt.checkpoints import KeyRule, LoadReport, convert_keys, load_strictly
from video_adapt.errors import WeightsError

from .method import EVL

_LAYER = r"network.layers.\1"

RULES = (
    KeyRule(r"decoder\.cls_token", "network.query", lambda query: query[None]),
    KeyRule(r"decoder\.temporal_pos_embed\.(\d+)", rf"{_LAYER}.time"),
    # Ours convolves (time, tokens) with a kernel of one token.
    KeyRule(
        r"decoder\.temporal_conv\.(\d+)\.weight", rf"{_LAYER}.conv.weight", lambda w: w[..., None]
    ),
    KeyRule(r"decoder\.temporal_conv\.(\d+)\.bias", rf"{_LAYER}.conv.bias"),
    KeyRule(r"decoder\.cross_attention\.(\d+)\.w1", rf"{_LAYER}.motion.previous"),
    KeyRule(r"decoder\.cross_attention\.(\d+)\.w2", rf"{_LAYER}.motion.next"),
    KeyRule(r"decoder\.decoder_layers\.(\d+)\.norm1\.(.+)", rf"{_LAYER}.norm_query.\2"),
    KeyRule(r"decoder\.decoder_layers\.(\d+)\.norm2\.(.+)", rf"{_LAYER}.norm_mlp.\2"),
    KeyRule(r"decoder\.decoder_layers\.(\d+)\.norm3\.(.+)", rf"{_LAYER}.norm_tokens.\2"),
    KeyRule(r"decoder\.decoder_layers\.(\d+)\.attn\.(.+)", rf"{_LAYER}.attention.\2"),
    KeyRule(r"decoder\.decoder_layers\.(\d+)\.mlp\.fc1\.(.+)", rf"{_LAYER}.mlp.0.\2"),
    KeyRule(r"decoder\.decoder_layers\.(\d+)\.mlp\.fc2\.(.+)", rf"{_LAYER}.mlp.3.\2"),
    KeyRule(r"proj\.(.+)", r"head.\1"),
)


def read_arguments(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Read constructor arguments of :class:`EVL` off a published file, as plain values.

    The number of attention heads is not in it: published models have as many as their backbone.
    ``num_frames`` is None for a decoder without time embedding, which none of the published has.

    Args:
        state: Tensors by published name, as :func:`video_adapt.checkpoints.read_state` gives them.

    Raises:
        WeightsError: If this is no file of EVL.
    """
    found = [re.match(r"decoder\.decoder_layers\.(\d+)\.", name) for name in state]
    time = state.get("decoder.temporal_pos_embed.0")
    try:
        (width,) = state["decoder.cls_token"].shape
        return {
            "num_frames": None if time is None else len(time),
            "layers": 1 + max(int(match[1]) for match in found if match),
            "inner_width": len(state["decoder.decoder_layers.0.attn.q_proj.weight"]),
            "mlp_ratio": len(state["decoder.decoder_layers.0.mlp.fc1.weight"]) / width,
            "temporal_conv": "decoder.temporal_conv.0.weight" in state,
            "cross_attention": "decoder.cross_attention.0.w1" in state,
        }
    except (KeyError, ValueError) as error:
        raise WeightsError(f"not a published file of EVL: {error}") from error


def load_published(method: EVL, state: Mapping[str, Tensor]) -> LoadReport:
    """Put the weights of a published file into a method of the same sizes.

    Args:
        method: Receives the weights; its backbone keeps its own.
        state: Tensors by published name, as :func:`video_adapt.checkpoints.read_state` gives them.

    Returns:
        The account of every tensor outside the backbone.

    Raises:
        WeightsError: If the file is not of EVL, or of other sizes than the method.
    """
    theirs = read_arguments(state)
    ours = {"num_frames": method.network.num_frames, "layers": len(method.network.layers)}
    for name, value in ours.items():
        if theirs[name] != value:
            raise WeightsError(
                f"the file was trained with {name}={theirs[name]}, the method has {value}; "
                "make them agree"
            )
    report = load_strictly(method, convert_keys(state, RULES), allow_new=[r"backbone\..*"])
    return report._replace(new=())
