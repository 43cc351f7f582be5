"""From published DiST files to :class:`DiST`: the branch, the sizes it implies, the towers.

A published file holds the branch below ``dist_net.`` (older files: ``ladder_net.``, with other
names) and both CLIP towers under OpenAI's names.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from video_adapt.backbones.base import Backbone
from video_adapt.backbones.clip_weights import CLIP_KEYS
from video_adapt.checkpoints import LoadReport, convert_keys, load_strictly
from video_adapt.errors import WeightsError

from .method import DiST
from .published import OLD_NAMES, RULES

_PREFIX = "backbone.base_encoder."
_BRANCHES = ("dist_net.", "ladder_net.")
_PER_FRAME = r"temporal_to_integration\.\d+\.cls_token|poolings\.\d+\.positional_embedding"


class PublishedDiST(NamedTuple):
    """The two parts of a published file.

    Attributes:
        branch: The trained part, by the names of :class:`DiSTNetwork`.
        towers: The frozen part, by OpenAI's names; empty if the file lacks it.
    """

    branch: dict[str, Tensor]
    towers: dict[str, Tensor]


def split(state: Mapping[str, Tensor]) -> PublishedDiST:
    """Take a published file apart.

    Args:
        state: Tensors by published name, as :func:`video_adapt.checkpoints.read_state` gives them.

    Raises:
        WeightsError: If this is no file of DiST.
    """
    branch: dict[str, Tensor] = {}
    towers: dict[str, Tensor] = {}
    for key, tensor in state.items():
        name = key.removeprefix(_PREFIX)
        if name.startswith(_BRANCHES):
            first, dot, rest = name.partition(".")[2].partition(".")
            branch[OLD_NAMES.get(first, first) + dot + rest] = tensor
        else:
            towers[name] = tensor
    if not branch:
        raise WeightsError("not a published file of DiST: it holds no dist_net.* weights")
    return PublishedDiST(convert_keys(branch, RULES), towers)


def read_arguments(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Read constructor arguments of :class:`DiST` off a published file, as plain values.

    The number of attention heads is not in it: all published models have one per 64 channels.

    Args:
        state: Tensors by published name, as :func:`video_adapt.checkpoints.read_state` gives them.

    Raises:
        WeightsError: If this is no file of DiST.
    """
    branch = split(state).branch
    try:
        kept, dim = branch["temporal_to_integration.0.cls_token"].shape
        temporal_dim, _, stem_kernel, _ = branch["temporal_stem.conv.weight"].shape
        hidden, _, kernel, _ = branch["temporal_blocks.0.temporal.weight"].shape
        ratio = branch["temporal_to_integration.0.fuse.weight"].shape[2]
        sizes = {
            "integration_dim": dim,
            "temporal_dim": temporal_dim,
            "pooling_layers": _count(branch, "poolings"),
            "stem_kernel": stem_kernel,
            "temporal_kernel": kernel,
            "temporal_ratio": hidden / temporal_dim,
            "integration_ratio": len(branch["integration_nets.0.ffn.up.weight"]) / dim,
            "integration_temporal_ratio": len(branch["integration_nets.0.temporal_ffn.down.weight"])
            / dim,
        }
    except (KeyError, ValueError) as error:
        raise WeightsError(f"not a published file of DiST: {error}") from error
    return {"num_frames": kept * ratio, "frame_ratio": ratio, "branch": sizes}


def load_published(
    method: DiST, state: Mapping[str, Tensor], *, resize_time: bool = False
) -> LoadReport:
    """Put the branch of a published file into a method of the same sizes and towers.

    The exchange behind the last layer is in the files though its result is never used; ours does
    not have it, and the report names it as unused.

    Args:
        method: Receives the weights; its backbone keeps its own.
        state: Tensors by published name, as :func:`video_adapt.checkpoints.read_state` gives them.
        resize_time: Interpolate what is learnt per frame if the method has another number of
            frames; otherwise that is an error.

    Returns:
        The account of every tensor of the branch.

    Raises:
        WeightsError: If the file is not of DiST, of other sizes than the method, or was trained
            on other towers than the method's backbone.
    """
    branch, towers = split(state)
    _check_towers(method.backbone, towers)
    kept = method.num_frames // method.frame_ratio
    resized = [
        name
        for name, tensor in branch.items()
        if re.fullmatch(_PER_FRAME, name) and len(tensor) != kept
    ]
    if resized and not resize_time:
        theirs = len(branch[resized[0]])
        raise WeightsError(
            f"the file was trained with {theirs} frames in the image tower, the method has {kept}: "
            f"set num_frames={theirs * method.frame_ratio}, or allow resize_time"
        )
    branch |= {name: _resize(branch[name], kept) for name in resized}
    last = len(method.layers) - 1
    return load_strictly(
        method.network,
        branch,
        allow_unused=[rf"integration_to_temporal\.{last}\..*"],
        converted=resized,
    )


def _check_towers(backbone: Backbone, towers: Mapping[str, Tensor]) -> None:
    """Refuse a branch that was trained beside other towers; a file without towers cannot tell."""
    theirs = {f"towers.{name}": t for name, t in convert_keys(towers, CLIP_KEYS).items()}
    own = backbone.state_dict() if theirs else {}
    other = [
        name
        for name, tensor in own.items()
        if name not in theirs or not torch.equal(theirs[name].float(), tensor.cpu().float())
    ]
    if other:
        raise WeightsError(
            f"the file was trained on other towers than {backbone.name}: {len(other)} of "
            f"{len(own)} tensors differ, first {other[0]}; give the backbone those weights, "
            "or the file's own"
        )


def _count(branch: Mapping[str, Tensor], name: str) -> int:
    return len({key.split(".")[1] for key in branch if key.startswith(f"{name}.")})


def _resize(rows: Tensor, length: int) -> Tensor:
    """Interpolate ``[Ts, C]`` linearly; both sets of frames stand for equal shares of the clip."""
    return F.interpolate(rows.T[None].float(), size=length, mode="linear")[0].T
