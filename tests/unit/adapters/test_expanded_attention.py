import math

import pytest
import torch

from video_adapt.adapters import ExpandedAttention, ExpandedAttentionBlockAdapter, inject
from video_adapt.adapters.expanded_attention import null_biases
from video_adapt.backbones import CLIP, VideoMAE, VideoMAEConfig
from video_adapt.errors import ConfigurationError
from video_adapt.tasks.frozen import frozen_names

CONFIG = {
    "embed_dim": 8,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 16, "layers": 2, "head_width": 8},
    "text_cfg": {"context_length": 6, "vocab_size": 16, "width": 8, "layers": 1, "heads": 1},
}
CLIPS, TOKENS, HEADS, SIDE = 2, 5, 3, 4


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    return CLIP.from_config(CONFIG).eval().requires_grad_(False)


def packed(frames, *, scale=2.0):
    """Queries, keys and values as a block makes them: views of one tensor."""
    generator = torch.Generator().manual_seed(frames)
    shape = (CLIPS * frames, TOKENS, 3, HEADS, SIDE)
    tensor = (scale * torch.randn(shape, generator=generator)).requires_grad_()
    return tensor, tensor.unbind(2)


def slow_look(queries, keys, values, frames, reach):
    """Frame by frame, with frames of zeros outside the clip, as the official code makes them."""
    taken = []
    zeros = torch.zeros_like(keys[0])
    for clip in range(len(queries) // frames):
        for frame in range(frames):
            near = range(frame - reach, frame + reach + 1)
            rows = [clip * frames + other if 0 <= other < frames else None for other in near]
            seen = torch.cat([zeros if row is None else keys[row] for row in rows])
            worth = torch.cat([zeros if row is None else values[row] for row in rows])
            own = queries[clip * frames + frame]
            logits = torch.einsum("nhd,khd->hnk", own, seen) / math.sqrt(own.shape[-1])
            taken.append(torch.einsum("hnk,khd->nhd", logits.softmax(-1), worth))
    return torch.stack(taken)


@pytest.mark.parametrize("reach", [1, 2, 3])
@pytest.mark.parametrize("frames", [1, 2, 3, 4, 8])
def test_values_and_gradients_are_those_with_frames_of_zeros(frames, reach):
    tensor, parts = packed(frames)
    adapter = ExpandedAttentionBlockAdapter(reach)
    fast = adapter.look(*parts, num_frames=frames)
    slow = slow_look(*parts, frames, reach)
    torch.testing.assert_close(fast, slow, atol=1e-6, rtol=1e-5)
    weight = torch.randn(fast.shape, generator=torch.Generator().manual_seed(1))
    (mine,) = torch.autograd.grad((fast * weight).sum(), tensor, retain_graph=True)
    (theirs,) = torch.autograd.grad((slow * weight).sum(), tensor)
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


def test_frames_inside_a_clip_are_looked_at_where_they_lie():
    tensor, parts = packed(6)
    windows = ExpandedAttentionBlockAdapter(1)._windows(parts[1].unflatten(0, (CLIPS, 6))[1])
    assert windows.shape == (4, HEADS, 3 * TOKENS, SIDE)
    assert windows.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr()
    assert torch.equal(windows[2, :, TOKENS], parts[1][6 + 3, 0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("count", [1, 5, 50, 197, 3 * 257])
def test_two_zero_keys_weigh_as_much_as_many(count, dtype):
    biases = null_biases(count, dtype)
    assert sum(math.exp(bias) for bias in biases) == pytest.approx(count, rel=1e-3)
    assert [torch.tensor(bias, dtype=dtype).item() for bias in biases] == list(biases)


def test_in_bfloat16_the_border_is_as_exact_as_the_middle():
    # Keys of zero: a border frame of N tokens gives 2 N of its weight 3 N to real values.
    shape = (3, 50, 1, 8)
    queries, keys = torch.randn(shape).bfloat16(), torch.zeros(shape).bfloat16()
    values = torch.ones(shape).bfloat16()
    taken = ExpandedAttentionBlockAdapter(1).look(queries, keys, values, num_frames=3)
    torch.testing.assert_close(taken[0], torch.full(shape[1:], 2 / 3).bfloat16())
    torch.testing.assert_close(taken[1], torch.ones(shape[1:]).bfloat16())


def test_each_block_widens_the_view_by_its_reach(backbone):
    inject(backbone, ExpandedAttention(2))
    video = torch.randn(1, 9, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    changed = video.clone()
    changed[0, 0] += 1
    moved = (backbone(video).class_token - backbone(changed).class_token).abs().amax(-1)[0]
    assert (moved[:5] > 0).all()
    assert (moved[5:] == 0).all()


def test_clips_of_a_batch_do_not_see_one_another(backbone):
    inject(backbone, ExpandedAttention())
    video = torch.randn(2, 3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([backbone(clip).class_token for clip in video.split(1)])
    torch.testing.assert_close(backbone(video).class_token, alone)


def test_it_adds_no_weight_and_needs_no_graph(backbone):
    before = backbone.state_dict().keys()
    inject(backbone, ExpandedAttention())
    assert list(backbone.adapters) == ["0", "1"]
    assert backbone.state_dict().keys() == before
    assert frozen_names(backbone) == set(before)
    assert not backbone(torch.zeros(1, 2, 3, 16, 16)).class_token.requires_grad


def test_under_autocast_the_result_is_close_to_float32(backbone):
    inject(backbone, ExpandedAttention())
    video = torch.randn(2, 4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        half = backbone(video).class_token
    torch.testing.assert_close(half.float(), backbone(video).class_token, atol=0.05, rtol=0.05)


def test_a_reach_of_nothing_is_refused():
    with pytest.raises(ConfigurationError, match="reach=0 must be positive"):
        ExpandedAttention(0)


def test_a_model_of_video_is_refused():
    config = VideoMAEConfig(
        "chunk", width=24, depth=3, heads=3, hidden=48, patch_size=4, chunk_frames=2, table_size=20
    )
    message = r"ExpandedAttention: chunk.* is a model of video"
    with pytest.raises(ConfigurationError, match=message):
        inject(VideoMAE.from_config(config, image_size=16), ExpandedAttention())
