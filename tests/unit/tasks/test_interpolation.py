import pytest
import torch

from tests.contracts.helpers import video
from tests.contracts.test_open_vocabulary import tiny_clip
from video_adapt.adapters import ExpandedAttention, inject
from video_adapt.errors import ConfigurationError
from video_adapt.tasks import Interpolation, original_of


def tuned_pair():
    backbone = tiny_clip()
    original = original_of(backbone, shared=False)
    inject(backbone, ExpandedAttention())
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.1)
    return original, backbone


def test_an_original_of_its_own_stays_when_the_backbone_moves():
    original, backbone = tuned_pair()
    fresh = tiny_clip()
    assert not len(original.adapters)
    assert not any(p.requires_grad for p in original.parameters())
    assert torch.equal(original(video()).embedding, fresh(video()).embedding)
    assert not torch.equal(backbone(video()).embedding, fresh(video()).embedding)


def test_a_shared_original_has_the_same_weights_and_no_adapter():
    backbone = tiny_clip()
    original = original_of(backbone, shared=True)
    inject(backbone, ExpandedAttention())
    own = {id(p) for p in backbone.parameters()}
    assert {id(p) for p in original.parameters()} == own
    assert len(backbone.adapters)
    assert not len(original.adapters)


def test_every_weight_lies_between_and_the_adapters_are_the_tuned_ones():
    original, backbone = tuned_pair()
    between = Interpolation(0.25)(original, backbone)
    ends = zip(original.towers.parameters(), backbone.towers.parameters(), strict=True)
    for mixed, (start, end) in zip(between.towers.parameters(), ends, strict=True):
        torch.testing.assert_close(mixed, 0.25 * start + 0.75 * end)
    torch.testing.assert_close(
        between.logit_scale, 0.25 * original.logit_scale + 0.75 * backbone.logit_scale
    )
    assert between.adapters is backbone.adapters


def test_nothing_of_the_original_is_the_tuned_model_itself():
    original, backbone = tuned_pair()
    assert Interpolation(0.0)(original, backbone) is backbone


def test_it_is_computed_once_and_again_when_a_weight_moves():
    original, backbone = tuned_pair()
    interpolation = Interpolation(0.5)
    with torch.inference_mode():
        between = interpolation(original, backbone)
    version = between.logit_scale._version
    assert interpolation(original, backbone) is between
    assert between.logit_scale._version == version
    with torch.no_grad():
        backbone.towers.logit_scale.add_(1.0)
    expected = (original.logit_scale + backbone.logit_scale) / 2
    torch.testing.assert_close(interpolation(original, backbone).logit_scale, expected)


@pytest.mark.parametrize("ratio", [-0.1, 1.1, float("nan")])
def test_a_share_beyond_all_is_refused(ratio):
    with pytest.raises(ConfigurationError, match="within"):
        Interpolation(ratio)
