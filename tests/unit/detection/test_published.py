import re

import pytest
import torch

from video_adapt.checkpoints import KeyRule, convert_keys
from video_adapt.detection import SGP, ActionFormer, Assignment, Pyramid, Towers, TriDet
from video_adapt.detection.published import ACTIONFORMER_RULES, TRIDET_RULES

SHARED = {
    "pyramid": Pyramid(width=16, levels=2, stem_layers=1, max_length=16),
    "towers": Towers(width=8, layers=1),
    "assignment": Assignment(ranges=((0, 4), (4, 1000))),
}
LEVELS = ["projection.stem.0", "projection.branch.0"]
HEAD = [
    *(f"projection.embed.{i}.{leaf}" for i in (0, 1) for leaf in ("conv.weight", "norm.bias")),
    *(f"neck.fpn_norms.{i}.weight" for i in (0, 1)),
    *(f"rpn_head.{kind}_convs.0.conv.weight" for kind in ("cls", "reg")),
    *(f"rpn_head.{kind}_head.bias" for kind in ("cls", "reg")),
    *(f"rpn_head.scale.{i}.scale" for i in (0, 1)),
    "rpn_head.loss_normalizer",
]
BLOCKS = {
    ActionFormer: [
        *("ln1.weight", "ln2.bias", "mlp.0.weight", "mlp.3.weight", "mlp.3.bias"),
        *("attn.query_conv.conv.weight", "attn.key_norm.bias", "attn.value.weight"),
        *("attn.proj.weight", "attn.proj.bias", "drop_path_attn.scale", "drop_path_mlp.scale"),
    ],
    TriDet: [
        *("ln.weight", "gn.bias", "psi.weight", "fc.bias", "global_fc.weight", "convw.weight"),
        *("convkw.bias", "mlp.0.weight", "mlp.2.bias"),
    ],
}
MORE = {
    ActionFormer: [],
    TriDet: [
        *(f"projection.branch.0.drop_path_{what}.scale" for what in ("out", "mlp")),
        *(f"projection.branch.0.downsample.1.{leaf}" for leaf in ("weight", "bias")),
        *(f"rpn_head.cls_{end}_convs.0.norm.weight" for end in ("start", "end")),
        *(f"rpn_head.cls_{end}_head.weight" for end in ("start", "end")),
    ],
}


@pytest.mark.parametrize("kind", [ActionFormer, TriDet])
def test_published_names_become_names_of_the_head(kind):
    settings = {"sgp": SGP(pool="mean")} if kind is TriDet else {}
    own = kind(**SHARED, **settings).build(6, 3).state_dict()
    rules = {ActionFormer: ACTIONFORMER_RULES, TriDet: TRIDET_RULES}[kind]
    names = [*HEAD, *MORE[kind], *(f"{level}.{key}" for level in LEVELS for key in BLOCKS[kind])]
    for name in names:
        assert [bool(re.fullmatch(pattern, name)) for pattern, _, _ in rules].count(True) == 1
        (converted,) = convert_keys({name: torch.zeros(1, 16, 1)}, [KeyRule(*r) for r in rules])
        assert converted in own, name


def test_matrices_and_scales_lose_their_unit_axes():
    def shape(name, *theirs):
        (tensor,) = convert_keys({name: torch.zeros(theirs)}, rules).values()
        return tuple(tensor.shape)

    rules = [KeyRule(*rule) for rule in ACTIONFORMER_RULES]
    assert shape("projection.stem.0.mlp.0.weight", 8, 4, 1) == (8, 4)
    assert shape("projection.stem.0.drop_path_mlp.scale", 1, 4, 1) == (4,)
    assert shape("projection.stem.0.attn.key_conv.conv.weight", 4, 1, 3) == (4, 1, 3)
