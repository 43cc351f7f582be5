"""Zero-shot: an image-text model names the frames, and the frames vote."""

from collections.abc import Sequence
from typing import NoReturn

from torch import Tensor

from video_adapt.backbones.base import Backbone
from video_adapt.errors import ConfigurationError
from video_adapt.tasks import FrozenBackboneMixin, Reads, RecognitionTask, TextHead


class ZeroShot(FrozenBackboneMixin, RecognitionTask):
    """Mean over frames of the cosine logits between frame and class name; nothing trains.

    Args:
        backbone: An image model with a text tower.
        class_names: Names of the classes, in the order of their indices.
        template: Sentence around each name; ``{}`` is the name.
    """

    def __init__(
        self, backbone: Backbone, *, class_names: Sequence[str], template: str = "{}"
    ) -> None:
        super().__init__(class_names=class_names)
        self.backbone = backbone
        self.head = TextHead(class_names, template=template)
        self.reads = Reads(("embedding",))
        self.freeze_backbone("frozen")

    def forward(self, video: Tensor) -> Tensor:
        """Classify clips: ``[B, T, C, H, W]`` to logits ``[B, K]``."""
        frames: Tensor = self.head(self.encode(video).embedding, self.backbone)  # [B, T, K]
        return frames.mean(dim=1)

    def configure_optimizers(self) -> NoReturn:
        """Refuse to train.

        Raises:
            ConfigurationError: Always.
        """
        raise ConfigurationError("ZeroShot has nothing to train: use validate, test or predict")
