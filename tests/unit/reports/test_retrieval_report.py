import logging

import pytest
import torch

from tests.unit.apps.coloured_videos import write_video
from tests.unit.reports.retrieval_run import QUERIES, make_retrieval_run
from video_adapt.callbacks.evaluation import Clip
from video_adapt.reports.plots import plot_learning
from video_adapt.reports.ranking_sheet import FoundVideo, RankingRow, plot_rankings
from video_adapt.reports.retrieval_runs import RETRIEVAL, ranking_rows
from video_adapt.reports.run_report import report
from video_adapt.reports.runs import read_run


def markdown(page):
    return (page.parent / "report.md").read_text()


def test_report_of_a_retriever(tmp_path):
    text = markdown(report([make_retrieval_run(tmp_path / "mine")]))
    assert (
        "TeachCLIP on MSRVTTDataModule, a small computer. Text-to-video R@1 50.0%, R@5 100.0%, "
        "R@10 100.0%, SumR 250.0, median rank 1.5 among 2 captions, 3 videos (val). The 95 % "
        "interval of R@1 is 25.0 to 75.0%."
    ) in text
    for row in (
        "| R@1 | 50.0% |",
        "| SumR | 250.0 |",
        "| median rank | 1.5 |",
        "| R@1, epoch of the best R@1 | 60.0% |",
        "| SumR, epoch of the best R@1 | 260.0 |",
        "| R@1, video-to-text | 50.0% |",
        "| storage of a video in float16 | 128 B |",
        "| storage of a video in float32 | 256 B |",
        "| multiply-adds of a pair | 64 |",
        "| multiply-adds of a view | 0.500 G |",
        "| trained parameters | 1,234 |",
    ):
        assert row in text
    for picture in ("learning", "examples"):
        assert f"({picture}.png)" in text


def test_percents_are_logged_as_percents(tmp_path):
    run = read_run(make_retrieval_run(tmp_path / "mine"))
    axes = plot_learning(run, RETRIEVAL).axes[1]
    assert axes.get_lines()[0].get_ydata().tolist() == [60.0, 50.0]
    assert axes.get_legend().get_texts()[0].get_text() == "R@1  50.0 %"


def test_retrievers_side_by_side(tmp_path):
    runs = [make_retrieval_run(tmp_path / name, seed=k) for k, name in enumerate(("a_0", "a_1"))]
    runs.append(make_retrieval_run(tmp_path / "old", search=None, config={}))
    text = markdown(report(runs, tmp_path / "all"))
    head = "| run | R@1 | R@5 | R@10 | SumR | best SumR | a video | MACs a pair | trained | GMACs |"
    assert head in text
    assert "multiply-adds of comparing one caption with one video. Trained parameters" in text
    assert "| 50.0% | 100.0% | 100.0% | 250.0 | 260.0 | 128 B | 64 | 1,234 | 0.500 G |" in text
    assert "| – | – | 1,234 |" in text  # an evaluation of before costs were measured
    assert "R@1 on validation by optimiser step" in text


def test_without_captions_nothing_is_claimed(tmp_path):
    text = markdown(report([make_retrieval_run(tmp_path / "mine", t2v=None, v2t=None)]))
    assert "No caption has its video: 2 captions, 3 videos (val)." in text
    assert "| R@1 | – |" in text


def test_examples_have_frames_where_the_video_is_there(tmp_path, caplog):
    red = write_video(tmp_path / "one.mp4", ["red"], 1.0)
    clips = {"one": Clip(str(red), None, None), "two": Clip("/gone/two.mp4", None, None)}
    with caplog.at_level(logging.WARNING):
        rows = ranking_rows(QUERIES, clips)
    assert [[video.right for video in row.found] for row in rows] == [[True, False], [False, True]]
    one, two = rows[0].found
    assert one.frames.shape[0] == 3
    assert one.frames[:, 0].float().mean() > 150  # red
    assert two.frames is None
    assert caplog.text.count("an example without frames") == 1  # each video is read once


def test_the_right_video_is_marked():
    frames = torch.zeros(3, 3, 8, 10, dtype=torch.uint8)
    found = [FoundVideo("one", frames, False), FoundVideo("two", None, True)]
    figure = plot_rankings([RankingRow("a dog sleeps", 2.0, found)])
    first, second = figure.axes
    assert first.get_images()[0].get_array().shape == (8, 30, 3)
    assert [axes.get_xlabel() for axes in (first, second)] == ["1  one", "2  two ✓"]
    widths = [axes.spines["left"].get_linewidth() for axes in (first, second)]
    assert widths[1] > widths[0]
    assert [text.get_text() for text in figure.texts] == [
        "a dog sleeps",
        "the right one is at place 2",
    ]


def test_a_run_without_examples_has_a_report(tmp_path):
    folder = make_retrieval_run(tmp_path / "mine")
    (folder / "val/examples.json").unlink()
    assert "Examples" not in markdown(report([folder]))


def test_a_retriever_in_training_is_known_by_its_curves(tmp_path):
    folder = make_retrieval_run(tmp_path / "mine")
    for path in (folder / "val").iterdir():
        path.unlink()
    text = markdown(report([folder]))
    assert "| trained parameters | 1,234 |" in text
    assert "R@1" not in text.split("## Learning")[0]


@pytest.mark.parametrize("kept", [1, 2])
def test_frames_of_a_part_lie_in_it(tmp_path, kept):
    video = write_video(tmp_path / "one.mp4", ["red", "blue"], 1.0)
    part = Clip(str(video), *((0.0, 1.0) if kept == 1 else (1.0, 2.0)))
    (row,) = ranking_rows(QUERIES[:1], {"one": part})
    red, blue = row.found[0].frames[:, 0].float().mean(), row.found[0].frames[:, 2].float().mean()
    assert (red > blue) == (kept == 1)
