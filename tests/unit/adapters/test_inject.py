import pytest
import torch

from tests.fakes import FakeBackbone
from video_adapt.adapters import Adapter, STAdapter, inject
from video_adapt.errors import ConfigurationError


def sites(backbone):
    return {
        int(block): (edit.attention is not None, edit.mlp is not None)
        for block, edit in backbone.adapters.items()
    }


def test_every_block_gets_its_sites():
    backbone = FakeBackbone(depth=3)
    inject(backbone, STAdapter(width=4, before_attention=True), reads_patches=True)
    assert sites(backbone) == {0: (True, True), 1: (True, True), 2: (True, True)}


def test_an_edit_that_nobody_reads_is_left_out():
    backbone = FakeBackbone(depth=3)
    inject(backbone, STAdapter(width=4))
    assert sites(backbone) == {0: (False, True), 1: (False, True)}


def test_the_last_block_keeps_its_edit_before_attention():
    backbone = FakeBackbone(depth=3)
    inject(backbone, STAdapter(width=4, before_attention=True, last_blocks=1))
    assert sites(backbone) == {2: (True, False)}


def test_the_backbones_own_weights_are_untouched():
    backbone = FakeBackbone()
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    inject(backbone, STAdapter(width=4))
    after = backbone.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())
    assert {k.split(".")[0] for k in after.keys() - before.keys()} == {"adapters"}


def test_a_backbone_is_adapted_once():
    backbone = FakeBackbone()
    inject(backbone, STAdapter(width=4))
    with pytest.raises(ConfigurationError, match="blocks 0, 1 carry an adapter already"):
        inject(backbone, STAdapter(width=4))


def test_an_adapter_that_edits_nothing_is_refused():
    with pytest.raises(ConfigurationError, match="STAdapter edits no block of fake"):
        inject(FakeBackbone(depth=3), STAdapter(width=4, last_blocks=1))


@pytest.mark.parametrize("last_blocks", [0, 4])
def test_more_blocks_than_there_are_is_refused(last_blocks):
    with pytest.raises(ConfigurationError, match=f"last_blocks={last_blocks}.* has 3 blocks"):
        inject(FakeBackbone(depth=3), STAdapter(width=4, last_blocks=last_blocks))


def test_an_adapter_is_a_recipe_that_needs_no_backbone():
    assert isinstance(STAdapter(), Adapter)
    assert not isinstance(STAdapter(), torch.nn.Module)
