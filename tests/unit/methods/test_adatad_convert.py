import pytest
import torch

from tests.contracts.helpers import tiny_clip
from tests.parity.checks.adatad_backbone import architecture
from tests.parity.checks.adatad_heads import actionformer_settings
from tests.unit.methods.published_detectors import (
    END_TO_END,
    on_features,
    published,
    width_and_classes,
)
from video_adapt.adapters import TIA
from video_adapt.backbones import VideoMAE
from video_adapt.baselines import FeatureDetector
from video_adapt.detection import Detector
from video_adapt.errors import WeightsError
from video_adapt.methods import AdaTAD
from video_adapt.methods.adatad.convert import load_published, rename, towers_of

CONFIG = END_TO_END.config
PLACE = "backbone.model.backbone"
MOVED = ("backbone.tower.patch_embed.weight", "backbone.adapters.0.down.weight", "head.scales.0")
NAMES = [f"class {i}" for i in range(CONFIG["num_classes"])]


def method(tuning="adapter", *, backbone=None, names=NAMES):
    return AdaTAD(
        backbone or VideoMAE.from_config(architecture(CONFIG)),
        class_names=names,
        detector=actionformer_settings(CONFIG),
        tuning=tuning,
        adapter=TIA(ratio=CONFIG["adapter_mlp_ratio"], blocks=CONFIG["adapter_index"]),
    )


@pytest.mark.parametrize("tuning", ["adapter", "side"])
def test_every_tensor_of_a_published_file_finds_its_place(tuning):
    found, state = method(tuning), published(side=tuning == "side")
    before = {name: tensor.clone() for name, tensor in found.state_dict().items()}
    report = load_published(found, state)
    placed = {name.removeprefix("backbone.") for name in report.loaded}
    assert {name.removeprefix("backbone.") for name in before} == placed
    assert report.unused == ()
    assert all(not torch.equal(found.state_dict()[name], before[name]) for name in MOVED)
    place = {"adapter": "blocks.1.adapter", "side": "ladders.adapters.1"}[tuning]
    down = state[f"{PLACE}.{place}.down_proj.weight"]
    assert torch.equal(found.backbone.adapters["1"].down.weight, down)


@pytest.mark.parametrize("name", ["actionformer_eval", "tridet_eval", "gtad_exact"])
def test_detectors_on_features_are_read(name):
    settings, state = on_features(name)
    width, count = width_and_classes(name)
    classes = [f"class {i}" for i in range(count)]
    found = FeatureDetector(class_names=classes, width=width, detector=settings)
    report = load_published(found, state)
    assert set(report.loaded) == set(found.state_dict())
    assert set(rename(found, state)) == set(found.state_dict())


def test_the_towers_are_what_is_no_adapter():
    state = published()
    towers = towers_of(state)
    assert towers == towers_of(published(side=True))
    fresh = VideoMAE.from_config(architecture(CONFIG))
    assert len(fresh.load_weights(towers).loaded) == len(fresh.state_dict())
    assert not towers_of(on_features("tridet_eval")[1])


def test_a_missing_tensor_is_named():
    state = published()
    del state["rpn_head.cls_head.bias"]
    with pytest.raises(WeightsError, match=r"1 missing: head\.class_tower\.out\.bias"):
        load_published(method(), state)


def test_a_file_without_its_backbone_is_refused():
    state = {n: t for n, t in published().items() if not n.startswith("backbone.")}
    with pytest.raises(WeightsError, match="missing"):
        load_published(method(), state)


def test_another_number_of_classes_is_refused():
    with pytest.raises(WeightsError, match=r"of another shape: head\.class_tower\.out"):
        load_published(method(names=["one"]), published())


def test_another_backbone_is_refused():
    with pytest.raises(WeightsError, match="AdaTAD has none; set model: AdaTAD and backbone"):
        load_published(method(backbone=tiny_clip()), published())


def test_an_unknown_head_is_refused():
    class Other(Detector):
        def build(self, width, num_classes):
            return torch.nn.Linear(width, num_classes)

    found = FeatureDetector(class_names=["a"], width=4, detector=Other())
    with pytest.raises(WeightsError, match="published files of Other are not known"):
        load_published(found, {})
