import json
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from video_adapt.batches import SegmentBatch, SegmentPredictions
from video_adapt.detection import NMS, Candidates, PostProcess, VideoLabels
from video_adapt.errors import ConfigurationError, WeightsError
from video_adapt.segments import segment_iou

STEP_S, DURATION_S = 0.25, 20.0


def make_batch(video_id: list[int], offset_s: list[float]) -> SegmentBatch:
    count = len(video_id)
    return SegmentBatch(
        video=torch.zeros(count, 1, 1),
        mask=torch.ones(count, 1, dtype=torch.bool),
        segments=[torch.zeros(0, 2)] * count,
        labels=[torch.zeros(0, dtype=torch.long)] * count,
        video_id=torch.tensor(video_id),
        window=torch.arange(count) * 3,
        offset_s=torch.tensor(offset_s, dtype=torch.float64),
        step_s=torch.full((count,), STEP_S, dtype=torch.float64),
        duration_s=torch.full((count,), DURATION_S, dtype=torch.float64),
    )


def make_candidates(count: int, classes: int, seed: int = 0) -> Candidates:
    rng = torch.Generator().manual_seed(seed)
    start = torch.rand(count, generator=rng) * 50
    segments = torch.stack([start, start + 1 + torch.rand(count, generator=rng) * 20], 1)
    return Candidates(segments, torch.rand(count, classes, generator=rng))


def make_predictions(count: int = 200, videos: int = 5, classes: int = 3) -> SegmentPredictions:
    rng = torch.Generator().manual_seed(1)
    start = torch.rand(count, generator=rng) * 15
    return SegmentPredictions(
        video_id=torch.randint(videos, (count,), generator=rng) * 2,
        window=torch.randint(4, (count,), generator=rng),
        segments=torch.stack([start, start + torch.rand(count, generator=rng) * 5], 1),
        scores=torch.rand(count, generator=rng),
        labels=torch.randint(classes, (count,), generator=rng),
    )


def take(found: SegmentPredictions, rows: Tensor) -> SegmentPredictions:
    return SegmentPredictions(*(values[rows] for values in found))


def assert_same(one: SegmentPredictions, other: SegmentPredictions) -> None:
    """Bit for bit."""
    for field, ours, theirs in zip(one._fields, one, other, strict=True):
        assert torch.equal(ours, theirs), field


def slow_nms(found, nms: NMS, voting: bool):
    """Detections of one video as a list of score, start, end, label; best first."""
    rows = list(range(len(found.scores)))
    left = {i: found.scores[i].item() for i in rows}
    kept = []
    while left:
        best = max(left, key=left.__getitem__)
        score = left.pop(best)
        kept.append((score, best))
        for i in list(left):
            if nms.class_wise and found.labels[i] != found.labels[best]:
                continue
            left[i] *= math.exp(
                -(segment_iou(found.segments[i], found.segments[best]).item() ** 2) / nms.sigma
            )
            if left[i] < nms.min_score:
                del left[i]
    result = []
    for score, best in kept[: nms.max_segments]:
        mine = found.labels == found.labels[best] if nms.class_wise else found.labels >= 0
        mine = mine & (segment_iou(found.segments, found.segments[best]) >= nms.voting_iou)
        weights = found.scores[mine] / found.scores[mine].sum()
        moved = (weights[:, None] * found.segments[mine]).sum(0)
        segment = moved if voting else found.segments[best]
        result.append((score, *segment.tolist(), found.labels[best].item()))
    return result


def as_rows(found: SegmentPredictions):
    scores, labels, segments = (x.tolist() for x in (found.scores, found.labels, found.segments))
    return [(s, *seg, label) for s, seg, label in zip(scores, segments, labels, strict=True)]


@pytest.mark.parametrize("class_wise", [True, False])
@pytest.mark.parametrize("mode", ["clean", "official"])
def test_videos_equal_a_slow_second_version(mode, class_wise):
    nms = NMS(sigma=0.4, min_score=0.05, max_segments=25, class_wise=class_wise, voting_iou=0.5)
    found = make_predictions(90)
    if mode == "official":
        found = found._replace(
            segments=(found.segments.double() * 100).round().div(100).float(),
            scores=(found.scores.double() * 1e4).round().div(1e4).float(),
        )
    result = PostProcess(nms=nms, mode=mode).videos(found)
    for video in (0, 2, 4, 6, 8):
        mine = take(found, found.video_id == video)
        expected = slow_nms(mine, nms, voting=mode == "clean" or not class_wise)
        ours = torch.tensor(as_rows(take(result, result.video_id == video)))
        atol = 0.0051 if mode == "official" else 1e-5
        torch.testing.assert_close(ours, torch.tensor(expected), atol=atol, rtol=0)


def test_results_are_sorted_by_video_then_score():
    result = PostProcess().videos(make_predictions())
    assert result.video_id.tolist() == sorted(result.video_id.tolist())
    for video in result.video_id.unique():
        scores = result.scores[result.video_id == video].tolist()
        assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("mode", ["clean", "official"])
@pytest.mark.parametrize(
    "nms", [None, NMS(voting_iou=0.3), NMS(class_wise=False, voting_iou=0.3), NMS(kind="hard")]
)
@pytest.mark.parametrize("equal_scores", [False, True])
def test_the_order_of_rows_changes_no_bit(mode, nms, equal_scores):
    found = make_predictions()
    found = SegmentPredictions(*(torch.cat([x, x[:50]]) for x in found))  # some rows twice
    found.window[-50:] += 1
    if equal_scores:
        found.scores.fill_(0.5)
    post = PostProcess(nms=nms, mode=mode)
    order = torch.randperm(len(found.scores), generator=torch.Generator().manual_seed(0))
    assert_same(post.videos(take(found, order)), post.videos(found))


def test_a_video_does_not_depend_on_the_others():
    found = make_predictions()
    post = PostProcess(nms=NMS(voting_iou=0.3))
    result = post.videos(found)
    alone = [post.videos(take(found, found.video_id == video)) for video in (0, 2, 4, 6, 8)]
    assert_same(
        SegmentPredictions(*(torch.cat(values) for values in zip(*alone, strict=True))), result
    )


def test_windows_select_pairs_above_the_score_best_first():
    found, batch = make_candidates(40, 3), make_batch([7], [1.0])
    result = PostProcess(min_score=0.4, top_k=30).windows([found], batch)
    pairs = [
        (found.scores[n, k].item(), *(1.0 + STEP_S * found.segments[n]).tolist(), k)
        for n in range(40)
        for k in range(3)
        if found.scores[n, k] > 0.4
    ]
    expected = torch.tensor(sorted(pairs, reverse=True)[:30])
    expected[:, 1:3].clamp_(0, DURATION_S)
    torch.testing.assert_close(torch.tensor(as_rows(result)), expected)
    assert set(result.video_id.tolist()) == {7}
    few = PostProcess(min_score=0.99, top_k=30).windows([found], batch)
    assert len(few.scores) == (found.scores > 0.99).sum()


def test_a_score_equal_to_the_least_is_dropped():
    found = Candidates(torch.tensor([[0.0, 4.0]]), torch.tensor([[0.5, 0.75]]))
    result = PostProcess(min_score=0.5).windows([found], make_batch([0], [0.0]))
    assert result.labels.tolist() == [1]


def test_a_detector_of_one_class_keeps_everything():
    found = make_candidates(40, 1)
    result = PostProcess(min_score=0.9, top_k=3).windows([found], make_batch([0], [0.0]))
    assert len(result.scores) == 40
    assert not result.labels.any()


def test_a_detector_may_place_each_class_by_itself():
    one = make_candidates(10, 2)
    apart = torch.stack([one.segments, one.segments + 1], 1)  # [N, K, 2]
    result = PostProcess().windows([Candidates(apart, one.scores)], make_batch([0], [0.0]))
    plain = PostProcess().windows([one], make_batch([0], [0.0]))
    moved = plain.segments + STEP_S * plain.labels[:, None]
    torch.testing.assert_close(result.segments, moved.clamp(0, DURATION_S))


def test_windows_are_placed_in_their_video_and_stay_within_it():
    segments = torch.tensor([[-8.0, 2.5], [10.0, 70.0], [80.0, 90.0]])
    found = Candidates(segments, torch.tensor([[0.9], [0.8], [0.7]]))
    result = PostProcess().windows([found, found], make_batch([4, 5], [1.0, 12.0]))
    first = [[0.0, 1.625], [3.5, 18.5], [20.0, 20.0]]
    assert result.segments.tolist() == [*first, [10.0, 12.625], [14.5, 20.0], [20.0, 20.0]]
    assert result.video_id.tolist() == [4, 4, 4, 5, 5, 5]
    assert result.window.tolist() == [0, 0, 0, 3, 3, 3]


def test_times_of_hours_are_rounded_once():
    batch = make_batch([0], [9000.1])._replace(
        duration_s=torch.tensor([1e5], dtype=torch.float64),
        step_s=torch.tensor([4 / 29.97], dtype=torch.float64),
    )
    end = torch.arange(50.0)
    found = Candidates(torch.stack([end - 1, end], 1), torch.linspace(0.9, 0.1, 50)[:, None])
    exact = (9000.1 + end.double() * 4 / 29.97).float()
    assert torch.equal(PostProcess().windows([found], batch).segments[:, 1], exact)


def test_short_detections_go_only_where_a_least_duration_is_set():
    found = Candidates(torch.tensor([[0.0, 0.0], [0.0, 4.0]]), torch.tensor([[0.9], [0.8]]))
    batch = make_batch([0], [0.0])
    assert len(PostProcess().windows([found], batch).scores) == 2
    assert PostProcess(min_duration_s=1.0).windows([found], batch).segments.tolist() == [[0, 1]]
    assert not len(PostProcess(min_duration_s=1.01).windows([found], batch).scores)


def test_suppression_per_window_is_on_the_grid_and_happens_once():
    found = make_candidates(60, 2)
    nms = NMS(sigma=0.4, min_score=0.05, max_segments=20, class_wise=True, voting_iou=0.5)
    post = PostProcess(nms=nms, nms_per="window")
    batch = make_batch([0, 0], [0.0, 0.0])
    result = post.windows([found, found], batch)
    pairs = PostProcess(nms=None).windows(
        [found], batch._replace(duration_s=torch.full((2,), 1e3, dtype=torch.float64))
    )
    pairs = pairs._replace(segments=pairs.segments / STEP_S)
    expected = torch.tensor(slow_nms(pairs, nms, voting=True))
    expected[:, 1:3] = (expected[:, 1:3] * STEP_S).clamp(max=DURATION_S)
    assert result.window.tolist() == [0] * 20 + [3] * 20
    torch.testing.assert_close(torch.tensor(as_rows(result)), expected.repeat(2, 1))
    final = post.videos(result)
    assert sorted(final.scores.tolist()) == sorted(result.scores.tolist())


def test_official_mode_rounds_what_it_returns():
    result = PostProcess(nms=NMS(sigma=0.3), mode="official").videos(make_predictions())
    for values, steps in ((result.segments, 100), (result.scores, 1e4)):
        parts = values.double() * steps
        torch.testing.assert_close(parts, parts.round(), atol=1e-3, rtol=0)


def test_official_mode_rounds_before_suppression():
    """Two segments that overlap by less than 0.01 s no longer do once they are rounded."""
    found = make_predictions(2, videos=1, classes=1)._replace(
        segments=torch.tensor([[0.0, 0.014], [0.006, 0.02]]), scores=torch.tensor([0.90004, 0.5])
    )
    official = PostProcess(nms=NMS(sigma=0.5), mode="official").videos(found)
    assert official.segments.flatten().tolist() == pytest.approx([0.0, 0.01, 0.01, 0.02])
    assert official.scores.tolist() == pytest.approx([0.9, 0.5])
    clean = PostProcess(nms=NMS(sigma=0.5)).videos(found)
    assert clean.segments.flatten().tolist() == pytest.approx([0.0, 0.014, 0.006, 0.02])
    overlap = 0.008 / 0.02
    expected = [0.90004, 0.5 * math.exp(-(overlap**2) / 0.5)]
    assert clean.scores.tolist() == pytest.approx(expected, rel=1e-3)


def test_video_labels_come_after_suppression(tmp_path):
    path = tmp_path / "scores.json"
    path.write_text(json.dumps({"results": {"v": [0.5, 0.9]}, "class": ["x", "y"]}))
    found = make_predictions(50, videos=1, classes=1)
    plain = PostProcess(nms=NMS(max_segments=10))
    alone = plain.videos(found)
    post = replace(plain, video_labels=VideoLabels(path=path))
    result = post.videos(found, ["v"], ["x", "y"])
    assert len(result.scores) == 20
    for label, score in enumerate([0.5, 0.9]):
        mine = take(result, result.labels == label)
        torch.testing.assert_close(mine.scores, alone.scores * score)
        assert torch.equal(mine.segments, alone.segments)
    assert result.scores.tolist() == sorted(result.scores.tolist(), reverse=True)


@pytest.mark.parametrize("nms_per", ["video", "window"])
@pytest.mark.parametrize("classes", [1, 3])
def test_windows_without_proposals_and_data_without_detections(nms_per, classes):
    post = PostProcess(nms=NMS(voting_iou=0.5), nms_per=nms_per)
    none = Candidates(torch.zeros(0, 2), torch.zeros(0, classes))
    some = make_candidates(5, classes)
    result = post.windows([none, some], make_batch([0, 1], [0.0, 0.0]))
    assert set(result.video_id.tolist()) == {1}
    empty = post.windows([none], make_batch([0], [0.0]))
    assert [len(values) for values in post.videos(empty)] == [0] * 5


def test_one_segment_passes_unchanged():
    found = make_predictions(1)
    assert_same(PostProcess().videos(found), found)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("nms", [None, NMS()])
def test_numbers_without_meaning_are_refused_with_the_video(bad, nms):
    post = PostProcess(nms=nms)
    candidates = make_candidates(4, 2)
    candidates.scores[1, 1] = bad
    with pytest.raises(WeightsError, match=r"video number 9, window 0: .* diverged"):
        post.windows([candidates], make_batch([9], [0.0]))
    found = make_predictions(5, videos=2)
    found.segments[(found.video_id == 2).nonzero()[0], 1] = bad
    with pytest.raises(WeightsError, match=r"video c: .* diverged"):
        post.videos(found, ["a", "b", "c"])
    with pytest.raises(WeightsError, match="video number 2: "):
        post.videos(found)


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ConfigurationError, match=r"nms\.sigma is 0"):
        NMS(sigma=0)
    with pytest.raises(ConfigurationError, match=r"nms\.max_segments is 0"):
        NMS(max_segments=0)
