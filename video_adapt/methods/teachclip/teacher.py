"""The models that teach, trained here: X-CLIP, TS2-Net, X-Pool and CLIP4Clip behind a CLIP.

Sources: Ma et al., X-CLIP, ACM Multimedia 2022; Liu et al., TS2-Net, ECCV 2022; Gorti et al.,
X-Pool, CVPR 2022; Luo et al., CLIP4Clip, Neurocomputing 2022.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from video_adapt.adapters import Adapter, inject
from video_adapt.backbones import CLIP
from video_adapt.batches import CaptionBatch
from video_adapt.retrieval import contrastive_loss, positive_pairs
from video_adapt.retrieval.teachers import FeatureTeacher
from video_adapt.tasks import (
    FrozenBackboneMixin,
    RetrievalOptimizerSpec,
    RetrievalTask,
    TextTuning,
    Tuning,
)

from .network import start_from_text
from .own import describe
from .reading import PairReading, check_width, drop_temperature, everywhere, frame_tokens


class TeacherRetriever(FrozenBackboneMixin, RetrievalTask):
    """A CLIP and the head of a teacher, which learn from their batch as the authors train them.

    Its checkpoint teaches: ``Taught(head, backbone=..., weights="teacher.ckpt")``. What it keeps
    of a video is more than a vector, so its evaluation compares all pairs the slow way.

    Args:
        backbone: The image and text towers.
        head: Compares captions with videos. Its transformer over frames starts from the text
            tower, its temperature from that of the backbone.
        multi_positive: Whether two captions of one video in a batch are both right for it, and it
            for both; the released codes take one of them for wrong.
        micro_batch: Videos, and as many captions, that are inside the towers at once: the loss
            still compares all pairs of the batch, with exact gradients, for a second pass.
            None = all of them.
        exact_gather: Whether several processes have the gradients of one with all their pairs; the
            released codes scale them down.
        optimizer: Recipe of the optimiser; the head is what is new.
        tuning: What trains in the image tower.
        last_n: Number of blocks for ``tuning: last_n``.
        text_tuning: What trains in the text tower.
        adapter: An adapter of the image tower, such as the token shift of TS2-Net; one without
            weights of its own goes with every ``tuning``.

    Raises:
        ConfigurationError: If two settings contradict each other.
    """

    optimizer: RetrievalOptimizerSpec | None

    def __init__(
        self,
        backbone: CLIP,
        head: FeatureTeacher,
        *,
        multi_positive: bool = True,
        micro_batch: int | None = None,
        exact_gather: bool = True,
        optimizer: RetrievalOptimizerSpec | None = None,
        tuning: Tuning = "full",
        last_n: int = 0,
        text_tuning: TextTuning = "full",
        adapter: Adapter | None = None,
    ) -> None:
        super().__init__(optimizer=optimizer)
        check_width(head, backbone)
        if adapter is not None:
            inject(backbone, adapter, reads_patches=head.reads_patches)
        self.backbone, self.head = backbone, head
        self.multi_positive = multi_positive
        self.pairs = PairReading(micro_batch, exact_gather)
        start_from_text(head, backbone.text)
        with torch.no_grad():
            head.logit_scale.copy_(backbone.logit_scale)
        drop_temperature(backbone)
        self.freeze_backbone(
            tuning, last_n=last_n, reads_temperature=False, text_tuning=text_tuning
        )

    def read_videos(self, video: Tensor, mask: Tensor) -> Tensor:
        """Rows of videos as one tensor: ``head.video_rows`` tells how."""
        tokens = frame_tokens(self.head, self.backbone, self.encode(video))
        return self.head.video_rows.pack(self.head.encode_videos(tokens, mask))

    def read_captions(self, tokens: Tensor) -> Tensor:
        """Rows of captions as one tensor: ``head.caption_rows`` tells how."""
        rows = self.head.encode_captions(*self.embed_text(tokens))
        return self.head.caption_rows.pack(rows)

    def similarity(self, text: Tensor, video: Tensor) -> Tensor:
        """Scores of all pairs ``[Q, B]``, temperature included."""
        captions, videos = self.head.caption_rows.unpack(text), self.head.video_rows.unpack(video)
        return self.head.compare(captions, videos)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave what the head is beside its weights to whoever is taught by it."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["video_adapt"]["head"] = describe(self.head)

    def losses(self, batch: CaptionBatch) -> Mapping[str, Tensor]:
        """The contrastive loss over the pairs of all processes."""
        text, video = self.pairs(
            self.read_captions, lambda *videos: (self.read_videos(*videos),), batch
        )
        own, ids, _ = everywhere(batch)
        if not self.multi_positive:
            ids = torch.arange(len(ids), device=ids.device)
        scores = self.similarity(text, video)
        return {"loss": contrastive_loss(scores, positive_pairs(ids[own], ids))}
