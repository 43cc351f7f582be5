"""Two classifiers: cosine against the names of the classes, and a learned linear map."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from video_adapt.backbones.base import Backbone


class TextHead(nn.Module):
    """Classify by cosine similarity with the frozen text embedding of each class name.

    The text tower runs once; its output is kept (not in the state dict) until the device changes.

    Args:
        class_names: Names in the order of their indices.
        template: Sentence around each name; ``{}`` is the name.
    """

    def __init__(self, class_names: Sequence[str], *, template: str = "{}") -> None:
        super().__init__()
        self.prompts = [template.format(name) for name in class_names]
        self._features: Tensor | None = None

    def features(self, backbone: Backbone) -> Tensor:
        """Unit-norm text embeddings of the classes, ``[K, E]``, float32, without gradient."""
        if self._features is None or self._features.device != backbone.device:
            device_type = backbone.device.type
            with torch.no_grad(), torch.autocast(device_type, enabled=False):
                self._features = F.normalize(backbone.encode_text(self.prompts).float(), dim=-1)
        return self._features

    def forward(self, embedding: Tensor, backbone: Backbone) -> Tensor:
        """Cosine logits at CLIP's own temperature, in float32.

        Args:
            embedding: Vectors in the joint space, any norm, ``[..., E]``.
            backbone: Owner of the text tower and of the temperature.

        Returns:
            ``exp(logit_scale) * cos(embedding, text)``, ``[..., K]``.
        """
        scale = backbone.logit_scale.detach().float().exp()
        with torch.autocast(embedding.device.type, enabled=False):
            unit = F.normalize(embedding.float(), dim=-1)
            return scale * unit @ self.features(backbone).T


class LinearHead(nn.Sequential):
    """Optional LayerNorm, dropout, and a linear map started small.

    Args:
        width: Width of the features.
        num_classes: Number of classes.
        dropout: Probability of dropping a feature in training.
        norm: Whether to normalise the features first.
    """

    def __init__(
        self, width: int, num_classes: int, *, dropout: float = 0.0, norm: bool = False
    ) -> None:
        linear = nn.Linear(width, num_classes)
        nn.init.trunc_normal_(linear.weight, std=0.02)
        nn.init.zeros_(linear.bias)
        layers: list[nn.Module] = [nn.LayerNorm(width)] if norm else []
        layers += [nn.Dropout(dropout), linear]
        super().__init__(*layers)
