"""The adapters of the open-vocabulary students, against blocks written out from the formulas."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from video_adapt.adapters import (
    AIM,
    ChannelShift,
    ChannelShiftBlockAdapter,
    CrossFrameMessage,
    ExpandedAttention,
    FFNAdapter,
    STAdapter,
    STBottleneck,
    TokenShift,
    inject,
    student_keys,
)
from video_adapt.backbones import CLIP, VideoMAE, VideoMAEConfig
from video_adapt.checkpoints import convert_keys
from video_adapt.errors import ConfigurationError

CONFIG = {
    "embed_dim": 8,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 16, "layers": 2, "head_width": 8},
    "text_cfg": {"context_length": 6, "vocab_size": 16, "width": 8, "layers": 1, "heads": 1},
}
CHUNK = VideoMAEConfig(
    "chunk", width=24, depth=3, heads=3, hidden=48, patch_size=4, chunk_frames=2, table_size=20
)
CLIPS, FRAMES = 2, 3
WITH_WEIGHTS = [
    AIM(),
    FFNAdapter(),
    CrossFrameMessage(),
    STAdapter(width=4, before_attention=True, before_mlp=False, zero="up"),
]
WITHOUT_WEIGHTS = [ExpandedAttention(), ChannelShift(), TokenShift(divisor=2)]
EVERY = WITH_WEIGHTS + WITHOUT_WEIGHTS


def name_of(adapter):
    return type(adapter).__name__


def build(adapter=None, *, random=True):
    torch.manual_seed(0)
    backbone = CLIP.from_config(CONFIG).eval().requires_grad_(False)
    if adapter is not None:
        inject(backbone, adapter)
        for parameter in backbone.adapters.parameters():
            parameter.requires_grad_()
            if random:
                nn.init.normal_(parameter, std=0.3)
    return backbone


@pytest.fixture
def video():
    return torch.randn(CLIPS, FRAMES, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def attention(block, sequences):
    read = block.ln_1(sequences)
    return block.attn(read, read, read, need_weights=False)[0]


def bottleneck(module, tokens):
    return module.up(F.gelu(module.down(tokens)))


def slow_aim(block, adapter, tokens):
    for clip in range(CLIPS):
        for place in range(tokens.shape[1]):
            rows = slice(clip * FRAMES, (clip + 1) * FRAMES)
            track = tokens[rows, place][None]
            tokens = tokens.clone()
            tokens[rows, place] += bottleneck(adapter.time, attention(block, track))[0]
    seen = attention(block, tokens)
    tokens = tokens + seen + bottleneck(adapter.space, seen)
    read = block.ln_2(tokens)
    return tokens + block.mlp(read) + 0.5 * bottleneck(adapter.mlp, read)


def slow_ffn_adapter(block, adapter, tokens):
    tokens = tokens + attention(block, tokens)
    read = block.ln_2(tokens)
    return tokens + block.mlp(read) + 0.5 * bottleneck(adapter.mlp, read)


def slow_cross_frame(block, adapter, tokens):
    messages = adapter.fc(tokens[:, 0]).reshape(CLIPS, FRAMES, -1)
    read = adapter.norm(messages)
    messages = messages + adapter.attention(read, read, read, need_weights=False)[0]
    longer = torch.cat([tokens, messages.reshape(CLIPS * FRAMES, 1, -1)], dim=1)
    tokens = tokens + attention(block, longer)[:, :-1]
    return tokens + block.mlp(block.ln_2(tokens))


@pytest.mark.parametrize(
    ("adapter", "slow"),
    [
        (AIM(), slow_aim),
        (FFNAdapter(), slow_ffn_adapter),
        (CrossFrameMessage(), slow_cross_frame),
    ],
    ids=["aim", "ffn_adapter", "cross_frame"],
)
def test_a_block_equals_the_formula(video, adapter, slow):
    backbone = build(adapter)
    features = backbone(video, blocks=(0,))
    tokens = features.blocks[0].flatten(0, 1)
    expected = slow(backbone.blocks[1], backbone.adapters["1"], tokens)
    torch.testing.assert_close(features.tokens.flatten(0, 1), expected)


def slow_shift(part, frames):
    flat = part.flatten(2)
    moved, quarter = torch.zeros_like(flat), flat.shape[-1] // 4
    for row in range(len(flat)):
        frame = row % frames
        moved[row, :, 2 * quarter :] = flat[row, :, 2 * quarter :]
        if frame < frames - 1:
            moved[row, :, :quarter] = flat[row + 1, :, :quarter]
        if frame > 0:
            moved[row, :, quarter : 2 * quarter] = flat[row - 1, :, quarter : 2 * quarter]
    return moved.view_as(part)


def test_shifted_channels_are_what_queries_look_at():
    shape = (CLIPS * FRAMES, 5, 2, 8)
    generator = torch.Generator().manual_seed(0)
    queries, keys, values = (torch.randn(shape, generator=generator) for _ in range(3))
    adapter = ChannelShiftBlockAdapter(as_published=False)
    taken = adapter.look(queries, keys, values, num_frames=FRAMES)
    expected = F.scaled_dot_product_attention(
        queries.transpose(1, 2),
        slow_shift(keys, FRAMES).transpose(1, 2),
        slow_shift(values, FRAMES).transpose(1, 2),
    )
    torch.testing.assert_close(taken, expected.transpose(1, 2))


def test_the_published_shift_takes_every_eight_frames_for_a_clip():
    shape = (16, 5, 2, 8)
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(shape, generator=generator) for _ in range(3)]
    adapter = ChannelShiftBlockAdapter(as_published=True)
    of_eight, of_four = (adapter.look(*parts, num_frames=frames) for frames in (8, 4))
    assert torch.equal(of_eight, of_four)
    with pytest.raises(ConfigurationError, match=r"every 8 frames .* got 12 in all"):
        adapter.look(*(part[:12] for part in parts), num_frames=12)


@pytest.mark.parametrize("adapter", EVERY, ids=name_of)
def test_something_of_every_video_changes(video, adapter):
    plain, edited = build()(video).class_token, build(adapter)(video).class_token
    assert ((plain - edited).abs().amax(dim=-1) > 1e-4).all()


@pytest.mark.parametrize("adapter", [AIM(), FFNAdapter(), STAdapter(width=4, zero="up")])
def test_bottlenecks_start_as_an_identity(video, adapter):
    plain, edited = build()(video), build(adapter, random=False)(video)
    torch.testing.assert_close(edited.tokens, plain.tokens)


@pytest.mark.parametrize("adapter", EVERY, ids=name_of)
def test_clips_of_a_batch_do_not_see_one_another(video, adapter):
    backbone = build(adapter)
    alone = torch.cat([backbone(clip).class_token for clip in video.split(1)])
    torch.testing.assert_close(backbone(video).class_token, alone)


@pytest.mark.parametrize("adapter", EVERY, ids=name_of)
def test_time_is_mixed_by_all_but_the_ffn_adapter(video, adapter):
    backbone, changed = build(adapter), video.clone()
    changed[:, 1] += 1
    moved = (backbone(video).class_token - backbone(changed).class_token).abs().amax(-1)
    assert (moved[:, 0] > 1e-5).all() == (not isinstance(adapter, FFNAdapter))


@pytest.mark.parametrize("adapter", WITH_WEIGHTS, ids=name_of)
def test_every_weight_learns_from_class_tokens_alone(video, adapter):
    backbone = build(adapter)
    backbone(video).class_token.square()[..., 0].sum().backward()
    idle = {
        name
        for name, p in backbone.adapters.named_parameters()
        if p.grad is None or not p.grad.any()
    }
    assert not idle
    assert all(p.grad is None for p in backbone.visual.parameters())


@pytest.mark.parametrize("adapter", WITHOUT_WEIGHTS, ids=name_of)
def test_patches_of_attention_need_no_graph(video, adapter):
    backbone = build(adapter)
    assert not backbone.adapters.state_dict()
    assert not backbone(video).class_token.requires_grad


@pytest.mark.parametrize("adapter", EVERY, ids=name_of)
def test_queries_and_keys_are_those_of_the_tokens(video, adapter):
    queries, keys = build(adapter)(video, queries_keys=(1,)).queries_keys[1]
    assert queries.shape == keys.shape == (CLIPS, FRAMES, 5, 2, 8)


def test_the_message_is_not_among_the_shown_keys(video):
    backbone = build(CrossFrameMessage())
    features = backbone(video, blocks=(0,), queries_keys=(1,))
    attn, read = backbone.blocks[1].attn, backbone.blocks[1].ln_1(features.blocks[0])
    projected = F.linear(read, attn.in_proj_weight, attn.in_proj_bias).unflatten(-1, (3, 2, 8))
    torch.testing.assert_close(features.queries_keys[1][1], projected[..., 1, :, :])


@pytest.mark.parametrize("adapter", EVERY, ids=name_of)
def test_under_autocast_the_result_is_close_to_float32(video, adapter):
    backbone = build(adapter)
    with torch.autocast("cpu", torch.bfloat16):
        half = backbone(video).class_token
    torch.testing.assert_close(half.float(), backbone(video).class_token, atol=0.1, rtol=0.1)


@pytest.mark.parametrize("adapter", [AIM(), CrossFrameMessage(), ChannelShift()], ids=name_of)
def test_a_model_of_video_is_refused(adapter):
    with pytest.raises(ConfigurationError, match=rf"{name_of(adapter)}: chunk.* is a model of vid"):
        inject(VideoMAE.from_config(CHUNK, image_size=16), adapter)


@pytest.mark.parametrize("recompute", ["never", "always"])
def test_the_ffn_adapter_stands_beside_the_mlp_of_a_model_of_video_too(recompute):
    torch.manual_seed(0)
    backbone = VideoMAE.from_config(CHUNK, image_size=16, recompute=recompute).requires_grad_(False)
    video = torch.randn(2, 4, 3, 16, 16)
    plain = backbone(video).tokens
    inject(backbone, FFNAdapter())
    torch.testing.assert_close(backbone(video).tokens, plain)
    for parameter in backbone.adapters.parameters():
        nn.init.normal_(parameter, std=0.3)
    features = backbone(video, blocks=(1,))
    block, tokens = backbone.visual.block(2), features.blocks[1].flatten(0, 1)
    tokens = block.attend(tokens, None)
    read = block.norm2(tokens)
    expected = tokens + block.mlp(read) + 0.5 * bottleneck(backbone.adapters["2"].mlp, read)
    torch.testing.assert_close(features.tokens.flatten(0, 1), expected)
    backbone.adapters.requires_grad_(True)
    backbone.sequence(video)[..., 0].sum().backward()
    assert all(p.grad.any() for p in backbone.adapters.parameters())


@pytest.mark.parametrize("kind", [AIM, FFNAdapter])
def test_a_bottleneck_without_channels_is_refused(kind):
    with pytest.raises(ConfigurationError, match=rf"{kind.__name__}: ratio=0 must be positive"):
        kind(ratio=0)
    message = rf"{kind.__name__}: ratio=0.01 leaves no channel of the 16 .* at least 0.0625"
    with pytest.raises(ConfigurationError, match=message):
        build(kind(ratio=0.01))


def test_what_starts_at_zero_is_a_choice():
    conv, up = (STBottleneck(8, 4, (3, 1, 1), zero=zero) for zero in ("conv", "up"))
    assert not conv.conv.weight.any()
    assert conv.fc2.weight.any()
    assert up.conv.weight.any()
    assert not up.fc2.weight.any()
    assert not up.fc2.bias.any()


@pytest.mark.parametrize(
    ("name", "shape", "ours"),
    [
        ("stadapt_down_1.weight", (4, 16, 1, 1), "attention.fc1.weight"),
        ("stadapt_conv3d_1.weight", (4, 1, 3, 1), "attention.conv.weight"),
        ("stadapt_up_1.bias", (16,), "attention.fc2.bias"),
        ("t_adapter.adapter.0.weight", (4, 16), "time.down.weight"),
        ("s_adapter.adapter.2.bias", (16,), "space.up.bias"),
        ("ffn_adapter.adapter.2.weight", (16, 4), "mlp.up.weight"),
        ("message_attn.in_proj_weight", (48, 16), "attention.in_proj_weight"),
        ("message_ln.bias", (16,), "norm.bias"),
    ],
)
def test_published_names_fit_the_weights(name, shape, ours):
    adapter = {"st": WITH_WEIGHTS[3], "ff": FFNAdapter(), "me": CrossFrameMessage()}
    state = build(adapter.get(name[:2], AIM())).state_dict()
    published = {f"model.visual.transformer.resblocks.1.{name}": torch.zeros(shape)}
    ((found, tensor),) = convert_keys(published, student_keys()).items()
    assert found == f"adapters.1.{ours}"
    assert tensor.shape == state[found].shape
    (prefixed,) = convert_keys(published, student_keys(prefix="backbone."))
    assert prefixed == f"backbone.{found}"
