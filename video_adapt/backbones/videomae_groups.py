"""How long videos are cut into chunks, and chunks into groups that are worked on together."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .block_adapter import Grid

# Enough rows to keep a device busy; more would only cost memory.
_TOKENS_AT_ONCE = {"cpu": 2048}
_TOKENS_AT_ONCE_ELSEWHERE = 8192

# Tokens of every group: [K, N, D], N = steps of a chunk * patches; or its pixels.
Stream = list[Tensor]
# Stochastic depth of the attention and the MLP of a block in every group: [K], or None: no noise.
Scales = tuple[list[Tensor | None], list[Tensor | None]]


class Groups(NamedTuple):
    """The groups of a batch; each holds chunks of whole videos, or of a part of one video.

    Attributes:
        sizes: Chunks of each group.
        videos: The video that a group is part of; None for whole videos.
        steps: Time steps ``S`` of a video.
        patches: Patches of a time step.
    """

    sizes: list[int]
    videos: list[int | None]
    steps: int
    patches: int

    def by_step(self, stream: Sequence[Tensor]) -> Tensor:
        """Groups ``[K, N, ...]`` as the time steps of all videos, ``[B*S, patches, ...]``."""
        return torch.cat([self.split_steps(tokens) for tokens in stream])

    def by_group(self, tokens: Tensor, like: Sequence[Tensor]) -> Stream:
        """Undo :meth:`by_step`; chunks are as long as those of ``like``."""
        return list(tokens.reshape(-1, *like[0].shape[1:]).split(self.sizes))

    def split_steps(self, tokens: Tensor) -> Tensor:
        """Chunks ``[K, N, ...]`` as time steps ``[K*steps, patches, ...]``."""
        return tokens.flatten(0, 1).unflatten(0, (-1, self.patches))

    def pool(self, tokens: Tensor) -> Tensor:
        """Mean over patches: ``[K, N, ...]`` to one vector per time step ``[K*steps, ...]``."""
        return self.split_steps(tokens).mean(dim=1)

    def neighbours(
        self, group: int, steps: Sequence[Tensor], reach: int
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The time steps around a group that belong to the same video.

        Args:
            group: Number of the group.
            steps: Time steps of every group, ``[steps of the group, ...]`` each.
            reach: How many are wanted on either side.

        Returns:
            Those before and those behind it, in order of time; fewer at the ends of a video.
        """
        before: list[Tensor] = []
        after: list[Tensor] = []
        for found, direction in ((before, -1), (after, 1)):
            other = group + direction
            while self._in_one_video(group, other) and (lacking := reach - count(found)) > 0:
                found.append(steps[other][-lacking:] if direction < 0 else steps[other][:lacking])
                other += direction
        return before[::-1], after

    def _in_one_video(self, group: int, other: int) -> bool:
        video = self.videos[group]
        return video is not None and 0 <= other < len(self.videos) and self.videos[other] == video

    def draw_scales(self, rates: Sequence[float], device: torch.device) -> list[Scales]:
        """Draw stochastic depth for all blocks.

        Drawn before anything runs, so that a recomputed group drops what it dropped before, and
        the number of groups makes no difference.

        Args:
            rates: Share of chunks that lose their branch, by block.
            device: Where the chunks are.

        Returns:
            By block, factors that keep the expectation: 0 or ``1 / (1 - rate)``.
        """
        quiet: list[Tensor | None] = [None] * len(self.sizes)
        scales: list[Scales] = []
        for rate in rates:
            if rate == 0:
                scales.append((quiet, quiet))
                continue
            keep = torch.rand(2, sum(self.sizes), device=device) >= rate
            attention, mlp = keep / (1 - rate)
            scales.append((list(attention.split(self.sizes)), list(mlp.split(self.sizes))))
        return scales


def count(parts: Sequence[Tensor]) -> int:
    """Rows of several tensors together."""
    return sum(map(len, parts))


def group_chunks(chunks: Tensor, *, videos: int, steps: int, grid: Grid) -> Groups:
    """Form groups that fit the device.

    Args:
        chunks: Chunks of all videos in order, ``[B*K, ...]``.
        videos: ``B``.
        steps: Time steps ``S`` of a video.
        grid: Rows and columns of patches.
    """
    patches = grid[0] * grid[1]
    chunks_of_video = len(chunks) // videos
    at_once = _TOKENS_AT_ONCE.get(chunks.device.type, _TOKENS_AT_ONCE_ELSEWHERE)
    most = max(1, at_once * chunks_of_video // (steps * patches))
    sizes, owners = divide(videos, chunks_of_video, most)
    return Groups(sizes, owners, steps, patches)


def divide(videos: int, chunks: int, most: int) -> tuple[list[int], list[int | None]]:
    """Divide the chunks of a batch into groups.

    Args:
        videos: Number of videos.
        chunks: Chunks of each.
        most: Largest number of chunks of a group.

    Returns:
        ``sizes`` and ``videos`` of :class:`Groups`.
    """
    if chunks <= most:
        full, rest = divmod(videos, most // chunks)
        sizes = [most // chunks * chunks] * full + [rest * chunks] * (rest > 0)
        return sizes, [None] * len(sizes)
    full, rest = divmod(chunks, most)
    of_one = [most] * full + [rest] * (rest > 0)
    return of_one * videos, [video for video in range(videos) for _ in of_one]
