"""Action recognition: a clip in, a distribution over classes out."""

from abc import abstractmethod
from typing import Any

from torch import Tensor

from video_adapt.batches import ClipBatch, ClipPredictions
from video_adapt.errors import AnnotationError

from .base import Task
from .losses import soft_target_cross_entropy
from .optim import OptimizerSpec, decay_groups


class RecognitionTask(Task):
    """Steps and optimiser groups of every recogniser; a method adds ``forward`` and its modules."""

    job = "recognition"
    optimizer: OptimizerSpec | None

    @abstractmethod
    def forward(self, video: Tensor) -> Tensor:
        """Classify clips: ``[B, T, C, H, W]`` to logits ``[B, K]``."""

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        """Soft-target cross entropy of one batch."""
        loss = soft_target_cross_entropy(self(batch.video), target_of(batch))
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch.label))
        return loss

    def predict_step(self, batch: ClipBatch, batch_idx: int = 0) -> ClipPredictions:
        """Class probabilities of every clip; views are merged by video id elsewhere."""
        probs = self(batch.video).float().softmax(dim=-1)
        return ClipPredictions(batch.video_id, batch.view, probs, batch.label)

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> Any:
        """Predict one batch of clips, as :class:`ClipPredictions`."""
        return self.predict_step(batch, batch_idx)

    def test_step(self, batch: ClipBatch, batch_idx: int) -> Any:
        """Predict one batch of clips, as :class:`ClipPredictions`."""
        return self.predict_step(batch, batch_idx)

    def parameter_groups(self, spec: OptimizerSpec) -> list[dict[str, Any]]:
        """Optimiser groups: what was pre-trained, and what is new, each with and without decay."""
        named = list(self.named_parameters())
        pretrained = [(k, p) for k, p in named if _is_pretrained(k)]
        new = [(k, p) for k, p in named if not _is_pretrained(k)]
        multiplier = spec.new_module_multiplier
        return [
            *decay_groups(pretrained, spec, name="backbone"),
            *decay_groups(new, spec, name="new", multiplier=multiplier),
        ]


def target_of(batch: ClipBatch) -> Tensor:
    """What a batch is trained for: class indices ``[B]``, or distributions ``[B, K]``.

    Raises:
        AnnotationError: If a clip has neither.
    """
    if batch.target is not None:
        return batch.target
    if bool((batch.label < 0).any()):
        raise AnnotationError(
            "the training list holds videos without a label; give every line a label"
        )
    return batch.label


def _is_pretrained(name: str) -> bool:
    return name.startswith("backbone.") and not name.startswith("backbone.adapters.")
