"""FROSTER's parts and regimes, beside what the parity fixtures hold."""

import pytest
import torch
from torch.nn import functional as F

from tests.contracts.helpers import CLASSES, video
from tests.contracts.test_open_vocabulary import (
    BUILDERS,
    NOVEL,
    PROMPTS,
    TRAIN,
    batch,
    form,
    tiny_clip,
    train,
)
from video_adapt.adapters import ExpandedAttention, STAdapter
from video_adapt.errors import ConfigurationError
from video_adapt.methods import FROSTER
from video_adapt.methods.froster.losses import cosine_distance, froster_loss
from video_adapt.methods.froster.network import ResidualNet
from video_adapt.tasks import ensemble


def test_a_residual_network_starts_as_the_identity_with_its_published_spread():
    torch.manual_seed(0)
    net = ResidualNet(256, alpha=0.1)
    features = torch.randn(3, 256)
    assert torch.equal(net(features), features)
    assert net.inner.weight.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.02)


def test_strength_scales_what_was_learnt():
    torch.manual_seed(0)
    net = ResidualNet(4, alpha=0.1)
    torch.nn.init.normal_(net.outer.weight)
    features = torch.randn(3, 4)
    edit = net(features) - features
    torch.testing.assert_close(net(features, strength=0.25) - features, 0.25 * edit)


def test_distance_is_blind_to_length():
    one = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    other = torch.tensor([[3.0, 0.0], [1.0, 0.0]])
    assert cosine_distance(one, other).item() == pytest.approx(0.5)


def test_a_term_that_is_left_out_is_not_there():
    logits, target = torch.zeros(2, 3), torch.tensor([0, 1])
    pair = torch.eye(2), torch.eye(2).flip(0)
    terms = froster_loss(logits, target, video=pair, text=None, distillation=2.0)
    assert terms.keys() == {"loss", "ce", "distill_video"}
    assert terms["loss"].item() == pytest.approx(terms["ce"].item() + 2.0)


def test_residual_only_starts_as_zero_shot_clip():
    method = BUILDERS["froster_residual"](tiny_clip())
    for mode in (method.eval(), method.train()):
        torch.testing.assert_close(
            mode.classify(video(), NOVEL), method.zero_shot_logits(video(), NOVEL)
        )


def test_residual_only_moves_logits_and_is_kept_near_the_identity():
    method = BUILDERS["froster_residual"](tiny_clip())
    before = method.losses(batch(), 0)
    assert before["distill_video"].item() == pytest.approx(0, abs=1e-6)
    after = train(method, steps=6).losses(batch(), 0)
    assert after["ce"] < before["ce"]
    assert after["distill_video"] > 1e-5
    assert after["distill_text"] > 1e-5
    assert not torch.allclose(
        method.eval().classify(video(), NOVEL), method.zero_shot_logits(video(), NOVEL)
    )


def test_the_whole_original_share_of_residual_only_is_zero_shot_clip():
    method = form(FROSTER, regime="residual_only", patch_ratio=1.0)(tiny_clip())
    train(method).eval()
    torch.testing.assert_close(
        method.classify(video(), TRAIN), method.zero_shot_logits(video(), TRAIN)
    )


def test_residual_networks_of_the_published_regime_are_not_in_its_logits():
    method = train(BUILDERS["froster"](tiny_clip())).eval()
    before = method.classify(video(), TRAIN)
    with torch.no_grad():
        for parameter in method.residual.parameters():
            parameter.add_(1.0)
    assert torch.equal(method.classify(video(), TRAIN), before)


def test_patching_evaluates_weights_in_between_and_trains_with_its_own():
    method = form(FROSTER, adapter=ExpandedAttention(), patch_ratio=0.4)(tiny_clip())
    plain = train(form(FROSTER, adapter=ExpandedAttention())(tiny_clip()))
    train(method)
    for one, other in zip(method.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one, other)
    between = method.interpolation(method.original, method.backbone)
    with torch.no_grad():
        for own, mixed in zip(plain.backbone.parameters(), between.parameters(), strict=True):
            own.copy_(mixed)
    torch.testing.assert_close(
        method.eval().classify(video(), NOVEL), plain.eval().classify(video(), NOVEL)
    )


def test_text_in_parts_has_the_same_gradients():
    whole, parts = BUILDERS["froster"](tiny_clip()), BUILDERS["froster"](tiny_clip())
    parts.text_micro_batch = 2
    for method in (whole, parts):
        method.train().losses(batch(), 0)["loss"].backward()
    for (name, one), other in zip(whole.named_parameters(), parts.parameters(), strict=True):
        if one.requires_grad:
            torch.testing.assert_close(one.grad, other.grad, msg=name)


def test_only_the_drawn_prompts_pass_the_student_and_each_passes_the_teacher_once():
    method = BUILDERS["froster"](tiny_clip()).train()
    seen = {"student": 0, "teacher": 0}
    for name, towers in (("student", method.backbone), ("teacher", method.original)):
        norm = towers.text.ln_final

        def count(module, inputs, name=name):
            seen[name] += len(inputs[0])

        norm.register_forward_pre_hook(count)
    for step in range(8):
        method.losses(batch(), step)
    assert seen == {"student": 8 * 2 * len(CLASSES), "teacher": len(PROMPTS) * len(CLASSES)}


def test_the_student_learns_from_the_prompts_that_the_teacher_reads(monkeypatch):
    method = BUILDERS["froster"](tiny_clip()).train()
    monkeypatch.setattr(method, "draw_prompts", lambda batch_idx: [1, 2])
    read = []
    monkeypatch.setattr(
        method, "objective", lambda *given, **taught: read.append((given[1], taught["taught"][1]))
    )
    method.losses(batch(), 0)
    ((student, teacher),) = read
    rows = [method.original.encode_text(PROMPTS.write(TRAIN, number)) for number in (1, 2)]
    torch.testing.assert_close(teacher, ensemble(torch.stack(rows)))
    torch.testing.assert_close(student, teacher)  # nothing has been trained yet


def test_without_distillation_no_teacher_is_asked():
    method = BUILDERS["froster_undistilled"](tiny_clip()).train()
    method.original.forward = None
    terms = method.losses(batch(), 0)
    assert terms.keys() == {"loss", "ce"}
    assert method.residual is None


def test_adapters_are_taught_frames_by_the_plain_towers():
    method = BUILDERS["froster_adapter"](tiny_clip())
    assert method.losses(batch(), 0).keys() == {"loss", "ce", "distill_video"}
    train(method)
    frames = F.normalize(method.original(video(4)).embedding, dim=-1)
    fresh = F.normalize(tiny_clip()(video(4)).embedding, dim=-1)
    torch.testing.assert_close(frames, fresh)
    assert method.losses(batch(), 0)["distill_video"] > 1e-6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"distillation": -1.0}, "distillation is -1.0"),
        ({"regime": "residual_only", "text_micro_batch": 4}, "only regime=full trains the text"),
        ({"text_micro_batch": 0}, "in parts of 1 or more"),
        (
            {"regime": "adapter", "adapter": STAdapter(width=4), "patch_ratio": 0.5},
            "nothing to interpolate",
        ),
        ({"patch_ratio": 1.5}, "patch_ratio is 1.5"),
        ({"regime": "adapter"}, "tuning=adapter"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        FROSTER(tiny_clip(), class_names=CLASSES, **settings)


def test_only_the_published_form_carries_the_published_name():
    labels = {name: build(tiny_clip()).label for name, build in BUILDERS.items()}
    assert labels["froster"] == "FROSTER"
    assert labels["open_vclip"] == "Open-VCLIP"
    others = [label for name, label in labels.items() if name not in ("froster", "open_vclip")]
    assert all(label.startswith("plain fine-tuning") or "not " in label for label in others)
    assert len(set(labels.values())) == len(labels)
