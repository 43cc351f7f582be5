r"""How the released detectors call their weights: rules from their names to those of our heads.

Each rule is a regular expression of a whole name, our name for it (``\1`` inserts a group) and what
to do to the tensor; ``KeyRule(*rule)`` of ``video_adapt.checkpoints`` takes them as they are. Names
start at ``projection``, ``neck`` and ``rpn_head``, and ours at the head.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Convert = Callable[[Tensor], Tensor]
Rule = tuple[str, str, Convert | None]


def _matrix(kernel: Tensor) -> Tensor:
    """A convolution that sees one position, ``[C', C, 1]``, as the matrix of a linear layer."""
    return kernel.squeeze(-1)


_STAGE = r"projection\.(stem|branch)\.(\d+)\."
_OURS = r"pyramid.\1.\2."
_LEAF = r"\.(weight|bias)"

_SHARED: tuple[Rule, ...] = (
    (r"projection\.embed\.(.*)", r"pyramid.embed.\1", None),
    (r"neck\.fpn_norms\.(.*)", r"pyramid.norms.\1", None),
    (r"rpn_head\.cls_convs\.(.*)", r"class_tower.layers.\1", None),
    (r"rpn_head\.cls_head\.(.*)", r"class_tower.out.\1", None),
    (r"rpn_head\.reg_convs\.(.*)", r"offset_tower.layers.\1", None),
    (r"rpn_head\.reg_head\.(.*)", r"offset_tower.out.\1", None),
    (r"rpn_head\.scale\.(\d+)\.scale", r"scales.\1", None),
    (r"rpn_head\.loss_normalizer", r"positives.value", None),
    (_STAGE + r"drop_path_mlp\.scale", _OURS + "mlp_scale.scale", torch.flatten),
)


def _linear(theirs: str, ours: str) -> tuple[Rule, Rule]:
    return (
        (_STAGE + theirs + r"\.weight", _OURS + ours + ".weight", _matrix),
        (_STAGE + theirs + r"\.bias", _OURS + ours + ".bias", None),
    )


ACTIONFORMER_RULES: tuple[Rule, ...] = (
    *_SHARED,
    (_STAGE + "ln1" + _LEAF, _OURS + r"attention_norm.\3", None),
    (_STAGE + "ln2" + _LEAF, _OURS + r"mlp_norm.\3", None),
    (_STAGE + r"attn\.(\w+)_conv\.conv\.weight", _OURS + r"attention.\3.conv.weight", None),
    (_STAGE + r"attn\.(\w+)_norm" + _LEAF, _OURS + r"attention.\3.norm.\4", None),
    *_linear(r"attn\.proj", "attention.projection"),
    *_linear(r"attn\.(query|key|value)", r"attention.\3.linear"),
    *_linear(r"mlp\.0", "up"),
    *_linear(r"mlp\.3", "down"),
    (_STAGE + r"drop_path_attn\.scale", _OURS + "attention_scale.scale", torch.flatten),
)

TRIDET_RULES: tuple[Rule, ...] = (
    *_SHARED,
    (_STAGE + "ln" + _LEAF, _OURS + r"norm.\3", None),
    (_STAGE + "gn" + _LEAF, _OURS + r"mlp_norm.\3", None),
    (_STAGE + "psi" + _LEAF, _OURS + r"gate.\3", None),
    (_STAGE + "fc" + _LEAF, _OURS + r"instant.\3", None),
    (_STAGE + "global_fc" + _LEAF, _OURS + r"instant_gate.\3", None),
    (_STAGE + "convw" + _LEAF, _OURS + r"window.\3", None),
    (_STAGE + "convkw" + _LEAF, _OURS + r"wide_window.\3", None),
    *_linear(r"downsample\.1", "pool.linear"),
    *_linear(r"mlp\.0", "up"),
    *_linear(r"mlp\.2", "down"),
    (_STAGE + r"drop_path_out\.scale", _OURS + "mix_scale.scale", torch.flatten),
    (r"rpn_head\.cls_(start|end)_convs\.(.*)", r"\1_tower.layers.\2", None),
    (r"rpn_head\.cls_(start|end)_head\.(.*)", r"\1_tower.out.\2", None),
)
