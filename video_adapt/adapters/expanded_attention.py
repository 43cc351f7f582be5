"""Temporally expanded attention: every frame also looks at its neighbours, without a weight.

Source: Weng et al., Open-VCLIP: Transforming CLIP to an Open-vocabulary Video Model via
Interpolated Weight Optimization, ICML 2023, section 3.1; FROSTER, ICLR 2024, is built on it.
"""

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from video_adapt.backbones.base import Backbone
from video_adapt.backbones.block_adapter import BlockAdapter
from video_adapt.errors import ConfigurationError

from .inject import Adapter, require_image_backbone

_NULL_KEYS = 2


class ExpandedAttentionBlockAdapter(BlockAdapter):
    """Queries of a frame look at the keys of all frames at most ``reach`` away.

    A frame outside the clip counts as one whose keys and values are zero: it adds ``N`` to the
    denominator of the softmax and nothing to the sum of values. No such frame is made, and no
    frame's keys are copied but for those of the clip's first and last ``reach`` frames.

    Args:
        reach: Frames looked at to either side.
    """

    def __init__(self, reach: int) -> None:
        super().__init__()
        self.reach = reach

    def look(self, queries: Tensor, keys: Tensor, values: Tensor, *, num_frames: int) -> Tensor:
        """Attend over several frames, all ``[B*T, N, heads, D / heads]``."""
        queries, keys, values = (
            part.unflatten(0, (-1, num_frames)) for part in (queries, keys, values)
        )  # [B, T, N, heads, D / heads]
        inner = max(0, num_frames - 2 * self.reach)
        before = min(self.reach, num_frames)
        # Parts of one split, and not slices: each slice would have a gradient of full size.
        first, middle, last = queries.split([before, inner, num_frames - before - inner], dim=1)
        taken = [self._near_border(t, q, keys, values) for t, q in enumerate(first.unbind(1))]
        if inner:
            taken.append(self._inside(middle, keys, values))
        taken += [
            self._near_border(before + inner + t, q, keys, values)
            for t, q in enumerate(last.unbind(1))
        ]
        return torch.cat(taken, dim=1).flatten(0, 1)

    def _inside(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Frames with all neighbours, ``[B, T - 2 * reach, N, heads, D / heads]``."""
        # Neighbours lie one behind the other in memory, so overlapping views are enough. Fused
        # attention takes one batch dimension, and no view joins clips with such windows.
        clips = [
            F.scaled_dot_product_attention(
                own.transpose(1, 2), self._windows(seen), self._windows(worth)
            )
            for own, seen, worth in zip(
                queries.unbind(0), keys.unbind(0), values.unbind(0), strict=True
            )
        ]
        return torch.stack(clips).transpose(2, 3)

    def _windows(self, frames: Tensor) -> Tensor:
        """``[T, N, heads, D / heads]`` to ``[T - 2 * reach, heads, keys, D / heads]``."""
        count = frames.shape[1]
        windows = frames.flatten(0, 1).unfold(0, (2 * self.reach + 1) * count, count)
        return windows.transpose(2, 3)

    def _near_border(self, frame: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """A frame that lacks neighbours, ``[B, 1, N, heads, D / heads]``.

        Args:
            frame: Its number.
            queries: Its queries, ``[B, N, heads, D / heads]``.
            keys: Keys of all frames, ``[B, T, N, heads, D / heads]``.
            values: Values of all frames, of the same shape.
        """
        seen = slice(max(0, frame - self.reach), frame + self.reach + 1)
        near = queries.transpose(1, 2)  # [B, heads, N, D / heads]
        real_keys, real_values = keys[:, seen].flatten(1, 2), values[:, seen].flatten(1, 2)
        zeros = keys.new_zeros(len(keys), _NULL_KEYS, *keys.shape[3:])
        missing = (2 * self.reach + 1) * keys.shape[2] - real_keys.shape[1]
        biases = keys.new_zeros(real_keys.shape[1] + _NULL_KEYS)
        for place, bias in zip((-2, -1), null_biases(missing, keys.dtype), strict=True):
            biases[place] = bias
        taken = F.scaled_dot_product_attention(
            near,
            torch.cat([real_keys, zeros], dim=1).transpose(1, 2),
            torch.cat([real_values, zeros], dim=1).transpose(1, 2),
            attn_mask=biases.expand(*near.shape[:3], -1),
        )
        return taken.transpose(1, 2)[:, None]


@cache
def null_biases(count: int, dtype: torch.dtype) -> tuple[float, float]:
    """Logits of two zero keys that together weigh as much as ``count`` keys of logit 0.

    One such key would weigh ``count`` with a logit of its logarithm; but in bfloat16 that logarithm
    is up to 1.6 % of the weight away. So the first stays a step below, and the second is the rest.

    Args:
        count: Zero keys meant.
        dtype: Type in which the logits are added.

    Returns:
        Both logits, exact in ``dtype``; minus infinity where no rest is left.
    """
    lower = math.log(count) * (1 - torch.finfo(dtype).eps)
    first = torch.tensor(lower, dtype=dtype).item()
    rest = torch.tensor(count - math.exp(first), dtype=torch.float64).log().to(dtype).item()
    return first, rest


class ExpandedAttention(Adapter):
    """The attention of Open-VCLIP and FROSTER in every block; no weight, so any tuning fits.

    Each block widens the view by ``reach`` frames; a time step counts nowhere, so the weights of
    an image model go on meaning what they mean.

    Args:
        reach: Frames looked at to either side; the papers' 1.

    Raises:
        ConfigurationError: If ``reach`` is not positive.
    """

    def __init__(self, reach: int = 1) -> None:
        if reach < 1:
            raise ConfigurationError(
                f"ExpandedAttention: reach={reach} must be positive, such as 1; for frames on "
                "their own leave the adapter out"
            )
        self.reach = reach

    def build(self, block: int, backbone: Backbone, *, reads_patches: bool) -> BlockAdapter | None:
        """Make the attention of one block; every token looks further, whatever the read-out.

        Raises:
            ConfigurationError: If the backbone is a model of video.
        """
        require_image_backbone(self, backbone)
        return ExpandedAttentionBlockAdapter(self.reach)
