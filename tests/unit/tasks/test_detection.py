import json

import pytest
import torch
from torch import nn

from video_adapt.batches import SegmentBatch
from video_adapt.detection import Candidates, Detector, PostProcess, SegmentHead, VideoLabels
from video_adapt.tasks import DetectionTask

CLASSES = ["walking", "running", "jumping"]


class Recorder(SegmentHead):
    """A head that remembers what it is asked to learn, and finds one segment."""

    def __init__(self, num_classes):
        super().__init__()
        self.num_classes = num_classes
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, features, mask):
        return features * self.scale

    def losses(self, outputs, segments, labels):
        self.learnt = labels
        return {"classification": outputs.sum()}

    def candidates(self, outputs):
        scores = torch.full((1, self.num_classes), 0.5)
        return [Candidates(torch.tensor([[1.0, 3.0]]), scores) for _ in outputs]


class Recording(Detector):
    def build(self, width, num_classes):
        return Recorder(num_classes)


class Task(DetectionTask):
    def __init__(self, postprocess):
        super().__init__(class_names=CLASSES, detector=Recording(), postprocess=postprocess)
        self.build_head(2)
        self.log = self.log_dict = lambda *args, **kwargs: None

    def sequence(self, video):
        return video


def batch():
    return SegmentBatch(
        video=torch.ones(1, 4, 2),
        mask=torch.ones(1, 4, dtype=torch.bool),
        segments=[torch.tensor([[0.0, 2.0], [1.0, 3.0]])],
        labels=[torch.tensor([2, 1])],
        video_id=torch.tensor([0]),
        window=torch.tensor([0]),
        offset_s=torch.zeros(1, dtype=torch.float64),
        step_s=torch.ones(1, dtype=torch.float64),
        duration_s=torch.tensor([4.0], dtype=torch.float64),
    )


@pytest.fixture
def scores(tmp_path):
    path = tmp_path / "scores.json"
    content = {"class": CLASSES, "results": {"a": [0.1, 0.8, 0.4]}}
    path.write_text(json.dumps(content))
    return path


def test_the_head_learns_the_classes_of_the_data():
    task = Task(PostProcess())
    task.training_step(batch(), 0)
    assert task.head.num_classes == 3
    assert task.head.learnt[0].tolist() == [2, 1]


def test_with_labels_from_outside_the_head_learns_one_class(scores):
    task = Task(PostProcess(video_labels=VideoLabels(path=scores)))
    task.training_step(batch(), 0)
    assert task.head.num_classes == 1
    assert [labels.tolist() for labels in task.head.learnt] == [[0, 0]]


def test_labels_from_outside_are_those_of_the_data(scores):
    task = Task(PostProcess(video_labels=VideoLabels(path=scores, top_k=2)))
    found = task.finish(task.predict_step(batch()), ["a"])
    assert found.labels.tolist() == [1, 2]
    assert found.scores.tolist() == pytest.approx([0.4, 0.2])
