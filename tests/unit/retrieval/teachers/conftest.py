"""Features of a small batch: more captions than videos, and padding."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor


class Batch(NamedTuple):
    tokens: Tensor
    mask: Tensor
    sentence: Tensor
    words: Tensor
    caption_video: Tensor


@pytest.fixture
def batch():
    """3 videos of 4 frames with 1 + 6 tokens, 5 captions of 5 words, width 8."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]]).bool()
    pairs = torch.tensor([0, 1, 2, 1, 0])
    return Batch(draw(3, 4, 7, 8), mask, draw(5, 8), draw(5, 5, 8), pairs)


@pytest.fixture
def teach():
    """Teach a batch live, both steps."""

    def run(teacher, batch):
        videos = teacher.encode_videos(batch.tokens, batch.mask)
        captions = teacher.encode_captions(batch.sentence, batch.words)
        return teacher(captions, videos, batch.caption_video)

    return run
