"""Every method, in every form that experiment files give it, keeps a recogniser's promises."""

import pytest
import torch

from tests.contracts.helpers import (
    CLASSES,
    FRAMES,
    SPEC,
    RecogniserContract,
    load,
    save,
    tiny_clip,
    video,
)
from video_adapt import methods
from video_adapt.errors import WeightsError
from video_adapt.methods import DiST
from video_adapt.methods.dual_encoder import BranchSpec
from video_adapt.tasks import RecognitionTask

BRANCH = BranchSpec(integration_dim=16, temporal_dim=6, heads=2)


def dist(**settings):
    defaults = {"class_names": CLASSES, "optimizer": SPEC, "num_frames": FRAMES, "branch": BRANCH}
    return lambda backbone: DiST(backbone, **(defaults | settings))


BUILDERS = {
    "dist": dist(),
    "dist_linear": dist(head="linear"),
    "dist_fused": dist(fuse_zero_shot=True),
    "dist_some_layers": dist(selected_layers=[2, 0]),
    "dist_every_frame": dist(frame_ratio=1),
    "dist_four_to_one": dist(frame_ratio=4),
}


class TestMethods(RecogniserContract):
    @pytest.fixture(params=BUILDERS.values(), ids=BUILDERS.keys())
    def build(self, request):
        return request.param


def test_no_method_is_left_out():
    classes = {type(build(tiny_clip())).__name__ for build in BUILDERS.values()}
    listed = [getattr(methods, name) for name in methods.__all__]
    recognisers = [kind for kind in listed if kind.job == RecognitionTask.job]
    assert classes == {kind.__name__ for kind in recognisers}


@pytest.mark.parametrize("form", ["dist", "dist_fused"])
def test_classes_in_another_order_give_the_logits_in_that_order(form):
    method = BUILDERS[form](tiny_clip()).eval()
    order = [2, 0, 1]
    names = [CLASSES[i] for i in order]
    settings = {"class_names": names, "fuse_zero_shot": method.fuse_zero_shot}
    other = dist(**settings)(tiny_clip()).eval()
    other.load_state_dict(method.state_dict())
    torch.testing.assert_close(other(video()), method(video())[:, order])


def test_a_text_head_moves_on_to_other_classes():
    method = BUILDERS["dist"](tiny_clip()).eval()
    names = ["sitting", CLASSES[1]]
    other = dist(class_names=names)(tiny_clip()).eval()
    load(other, save(method))
    torch.testing.assert_close(other(video())[:, 1], method(video())[:, 1])


def test_a_linear_head_refuses_other_classes():
    checkpoint = save(BUILDERS["dist_linear"](tiny_clip()))
    other = dist(head="linear", class_names=[*CLASSES[::-1]])(tiny_clip())
    with pytest.raises(WeightsError, match="names or order differ"):
        load(other, checkpoint)
