import csv
import json
import logging

import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import nn
from torch.utils.data import DataLoader

from tests.unit.callbacks.toy import ToyData, ToyRecogniser, quick_trainer
from video_adapt.batches import RetrievalPredictions
from video_adapt.callbacks import RetrievalEvaluation
from video_adapt.errors import ConfigurationError

VIDEOS = ["one", "two", "three"]
CAPTIONS = ["early, \u201cfirst\u201d", "mistaken", "last of all", "tied"]
OWNERS = [0, 0, 1, 2]
# Videos are the axes, so a caption's numbers are its scores; places are 1, 2, 3 and a tied 2.
SCORES = [[0.9, 0.1, 0.0], [0.5, 0.6, 0.0], [0.4, 0.3, 0.4], [0.7, 0.0, 0.7]]


class ToyRetriever(LightningModule):
    """Hands out what the batch says; its videos are vectors, which nobody else compares."""

    def __init__(self, scores=SCORES):
        super().__init__()
        self.scores = torch.tensor(scores)
        self.weight = nn.Parameter(torch.zeros(()))

    def read(self, ids):
        return torch.eye(3)[ids]

    def validation_step(self, batch, batch_idx):
        captions, ids = batch
        owners = torch.tensor(OWNERS)[captions]
        return RetrievalPredictions(ids, self.read(ids), captions, owners, self.scores[captions])

    test_step = validation_step

    def similarity(self, text, video):
        raise AssertionError("vectors are compared by dot product")

    def training_step(self, batch, batch_idx):
        return self.weight * 1.0

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


class TightRetriever(ToyRetriever):
    """Keeps a row of frames of each video and finds that the least alike fits best."""

    def read(self, ids):
        return torch.eye(3)[ids, None]

    def similarity(self, text, video):
        return -(text @ video[:, 0].T)


class ToyCaptions(LightningDataModule):
    """Three videos in two batches, the last ones first."""

    def __init__(self, ids=(0, 1, 2)):
        super().__init__()
        self.ids = ids

    def _loader(self):
        batches = [(torch.tensor([3, 2]), [2, 1]), (torch.tensor([1, 0]), [0])]
        kept = [(captions, [i for i in ids if i in self.ids]) for captions, ids in batches]
        rows = [(captions, torch.tensor(ids, dtype=torch.int64)) for captions, ids in kept]
        return DataLoader(rows, batch_size=None)

    train_dataloader = val_dataloader = test_dataloader = _loader

    def captions(self, stage):
        return CAPTIONS

    def video_names(self, stage):
        return VIDEOS


def evaluate(folder, model=None, data=None, *, stage="val", **settings):
    evaluation = RetrievalEvaluation(**settings)
    trainer = quick_trainer(folder, evaluation)
    run = {"test": trainer.test, "val": trainer.validate}[stage]
    figures = run(model or ToyRetriever(), data or ToyCaptions(), verbose=False)[0]
    return evaluation, figures


def ranks(folder):
    return list(csv.reader((folder / "ranks.csv").read_text().splitlines()))


def measured(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_logs_recall_and_ranks_of_both_directions(tmp_path):
    _, figures = evaluate(tmp_path)
    assert figures["val/t2v_R@1"] == pytest.approx(25)
    assert figures["val/t2v_R@5"] == figures["val/t2v_R@10"] == pytest.approx(100)
    assert figures["val/t2v_SumR"] == pytest.approx(225)
    assert figures["val/t2v_median_rank"] == figures["val/t2v_mean_rank"] == 2
    # Only "two" likes a caption of another video better than its own.
    assert figures["val/v2t_R@1"] == figures["val/v2t_groups_R@1"] == pytest.approx(200 / 3)
    assert figures["val/v2t_mean_rank"] == pytest.approx(4 / 3)
    assert not any("dual" in name for name in figures)


def test_writes_what_every_caption_finds(tmp_path):
    evaluate(tmp_path, stage="test")
    assert ranks(tmp_path) == [
        ["caption_id", "caption", "video", "rank", "best_video"],
        ["0", CAPTIONS[0], "one", "1", "one"],
        ["1", "mistaken", "one", "2", "two"],
        ["2", "last of all", "two", "3", "one"],
        ["3", "tied", "three", "2", "one"],
    ]


def test_writes_figures_with_intervals(tmp_path):
    evaluate(tmp_path)
    figures = measured(tmp_path)
    assert (figures["ties"], figures["captions"], figures["videos"]) == ("pessimistic", 4, 3)
    assert figures["t2v"]["R@1"] == 25
    assert figures["t2v"]["mAP"] == pytest.approx(100 * (1 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    low, high = figures["t2v"]["intervals"]["R@1"]
    assert 0 <= low <= 25 <= high <= 50
    assert "dual_softmax" not in figures


def test_ties_are_placed_as_asked(tmp_path):
    _, figures = evaluate(tmp_path, ties="optimistic")
    assert figures["val/t2v_R@1"] == 50
    assert [row[3] for row in ranks(tmp_path)[1:]] == ["1", "2", "3", "1"]
    _, figures = evaluate(tmp_path, ties="official")
    assert measured(tmp_path)["v2t"] is None
    assert "val/v2t_R@1" not in figures


def test_reweighted_figures_stand_apart(tmp_path):
    _, figures = evaluate(tmp_path, dual_softmax=100.0)
    assert figures["val/t2v_R@1"] == 25
    # "tied" is what "three" likes best, while "one" likes "early" better.
    assert figures["val/dual_softmax_t2v_R@1"] == 50
    assert measured(tmp_path)["dual_softmax"]["t2v"]["R@1"] == 50
    assert [row[4] for row in ranks(tmp_path)[1:]] == ["one", "two", "one", "one"]


def test_a_method_that_keeps_more_than_a_vector_compares_by_itself(tmp_path):
    _, figures = evaluate(tmp_path, TightRetriever())
    assert [row[3:] for row in ranks(tmp_path)[1:]] == [
        ["3", "three"],
        ["2", "three"],
        ["1", "two"],
        ["3", "two"],
    ]
    assert figures["val/t2v_mean_rank"] == pytest.approx(9 / 4)


def test_captions_without_their_video_are_left_out_aloud(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        evaluate(tmp_path, data=ToyCaptions(ids=[0, 2]))
    assert "val: the videos of 1 captions could not be read" in caplog.text
    assert [row[0] for row in ranks(tmp_path)] == ["caption_id", "0", "1", "3"]
    assert ranks(tmp_path)[3][4] == "one"
    assert measured(tmp_path)["captions_left_out"] == 1


def test_scores_that_are_no_numbers_are_counted_aloud(tmp_path, caplog):
    broken = [[float("nan")] * 3, *SCORES[1:]]
    with caplog.at_level(logging.WARNING):
        evaluate(tmp_path, ToyRetriever(broken))
    assert "val: 1 captions have a score with their video that is not a number" in caplog.text
    assert measured(tmp_path)["captions_undecided"] == 1
    assert ranks(tmp_path)[1][3:] == ["3", "two"]


def test_without_a_video_nothing_is_claimed(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        _, figures = evaluate(tmp_path, data=ToyCaptions(ids=[]))
    assert figures == {}
    assert "val: no caption has its video" in caplog.text
    assert measured(tmp_path)["t2v"] is None
    assert len(ranks(tmp_path)) == 1


def test_fit_logs_each_epoch_and_writes_the_last(tmp_path, caplog):
    evaluation = RetrievalEvaluation()
    trainer = quick_trainer(tmp_path, evaluation, max_epochs=2, num_sanity_val_steps=1)
    with caplog.at_level(logging.INFO):
        trainer.fit(ToyRetriever(), ToyCaptions())
    assert trainer.callback_metrics["val/t2v_R@1"].item() == pytest.approx(25)
    assert caplog.text.count("val: text-to-video R@1 25.0 %, R@5 100.0 %") == 2
    assert len(ranks(tmp_path / "val")) == 5


def test_a_data_module_of_clips_is_refused(tmp_path):
    trainer = quick_trainer(tmp_path, RetrievalEvaluation())
    with pytest.raises(ConfigurationError, match="run has ToyData; give one for captioned videos"):
        trainer.validate(ToyRecogniser(), ToyData([0, 0], [0]), verbose=False)
