"""What a search costs with a method: what is kept of a video, and what comparing a pair takes."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

Similarity = Callable[[Tensor, Tensor], Tensor]


class SearchCost(NamedTuple):
    """Costs that grow with the number of videos.

    Attributes:
        numbers_per_video: How many numbers are kept of a video.
        numbers_per_caption: How many of a caption.
        multiply_adds_per_pair: Of one comparison, half of what FLOPs count. What is done once per
            caption or once per video, however many it is compared with, is no part of it.
    """

    numbers_per_video: int
    numbers_per_caption: int
    multiply_adds_per_pair: int


def search_cost(text: Tensor, video: Tensor, similarity: Similarity | None) -> SearchCost:
    """Count by comparing copies of the first caption with copies of the first video.

    A matrix of scores costs ``a Q + b B + c Q B``; the last is found from four sizes of it.

    Args:
        text: What is kept of captions, ``[Q, ...]``, at least one.
        video: What is kept of videos, ``[B, ...]``, at least one.
        similarity: ``(text, video) -> [Q, B]``; None = the dot product of vectors.
    """
    kept = video[0].numel(), text[0].numel()
    if similarity is None:
        return SearchCost(*kept, kept[0])
    both, captions, videos, one = (
        _multiply_adds(similarity, _copies(text, q), _copies(video, b))
        for q, b in ((2, 2), (2, 1), (1, 2), (1, 1))
    )
    return SearchCost(*kept, both - captions - videos + one)


def _copies(rows: Tensor, count: int) -> Tensor:
    return rows[:1].expand(count, *rows.shape[1:])


def _multiply_adds(similarity: Similarity, text: Tensor, video: Tensor) -> int:
    counter = FlopCounterMode(display=False)
    # Fused attention counts as nothing on the CPU.
    with sdpa_kernel(SDPBackend.MATH), counter:
        similarity(text, video)
    return int(counter.get_total_flops()) // 2
