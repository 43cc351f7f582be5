"""Action recognition: a clip in, a distribution over classes out."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from video_adapt.batches import ClipBatch, ClipPredictions
from video_adapt.errors import AnnotationError, ConfigurationError, WeightsError

from .losses import soft_target_cross_entropy
from .optim import OptimizerSpec, configure, decay_groups


class RecognitionTask(LightningModule):
    """Steps and optimiser of every recogniser; a method adds ``forward`` and its modules.

    Args:
        class_names: Names of the classes, in the order of their indices.
        optimizer: Recipe of the optimiser; None for a method that does not train.

    Raises:
        ConfigurationError: If there is no class.
    """

    def __init__(
        self, *, class_names: Sequence[str], optimizer: OptimizerSpec | None = None
    ) -> None:
        super().__init__()
        if not class_names:
            raise ConfigurationError("class_names is empty: a recogniser needs at least one class")
        self.class_names = list(class_names)
        self.optimizer = optimizer
        self.save_hyperparameters()

    def _set_hparams(self, hp: Any) -> None:
        # Under the command line all values are plain. A component built in Python (the backbone!)
        # must not be copied into the hyper-parameters, or a checkpoint would pickle it.
        super()._set_hparams({k: v for k, v in hp.items() if _is_plain(v)})

    @property
    def num_classes(self) -> int:
        """Number of classes ``K``."""
        return len(self.class_names)

    @abstractmethod
    def forward(self, video: Tensor) -> Tensor:
        """Classify clips: ``[B, T, C, H, W]`` to logits ``[B, K]``."""

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        """Soft-target cross entropy of one batch."""
        if batch.target is None and bool((batch.label < 0).any()):
            raise AnnotationError(
                "the training list holds videos without a label; give every line a label"
            )
        target = batch.label if batch.target is None else batch.target
        loss = soft_target_cross_entropy(self(batch.video), target)
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

    def serves_weights_of(self, class_names: Sequence[str]) -> bool:
        """Whether weights trained for these classes, in this order, mean anything here."""
        return list(class_names) == self.class_names

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

    def configure_optimizers(self) -> Any:
        """The optimiser over the trainable parameters, its schedule updated at every step."""
        spec = self.optimizer
        if spec is None:
            raise ConfigurationError(f"{type(self).__name__} was built without an optimizer")
        return configure(self.parameter_groups(spec), spec, self.trainer)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add all that an application needs to run this model on somebody's video."""
        super().on_save_checkpoint(checkpoint)
        record = checkpoint.setdefault("video_adapt", {})
        record |= {"method": _class_path(type(self)), "class_names": self.class_names}
        data = getattr(self._trainer, "datamodule", None)
        if data is not None:
            record["input"] = data.evaluation_recipe()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of something else before a weight is touched.

        Raises:
            WeightsError: If the file was not written by this method, or for other classes.
        """
        super().on_load_checkpoint(checkpoint)
        record = checkpoint.get("video_adapt")
        if record is None:
            raise WeightsError(
                "not a checkpoint of video_adapt; turn published files into one with "
                "`video-adapt convert`"
            )
        if record["method"] != (own := _class_path(type(self))):
            raise WeightsError(f"checkpoint of {record['method']} given to {own}; use its config")
        if not self.serves_weights_of(record["class_names"]):
            theirs, ours = len(record["class_names"]), len(self.class_names)
            raise WeightsError(
                f"checkpoint knows {theirs} classes, the data has {ours}, or their names or order "
                "differ; use the class file of the training run"
            )


def _is_pretrained(name: str) -> bool:
    return name.startswith("backbone.") and not name.startswith("backbone.adapters.")


def _class_path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _is_plain(value: Any) -> bool:
    """Whether a value survives ``torch.load(weights_only=True)`` without our classes."""
    if isinstance(value, dict):
        return all(isinstance(k, str) and _is_plain(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float | bool | torch.Tensor)
