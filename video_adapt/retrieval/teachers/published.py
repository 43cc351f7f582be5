"""How published teachers call the weights of their CLIP, and where head and towers part.

The rules of a head stand beside the head. Those here give OpenAI's names, as
``backbones.CLIP.load_weights`` reads them: :data:`TOWER_RULES` for X-CLIP, TS2-Net and CLIP4Clip,
:data:`XPOOL_TOWER_RULES` and then :func:`join_attention` for X-Pool, whose CLIP is that of
transformers.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from .base import Rule

TOWER_RULES: tuple[Rule, ...] = (
    # TS2-Net wraps the attention of the blocks that shift tokens: one level more.
    (r"clip\.(.+\.attn)\.net\.(.+)", r"\1.\2", None),
    (r"clip\.(.+)", r"\1", None),
)


def _tower_rules(theirs: str, ours: str) -> tuple[Rule, ...]:
    block = rf"clip\.{theirs}\.encoder\.layers\.(\d+)\."
    target = rf"{ours}transformer.resblocks.\1."
    return (
        # One matrix in OpenAI's files: `join_attention` makes it of these.
        (block + r"self_attn\.([qkv])_proj\.(.+)", target + r"attn.\2.\3", None),
        (block + r"self_attn\.out_proj\.(.+)", target + r"attn.out_proj.\2", None),
        (block + r"layer_norm([12])\.(.+)", target + r"ln_\2.\3", None),
        (block + r"mlp\.fc1\.(.+)", target + r"mlp.c_fc.\2", None),
        (block + r"mlp\.fc2\.(.+)", target + r"mlp.c_proj.\2", None),
    )


_TEXT, _VISION = r"clip\.text_model\.", r"clip\.vision_model\."
XPOOL_TOWER_RULES: tuple[Rule, ...] = (
    *_tower_rules("text_model", ""),
    *_tower_rules("vision_model", "visual."),
    (_TEXT + r"embeddings\.token_embedding\.weight", "token_embedding.weight", None),
    (_TEXT + r"embeddings\.position_embedding\.weight", "positional_embedding", None),
    (_TEXT + r"final_layer_norm\.(.+)", r"ln_final.\1", None),
    (_VISION + r"embeddings\.class_embedding", "visual.class_embedding", None),
    (_VISION + r"embeddings\.patch_embedding\.weight", "visual.conv1.weight", None),
    (_VISION + r"embeddings\.position_embedding\.weight", "visual.positional_embedding", None),
    (_VISION + r"pre_layrnorm\.(.+)", r"visual.ln_pre.\1", None),
    (_VISION + r"post_layernorm\.(.+)", r"visual.ln_post.\1", None),
    (r"clip\.visual_projection\.weight", "visual.proj", torch.t),
    (r"clip\.text_projection\.weight", "text_projection", torch.t),
    (r"clip\.logit_scale", "logit_scale", None),
)


def join_attention(towers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Finish the towers of X-Pool: queries, keys and values in one matrix, no numbered places.

    Args:
        towers: Tensors by the names that :data:`XPOOL_TOWER_RULES` give.
    """
    # Constants that some versions of transformers store.
    joined = {name: x for name, x in towers.items() if not name.endswith(".position_ids")}
    for name in towers:
        if match := re.fullmatch(r"(.+\.attn)\.q\.(weight|bias)", name):
            parts = [f"{match[1]}.{part}.{match[2]}" for part in "qkv"]
            if all(part in joined for part in parts):
                joined[f"{match[1]}.in_proj_{match[2]}"] = torch.cat([joined.pop(p) for p in parts])
    return joined


def split_published(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Take a published teacher apart.

    Args:
        state: Tensors by published name.

    Returns:
        What belongs to the head, and what belongs to the towers, both by published name. The
        temperature belongs to both: the head compares with it.
    """
    towers = {name: tensor for name, tensor in state.items() if name.startswith("clip.")}
    head = {n: t for n, t in state.items() if n not in towers or n == "clip.logit_scale"}
    return head, towers
