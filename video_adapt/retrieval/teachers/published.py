"""How published teachers call the weights of their CLIP, and where head and towers part.

The rules of a head stand beside the head. :data:`TOWER_RULES` give the names of open_clip's image
and text tower, as ``backbones.CLIP.load_weights`` reads them.
"""

from collections.abc import Mapping

from torch import Tensor

from .base import Rule

TOWER_RULES: tuple[Rule, ...] = (
    # TS2-Net wraps the attention of the blocks that shift tokens: one level more.
    (r"clip\.(.+\.attn)\.net\.(.+)", r"\1.\2", None),
    (r"clip\.(.+)", r"\1", None),
)


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
