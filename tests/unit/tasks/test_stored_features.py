import pytest
import torch

from tests.contracts import test_open_vocabulary as open_vocabulary
from tests.contracts.helpers import CLASSES, FRAMES, tiny_clip, video
from video_adapt.adapters import TIA, ExpandedAttention
from video_adapt.baselines import EVL, AttentiveProbe, TunedClassifier, ZeroShot
from video_adapt.errors import ConfigurationError
from video_adapt.methods import FROSTER
from video_adapt.tasks import Reads
from video_adapt.tasks.stored_features import features_of, rows_of

BUILDERS = {
    "probe": lambda: TunedClassifier(tiny_clip(), class_names=CLASSES),
    "mean_then_norm": lambda: TunedClassifier(
        tiny_clip(), class_names=CLASSES, readout="mean_then_norm"
    ),
    "embedding": lambda: TunedClassifier(
        tiny_clip(), class_names=CLASSES, readout="embedding", head="text"
    ),
    "attentive": lambda: AttentiveProbe(tiny_clip(), class_names=CLASSES, num_frames=FRAMES),
    "evl": lambda: EVL(tiny_clip(), class_names=CLASSES, num_frames=FRAMES, layers=2),
    "zero_shot": lambda: ZeroShot(tiny_clip(), class_names=CLASSES),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_stored_features_give_the_logits_of_the_video(name):
    method = BUILDERS[name]().eval()
    rows = method.rows_to_store(video())
    assert all(x.shape[:2] == (3, FRAMES) for x in rows.values())
    with torch.no_grad():
        torch.testing.assert_close(method(rows), method(video()))


def test_nothing_is_stored_that_is_not_read():
    method = BUILDERS["embedding"]()
    assert {name: x.shape for name, x in method.rows_to_store(video()).items()} == {
        "embedding": (3, FRAMES, 16)
    }
    features = method.encode(method.rows_to_store(video()))
    assert features.class_token.shape == features.tokens.shape == (3, FRAMES, 0)


def test_blocks_and_attention_survive_the_way_to_rows_and_back():
    features = tiny_clip()(video(), blocks=[0, 2], queries_keys=[1])
    reads = Reads(("tokens",), blocks=(0, 2), queries_keys=(1,))
    again = features_of(rows_of(features, reads), reads)
    assert torch.equal(again.tokens, features.tokens)
    assert torch.equal(again.blocks[2], features.blocks[2])
    assert torch.equal(again.queries_keys[1][1], features.queries_keys[1][1])


def test_facts_tell_weights_pixels_and_adapters_apart():
    plain = BUILDERS["probe"]()
    facts = plain.stored_facts()
    assert BUILDERS["probe"]().stored_facts() == facts
    assert BUILDERS["embedding"]().stored_facts() != facts
    other = TunedClassifier(tiny_clip(seed=1), class_names=CLASSES)
    assert other.stored_facts()["weights"] != facts["weights"]
    assert facts["reads"] == {"fields": ("class_token",), "blocks": (), "queries_keys": ()}


def test_what_trains_inside_the_backbone_cannot_be_stored():
    method = TunedClassifier(tiny_clip(), class_names=CLASSES, tuning="adapter", adapter=TIA())
    with pytest.raises(ConfigurationError, match="tuning=adapter trains inside the backbone"):
        method.stored_facts()
    method.reads = None
    with pytest.raises(ConfigurationError, match="reads more of a video than features"):
        method.encode(method.rows_to_store(video()))


def froster(**settings):
    return open_vocabulary.form(FROSTER, **settings)(open_vocabulary.tiny_clip())


def test_the_lightest_froster_learns_and_predicts_from_stored_features():
    live, stored = froster(regime="residual_only"), froster(regime="residual_only")
    rows = stored.rows_to_store(video(4))
    losses = {}
    for name, method, content in (("live", live, video(4)), ("stored", stored, rows)):
        batch = open_vocabulary.batch()._replace(video=content)
        losses[name] = method.train().losses(batch, 0)["loss"]
        losses[name].backward()
    torch.testing.assert_close(losses["stored"], losses["live"])
    gradients = [[p.grad for p in m.parameters() if p.grad is not None] for m in (live, stored)]
    assert len(gradients[0]) == len(gradients[1]) > 0
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)
    novel = open_vocabulary.NOVEL
    torch.testing.assert_close(
        stored.eval().classify(rows, novel), live.eval().classify(video(4), novel)
    )
    torch.testing.assert_close(
        stored.zero_shot_logits(rows, novel), live.zero_shot_logits(video(4), novel)
    )


@pytest.mark.parametrize(
    "settings",
    [{"regime": "full"}, {"regime": "residual_only", "adapter": ExpandedAttention()}],
    ids=["full", "adapted"],
)
def test_other_frosters_need_the_video(settings):
    with pytest.raises(ConfigurationError, match="FROSTER reads more of a video"):
        froster(**settings).stored_facts()
