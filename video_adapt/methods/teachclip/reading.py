"""How the head of a teacher meets the towers of a CLIP, and batches those of other processes."""

import torch
from torch import Tensor
from torch import distributed as dist

from video_adapt.backbones import Backbone, Features
from video_adapt.batches import CaptionBatch
from video_adapt.errors import ConfigurationError
from video_adapt.retrieval import gather
from video_adapt.retrieval.teachers import FeatureTeacher


def frame_tokens(head: FeatureTeacher, towers: Backbone, features: Features) -> Tensor:
    """What a head reads of frames: ``[B, T, N, E]``, ``N`` = 1 where it reads no patches."""
    if not head.reads_patches:
        return features.embedding.unsqueeze(2)
    tokens: Tensor = towers.final_norm(features.tokens) @ towers.projection[0]
    return tokens


def check_width(head: FeatureTeacher, towers: Backbone) -> None:
    """Refuse a head that is made for features of another width.

    Raises:
        ConfigurationError: If the widths differ.
    """
    if head.width != towers.embed_dim:
        raise ConfigurationError(
            f"{type(head).__name__} is made for features of width {head.width}, those of "
            f"{towers.name} have {towers.embed_dim}; set the head's width: {towers.embed_dim}"
        )


def everywhere(batch: CaptionBatch) -> tuple[Tensor, Tensor, Tensor]:
    """``caption_video``, ``video_id`` and ``video_mask`` of all processes, in their order."""
    process = dist.get_rank() if dist.is_initialized() else 0
    makers = gather(torch.full_like(batch.video_id, process))
    before = (makers < process).sum()  # videos of the processes in front of this one
    return gather(batch.caption_video + before), gather(batch.video_id), gather(batch.video_mask)
