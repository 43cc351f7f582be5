"""Open-VCLIP's step and its evaluation, beside what the parity fixtures hold."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.contracts.helpers import CLASSES, video
from tests.contracts.test_open_vocabulary import BUILDERS, NOVEL, PROMPTS, batch, tiny_clip, train
from video_adapt.baselines import OpenVCLIP
from video_adapt.errors import ConfigurationError


def test_what_trains_is_the_image_tower_and_the_temperature():
    method = BUILDERS["open_vclip"](tiny_clip())
    trained = {k for k, p in method.named_parameters() if p.requires_grad}
    start = "backbone.towers."
    image = {f"{start}visual.{k}" for k, _ in method.backbone.visual.named_parameters()}
    assert trained == image | {f"{start}logit_scale"}


def test_an_interpolated_gradient_counts_whole_whatever_the_share():
    """At the start both ends are one, so the gradient there is half of the plain one."""
    sums = {}
    for share in (0.0, 0.6):
        method = BUILDERS["open_vclip"](tiny_clip()).train()
        classes = method.original_text.classifier(method.original, NOVEL)
        target = torch.tensor([0, 1, 1])
        current, between = method.both_logits(video(), classes, share)
        torch.testing.assert_close(current, between)
        method.objective(current, between, target)["loss"].backward()
        whole = method.backbone.visual.proj.grad.clone()
        method.zero_grad()
        F.cross_entropy(method.both_logits(video(), classes, share)[0], target).backward()
        torch.testing.assert_close(whole, 1.5 * method.backbone.visual.proj.grad)
        sums[share] = whole
    torch.testing.assert_close(sums[0.0], sums[0.6])


def test_all_of_the_original_in_between_is_zero_shot_clip():
    method = train(BUILDERS["open_vclip_uninterpolated"](tiny_clip()))
    classes = method.original_text.classifier(method.original, NOVEL)
    _, between = method.both_logits(video(), classes, 1.0)
    torch.testing.assert_close(between, method.zero_shot_logits(video(), NOVEL))


def test_the_share_of_a_step_is_within_the_range_and_the_same_everywhere(monkeypatch):
    method = OpenVCLIP(tiny_clip(), class_names=CLASSES, mix_range=(0.2, 0.4))
    shares = [method.draw_share(step) for step in range(300)]
    assert shares == [method.draw_share(step) for step in range(300)]
    assert 0.2 <= min(shares) < 0.21
    assert 0.39 < max(shares) <= 0.4
    assert np.mean(shares) == pytest.approx(0.3, abs=0.01)
    monkeypatch.setenv("PL_GLOBAL_SEED", "9")
    assert method.draw_share(0) != shares[0]


def test_a_step_without_interpolation_reads_the_clips_once():
    method = BUILDERS["open_vclip_uninterpolated"](tiny_clip()).train()
    assert method.losses(batch(), 0).keys() == {"loss", "ce"}


def test_classes_are_put_into_words_by_name_alone():
    assert not OpenVCLIP(tiny_clip(), class_names=CLASSES).prompts.described
    assert PROMPTS.described


@pytest.mark.parametrize("shares", [(0.5, 0.4), (-0.1, 0.5), (0.0, 1.1)])
def test_an_impossible_range_is_refused(shares):
    with pytest.raises(ConfigurationError, match="two ascending shares"):
        OpenVCLIP(tiny_clip(), class_names=CLASSES, mix_range=shares)
