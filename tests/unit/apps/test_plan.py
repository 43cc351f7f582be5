"""What the command reads: sizes of memory, regimes of a file, folders that nobody set."""

import os
from pathlib import Path

import pytest

from video_adapt.apps.plan import read_memory
from video_adapt.apps.plan_experiment import Experiment
from video_adapt.errors import ConfigurationError

EXPERIMENTS = Path(__file__).parents[3] / "experiments"


@pytest.mark.parametrize(
    ("text", "size"),
    [("24GB", 24 * 10**9), ("22.5 GiB", 22.5 * 2**30), ("300mb", 3 * 10**8), ("1TB", 10**12)],
)
def test_memory_is_read_with_its_unit(text, size):
    assert read_memory(text) == size


@pytest.mark.parametrize("text", ["24", "GB", "0GB", "a lot"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ConfigurationError, match="write it as 24GB"):
        read_memory(text)


def test_the_regime_of_the_file_comes_first_and_frozen_has_a_cached_twin():
    regimes = Experiment(EXPERIMENTS / "demo/full.yaml").regimes()
    assert [regime.name for regime in regimes if not regime.cached] == [
        "full",
        "frozen",
        "adapter",
        "side",
        "last_n",
    ]
    assert [regime.name for regime in regimes if regime.cached] == ["frozen"]
    assert regimes[0].words == ()
    assert "--model.init_args.tuning=frozen" in regimes[1].words


def words_of(file, name):
    regimes = Experiment(EXPERIMENTS / file).regimes()
    return next(regime.words for regime in regimes if regime.name == name)


def test_an_adapter_without_weights_stays_and_gives_way_to_one_that_trains():
    ts2net = "teachclip/teachers/msrvtt_1k_vitb32_ts2net.yaml"
    assert "--model.init_args.adapter=null" not in words_of(ts2net, "frozen")
    assert "--model.init_args.adapter=STAdapter" in words_of(ts2net, "adapter")
    assert "--model.init_args.adapter=STAdapter" in words_of(
        "demo/openvocab_froster.yaml", "adapter"
    )


def test_retrieval_stores_no_frames():
    regimes = Experiment(EXPERIMENTS / "demo/retrieval_untaught.yaml").regimes()
    assert not [regime for regime in regimes if regime.cached]


def test_folders_of_the_environment_and_their_lists_need_not_be_there(monkeypatch):
    monkeypatch.delenv("THUMOS14", raising=False)
    experiment = Experiment(EXPERIMENTS / "adatad/thumos14_vits.yaml", classes=20)
    assert "THUMOS14" not in os.environ
    assert experiment.samples().number is None
    assert experiment.samples().problem.startswith("unset: ")
    assert len(experiment.class_names) == 20
    assert experiment.data().sampler.num_frames == 768


def test_why_classes_are_assumed_is_said(tmp_path):
    (tmp_path / "labels.json").write_text("{")
    words = [f"--data.init_args.root={tmp_path}"]
    experiment = Experiment(EXPERIMENTS / "demo/full.yaml", words)
    assert experiment.classes_problem.startswith(f"{tmp_path / 'labels.json'}")


def test_words_replace_what_the_file_says():
    experiment = Experiment(
        EXPERIMENTS / "demo/linear_probe.yaml",
        ["--trainer.precision=bf16-mixed", "--data.init_args.loader.batch_size=3"],
    )
    assert (experiment.precision, experiment.batch_size) == ("bf16-mixed", 3)


def test_a_file_without_training_is_refused():
    with pytest.raises(ConfigurationError, match="does not train"):
        Experiment(EXPERIMENTS / "demo/zero_shot.yaml")
