import argparse
import csv
import io
import json
import subprocess
import sys

import pytest
import torch

from tests.unit.apps.coloured_videos import (
    COLOURS,
    ColourMethod,
    write_checkpoint,
    write_video,
)
from video_adapt import metrics
from video_adapt.apps import recognise
from video_adapt.apps.recognise import Recogniser, find_videos
from video_adapt.errors import ConfigurationError, VideoDecodeError, WeightsError
from video_adapt.reports import sheets


@pytest.fixture
def method(monkeypatch):
    method = ColourMethod()
    monkeypatch.setattr(
        "video_adapt.apps.recogniser_model.load_method", lambda path, **components: method
    )
    return method


@pytest.fixture
def checkpoint(tmp_path):
    return write_checkpoint(tmp_path / "colours.ckpt")


def run(*words):
    parser = argparse.ArgumentParser()
    recognise.add_arguments(parser)
    return recognise.run(parser.parse_args([str(word) for word in words]))


@pytest.mark.parametrize(("views", "crops"), [(1, 1), (3, 1), (1, 3), (2, 3)])
def test_names_a_whole_video(method, tmp_path, views, crops):
    checkpoint = write_checkpoint(tmp_path / "x.ckpt", views=views, crops=crops)
    result = Recogniser(checkpoint)(write_video(tmp_path / "v.mp4", ["green"]))
    assert result.label == "green"
    assert result.probs.sum().item() == pytest.approx(1.0)
    assert len(result.top(9)) == 3
    assert (result.start_s, result.end_s) == (0.0, pytest.approx(1.0))
    assert method.largest_batch == views * crops


def test_scores_mix_what_the_video_mixes(method, checkpoint, tmp_path):
    result = Recogniser(checkpoint)(write_video(tmp_path / "v.mp4", ["red", "blue"]))
    red, green, blue = result.probs.tolist()
    assert red == pytest.approx(blue, abs=0.02)
    assert green < 0.1


def test_windows_follow_the_video(method, checkpoint, tmp_path):
    shown = ["red", "green", "blue", "green", "red", "blue"]
    video = write_video(tmp_path / "v.mp4", shown)
    results = list(Recogniser(checkpoint).windows(video, 1.0))
    assert [result.label for result in results] == shown
    assert [result.start_s for result in results] == pytest.approx([0, 1, 2, 3, 4, 5])
    assert [result.end_s for result in results] == pytest.approx([1, 2, 3, 4, 5, 6])
    assert method.largest_batch == 4  # the memory does not grow with the video


def test_last_window_may_be_short(method, checkpoint, tmp_path):
    video = write_video(tmp_path / "v.mp4", ["red", "green", "blue"], 0.5)
    results = list(Recogniser(checkpoint).windows(video, 1.0))
    assert [result.end_s for result in results] == pytest.approx([1.0, 1.5])
    assert results[-1].label == "blue"


def test_keeps_the_frames_it_saw(method, checkpoint, tmp_path):
    video = write_video(tmp_path / "v.mp4", ["red", "green"])
    second = list(Recogniser(checkpoint).windows(video, 1.0))[1]
    assert second.frames.dtype == torch.uint8
    assert (second.frames.float().mean((0, 2, 3)).argmax()) == COLOURS.index("green")
    assert all(1.0 <= time_s < 2.0 for time_s in second.frame_times_s)


@pytest.mark.parametrize("window_s", [0.0, -1.0, float("nan")])
def test_a_window_has_a_length(method, checkpoint, tmp_path, window_s):
    video = write_video(tmp_path / "v.mp4", ["red"])
    with pytest.raises(ConfigurationError, match="is empty; give a length"):
        list(Recogniser(checkpoint).windows(video, window_s))


def test_broken_video_is_an_error_that_names_it(method, checkpoint, tmp_path):
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(VideoDecodeError, match=r"text\.mp4"):
        Recogniser(checkpoint)(tmp_path / "text.mp4")


def test_checkpoint_without_recipe(method, tmp_path):
    torch.save({"video_adapt": {"class_names": COLOURS}}, tmp_path / "x.ckpt")
    with pytest.raises(WeightsError, match=r"x\.ckpt: does not say how its videos"):
        Recogniser(tmp_path / "x.ckpt")


def test_checkpoint_with_a_foreign_sampler(method, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "x.ckpt", sampler={"class": "Path", "num_frames": 4})
    with pytest.raises(WeightsError, match="prepared by Path"):
        Recogniser(checkpoint)


@pytest.mark.parametrize(
    ("device", "message"), [("cuda:99", "take --device cpu"), ("tpu", "unknown")]
)
def test_device_that_is_not_there(method, checkpoint, device, message):
    with pytest.raises(ConfigurationError, match=message):
        Recogniser(checkpoint, device=device)


def test_folders_are_searched_and_files_taken_as_they_are(tmp_path):
    for name in ("b/2.MP4", "b/1.webm", "b/notes.txt", "a.data"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_videos([tmp_path / "a.data", tmp_path / "b"])
    assert [path.name for path in found] == ["a.data", "1.webm", "2.MP4"]


def test_command_prints_labels(method, checkpoint, tmp_path, capsys):
    video = write_video(tmp_path / "v.mp4", ["blue"])
    assert run(checkpoint, video, "--top", 2) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(video)
    assert lines[1].endswith("blue")
    assert len(lines) == 3


def test_command_does_the_rest_when_one_is_broken(method, checkpoint, tmp_path, capsys):
    write_video(tmp_path / "videos/good.mp4", ["blue"])
    (tmp_path / "videos/bad.mp4").write_text("not a video")
    assert run(checkpoint, tmp_path / "videos", "--json", tmp_path / "out.json") == 1
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["made_by"]["started"]["checkpoint"]["path"] == str(checkpoint)
    assert [entry["labels"][0]["label"] for entry in written["results"]] == ["blue"]
    assert [entry["video"] for entry in written["broken"]] == [str(tmp_path / "videos/bad.mp4")]
    assert "1 of 2 videos could not be read" in capsys.readouterr().err


def test_json_on_the_output_is_nothing_but_json(method, checkpoint, tmp_path, capsys):
    video = write_video(tmp_path / "v.mp4", ["red", "green"])
    assert run(checkpoint, video, "--window", 1, "--json", "-") == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert [entry["labels"][0]["label"] for entry in results] == ["red", "green"]
    assert [entry["start_s"] for entry in results] == [0.0, 1.0]


def test_the_bar_of_a_terminal_leaves_an_output_that_is_a_file_alone(
    method, checkpoint, tmp_path, capsys, monkeypatch
):
    videos = [write_video(tmp_path / f"{name}.mp4", ["red"]) for name in "ab"]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    run(checkpoint, *videos)
    out, err = capsys.readouterr()
    assert [line for line in out.splitlines() if line.startswith("/")] == list(map(str, videos))
    assert "recognising" in err


def test_csv_has_one_line_per_rank(method, checkpoint, tmp_path, capsys):
    video = write_video(tmp_path / "v.mp4", ["red"])
    assert run(checkpoint, video, "--csv", "-", "--top", 2) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["rank"] for row in rows] == ["1", "2"]
    assert rows[0]["label"] == "red"


def test_plot_is_one_picture_or_one_per_video(method, checkpoint, tmp_path):
    videos = [write_video(tmp_path / f"{c}.mp4", [c]) for c in ("red", "blue")]
    run(checkpoint, *videos, "--plot", tmp_path / "sheet.png")
    run(checkpoint, *videos, "--plot", tmp_path / "sheets")
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    pictures = sorted(path.name for path in (tmp_path / "sheets").iterdir())
    assert pictures == ["000_red.png", "001_blue.png"]


def test_a_picture_names_the_folder_of_a_video_too(method, checkpoint, tmp_path, monkeypatch):
    titles = []
    monkeypatch.setattr(sheets, "plot_sheet", lambda rows: titles.extend(r.title for r in rows))
    monkeypatch.setattr(metrics, "save_figure", lambda figure, path: None)
    run(checkpoint, write_video(tmp_path / "jumps" / "a.mp4", ["red"]), "--plot", "x.png")
    assert titles == ["jumps/a.mp4"]


def test_what_no_label_fits_well_enough_is_none_of_these(method, checkpoint, tmp_path, capsys):
    video = write_video(tmp_path / "v.mp4", ["red", "blue"])
    assert run(checkpoint, video, "--window", 2, "--reject-below", 0.6) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("  none of these")
    assert run(checkpoint, video, "--window", 1, "--reject-below", 0.6) == 0
    assert "none of these" not in capsys.readouterr().out
    assert run(checkpoint, write_video(tmp_path / "w.mp4", ["red", "blue"] * 2), "--window", 2) == 0
    assert "none of these" not in capsys.readouterr().out


def test_a_window_that_is_rejected_keeps_its_line(method, checkpoint, tmp_path, capsys):
    video = write_video(tmp_path / "v.mp4", ["red", "red", "red", "blue"])
    assert run(checkpoint, video, "--window", 2, "--reject-below", 0.6, "--csv", "-") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert next(row["label"] for row in rows if row["start_s"] == "0.0") == "red"
    rejected = [row for row in rows if row["start_s"] == "2.0"]
    assert (rejected[0]["label"], rejected[0]["rank"], rejected[0]["score"]) == (
        *("none of these", "0"),
        "",
    )
    assert len(rejected) == 4
    assert run(checkpoint, video, "--window", 2, "--reject-below", 0.6) == 0
    assert capsys.readouterr().out.splitlines()[2].startswith("  0:02.0 - 0:04.0  none of these; ")


def test_json_tells_of_rejection_where_there_is_a_threshold(method, checkpoint, tmp_path, capsys):
    video = write_video(tmp_path / "v.mp4", ["red", "blue"])
    run(checkpoint, video, "--json", "-", "--reject-below", 0.9)
    assert json.loads(capsys.readouterr().out)["results"][0]["rejected"] is True
    run(checkpoint, video, "--json", "-", "--reject-below", 0.1)
    assert json.loads(capsys.readouterr().out)["results"][0]["rejected"] is False
    run(checkpoint, video, "--json", "-")
    assert "rejected" not in json.loads(capsys.readouterr().out)["results"][0]


def test_a_picture_says_what_is_none(method, checkpoint, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(sheets, "plot_sheet", lambda rows: shown.extend(r.subtitle for r in rows))
    monkeypatch.setattr(metrics, "save_figure", lambda figure, path: None)
    video = write_video(tmp_path / "v.mp4", ["red", "blue"])
    run(checkpoint, video, "--plot", "x.png", "--reject-below", 0.9)
    assert shown == ["none of these, 0:00.0 - 0:02.0"]


@pytest.mark.parametrize("below", ["0", "1.2", "nan", "-1"])
def test_a_threshold_is_a_probability(method, checkpoint, tmp_path, below):
    video = write_video(tmp_path / "v.mp4", ["red"])
    with pytest.raises(ConfigurationError, match="is no probability"):
        run(checkpoint, video, f"--reject-below={below}")


def test_descriptions_without_classes(method, checkpoint, tmp_path):
    video = write_video(tmp_path / "v.mp4", ["red"])
    with pytest.raises(ConfigurationError, match="give --classes"):
        run(checkpoint, video, "--descriptions", "d.json")
    with pytest.raises(ConfigurationError, match="give classes"):
        Recogniser(checkpoint, descriptions=["red as blood"])


def test_a_method_without_text_knows_its_own_classes_alone(method, checkpoint, tmp_path):
    method.class_names = COLOURS
    video = write_video(tmp_path / "v.mp4", ["red"])
    with pytest.raises(
        ConfigurationError, match=r"colours\.ckpt: ColourMethod tells the 3 classes"
    ):
        run(checkpoint, video, "--classes", "red", "blue")


@pytest.mark.parametrize(
    ("words", "message"), [(["--top", 0], "--top 0"), ([], "no video in this")]
)
def test_senseless_requests(method, checkpoint, tmp_path, words, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match=message):
        run(checkpoint, tmp_path / "empty", *words)


def test_importing_the_package_and_the_command_is_light():
    code = (
        "import sys, video_adapt, video_adapt.apps.recognise, video_adapt.apps.report;"
        "print([name for name in ('torch', 'lightning', 'matplotlib') if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_real_videos_pass(method, checkpoint, real_videos):
    recogniser = Recogniser(checkpoint)
    for name in ("clips/pancake_flip.mkv", "codecs/juggling_rot90_flag.mp4"):
        assert recogniser(real_videos / name).probs.sum().item() == pytest.approx(1.0)
