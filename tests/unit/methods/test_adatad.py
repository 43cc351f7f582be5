import pytest
import torch

from tests.contracts.helpers import tiny_clip
from video_adapt.backbones import VideoMAE, VideoMAEConfig
from video_adapt.detection import ActionFormer, Assignment, Pyramid, Towers
from video_adapt.errors import ConfigurationError
from video_adapt.methods import AdaTAD
from video_adapt.tasks.detection import resample

CHUNK = 4
DETECTOR = ActionFormer(
    pyramid=Pyramid(width=16, embed_layers=1, stem_layers=1, levels=2, max_length=16),
    towers=Towers(width=16, layers=1),
    assignment=Assignment(ranges=((0, 4), (4, 10000))),
    heads=2,
)


def adatad(tuning="adapter", *, backbone=None, **settings):
    small = VideoMAEConfig("small", 24, 3, 3, 48, patch_size=4, chunk_frames=CHUNK, table_size=16)
    backbone = backbone or VideoMAE.from_config(small)
    return AdaTAD(backbone, class_names=["a", "b"], detector=DETECTOR, tuning=tuning, **settings)


def video(frames=16):
    return torch.randn(1, frames, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("tuning", ["adapter", "side"])
def test_a_fresh_adapter_changes_nothing(tuning):
    torch.manual_seed(0)
    frozen = adatad("frozen").eval()
    adapted = adatad(tuning)
    adapted.backbone.load_state_dict(frozen.backbone.state_dict(), strict=False)
    torch.testing.assert_close(adapted.eval().sequence(video()), frozen.sequence(video()))


def moved(method, frame):
    """Time steps of which the features change where one frame does."""
    before, after = video(), video()
    after[:, frame] += 1
    difference = method.sequence(after) - method.sequence(before)
    return difference.abs().amax(-1)[0].nonzero()[:, 0].tolist()


def awake(method):
    """The same method after training has moved the adapters."""
    for adapter in method.backbone.adapters.values():
        torch.nn.init.ones_(adapter.up.weight)
    return method.eval()


def test_chunks_see_one_another_through_adapters_alone():
    # Eight steps of two frames, four chunks: frame 5 is in step 2, chunk 1, steps 2 and 3.
    assert moved(adatad("frozen").eval(), 5) == [2, 3]
    assert moved(awake(adatad("side")), 5) == [1, 2, 3, 4]
    assert len(moved(awake(adatad("adapter")), 5)) == 8


def test_what_a_time_step_is_follows_from_the_backbone():
    assert adatad().sequence(video()).shape == (1, 8, 24)
    assert adatad(backbone=tiny_clip()).sequence(video()).shape == (1, 16, 24)


def test_features_come_on_the_grid_of_the_mask():
    method = adatad().eval()
    seen = []
    method.head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    method(video(), torch.ones(1, 16, dtype=torch.bool))
    expected = resample(method.sequence(video()), 16)
    torch.testing.assert_close(seen[0], expected)


def test_resampling_keeps_a_straight_line_straight_between_the_ends():
    line = torch.arange(4.0)[None, :, None]
    twice = resample(line, 8)[0, :, 0]
    assert twice.tolist() == [0.0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0]
    assert resample(line, 2)[0, :, 0].tolist() == [0.5, 2.5]
    assert resample(line, 4) is line


def test_it_is_actionformer_with_tia_unless_told_otherwise():
    method = AdaTAD(tiny_clip(), class_names=["a"])
    assert method.detector == ActionFormer()
    assert method.tuning == "adapter"
    assert {type(adapter).__name__ for adapter in method.backbone.adapters.values()} == {
        "TIABlockAdapter"
    }


def test_frames_that_fill_no_chunk_are_refused():
    with pytest.raises(ConfigurationError, match="sees 4 frames at once and cannot divide 6"):
        adatad().sequence(video(6))


def test_a_backbone_carries_one_adapter():
    method = adatad()
    with pytest.raises(ConfigurationError, match="carry an adapter already"):
        adatad(backbone=method.backbone)
