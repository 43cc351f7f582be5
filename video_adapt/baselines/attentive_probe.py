"""Attentive probe: how much a frozen image model already says, read by learned queries."""

from collections.abc import Sequence

from torch import Tensor

from video_adapt.backbones.base import Backbone
from video_adapt.tasks import FrozenBackboneMixin, LinearHead, OptimizerSpec, Reads, RecognitionTask

from .evl.network import EVLNetwork


class AttentiveProbe(FrozenBackboneMixin, RecognitionTask):
    """One cross-attention layer over all tokens of all frames, and a linear head.

    It is EVL's decoder with a single layer and both temporal modules off; a learned time embedding
    is all it knows of order.

    Args:
        backbone: The frozen image model.
        class_names: Names of the classes, in the order of their indices.
        optimizer: Recipe of the optimiser.
        num_frames: Frames ``T`` of a clip.
        num_queries: Learned queries; their results are averaged.
        dropout: Dropout inside the MLP and in front of the classifier.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        class_names: Sequence[str],
        optimizer: OptimizerSpec | None = None,
        num_frames: int,
        num_queries: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(class_names=class_names, optimizer=optimizer)
        self.backbone = backbone
        self.network = EVLNetwork(
            width=backbone.width,
            num_frames=num_frames // backbone.tubelet,
            grid=backbone.grid,
            layers=1,
            inner_width=backbone.width,
            heads=backbone.heads,
            dropout=dropout,
            num_queries=num_queries,
            temporal_conv=False,
            cross_attention=False,
        )
        self.head = LinearHead(backbone.width, self.num_classes, dropout=dropout, norm=True)
        self.reads = Reads(blocks=(backbone.depth - 1,))
        self.freeze_backbone("frozen")

    def forward(self, video: Tensor) -> Tensor:
        """Classify clips: ``[B, T, C, H, W]`` to logits ``[B, K]``."""
        features = self.encode(video, blocks=[self.backbone.depth - 1])
        logits: Tensor = self.head(self.network(features))
        return logits
