"""One pass of long videos through a VideoMAE, a few chunks at a time.

Chunks of a video meet only inside adapters. So everything else runs group of chunks by group of
chunks, and what a group leaves behind for the backward pass is what it was given: each group is
recomputed when its turn comes, and the memory beyond the kept inputs is that of one group.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .base import Backbone
from .block_adapter import BlockAdapter, BottleneckAdapter, Grid, Site
from .ladder import Ladder
from .videomae_groups import Stream, count, group_chunks
from .videomae_tower import VideoTower

Recompute = Literal["auto", "always", "never"]
# What happens to the tokens [K, N, D] of one group, given the number of the group.
Piece = Callable[[int, Tensor], Tensor]
Result = TypeVar("Result")


class RunSettings(NamedTuple):
    """How a pass is run; none of it changes results, but for stochastic depth.

    Attributes:
        recompute: Whether groups are recomputed in the backward pass; ``auto``: where there is
            more than one.
        offload: Whether kept inputs wait in host memory; on a CPU they are there already.
        drop_path: Share of chunks whose branch of the last block is dropped, falling linearly to
            0 at the first block.
    """

    recompute: Recompute
    offload: bool
    drop_path: float


class ChunkedRun:
    """A pass of one batch.

    Args:
        backbone: Owner of the adapters, and of where they stand.
        tower: Its transformer.
        video: ``[B, T, 3, H, W]``, ``T`` a multiple of the chunk.
        chunk_frames: Frames of a chunk.
        grid: Rows and columns of patches.
        settings: How to run.
    """

    def __init__(
        self,
        backbone: Backbone,
        tower: VideoTower,
        video: Tensor,
        *,
        chunk_frames: int,
        grid: Grid,
        settings: RunSettings,
    ) -> None:
        self.tower, self.depth = tower, backbone.depth
        self.backbone, self.beside = backbone, backbone.beside
        self.adapters = {int(number): edit for number, edit in backbone.adapters.items()}
        self.grid, self.steps = grid, video.shape[1] // backbone.tubelet
        chunks = video.unflatten(1, (-1, chunk_frames)).flatten(0, 1)  # [B*K, frames, 3, H, W]
        self.groups = group_chunks(chunks, videos=len(video), steps=self.steps, grid=grid)
        self.pixels: Stream = list(chunks.split(self.groups.sizes))
        several = settings.recompute == "auto" and len(self.pixels) > 1
        self.recompute = several or settings.recompute == "always"
        self.offload = settings.offload and self.recompute and video.is_cuda
        rates = [settings.drop_path * n / max(1, self.depth - 1) for n in range(self.depth)]
        self.scales = self.groups.draw_scales(rates, video.device)

    def sequence(self) -> Tensor:
        """Mean over patches of the last block's output, without a norm: ``[B, S, D]``."""
        with self._keeping():
            pooled = self._beside() if self.beside else self._inside()
        return pooled.unflatten(0, (-1, self.steps))

    def tokens(self, blocks: Collection[int]) -> tuple[Tensor, dict[int, Tensor]]:
        """Output of the last block, and of the wanted ones, each ``[B, S, patches, D]``."""
        last = max(self.adapters) if self.beside else self.depth - 1
        start = min(self._start(), *blocks, *(self.adapters if self.beside else ()), last)
        ladder = Ladder(self.backbone, num_frames=self.steps)
        kept: dict[int, Tensor] = {}
        with self._keeping():
            stream, pending = self._lower(start)
            for number in range(start, max([last, *blocks]) + 1):
                with ladder.trunk():
                    stream = self._run_block(number, pending, stream)
                pending = []
                if self.beside or number == last or number in blocks:
                    kept[number] = self.groups.by_step(stream)
                    ladder.read(number, kept[number])
        shape = (-1, self.steps)
        top = ladder.top(kept[last]).unflatten(0, shape)
        return top, {number: kept[number].unflatten(0, shape) for number in blocks}

    def _inside(self) -> Tensor:
        """Adapters inside the blocks, or none, ``[B*S, D]``."""
        start, pool = self._start(), self.groups.pool
        if start == self.depth:
            return torch.cat([pool(self._plain(g, x, start)) for g, x in enumerate(self.pixels)])
        stream, pending = self._lower(start)
        for number in range(start, self.depth - 1):
            stream = self._run_block(number, pending, stream)
            pending = []
        return self._read_block(self.depth - 1, pending, stream)

    def _beside(self) -> Tensor:
        """The plain model without a graph, and what stands beside it, ``[B*S, D]``.

        Behind the activation an adapter is linear and looks along time only, so the mean over
        patches is taken there: time is mixed on one narrow vector per step.
        """
        hidden: dict[int, list[Tensor]] = {number: [] for number in sorted(self.adapters)}
        pooled = []
        for group, tokens in enumerate(self.pixels):
            done = 0
            for number, found in hidden.items():
                with torch.no_grad():
                    tokens = self._plain(group, tokens, number + 1, first=done)
                done = number + 1
                found.append(self._recomputed(self._squeeze_and_pool, number, _lean(tokens)))
            pooled.append(self.groups.pool(tokens))
        total = torch.cat(pooled)
        for number, found in hidden.items():
            total = total + self._expand_pooled(self._bottleneck(number), torch.cat(found))
        return total

    def _lower(self, start: int) -> tuple[Stream, list[Piece]]:
        """Tokens in front of block ``start``, or pixels and the embedding as the first piece."""
        if start == 0:
            return self.pixels, [lambda group, pixels: self.tower.embed(pixels)]
        with torch.no_grad():
            return [self._plain(group, x, start) for group, x in enumerate(self.pixels)], []

    def _plain(self, group: int, tokens: Tensor, stop: int, *, first: int = 0) -> Tensor:
        """Embed pixels if need be, and run blocks without adapters on one group."""
        if first == 0:
            tokens = self.tower.embed(tokens)
        for number in range(first, stop):
            for half in self._halves(number):
                tokens = half(group, tokens)
        return tokens

    def _halves(self, number: int) -> tuple[Piece, Piece]:
        block = self.tower.block(number)
        attention, mlp = self.scales[number]
        adapter = self._inside_adapter(number)
        edit = None if adapter is None else adapter.behind_mlp
        return (
            lambda group, tokens: block.attend(tokens, attention[group]),
            lambda group, tokens: block.transform(tokens, mlp[group], edit),
        )

    def _run_block(self, number: int, pending: list[Piece], stream: Stream) -> Stream:
        """A block and what stands inside it; ``pending`` comes first, recomputed together."""
        stream, pending = self._run_halves(number, pending, stream)
        adapter = self._inside_adapter(number)
        if isinstance(adapter, BottleneckAdapter):
            return self._add_bottleneck(adapter, pending, stream)
        return self._edit("after_mlp", adapter, self._run(pending, stream))

    def _read_block(self, number: int, pending: list[Piece], stream: Stream) -> Tensor:
        """The last block followed by the mean over patches, ``[B*S, D]``."""
        stream, pending = self._run_halves(number, pending, stream)
        adapter = self._inside_adapter(number)
        if isinstance(adapter, BottleneckAdapter):
            wide, narrow = self._squeeze(adapter, pending, stream, self.groups.pool)
            return torch.cat(wide) + self._expand_pooled(adapter, torch.cat(narrow))
        if adapter is not None and adapter.edits("after_mlp"):
            stream, pending = self._edit("after_mlp", adapter, self._run(pending, stream)), []
        return torch.cat(self._run([*pending, lambda _, x: self.groups.pool(x)], stream))

    def _run_halves(
        self, number: int, pending: list[Piece], stream: Stream
    ) -> tuple[Stream, list[Piece]]:
        adapter = self._inside_adapter(number)
        sites: tuple[Site, Site] = ("before_attention", "before_mlp")
        for site, half in zip(sites, self._halves(number), strict=True):
            if adapter is not None and adapter.edits(site):
                stream, pending = self._edit(site, adapter, self._run(pending, stream)), []
            pending = [*pending, half]
        return stream, pending

    def _run(self, pieces: list[Piece], stream: Stream) -> Stream:
        if not pieces:
            return stream
        run = partial(_chain, pieces)
        return [self._recomputed(run, group, tokens) for group, tokens in enumerate(stream)]

    def _edit(self, site: Site, adapter: BlockAdapter | None, stream: Stream) -> Stream:
        """Show an adapter, whatever it does, the whole video."""
        if adapter is None or not adapter.edits(site):
            return stream
        edit = partial(getattr(adapter, site), num_frames=self.steps, grid=self.grid)
        return self.groups.by_group(
            self._recomputed(edit, self.groups.by_step(stream)), like=stream
        )

    def _add_bottleneck(
        self, adapter: BottleneckAdapter, pieces: list[Piece], stream: Stream
    ) -> Stream:
        """Show an adapter of this kind no more of a video than it looks at."""
        wide, narrow = self._squeeze(adapter, pieces, stream, lambda tokens: tokens)
        narrow = [self.groups.split_steps(hidden) for hidden in narrow]
        for group, tokens in enumerate(wide):
            before, after = self.groups.neighbours(group, narrow, adapter.reach)
            edit = partial(self._mix, adapter, group, count(before), len(narrow[group]))
            edits = self._recomputed(edit, *before, narrow[group], *after)
            wide[group] = tokens + edits.view_as(tokens)
        return wide

    def _squeeze(
        self,
        adapter: BottleneckAdapter,
        pieces: list[Piece],
        stream: Stream,
        reduce: Callable[[Tensor], Tensor],
    ) -> tuple[Stream, Stream]:
        """Output of the pieces, and what the adapter squeezes it to, both reduced."""

        def run(group: int, tokens: Tensor) -> tuple[Tensor, Tensor]:
            tokens = _chain(pieces, group, tokens)
            return reduce(tokens), reduce(adapter.squeeze(tokens))

        results = [self._recomputed(run, group, tokens) for group, tokens in enumerate(stream)]
        return [wide for wide, _ in results], [narrow for _, narrow in results]

    def _mix(
        self, adapter: BottleneckAdapter, group: int, first: int, number: int, *parts: Tensor
    ) -> Tensor:
        """Edits of a group, whose ``number`` steps come behind ``first`` steps of others."""
        hidden = torch.cat(parts)  # [steps, patches, R]
        steps = self.steps if self.groups.videos[group] is None else len(hidden)
        return adapter.expand(adapter.mix(hidden, num_frames=steps)[first : first + number])

    def _squeeze_and_pool(self, number: int, tokens: Tensor) -> Tensor:
        return self.groups.pool(self._bottleneck(number).squeeze(tokens))

    def _expand_pooled(self, adapter: BottleneckAdapter, hidden: Tensor) -> Tensor:
        return adapter.expand(adapter.mix(hidden[:, None], num_frames=self.steps)[:, 0])

    def _inside_adapter(self, number: int) -> BlockAdapter | None:
        if self.beside or number not in self.adapters:
            return None
        adapter = self.adapters[number]
        assert isinstance(adapter, BlockAdapter)
        return adapter

    def _bottleneck(self, number: int) -> BottleneckAdapter:
        adapter = self.adapters[number]
        assert isinstance(adapter, BottleneckAdapter)  # tuning=side has checked it
        return adapter

    def _start(self) -> int:
        """The first block that an adapter edits or a gradient must reach."""
        if self.beside:
            return self.depth
        trained: list[int] = []
        if torch.is_grad_enabled():
            if self.pixels[0].requires_grad or _trains(self.tower.patch_embed):
                return 0
            trained = [n for n in range(self.depth) if _trains(self.tower.block(n))]
        return min([*trained, *self.adapters], default=self.depth)

    def _recomputed(self, function: Callable[..., Result], *args: object) -> Result:
        if not (self.recompute and torch.is_grad_enabled()):
            return function(*args)
        result: Result = checkpoint(function, *args, use_reentrant=False)
        return result

    def _keeping(self) -> AbstractContextManager[object]:
        return torch.autograd.graph.save_on_cpu(pin_memory=True) if self.offload else nullcontext()


def _chain(pieces: Sequence[Piece], group: int, tokens: Tensor) -> Tensor:
    for piece in pieces:
        tokens = piece(group, tokens)
    return tokens


def _trains(module: nn.Module) -> bool:
    return any(p.requires_grad for p in module.parameters())


def _lean(tokens: Tensor) -> Tensor:
    """Tokens in the type in which a layer will read them: under autocast half the memory."""
    kind = tokens.device.type
    autocast = torch.is_autocast_enabled(kind)
    return tokens.to(torch.get_autocast_dtype(kind)) if autocast else tokens
