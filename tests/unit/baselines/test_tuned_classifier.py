import pytest
import torch

from tests.contracts.helpers import CLASSES, FRAMES, tiny_clip, video
from video_adapt.adapters import STAdapter
from video_adapt.baselines import AttentiveProbe, TunedClassifier
from video_adapt.errors import ConfigurationError


def build(**settings):
    return TunedClassifier(tiny_clip(), class_names=CLASSES, **settings).eval()


def test_norm_then_mean_averages_normed_class_tokens():
    method = build()
    normed = torch.stack(
        [method.backbone.final_norm(frame) for frame in method.encode(video()).tokens[:, :, 0]]
    )
    expected = method.head(normed.mean(1))
    torch.testing.assert_close(method(video()), expected)


def test_mean_then_norm_norms_the_averaged_class_token():
    method = build(readout="mean_then_norm")
    expected = method.head(method.backbone.final_norm(method.encode(video()).tokens.mean(1)[:, 0]))
    torch.testing.assert_close(method(video()), expected)


def test_embedding_with_text_head_is_cosine_with_the_class_names():
    method = build(tuning="full", readout="embedding", head="text", template="a clip of {}")
    clip = method.backbone(video()).embedding.mean(1)
    text = method.backbone.encode_text([f"a clip of {name}" for name in CLASSES])
    cosine = torch.cosine_similarity(clip[:, None], text[None], dim=-1)
    torch.testing.assert_close(method(video()), method.backbone.logit_scale.exp() * cosine)


def test_an_adapter_starts_as_the_plain_model():
    plain, adapted = build(), build(tuning="adapter", adapter=STAdapter(width=6))
    adapted.head.load_state_dict(plain.head.state_dict())
    assert torch.equal(adapted(video()), plain(video()))


def test_an_adapter_lets_frames_see_each_other():
    method = build(tuning="adapter", adapter=STAdapter(width=6))
    for parameter in method.backbone.adapters.parameters():
        torch.nn.init.normal_(parameter)
    assert not torch.allclose(method(video()), method(video().flip(1)))


def test_frozen_frames_do_not_see_each_other():
    method = build()
    torch.testing.assert_close(method(video()), method(video().flip(1)))


def test_dropout_and_norm_stand_in_front_of_the_linear_map():
    kinds = [type(layer).__name__ for layer in build(dropout=0.3, norm=True).head]
    assert kinds == ["LayerNorm", "Dropout", "Linear"]
    assert build(dropout=0.3).head[0].p == 0.3


def test_full_tuning_trains_the_image_tower_alone():
    method = build(tuning="full", readout="embedding", head="text")
    trained = {k for k, p in method.named_parameters() if p.requires_grad}
    assert trained == {f"backbone.towers.visual.{k}" for k in method.backbone.visual.state_dict()}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"head": "text"}, "set readout=embedding"),
        ({"tuning": "full"}, "trains the projection, which readout=norm_then_mean does not read"),
        ({"tuning": "last_n", "last_n": 1, "readout": "mean_then_norm"}, "set readout=embedding"),
        ({"tuning": "adapter"}, r"tuning=adapter \(or side\) and an adapter go together"),
        ({"adapter": STAdapter(width=6)}, r"tuning=adapter \(or side\) and an adapter go together"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        build(**settings)


def test_more_queries_than_one_read_the_clip():
    backbone = tiny_clip()
    method = AttentiveProbe(
        backbone, class_names=CLASSES, num_frames=FRAMES, num_queries=3, dropout=0.1
    )
    assert method.network.query.shape == (3, backbone.width)
    assert method.eval()(video()).shape == (3, len(CLASSES))
