"""Harmonic means, spreads, and accuracy of sets that have classes of their own."""

import math

import pytest
import torch

from video_adapt.batches import ClipLogits
from video_adapt.metrics import AccuracyBySet, harmonic_mean, has_top5, spread_of


def test_harmonic_mean_of_published_figures():
    assert harmonic_mean(77.8, 64.3) == pytest.approx(70.4, abs=0.05)
    assert harmonic_mean(18.3, 12.2) == pytest.approx(14.6, abs=0.05)
    assert harmonic_mean(0.0, 0.0) == 0.0
    assert math.isnan(harmonic_mean(math.nan, 0.5))


def test_spread_is_the_sample_deviation():
    assert spread_of([0.1, 0.2, 0.6]) == pytest.approx((0.3, math.sqrt(0.07)))
    assert spread_of([0.4]).mean == 0.4
    assert math.isnan(spread_of([0.4]).std)
    with pytest.raises(ValueError, match="no value"):
        spread_of([])


def test_top5_needs_five_classes():
    assert [has_top5(count) for count in (4, 5)] == [False, True]


def clips(video_id, logits, label):
    ids = torch.tensor(video_id)
    view = torch.arange(len(ids))
    return ClipLogits(ids, view, torch.tensor(logits), torch.tensor(label))


def test_sets_and_readings_are_kept_apart_and_logits_summed_over_views():
    metric = AccuracyBySet({"train": 2, "b-2": 3}, ("method", "zero_shot"))
    # Two views of a video: the sum of the logits decides otherwise than that of the shares.
    metric.update("train", "method", clips([0, 0], [[9.0, 0.0], [0.0, 5.0]], [0, 0]))
    metric.update("train", "zero_shot", clips([0], [[0.0, 1.0]], [0]))
    metric.update("b-2", "method", clips([0, 1], [[0.0, 0.0, 1.0]] * 2, [2, 0]))
    metric.update("b-2", "zero_shot", clips([0], [[0.0, 0.0, 1.0]], [2]))
    found = metric.compute()
    top1 = {name: {k: r.top1 for k, r in sets.items()} for name, sets in found.items()}
    assert top1 == {
        "train": {"method": 1.0, "zero_shot": 0.0},
        "b-2": {"method": 0.5, "zero_shot": 1.0},
    }
    assert found["train"]["method"].videos.scores.tolist() == [[9.0, 5.0]]
    assert found["b-2"]["method"].confusion.shape == (3, 3)
