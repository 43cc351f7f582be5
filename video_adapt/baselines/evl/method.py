"""EVL: a transformer decoder beside a frozen image model, fed by its last blocks.

Source: Lin et al., Frozen CLIP Models are Efficient Video Learners, ECCV 2022.
"""

from collections.abc import Sequence

from torch import Tensor

from video_adapt.backbones.base import Backbone
from video_adapt.errors import ConfigurationError
from video_adapt.tasks import FrozenBackboneMixin, LinearHead, OptimizerSpec, Reads, RecognitionTask

from .network import EVLNetwork


class EVL(FrozenBackboneMixin, RecognitionTask):
    """Frozen backbone, parallel decoder, linear head; no gradient enters the backbone.

    Args:
        backbone: The frozen image model.
        class_names: Names of the classes, in the order of their indices.
        optimizer: Recipe of the optimiser.
        num_frames: Frames ``T`` of a clip, each with a learned time embedding; None: no embedding
            and any number of frames.
        layers: Decoder layers, one for each of the backbone's last blocks.
        inner_width: Width of the decoder's attention; None takes the backbone's width.
        heads: Heads of the decoder's attention; None takes the backbone's number.
        mlp_ratio: Hidden width of the decoder's MLPs as a multiple of the backbone's width.
        dropout: Dropout inside the decoder's MLPs and in front of the classifier.
        temporal_conv: Whether a token adds a mixture of itself in the frames around it.
        cross_attention: Whether motion is read off the backbone's attention between frames.

    Raises:
        ConfigurationError: If there are more layers than the backbone has blocks.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        class_names: Sequence[str],
        optimizer: OptimizerSpec | None = None,
        num_frames: int | None,
        layers: int = 4,
        inner_width: int | None = None,
        heads: int | None = None,
        mlp_ratio: float = 4.0,
        dropout: float = 0.5,
        temporal_conv: bool = True,
        cross_attention: bool = True,
    ) -> None:
        super().__init__(class_names=class_names, optimizer=optimizer)
        if not 0 < layers <= backbone.depth:
            raise ConfigurationError(
                f"EVL: layers={layers}, but {backbone.name} has {backbone.depth} blocks to read; "
                f"give 1 to {backbone.depth}"
            )
        self.backbone = backbone
        self.network = EVLNetwork(
            width=backbone.width,
            num_frames=num_frames,
            grid=backbone.grid,
            layers=layers,
            inner_width=inner_width or backbone.width,
            heads=heads or backbone.heads,
            mlp_ratio=mlp_ratio,
            dropout=dropout,
            temporal_conv=temporal_conv,
            cross_attention=cross_attention,
        )
        self.head = LinearHead(backbone.width, self.num_classes, dropout=dropout, norm=True)
        self.blocks = range(backbone.depth - layers, backbone.depth)
        self.attentive_blocks = self.blocks if cross_attention else range(0)
        self.reads = Reads(blocks=tuple(self.blocks), queries_keys=tuple(self.attentive_blocks))
        self.freeze_backbone("frozen")

    def forward(self, video: Tensor) -> Tensor:
        """Classify clips: ``[B, T, C, H, W]`` to logits ``[B, K]``."""
        features = self.encode(video, blocks=self.blocks, queries_keys=self.attentive_blocks)
        logits: Tensor = self.head(self.network(features))
        return logits
