"""What ``--ckpt_path`` means, and the command that is named when a run was stopped."""

import logging

import pytest
import torch

from video_adapt.callbacks.preemption import RunStopped
from video_adapt.cli_resume import Start, find_start, go_on_line, named_error
from video_adapt.errors import WeightsError


@pytest.fixture
def save(tmp_path):
    """Write a checkpoint of the run ``tmp_path / run``."""
    folder = tmp_path / "run/checkpoints"
    folder.mkdir(parents=True)

    def write(name, rows=3):
        torch.save({"video_adapt": {"table_rows": rows}}, folder / name)
        return folder / name

    return write


def start(tmp_path, given, command="fit"):
    return find_start(given, tmp_path / "run", command=command)


def test_without_a_word_a_run_begins(tmp_path, save):
    save("last.ckpt")
    assert start(tmp_path, None) == Start()


@pytest.mark.parametrize("word", ["last", "auto"])
def test_the_newest_checkpoint_of_the_run_is_found(tmp_path, save, word):
    best = save("best.ckpt", rows=1)
    assert start(tmp_path, word) == Start(best, 1)
    previous = save("previous.ckpt", rows=2)
    assert start(tmp_path, word) == Start(previous, 2)
    last = save("last.ckpt")
    assert start(tmp_path, word) == Start(last, 3)
    assert start(tmp_path, "best") == Start(best, 1)


def test_auto_begins_where_there_is_nothing(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        assert start(tmp_path, "auto") == Start()
    assert "the run begins anew" in caplog.messages[-1]


@pytest.mark.parametrize(
    ("word", "command"), [("last", "fit"), ("best", "test"), ("auto", "validate"), ("hpc", "fit")]
)
def test_others_want_one(tmp_path, word, command):
    with pytest.raises(WeightsError, match=r"holds no checkpoint for --ckpt_path|no such file"):
        start(tmp_path, word, command)


@pytest.mark.parametrize("by_path", [False, True])
def test_a_damaged_one_is_set_aside_and_the_one_before_taken(tmp_path, save, by_path):
    previous, last = save("previous.ckpt", rows=2), save("last.ckpt")
    last.write_bytes(last.read_bytes()[:100])
    given = str(last) if by_path else "last"
    with pytest.raises(WeightsError, match=r"last\.ckpt: damaged or incomplete"):
        start(tmp_path, given, "test")
    assert start(tmp_path, given) == Start(previous, 2)
    # Else the next checkpoint would make the damaged one the previous one.
    assert not last.exists()
    assert last.with_name("damaged.ckpt").stat().st_size == 100


def test_a_run_killed_between_two_files_has_the_one_before(tmp_path, save):
    previous = save("previous.ckpt", rows=2)
    assert start(tmp_path, str(previous.with_name("last.ckpt"))) == Start(previous, 2)
    assert start(tmp_path, "last", "test") == Start(previous, 2)


def test_a_path_is_taken_as_it_is(tmp_path, save):
    save("previous.ckpt")
    other = save("other.ckpt")
    assert start(tmp_path, str(other)).checkpoint == other
    other.write_bytes(b"")
    with pytest.raises(WeightsError, match=r"other\.ckpt"):
        start(tmp_path, str(other))


@pytest.mark.parametrize(
    "more",
    [
        ["--ckpt_path", "last"],
        ["--ckpt_path=runs/a/checkpoints/x y.ckpt"],
        ["--overwrite=true"],
        ["--overwrite", "true"],
        [],
    ],
)
def test_the_command_to_go_on(tmp_path, more):
    words = ["fit", "-c", "my file.yaml", *more, "--trainer.max_epochs=3"]
    line = go_on_line(words, RunStopped("SIGUSR1", tmp_path / "last.ckpt"))
    assert line == (
        f"stopped by SIGUSR1; {tmp_path}/last.ckpt is written; go on: video-adapt fit "
        "-c 'my file.yaml' --trainer.max_epochs=3 --ckpt_path auto"
    )


def test_without_a_checkpoint_the_command_is_the_same(tmp_path):
    line = go_on_line(["fit", "--ckpt_path=a.ckpt"], RunStopped("SIGTERM", None))
    assert line.endswith("anything to save; begin anew: video-adapt fit --ckpt_path=a.ckpt")


def test_an_error_about_a_checkpoint_names_it():
    error = WeightsError("checkpoint knows 3 classes")
    assert str(named_error(error, "a/last.ckpt")) == "a/last.ckpt: checkpoint knows 3 classes"
    assert named_error(error, None) is error
    own = WeightsError("a/last.ckpt: damaged")
    assert named_error(own, "a/last.ckpt") is own
