"""Open-vocabulary recognition: a clip and classes as text in, logits over those classes out."""

import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from video_adapt.backbones import CLIP
from video_adapt.batches import ClipBatch, ClipLogits, ClipPredictions
from video_adapt.vocabulary import Vocabulary

from .interpolation import Interpolation, original_of
from .open_vocabulary_optim import OpenVocabularyOptimizerSpec, open_vocabulary_groups
from .prompts import Prompts
from .recognition import RecognitionTask
from .text_classifier import TextBank, frame_logits


class OpenVocabularyTask(RecognitionTask):
    """Steps of every recogniser whose classes are text; a method classifies and says its losses.

    Beside the backbone there is the original, the same model as it was given: teacher, zero-shot
    reference, and one end of interpolated weights. It never trains and is in no checkpoint.

    Args:
        backbone: The image and text towers, not adapted yet.
        class_names: Names of the training classes, in the order of their indices.
        optimizer: Recipe of the optimiser; None for a method that does not train.
        prompts: How a class is put into words.
        patch_ratio: In evaluation, share of the original weights in those that are used; 0 = none.
        shared: Whether the towers of the backbone stay frozen for ever, so that the original needs
            no copy of their weights.

    Attributes:
        vocabulary: The classes that are told apart without a trainer: those of training at first,
            with their descriptions once data or a checkpoint have told them. Assign others at will.
    """

    job = "open_vocabulary"
    backbone: CLIP

    def __init__(
        self,
        backbone: CLIP,
        *,
        class_names: Sequence[str],
        optimizer: OpenVocabularyOptimizerSpec | None,
        prompts: Prompts,
        patch_ratio: float,
        shared: bool,
    ) -> None:
        super().__init__(class_names=class_names, optimizer=optimizer)
        self.vocabulary = Vocabulary("train", tuple(class_names))
        self.prompts = prompts
        # In this order: weights that both share then go by the backbone's names.
        self.backbone = backbone
        self.original = original_of(backbone, shared=shared)
        self.patch_ratio = patch_ratio
        self.interpolation = Interpolation(patch_ratio)
        self.original_text = TextBank(prompts)

    @abstractmethod
    def classify(self, video: Tensor, vocabulary: Vocabulary) -> Tensor:
        """Logits of clips over any classes: ``[B, T, C, H, W]`` to ``[B, K]``, float32."""

    @property
    def label(self) -> str:
        """What results of this method are called, so that a variant is not taken for another."""
        return type(self).__name__

    def tell(self, vocabulary: Vocabulary, prompts: Prompts) -> None:
        """Tell these classes apart from now on, in words that a user may have chosen.

        A prompt that is longer than the text tower reads is cut from now on, and a warning counts
        what was.
        """
        self.vocabulary, self.prompts = vocabulary, prompts
        for name, value in list(vars(self).items()):
            if isinstance(value, TextBank):
                setattr(self, name, TextBank(prompts, cut=True))

    @abstractmethod
    def losses(self, batch: ClipBatch, batch_idx: int) -> Mapping[str, Tensor]:
        """What is logged of one training batch; ``loss`` is what the method learns from."""

    def forward(self, video: Tensor) -> Tensor:
        """Logits of clips over :attr:`vocabulary`: ``[B, T, C, H, W]`` to ``[B, K]``."""
        return self.classify(video, self.vocabulary)

    @torch.no_grad()
    def zero_shot_logits(self, video: Tensor, vocabulary: Vocabulary) -> Tensor:
        """What the original model says of the same clips and prompts, frame by frame ``[B, K]``."""
        # Stored features are those of the original: only a frozen, plain backbone has them.
        features = self.encode(video) if isinstance(video, Mapping) else self.original(video)
        frames = F.normalize(features.embedding.float(), dim=-1)
        classes = self.original_text.classifier(self.original, vocabulary)
        return frame_logits(frames, classes, self.original.logit_scale)

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        """The loss on one batch, its terms logged apart."""
        terms = self.losses(batch, batch_idx)
        for name, value in terms.items():
            bar = name == "loss"
            self.log(f"train/{name}", value, prog_bar=bar, batch_size=len(batch.label))
        return terms["loss"]

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> Any:
        """Logits over the classes of validation, as :class:`ClipLogits`."""
        return self._predict(batch, self._vocabulary("val"))

    def test_step(self, batch: ClipBatch, batch_idx: int, dataloader_idx: int = 0) -> Any:
        """Logits over the classes of the test set of the batch, as :class:`ClipLogits`."""
        return self._predict(batch, self._test_vocabulary(dataloader_idx))

    def predict_step(
        self, batch: ClipBatch, batch_idx: int = 0, dataloader_idx: int = 0
    ) -> ClipPredictions:
        """Probabilities: of :attr:`vocabulary`, of the classes of the test set under a trainer."""
        alone = self._trainer is None
        vocabulary = self.vocabulary if alone else self._test_vocabulary(dataloader_idx)
        probs = self.classify(batch.video, vocabulary).softmax(dim=-1)
        return ClipPredictions(batch.video_id, batch.view, probs, batch.label)

    def on_fit_start(self) -> None:
        """Learn what the data tell of the training classes beside their names."""
        super().on_fit_start()
        self.vocabulary = self._vocabulary("train")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the descriptions of the training classes."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["video_adapt"]["descriptions"] = list(self.vocabulary.descriptions)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the descriptions of the training classes, where these are the method's own."""
        super().on_load_checkpoint(checkpoint)
        record = checkpoint["video_adapt"]
        if list(record["class_names"]) == self.class_names:
            descriptions = tuple(record["descriptions"])
            self.vocabulary = Vocabulary("train", tuple(self.class_names), descriptions)

    def serves_weights_of(self, class_names: Sequence[str]) -> bool:
        """Always: nothing in the weights belongs to a class."""
        return True

    def parameter_groups(self, spec: Any) -> list[dict[str, Any]]:
        """Optimiser groups: towers and what is new, each with and without decay."""
        return open_vocabulary_groups(self, spec)

    def draw_prompts(self, batch_idx: int) -> Sequence[int]:
        """Numbers of the prompts of a training step, from the run's seed, its epoch and step."""
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        return self.prompts.draw(seed, self.current_epoch, batch_idx)

    def _predict(self, batch: ClipBatch, vocabulary: Vocabulary) -> ClipLogits:
        logits = self.classify(batch.video, vocabulary)
        return ClipLogits(batch.video_id, batch.view, logits, batch.label)

    def _test_vocabulary(self, number: int) -> Vocabulary:
        """Classes of a test set; other data modules have one set, of the classes of training."""
        sets = getattr(self._data, "test_vocabularies", None)
        vocabulary: Vocabulary = self.vocabulary if sets is None else sets[number]
        return vocabulary

    def _vocabulary(self, split: str) -> Vocabulary:
        """Classes of a split; other data modules have the same in all, by name alone."""
        if not hasattr(self._data, "vocabulary"):
            return self.vocabulary
        vocabulary: Vocabulary = self._data.vocabulary(split)
        return vocabulary

    @property
    def _data(self) -> Any:
        return getattr(self.trainer, "datamodule", None)
