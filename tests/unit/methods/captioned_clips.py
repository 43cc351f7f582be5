"""A CLIP whose text tower is as wide as its joint space, and captioned videos for it."""

import torch

from video_adapt.backbones import CLIP
from video_adapt.batches import CaptionBatch

END = 49407


def captioning_clip(*, seed=0, width=16, layers=2):
    """16 pixels, 4 x 4 patches; captions of at most 8 tokens."""
    vision = {"width": 24, "head_width": 8, "layers": 2, "patch_size": 4, "image_size": 16}
    text = {"width": width, "heads": 2, "layers": layers, "context_length": 8, "vocab_size": 49408}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return CLIP.from_config(
            {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text, "quick_gelu": True},
            name="tiny",
        )


def captions(rows, *, seed=0):
    """Videos of 4 frames, the second with one of padding, and a caption for each of ``rows``."""
    generator = torch.Generator().manual_seed(seed)
    videos = max(rows) + 1
    video = torch.randn(videos, 4, 3, 16, 16, generator=generator)
    mask = torch.ones(videos, 4, dtype=torch.bool)
    mask[1, 3] = False
    video[~mask] = 0
    tokens = torch.randint(1, 49000, (len(rows), 6), generator=generator)
    tokens[:, 4], tokens[:, 5] = END, 0
    return CaptionBatch(
        video, mask, tokens, torch.tensor(rows), 10 + torch.arange(videos), torch.arange(len(rows))
    )
