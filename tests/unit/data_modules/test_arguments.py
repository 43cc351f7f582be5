"""Experiment files name the data module's parts by class; single values can be overridden."""

from pathlib import Path
from typing import Any

import pytest
from jsonargparse import ArgumentParser
from lightning.pytorch import LightningDataModule

from data_modules import KineticsDataModule
from video_adapt.video import IntervalSampler

BASE = Path(__file__).parents[3] / "experiments/_base"


def _parse(*words: str) -> KineticsDataModule:
    parser = ArgumentParser(parser_mode="omegaconf+", exit_on_error=False)
    parser.add_argument("--model.init_args.num_frames", type=int, default=16)
    parser.add_subclass_arguments(LightningDataModule, "data")
    data: Any = parser.instantiate(parser.parse_args(list(words))).data
    assert isinstance(data, KineticsDataModule)
    return data


@pytest.mark.parametrize("name", ["kinetics400", "ssv2"])
def test_published_recipes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name.upper(), str(tmp_path))
    data = _parse(f"--data={BASE / name}.yaml", "--data.loader.batch_size=3")
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
