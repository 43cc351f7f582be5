import pytest
import torch

from video_adapt.detection.towers import Tower, Towers, class_tower


def test_before_training_every_class_is_improbable():
    tower = class_tower(Towers(width=4), 6, 3)
    tower.out.weight.data.zero_()
    logits = tower(torch.randn(1, 5, 6), torch.ones(1, 5, dtype=torch.bool))
    assert logits.sigmoid().flatten().tolist() == pytest.approx([0.01] * 15)


def test_invalid_positions_say_nothing_to_valid_ones_behind_the_first_layer():
    torch.manual_seed(0)
    tower = Tower(Towers(width=4, layers=2), 3, 2)
    mask = torch.arange(6)[None] < 4
    x = torch.randn(1, 6, 3)
    changed = x.clone()
    changed[0, 5] += 1  # two positions from the last valid one
    assert torch.equal(tower(x, mask)[:, :4], tower(changed, mask)[:, :4])


def test_a_tower_may_be_its_output_alone():
    tower = Tower(Towers(width=4, layers=0), 3, 2)
    assert tower.out.weight.shape == (2, 3, 3)
