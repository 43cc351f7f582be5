"""A classifier made of sentences: embeddings of prompts, each computed once, and their mean."""

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from video_adapt.backbones import CLIP
from video_adapt.vocabulary import Vocabulary

from .prompts import Prompts

_PROMPTS_AT_ONCE = 256


def ensemble(embeddings: Tensor) -> Tensor:
    """One vector of norm 1 for every class: the direction of the mean of its prompts' directions.

    Args:
        embeddings: Sentences in the joint space, any norm ``[P, K, E]``.

    Returns:
        ``[K, E]``, float32.
    """
    return F.normalize(F.normalize(embeddings.float(), dim=-1).mean(dim=0), dim=-1)


def frame_logits(frames: Tensor, classes: Tensor, logit_scale: Tensor) -> Tensor:
    """Cosine logits of every frame, averaged over the frames of a clip, in float32.

    The mean of the logits is the product with the mean of the unit vectors of the frames; that mean
    is not normalised again.

    Args:
        frames: Unit vectors ``[B, T, E]``.
        classes: Unit vectors ``[K, E]``.
        logit_scale: Logarithm of the temperature, a scalar.

    Returns:
        ``[B, K]``.
    """
    with torch.autocast(frames.device.type, enabled=False):
        return logit_scale.float().exp() * frames.float().mean(dim=1) @ classes.float().T


class TextBank:
    """What one frozen or resting text tower says of the prompts of classes, each computed once.

    Everything is kept until the weights of the tower or its device change, or another tower is
    asked; nothing enters a checkpoint.

    Args:
        prompts: How a class is put into words.
    """

    def __init__(self, prompts: Prompts) -> None:
        self.prompts = prompts
        self._weights: Hashable = None
        self._tokens: dict[tuple[Vocabulary, int], Tensor] = {}
        self._rows: dict[tuple[Vocabulary, int], Tensor] = {}
        self._classifiers: dict[Vocabulary, Tensor] = {}

    def tokens(self, towers: CLIP, vocabulary: Vocabulary, number: int) -> Tensor:
        """One prompt of every class as tokens, without the zeros that follow the longest.

        No token sees those behind it, so that a shorter row costs less and says the same.

        Args:
            towers: Owner of the text tower.
            vocabulary: The ``K`` classes.
            number: Which prompt, from 0.

        Returns:
            int64 ``[K, L]``, on the device of the towers.

        Raises:
            ConfigurationError: If a prompt is longer than the text tower reads.
        """
        key = vocabulary, number
        if key not in self._tokens:
            tokens = towers.tokenize(self.prompts.write(vocabulary, number), cut=False)
            self._tokens[key] = tokens[:, : int(tokens.argmax(dim=1).max()) + 1]
        return self._tokens[key].to(towers.device)

    def rows(self, towers: CLIP, vocabulary: Vocabulary, numbers: Sequence[int]) -> Tensor:
        """Embeddings of some prompts, not normalised, without gradient.

        Args:
            towers: Owner of the text tower.
            vocabulary: The ``K`` classes.
            numbers: Which prompts, ``P`` of them.

        Returns:
            ``[P, K, E]``, float32.

        Raises:
            ConfigurationError: If a prompt is longer than the text tower reads.
        """
        self._refresh(towers)
        for number in numbers:
            if (vocabulary, number) not in self._rows:
                tokens = self.tokens(towers, vocabulary, number)
                self._rows[vocabulary, number] = _embed(towers, tokens)
        return torch.stack([self._rows[vocabulary, number] for number in numbers])

    def classifier(self, towers: CLIP, vocabulary: Vocabulary) -> Tensor:
        """Mean of all prompts, as :func:`ensemble` takes it: ``[K, E]``, without gradient.

        Raises:
            ConfigurationError: If a prompt is longer than the text tower reads.
        """
        self._refresh(towers)
        if vocabulary not in self._classifiers:
            rows = self.rows(towers, vocabulary, range(len(self.prompts)))
            self._classifiers[vocabulary] = ensemble(rows)
        return self._classifiers[vocabulary]

    def _refresh(self, towers: CLIP) -> None:
        """Forget what other weights said."""
        versions = tuple(p._version for p in towers.text.parameters())
        weights = id(towers), towers.device, versions
        if weights != self._weights:
            self._weights = weights
            self._rows.clear()
            self._classifiers.clear()


def _embed(towers: CLIP, tokens: Tensor) -> Tensor:
    # In validation everything runs in inference mode, whose tensors no later training step could
    # use; what is kept is made outside of it.
    off = torch.autocast(tokens.device.type, enabled=False)
    with torch.inference_mode(False), torch.no_grad(), off:
        parts = [towers.embed_text(part).embedding for part in tokens.split(_PROMPTS_AT_ONCE)]
        return torch.cat(parts).float()
