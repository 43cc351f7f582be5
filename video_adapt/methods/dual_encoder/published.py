"""How published DiST files call the weights of :class:`DiSTNetwork`, and how they shape them."""

import re
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from video_adapt.checkpoints import KeyRule

# First words of the names in older files, and in the newer ones.
OLD_NAMES = {
    "input_map_feat_nets": "input_linears",
    "s2t_fuse_nets": "integration2temporal_nets",
    "t2s_fuse_nets": "temporal2integration_nets",
    "spatial_nets": "integration_nets",
    "final_temporal_nets": "adapooling_nets",
}

Convert = Callable[[Tensor], Tensor]


def _stem(kernel: Tensor) -> Tensor:
    """``[Ct, 3, k, p, p]`` as a temporal kernel over flattened patches, ``[Ct, 3*p*p, k, 1]``."""
    return kernel.permute(0, 1, 3, 4, 2).flatten(1, 3).unsqueeze(-1)


_temporal: Convert = partial(torch.squeeze, dim=4)  # [C', C, k, 1, 1]: kernel (k, 1)
_spatial: Convert = partial(torch.squeeze, dim=2)  # [C', C, 1, 3, 3]: kernel (3, 3)
_matrix: Convert = partial(torch.flatten, start_dim=1)  # [C', C, 1, 1, 1]: linear
_rows: Convert = partial(torch.flatten, end_dim=-2)  # [1, .., 1, Ts, C]: one row per frame
_vector: Convert = torch.flatten  # [1, 1, C]

# Their module, ours, and what its weight needs; # stands for the number of a layer.
_MODULES: tuple[tuple[str, str, Convert | None], ...] = (
    ("temporal_stem", "temporal_stem.conv", _stem),
    ("temporal_nets.#.ln", "temporal_blocks.#.norm", None),
    ("temporal_nets.#.temporal_net.c_fc1", "temporal_blocks.#.temporal", _temporal),
    ("temporal_nets.#.temporal_net.c_fc2", "temporal_blocks.#.spatial", _spatial),
    ("input_linears.#", "input_linears.#", None),
    ("temporal2integration_nets.#.linear_fuse", "temporal_to_integration.#.fuse", _temporal),
    ("integration2temporal_nets.#.linear_fuse", "integration_to_temporal.#", None),
    ("integration_nets.#.ln", "integration_nets.#.ffn.norm", None),
    ("integration_nets.#.ffn.c_fc", "integration_nets.#.ffn.up", None),
    ("integration_nets.#.ffn.c_proj", "integration_nets.#.ffn.down", None),
    ("integration_nets.#.ln_temporal", "integration_nets.#.temporal_ffn.norm", None),
    ("integration_nets.#.temporal_ffn.c_fc1", "integration_nets.#.temporal_ffn.down", _matrix),
    ("integration_nets.#.temporal_ffn.c_fc2", "integration_nets.#.temporal_ffn.mix", _temporal),
    ("integration_nets.#.temporal_ffn.c_proj", "integration_nets.#.temporal_ffn.up", _matrix),
    ("proj_spatial_cls_token", "class_linear", None),
    ("ln_post", "norm", None),
)
_PARAMETERS: tuple[tuple[str, str, Convert], ...] = (
    ("temporal2integration_nets.#.cls_token", "temporal_to_integration.#.cls_token", _rows),
    ("adapooling_nets.#.positional_embedding", "poolings.#.positional_embedding", _rows),
    ("aggregated_cls_token", "clip_query", _vector),
    ("aggregated_spatial_cls_token", "frame_query", _vector),
    ("proj", "projection.weight", torch.t),
)


def _rule(theirs: str, ours: str, convert: Convert | None = None) -> KeyRule:
    return KeyRule(re.escape(theirs).replace(r"\#", r"(\d+)"), ours.replace("#", r"\1"), convert)


def _module(theirs: str, ours: str, convert: Convert | None = None) -> Iterator[KeyRule]:
    yield _rule(f"{theirs}.weight", f"{ours}.weight", convert)
    yield _rule(f"{theirs}.bias", f"{ours}.bias")


def _query_layer(ours: str, attention: str, mlp: str, mlp_norm: str) -> Iterator[KeyRule]:
    theirs = "adapooling_nets.#"
    yield from _module(f"{theirs}.{attention}.ln_1", f"{ours}.norm")
    for leaf in ("weight", "bias"):
        packed = f"{theirs}.{attention}.attn.in_proj_{leaf}"
        yield _rule(packed, f"{ours}.attention.in_proj.{leaf}")
    yield from _module(f"{theirs}.{attention}.attn.out_proj", f"{ours}.attention.out_proj")
    yield from _module(f"{theirs}.{mlp_norm}", f"{ours}.mlp.norm")
    yield from _module(f"{theirs}.{mlp}.c_fc", f"{ours}.mlp.up")
    yield from _module(f"{theirs}.{mlp}.c_proj", f"{ours}.mlp.down")


RULES = (
    *(rule for row in _MODULES for rule in _module(*row)),
    *(_rule(*row) for row in _PARAMETERS),
    *_query_layer(
        "poolings.#.frame",
        "spatial_transformer",
        "output_map_spatial_cls_token",
        "ln_out_spat_cls_token",
    ),
    *_query_layer(
        "poolings.#.clip", "temporal_transformer", "output_map_cls_token", "ln_out_temp_cls_token"
    ),
)
