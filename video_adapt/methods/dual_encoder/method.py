"""DiST: what to learn of a video from a frozen image model, and what beside it."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from video_adapt.backbones.base import Backbone
from video_adapt.errors import ConfigurationError
from video_adapt.tasks import (
    FrozenBackboneMixin,
    LinearHead,
    OptimizerSpec,
    RecognitionTask,
    TextHead,
)

from .network import BranchSpec, DiSTNetwork


class DiST(FrozenBackboneMixin, RecognitionTask):
    """Frozen image tower on few frames, light temporal encoder on many, a branch between them.

    No gradient enters the towers; only the branch trains and is stored.

    Args:
        backbone: The image and text towers.
        class_names: Names of the classes, in the order of their indices.
        optimizer: Recipe of the optimiser.
        num_frames: Frames ``T`` of a clip, all seen by the temporal encoder.
        frame_ratio: The image tower sees frames 0, r, 2r, ... of them.
        branch: Sizes of the trained part.
        selected_layers: Blocks of the image tower that the branch reads; null reads all.
        head: ``text``: cosine with the embedded class names; ``linear``: a learned map.
        template: Sentence around each class name for the text head; ``{}`` is the name.
        fuse_zero_shot: Average the logits in evaluation with those of the frozen image tower,
            for classes that were not trained.

    Raises:
        ConfigurationError: If two settings contradict each other.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        class_names: Sequence[str],
        optimizer: OptimizerSpec | None = None,
        num_frames: int = 16,
        frame_ratio: int = 2,
        branch: BranchSpec = BranchSpec(),  # noqa: B008 (frozen)
        selected_layers: Sequence[int] | None = None,
        head: Literal["text", "linear"] = "text",
        template: str = "{}",
        fuse_zero_shot: bool = False,
    ) -> None:
        super().__init__(class_names=class_names, optimizer=optimizer)
        if num_frames % frame_ratio:
            raise ConfigurationError(
                f"num_frames={num_frames} is no multiple of frame_ratio={frame_ratio}: the image "
                "tower's frames must be an even subset of the clip"
            )
        if fuse_zero_shot and head != "text":
            raise ConfigurationError("fuse_zero_shot averages with text logits: set head=text")
        blocks = range(backbone.depth)
        self.layers = sorted(set(blocks if selected_layers is None else selected_layers))
        if not self.layers or not set(self.layers) <= set(blocks):
            raise ConfigurationError(
                f"selected_layers={self.layers}: {backbone.name} has blocks 0 to {blocks[-1]}"
            )
        self.backbone = backbone
        self.num_frames, self.frame_ratio = num_frames, frame_ratio
        self.fuse_zero_shot = fuse_zero_shot
        self.network = DiSTNetwork(
            branch,
            width=backbone.width,
            embed_dim=backbone.embed_dim,
            patch_size=backbone.patch_size,
            num_layers=len(self.layers),
            num_frames=num_frames,
            frame_ratio=frame_ratio,
        )
        self.head = (
            TextHead(class_names, template=template)
            if head == "text"
            else LinearHead(backbone.embed_dim, self.num_classes)
        )
        self.freeze_backbone("frozen")

    def serves_weights_of(self, class_names: Sequence[str]) -> bool:
        """Any classes with the text head, which learns nothing of a class: zero-shot transfer."""
        return isinstance(self.head, TextHead) or super().serves_weights_of(class_names)

    def forward(self, video: Tensor) -> Tensor:
        """Classify clips: ``[B, T, C, H, W]`` to logits ``[B, K]``.

        Raises:
            ConfigurationError: If the clips have another number of frames.
        """
        if video.shape[1] != self.num_frames:
            raise ConfigurationError(
                f"clips of {video.shape[1]} frames, the model was built for num_frames="
                f"{self.num_frames}: set the data's sampler to that number"
            )
        # The tower sees a subset of the very frames that the temporal encoder sees.
        features = self.encode(video[:, :: self.frame_ratio], blocks=self.layers)
        embedding = self.network(video, [features.blocks[i] for i in self.layers])  # [B, E]
        if not isinstance(self.head, TextHead):
            return self.head(embedding)
        logits: Tensor = self.head(embedding, self.backbone)
        if self.fuse_zero_shot and not self.training:
            frozen = self.head(features.embedding, self.backbone).mean(dim=1)  # over frames
            logits = 0.5 * logits + 0.5 * frozen
        return logits
