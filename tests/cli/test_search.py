"""``video-adapt search`` from the first index to the last query, as a person types it."""

import json
import subprocess
import sys

import pytest

from tests.unit.apps.coloured_videos import COLOURS, write_video
from tests.unit.apps.small_retrievers import write_retriever
from video_adapt import metrics
from video_adapt.__main__ import main


def search(*words):
    return main(["search", *map(str, words)])


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A checkpoint, three videos of one colour and one of three, and their index."""
    home = tmp_path_factory.mktemp("home")
    write_retriever(home / "mean.ckpt", kind="meanP")
    write_video(home / "videos/long.mp4", COLOURS)
    for colour in COLOURS:
        write_video(home / f"videos/short/{colour}.mp4", [colour])
    words = ("--window", 1, "--precision", "float32", "--workers", 2)
    assert search("index", home / "mean.ckpt", home / "videos", "--index", home / "i", *words) == 0
    return home


@pytest.fixture
def own(home, tmp_path):
    """An index to change."""
    assert search("index", home / "mean.ckpt", home / "videos", "--index", tmp_path / "i") == 0
    return tmp_path / "i"


@pytest.fixture
def refused(capsys):
    """Run a step that must fail, and give the one line that it says."""

    def run(*words):
        capsys.readouterr()
        assert search(*words) == 1
        out, err = capsys.readouterr()
        assert err.count("\n") == 1
        assert err.startswith("video-adapt: error: ")
        assert not out
        return err

    return run


def test_indexing_again_reads_nothing_again(home, capsys):
    assert search("index", home / "mean.ckpt", home / "videos", "--index", home / "i") == 0
    out = capsys.readouterr().out
    assert out == (
        f"{home / 'i'}: 0 videos indexed (0 windows), 4 were there; it holds 6 windows\n"
    )


def test_hits_are_printed_with_scores_and_times(home, capsys):
    assert search("query", "--index", home / "i", "a green square", "a red square", "--top", 2) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [lines[0], lines[3], lines[4]] == ["a green square", "", "a red square"]
    assert sorted(line[8:] for line in lines[1:3]) == [
        f"  0:00.0 - 0:01.0  {home}/videos/short/green.mp4",
        f"  0:01.0 - 0:02.0  {home}/videos/long.mp4",
    ]
    scores = [float(line[:8]) for line in lines[1:3]]
    assert scores == sorted(scores, reverse=True)


def test_json_on_the_output_is_nothing_but_json(home, capsys):
    words = ("query", "a green square", "--index", home / "i", "--where", "path=*/short/*")
    assert search(*words, "--json") == 0
    (answer,) = json.loads(capsys.readouterr().out)["queries"]
    assert answer["query"] == "a green square"
    assert [hit["rank"] for hit in answer["hits"]] == [1, 2, 3]
    best = answer["hits"][0]
    assert best["video"] == str(home / "videos/short/green.mp4")
    assert (best["start_s"], best["end_s"]) == (0.0, 1.0)
    assert best["score"] > 0.4 > answer["hits"][1]["score"]


def test_json_in_a_file_leaves_the_lines(home, capsys, tmp_path):
    video = home / "videos/short/blue.mp4"
    words = ("query", "--video", video, "--index", home / "i", "--json", tmp_path / "hits.json")
    assert search(*words, "--top", 1) == 0
    assert capsys.readouterr().out.startswith(f"{video}\n   1.000  ")
    (answer,) = json.loads((tmp_path / "hits.json").read_text())["queries"]
    assert answer["query"] == str(video)


def test_a_part_of_a_video_is_a_query(home, capsys):
    words = ("--video", home / "videos/long.mp4", "--span", 2, 3, "--top", 2)
    assert search("query", "--index", home / "i", *words) == 0
    assert "short/blue.mp4" in capsys.readouterr().out


def test_sheets_are_drawn(home, tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        metrics, "save_figure", lambda figure, path: drawn.update({path: len(figure.axes)})
    )
    one, many = tmp_path / "one.png", tmp_path / "many"
    words = ("query", "--index", home / "i", "--top", 2, "a red square")
    assert search(*words, "--plot", one) == 0
    assert search(*words, "a blue square", "--plot", many) == 0
    assert drawn == {one: 2, many / "query_00.png": 2, many / "query_01.png": 2}


def test_an_index_tells_of_itself(home, capsys):
    assert search("info", "--index", home / "i") == 0
    out = capsys.readouterr().out
    assert f"checkpoint {home / 'mean.ckpt'}" in out
    assert "videos     4\n" in out
    assert "vectors    6 of 64 numbers in float32" in out
    assert "windows    1 s every 1 s" in out
    assert "num_frames=4" in out


def test_videos_are_listed(home, capsys):
    assert search("info", "--index", home / "i", "--files") == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"3  {home / 'videos/long.mp4'}" in [line.strip() for line in lines]


def test_videos_are_forgotten(own, home, capsys):
    capsys.readouterr()
    assert search("delete", home / "videos/short/red.mp4", "*/gre*", "--index", own) == 0
    assert capsys.readouterr().out == f"{own}: 2 videos deleted (2 windows)\n"
    assert search("delete", home / "videos/short", "--index", own) == 0
    assert search("query", "red", "--index", own) == 0
    assert capsys.readouterr().out.count(".mp4") == 1
    assert search("compact", "--index", own) == 0
    assert "KiB now" in capsys.readouterr().out
    assert search("info", "--index", own) == 0
    assert "videos     1\n" in capsys.readouterr().out


def test_videos_that_are_gone_are_forgotten(own, home, tmp_path, capsys):
    passing = write_video(tmp_path / "passing.mp4", ["red"])
    assert search("index", home / "mean.ckpt", passing, "--index", own) == 0
    passing.unlink()
    capsys.readouterr()
    assert search("delete", "--missing", "--index", own) == 0
    assert capsys.readouterr().out == f"{own}: 1 video deleted (1 window)\n"


def test_broken_videos_are_counted_and_listed(home, tmp_path, capsys):
    (tmp_path / "bad.mp4").write_text("not a video")
    good = home / "videos/long.mp4"
    index = tmp_path / "i"
    words = (home / "mean.ckpt", good, tmp_path / "bad.mp4", "--index", index)
    assert search("index", *words) == 1
    out, err = capsys.readouterr()
    assert "1 video indexed (1 window); it holds 1 window" in out
    assert f"1 of 2 videos could not be read: see {index / 'broken.csv'}" in err
    assert "bad.mp4" in (index / "broken.csv").read_text()
    assert search("index", *words, "--on-broken", "error") == 1
    assert "video-adapt: error: " in capsys.readouterr().err


def test_a_long_query_is_cut_and_said(home, capsys, caplog):
    assert search("query", " ".join(["red"] * 40), "--index", home / "i", "--top", 1) == 0
    assert "1 of 1 prompts are longer than 12 tokens and were cut" in caplog.text


def test_wrong_queries_are_refused_in_one_line(home, refused, tmp_path):
    index = ("--index", home / "i")
    png = tmp_path / "x.png"
    gone = ("--checkpoint", tmp_path / "gone.ckpt")
    for words, message in [
        (("",), "the query is empty"),
        ((), "nothing to look for"),
        (("red", "--top", 0), "--top 0 asks for no hit"),
        (("red", "--where", "size=3"), "'size=3' is unknown"),
        (("red", "--span", 0, 1), "--span is a part of --video"),
        (("red", "blue", "--plot", png), "one file for 2 queries"),
        (("red", *gone), "no such file; the index was made with it"),
        (("--video", tmp_path / "gone.mp4"), "gone.mp4"),
    ]:
        assert message in refused("query", *words, *index)
    assert "holds no index" in refused("query", "red", "--index", tmp_path)


def test_wrong_indexing_is_refused_in_one_line(home, refused, tmp_path):
    (tmp_path / "empty").mkdir()
    other = write_retriever(tmp_path / "other.ckpt", kind="meanP", seed=1)
    tight = write_retriever(tmp_path / "tight.ckpt", kind="tightTransf")
    videos, index = home / "videos", ("--index", home / "i")
    for words, message in [
        ((home / "mean.ckpt", tmp_path / "empty", *index), "no video in this folder"),
        ((tmp_path / "gone.ckpt", videos, *index), "gone.ckpt: no such file"),
        ((other, videos, *index), "not with this checkpoint"),
        ((tight, videos, "--index", tmp_path / "i"), "cannot be indexed"),
        ((home / "mean.ckpt", videos, *index, "--window", 5), "was made with window 1.0, not 5.0"),
        ((home / "mean.ckpt", videos, *index, "--workers", 0), "give 1 or more"),
    ]:
        assert message in refused("index", *words)


def test_wrong_deletions_are_refused_in_one_line(home, refused):
    assert "nothing to delete" in refused("delete", "--index", home / "i")
    assert "/none: no video of" in refused("delete", "/none", "--index", home / "i")


def test_reading_the_help_loads_nothing_heavy():
    code = (
        "import sys, argparse; from video_adapt.apps import search;"
        "search.add_arguments(argparse.ArgumentParser());"
        "sys.exit(bool({'torch', 'av', 'matplotlib', 'sqlite3'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
