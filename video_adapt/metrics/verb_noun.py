"""Actions made of a verb and a noun, as EPIC-KITCHENS-100 measures them."""

from torch import Tensor


def action_probs(verb_probs: Tensor, noun_probs: Tensor) -> Tensor:
    """Probability of every pair, taking verb and noun as independent.

    Apply it to each view and sum the views afterwards, for instance with
    :class:`~video_adapt.metrics.VideoAccuracy` over ``verbs * nouns`` classes.

    Args:
        verb_probs: ``[B, verbs]``.
        noun_probs: ``[B, nouns]``.

    Returns:
        ``[B, verbs * nouns]``; the action of a pair is ``verb * nouns + noun``.
    """
    pairs = verb_probs[:, :, None] * noun_probs[:, None, :]  # [B, verbs, nouns]
    return pairs.flatten(1)
