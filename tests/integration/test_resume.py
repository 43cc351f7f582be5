"""Runs that are killed or stopped anywhere become what they would have become, for every job."""

import csv
import os
import random
import re
import resource
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback

from tests.integration import test_open_vocabulary, test_retrieval
from tests.integration.conftest import run

captioned_world, retrieval = test_retrieval.captioned_world, test_retrieval.retrieval
spoken_world, spoken = test_open_vocabulary.spoken_world, test_open_vocabulary.spoken

ROOT = Path(__file__).parents[2]
ALARM_NUMBER, ALARM_AFTER_S = "TEST_RESUME_SIGNAL", "TEST_RESUME_AFTER_S"
AUTO = ("--ckpt_path", "auto")
ALARM = "--trainer.callbacks+=tests.integration.test_resume.Alarm"
EVERY_STEP = ("--trainer.callbacks+=Preemption", "--trainer.callbacks.every_n_steps=1")
TWO_EPOCHS = "--trainer.max_epochs=2"
JOBS = ("recognition", "detection", "retrieval", "open_vocabulary")
WORDS = {
    "recognition": ("--trainer.callbacks+=EMA", "--trainer.callbacks.decay=0.5"),
    "detection": (TWO_EPOCHS,),
    "retrieval": (),
    "open_vocabulary": (
        TWO_EPOCHS,
        "--model.init_args.optimizer.schedule.init_args.max_epochs=2",
        "--trainer.callbacks+=EpochAverage",
        "--trainer.callbacks.first_epoch=1",
    ),
}
# Both towers train, and every step draws its prompts.
WORDS["froster"] = (
    *WORDS["open_vocabulary"],
    "--model.init_args.regime=full",
    "--model.init_args.adapter=ExpandedAttention",
    "--model.init_args.text_micro_batch=5",
    "--model.init_args.optimizer.lr=0.001",
)
STATES = ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers")
MODULES = ("KineticsDataModule", "THUMOSDataModule", "MSRVTTDataModule", "OpenVocabularyDataModule")
COUNTS = ("epoch", "global_step", *MODULES)
TIMES = re.compile("step_ms|wait_share|search_|memory|time")


class Alarm(Callback):
    """Sends its process a signal after so much time of its own since the sanity check.

    The environment says which signal and after how long, 0 = never. SIGKILL, like one that nobody
    handles, cleans nothing up.
    """

    number = int(os.environ.get(ALARM_NUMBER, signal.SIGKILL))
    after_s = float(os.environ.get(ALARM_AFTER_S, 0.0))
    began_s = 0.0  # of a resumed run, which has no sanity check

    def on_sanity_check_start(self, trainer, pl_module):
        self.began_s = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        if self.number == signal.SIGKILL:
            signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
        else:
            signal.signal(signal.SIGVTALRM, lambda *_: os.kill(os.getpid(), self.number))
        signal.setitimer(signal.ITIMER_VIRTUAL, self.after_s)

    def on_train_end(self, trainer, pl_module):
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        took_s = resource.getrusage(resource.RUSAGE_SELF).ru_utime - self.began_s
        Path(trainer.default_root_dir, "took").write_text(str(took_s))


def start(words, log, *, number=signal.SIGKILL, after_s=0.0):
    """The command in a process of its own, as a user starts it; its exit code."""
    alarm = {ALARM_NUMBER: str(int(number)), ALARM_AFTER_S: str(after_s)}
    command = [sys.executable, "-m", "video_adapt", *map(str, words)]
    with log.open("a") as file:
        return subprocess.run(
            command, stdout=file, stderr=file, cwd=ROOT, env=os.environ | alarm, check=False
        ).returncode


@pytest.fixture(scope="module")
def words_of(experiment, detection, retrieval, spoken):
    """The command line of a job's run in a folder."""
    one_by_one = {"loader": {"batch_size": 1, "eval_batch_size": 3, "num_workers": 0}}
    write = {
        "recognition": lambda folder: experiment(folder, epochs=2),
        "detection": lambda folder: detection(folder, **one_by_one),
        "retrieval": retrieval,
        "open_vocabulary": spoken,
        "froster": spoken,
    }

    def get(job, folder):
        folder.mkdir(exist_ok=True)
        return ("fit", "-c", write[job](folder), *WORDS[job], *EVERY_STEP, ALARM, *AUTO)

    return get


@pytest.fixture(scope="module")
def whole(tmp_path_factory, words_of):
    """Folder of the uninterrupted run of a job, and the time that training took, made once."""
    made = {}

    def get(job):
        if job not in made:
            folder = tmp_path_factory.mktemp("whole")
            code = start(words_of(job, folder), folder / "log")
            assert code == 0, (folder / "log").read_text()
            made[job] = folder / "run", float((folder / "run/took").read_text())
        return made[job]

    return get


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")


def assert_equal(mine, other, place=""):
    """Equal to the last bit."""
    if isinstance(other, torch.Tensor):
        assert torch.equal(mine, other), place
    elif isinstance(other, dict):
        assert mine.keys() == other.keys(), place
        for key, value in other.items():
            assert_equal(mine[key], value, f"{place}.{key}")
    elif isinstance(other, list | tuple):
        assert len(mine) == len(other), place
        for number, value in enumerate(other):
            assert_equal(mine[number], value, f"{place}.{number}")
    else:
        assert mine == other, place


def figures(folder):
    """Rows of the table, without what a clock says and the rows in which nothing else stands.

    A run that goes on behind the last step of an epoch has timed none of it.
    """
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [
            {key: value for key, value in row.items() if not TIMES.search(key)}
            for row in csv.DictReader(file)
        ]
    return [row for row in rows if any(v for k, v in row.items() if k not in ("epoch", "step"))]


def compare(folder, expected):
    checkpoints = [path.name for path in (expected / "checkpoints").iterdir()]
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == sorted(checkpoints)
    # A run that was stopped in its last validation has saved its last step twice.
    for name in set(checkpoints) - {"previous.ckpt"}:
        mine, other = (torch.load(f / "checkpoints" / name) for f in (folder, expected))
        for part in STATES + COUNTS:
            assert_equal(mine.get(part), other.get(part), f"{name} {part}")
    assert figures(folder) == figures(expected)
    measured = [path.name for path in (expected / "val").glob("*.[cj]s*")]
    assert "metrics.json" in measured
    for name in measured:
        assert (folder / "val" / name).read_bytes() == (expected / "val" / name).read_bytes(), name


def killed_once(job, point, number, folder, words_of, whole):
    """Interrupt a run at a share of its time, let it go on, compare it with the whole one."""
    expected, took_s = whole(job)
    words, log = words_of(job, folder), folder / "log"
    code = start(words, log, number=number, after_s=point * took_s)
    died = -signal.SIGVTALRM if number == signal.SIGKILL else 75
    assert code in (died, 0), log.read_text()  # behind the last step there is nothing to stop
    assert start(words, log) == 0, log.read_text()
    compare(folder / "run", expected)


@pytest.mark.parametrize(
    ("job", "number", "point"),
    [
        ("recognition", signal.SIGTERM, 0.6),
        ("detection", signal.SIGKILL, 0.5),
        ("retrieval", signal.SIGKILL, 0.7),
        ("open_vocabulary", signal.SIGTERM, 0.5),
    ],
)
def test_an_interrupted_run_equals_an_uninterrupted_one(
    job, number, point, tmp_path, words_of, whole
):
    killed_once(job, point, number, tmp_path, words_of, whole)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(20))
def test_runs_killed_at_random_points(number, tmp_path, words_of, whole):
    draw = random.Random(number)
    job = JOBS[number % len(JOBS)]
    kind = (signal.SIGKILL, signal.SIGTERM)[number // len(JOBS) % 2]
    killed_once(job, draw.uniform(0.0, 1.0), kind, tmp_path, words_of, whole)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_froster_as_published_goes_on_with_its_prompts(number, tmp_path, words_of, whole):
    point = random.Random(int(number)).uniform(0.2, 0.8)
    killed_once("froster", point, number, tmp_path, words_of, whole)


class StopsAtStep(Callback):
    """Asks its own process to stop."""

    step = -1

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        if trainer.global_step == self.step - 1:
            os.kill(os.getpid(), signal.SIGTERM)


def test_the_command_that_is_named_goes_on(experiment, tmp_path, monkeypatch, capsys):
    """Stopped behind its second step; the saved place is exact wherever that is."""
    path = experiment(tmp_path, epochs=2)
    stop = "--trainer.callbacks+=tests.integration.test_resume.StopsAtStep"
    monkeypatch.setattr(StopsAtStep, "step", 2)
    assert run("fit", "-c", path, "--overwrite=true", stop) == 75
    last = tmp_path / "run/checkpoints/last.ckpt"
    assert torch.load(last)["global_step"] == 2
    line = capsys.readouterr().err.splitlines()[-1]
    said, _, command = line.partition("; go on: ")
    assert said == f"video-adapt: stopped by SIGTERM; {last} is written"
    words = shlex.split(command)
    assert words[0] == "video-adapt"
    assert "--overwrite=true" not in words
    monkeypatch.setattr(StopsAtStep, "step", -1)
    assert run(*words[1:]) == 0
    assert torch.load(last)["global_step"] == 6
