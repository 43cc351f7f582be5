"""One classifier whose settings are the linear probe, ST-Adapter and full fine-tuning."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from video_adapt.adapters import Adapter, inject
from video_adapt.backbones.base import Backbone, Features
from video_adapt.errors import ConfigurationError
from video_adapt.tasks import (
    FrozenBackboneMixin,
    LinearHead,
    OptimizerSpec,
    Reads,
    RecognitionTask,
    TextHead,
    Tuning,
)

Readout = Literal["norm_then_mean", "mean_then_norm", "embedding"]
_READS: dict[Readout, Reads] = {
    "norm_then_mean": Reads(("class_token",)),
    "mean_then_norm": Reads(("tokens",)),
    "embedding": Reads(("embedding",)),
}


class TunedClassifier(FrozenBackboneMixin, RecognitionTask):
    """Mean over frames of what the image model says of each, and a head.

    ===================  ==========  ================  ==========
    baseline             tuning      readout           head
    ===================  ==========  ================  ==========
    linear probe         ``frozen``  norm_then_mean    ``linear``
    ST-Adapter           ``adapter`` mean_then_norm    ``linear``
    full fine-tuning     ``full``    embedding         ``text``
    ===================  ==========  ================  ==========

    Args:
        backbone: The image model.
        class_names: Names of the classes, in the order of their indices.
        optimizer: Recipe of the optimiser.
        tuning: What trains inside the backbone.
        last_n: Number of blocks for ``tuning: last_n``.
        adapter: What is put inside the backbone for ``tuning: adapter``.
        readout: Class tokens behind the final norm, averaged; class tokens averaged, then
            normed; or frame embeddings in the image-text space, averaged as they are.
        head: ``linear`` map, or ``text``: cosine with the embedded class names.
        dropout: Dropout in front of the linear map.
        norm: Whether a LayerNorm stands in front of the linear map.
        template: Sentence around each class name for the text head; ``{}`` is the name.

    Raises:
        ConfigurationError: If two settings contradict each other.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        class_names: Sequence[str],
        optimizer: OptimizerSpec | None = None,
        tuning: Tuning = "frozen",
        last_n: int = 0,
        adapter: Adapter | None = None,
        readout: Readout = "norm_then_mean",
        head: Literal["linear", "text"] = "linear",
        dropout: float = 0.0,
        norm: bool = False,
        template: str = "{}",
    ) -> None:
        super().__init__(class_names=class_names, optimizer=optimizer)
        _check_readout(readout, tuning=tuning, head=head)
        if adapter is not None:
            inject(backbone, adapter)
        self.backbone = backbone
        self.readout = readout
        width = backbone.embed_dim if readout == "embedding" else backbone.width
        self.head = (
            LinearHead(width, self.num_classes, dropout=dropout, norm=norm)
            if head == "linear"
            else TextHead(class_names, template=template)
        )
        self.reads = _READS[readout]
        self.freeze_backbone(tuning, last_n=last_n)

    def forward(self, video: Tensor) -> Tensor:
        """Classify clips: ``[B, T, C, H, W]`` to logits ``[B, K]``."""
        clip = self.pool(self.encode(video))
        if isinstance(self.head, TextHead):
            logits: Tensor = self.head(clip, self.backbone)
        else:
            logits = self.head(clip)
        return logits

    def pool(self, features: Features) -> Tensor:
        """One vector per clip, ``[B, D]``; ``[B, E]`` for embeddings."""
        if self.readout == "embedding":
            return features.embedding.mean(dim=1)
        if self.readout == "norm_then_mean":
            return features.class_token.mean(dim=1)
        return self.backbone.final_norm(self.backbone.summarise(features.tokens).mean(dim=1))


def _check_readout(readout: Readout, *, tuning: Tuning, head: str) -> None:
    if readout == "embedding":
        return
    if head == "text":
        raise ConfigurationError(
            f"head=text compares in the image-text space, readout={readout} is not in it; "
            "set readout=embedding"
        )
    if tuning in ("last_n", "full"):
        # A weight without a gradient stops distributed training, and would count as trained.
        raise ConfigurationError(
            f"tuning={tuning} trains the projection, which readout={readout} does not read; "
            "set readout=embedding"
        )
