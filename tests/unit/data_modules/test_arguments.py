"""Experiment files name the data module's parts by class; single values can be overridden."""

import re
from pathlib import Path
from typing import Any

import pytest
from jsonargparse import ArgumentParser
from lightning.pytorch import LightningDataModule

from data_modules import KineticsDataModule, OpenVocabularyDataModule, TestSet
from video_adapt.video import CoveringSampler, IntervalSampler, PublishedViewSampler

BASE = Path(__file__).parents[3] / "experiments/_base"


def _parse(*words: str) -> Any:
    parser = ArgumentParser(parser_mode="omegaconf+", exit_on_error=False)
    parser.add_argument("--model.init_args.num_frames", type=int, default=16)
    parser.add_subclass_arguments(LightningDataModule, "data")
    return parser.instantiate(parser.parse_args(list(words))).data


@pytest.mark.parametrize("name", ["kinetics400", "ssv2"])
def test_published_recipes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name.upper(), str(tmp_path))
    data = _parse(f"--data={BASE / name}.yaml", "--data.loader.batch_size=3")
    assert isinstance(data, KineticsDataModule)
    assert data.root == tmp_path
    assert data.sampler.num_frames == 16
    assert (data.loader.batch_size, data.loader.num_workers) == (3, 8)
    assert data.eval_views == 3
    assert data.mixing is not None
    assert (data.mixing.mixup_alpha, data.mixing.label_smoothing) == (0.8, 0.1)
    flips = {"kinetics400": (), "ssv2": ((86, 87), (93, 94), (166, 167))}
    assert data.train_transform.flip_pairs == flips[name]


def test_sampler_is_named_by_its_class(tmp_path: Path) -> None:
    data = _parse(
        "--data=KineticsDataModule",
        f"--data.root={tmp_path}",
        "--data.sampler=IntervalSampler",
        "--data.sampler.num_frames=8",
        "--data.sampler.interval=16",
    )
    assert data.sampler == IntervalSampler(num_frames=8, interval=16)


PROTOCOLS = sorted(BASE.glob("openvocab_*.yaml"))


@pytest.mark.parametrize("path", PROTOCOLS, ids=[path.stem for path in PROTOCOLS])
def test_open_vocabulary_protocols(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in re.findall(r"oc\.env:(\w+)", path.read_text()):
        monkeypatch.setenv(name, str(tmp_path / name))
    data = _parse(f"--data={path}")
    assert isinstance(data, OpenVocabularyDataModule)
    assert isinstance(data.sampler, CoveringSampler)
    assert all(isinstance(test_set, TestSet) for test_set in data.test_sets.values())
    if path.stem == "openvocab_cross_dataset":
        assert {group: len(names) for group, names in data.test_groups.items()} == {
            "ucf101": 3,
            "hmdb51": 3,
            "k600": 3,
        }
        assert data.test_sets["hmdb51_full"].root == str(tmp_path / "HMDB51")
    else:
        assert list(data.test_sets) == ["base", "novel"]


def test_variants_are_one_option_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HMDB51", str(tmp_path))
    monkeypatch.setenv("OPEN_VOCAB", str(tmp_path))
    words = [f"--data={BASE / 'openvocab_hmdb51.yaml'}", "--data.labels=corrected"]
    data = _parse(*words, "--data.sampler=PublishedViewSampler", "--data.draw=3")
    assert data.exchanged == (("sword", "sword exercise"), ("kick", "kick ball"))
    assert (data.label_variant, data.draw) == ("as corrected", 3)
    assert data.sampler == PublishedViewSampler(8, 16)
