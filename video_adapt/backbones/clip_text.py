"""CLIP's text tower, run on sentences of any length, with a vector for every token."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from video_adapt.errors import ConfigurationError

from .base import TextFeatures


def embed_tokens(tower: Any, tokens: Tensor) -> TextFeatures:
    """Run a text tower of open_clip; gradients flow wherever its weights train.

    open_clip's own pass wants sentences as long as the context; a shorter one costs less and gives
    the same, since no token sees those behind it.

    Args:
        tower: open_clip's ``TextTransformer`` of CLIP's own kind.
        tokens: int64 ``[Q, L]``: start, words, end (the largest id), zeros.

    Raises:
        ConfigurationError: If the tower is of another kind, or the sentences are too long for it.
    """
    check_tower(tower)
    length = tokens.shape[1]
    if length > tower.context_length:
        raise ConfigurationError(
            f"sentences of {length} tokens, the text tower knows {tower.context_length}; set the "
            "data's max_words to that or less"
        )
    # Of a model with float16 weights the embeddings are float32 and come in at float16.
    low = tower.transformer.get_cast_dtype()
    positions = tower.positional_embedding[:length].to(low)
    states = tower.token_embedding(tokens).to(low) + positions  # [Q, L, D]
    causal = tower.attn_mask[:length, :length]
    for block in tower.transformer.resblocks:
        states = block(states, attn_mask=causal)
    words = tower.ln_final(states) @ tower.text_projection  # [Q, L, E]
    rows = torch.arange(len(tokens), device=tokens.device)
    return TextFeatures(words[rows, tokens.argmax(dim=1)], words)


def mark_ends(words: Sequence[Sequence[int]], length: int, start: int, end: int) -> Tensor:
    """Sentences as one tensor, int64 ``[K, length]``: start, words, end, zeros.

    Args:
        words: Numbers of the words of each sentence; those without a place are cut.
        length: Tokens of a sentence, both marks included.
        start: Number of the mark in front.
        end: Number of the mark behind.
    """
    tokens = torch.zeros(len(words), length, dtype=torch.long)
    for row, own in zip(tokens, words, strict=True):
        marked = [start, *own[: length - 2], end]
        row[: len(marked)] = torch.tensor(marked)
    return tokens


def check_tower(tower: Any) -> None:
    """Refuse a text tower that open_clip runs in another way than CLIP's.

    Raises:
        ConfigurationError: If it has a class token, sees in both directions, reads another token
            than the end or projects with an offset.
    """
    plain = tower.cls_emb is None and tower.attn_mask is not None and tower.pool_type == "argmax"
    if not plain or not isinstance(tower.text_projection, nn.Parameter):
        raise ConfigurationError(
            "the text tower is not of CLIP's own kind (causal, read at the end token, projected "
            "without offset); use a backbone such as ViT-B-32-quickgelu"
        )
