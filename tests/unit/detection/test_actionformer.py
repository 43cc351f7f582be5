import pytest
import torch

from video_adapt.detection import ActionFormer, Assignment, PointLoss, Pyramid, Towers
from video_adapt.detection.actionformer import TransformerBlock
from video_adapt.errors import ConfigurationError

RANGES = ((0, 4), (4, 8), (8, 1000))
PYRAMID = Pyramid(width=16, levels=3, stem_layers=1, max_length=16)


def make(classes=3, **settings):
    torch.manual_seed(0)
    detector = ActionFormer(
        **{
            "pyramid": PYRAMID,
            "towers": Towers(width=8, layers=1),
            "assignment": Assignment(ranges=RANGES),
            **settings,
        }
    )
    return detector.build(6, classes)


def window(batch=2, valid=(16, 11)):
    torch.manual_seed(1)
    return torch.randn(batch, 16, 6), torch.arange(16)[None] < torch.tensor(valid)[:, None]


def truth():
    segments = [torch.tensor([[2.0, 7.0], [1.0, 14.0]]), torch.zeros(0, 2)]
    return segments, [torch.tensor([0, 2]), torch.zeros(0, dtype=torch.int64)]


def test_losses_are_sums_over_positives_and_valid_points_by_the_running_count():
    head = make(loss=PointLoss(normalizer=10, regression_weight=2.0))
    outputs = head(*window())
    terms = head.losses(outputs, *truth())
    running = head.positives.value.item()
    # Positions 4 and 5 on the first level, 6 and 8 on the second, 4 and 12 on the third.
    positives = 6
    assert running == pytest.approx(9 + 0.1 * positives)
    assert terms.keys() == {"classification", "regression"}
    head.eval()
    evaluated = head.losses(outputs, *truth())
    for name, term in terms.items():
        torch.testing.assert_close(term * running, evaluated[name] * positives)


def test_points_beyond_the_video_do_not_count():
    head = make().eval()
    features, _ = window()
    segments, labels = [torch.tensor([[9.0, 15.0]])] * 2, [torch.tensor([1])] * 2
    masks = [torch.arange(16).expand(2, -1) < valid for valid in (16, 8)]
    whole, half = (head(features, mask) for mask in masks)
    assert head.losses(whole, segments, labels)["regression"] > 0
    assert head.losses(half, segments, labels)["regression"] == 0
    # Invalid logits may be anything.
    changed = half._replace(logits=half.logits + 9 * ~half.mask.unsqueeze(-1))
    for name, term in head.losses(changed, segments, labels).items():
        assert torch.equal(term, head.losses(half, segments, labels)[name])


@pytest.mark.parametrize("valid", [(16, 11), (0, 0)])
def test_without_ground_truth_losses_are_finite_and_reach_every_parameter(valid):
    head = make(windows=3)
    terms = head.losses(
        head(*window(valid=valid)),
        [torch.zeros(0, 2)] * 2,
        [torch.zeros(0, dtype=torch.int64)] * 2,
    )
    assert terms["regression"] == 0
    sum(terms.values()).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_candidates_are_the_valid_points_in_grid_units():
    head = make().eval()
    outputs = head(*window())
    found = head.candidates(outputs)
    assert [len(c.segments) for c in found] == [16 + 8 + 4, 11 + 6 + 3]
    # The second point of the third level stands at 4.
    offsets = outputs.offsets[0, 16 + 8 + 1] * 4
    expected = torch.stack([4 - offsets[0], 4 + offsets[1]])
    torch.testing.assert_close(found[0].segments[25], expected)
    torch.testing.assert_close(found[0].scores[25], outputs.logits[0, 25].sigmoid())
    assert not found[0].scores.requires_grad


@pytest.mark.parametrize("stride", [1, 2])
def test_a_block_leaves_zeros_where_nothing_is_valid(stride):
    torch.manual_seed(0)
    block = TransformerBlock(16, heads=2, stride=stride, window=None, drop_path=0.0)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter)
    mask = torch.arange(6)[None] < 4
    y = block(torch.randn(1, 6 * stride, 16), mask)
    assert not y[~mask].any()
    assert y[mask].all()


def test_a_strided_block_keeps_the_largest_neighbour_on_its_skip_path():
    block = TransformerBlock(16, heads=2, stride=2, window=None, drop_path=0.0)
    for layer in (block.attention.projection, block.down):
        torch.nn.init.zeros_(layer.weight)
    x, mask = torch.randn(1, 6, 16), torch.tensor([[True, True, False]])
    y = block(x, mask)
    assert torch.equal(y[0, 1], x[0, 1:4].amax(0))
    assert not y[0, 2].any()


def test_padding_changes_nothing_for_valid_points():
    head = make(windows=5).eval()
    features, mask = window(valid=(11, 11))
    longer = head(features * mask.unsqueeze(-1), mask)
    shorter = head(features[:, :11], mask[:, :11])
    torch.testing.assert_close(longer.logits[longer.mask], shorter.logits[shorter.mask])


def test_training_in_half_precision_keeps_losses_in_full():
    head = make(windows=(None, 3, 3))
    with torch.autocast("cpu", torch.bfloat16):
        terms = head.losses(head(*window()), *truth())
    assert all(term.dtype == torch.float32 for term in terms.values())
    sum(terms.values()).backward()
    full = make(windows=(None, 3, 3))
    expected = full.losses(full(*window()), *truth())
    torch.testing.assert_close(sum(terms.values()), sum(expected.values()), rtol=0.1, atol=0)


def test_without_drop_path_branches_have_no_scale():
    pyramid = Pyramid(width=16, levels=3, stem_layers=0, max_length=16, drop_path=0.0)
    assert not any("_scale" in name for name in make(pyramid=pyramid).state_dict())
    assert any("_scale" in name for name in make().state_dict())


@pytest.mark.parametrize("windows", [(3, 3), (3, 3, 0), 0])
def test_windows_are_positive_and_one_per_level(windows):
    with pytest.raises(ConfigurationError, match="for 3 levels"):
        make(windows=windows)


def test_heads_divide_the_width():
    with pytest.raises(ConfigurationError, match="3 heads do not divide the pyramid's width 16"):
        make(heads=3)


def test_every_level_has_a_range():
    with pytest.raises(ConfigurationError, match="6 ranges for 3 levels"):
        make(assignment=Assignment())


def test_published_sizes_have_the_published_number_of_parameters():
    def millions(detector, width, classes):
        with torch.device("meta"):
            head = detector.build(width, classes)
        return round(sum(p.numel() for p in head.parameters()) / 1e6, 1)

    assert millions(ActionFormer(), 768, 20) == 27.3
    small = ActionFormer(pyramid=Pyramid(width=256, max_length=192), towers=Towers(width=256))
    assert millions(small, 768, 1) == 7.1
