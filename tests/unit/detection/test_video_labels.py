import json
import re

import numpy as np
import pytest
import torch

from video_adapt.batches import SegmentPredictions
from video_adapt.detection import VideoLabels
from video_adapt.errors import AnnotationError, ConfigurationError

CLASSES = ["jump", "run", "sing"]
RESULTS = {"a": [0.1, 0.5, 0.9], "v_b": [0.8, 0.2, 0.4]}


def make_segments(video_id: list[int], scores: list[float]) -> SegmentPredictions:
    count = len(video_id)
    return SegmentPredictions(
        video_id=torch.tensor(video_id),
        window=torch.arange(count),
        segments=torch.arange(2.0 * count).reshape(count, 2),
        scores=torch.tensor(scores),
        labels=torch.zeros(count, dtype=torch.long),
    )


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "scores.json"
    path.write_text(json.dumps({"results": RESULTS, "class": CLASSES}))
    return path


@pytest.fixture
def matrix(tmp_path):
    np.save(tmp_path / "scores.npy", np.array([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.9, 0.1]]))
    return tmp_path / "scores.npy"


def test_each_segment_gets_the_best_classes_of_its_video(path):
    found = make_segments([0, 1, 0], [0.5, 0.4, 0.2])
    result = VideoLabels(path=path).relabel(found, ["a", "v_b"], CLASSES)
    assert result.video_id.tolist() == [0, 0, 1, 1, 0, 0]
    assert result.window.tolist() == [0, 0, 1, 1, 2, 2]
    assert result.segments[:, 0].tolist() == [0, 0, 2, 2, 4, 4]
    assert result.labels.tolist() == [2, 1, 0, 2, 2, 1]
    expected = [0.5 * 0.9, 0.5 * 0.5, 0.4 * 0.8, 0.4 * 0.4, 0.2 * 0.9, 0.2 * 0.5]
    torch.testing.assert_close(result.scores, torch.tensor(expected))


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("square_root", [False, True])
def test_scores_are_fused_as_the_settings_say(path, softmax, square_root):
    labels = VideoLabels(path=path, top_k=1, softmax=softmax, weight=2.0, square_root=square_root)
    result = labels.relabel(make_segments([0], [0.5]), ["a"], CLASSES)
    scores = np.array(RESULTS["a"])
    best = 2 * (np.exp(scores) / np.exp(scores).sum() if softmax else scores).max()
    expected = np.sqrt(0.5 * best) if square_root else 0.5 * best
    torch.testing.assert_close(result.scores, torch.tensor([expected], dtype=torch.float32))


def test_classes_are_those_of_the_data_whatever_order_and_number_the_file_has(path):
    result = VideoLabels(path=path, top_k=5).relabel(
        make_segments([0], [1.0]), ["a"], ["sing", "jump"]
    )
    assert result.labels.tolist() == [0, 1]
    assert result.video_id.tolist() == [0, 0]
    torch.testing.assert_close(result.scores, torch.tensor([0.9, 0.1]))


def test_the_softmax_is_over_all_classes_of_the_file(path):
    labels = VideoLabels(path=path, top_k=1, softmax=True)
    result = labels.relabel(make_segments([0], [1.0]), ["a"], ["jump"])
    expected = torch.tensor(RESULTS["a"]).softmax(0)[:1]
    torch.testing.assert_close(result.scores, expected)


def test_a_name_in_the_file_may_lack_its_prefix(path):
    result = VideoLabels(path=path, top_k=1).relabel(make_segments([0], [1.0]), ["v_a"], CLASSES)
    assert result.labels.tolist() == [2]


@pytest.mark.parametrize("lines", ["x\nrun\nsing\ny\n", "1 x\n2 run \n\n3 sing\n4 y"])
def test_a_matrix_has_the_row_of_the_number_in_the_name(matrix, tmp_path, lines):
    (tmp_path / "columns.txt").write_text(lines)
    labels = VideoLabels(path=matrix, classes=tmp_path / "columns.txt", top_k=1)
    names = ["video_test_0000002", "video_test_0000001"]
    result = labels.relabel(make_segments([0, 1], [1.0, 1.0]), names, ["run", "sing"])
    assert result.labels.tolist() == [1, 1]
    torch.testing.assert_close(result.scores, torch.tensor([0.9, 0.3]))


def test_no_segments_need_no_video(path):
    result = VideoLabels(path=path).relabel(make_segments([], []), ["zzz"], CLASSES)
    assert result.scores.shape == (0,)


def test_a_class_that_the_file_lacks_is_named_with_its_nearest(path):
    with pytest.raises(AnnotationError, match=r"scores.json: lacks the class 'runn'.*'run'"):
        VideoLabels(path=path).relabel(make_segments([0], [1.0]), ["a"], ["jump", "runn", "x"])


@pytest.mark.parametrize("name", ["video_0003", "video_0000", "video_x"])
def test_a_video_that_the_file_lacks_is_named(path, matrix, tmp_path, name):
    (tmp_path / "columns.txt").write_text("a\nb\nc\nd")
    by_row = VideoLabels(path=matrix, classes=tmp_path / "columns.txt")
    for labels, classes in ((VideoLabels(path=path), CLASSES), (by_row, ["a", "b"])):
        with pytest.raises(AnnotationError, match=f"no scores for the video '{name}'"):
            labels.relabel(make_segments([0], [1.0]), [name], classes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "not an object"),
        ('{"results": {}}', "'class' is no list"),
        ("{", "not a file of video-level scores"),
        ('{"results": {"a": [1]}, "class": ["jump", "run"]}', "'a' has 1 scores for 2 classes"),
        ('{"results": {"a": ["x", 1]}, "class": ["jump", "run"]}', "no numbers"),
        ('{"results": {"a": [-1, 1]}, "class": ["jump", "run"]}', "'a' has a score below 0"),
        ('{"results": {"a": [NaN, 1]}, "class": ["jump", "run"]}', "not a number"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(tmp_path, content, message):
    path = tmp_path / "scores.json"
    path.write_text(content)
    with pytest.raises(AnnotationError, match=rf"scores.json: .*{re.escape(message)}"):
        VideoLabels(path=path).relabel(make_segments([0], [1.0]), ["a"], ["jump"])


def test_a_matrix_that_makes_no_sense_is_refused(tmp_path):
    (tmp_path / "columns.txt").write_text("a\nb")
    labels = VideoLabels(path=tmp_path / "x.npy", classes=tmp_path / "columns.txt")
    found = make_segments([0], [1.0])
    with pytest.raises(AnnotationError, match=r"x.npy: cannot read"):
        labels.relabel(found, ["v1"], ["a"])
    (tmp_path / "x.npy").write_bytes(b"")
    with pytest.raises(AnnotationError, match=r"x.npy: not a file"):
        labels.relabel(found, ["v1"], ["a"])
    np.save(tmp_path / "x.npy", np.ones(3))
    with pytest.raises(AnnotationError, match=r"its shape is \[3\]"):
        labels.relabel(found, ["v1"], ["a"])
    with pytest.raises(ConfigurationError, match=r"set video_labels\.classes"):
        VideoLabels(path=tmp_path / "x.npy").relabel(found, ["v1"], ["a"])


def test_a_detector_that_tells_classes_apart_gets_none_from_outside(path):
    found = make_segments([0], [1.0])._replace(labels=torch.tensor([1]))
    with pytest.raises(ConfigurationError, match="tells classes apart"):
        VideoLabels(path=path).relabel(found, ["a"], CLASSES)
