"""``video-adapt world`` from the command line."""

import json

from video_adapt.__main__ import main


def test_world_is_rendered_once(tmp_path, capsys):
    words = ["world", str(tmp_path / "w"), "--train", "2", "--val", "1", "--seconds", "0.25"]
    words += ["--size", "16", "--motions", "grows", "moves left", "--workers", "1"]
    assert main(words) == 0
    assert "2 training and 1 validation videos, 2 motions, rendered" in capsys.readouterr().out
    assert len(list((tmp_path / "w").rglob("*.mp4"))) == 3
    assert main(words) == 0
    assert "already there" in capsys.readouterr().out


def test_layout_decides_the_length(tmp_path):
    words = ["world", str(tmp_path / "w"), "--train", "1", "--val", "0", "--size", "16"]
    assert main([*words, "--layout", "untrimmed", "--workers", "1"]) == 0
    notes = json.loads((tmp_path / "w/annotations.json").read_text())
    assert notes["database"]["train_00000"]["duration"] == 16.0


def test_an_unknown_motion_is_one_line(tmp_path, capsys):
    assert main(["world", str(tmp_path / "w"), "--motions", "flies"]) == 1
    assert "unknown motion 'flies'" in capsys.readouterr().err
    assert not (tmp_path / "w").exists()
