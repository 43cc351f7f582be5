"""CLIP with its weights in float16, as OpenAI's code holds them."""

import pytest
import torch
from torch import nn

from tests.unit.methods.captioned_clips import captioning_clip, captions
from video_adapt.backbones import CLIP
from video_adapt.methods.teachclip import StudentSpec, Taught, TeachCLIP
from video_adapt.retrieval.teachers import TS2Net
from video_adapt.tasks import BertAdam

CONFIG = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"width": 24, "head_width": 8, "layers": 2, "patch_size": 4, "image_size": 16},
    "text_cfg": {
        "width": 16,
        "heads": 2,
        "layers": 2,
        "context_length": 8,
        "vocab_size": 49408,
    },
}
HALF = (
    "visual.conv1.weight",
    "visual.proj",
    "text.text_projection",
    "attn.in_proj_weight",
    "attn.in_proj_bias",
    "attn.out_proj.weight",
    "attn.out_proj.bias",
    "mlp.c_fc.weight",
    "mlp.c_fc.bias",
    "mlp.c_proj.weight",
    "mlp.c_proj.bias",
)


def half_clip(*, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return CLIP.from_config(CONFIG, name="tiny", precision="float16_weights")


def rounded():
    """The same model in float32, with those weights rounded that are in float16."""
    plain, half = captioning_clip(), half_clip()
    plain.load_state_dict({name: x.float() for name, x in half.state_dict().items()})
    return plain


def test_matrices_are_float16_and_the_rest_float32():
    for name, parameter in half_clip().named_parameters():
        expected = torch.float16 if name.endswith(HALF) else torch.float32
        assert parameter.dtype == expected, name


def test_it_computes_what_float32_does_but_for_rounding():
    half, plain, batch = half_clip().eval(), rounded().eval(), captions([0, 1, 2])
    with torch.no_grad():
        mine, theirs = half(batch.video), plain(batch.video)
        for name in ("class_token", "embedding"):
            found, expected = getattr(mine, name), getattr(theirs, name)
            assert found.dtype == torch.float32
            torch.testing.assert_close(found, expected, atol=1e-2, rtol=1e-2)
            assert not torch.allclose(found, expected, atol=1e-7, rtol=1e-7)
        assert mine.tokens.dtype == torch.float16
        for found, expected in zip(
            half.embed_text(batch.tokens), plain.embed_text(batch.tokens), strict=True
        ):
            assert found.dtype == torch.float32
            torch.testing.assert_close(found, expected, atol=1e-2, rtol=1e-2)
        whole = torch.nn.functional.pad(batch.tokens, (0, 2))
        torch.testing.assert_close(
            half.encode_tokens(whole), plain.encode_tokens(whole), atol=1e-2, rtol=1e-2
        )


def test_weights_of_a_file_are_rounded():
    plain, half = captioning_clip(seed=3), half_clip()
    half.load_weights(plain.towers.state_dict())
    assert torch.equal(half.visual.proj, plain.visual.proj.half())
    assert torch.equal(half.visual.ln_post.weight, plain.visual.ln_post.weight)


def test_a_step_of_bert_adam_rounds_as_the_released_code_does():
    method = TeachCLIP(half_clip(), student=StudentSpec(layers=1, heads=2)).train()
    assert {p.dtype for p in method.student.parameters()} == {torch.float32}
    method.losses(captions([0, 1, 2]))["loss"].backward()
    weight = method.backbone.blocks[0].mlp.c_fc.weight
    assert weight.grad.dtype == torch.float16
    nn.utils.clip_grad_norm_(method.parameters(), 1.0)
    before, grad = weight.detach().clone(), weight.grad.clone()
    rate, decay, eps = 1e-7, 0.2, 1e-6
    optimizer = BertAdam(method.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=decay)
    optimizer.step()
    first, second = grad * 0.1, grad * grad * 0.02  # float16: most of the second is 0
    assert (second == 0).float().mean() > 0.5
    update = first / (second.sqrt() + eps) + decay * before
    torch.testing.assert_close(weight.detach(), before - rate * update, rtol=0, atol=1e-6)
    exact = grad.float() * 0.1 / ((grad.float() ** 2 * 0.02).sqrt() + eps)
    # Where the second moment is 0 the step is far longer than Adam would take.
    assert (update - decay * before).abs().max() > 3 * exact.abs().max()


def test_patches_reach_a_teacher_in_float32():
    teacher = Taught(TS2Net(16, layers=1, heads=2, samples=20), backbone=half_clip())
    batch = captions([0, 1, 2])
    assert teacher(batch, batch.caption_video).similarity.isfinite().all()


@pytest.mark.parametrize("tuning", ["full", "last_n"])
def test_a_checkpoint_keeps_the_type(tuning):
    settings = {"tuning": tuning, "last_n": 1 if tuning == "last_n" else 0}
    method = TeachCLIP(half_clip(), student=StudentSpec(kind="meanP"), **settings)
    checkpoint = {"state_dict": method.state_dict()}
    method.on_save_checkpoint(checkpoint)
    assert checkpoint["state_dict"]["backbone.towers.visual.proj"].dtype == torch.float16
