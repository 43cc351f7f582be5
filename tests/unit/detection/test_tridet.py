import pytest
import torch

from video_adapt.detection import SGP, Assignment, PointLoss, Pyramid, Towers, TriDet
from video_adapt.detection.losses import focal_loss
from video_adapt.detection.tridet import expected_offsets
from video_adapt.errors import ConfigurationError

RANGES = ((0, 4), (4, 1000))
BINS, CLASSES = 4, 3
SETTINGS = TriDet(
    pyramid=Pyramid(width=16, levels=2, stem_layers=1, max_length=16),
    sgp=SGP(mlp_width=8, init_std=0.2),
    towers=Towers(width=8, layers=1),
    assignment=Assignment(ranges=RANGES),
    loss=PointLoss(normalizer=10),
    bins=BINS,
)


def make():
    torch.manual_seed(0)
    return SETTINGS.build(6, CLASSES)


def window(valid=(16, 11)):
    torch.manual_seed(1)
    return torch.randn(2, 16, 6), torch.arange(16)[None] < torch.tensor(valid)[:, None]


def truth():
    segments = [torch.tensor([[2.0, 7.0], [2.0, 7.0]]), torch.zeros(0, 2)]
    return segments, [torch.tensor([0, 2]), torch.zeros(0, dtype=torch.int64)]


def slow_offsets(outputs, sample, level, t, label):
    """The two ends at position ``t`` of a level, bin by bin."""
    length, skipped = (16, 8)[level], level * 16
    begin = skipped + level * BINS
    starts = outputs.starts[sample, begin + BINS : begin + BINS + length, label]
    ends = outputs.ends[sample, begin : begin + length, label]
    own = outputs.bins[sample, skipped + t]

    def look(sequence, at):
        return sequence[at] if 0 <= at < length else torch.tensor(0.0)

    left = torch.stack([look(starts, t - BINS + j) + own[0, j] for j in range(BINS + 1)])
    right = torch.stack([look(ends, t + j) + own[1, j] for j in range(BINS + 1)])
    back = sum((BINS - j) * p for j, p in enumerate(left.softmax(0)))
    ahead = sum(j * p for j, p in enumerate(right.softmax(0)))
    return torch.stack([back, ahead])


def test_ends_are_means_over_bins_within_their_level():
    outputs = make().eval()(*window())
    for level, length in enumerate((16, 8)):
        for t in (0, 2, length - 1):
            index = [torch.tensor(i) for i in (1, level * 16 + t, 2)]
            expected = slow_offsets(outputs, 1, level, t, 2)
            torch.testing.assert_close(expected_offsets(outputs, *index), expected)


def test_candidates_have_segments_of_every_class_at_valid_points():
    head = make().eval()
    outputs = head(*window())
    found = head.candidates(outputs)
    assert [tuple(c.segments.shape) for c in found] == [(24, 3, 2), (17, 3, 2)]
    assert [tuple(c.scores.shape) for c in found] == [(24, 3), (17, 3)]
    # The third point of the second level stands at 4.
    offsets = slow_offsets(outputs, 1, 1, 2, 0) * 2
    expected = torch.stack([4 - offsets[0], 4 + offsets[1]])
    torch.testing.assert_close(found[1].segments[11 + 2, 0], expected)
    torch.testing.assert_close(found[1].scores[13], outputs.logits[1, 18].sigmoid())


def test_each_class_of_a_point_weighs_its_focal_term_by_its_own_overlap():
    head = make()
    outputs = head(*window())
    terms = head.losses(outputs, *truth())
    # Within 1.5 strides of the centre at 4.5: positions 4 and 5, and 6 = 3 * 2 on the second level.
    positives = [(p, label) for p in (4, 5, 16 + 3) for label in (0, 2)]
    target = torch.zeros_like(outputs.logits)
    missed, weight = 0, torch.ones_like(target)
    for p, label in positives:
        level, t = divmod(p, 16)
        back, ahead = slow_offsets(outputs, 0, level, t, label) * (level + 1)
        position = t * (level + 1)
        start, end = position - back, position + ahead
        common = min(end, 7) - max(start, 2)
        span = max(end, 7) - min(start, 2)
        iou, shift = common / span, ((start + end) / 2 - 4.5) / span
        missed += 1 - iou + shift**2
        weight[0, p, label] = iou**0.2
        target[0, p, label] = 1
    count = 9 + 0.1 * 3
    focal = (focal_loss(outputs.logits, target) * weight)[outputs.mask].sum()
    torch.testing.assert_close(terms["classification"], focal / count)
    torch.testing.assert_close(terms["regression"], missed / count)


def test_points_beyond_the_video_do_not_count():
    head = make().eval()
    features, _ = window()
    segments, labels = [torch.tensor([[9.0, 15.0]])] * 2, [torch.tensor([1])] * 2
    masks = [torch.arange(16).expand(2, -1) < valid for valid in (16, 8)]
    whole, half = (head(features, mask) for mask in masks)
    assert head.losses(whole, segments, labels)["regression"] > 0
    assert head.losses(half, segments, labels)["regression"] == 0
    changed = half._replace(logits=half.logits + 9 * ~half.mask.unsqueeze(-1))
    for name, term in head.losses(changed, segments, labels).items():
        assert torch.equal(term, head.losses(half, segments, labels)[name])


def test_losses_of_two_batches_may_wait_for_one_backward():
    head = make()
    terms = [head.losses(head(*window()), *truth()) for _ in range(2)]
    sum(sum(each.values()) for each in terms).backward()
    assert head.class_tower.out.weight.grad.isfinite().all()


def test_evaluation_divides_classes_by_the_running_count_and_segments_by_their_own():
    head = make().eval()
    outputs = head(*window())
    terms = head.losses(outputs, *truth())
    head.positives.value.fill_(20)
    again = head.losses(outputs, *truth())
    torch.testing.assert_close(again["classification"] * 2, terms["classification"])
    assert torch.equal(again["regression"], terms["regression"])


def test_boundary_towers_do_not_teach_the_pyramid():
    head = make()
    features, mask = window()
    features.requires_grad_()
    outputs = head(features, mask)
    (outputs.starts.sum() + outputs.ends.sum()).backward()
    assert features.grad is None
    assert head.start_tower.out.weight.grad.any()


def test_an_overlap_of_zero_has_finite_gradients():
    head = make()
    outputs = head(*window())
    # All mass on the point itself, at both ends: segments without length.
    bins = torch.zeros_like(outputs.bins)
    bins[:, :, 0, -1] = bins[:, :, 1, 0] = 1e4
    bins.requires_grad_()
    terms = head.losses(outputs._replace(bins=bins), *truth())
    sum(terms.values()).backward()
    assert all(term.isfinite() for term in terms.values())
    assert bins.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in head.start_tower.parameters())


@pytest.mark.parametrize("valid", [(16, 11), (0, 0)])
def test_without_ground_truth_losses_are_finite_and_reach_every_parameter(valid):
    head = make()
    terms = head.losses(
        head(*window(valid)), [torch.zeros(0, 2)] * 2, [torch.zeros(0, dtype=torch.int64)] * 2
    )
    assert terms["regression"] == 0
    sum(terms.values()).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_stem_blocks_have_no_scale():
    names = make().state_dict()
    assert any(name.startswith("pyramid.branch.0.mix_scale") for name in names)
    assert not any(name.startswith("pyramid.stem.0.mix_scale") for name in names)


def test_the_width_is_a_multiple_of_the_norm_groups():
    with pytest.raises(ConfigurationError, match="width 24 is no multiple of 16"):
        TriDet(pyramid=Pyramid(width=24)).build(6, 3)


def test_the_published_model_has_the_published_number_of_parameters():
    with torch.device("meta"):
        head = TriDet().build(2048, 20)
    assert round(sum(p.numel() for p in head.parameters()) / 1e6, 1) == 16.0
