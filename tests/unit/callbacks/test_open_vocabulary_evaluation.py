"""Every test set over its own classes, zero-shot CLIP beside it, and what the figures rest on."""

import csv
import json
import logging
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader

from tests.unit.callbacks.toy import CLASSES, ToyData, ToyRecogniser, quick_trainer
from video_adapt.batches import ClipBatch, ClipLogits
from video_adapt.callbacks import OpenVocabularyEvaluation
from video_adapt.video import CoveringSampler
from video_adapt.vocabulary import Vocabulary


class ToyTask(ToyRecogniser):
    """Looks a class up by the channel that it is bright in: the first letter of its name."""

    patch_ratio = 0.5

    def _logits(self, video, vocabulary):
        channels = ["udl".index(name[0]) for name in vocabulary.classes]
        return video.mean((1, 3, 4))[:, channels]

    def validation_step(self, batch, batch_idx):
        logits = self._logits(batch.video, Vocabulary("val", tuple(CLASSES)))
        return ClipLogits(batch.video_id, batch.view, logits, batch.label)

    def test_step(self, batch, batch_idx, dataloader_idx=0):
        sets = getattr(self.trainer.datamodule, "test_vocabularies", None)
        vocabulary = sets[dataloader_idx] if sets else Vocabulary("test", tuple(CLASSES))
        logits = self._logits(batch.video, vocabulary)
        return ClipLogits(batch.video_id, batch.view, logits, batch.label)


class ToyZeroShot(ToyTask):
    """Its original takes everything for the last class."""

    def __init__(self):
        super().__init__()
        self.provenance = {"averaged_epochs": [2, 22]}

    def zero_shot_logits(self, video, vocabulary):
        logits = torch.zeros(len(video), len(vocabulary))
        logits[:, -1] = 1.0
        return logits


class ToySets(ToyData):
    """Sets with their own labels, by name: classes, and for every video shown channel and label."""

    label_variant = "as corrected"
    train_list = "train_s2.csv"
    sampler, eval_views = CoveringSampler(), 2

    def __init__(self, sets, groups=None):
        super().__init__([0, 0], [0])
        self.sets, self.test_groups = sets, groups or {}
        self.test_vocabularies = [Vocabulary(n, tuple(c)) for n, (c, _) in sets.items()]
        self.test_sets = dict.fromkeys(sets)

    def test_dataloader(self):
        return [
            DataLoader(
                [(i, v, *video) for i, video in enumerate(videos) for v in range(2)],
                batch_size=3,
                collate_fn=self._rows,
            )
            for _, videos in self.sets.values()
        ]

    def _rows(self, rows):
        video = torch.zeros(len(rows), 2, 3, 4, 4)
        for place, (_, _, channel, _) in enumerate(rows):
            video[place, :, channel] = 5.0
        ids, views, _, labels = torch.tensor(rows).T
        return ClipBatch(video, labels, None, ids, views)

    def test_manifest(self, name):
        entries = [
            SimpleNamespace(path=f"/{name}/{i}.mp4", start_s=None, end_s=2.0)
            for i in range(len(self.sets[name][1]))
        ]
        return SimpleNamespace(entries=entries)


BASE = (["up", "down"], [(0, 0), (1, 1), (0, 1), (1, 1)])  # three of four are right
NOVEL = (["left", "low"], [(2, 0), (2, 1)])  # equal scores: the first class, right once
WIDE = (["up", "down", "left", "u", "d", "l"], [(0, 0)])


def measure(tmp_path, task, sets, groups=None, **arguments):
    evaluation = OpenVocabularyEvaluation(**arguments)
    trainer = quick_trainer(tmp_path, evaluation)
    trainer.test(task, ToySets(sets, groups), verbose=False)
    return {name: value.item() for name, value in trainer.callback_metrics.items()}


def test_base_novel_and_their_harmonic_mean_beside_zero_shot(tmp_path):
    figures = measure(tmp_path, ToyZeroShot(), {"base": BASE, "novel": NOVEL})
    assert figures["test/base/top1"] == pytest.approx(3 / 4)
    assert figures["test/novel/top1"] == pytest.approx(1 / 2)
    assert figures["test/HM"] == pytest.approx(0.6)
    assert figures["test/base/zero_shot_top1"] == pytest.approx(3 / 4)
    assert figures["test/zero_shot_HM"] == pytest.approx(0.6)
    assert figures["test/base/videos"] == 4
    assert "test/base/top5" not in figures


def test_top5_where_there_are_five_classes(tmp_path):
    assert measure(tmp_path, ToyTask(), {"wide": WIDE})["test/wide/top5"] == 1.0


def test_splits_of_a_group_as_mean_and_spread(tmp_path):
    sets = {"s1": BASE, "s2": NOVEL, "full": BASE}
    figures = measure(tmp_path, ToyZeroShot(), sets, {"ucf": ["s1", "s2"]})
    assert figures["test/ucf/top1"] == pytest.approx(5 / 8)
    assert figures["test/ucf/std"] == pytest.approx(0.125 * 2**0.5)
    assert figures["test/ucf/zero_shot_top1"] == pytest.approx(5 / 8)
    assert "test/HM" not in figures
    table = (tmp_path / "results.md").read_text()
    assert "| ucf, mean ± std of 2 |  |  | 62.50 ± 17.68 | 62.50 ± 17.68 | +0.00 |" in table


def test_a_single_split_has_no_spread(tmp_path):
    figures = measure(tmp_path, ToyTask(), {"s1": BASE}, {"ucf": ["s1"]})
    assert figures["test/ucf/top1"] == pytest.approx(3 / 4)
    assert "test/ucf/std" not in figures


def test_without_zero_shot_the_table_says_so(tmp_path):
    figures = measure(tmp_path, ToyZeroShot(), {"base": BASE}, zero_shot=False)
    assert not any("zero_shot" in name for name in figures)
    assert "| base | 2 | 4 | 75.00 | – | – | – |" in (tmp_path / "results.md").read_text()


def test_the_table_says_what_the_figures_rest_on(tmp_path):
    measure(tmp_path, ToyZeroShot(), {"base": BASE, "novel": NOVEL})
    lines = (tmp_path / "results.md").read_text().splitlines()
    assert lines[2] == "| base | 2 | 4 | 75.00 | 75.00 | +0.00 | – | 83.33 |"
    assert lines[4] == "| harmonic mean |  |  | 60.00 | 60.00 | +0.00 |  |  |"
    assert lines[-5:] == [
        "- labels: as corrected",
        "- training list: train_s2.csv",
        "- frames: CoveringSampler, 2 views",
        "- epochs averaged: 2 to 22",
        "- share of the original weights: 0.5",
    ]


def test_what_is_not_known_is_not_made_up(tmp_path):
    task = ToyTask()
    measure(tmp_path, task, {"base": BASE})
    assert "- epochs averaged: not stated" in (tmp_path / "results.md").read_text()
    task.provenance = {}
    measure(tmp_path, task, {"base": BASE})
    assert "- epochs averaged: none" in (tmp_path / "results.md").read_text()


def test_writes_figures_predictions_and_every_class(tmp_path):
    measure(tmp_path, ToyZeroShot(), {"base": BASE, "novel": NOVEL})
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["top1"] == pytest.approx({"base": 0.75, "novel": 0.5, "HM": 0.6})
    assert written["zero_shot_top1"]["HM"] == pytest.approx(0.6)
    assert written["sets"]["novel"]["views"] == 2
    assert written["sets"]["base"]["zero_shot"]["top1"] == 0.75
    assert written["settings"]["labels"] == "as corrected"
    rows = list(csv.DictReader((tmp_path / "predictions_base.csv").read_text().splitlines()))
    assert [row["video"] for row in rows] == [f"/base/{i}.mp4" for i in range(4)]
    assert [row["label"] for row in rows] == ["up", "down", "down", "down"]
    assert [row["prediction"] for row in rows] == ["up", "down", "up", "down"]
    assert {row["zero_shot"] for row in rows} == {"down"}
    assert float(rows[0]["probability"]) == pytest.approx(1 / (1 + 2.718281828**-5))
    classes = list(csv.DictReader((tmp_path / "class_accuracy.csv").read_text().splitlines()))
    assert [tuple(row.values()) for row in classes] == [
        ("base", "up", "1", "1", "0"),
        ("base", "down", "3", "0.666667", "1"),
        ("novel", "left", "1", "1", "0"),
        ("novel", "low", "1", "0", "1"),
    ]


def test_videos_without_a_label_or_a_finite_score_are_told(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        measure(tmp_path, ToyTask(), {"base": (BASE[0], [(0, -1), (1, 1)])})
    assert "test: 1 videos of base have no label" in caplog.text


def test_validation_and_unnamed_tests_log_plainly(tmp_path):
    evaluation = OpenVocabularyEvaluation()
    trainer = quick_trainer(tmp_path, evaluation)
    shown = ToyData([0, 0, 1, 1, 2, 0, 1, 1], [0, 2, 0, 1])
    figures = trainer.validate(ToyZeroShot(), shown, verbose=False)[0]
    assert figures["val/top1"] == pytest.approx(3 / 4)
    assert set(figures) == {"val/top1", "val/mean_class", "val/videos"}
    assert (tmp_path / "predictions_val.csv").is_file()
    figures = trainer.test(ToyZeroShot(), shown, verbose=False)[0]
    assert figures["test/top1"] == pytest.approx(3 / 4)
    assert figures["test/zero_shot_top1"] == pytest.approx(1 / 4)
