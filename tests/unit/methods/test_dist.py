import pytest
import torch
from torch.nn import functional as F

from tests.contracts.helpers import CLASSES, SPEC, tiny_clip, video
from video_adapt.errors import ConfigurationError
from video_adapt.methods import DiST
from video_adapt.methods.dual_encoder import BranchSpec

BRANCH = BranchSpec(integration_dim=16, temporal_dim=6)


def dist(**settings):
    defaults = {"class_names": CLASSES, "optimizer": SPEC, "num_frames": 4, "branch": BRANCH}
    return DiST(tiny_clip(), **(defaults | settings))


def test_the_image_tower_sees_every_second_frame_of_the_clip():
    method, seen = dist(), []
    method.backbone.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    clips = video()
    method(clips)
    (frames,) = seen
    assert torch.equal(frames, clips[:, [0, 2]])


def test_the_graph_touches_the_branch_only():
    method = dist()
    method(video()).sum().backward()
    with_grad = {name.split(".")[0] for name, p in method.named_parameters() if p.grad is not None}
    assert with_grad == {"network"}


def test_only_the_chosen_blocks_are_read_lowest_first():
    method = dist(selected_layers=[2, 0])
    assert method.layers == [0, 2]
    assert len(method.network.input_linears) == 2


def test_fusion_averages_logits_with_the_frozen_tower_in_evaluation():
    method = dist().eval()
    plain, clips = method(video()), video()
    frames = method.backbone(clips[:, ::2]).embedding
    text = F.normalize(method.backbone.encode_text(CLASSES), dim=-1)
    scale = method.backbone.logit_scale.exp()
    frozen = (scale * F.normalize(frames, dim=-1) @ text.T).mean(1)
    method.fuse_zero_shot = True
    torch.testing.assert_close(method(clips), (plain + frozen) / 2)
    torch.testing.assert_close(method.train()(clips), plain)


def test_clips_of_another_length_are_refused():
    with pytest.raises(ConfigurationError, match=r"clips of 6 frames.*num_frames=4"):
        dist()(video(frames=6))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_frames": 5}, "num_frames=5 is no multiple of frame_ratio=2"),
        ({"selected_layers": [0, 3]}, r"selected_layers=\[0, 3\]: tiny has blocks 0 to 2"),
        ({"selected_layers": []}, r"selected_layers=\[\]"),
        ({"fuse_zero_shot": True, "head": "linear"}, "set head=text"),
    ],
    ids=str,
)
def test_contradictions_are_refused(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        dist(**settings)
