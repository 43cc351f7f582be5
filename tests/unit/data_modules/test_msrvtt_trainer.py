"""Under a trainer and a parser, on the demonstration world and on published lists."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn

from data_modules import LoaderOptions, MSRVTTDataModule
from data_modules.caption_formats import parse_captions
from data_modules.captions import tell
from data_modules.problems import Problems
from video_adapt.batches import CaptionBatch
from video_adapt.video import MiddleSampler, SecondSampler
from video_adapt.video.synthetic_files import WorldSpec, write_world

from .captioned_videos import Words
from .test_kinetics import Spec

pytestmark = pytest.mark.filterwarnings("ignore::Warning:lightning")
SHARED = Path(__file__).parents[4] / "shared/data"


def _published(name: str) -> Path:
    variable = f"VIDEO_ADAPT_{name.upper()}"
    folder = Path(os.environ.get(variable, SHARED / name))
    if not folder.is_dir():
        pytest.skip(f"lists of {name} not found at {folder}; set {variable}")
    return folder


class Backbone(nn.Module, Words):
    """Pixels and tokens without a network."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        Words.__init__(self)
        self.pixels = Spec(image_size=32)


class Recorder(LightningModule):
    """Remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.weight = nn.Parameter(torch.zeros(()))
        self.seen: dict[str, list[tuple[int, str]]] = {}

    def _note(self, stage: str, batch: CaptionBatch) -> None:
        assert batch.video.shape[1:] == (6, 3, 32, 32)
        assert batch.video_mask.all()
        texts = self.backbone.read(batch.tokens)
        owners = batch.video_id[batch.caption_video].tolist()
        self.seen.setdefault(stage, []).extend(zip(owners, texts, strict=True))

    def training_step(self, batch: CaptionBatch, batch_idx: int) -> Tensor:
        self._note("train", batch)
        return self.weight.square()

    def validation_step(self, batch: CaptionBatch, batch_idx: int) -> None:
        self._note("val", batch)

    def predict_step(self, batch: CaptionBatch, batch_idx: int) -> None:
        self._note("predict", batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world") / "captioned"
    write_world(root, WorldSpec("captioned", train=4, val=3, fps=8, seconds=3.0))
    return root


def test_demonstration_world_goes_through_a_trainer(world: Path, tmp_path: Path) -> None:
    data = MSRVTTDataModule(
        world,
        train="train.csv",
        val="test.csv",
        captions="captions.json",
        sampler=SecondSampler(6, per_second=2),
        loader=LoaderOptions(batch_size=2, num_workers=0),
        seed=0,
    )
    trainer = Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        max_epochs=1,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    model = Recorder()
    trainer.fit(model, data)
    trainer.predict(model, data)
    for stage, split in (("train", "train"), ("val", "val"), ("predict", "test")):
        manifest = data.manifest(split)
        told = [*zip(manifest.caption_video.tolist(), manifest.captions, strict=True)]
        assert sorted(model.seen[stage]) == sorted(told), stage
        assert len(told) >= len(manifest) > 0
    assert model.seen["val"] == model.seen["predict"]
    assert data.digest()["train_videos"] == 4


def test_arguments_build_every_data_set(world: Path) -> None:
    parser = ArgumentParser(parser_mode="omegaconf+", exit_on_error=False)
    parser.add_subclass_arguments(LightningDataModule, "data")
    words = [
        "--data=MSRVTTDataModule",
        f"--data.root={world}",
        "--data.train=train.csv",
        "--data.captions=[captions.json]",
        "--data.paragraph=true",
        "--data.until_s=31",
        "--data.sampler=MiddleSampler",
        "--data.sampler.num_frames=64",
        "--data.max_words=64",
        "--data.train_captions=one",
    ]
    data: Any = parser.instantiate(parser.parse_args(words)).data
    assert isinstance(data, MSRVTTDataModule)
    assert data.sampler == MiddleSampler(64)
    manifest = data.manifest("train")
    assert len(manifest.captions) == len(manifest) == 4
    assert {entry.end_s for entry in manifest.entries} == {31.0}
    parser.parse_args([*words, "--data.captions=captions.json"])


def test_published_lists_of_msrvtt(tmp_path: Path) -> None:
    folder = _published("msrvtt")
    sizes = {"MSRVTT_train.7k.csv": 7010, "MSRVTT_train.9k.csv": 9000}
    names = {}
    for name, size in sizes.items():
        rows = parse_captions(folder / name, Problems())
        names[name] = {row.video for row in rows}
        assert len(rows) == len(names[name]) == size
        assert all(row.caption is None for row in rows)
    (tmp_path / "videos").mkdir()
    tested = parse_captions(folder / "MSRVTT_JSFUSION_test.csv", Problems())
    for row in tested:
        (tmp_path / f"videos/{row.video}.mp4").touch()
    module = MSRVTTDataModule(tmp_path, val=folder / "MSRVTT_JSFUSION_test.csv")
    manifest = module.manifest("test")
    assert (len(manifest), len(manifest.captions)) == (1000, 1000)
    assert manifest.captions[0] == "a person is connecting something to system"
    assert manifest.entries[0].name == "video9770"
    one_k = {entry.name for entry in manifest.entries}
    assert not one_k & names["MSRVTT_train.9k.csv"]
    assert len(one_k | names["MSRVTT_train.9k.csv"]) == 10_000


def test_published_captions_of_msvd() -> None:
    folder = _published("msvd")
    known: dict[str, list[Any]] = {}
    for row in parse_captions(folder / "captions_msvd.json.gz", Problems()):
        known.setdefault(row.video, []).append(row)
    sizes = {"train": (1200, 48_774), "val": (100, 4_290), "test": (670, 27_763)}
    for split, (videos, captions) in sizes.items():
        told = tell(parse_captions(folder / f"{split}_list.txt", Problems()), known, Problems())
        counts = Counter({key: len(texts) for key, texts in told.captions.items()})
        assert (len(told.rows), counts.total()) == (videos, captions)
