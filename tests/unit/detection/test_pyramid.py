import math

import pytest
import torch
from torch import nn

from video_adapt.detection import Pyramid
from video_adapt.detection.pyramid import (
    FeaturePyramid,
    fit_positions,
    length_multiple,
    position_table,
)
from video_adapt.errors import ConfigurationError


class Halve(nn.Module):
    def forward(self, x, mask):
        return x[:, ::2]


class Keep(nn.Module):
    def forward(self, x, mask):
        return x


def make(pads_training=True, spans=(1, 1, 1), **settings):
    sizes = Pyramid(width=4, levels=3, max_length=16, **settings)
    return FeaturePyramid(
        sizes,
        5,
        stem=[Keep()],
        branch=[Halve(), Halve()],
        spans=spans,
        pads_training=pads_training,
    )


def run(pyramid, length, valid=None):
    mask = torch.arange(length)[None] < (valid or length)
    return pyramid(torch.randn(1, length, 5), mask)


def test_short_inputs_are_padded_and_masked_at_every_level():
    levels = run(make(), 10, valid=7)
    assert [x.shape for x in levels.features] == [(1, 16, 4), (1, 8, 4), (1, 4, 4)]
    assert [m.sum().item() for m in levels.masks] == [7, 4, 2]


def test_long_inputs_are_padded_to_the_multiple():
    assert run(make(spans=(1, 2, 4)), 17).features[0].shape[1] == 32
    assert run(make(), 17).features[0].shape[1] == 20


def test_training_may_go_without_padding_up_to_the_largest_stride():
    pyramid = make(pads_training=False)
    assert run(pyramid, 10).features[0].shape[1] == 12
    assert run(pyramid.eval(), 10).features[0].shape[1] == 16


def test_length_multiple_is_the_largest_divisor_and_always_fits_the_strides():
    assert length_multiple([1, 2, 4], [4, 4, 4]) == 16
    assert length_multiple([1, 2, 4], [16, 1, 1]) == 16
    assert length_multiple([1, 2, 4], [18, 1, 1]) == 36


def test_max_length_has_to_fit_the_strides():
    with pytest.raises(ConfigurationError, match="max_length=770 is not divisible by 32"):
        FeaturePyramid(
            Pyramid(max_length=770), 8, stem=[], branch=[], spans=[1] * 6, pads_training=True
        )


def test_position_table_holds_sinusoids():
    table = position_table(5, 6)
    for position in range(5):
        for channel in range(6):
            angle = position / 10000 ** (2 * (channel // 2) / 6)
            value = (math.sin if channel % 2 == 0 else math.cos)(angle) / math.sqrt(6)
            assert table[position, channel].item() == pytest.approx(value, abs=1e-7)


def test_positions_are_cut_or_stretched():
    table = torch.tensor([[0.0], [4.0]])
    assert fit_positions(table, 1).tolist() == [[0.0]]
    assert fit_positions(table, 4).flatten().tolist() == [0, 1, 3, 4]


def test_positions_are_added_to_valid_positions_alone_and_not_saved():
    pyramid = make(position_table=True, embed_layers=0)
    assert "positions" not in pyramid.state_dict()
    pyramid.norms[0] = nn.Identity()
    mask = torch.arange(16)[None] < 9
    level = pyramid(torch.zeros(1, 16, 4), mask).features[0]
    assert torch.equal(level[0, :9], position_table(16, 4)[:9])
    assert not level[0, 9:].any()


def test_input_dropout_takes_whole_channels():
    torch.manual_seed(0)
    pyramid = make(embed_layers=0, input_dropout=0.5)
    pyramid.norms[0] = nn.Identity()
    mask = torch.ones(8, 16, dtype=torch.bool)
    level = pyramid(torch.ones(8, 16, 4), mask).features[0]
    assert set(level.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(level.amin(1), level.amax(1))
    assert torch.equal(pyramid.eval()(torch.ones(8, 16, 4), mask).features[0], torch.ones(8, 16, 4))
