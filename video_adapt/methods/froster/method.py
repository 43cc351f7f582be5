"""FROSTER: a video CLIP learns classes by name and keeps what a frozen CLIP knows.

Source: FROSTER: Frozen CLIP is a Strong Teacher for Open-Vocabulary Action Recognition, ICLR 2024.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from video_adapt.adapters import Adapter, ExpandedAttentionBlockAdapter, inject
from video_adapt.backbones import CLIP
from video_adapt.batches import ClipBatch
from video_adapt.errors import ConfigurationError
from video_adapt.retrieval import cached_step
from video_adapt.tasks import (
    FrozenBackboneMixin,
    OpenVocabularyOptimizerSpec,
    OpenVocabularyTask,
    Prompts,
    Reads,
    TextBank,
    TextTuning,
    Tuning,
    ensemble,
    frame_logits,
    target_of,
)
from video_adapt.vocabulary import Vocabulary

from .losses import froster_loss
from .network import ResidualPair

Regime = Literal["full", "adapter", "residual_only"]
_TUNING: dict[Regime, tuple[Tuning, TextTuning]] = {
    "full": ("full", "full"),
    "adapter": ("adapter", "frozen"),
    "residual_only": ("frozen", "frozen"),
}


class FROSTER(FrozenBackboneMixin, OpenVocabularyTask):
    """A CLIP taught by its own frozen original, in three regimes.

    =================  =====================  ==============  =====================================
    regime             trains                 text of a step  residual networks
    =================  =====================  ==============  =====================================
    ``full``           both towers            two prompts     in the distillation alone; published
    ``adapter``        adapter                all prompts     the one of frames, as above
    ``residual_only``  the residual networks  all prompts     in the logits, near the identity
    =================  =====================  ==============  =====================================

    Only ``full`` with ``distillation`` is the published method; ``full`` with ``distillation: 0``
    is plain fine-tuning.

    Args:
        backbone: The image and text towers.
        class_names: Names of the training classes, in the order of their indices.
        optimizer: Recipe of the optimiser.
        regime: What trains.
        adapter: What is put inside the image tower; the published one is ``ExpandedAttention``.
        distillation: Weight of the distances from the teacher; 0 leaves the teacher out.
        alpha: Weight of the learned part of a residual network.
        prompts: How a class is put into words.
        text_micro_batch: In ``full``, sentences that pass the text tower at once, with the rest of
            the memory of a second pass through it; null takes all classes at once.
        patch_ratio: In evaluation, share of the original CLIP: of its weights in ``full``, of the
            identity in ``residual_only``. The published method has none.

    Raises:
        ConfigurationError: If two settings contradict each other.
    """

    backbone: CLIP

    def __init__(
        self,
        backbone: CLIP,
        *,
        class_names: Sequence[str],
        optimizer: OpenVocabularyOptimizerSpec | None = None,
        regime: Regime = "full",
        adapter: Adapter | None = None,
        distillation: float = 2.0,
        alpha: float = 0.1,
        prompts: Prompts = Prompts(),  # noqa: B008 (frozen)
        text_micro_batch: int | None = None,
        patch_ratio: float = 0.0,
    ) -> None:
        _check(regime, distillation, text_micro_batch, patch_ratio)
        super().__init__(
            backbone,
            class_names=class_names,
            optimizer=optimizer,
            prompts=prompts,
            patch_ratio=patch_ratio,
            shared=regime != "full",
        )
        if adapter is not None:
            inject(backbone, adapter)
        self.regime, self.distillation = regime, distillation
        self.text_micro_batch = text_micro_batch
        self.text = TextBank(prompts)
        self.residual = (
            ResidualPair(backbone.embed_dim, alpha, reads_classes=regime != "adapter")
            if distillation or regime == "residual_only"
            else None
        )
        if regime == "residual_only" and adapter is None:
            # The adapter alone would make the original see other features.
            self.reads = Reads(("embedding",))
        tuning, text_tuning = _TUNING[regime]
        self.freeze_backbone(tuning, text_tuning=text_tuning)

    @property
    def label(self) -> str:
        """What results of this regime are called: the published method's name is for it alone."""
        if self.regime == "residual_only":
            return "residual networks on a frozen CLIP, not FROSTER as published"
        if not self.distillation:
            return f"plain fine-tuning, regime {self.regime}"
        if self.regime == "adapter":
            return "adapters with FROSTER's teacher, not FROSTER as published"
        expanded = [type(edit) for edit in self.backbone.adapters.values()]
        if set(expanded) == {ExpandedAttentionBlockAdapter}:
            return "FROSTER"
        return "FROSTER's loss without expanded attention, not as published"

    def classify(self, video: Tensor, vocabulary: Vocabulary) -> Tensor:
        """Logits of clips over any classes: ``[B, T, C, H, W]`` to ``[B, K]``, float32."""
        if self.regime == "full" and not self.training:
            towers = self.interpolation(self.original, self.backbone)
            with self._graph():
                features = towers(video)
        else:
            towers, features = self.backbone, self.encode(video)
        classes = self._classifier(towers, vocabulary)
        return self.compare(_unit(features.embedding), classes, towers.logit_scale)

    def compare(self, frames: Tensor, classes: Tensor, logit_scale: Tensor) -> Tensor:
        """Logits ``[B, K]`` of frames ``[B, T, E]`` and classes ``[K, E]``, unit vectors.

        Only in ``residual_only`` do the residual networks take part.
        """
        if self.regime == "residual_only" and self.residual is not None:
            strength = 1.0 if self.training else 1.0 - self.patch_ratio
            frames, classes = map(_unit, self.residual(frames, classes, strength=strength))
        return frame_logits(frames, classes, logit_scale)

    def losses(self, batch: ClipBatch, batch_idx: int) -> Mapping[str, Tensor]:
        """Cross-entropy over the training classes, and the distances from the teacher."""
        target = target_of(batch)
        if self.regime == "full":
            drawn = self.draw_prompts(batch_idx)
            tokens = [self.text.tokens(self.backbone, self.vocabulary, number) for number in drawn]
            classes = self.read_classes(tokens)
        else:
            classes = self._classifier(self.backbone, self.vocabulary)
        frames = _unit(self.encode(batch.video).embedding)
        if not self.distillation:
            return self.objective(frames, classes, target)
        if self.regime == "residual_only":  # teacher and student are one
            return self.objective(frames, classes, target, taught=(frames, classes))
        with torch.no_grad():
            seen = _unit(self.original(batch.video).embedding)
        if self.regime == "full":
            rows = self.original_text.rows(self.original, self.vocabulary, drawn)
            return self.objective(frames, classes, target, taught=(seen, ensemble(rows)))
        return self.objective(frames, classes, target, taught=(seen, classes))

    def objective(
        self,
        frames: Tensor,
        classes: Tensor,
        target: Tensor,
        *,
        taught: tuple[Tensor, Tensor] | None = None,
    ) -> Mapping[str, Tensor]:
        """The loss of clips that were read already, and its terms.

        Args:
            frames: Unit vectors of the student ``[B, T, E]``.
            classes: Its unit vectors of the training classes ``[K, E]``.
            target: Class indices ``[B]``, or distributions ``[B, K]``.
            taught: Frames and classes as the teacher sees them; None leaves it out.
        """
        logits = self.compare(frames, classes, self.backbone.logit_scale)
        video = text = None
        if self.residual is not None and taught is not None:
            edited = self.residual(frames, classes)
            video = edited[0], taught[0]
            text = None if self.residual.text is None else (edited[1], taught[1])
        return froster_loss(logits, target, video=video, text=text, distillation=self.distillation)

    def read_classes(self, tokens: Sequence[Tensor]) -> Tensor:
        """Classes as the student's text tower sees them, with gradient.

        Args:
            tokens: For each of ``P`` prompts the sentences of all classes, int64 ``[K, L]``.

        Returns:
            Unit vectors ``[K, E]``.
        """
        return ensemble(torch.stack([self._embed(sentences) for sentences in tokens]))

    def _classifier(self, towers: CLIP, vocabulary: Vocabulary) -> Tensor:
        """All prompts of classes, without gradient ``[K, E]``."""
        if self.regime == "full":
            return self.text.classifier(towers, vocabulary)
        return self.original_text.classifier(self.original, vocabulary)

    def _embed(self, tokens: Tensor) -> Tensor:
        micro = self.text_micro_batch
        if micro is None:
            return self.embed_text(tokens).embedding
        return cached_step(
            lambda part: (self.embed_text(part).embedding,), lambda rows: rows, [tokens], micro
        )


def _unit(features: Tensor) -> Tensor:
    return F.normalize(features.float(), dim=-1)


def _check(regime: Regime, distillation: float, micro: int | None, patch_ratio: float) -> None:
    if distillation < 0:
        raise ConfigurationError(f"distillation is {distillation}: it must be 0 or more, say 2")
    if micro is not None and (regime != "full" or micro < 1):
        raise ConfigurationError(
            f"text_micro_batch={micro} with regime={regime}: only regime=full trains the text "
            "tower, in parts of 1 or more sentences; leave it out otherwise"
        )
    if patch_ratio and regime == "adapter":
        raise ConfigurationError(
            f"patch_ratio={patch_ratio} with regime=adapter: its towers are the original ones, so "
            "there is nothing to interpolate; leave it out"
        )
