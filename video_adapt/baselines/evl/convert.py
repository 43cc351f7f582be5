"""From published EVL files to :class:`EVL`: names, shapes, and the sizes that a file implies.

Published files hold the decoder and the classifier; the frozen CLIP tower is not in them.
"""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

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


class EVLSizes(NamedTuple):
    """What a published file says of its model; the number of heads it cannot say.

    Attributes:
        width: Width of the backbone's tokens.
        num_frames: Frames of a clip.
        layers: Decoder layers.
        inner_width: Width of the decoder's attention.
        mlp_ratio: Hidden width of the decoder's MLPs as a multiple of ``width``.
        num_classes: Number of classes.
        offsets: Rows of an offset table, ``(2h-1)(2w-1)`` for a grid of ``h`` by ``w`` patches.
    """

    width: int
    num_frames: int
    layers: int
    inner_width: int
    mlp_ratio: float
    num_classes: int
    offsets: int


def read_sizes(state: Mapping[str, Tensor]) -> EVLSizes:
    """Read the sizes off a published file.

    Args:
        state: Tensors by published name, as :func:`video_adapt.checkpoints.read_state` gives them.

    Raises:
        WeightsError: If this is no file of EVL.
    """
    found = [re.match(r"decoder\.decoder_layers\.(\d+)\.", name) for name in state]
    try:
        num_frames, width = state["decoder.temporal_pos_embed.0"].shape
        return EVLSizes(
            width=width,
            num_frames=num_frames,
            layers=1 + max(int(match[1]) for match in found if match),
            inner_width=len(state["decoder.decoder_layers.0.attn.q_proj.weight"]),
            mlp_ratio=len(state["decoder.decoder_layers.0.mlp.fc1.weight"]) / width,
            num_classes=len(state["proj.2.bias"]),
            offsets=len(state["decoder.cross_attention.0.w1"]),
        )
    except (KeyError, ValueError) as error:
        raise WeightsError(f"not a published file of EVL: {error} is missing") from error


def load_published(method: EVL, state: Mapping[str, Tensor]) -> LoadReport:
    """Put the weights of a published file into a method of the same sizes.

    Args:
        method: Receives the weights; its backbone keeps its own.
        state: Tensors by published name, as :func:`video_adapt.checkpoints.read_state` gives them.

    Returns:
        The account of every tensor.

    Raises:
        WeightsError: If the file is not of EVL, or of other sizes than the method.
    """
    sizes = read_sizes(state)
    backbone, network = method.backbone, method.network
    ours = EVLSizes(
        width=backbone.width,
        num_frames=network.num_frames,
        layers=len(network.layers),
        inner_width=sizes.inner_width,
        mlp_ratio=sizes.mlp_ratio,
        num_classes=method.num_classes,
        offsets=math.prod(2 * side - 1 for side in backbone.grid),
    )
    for name, theirs, own in zip(sizes._fields, sizes, ours, strict=True):
        if theirs != own:
            raise WeightsError(f"the file has {name}={theirs}, the model {own}; make them agree")
    return load_strictly(method, convert_keys(state, RULES), allow_new=[r"backbone\..*"])
