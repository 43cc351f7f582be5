"""Who teaches: a frozen teacher with the towers it reads, or with a cache in their place."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from video_adapt.adapters import Adapter, inject
from video_adapt.backbones import CLIP
from video_adapt.batches import CaptionBatch
from video_adapt.checkpoints import digest, read_state
from video_adapt.errors import ConfigurationError, VideoAdaptError
from video_adapt.retrieval import gather
from video_adapt.retrieval.cache import TeacherCache
from video_adapt.retrieval.teachers import FeatureTeacher, Rows, Teacher, Teaching

from .convert import load_teacher
from .own import load_own, read_own
from .reading import check_width, frame_tokens

logger = logging.getLogger(__name__)


class Taught(nn.Module):
    """One teacher of a student: never trained, never in the student's checkpoint.

    Args:
        head: Compares captions with videos.
        backbone: The towers that it reads, with the teacher's own weights; None for a head that
            reads none, such as a file of scores.
        weights: A published file of this teacher, towers included, or a checkpoint of a
            ``TeacherRetriever`` or of a student that was trained here; None leaves head and
            backbone as they are given.
        weight: How much this teacher counts beside the others.
        adapter: What the towers had inside when the teacher was trained, such as the token shift
            of TS2-Net; published files hold no weights of one.
        cache: Folder in which what it says of single videos and captions is kept, so that its
            towers run once for each; None runs them in every step.

    Raises:
        ConfigurationError: If the head reads towers and there are none, or the reverse, or head,
            towers and weights are of different widths or settings.
        WeightsError: If the weights are of something else.
    """

    def __init__(
        self,
        head: Teacher,
        *,
        backbone: CLIP | None = None,
        weights: str | Path | None = None,
        weight: float = 1.0,
        adapter: Adapter | None = None,
        cache: str | Path | None = None,
    ) -> None:
        super().__init__()
        name = type(head).__name__
        if isinstance(head, FeatureTeacher) != (backbone is not None):
            need = "needs a backbone: give it its towers" if backbone is None else "reads no towers"
            raise ConfigurationError(f"teacher {name} {need}")
        if weight <= 0:
            raise ConfigurationError(f"teacher {name} with weight={weight}: it must be positive")
        if backbone is None and (cache or weights or adapter):
            raise ConfigurationError(
                f"teacher {name} reads no towers: cache, weights and adapter mean nothing to it"
            )
        self.head, self.backbone, self.weight = head, backbone, weight
        if backbone is not None:
            check_width(self._parts()[0], backbone)
        if backbone is not None and adapter is not None:
            inject(backbone, adapter, reads_patches=self._parts()[0].reads_patches)
        if weights is not None:
            self._load(weights)
        self.adapter = None if adapter is None else f"{type(adapter).__name__} {vars(adapter)}"
        self.cache_folder = cache
        self.cache: TeacherCache | None = None
        self.requires_grad_(False).eval()

    def _load(self, weights: str | Path) -> None:
        head, towers = self._parts()
        own = read_own(weights)
        published = read_state(weights) if own is None else {}
        try:
            report = load_own(head, towers, own) if own else load_teacher(head, towers, published)
        except VideoAdaptError as error:
            raise type(error)(f"{weights}: {error}") from error
        logger.info("teacher %s: %s: %s", type(head).__name__, weights, report.render())

    def check_pixels(self, student: CLIP) -> None:
        """Refuse a student that sees the frames in other colours or at another size.

        Raises:
            ConfigurationError: If its pixels are not those of the teacher's towers.
        """
        if self.backbone is not None and self.backbone.pixels != student.pixels:
            raise ConfigurationError(
                f"teacher {type(self.head).__name__} sees {tuple(self.backbone.pixels)}, the "
                f"student {tuple(student.pixels)}: both get the same frames; give them backbones "
                "with the same image_size, mean and std"
            )

    def open_cache(self, facts: Mapping[str, Any]) -> None:
        """Open the cache, if there shall be one.

        Args:
            facts: What a clip and a caption depend on, as plain values: manifest, sampling, pixels,
                length of captions.
        """
        if self.cache_folder is not None:
            settings = {
                "head": type(self.head).__name__,
                "adapter": self.adapter,
                **self._parts()[0].settings,
            }
            self.cache = TeacherCache(
                self.cache_folder,
                weights=digest(self.state_dict()),
                preprocessing={**facts, "teacher": settings},
            )

    @torch.no_grad()
    def forward(self, batch: CaptionBatch, caption_video: Tensor) -> Teaching:
        """Teach the batches of all processes together.

        Args:
            batch: That of this process.
            caption_video: Place of the video of every caption among the videos of all processes.

        Raises:
            ConfigurationError: If the towers want other pixels or shorter captions.
        """
        captions, videos = self.rows(batch)
        captions = {name: gather(rows) for name, rows in captions.items()}
        videos = {name: gather(rows) for name, rows in videos.items()}
        teaching: Teaching = self.head(captions, videos, caption_video)
        return teaching

    @torch.no_grad()
    def rows(self, batch: CaptionBatch) -> tuple[Rows, Rows]:
        """What the teacher says of each caption and of each video alone.

        Raises:
            ConfigurationError: If the towers want other pixels or shorter captions.
        """
        if self.backbone is None:
            videos = {"video_id": batch.video_id, "mask": batch.video_mask}
            return {"caption_id": batch.caption_id}, videos
        with torch.autocast(batch.video.device.type, enabled=False):
            if self.cache is None:
                everything = slice(None)
                return self._captions(batch, everything), self._videos(batch, everything)
            return (
                self.cache.fetch("caption", batch.caption_id, lambda at: self._captions(batch, at)),
                self.cache.fetch("video", batch.video_id, lambda at: self._videos(batch, at)),
            )

    def _captions(self, batch: CaptionBatch, at: Tensor | slice) -> Rows:
        head, towers = self._parts()
        return head.encode_captions(*towers.embed_text(batch.tokens[at]))

    def _videos(self, batch: CaptionBatch, at: Tensor | slice) -> Rows:
        head, towers = self._parts()
        tokens = frame_tokens(head, towers, towers(batch.video[at]))
        return head.encode_videos(tokens, batch.video_mask[at])

    def _parts(self) -> tuple[FeatureTeacher, CLIP]:
        assert isinstance(self.head, FeatureTeacher)
        assert self.backbone is not None
        return self.head, self.backbone
