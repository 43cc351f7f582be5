import pytest
import torch

from video_adapt.adapters import TokenShift, TokenShiftBlockAdapter, inject
from video_adapt.backbones import CLIP, VideoMAE, VideoMAEConfig
from video_adapt.errors import ConfigurationError
from video_adapt.tasks.frozen import frozen_names

CONFIG = {
    "embed_dim": 8,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 28, "patch_size": 4, "width": 16, "layers": 3, "head_width": 8},
    "text_cfg": {"context_length": 6, "vocab_size": 16, "width": 8, "layers": 1, "heads": 1},
}
FRAMES = 3


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    return CLIP.from_config(CONFIG).eval().requires_grad_(False)


@pytest.fixture
def video():
    return torch.randn(2, FRAMES, 3, 28, 28, generator=torch.Generator().manual_seed(1))


def slow_shift(tokens, frames, divisor):
    """Token by token, from the text of the paper's code."""
    shifted = tokens.clone()
    count = tokens.shape[1]
    fold = count // divisor
    for row in range(len(tokens)):
        frame = row % frames
        for token in range(1, count, fold):
            if frame > 0:
                shifted[row, token] = tokens[row - 1, token]
        for token in range(4, count, fold):
            if frame < frames - 1:
                shifted[row, token] = tokens[row + 1, token]
    return shifted


@pytest.mark.parametrize(("count", "divisor"), [(50, 7), (197, 7), (17, 4), (26, 5)])
def test_tokens_move_as_the_slow_version_says(count, divisor):
    tokens = torch.randn(2 * FRAMES, count, 4, generator=torch.Generator().manual_seed(0))
    shift = TokenShiftBlockAdapter(divisor)
    moved = shift.inside_attention(tokens, num_frames=FRAMES, grid=(1, count - 1))
    assert torch.equal(moved, slow_shift(tokens, FRAMES, divisor))
    assert not torch.equal(moved, tokens)


def test_of_seven_by_seven_patches_columns_0_and_3_move():
    tokens = torch.arange(FRAMES).repeat(2)[:, None, None].expand(-1, 50, 1).float()
    moved = TokenShiftBlockAdapter(7).inside_attention(tokens, num_frames=FRAMES, grid=(7, 7))
    middle = moved[1, 1:, 0].reshape(7, 7)  # the frame with number 1
    assert middle[:, 0].tolist() == [0.0] * 7
    assert middle[:, 3].tolist() == [2.0] * 7
    assert (middle[:, [1, 2, 4, 5, 6]] == 1).all()
    assert moved[1, 0, 0] == 1  # the class token stays


def test_the_last_blocks_shift_and_the_residual_does_not(backbone, video):
    plain = backbone(video, blocks=(0, 1))
    inject(backbone, TokenShift(last_blocks=1))
    assert list(backbone.adapters) == ["2"]
    shifted = backbone(video, blocks=(0, 1))
    assert torch.equal(plain.blocks[1], shifted.blocks[1])
    block, tokens = backbone.blocks[2], plain.blocks[1].flatten(0, 1)
    seen = slow_shift(block.ln_1(tokens), FRAMES, 7)
    tokens = tokens + block.attn(seen, seen, seen, need_weights=False)[0]
    tokens = tokens + block.mlp(block.ln_2(tokens))
    torch.testing.assert_close(shifted.tokens.flatten(0, 1), tokens)
    assert (shifted.class_token - plain.class_token).abs().max() > 1e-3


def test_frames_of_a_still_video_are_not_changed(backbone, video):
    still = video[:, :1].expand(-1, FRAMES, -1, -1, -1)
    plain = backbone(still).class_token
    inject(backbone, TokenShift())
    torch.testing.assert_close(backbone(still).class_token, plain)


def test_it_adds_no_weight(backbone):
    before = backbone.state_dict().keys()
    inject(backbone, TokenShift())
    assert backbone.state_dict().keys() == before
    assert frozen_names(backbone) == set(before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"last_blocks": 4}, "last_blocks=4, but custom has 3 blocks; give 1 to 3"),
        ({"last_blocks": 0}, "last_blocks=0"),
        ({"divisor": 51}, "a frame of custom has 50 tokens; give 1 to 50"),
        ({"divisor": 0}, "divisor=0 must be positive"),
    ],
)
def test_impossible_shifts_are_refused(backbone, arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        inject(backbone, TokenShift(**arguments))


def test_a_model_of_video_is_refused():
    config = VideoMAEConfig(
        "chunk", width=24, depth=3, heads=3, hidden=48, patch_size=4, chunk_frames=2, table_size=20
    )
    with pytest.raises(ConfigurationError, match=r"chunk.* is a model of video"):
        inject(VideoMAE.from_config(config, image_size=16), TokenShift())
