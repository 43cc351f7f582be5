"""Every baseline, in every form that experiment files give it, keeps a recogniser's promises."""

import pytest

from tests.contracts.helpers import CLASSES, FRAMES, SPEC, RecogniserContract, tiny_clip
from video_adapt import baselines
from video_adapt.adapters import STAdapter
from video_adapt.baselines import EVL, AttentiveProbe, TunedClassifier, ZeroShot
from video_adapt.tasks import RecognitionTask

BOTH = {"class_names": CLASSES, "optimizer": SPEC}


def tuned(**settings):
    return lambda backbone: TunedClassifier(backbone, **BOTH, **settings)


def st_adapter(**settings):
    return tuned(
        tuning="adapter",
        adapter=STAdapter(width=6, **settings),
        readout="mean_then_norm",
        dropout=0.5,
    )


BUILDERS = {
    "zero_shot": lambda backbone: ZeroShot(backbone, class_names=CLASSES),
    "linear_probe": tuned(norm=True),
    "linear_probe_embedding": tuned(readout="embedding"),
    "attentive_probe": lambda backbone: AttentiveProbe(backbone, **BOTH, num_frames=FRAMES),
    "evl": lambda backbone: EVL(backbone, **BOTH, num_frames=FRAMES, layers=2),
    "st_adapter": st_adapter(),
    "st_adapter_both_sites": st_adapter(before_attention=True),
    "st_adapter_text": tuned(
        tuning="adapter", adapter=STAdapter(width=6), readout="embedding", head="text"
    ),
    "last_n": tuned(tuning="last_n", last_n=2, readout="embedding"),
    "full": tuned(tuning="full", readout="embedding", head="text"),
}


class TestBaselines(RecogniserContract):
    @pytest.fixture(params=BUILDERS.values(), ids=BUILDERS.keys())
    def build(self, request):
        return request.param


def test_no_baseline_is_left_out():
    classes = {type(build(tiny_clip())).__name__ for build in BUILDERS.values()}
    listed = [getattr(baselines, name) for name in baselines.__all__]
    recognisers = [kind for kind in listed if kind.job == RecognitionTask.job]
    assert classes == {kind.__name__ for kind in recognisers}
