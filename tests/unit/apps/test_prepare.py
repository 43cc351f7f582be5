"""``video-adapt prepare`` from the command line."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from tests.unit.video.test_transcode import contents, write
from video_adapt.__main__ import main

SMALL = ["--short-side", "16", "--gop", "4"]
ALONE = [*SMALL, "--workers", "1"]


@pytest.fixture
def src(tmp_path) -> Path:
    for name in ("run/a.mp4", "run/b.mkv", "walk/c.mp4"):
        (tmp_path / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / "src" / name)
    (tmp_path / "src" / "thumbnail.jpg").write_bytes(b"")
    return tmp_path / "src"


def names(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_tree_is_mirrored(src, tmp_path, capsys):
    before = {name: (src / name).read_bytes() for name in names(src)}
    assert main(["prepare", str(src), str(tmp_path / "dst"), *ALONE]) == 0
    assert names(tmp_path / "dst") == ["run/a.mp4", "run/b.mp4", "walk/c.mp4"]
    assert contents(tmp_path / "dst/run/b.mp4") == list(range(10))
    assert "3 written" in capsys.readouterr().out
    assert {name: (src / name).read_bytes() for name in names(src)} == before


def test_second_run_writes_what_is_missing(src, tmp_path, capsys):
    words = ["prepare", str(src), str(tmp_path / "dst"), *ALONE]
    main(words)
    (tmp_path / "dst/run/a.mp4").unlink()
    stamp = (tmp_path / "dst/walk/c.mp4").stat().st_mtime_ns
    capsys.readouterr()
    assert main(words) == 0
    assert "2 kept, 1 written" in capsys.readouterr().out
    assert (tmp_path / "dst/walk/c.mp4").stat().st_mtime_ns == stamp


def test_processes_write_the_same_files(src, tmp_path):
    assert main(["prepare", str(src), str(tmp_path / "one"), *ALONE]) == 0
    assert main(["prepare", str(src), str(tmp_path / "two"), *SMALL, "--workers", "2"]) == 0
    assert len(names(tmp_path / "one")) == 3
    for name in names(tmp_path / "one"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


def test_broken_files_are_listed_and_the_rest_is_copied(src, tmp_path, capsys):
    (src / "run/a.mp4").write_bytes(b"")
    (src / "walk/d.avi").write_text("no video")
    assert main(["prepare", str(src), str(tmp_path / "dst"), *ALONE]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "run/a.mp4: the file is empty" in lines[0]
    assert "walk/d.avi: cannot be opened as a video" in lines[1]
    assert "2 broken, 2 written" in lines[2]
    assert names(tmp_path / "dst") == ["run/b.mp4", "walk/c.mp4"]


def test_folders_within_one_another_are_refused(src, tmp_path, capsys):
    for dst in (src, src / "small", src.parent):
        assert main(["prepare", str(src), str(dst), *ALONE]) == 1
        assert "one folder lies in the other" in capsys.readouterr().err
    assert not (src / "small").exists()


def test_two_videos_of_one_name_are_refused(src, tmp_path, capsys):
    write(src / "run/b.mov")
    assert main(["prepare", str(src), str(tmp_path / "dst"), *ALONE]) == 1
    assert "rename one" in capsys.readouterr().err
    assert not (tmp_path / "dst").exists()


def test_foreign_file_is_not_replaced(src, tmp_path, capsys):
    (tmp_path / "dst/run").mkdir(parents=True)
    (tmp_path / "dst/run/a.mp4").write_text("precious")
    assert main(["prepare", str(src), str(tmp_path / "dst"), *ALONE]) == 1
    assert "a.mp4: exists and is no copy made by prepare" in capsys.readouterr().err
    assert (tmp_path / "dst/run/a.mp4").read_text() == "precious"


def test_missing_and_empty_folders_are_refused(tmp_path, capsys):
    assert main(["prepare", str(tmp_path / "none"), str(tmp_path / "dst"), *ALONE]) == 1
    assert "none: is not a folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["prepare", str(tmp_path / "empty"), str(tmp_path / "dst"), *ALONE]) == 1
    assert "holds no video" in capsys.readouterr().err
    assert not (tmp_path / "dst").exists()


@pytest.mark.parametrize("word", ["--short-side=8", "--gop=0", "--crf=52", "--workers=0"])
def test_impossible_values_are_refused(src, tmp_path, capsys, word):
    assert main(["prepare", str(src), str(tmp_path / "dst"), word]) == 1
    assert word.replace("=", " ") in capsys.readouterr().err
    assert not (tmp_path / "dst").exists()


def test_too_small_a_disk_stops_before_anything_is_written(src, tmp_path, capsys, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 100))
    assert main(["prepare", str(src), str(tmp_path / "dst"), *ALONE]) == 1
    error = capsys.readouterr().err
    assert "the copies need about" in error
    assert "Traceback" not in error
    assert not (tmp_path / "dst").exists()
