"""VideoMAE: a transformer that sees sixteen frames at once, here over videos of any length."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Self

from torch import Tensor, nn

from video_adapt.checkpoints import LoadReport
from video_adapt.errors import ConfigurationError

from .base import Backbone, Features, PixelSpec
from .block_adapter import Grid
from .videomae_config import MEAN, STD, VideoMAEConfig, read_config
from .videomae_run import ChunkedRun, Recompute, RunSettings
from .videomae_tower import VideoTower
from .videomae_weights import find_weights, load_weights

logger = logging.getLogger(__name__)


class VideoMAE(Backbone):
    """VideoMAE or VideoMAE V2, cut into chunks of sixteen frames that only adapters connect.

    It has neither class token nor text tower: a time step (``tubelet`` frames) is read out as the
    mean over its patches.

    Args:
        name: ``small``, ``base``, ``large``, ``huge`` or ``giant`` (V2); or a model in
            transformers' format, by its name on Hugging Face's hub, such as
            ``MCG-NJU/videomae-base-finetuned-kinetics``, or by its folder.
        weights: ``hub`` fetches those published under the name; or a file in the layout of
            VideoMAE, VideoMAE V2, mmaction2 or transformers; or null for random weights.
        image_size: Side of the input in pixels. Other sizes and shapes run too: the position
            table is resized to the patches that there are.
        drop_path: Stochastic depth of the last block, falling linearly to 0 at the first; active
            wherever something inside the backbone trains, also in its frozen blocks.
        recompute: Whether the backward pass computes blocks anew, group of chunks by group of
            chunks, instead of remembering them: ``auto`` does where there is more than one group.
        offload: Whether what the backward pass starts from waits in host memory (CUDA only).

    Raises:
        ConfigurationError: If there is no such model, or the image is smaller than a patch.
        WeightsError: If the weights are missing or do not fit.
    """

    class_tokens = 0

    def __init__(
        self,
        name: str,
        weights: str | None = "hub",
        *,
        image_size: int = 224,
        drop_path: float = 0.0,
        recompute: Recompute = "auto",
        offload: bool = False,
    ) -> None:
        super().__init__()
        self._build(read_config(name), weights, image_size)
        self.drop_path = drop_path
        self.recompute: Recompute = recompute
        self.offload = offload

    @classmethod
    def from_config(
        cls, config: VideoMAEConfig, weights: str | None = None, **settings: Any
    ) -> Self:
        """Build another architecture than the published ones.

        Args:
            config: The architecture.
            weights: As in the constructor; None for random weights.
            **settings: ``image_size`` (default: that of the position table), ``drop_path``,
                ``recompute`` and ``offload`` of the constructor.
        """
        backbone = cls.__new__(cls)
        Backbone.__init__(backbone)
        backbone._build(config, weights, settings.get("image_size", config.table_size))
        backbone.drop_path = settings.get("drop_path", 0.0)
        backbone.recompute = settings.get("recompute", "auto")
        backbone.offload = settings.get("offload", False)
        return backbone

    def _build(self, config: VideoMAEConfig, weights: str | None, image_size: int) -> None:
        if image_size < config.patch_size:
            raise ConfigurationError(
                f"{config.name}: image_size={image_size} holds no patch of "
                f"{config.patch_size} pixels; the usual sizes are 160 and 224"
            )
        found = find_weights(config, weights) if weights is not None else None
        self.name = config.name
        self.config = config
        self.pixels = PixelSpec(image_size, MEAN, STD)
        self.width, self.depth, self.heads = config.width, config.depth, config.heads
        self.patch_size, self.tubelet = config.patch_size, config.tubelet
        self.tower = VideoTower(config)
        # The norm behind the mean over all tokens belongs to the recogniser that the files hold.
        # It stands outside the tower, because a detector does not read it.
        self.fc_norm = nn.LayerNorm(config.width, eps=1e-6)
        if found is None:
            logger.info("%s: random weights", self.name)
        else:
            self.load_weights(found)

    def load_weights(self, state: Mapping[str, Tensor]) -> LoadReport:
        """Take over weights under the names of any known layout, strictly; adapters stay.

        Args:
            state: Tensors by published name.

        Returns:
            The account, which is also logged.

        Raises:
            WeightsError: If anything is missing, left over or of another shape, or the file has
                other positions than the fixed ones.
        """
        report = load_weights(self, state)
        logger.info("%s: %s", self.name, report.render())
        return report

    @property
    def visual(self) -> nn.Module:
        """The transformer without the recogniser's norm."""
        return self.tower

    def last_blocks(self, count: int) -> list[nn.Module]:
        """The last blocks; nothing that a detector reads stands behind them."""
        return [*self.tower.blocks[self.depth - count :]]

    def sequence(self, video: Tensor) -> Tensor:
        """One vector per time step: the mean over its patches, without a norm.

        Args:
            video: ``[B, T, C, H, W]``, normalised with :attr:`pixels`.

        Returns:
            ``[B, T / tubelet, D]``.

        Raises:
            ConfigurationError: If the frames do not fill chunks, or hold no patch.
        """
        return self._run(video).sequence()

    def forward(
        self,
        video: Tensor,
        *,
        blocks: Sequence[int] = (),
        queries_keys: Sequence[int] = (),
    ) -> Features:
        """Encode every chunk of frames on its own; every token, for read-outs other than a mean.

        Args:
            video: ``[B, T, C, H, W]``, normalised with :attr:`pixels`.
            blocks: Numbers of the blocks whose output is wanted.
            queries_keys: Not to be had: attention spans the frames of a chunk.

        Returns:
            Features of time steps of ``tubelet`` frames, without a class token and with an empty
            embedding.

        Raises:
            ConfigurationError: If the frames do not fill chunks, a block does not exist, or
                queries and keys are wanted.
        """
        if unknown := {*blocks, *queries_keys} - {*range(self.depth)}:
            raise ConfigurationError(
                f"{self.name} has blocks 0 to {self.depth - 1}, not {sorted(unknown)}"
            )
        if queries_keys:
            raise ConfigurationError(
                f"{self.name} shows no queries and keys: its attention spans several frames, there "
                "are none of a single one; switch cross_attention off or use a CLIP backbone"
            )
        tokens, streams = self._run(video).tokens(blocks)
        summary = self.final_norm(self.summarise(tokens))  # [B, S, D]
        return Features(summary, summary[..., :0], tokens, streams, {})

    def final_norm(self, tokens: Tensor) -> Tensor:
        """The norm that the published recogniser puts behind its mean over tokens."""
        return self.fc_norm(tokens)

    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        """Not to be had.

        Raises:
            ConfigurationError: Always.
        """
        raise self.without_text()

    @property
    def logit_scale(self) -> Tensor:
        """Not to be had.

        Raises:
            ConfigurationError: Always.
        """
        raise self.without_text()

    def _run(self, video: Tensor) -> ChunkedRun:
        # Frozen parts are in eval mode: that the backbone is not says that something in it trains.
        noisy = self.training and not self.beside
        return ChunkedRun(
            self,
            self.tower,
            video,
            chunk_frames=self.config.chunk_frames,
            grid=self._check(video),
            settings=RunSettings(
                recompute=self.recompute,
                offload=self.offload,
                drop_path=self.drop_path if noisy else 0.0,
            ),
        )

    def _check(self, video: Tensor) -> Grid:
        size, frames = self.patch_size, self.config.chunk_frames
        if video.ndim != 5 or video.shape[2] != 3 or min(video.shape[3:]) < size:
            raise ConfigurationError(
                f"{self.name} wants video [B, T, 3, H, W] of at least {size} x {size} pixels, got "
                f"{list(video.shape)}; set the transform's size to the backbone's image_size"
            )
        if video.shape[1] == 0 or video.shape[1] % frames:
            raise ConfigurationError(
                f"{self.name} sees {frames} frames at once and cannot divide {video.shape[1]}; "
                f"set the number of frames (window times frames per step) to a multiple of {frames}"
            )
        return video.shape[3] // size, video.shape[4] // size
