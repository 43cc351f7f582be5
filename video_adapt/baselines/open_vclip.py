"""Open-VCLIP: a video CLIP that learns on the way between itself and the original.

Source: Weng et al., Open-VCLIP: Transforming CLIP to an Open-vocabulary Video Model via
Interpolated Weight Optimization, ICML 2023, sections 3.2 and 3.3.
"""

import os
from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from video_adapt.adapters import Adapter, inject
from video_adapt.backbones import CLIP, Features
from video_adapt.batches import ClipBatch
from video_adapt.errors import ConfigurationError
from video_adapt.tasks import (
    FrozenBackboneMixin,
    OpenVocabularyOptimizerSpec,
    OpenVocabularyTask,
    Prompts,
    frame_logits,
    soft_target_cross_entropy,
    target_of,
)
from video_adapt.vocabulary import Vocabulary


class OpenVCLIP(FrozenBackboneMixin, OpenVocabularyTask):
    """Image tower and temperature train, the text tower is the original one.

    Every step also judges the clips with weights between the original and the current ones, and the
    gradient found there counts as one of the current weights. In evaluation the weights lie between
    the two once more.

    Args:
        backbone: The image and text towers.
        class_names: Names of the training classes, in the order of their indices.
        optimizer: Recipe of the optimiser.
        adapter: What is put inside the image tower; the published one is ``ExpandedAttention``.
        interpolated: Weight of the loss in between; 0 leaves it out.
        mix_range: Between which shares of the original weights that of a step is drawn.
        prompts: How a class is put into words; the published one uses names alone.
        patch_ratio: Share of the original weights in evaluation.

    Raises:
        ConfigurationError: If a share is not within [0, 1].
    """

    backbone: CLIP
    reads_weights = True

    def __init__(
        self,
        backbone: CLIP,
        *,
        class_names: Sequence[str],
        optimizer: OpenVocabularyOptimizerSpec | None = None,
        adapter: Adapter | None = None,
        interpolated: float = 0.5,
        mix_range: tuple[float, float] = (0.0, 0.6),
        prompts: Prompts = Prompts(described=False),  # noqa: B008 (frozen)
        patch_ratio: float = 0.5,
    ) -> None:
        if not 0 <= mix_range[0] <= mix_range[1] <= 1:
            raise ConfigurationError(
                f"mix_range is {list(mix_range)}: it must be two ascending shares within [0, 1]"
            )
        super().__init__(
            backbone,
            class_names=class_names,
            optimizer=optimizer,
            prompts=prompts,
            patch_ratio=patch_ratio,
            shared=False,
        )
        if adapter is not None:
            inject(backbone, adapter)
        self.interpolated, self.mix_range = interpolated, mix_range
        self.freeze_backbone("full", text_tuning="temperature")

    @property
    def label(self) -> str:
        """What results of this method are called."""
        return "Open-VCLIP" if self.interpolated else "fine-tuned image tower, not Open-VCLIP"

    def classify(self, video: Tensor, vocabulary: Vocabulary) -> Tensor:
        """Logits of clips over any classes: ``[B, T, C, H, W]`` to ``[B, K]``, float32."""
        towers = self.backbone
        if not self.training:
            towers = self.interpolation(self.original, towers)
        return _logits(towers(video), self._classifier(vocabulary), towers.logit_scale)

    def losses(self, batch: ClipBatch, batch_idx: int) -> Mapping[str, Tensor]:
        """Cross-entropy with the current weights, and with weights towards the original."""
        target, classes = target_of(batch), self._classifier(self.vocabulary)
        if not self.interpolated:
            current = self.encode(batch.video)
            return self.objective(
                _logits(current, classes, self.backbone.logit_scale), None, target
            )
        both = self.both_logits(batch.video, classes, self.draw_share(batch_idx))
        return self.objective(*both, target)

    def objective(
        self, current: Tensor, between: Tensor | None, target: Tensor
    ) -> Mapping[str, Tensor]:
        """The loss and its terms.

        Args:
            current: Logits with the current weights ``[B, K]``.
            between: Logits with interpolated weights ``[B, K]``, or None.
            target: Class indices ``[B]``, or distributions ``[B, K]``.
        """
        ce = soft_target_cross_entropy(current, target)
        if between is None:
            return {"loss": ce, "ce": ce}
        mixed = self.interpolated * soft_target_cross_entropy(between, target)
        return {"loss": ce + mixed, "ce": ce, "ce_interpolated": mixed}

    def both_logits(self, video: Tensor, classes: Tensor, share: float) -> tuple[Tensor, Tensor]:
        """Logits with the current weights, and with those between the original and the current.

        Args:
            video: ``[B, T, C, H, W]``.
            classes: Unit vectors ``[K, E]``.
            share: Share of the original weights.

        Returns:
            Two tensors ``[B, K]``. Gradients of the second reach the current weights whole, as the
            released code has it, not times ``1 - share``.
        """
        current = _logits(self.encode(video), classes, self.backbone.logit_scale)
        start = dict(self.original.named_parameters())
        mixed = {
            name: now + (share * (start[name] - now)).detach()
            for name, now in self.backbone.named_parameters()
            if now.requires_grad
        }
        between: Features = functional_call(self.backbone, mixed, (video,))
        return current, _logits(between, classes, mixed["towers.logit_scale"])

    def draw_share(self, batch_idx: int) -> float:
        """Share of the original weights in a step: the same in every process."""
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        generator = np.random.default_rng([seed, self.current_epoch, batch_idx])
        return float(generator.uniform(*self.mix_range))

    def _classifier(self, vocabulary: Vocabulary) -> Tensor:
        return self.original_text.classifier(self.original, vocabulary)


def _logits(features: Features, classes: Tensor, logit_scale: Tensor) -> Tensor:
    return frame_logits(F.normalize(features.embedding.float(), dim=-1), classes, logit_scale)
