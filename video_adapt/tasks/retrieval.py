"""Text-to-video retrieval: videos and captions in, features to compare out."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from video_adapt.batches import CaptionBatch, RetrievalPredictions
from video_adapt.errors import AnnotationError
from video_adapt.retrieval import MAX_LOGIT_SCALE

from .base import Task
from .optim import Recipe
from .retrieval_optim import retrieval_groups


class RetrievalTask(Task):
    """Steps and optimiser groups of every retriever; a method reads, compares and judges.

    Args:
        optimizer: Recipe of the optimiser; None for a method that does not train.
    """

    job = "retrieval"
    knows_classes = False

    def __init__(self, *, optimizer: Recipe | None = None) -> None:
        super().__init__(class_names=(), optimizer=optimizer)

    @abstractmethod
    def read_videos(self, video: Tensor, mask: Tensor) -> Tensor:
        """What is kept of videos.

        Args:
            video: ``[B, T, C, H, W]``, in the backbone's normalisation.
            mask: Where a frame is real, bool ``[B, T]``.

        Returns:
            ``[B, E]`` of norm 1, or whatever :meth:`similarity` takes, ``[B, ...]``.
        """

    @abstractmethod
    def read_captions(self, tokens: Tensor) -> Tensor:
        """What is kept of captions, int64 ``[Q, L]``: ``[Q, E]`` of norm 1, or ``[Q, ...]``."""

    @abstractmethod
    def similarity(self, text: Tensor, video: Tensor) -> Tensor:
        """Scores of all pairs ``[Q, B]``, from what was kept of captions and videos."""

    @abstractmethod
    def losses(self, batch: CaptionBatch) -> Mapping[str, Tensor]:
        """What is logged of one batch; ``loss`` is what the method learns from."""

    def forward(self, video: Tensor, mask: Tensor) -> Tensor:
        """What is kept of videos: see :meth:`read_videos`."""
        return self.read_videos(video, mask)

    def training_step(self, batch: CaptionBatch, batch_idx: int) -> Tensor:
        """The loss on one batch, its terms logged apart.

        Raises:
            AnnotationError: If the batch holds a video without a frame.
        """
        self._check(batch)
        terms = self.losses(batch)
        for name, value in terms.items():
            bar = name == "loss"
            self.log(f"train/{name}", value, prog_bar=bar, batch_size=len(batch.video_id))
        return terms["loss"]

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Keep a learned temperature within CLIP's own limit."""
        super().on_train_batch_end(outputs, batch, batch_idx)
        for name, parameter in self.named_parameters():
            if parameter.requires_grad and name.endswith("logit_scale"):
                parameter.data.clamp_(max=MAX_LOGIT_SCALE)

    def predict_step(self, batch: CaptionBatch, batch_idx: int = 0) -> RetrievalPredictions:
        """What is kept of every video and caption; the evaluation compares all pairs."""
        self._check(batch)
        return RetrievalPredictions(
            video_id=batch.video_id,
            video=self.read_videos(batch.video, batch.video_mask).float(),
            caption_id=batch.caption_id,
            caption_video_id=batch.video_id[batch.caption_video],
            text=self.read_captions(batch.tokens).float(),
        )

    def validation_step(self, batch: CaptionBatch, batch_idx: int) -> Any:
        """Read one batch, as :class:`RetrievalPredictions`."""
        return self.predict_step(batch, batch_idx)

    def test_step(self, batch: CaptionBatch, batch_idx: int) -> Any:
        """Read one batch, as :class:`RetrievalPredictions`."""
        return self.predict_step(batch, batch_idx)

    def parameter_groups(self, spec: Any) -> list[dict[str, Any]]:
        """Towers, new parts, and attentive pooling, each with and without decay."""
        return retrieval_groups(self, spec)

    def _check(self, batch: CaptionBatch) -> None:
        # Without a frame there is no vector: the loader should have left the video out.
        empty = batch.video_id[~batch.video_mask.any(dim=1)].tolist()
        if empty:
            raise AnnotationError(
                f"videos {empty} of the manifest have no frame; leave them out, or let the data "
                "module do it"
            )
