"""How the head of a teacher meets the towers of a CLIP, and batches those of other processes."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch import distributed as dist

from video_adapt.backbones import Backbone, Features
from video_adapt.batches import CaptionBatch
from video_adapt.errors import ConfigurationError
from video_adapt.retrieval import encode_in_parts, gather
from video_adapt.retrieval.teachers import FeatureTeacher


def frame_tokens(head: FeatureTeacher, towers: Backbone, features: Features) -> Tensor:
    """What a head reads of frames: ``[B, T, N, E]``, ``N`` = 1 where it reads no patches."""
    if not head.reads_patches:
        return features.embedding.unsqueeze(2)
    tokens: Tensor = towers.final_norm(features.tokens) @ towers.projection[0]
    return tokens.to(features.embedding.dtype)


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


@torch.no_grad()
def drop_temperature(towers: Backbone) -> None:
    """Set a temperature that nothing reads to 0, so that no checkpoint depends on what it was."""
    towers.logit_scale.zero_()


class PairReading:
    """Features of the captions and videos of all processes, with exact gradients for the own ones.

    Args:
        micro_batch: Videos, and as many captions, that are inside the encoders at once; None = all.
        exact: Whether gradients of all processes are added up: :func:`gather`.

    Raises:
        ConfigurationError: If nothing could be encoded at once.
    """

    def __init__(self, micro_batch: int | None, exact: bool) -> None:
        if micro_batch is not None and micro_batch < 1:
            raise ConfigurationError(f"micro_batch is {micro_batch}: give 1 or more, or null")
        self.micro_batch, self.exact = micro_batch, exact

    def __call__(
        self,
        read_captions: Callable[[Tensor], Tensor],
        read_videos: Callable[[Tensor, Tensor], tuple[Tensor, ...]],
        batch: CaptionBatch,
    ) -> tuple[Tensor, ...]:
        """Read a batch.

        Args:
            read_captions: Tokens ``[Q, L]`` in, what is kept of captions out.
            read_videos: Frames and their mask in, what is kept of videos out.
            batch: That of this process.

        Returns:
            Captions, then whatever is kept of videos, of all processes in their order.
        """
        text = encode_in_parts(
            lambda tokens: (read_captions(tokens),), (batch.tokens,), self.micro_batch
        )
        videos = encode_in_parts(read_videos, (batch.video, batch.video_mask), self.micro_batch)
        return tuple(map(partial(gather, exact=self.exact), (*text, *videos)))


def everywhere(batch: CaptionBatch) -> tuple[Tensor, Tensor, Tensor]:
    """``caption_video``, ``video_id`` and ``video_mask`` of all processes, in their order."""
    process = dist.get_rank() if dist.is_initialized() else 0
    makers = gather(torch.full_like(batch.video_id, process))
    before = (makers < process).sum()  # videos of the processes in front of this one
    return gather(batch.caption_video + before), gather(batch.video_id), gather(batch.video_mask)
