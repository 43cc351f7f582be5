"""A classifier made of sentences: embeddings of prompts, each computed once, and their mean."""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn import functional as F

from video_adapt.backbones import CLIP
from video_adapt.vocabulary import Vocabulary

from .prompts import Prompts

Classes = tuple[tuple[str, ...], tuple[str, ...]]
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
        cut: Whether a prompt that is longer than the tower reads loses its tail, which is counted
            and logged once for all prompts of a set of classes; else it is refused.
    """

    def __init__(self, prompts: Prompts, *, cut: bool = False) -> None:
        self.prompts, self.cut = prompts, cut
        self._weights: Hashable = None
        self._tokens: dict[tuple[Classes, int], Tensor] = {}
        self._rows: dict[tuple[Classes, int], Tensor] = {}
        self._classifiers: dict[Classes, Tensor] = {}

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
            ConfigurationError: If a prompt is longer than the text tower reads and may not be cut.
        """
        key = _classes(vocabulary), number
        if key not in self._tokens:
            # What is cut is counted over all prompts, in one message.
            numbers = range(len(self.prompts)) if self.cut else [number]
            sentences = [text for n in numbers for text in self.prompts.write(vocabulary, n)]
            parts = towers.tokenize(sentences, cut=self.cut).split(len(vocabulary))
            for found, tokens in zip(numbers, parts, strict=True):
                longest = int(tokens.argmax(dim=1).max()) + 1
                self._tokens[key[0], found] = tokens[:, :longest]
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
        classes = _classes(vocabulary)
        with _lasting(towers):
            for number in numbers:
                if (classes, number) not in self._rows:
                    tokens = self.tokens(towers, vocabulary, number)
                    self._rows[classes, number] = _embed(towers, tokens)
            return torch.stack([self._rows[classes, number] for number in numbers])

    def classifier(self, towers: CLIP, vocabulary: Vocabulary) -> Tensor:
        """Mean of all prompts, as :func:`ensemble` takes it: ``[K, E]``, without gradient.

        Raises:
            ConfigurationError: If a prompt is longer than the text tower reads.
        """
        if not has_content(towers):
            return torch.empty(len(vocabulary), towers.embed_dim, device=towers.device)
        self._refresh(towers)
        classes = _classes(vocabulary)
        if classes not in self._classifiers:
            rows = self.rows(towers, vocabulary, range(len(self.prompts)))
            with _lasting(towers):
                self._classifiers[classes] = ensemble(rows)
        return self._classifiers[classes]

    def _refresh(self, towers: CLIP) -> None:
        """Forget what other weights said."""
        versions = tuple(p._version for p in towers.text.parameters())
        weights = id(towers), towers.device, versions
        if weights != self._weights:
            self._weights = weights
            self._rows.clear()
            self._classifiers.clear()


def _classes(vocabulary: Vocabulary) -> Classes:
    """What text is kept by: sets of the same classes have the same, whatever they are called."""
    return vocabulary.classes, vocabulary.descriptions


def has_content(towers: CLIP) -> bool:
    """Whether weights are more than a shape, as which they take part in counting operations.

    Nothing that is computed once belongs to the count of a pass, and nothing of it may be kept.
    """
    return not isinstance(towers.logit_scale, FakeTensor)


def _embed(towers: CLIP, tokens: Tensor) -> Tensor:
    parts = tokens.split(_PROMPTS_AT_ONCE)
    return torch.cat([towers.embed_text(part).embedding for part in parts]).float()


@contextmanager
def _lasting(towers: CLIP) -> Iterator[None]:
    """Make tensors to keep: in full precision, and such that a training step may use them.

    Evaluation runs in inference mode, whose tensors no graph can hold.
    """
    full = torch.autocast(towers.device.type, enabled=False)
    with torch.inference_mode(False), torch.no_grad(), full:
        yield
