"""Zero-shot CLIP told classes as FROSTER is: where every open-vocabulary method starts."""

from collections.abc import Sequence
from typing import NoReturn

from torch import Tensor

from video_adapt.backbones import CLIP
from video_adapt.batches import ClipBatch
from video_adapt.errors import ConfigurationError
from video_adapt.tasks import FrozenBackboneMixin, OpenVocabularyTask, Prompts, Reads
from video_adapt.vocabulary import Vocabulary


class ZeroShotCLIP(FrozenBackboneMixin, OpenVocabularyTask):
    """Mean over frames of the cosine logits between frame and class; nothing trains.

    Beside :class:`ZeroShot` its classes are those of every test set, in many prompts.

    Args:
        backbone: The image and text towers.
        class_names: Names of the classes of validation, in the order of their indices.
        prompts: How a class is put into words.

    Source: the "frozen CLIP" of FROSTER's tables (ICLR 2024).
    """

    backbone: CLIP

    def __init__(
        self,
        backbone: CLIP,
        *,
        class_names: Sequence[str],
        prompts: Prompts = Prompts(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__(
            backbone,
            class_names=class_names,
            optimizer=None,
            prompts=prompts,
            patch_ratio=0.0,
            shared=True,
        )
        self.reads = Reads(("embedding",))
        self.freeze_backbone("frozen")

    @property
    def label(self) -> str:
        """What its results are called."""
        return "zero-shot CLIP"

    def classify(self, video: Tensor, vocabulary: Vocabulary) -> Tensor:
        """Logits of clips over any classes: ``[B, T, C, H, W]`` to ``[B, K]``, float32."""
        return self.zero_shot_logits(video, vocabulary)

    def losses(self, batch: ClipBatch, batch_idx: int) -> NoReturn:
        """Refuse to train, see :meth:`configure_optimizers`."""
        self.configure_optimizers()

    def configure_optimizers(self) -> NoReturn:
        """Refuse to train.

        Raises:
            ConfigurationError: Always.
        """
        raise ConfigurationError("ZeroShotCLIP has nothing to train: use validate, test or predict")
