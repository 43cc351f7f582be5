import numpy as np
import pytest
import torch

from video_adapt.errors import ConfigurationError
from video_adapt.video import Mixing
from video_adapt.video.mixing import cut_box, cutmix, mixup, soft_targets

LABEL = torch.tensor([0, 1, 2, 3])


def constant(count: int = 4) -> torch.Tensor:
    """Clips whose pixels all hold the clip's number, ``[B, T, C, H, W]``."""
    return torch.arange(float(count)).view(-1, 1, 1, 1, 1).expand(-1, 2, 3, 8, 10).clone()


def kept_share(video: torch.Tensor) -> float:
    """How much of itself clip 0 (zeros) kept beside its partner 3."""
    return 1 - float(video[0].mean()) / 3


def test_mixup_blends_with_the_mirrored_clip():
    mixed = mixup(constant(), 0.75)
    assert mixed[:, 0, 0, 0, 0].tolist() == pytest.approx([0.75, 1.25, 1.75, 2.25])


def test_odd_batch_mixes_its_middle_with_itself():
    assert torch.equal(mixup(constant(3), 0.3)[1], constant(3)[1])


def test_cutmix_replaces_the_box_in_all_frames():
    mixed, share = cutmix(constant(), cut_box(8, 10, 0.75, (4, 5)))
    assert share == pytest.approx(1 - 4 * 4 / 80)  # 4 x 5, halves rounded down
    assert torch.equal(mixed[0, 0, 0], mixed[0, 1, 2])
    assert mixed[0, 0, 0, 2:6, 3:7].unique().tolist() == [3.0]
    assert mixed[0, 0, 0].sum() == 3 * 16


def test_cut_box_is_clipped_to_the_picture():
    assert cut_box(8, 10, 0.0, (0, 9)) == (0, 4, 4, 10)
    assert cut_box(8, 10, 1.0, (3, 3)) == (3, 3, 3, 3)


def test_targets_are_smoothed_and_shared():
    targets = soft_targets(torch.tensor([0, 2]), 4, 0.2, 0.75)
    expected = torch.tensor([[0.65, 0.05, 0.25, 0.05], [0.25, 0.05, 0.65, 0.05]])
    torch.testing.assert_close(targets, expected)
    torch.testing.assert_close(soft_targets(LABEL, 4, 0.0), torch.eye(4))


@pytest.mark.parametrize("label", [[-1, 0], [0, 4]])
def test_clip_without_a_label_is_refused(label):
    with pytest.raises(ConfigurationError, match=r"must be in \[0, 4\)"):
        soft_targets(torch.tensor(label), 4, 0.1)


def test_targets_follow_the_pixels():
    mixing = Mixing(label_smoothing=0.0)
    for seed in range(40):
        video, target = mixing(constant(), LABEL, 4, seed)
        assert float(target[0, 0]) == pytest.approx(kept_share(video), abs=1e-5)


def test_draws_follow_the_seed():
    mixing = Mixing()
    first = mixing(constant(), LABEL, 4, 11)
    again = mixing(constant(), LABEL, 4, 11)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], mixing(constant(), LABEL, 4, 12)[1])


def test_modes_and_shares_are_drawn_as_stated():
    mixing = Mixing(mixup_alpha=0.8, cutmix_alpha=1.0, switch=0.25, label_smoothing=0.0)
    cut, shares = [], []
    for seed in range(400):
        video, target = mixing(constant(), LABEL, 4, seed)
        # A cut leaves whole numbers behind.
        cut.append(torch.equal(video, video.round()))
        shares.append(float(target[0, 0]))
    assert np.mean(cut) == pytest.approx(0.25, abs=0.07)
    blended = [share for share, is_cut in zip(shares, cut, strict=True) if not is_cut]
    assert np.mean(blended) == pytest.approx(0.5, abs=0.06)
    assert np.std(blended) == pytest.approx((4 * 2.6) ** -0.5, abs=0.03)  # of Beta(0.8, 0.8)


def test_probability_leaves_batches_alone():
    video, target = Mixing(probability=0.0)(constant(), LABEL, 4, 0)
    assert torch.equal(video, constant())
    torch.testing.assert_close(target, soft_targets(LABEL, 4, 0.1))
    often = Mixing(cutmix_alpha=0.0, probability=0.5)
    half = [often(constant(), LABEL, 4, seed)[0] for seed in range(200)]
    unmixed = np.mean([torch.equal(video, constant()) for video in half])
    assert unmixed == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("mixing", "whole"), [(Mixing(mixup_alpha=0.0), True), (Mixing(cutmix_alpha=0.0), False)]
)
def test_zero_turns_one_mode_off(mixing, whole):
    for seed in range(20):
        video, _ = mixing(constant(), LABEL, 4, seed)
        assert torch.equal(video, video.round()) == whole


def test_both_off_smooths_labels_only():
    video, target = Mixing(mixup_alpha=0.0, cutmix_alpha=0.0)(constant(), LABEL, 4, 0)
    assert torch.equal(video, constant())
    torch.testing.assert_close(target, soft_targets(LABEL, 4, 0.1))


@pytest.mark.parametrize(
    "values", [{"mixup_alpha": -1.0}, {"switch": 2.0}, {"label_smoothing": -0.1}]
)
def test_impossible_values_are_refused(values):
    with pytest.raises(ConfigurationError, match=next(iter(values))):
        Mixing(**values)
