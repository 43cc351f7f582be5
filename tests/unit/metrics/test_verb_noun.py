import torch

from video_adapt.metrics import action_probs


def test_pairs_are_numbered_by_verb_then_noun():
    verbs, nouns = torch.tensor([[0.25, 0.75]]), torch.tensor([[0.5, 0.25, 0.25]])
    probs = action_probs(verbs, nouns)
    assert probs[0, 1 * 3 + 2].item() == 0.75 * 0.25
    assert probs.sum().item() == 1.0
