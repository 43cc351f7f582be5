"""TeachCLIP: a retriever that keeps one vector a video, taught by those that keep much more.

Source: Tian et al., TeachCLIP: Multi-grained Teaching for Efficient Text-to-Video Retrieval,
CVPR 2024.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from video_adapt.adapters import Adapter, inject
from video_adapt.backbones import CLIP
from video_adapt.batches import CaptionBatch
from video_adapt.errors import ConfigurationError
from video_adapt.retrieval import TeachingLoss, positive_pairs
from video_adapt.tasks import (
    FrozenBackboneMixin,
    RetrievalOptimizerSpec,
    RetrievalTask,
    TextTuning,
    Tuning,
)

from .network import StudentSpec, VideoReading, start_from_text
from .own import describe_student
from .reading import PairReading, drop_temperature, everywhere
from .teaching import Taught


class TeachCLIP(FrozenBackboneMixin, RetrievalTask):
    """A CLIP whose frames a student joins, alone or taught.

    Teachers are no part of the model: they neither train nor enter its checkpoints, and a model
    that is loaded for a search has none.

    Args:
        backbone: The image and text towers.
        student: What joins the frames.
        teaching: Terms of the loss; those of teachers are 0 without any.
        teachers: Who teaches, each with its towers or a cache of what they say.
        multi_positive: Whether two captions of one video in a batch are both right for it, and it
            for both; the released code takes one of them for wrong.
        micro_batch: Videos, and as many captions, that are inside the towers at once: the loss
            still compares all pairs of the batch, with exact gradients, for a second pass.
            None = all of them.
        exact_gather: Whether several processes have the gradients of one with all their pairs. The
            released code makes those of towers and student too small by the number of processes,
            but not the temperature's.
        optimizer: Recipe of the optimiser.
        tuning: What trains in the image tower. The released run trains all blocks but neither the
            embedding of patches nor the norm behind it: ``last_n`` with all of them.
        last_n: Number of blocks for ``tuning: last_n``.
        text_tuning: What trains in the text tower, and the temperature with it; ``blocks`` in the
            released run.
        adapter: The adapter for ``tuning: adapter`` and ``tuning: side``.

    Raises:
        ConfigurationError: If two settings contradict each other.
    """

    optimizer: RetrievalOptimizerSpec | None

    def __init__(
        self,
        backbone: CLIP,
        *,
        student: StudentSpec = StudentSpec(),  # noqa: B008 (frozen)
        teaching: TeachingLoss = TeachingLoss(),  # noqa: B008 (frozen)
        teachers: Sequence[Taught] = (),
        multi_positive: bool = True,
        micro_batch: int | None = None,
        exact_gather: bool = True,
        optimizer: RetrievalOptimizerSpec | None = None,
        tuning: Tuning = "full",
        last_n: int = 0,
        text_tuning: TextTuning = "full",
        adapter: Adapter | None = None,
    ) -> None:
        super().__init__(optimizer=optimizer)
        if adapter is not None:
            inject(backbone, adapter)
        self.backbone = backbone
        self.masked, self.multi_positive = student.masked, multi_positive
        self.pairs = PairReading(micro_batch, exact_gather)
        self.student = student.build(backbone.embed_dim, positions=backbone.text.context_length)
        start_from_text(self.student, backbone.text)
        self.teaching = teaching
        for teacher in teachers:
            teacher.check_pixels(backbone)
        self.teachers = tuple(teachers)  # a tuple: not registered, hence not saved and not trained
        reads_temperature = student.kind != "tightTransf"
        if not reads_temperature:
            drop_temperature(backbone)
        self.freeze_backbone(
            tuning,
            last_n=last_n,
            reads_temperature=reads_temperature,
            text_tuning=text_tuning,
        )

    def read_videos(self, video: Tensor, mask: Tensor) -> Tensor:
        """What the student keeps of videos: ``[B, E]`` of norm 1, but for ``tightTransf``."""
        return self._read(video, mask).feature

    def read_captions(self, tokens: Tensor) -> Tensor:
        """Sentence vectors ``[Q, E]``, of norm 1 but for ``tightTransf``."""
        return self.student.read_text(self.embed_text(tokens).embedding)

    def similarity(self, text: Tensor, video: Tensor) -> Tensor:
        """Scores of all pairs ``[Q, B]``."""
        return self.student.compare(text, video, self.backbone.logit_scale)

    def losses(self, batch: CaptionBatch) -> Mapping[str, Tensor]:
        """The weighted sum, and its terms: contrastive, coarse, fine; of all processes together."""
        text, video, *weights = self.pairs(self.read_captions, self._read_tensors, batch)
        own, ids, mask = everywhere(batch)
        taught = [teacher(batch, own) for teacher in self.teachers]
        if not self.multi_positive:
            ids = torch.arange(len(ids), device=ids.device)
        terms = self.teaching(
            self.similarity(text, video),
            weights[0][own] if weights else None,  # [Q, T]
            teachers=[teaching.similarity for teaching in taught],
            relevance=[teaching.relevance for teaching in taught],
            teacher_weights=[teacher.weight for teacher in self.teachers],
            positives=positive_pairs(ids[own], ids),
            mask=mask[own] if self.masked else None,
        )
        named = {"loss": terms.total, "contrastive": terms.contrastive}
        if self.teachers:
            named |= {"coarse": terms.coarse, "fine": terms.fine, "fine_excess": terms.fine_excess}
        return named

    def on_fit_start(self) -> None:
        """Bring the teachers to the student's device and open their caches."""
        super().on_fit_start()
        for teacher in self.teachers:
            teacher.to(self.device)
            if teacher.cache_folder is not None:
                teacher.open_cache(self._clip_facts())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the teachers out of the settings too: who loads the student needs none."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["video_adapt"]["head"] = describe_student(self.student)
        settings = checkpoint.get("hyper_parameters", {})
        if "teachers" in settings:
            settings["teachers"] = []

    def _read(self, video: Tensor, mask: Tensor) -> VideoReading:
        reading: VideoReading = self.student(self.encode(video).embedding, mask)
        return reading

    def _read_tensors(self, video: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        return tuple(part for part in self._read(video, mask) if part is not None)

    def _clip_facts(self) -> dict[str, Any]:
        """What training clips and captions depend on; refuses those that change by epoch."""
        data: Any = getattr(self.trainer, "datamodule", None)
        if data is None or data.train_transform is not None:
            raise ConfigurationError(
                "a teacher with a cache wants the same clips in every epoch, from a data module "
                "without train_transform; leave out the augmentation or the cache"
            )
        return {"manifest": data.manifest("train").digest(), "input": data.evaluation_recipe()}
