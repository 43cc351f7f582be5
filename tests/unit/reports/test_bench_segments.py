"""The loop that suppression is compared with does the same work."""

import torch

from video_adapt.reports.bench_segments import (
    SegmentRow,
    random_detections,
    random_segments,
    render,
    soft_nms_loop,
)
from video_adapt.segments import soft_nms


def test_the_loop_keeps_the_same_segments():
    given = random_segments(300, classes=3, seconds=60.0)
    kept = soft_nms(*given, sigma=0.5, limit=100)
    assert soft_nms_loop(*given, sigma=0.5, limit=100) == kept.rows.tolist()


def test_half_of_the_detections_lie_near_an_event():
    found, events = random_detections(400, videos=4, classes=2)
    assert len(events.label) == 60
    assert (found.segments_s[:, 1] >= found.segments_s[:, 0]).all()
    assert torch.from_numpy(found.score).min() >= 0


def test_a_loop_that_was_not_measured_leaves_its_cell_empty():
    table = render([SegmentRow("a", 0.0123, 1.5), SegmentRow("b", 0.5, None)])
    assert table.splitlines()[2:] == ["| a | 12 | 1500 |", "| b | 500 |  |"]
