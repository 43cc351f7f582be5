"""What expanded attention is compared with computes the same; the table says how much dearer."""

import pytest
import torch

from video_adapt.adapters import ExpandedAttentionBlockAdapter
from video_adapt.backbones import CLIP, BlockAdapter
from video_adapt.reports.bench_expanded import (
    WAYS,
    ExpandedRow,
    FramesOfZeros,
    kept_bytes,
    measure,
    render,
)

CONFIG = {
    "embed_dim": 8,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "patch_size": 4, "width": 16, "layers": 2, "head_width": 8},
    "text_cfg": {"context_length": 6, "vocab_size": 16, "width": 8, "layers": 1, "heads": 1},
}


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    return CLIP.from_config(CONFIG)


@pytest.mark.parametrize("reach", [1, 2])
def test_frames_of_zeros_are_the_same_attention(reach):
    parts = torch.randn(3, 10, 4, 2, 8, generator=torch.Generator().manual_seed(0))
    copied = FramesOfZeros(reach).look(*parts, num_frames=5)
    torch.testing.assert_close(
        copied, ExpandedAttentionBlockAdapter(reach).look(*parts, num_frames=5)
    )


def test_every_way_is_measured_and_the_backbone_is_plain_again(backbone):
    rows = measure(backbone, torch.randn(1, 4, 3, 32, 32), rounds=1)
    assert [row.name for row in rows] == list(WAYS)
    assert rows[0].of_plain == 1
    assert all(row.seconds > 0 for row in rows)
    assert not len(backbone.adapters)


def test_what_waits_for_the_backward_pass_grows_less_without_copies(backbone):
    video = torch.randn(1, 8, 3, 32, 32)
    kept = []
    for build in (BlockAdapter, lambda: ExpandedAttentionBlockAdapter(1), lambda: FramesOfZeros(1)):
        for block in range(backbone.depth):
            backbone.adapters[str(block)] = build()
        kept.append(kept_bytes(backbone, video))
    plain, views, copies = kept
    values = 4 * 8 * 65 * 16  # bytes of the keys of a block
    assert copies - plain >= 2 * 2 * 3 * values
    assert plain < views < plain + 0.5 * (copies - plain)


def test_the_first_row_is_what_the_others_are_compared_with():
    table = render([ExpandedRow("a", 2.0, 1.0, 100.0), ExpandedRow("b", 3.0, 1.5, 120.0)])
    assert table.splitlines()[2:] == [
        "| a | 2.00 | 1.00 | 100 | 1.00 |",
        "| b | 3.00 | 1.50 | 120 | 1.20 |",
    ]
