"""What bad input gets: one line that names place, cause and mend, and nothing half-written."""

import errno
import shutil
from collections import namedtuple
from pathlib import Path

import av
import numpy as np
import pytest

from tests.integration.conftest import left_over, run
from video_adapt.errors import VideoAdaptError
from video_adapt.video.synthetic_files import encode

QUIET = "--trainer.logger=false"


@pytest.fixture
def refuse(refused, experiment, tmp_path):
    """Fit on changed data; returns the line, and sees that nothing half-written is left."""

    def check(*words, command="fit", **data):
        line = refused(command, "-c", experiment(tmp_path, epochs=1, **data), QUIET, *words)
        assert not left_over(tmp_path)
        return line

    return check


@pytest.fixture
def videos(world):
    """Names of the training videos below the root, with labels in a list of ours."""
    return [str(path.relative_to(world)) for path in sorted((world / "train").rglob("*.mp4"))]


@pytest.fixture
def listed(tmp_path, videos):
    """Write a training list: the world's videos and further lines; returns its path."""

    def write(*lines, name="train.txt"):
        good = [f"{video} {number % 3}" for number, video in enumerate(videos)]
        path = tmp_path / name
        path.write_text("\n".join([*good, *lines]) + "\n")
        return path

    return write


def test_a_missing_root(refuse):
    assert "/no/such/root: the data root is not a folder; set `root`" in refuse(
        root="/no/such/root"
    )


def test_a_missing_root_is_said_before_what_lies_below_it(refuse):
    line = refuse(root="/no/such/root", train="train.txt", classes="labels.json")
    assert "/no/such/root: the data root is not a folder; set `root`" in line


def test_a_fault_in_a_list_leaves_no_run_behind(refused, experiment, tmp_path, listed):
    path = experiment(tmp_path, epochs=1, train=str(listed("gone.mp4 0")))
    refused("fit", "-c", path)
    assert not (tmp_path / "run").exists()


def test_a_run_that_failed_at_once_is_no_run_to_keep(experiment, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text("of the run that failed")
    assert run("fit", "-c", experiment(tmp_path, epochs=1), QUIET) == 0
    assert "of the run that failed" not in (folder / "config.yaml").read_text()


def test_an_empty_root(refuse, tmp_path):
    (tmp_path / "empty").mkdir()
    assert f"{tmp_path}/empty: names no video" in refuse(root=str(tmp_path / "empty"))


def test_an_empty_list(refuse, tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("\n")
    assert f"{path}: names no video; expected lines" in refuse(train=str(path))


def test_a_list_that_is_not_there(refuse):
    assert "no_list.txt: no such list or folder" in refuse(train="no_list.txt")


def test_an_unknown_label(refuse, tmp_path, videos):
    classes, path = tmp_path / "classes.txt", tmp_path / "train.csv"
    classes.write_text("moves left\nmoves right\ngrows\n")
    path.write_text(f"path,label\n{videos[0]},grows\n{videos[1]},move left\n")
    line = refuse(train=str(path), classes=str(classes))
    assert f"{path}:3: unknown label 'move left'" in line
    assert "did you mean 'moves left'?" in line


def test_a_label_out_of_range(refuse, tmp_path, listed):
    classes = tmp_path / "classes.txt"
    classes.write_text("moves left\nmoves right\ngrows\n")
    line = refuse(train=str(listed("a.mp4 7")), classes=str(classes))
    assert "train.txt:13: label 7 is out of range, 3 classes have the indices 0 to 2; mend" in line


def test_files_that_are_missing(refuse, listed):
    line = refuse(train=str(listed("gone.mp4 0", "lost.mp4 1")))
    assert "train.txt:13: 2 of 14 files are missing below" in line
    assert "gone.mp4" in line
    assert "on_broken=skip" in line


def silent_film(path, frames=8):
    """A file with a sound track and no picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        for number in range(frames):
            sound = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
            )
            sound.sample_rate, sound.pts = 8000, 1024 * number
            container.mux(stream.encode(sound))
        container.mux(stream.encode(None))


def damage(kind, path, good):
    content = good.read_bytes()
    if kind == "zero_length":
        path.write_bytes(b"")
    elif kind == "corrupt":
        path.write_bytes(np.random.default_rng(0).bytes(4000))
    elif kind == "truncated":
        path.write_bytes(content[: len(content) // 2])
    else:
        silent_film(path)
    return path


KINDS = ("zero_length", "corrupt", "truncated", "audio_only")


@pytest.fixture
def broken(request, tmp_path, world, videos):
    return damage(request.param, tmp_path / f"{request.param}.mp4", world / videos[0])


@pytest.mark.parametrize("broken", KINDS, indirect=True)
def test_a_broken_video_stops_the_run(refuse, listed, broken):
    line = refuse(train=str(listed(f"{broken} 0")), val="val.txt", loader=loader(13))
    assert f"train.txt:13: {broken}: " in line


@pytest.mark.parametrize("broken", KINDS, indirect=True)
def test_a_broken_video_is_skipped_where_that_is_asked_for(
    experiment, tmp_path, listed, caplog, broken
):
    path = experiment(
        tmp_path,
        epochs=1,
        train=str(listed(f"{broken} 0")),
        val="val.txt",
        on_broken="skip",
        loader=loader(13),
    )
    assert run("fit", "-c", path, QUIET) == 0
    (warning,) = [r.getMessage() for r in caplog.records if "left out" in r.getMessage()]
    assert f"train.txt:13: {broken}: " in warning


def test_too_many_broken_videos_stop_the_run(refuse, listed, tmp_path):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "b.mp4").touch()
    path = listed(f"{tmp_path}/a.mp4 0", f"{tmp_path}/b.mp4 0")
    line = refuse(train=str(path), val="val.txt", on_broken="skip", loader=loader(14))
    assert "2 of 14 videos are missing or broken, more than max_broken_share=0.1 allows" in line


def loader(batch_size):
    return {"batch_size": batch_size, "num_workers": 0}


def test_more_frames_than_the_video_has(experiment, tmp_path, world):
    """Frames repeat: three of them make a clip of eight."""
    root = tmp_path / "short"
    for number in range(4):
        path = root / "train" / f"class{number % 2}" / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        frames = np.full((3, 48, 48, 3), 60 * number, np.uint8)
        encode(path, [frames], size=48, fps=8)
    path = experiment(tmp_path, epochs=1, root=str(root))
    assert run("fit", "-c", path, QUIET) == 0


def test_no_space_for_checkpoints_is_said_before_training(refuse, monkeypatch, tmp_path):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    line = refuse()
    assert f"{tmp_path}/run: 0 MB free on this disk, checkpoints need about" in line
    assert "free some or choose another --run_dir" in line
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_disk_that_fills_up_ruins_no_checkpoint(refuse, monkeypatch, finished_copy):
    last = finished_copy / "checkpoints/last.ckpt"
    before = last.read_bytes()

    def fill_up(path, content):
        with path.open("wb") as file:
            file.write(content[:1000])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_up)
    line = refuse("--ckpt_path", last, "--trainer.max_epochs=3")
    assert "best.ckpt: no space left on the disk; free some or choose another folder" in line
    assert last.read_bytes() == before


@pytest.fixture
def cut(finished, tmp_path):
    """A checkpoint of which the second half is missing."""
    content = (finished / "checkpoints/best.ckpt").read_bytes()
    path = tmp_path / "cut.bin"
    path.write_bytes(content[: len(content) // 2])
    return path


@pytest.mark.parametrize("command", ["fit", "test"])
def test_a_truncated_checkpoint(refuse, cut, command):
    line = refuse("--ckpt_path", cut, command=command)
    assert f"{cut}: damaged or incomplete" in line
    assert "copy it again" in line


def test_a_checkpoint_that_is_not_there(refuse):
    line = refuse("--ckpt_path", "gone.ckpt", command="test")
    assert "gone.ckpt: no such file; check the path" in line


def test_recognise_refuses_what_is_no_checkpoint(refused, cut, world, videos):
    assert f"{cut}: damaged or incomplete" in refused("recognise", cut, world / videos[0])
    other = world / "labels.json"
    assert f"{other}: is no file of weights" in refused("recognise", other, world / videos[0])


@pytest.mark.parametrize("broken", ["corrupt"], indirect=True)
def test_debug_shows_the_traceback(experiment, tmp_path, listed, broken):
    path = experiment(tmp_path, train=str(listed(f"{broken} 0")), loader=loader(13))
    with pytest.raises(VideoAdaptError, match=r"corrupt\.mp4"):
        run("fit", "-c", path, QUIET, "--debug")
