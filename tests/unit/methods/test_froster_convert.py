"""Published files of FROSTER and Open-VCLIP, strictly."""

import pytest
import torch

from tests.contracts.helpers import CLASSES, video
from tests.contracts.test_open_vocabulary import PROMPTS, tiny_clip
from tests.unit.methods.published_froster import published_froster, published_open_vclip
from video_adapt.baselines import OpenVCLIP
from video_adapt.baselines import open_vclip_convert as open_vclip
from video_adapt.errors import WeightsError
from video_adapt.methods import FROSTER
from video_adapt.methods.froster.convert import load_published, split


def froster(**settings):
    return FROSTER(tiny_clip(), class_names=CLASSES, prompts=PROMPTS, **settings)


@pytest.mark.parametrize("training", [True, False], ids=["training", "averaged"])
def test_every_tensor_finds_its_place(training):
    method, state = froster(), published_froster(training=training, teacher=5)
    report = load_published(method, state)
    assert len(report.loaded) == len(state)
    assert report.new == report.unused == ()
    student, teacher = tiny_clip(seed=1), tiny_clip(seed=5 if training else 0)
    assert torch.equal(method.backbone(video()).embedding, student(video()).embedding)
    assert torch.equal(method.original(video()).embedding, teacher(video()).embedding)
    assert torch.equal(method.residual.text.outer.weight, state["projector_t.2.weight"])
    assert torch.equal(method.residual.video.inner.weight, state["projector_v.0.weight"])


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("projector_v.2.weight"),
        lambda state: state.pop("model.visual.proj"),
        lambda state: state.update({"model.visual.extra": torch.zeros(1)}),
        lambda state: state.update({"projector_x.0.weight": torch.zeros(1)}),
        lambda state: state.update({"raw_model.visual.proj": torch.zeros(2, 2)}),
    ],
)
def test_a_file_that_does_not_fit_is_refused(change):
    state = published_froster()
    change(state)
    with pytest.raises(WeightsError, match="weights do not fit"):
        load_published(froster(), state)


def test_a_file_of_something_else_is_refused():
    with pytest.raises(WeightsError, match=r"no weight below 'model\.'"):
        split({"visual.proj": torch.zeros(1)})


@pytest.mark.parametrize("settings", [{"regime": "residual_only"}, {"distillation": 0.0}])
def test_other_regimes_than_the_published_one_are_refused(settings):
    with pytest.raises(WeightsError, match="regime full with distillation"):
        load_published(froster(**settings), published_froster())


def test_open_vclip_moves_the_image_tower_alone():
    method = OpenVCLIP(tiny_clip(), class_names=CLASSES)
    report = open_vclip.load_published(method, published_open_vclip())
    assert len(report.loaded) == len(published_open_vclip())
    assert torch.equal(method.backbone(video()).embedding, tiny_clip(seed=1)(video()).embedding)
    assert torch.equal(method.original(video()).embedding, tiny_clip()(video()).embedding)


def test_open_vclip_of_another_clip_is_refused():
    method = OpenVCLIP(tiny_clip(seed=3), class_names=CLASSES)
    with pytest.raises(WeightsError, match="its text tower is not that of tiny"):
        open_vclip.load_published(method, published_open_vclip())
