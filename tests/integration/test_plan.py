"""Predicted memory and time against a real step, for all four jobs; no data is there."""

import json
import statistics
import time

import pytest
import torch
import yaml

from video_adapt.__main__ import main
from video_adapt.apps.plan_experiment import Experiment, Regime
from video_adapt.errors import ConfigurationError
from video_adapt.reports.plan_batches import random_batch
from video_adapt.reports.plan_measure import measure, measure_apart
from video_adapt.reports.plan_memory import StepNeeds, predict
from video_adapt.reports.plan_rates import benchmark

RATES = {"weight_decay": 0.01, "betas": [0.9, 0.999], "eps": 1e-8}
SCHEDULE = {
    "class_path": "WarmupCosine",
    "init_args": {"max_epochs": 2, "warmup_epochs": 1},
}
TINY = {"class_path": "TinyCLIP"}


def clips(frames):
    return {
        "root": "unset",
        "train": "train.txt",
        "sampler": {"class_path": "SegmentSampler", "init_args": {"num_frames": frames}},
        "loader": {"batch_size": 4},
    }


JOBS = {
    "recognition": (
        "TunedClassifier",
        {
            "backbone": TINY,
            "tuning": "frozen",
            "readout": "embedding",
            "optimizer": {**RATES, "lr": 1e-3},
        },
        "KineticsDataModule",
        clips(4),
    ),
    "detection": (
        "AdaTAD",
        {
            "backbone": TINY,
            "tuning": "adapter",
            "detector": {
                "class_path": "ActionFormer",
                "init_args": {
                    "pyramid": {"width": 32, "embed_layers": 1, "stem_layers": 1, "levels": 2},
                    "towers": {"width": 32, "layers": 1},
                    "assignment": {"ranges": [[0, 4], [4, 10000]]},
                    "heads": 2,
                },
            },
            "optimizer": {"lr": 1e-3, "adapter_lr": 1e-3, "schedule": SCHEDULE},
        },
        "THUMOSDataModule",
        {
            "root": "unset",
            "train": "annotations.json",
            "frames_per_chunk": 1,
            "sampler": {
                "class_path": "SlidingWindows",
                "init_args": {"positions": 16, "frames_per_position": 1, "snippet_stride": 1},
            },
            "loader": {"batch_size": 2},
        },
    ),
    "retrieval": (
        "TeachCLIP",
        {
            "backbone": TINY,
            "tuning": "full",
            "micro_batch": 2,
            "student": {"kind": "afa", "layers": 1, "heads": 2},
            "optimizer": {**RATES, "lr": 1e-3, "tower_lr": 1e-3, "schedule": SCHEDULE},
        },
        "MSRVTTDataModule",
        {
            "root": "unset",
            "train": "train.csv",
            "captions": "captions.json",
            "max_words": 12,
            "sampler": {"class_path": "SecondSampler", "init_args": {"num_frames": 4}},
            "loader": {"batch_size": 4},
        },
    ),
    "open_vocabulary": (
        "FROSTER",
        {
            "backbone": TINY,
            "regime": "full",
            "optimizer": {**RATES, "lr": 1e-3, "new_lr": 1e-3, "schedule": SCHEDULE},
        },
        "KineticsDataModule",
        clips(4),
    ),
}


@pytest.fixture
def written(tmp_path):
    """Write the experiment file of a job, whose data are nowhere."""

    def write(job):
        method, arguments, module, data = JOBS[job]
        content = {
            "model": {"class_path": method, "init_args": arguments},
            "data": {"class_path": module, "init_args": data},
            "trainer": {"max_epochs": 2, "precision": "32-true"},
        }
        path = tmp_path / "experiment.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


@pytest.fixture
def one_thread():
    """Threads of one process that wait for one another measure the other processes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def needs_of(experiment, regime) -> StepNeeds:
    method = experiment.build(regime, content=False)
    batch = random_batch(
        method,
        experiment.data(),
        experiment.batch_size,
        lambda shape: torch.empty(shape, device="meta"),
    )
    return predict(method, batch, experiment.precision, cached=regime.cached)


CASES = pytest.mark.parametrize(
    ("job", "names"),
    [
        ("recognition", {"frozen", "full"}),
        ("detection", {"adapter"}),
        ("retrieval", {"full"}),
        ("open_vocabulary", {"full", "residual_only"}),
    ],
)


@CASES
def test_the_predicted_peak_is_that_of_a_real_step(job, names, written):
    experiment = Experiment(written(job), classes=5)
    planned = [regime for regime in experiment.regimes() if regime.name in names]
    assert {regime.name for regime in planned} == names
    for regime in planned:
        needs = needs_of(experiment, regime)
        found = measure(experiment, regime, batch_size=experiment.batch_size, device="cpu", steps=1)
        assert needs.peak == pytest.approx(found.allocated, rel=0.15), regime
        assert needs.trained > 0


@pytest.mark.slow
@CASES
def test_the_predicted_time_is_that_of_a_real_step(job, names, written, one_thread):
    """Of steps long enough that torch's work is most of them, the median of three tries.

    Time that this thread computes: what other processes take does not count, but caches and
    memory are shared with them all the same.
    """
    words = ["--data.init_args.loader.batch_size=32"]
    words += ["--model.init_args.micro_batch=16"] if job == "retrieval" else []
    experiment = Experiment(written(job), words, classes=5)
    planned = [r for r in experiment.regimes() if r.name in names and not r.cached]
    for regime in planned:
        needs, ratios = needs_of(experiment, regime), []
        for _ in range(3):
            watch = benchmark("cpu", experiment.precision, clock=time.thread_time)
            predicted_s = watch.seconds(needs.work)
            found = measure(
                experiment,
                regime,
                batch_size=experiment.batch_size,
                device="cpu",
                steps=5,
                clock=time.thread_time,
            )
            ratios.append(predicted_s / found.seconds)
        assert statistics.median(ratios) == pytest.approx(1, abs=0.15), (regime, ratios)


def taught(written, tmp_path, *, cached):
    """The experiment of retrieval with a teacher, whose towers run in every step or once."""
    path = written("retrieval")
    content = yaml.safe_load(path.read_text())
    head = {"width": 64, "words": 12, "frames": 4, "layers": 1, "heads": 2}
    teacher = {
        "head": {"class_path": "XCLIP", "init_args": head},
        "backbone": TINY,
        "cache": str(tmp_path / "cache") if cached else None,
    }
    content["model"]["init_args"]["teachers"] = [{"class_path": "Taught", "init_args": teacher}]
    content["model"]["init_args"]["teaching"] = {"coarse": 1.0, "fine": 1.0}
    path.write_text(yaml.safe_dump(content))
    return Experiment(path)


def test_towers_of_a_teacher_with_a_cache_run_in_the_first_epoch_alone(written, tmp_path):
    live = taught(written, tmp_path, cached=False)
    needs = needs_of(live, live.regimes()[0])
    assert needs.filling is None
    stored = taught(written, tmp_path, cached=True)
    regime = stored.regimes()[0]
    cached = needs_of(stored, regime)
    assert cached.filling.multiply_adds == needs.work.multiply_adds
    assert cached.work.multiply_adds < 0.9 * needs.work.multiply_adds
    found = measure(stored, regime, batch_size=stored.batch_size, device="cpu", steps=1)
    assert cached.peak == pytest.approx(found.allocated, rel=0.15)
    assert found.filling_s > 0
    assert not (tmp_path / "cache").exists()


def test_the_command_plans_without_data(written, tmp_path, capsys, one_thread):
    path, out = written("recognition"), tmp_path / "plan"
    words = ["--memory", "1GB", "--only", "frozen", "--samples", "40", "--classes", "5"]
    assert main(["plan", str(path), *words, "--device", "cpu", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert text == (out / "plan.md").read_text()
    assert "- frozen: fits: " in text
    assert "- frozen, cached: fits: " in text
    assert "- 5 classes are assumed; --classes says how many there are: unset" in text
    facts = json.loads((out / "plan.json").read_text())
    assert 1e8 < facts["rates"]["multiply_adds"] < 1e14
    assert 1e7 < facts["rates"]["moved"] < 1e14
    frozen, cached = facts["regimes"]
    assert cached["needs"]["peak"] < frozen["needs"]["peak"]
    assert cached["needs"]["work"]["multiply_adds"] < frozen["needs"]["work"]["multiply_adds"]
    assert frozen["epoch_s"] == 10 * frozen["seconds"]
    assert cached["run_s"] == pytest.approx(frozen["epoch_s"] + 2 * cached["epoch_s"])


def test_a_file_that_does_not_train_is_an_error_of_one_line(capsys):
    assert main(["plan", "experiments/demo/zero_shot.yaml", "--device", "cpu"]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "the method does not train" in line


@pytest.mark.slow
def test_a_real_step_is_taken_in_a_process_of_its_own(written, tmp_path):
    path = written("recognition")
    words = ["--measure", "--only", "frozen", "--classes", "5", "--device", "cpu"]
    assert main(["plan", str(path), *words, "--out", str(tmp_path)]) == 0
    for regime in json.loads((tmp_path / "plan.json").read_text())["regimes"]:
        measured = regime["measured"]
        assert regime["needs"]["peak"] == pytest.approx(measured["allocated"], rel=0.15)
        assert measured["seconds"] > 0


@pytest.mark.slow
def test_what_a_real_step_refuses_is_an_error_of_one_line(written):
    experiment, unknown = (
        Experiment(written("recognition"), classes=5),
        Regime("", ("--model.x=1",)),
    )
    with pytest.raises(ConfigurationError, match="the measured step failed: ") as caught:
        measure_apart(experiment, unknown, batch_size=4, device="cpu")
    assert "\n" not in str(caught.value)
