"""Reports of open-vocabulary runs: zero-shot beside all, means over few-shot draws."""

import json
from pathlib import Path

import numpy as np
import pytest

from video_adapt.callbacks.open_vocabulary_evaluation import OpenVocabularyResult
from video_adapt.callbacks.open_vocabulary_files import (
    SetScores,
    write_class_accuracy,
    write_metrics,
    write_predictions,
)
from video_adapt.metrics import merge_views, video_accuracy
from video_adapt.reports.kinds import kind_of
from video_adapt.reports.open_vocabulary_runs import read_class_changes
from video_adapt.reports.plots import bars
from video_adapt.reports.run_report import report
from video_adapt.reports.runs import read_run
from video_adapt.reports.seeds import experiments_of
from video_adapt.vocabulary import Vocabulary

LABELS = [0, 0, 1, 1]


def accuracy(predicted: list[int]):
    ids = np.arange(len(predicted))
    scores = np.eye(2)[predicted]
    return video_accuracy(merge_views(ids, np.zeros_like(ids), scores, np.array(LABELS)))


def scores(name: str, predicted: list[int], zero_shot: list[int] | None) -> SetScores:
    classes = (f"{name} one", f"{name} two")
    beside = None if zero_shot is None else accuracy(zero_shot)
    return SetScores(Vocabulary(name, classes), accuracy(predicted), beside)


def make_run(
    folder: Path,
    sets: dict[str, SetScores],
    *,
    groups=None,
    draw: int = 1,
    seed: int = 0,
    method: str = "FROSTER",
) -> Path:
    """What the evaluation and the record of a run leave."""
    result = OpenVocabularyResult(sets, groups or {}, {"method": method, "labels": "as corrected"})
    test = folder / "test"
    test.mkdir(parents=True)
    for name, found in sets.items():
        write_predictions(test / f"predictions_{name}.csv", found, None)
    write_class_accuracy(test / "class_accuracy.csv", sets)
    figures = result.figures(), result.figures(zero_shot=True)
    write_metrics(test / "metrics.json", result, *figures)
    data = {"class_path": "OpenVocabularyDataModule", "init_args": {"draw": draw, "root": "r"}}
    config = {"model": {"class_path": "a.FROSTER"}, "data": data, "run_dir": str(folder)}
    facts = {"train_digest": f"d{draw}", "base_digest": "same"}
    record = {"config": config, "seed": seed, "data": facts, "machine": {"device": "a computer"}}
    (folder / "run.json").write_text(json.dumps(record))
    return folder


RIGHT, HALF, WRONG = [0, 0, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]


def base_novel(folder: Path, base: list[int], **arguments) -> Path:
    sets = {"base": scores("base", base, HALF), "novel": scores("novel", HALF, RIGHT)}
    return make_run(folder, sets, **arguments)


def test_a_run_from_base_to_novel(tmp_path):
    page = report([base_novel(tmp_path / "one", RIGHT)])
    text = (page.parent / "report.md").read_text()
    assert (
        "Top-1 (test): base 100.0% (zero-shot CLIP 50.0%), novel 50.0% (zero-shot CLIP 100.0%), "
        "harmonic mean 66.7% (zero-shot CLIP 66.7%)." in text
    )
    assert "| harmonic mean | 66.7% |" in text
    assert "| zero-shot base | 50.0% |" in text
    assert "| labels | as corrected |" in text
    assert "1 of 4 classes are better, 1 worse" in text
    assert "| base | base two | 2 | 100.0% | 0.0% | +100.0 |" in text
    assert "| novel | novel two | 2 | 0.0% | 100.0% | -100.0 |" in text
    assert (page.parent / "sets.png").is_file()


@pytest.mark.parametrize(
    ("method", "called"), [("FROSTER", "FROSTER on Open"), ("a variant", "a variant, on Open")]
)
def test_a_variant_is_never_called_the_published_method(tmp_path, method, called):
    page = report([base_novel(tmp_path / "one", RIGHT, method=method)])
    text = (page.parent / "report.md").read_text()
    assert text.splitlines()[2].startswith(called)


def test_bars_of_the_same_quantity_have_the_same_scale():
    figure = bars(["one"], {"ours": [80.0], "theirs": [20.0]}, alike=True)
    assert len({axes.get_xlim() for axes in figure.axes}) == 1


def test_draws_share_a_row_with_mean_and_spread(tmp_path):
    runs = [
        base_novel(tmp_path / f"k400_s{draw}", base, draw=draw)
        for draw, base in ((1, RIGHT), (2, HALF), (3, HALF))
    ]
    page = report(runs, tmp_path / "all")
    text = (page.parent / "report.md").read_text()
    assert "| k400 (n = 3) | 55.6 ± 9.6% | 66.7 ± 28.9% | 50.0% | 66.7% |" in text
    assert "seed or few-shot draw alone share a row" in text


def test_a_draw_that_comes_twice_is_no_spread(tmp_path):
    runs = [read_run(base_novel(tmp_path / name, RIGHT)) for name in ("a", "b")]
    assert [len(e.runs) for e in experiments_of(runs)] == [1, 1]
    other = read_run(base_novel(tmp_path / "c", RIGHT, draw=2, seed=1))
    assert [len(e.runs) for e in experiments_of([runs[0], other])] == [2]


def test_other_test_videos_are_another_experiment(tmp_path):
    first, second = (read_run(base_novel(tmp_path / f"s{k}", RIGHT, draw=k)) for k in (1, 2))
    second.record["data"]["base_digest"] = "other"
    assert [len(e.runs) for e in experiments_of([first, second])] == [1, 1]


def test_splits_across_data_sets(tmp_path):
    sets = {
        "ucf101_split1": scores("a", RIGHT, None),
        "ucf101_split2": scores("b", WRONG, None),
    }
    folder = make_run(tmp_path / "k400", sets, groups={"ucf101": list(sets)})
    assert kind_of(read_run(folder)).name == "open vocabulary"
    text = (report([folder]).parent / "report.md").read_text()
    assert "| ucf101 | 50.0% |" in text
    assert "| ucf101, standard deviation over splits | 70.7% |" in text
    assert "zero-shot" not in text
    two = report([folder, folder], tmp_path / "two")
    assert "| k400 | 50.0% | – | 50.0% | – | – | – |" in (two.parent / "report.md").read_text()


def test_classes_without_videos_or_comparison_are_left_out(tmp_path):
    path = tmp_path / "class_accuracy.csv"
    path.write_text("set,class,videos,top1,zero_shot_top1\na,x,2,0.5,0.25\na,y,0,,\na,z,1,1,\n")
    (change,) = read_class_changes(path)
    assert (change.name, change.gain) == ("x", pytest.approx(0.25))
