import pytest
import torch

from video_adapt.detection import Assignment
from video_adapt.detection.assign import assign_points, check_ranges, make_points
from video_adapt.errors import ConfigurationError

RANGES = ((0, 4), (4, 9), (9, 1000))
CLASSES = 4


def points_of(length=32):
    lengths = [length // stride for stride in (1, 2, 4)]
    return make_points(lengths, [1, 2, 4], RANGES, torch.device("cpu"))


def slow_assign(points, segments, labels, rules):
    """One point and one segment at a time."""
    classes = torch.zeros(len(points.position), CLASSES)
    offsets = torch.zeros(len(points.position), 2)
    for i, (t, low, high, stride) in enumerate(zip(*points, strict=True)):
        learnable = []
        for (start, end), label in zip(segments, labels, strict=True):
            first, last = start, end
            if rules.centre_radius is not None:
                centre = (start + end) / 2
                first = max(start, centre - rules.centre_radius * stride)
                last = min(end, centre + rules.centre_radius * stride)
            if first < t < last and low <= max(t - start, end - t) <= high:
                learnable.append((end - start, start, end, label))
        if not learnable:
            continue
        shortest = min(learnable, key=lambda found: found[0])
        offsets[i] = torch.stack([t - shortest[1], shortest[2] - t]) / stride
        for length, _, _, label in learnable:
            if not rules.shortest_only or length <= shortest[0] + 1e-3:
                classes[i, label] = 1
    return classes, offsets


def random_truth(count):
    start = torch.rand(count) * 25
    segments = torch.stack([start, start + torch.rand(count) ** 2 * 20 + 0.5], dim=1)
    if count > 1:
        segments[1] = segments[0] + torch.tensor([0.0, 5e-4])
    return segments, torch.arange(count) % CLASSES


@pytest.mark.parametrize("radius", [1.5, 0.5, None])
@pytest.mark.parametrize("shortest_only", [True, False])
def test_every_point_learns_what_the_slow_rules_say(radius, shortest_only):
    torch.manual_seed(0)
    rules = Assignment(ranges=RANGES, centre_radius=radius, shortest_only=shortest_only)
    truth = [random_truth(count) for count in (9, 0, 1, 14)]
    points = points_of()
    targets = assign_points(points, *zip(*truth, strict=True), num_classes=CLASSES, rules=rules)
    learning = 0
    for i, (segments, labels) in enumerate(truth):
        classes, offsets = slow_assign(points, segments, labels, rules)
        assert torch.equal(targets.classes[i], classes)
        positive = classes.any(dim=1)
        learning += positive.sum().item()
        torch.testing.assert_close(targets.offsets[i][positive], offsets[positive])
    assert learning > 10


def test_no_ground_truth_in_the_whole_batch_is_background():
    empty = [torch.zeros(0, 2)] * 2, [torch.zeros(0, dtype=torch.int64)] * 2
    targets = assign_points(
        points_of(), *empty, num_classes=CLASSES, rules=Assignment(ranges=RANGES)
    )
    assert targets.classes.shape == (2, 56, CLASSES)
    assert not targets.classes.any()


def test_ends_of_a_segment_are_outside_and_ends_of_a_range_inside():
    rules = Assignment(ranges=((0, 4),), centre_radius=None)
    points = make_points([10], [1], rules.ranges, torch.device("cpu"))
    targets = assign_points(
        points,
        [torch.tensor([[2.0, 7.0]])],
        [torch.tensor([0])],
        num_classes=1,
        rules=rules,
    )
    # 2 and 7 are ends; from 3 and 6 the farther end is 4 away.
    assert targets.classes[0, :, 0].nonzero().flatten().tolist() == [3, 4, 5, 6]
    assert targets.offsets[0, 3].tolist() == [1, 4]


def test_ranges_are_one_per_level():
    with pytest.raises(ConfigurationError, match="3 ranges for 5 levels"):
        check_ranges(RANGES, 5)
