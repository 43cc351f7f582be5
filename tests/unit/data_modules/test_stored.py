"""Training from stored features equals training from videos, and no video is touched."""

import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything

from data_modules import FeatureCache, KineticsDataModule, LoaderOptions
from data_modules import dataset as decoding
from tests.contracts.helpers import tiny_clip
from video_adapt.baselines import EVL, AttentiveProbe, TunedClassifier, ZeroShot
from video_adapt.errors import ConfigurationError, VideoDecodeError, WeightsError
from video_adapt.methods import FROSTER
from video_adapt.tasks import OpenVocabularyOptimizerSpec, OptimizerSpec, PlateauCosine, Prompts
from video_adapt.video import EvalTransform, Mixing, SegmentSampler, TrainTransform

pytestmark = pytest.mark.filterwarnings("ignore::Warning:lightning")
CLASSES, FRAMES = ("jump", "run"), 2
SPEC = OptimizerSpec(lr=0.05, weight_decay=0.1)


class Watch(Callback):
    """Losses of all steps and probabilities of all views."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.views: dict[tuple[int, int], torch.Tensor] = {}

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.losses.append(float(outputs["loss"]))

    def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx, index=0):
        self.keep(outputs)

    def on_test_batch_end(self, trainer, module, outputs, batch, batch_idx, index=0):
        self.keep(outputs)

    def keep(self, found):
        said = found[2]  # probabilities, or logits of a method whose classes are text
        rows = zip(found.video_id.tolist(), found.view.tolist(), said, strict=True)
        self.views |= {(video, view): probs for video, view, probs in rows}


def data(videos, cache=None, **given: Any):
    return KineticsDataModule(
        videos,
        sampler=SegmentSampler(num_frames=FRAMES),
        loader=LoaderOptions(batch_size=2, num_workers=0, short_side=None),
        seed=0,
        feature_cache=cache,
        **given,
    )


def method(cls=TunedClassifier, **given: Any):
    seed_everything(1)
    return cls(tiny_clip(), class_names=CLASSES, optimizer=SPEC, **given)


def trained(tmp_path, module, source, *, epochs=2, job="fit"):
    watch = Watch()
    trainer = Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        max_epochs=epochs,
        use_distributed_sampler=False,
        callbacks=[watch],
    )
    getattr(trainer, job)(module, source)
    return watch


def assert_same(one: Watch, other: Watch):
    assert one.losses == pytest.approx(other.losses, rel=1e-4)
    assert one.views.keys() == other.views.keys()
    for key, probs in one.views.items():
        torch.testing.assert_close(other.views[key], probs, rtol=1e-4, atol=1e-5)


@pytest.fixture
def no_decoding(monkeypatch):
    """Call it, and from then on every attempt to open a video fails."""

    def forbid():
        def refuse(*arguments, **options):
            raise AssertionError("a video was opened")

        monkeypatch.setattr(decoding, "VideoReader", refuse)

    return forbid


@pytest.mark.parametrize(
    ("cls", "given"),
    [
        (TunedClassifier, {}),
        (TunedClassifier, {"readout": "mean_then_norm"}),
        (TunedClassifier, {"readout": "embedding"}),
        (AttentiveProbe, {"num_frames": FRAMES}),
        (EVL, {"num_frames": FRAMES, "layers": 2, "dropout": 0.0}),
    ],
    ids=["probe", "mean_then_norm", "embedding", "attentive", "evl"],
)
def test_as_many_copies_as_epochs_equal_a_run_on_videos(videos, tmp_path, no_decoding, cls, given):
    live = trained(tmp_path, method(cls, **given), data(videos))
    cache = FeatureCache(str(tmp_path / "cache"), copies=2)
    first = trained(tmp_path, method(cls, **given), data(videos, cache))
    no_decoding()
    second = trained(tmp_path, method(cls, **given), data(videos, cache))
    assert len(live.losses) == 6
    assert_same(live, first)
    assert_same(first, second)


def test_the_lightest_froster_trains_from_the_cache(videos, tmp_path, no_decoding):
    def froster():
        seed_everything(1)
        return FROSTER(
            tiny_clip(),
            class_names=CLASSES,
            optimizer=OpenVocabularyOptimizerSpec(new_lr=1e-2, schedule=PlateauCosine()),
            regime="residual_only",
            prompts=Prompts(templates=("{}",), described=False),
        )

    cache = FeatureCache(str(tmp_path / "cache"), copies=2)
    live = trained(tmp_path, froster(), data(videos))
    assert_same(live, trained(tmp_path, froster(), data(videos, cache)))
    no_decoding()
    assert_same(live, trained(tmp_path, froster(), data(videos, cache)))


class FirstFrames(SegmentSampler):
    """Draws nothing."""

    def __call__(self, num_frames, fps, *, rng=None, view=0, views=1):
        return super().__call__(num_frames, fps, view=view, views=views)


def test_without_augmentation_one_copy_equals_a_run_on_videos(videos, tmp_path):
    plain = TrainTransform(area=(1.0, 1.0), aspect=(1.0, 1.0), flip=0.0)

    def source(cache):
        made = data(videos, cache, train_transform=plain)
        made.sampler = FirstFrames(num_frames=FRAMES)
        return made

    live = trained(tmp_path, method(), source(None), epochs=3)
    stored = trained(tmp_path, method(), source(FeatureCache(str(tmp_path / "cache"))), epochs=3)
    assert_same(live, stored)


def test_copies_come_again(videos, tmp_path):
    cache = FeatureCache(str(tmp_path / "cache"), copies=2)
    source = data(videos, cache)
    trained(tmp_path, method(), source, epochs=1)
    seen = {}
    for epoch in range(4):
        source._train_loader._sampler.set_epoch(epoch)
        batches = list(source._train_loader)
        rows = torch.cat([batch.video["class_token"] for batch in batches])
        ids = torch.cat([batch.video_id for batch in batches])
        seen[epoch] = rows[ids.argsort()], ids.tolist()
    assert torch.equal(seen[0][0], seen[2][0])
    assert torch.equal(seen[1][0], seen[3][0])
    assert not torch.equal(seen[0][0], seen[1][0])
    assert seen[0][1] != seen[2][1]


def test_all_views_and_crops_are_tested(videos, tmp_path, no_decoding):
    def source(cache):
        return data(videos, cache, eval_views=2, eval_transform=EvalTransform(crops=3))

    cache = FeatureCache(str(tmp_path / "cache"))
    live = trained(tmp_path, method(), source(None), job="test")
    assert_same(live, trained(tmp_path, method(), source(cache), job="test"))
    no_decoding()
    assert_same(live, trained(tmp_path, method(), source(cache), job="test"))
    assert set(live.views) == {(video, view) for video in range(3) for view in range(6)}


def test_a_method_without_training_reads_what_a_probe_stored(videos, tmp_path, no_decoding):
    cache = FeatureCache(str(tmp_path / "cache"))
    probe = method(readout="embedding")
    trained(tmp_path, probe, data(videos, cache), job="validate")
    no_decoding()
    trained(
        tmp_path, ZeroShot(tiny_clip(), class_names=CLASSES), data(videos, cache), job="validate"
    )


def test_half_precision_takes_half_the_space(videos, tmp_path):
    size = {}
    for precision in ("float32", "float16"):
        folder = tmp_path / precision
        cache = FeatureCache(str(folder), precision=precision)
        trained(tmp_path, method(readout="mean_then_norm"), data(videos, cache), epochs=1)
        size[precision] = sum(p.stat().st_size for p in folder.rglob("*.safetensors"))
    assert 0.4 < size["float16"] / size["float32"] < 0.75


def test_space_is_said_before_anything_is_stored(videos, tmp_path, caplog, monkeypatch):
    cache = FeatureCache(str(tmp_path / "cache"), copies=5)
    with caplog.at_level(logging.INFO, logger="data_modules.stored"):
        trained(tmp_path, method(), data(videos, cache), epochs=1)
    assert "features of 30 clips: 0.2 KB each" in caplog.text
    assert f"MB in {tmp_path / 'cache'}" in caplog.text
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10))
    cache = FeatureCache(str(tmp_path / "full"))
    with pytest.raises(ConfigurationError, match="features need 0 MB, 0 MB are free"):
        trained(tmp_path, method(), data(videos, cache), epochs=1)
    assert not list((tmp_path / "full").rglob("*.safetensors"))


def test_what_was_stored_before_an_interruption_stays(videos, tmp_path, monkeypatch):
    monkeypatch.setattr("data_modules.stored._FILE_BYTES", 1)
    cache = FeatureCache(str(tmp_path / "cache"))
    source, opened = data(videos, cache), []
    reader = decoding.VideoReader

    def third_fails(path, **options):
        opened.append(path)
        if len(opened) == 3:
            raise KeyboardInterrupt
        return reader(path, **options)

    monkeypatch.setattr(decoding, "VideoReader", third_fails)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        trained(tmp_path, method(), source, job="test")
    again = []
    monkeypatch.setattr(decoding, "VideoReader", lambda p, **o: again.append(p) or reader(p, **o))
    trained(tmp_path, method(), data(videos, cache), job="test")
    assert len(again) == 1


def test_another_backbone_sampling_or_seed_is_stored_apart(videos, tmp_path):
    folder = tmp_path / "cache"

    def stored(**given):
        trained(tmp_path, method(), data(videos, FeatureCache(str(folder)), **given), epochs=1)
        return {p.parent.name for p in folder.rglob("facts.json")}, len(
            list(folder.rglob("clip-*"))
        )

    first = stored()
    assert stored() == first
    assert len(stored(train_transform=TrainTransform(flip=0.0))[0]) == len(first[0]) + 1
    facts = [json.loads(p.read_text()) for p in folder.rglob("facts.json")]
    assert {fact["sampler"]["num_frames"] for fact in facts} == {FRAMES}
    assert {fact["reads"]["fields"][0] for fact in facts} == {"class_token"}
    other = method()
    other.backbone.visual.requires_grad_(False)
    next(other.backbone.visual.parameters()).add_(1)
    trained(tmp_path, other, data(videos, FeatureCache(str(folder))), epochs=1)
    assert len({json.loads(p.read_text())["weights"] for p in folder.rglob("facts.json")}) == 2


def test_damage_is_noticed_where_it_is_read(videos, tmp_path):
    cache = FeatureCache(str(tmp_path / "cache"))
    trained(tmp_path, method(), data(videos, cache), job="test")
    (path,) = (tmp_path / "cache").rglob("clip-*.safetensors")
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="content changed on the disk; delete the file"):
        trained(tmp_path, method(), data(videos, cache), job="test")
    path.unlink()
    trained(tmp_path, method(), data(videos, cache), job="test")


def test_a_broken_video_is_an_error_or_replaced(broken_list, tmp_path):
    given = {"train": broken_list(4, 1), "max_broken_share": 0.5}
    cache = FeatureCache(str(tmp_path / "cache"))
    with pytest.raises(VideoDecodeError, match=r"bad0\.mp4"):
        trained(tmp_path, method(), data(tmp_path, cache, **given), epochs=1)
    source = data(tmp_path, cache, on_broken="skip", **given)
    watch = trained(tmp_path, method(), source, epochs=4)
    assert len(watch.losses) == 8
    assert source.broken == 1
    batches = list(source._train_loader)
    assert all(len(batch.label) == 2 for batch in batches)
    assert 4 not in torch.cat([batch.video_id for batch in batches]).tolist()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mixing": Mixing()}, "mixing and flip_pairs change pixels"),
        ({"train_transform": TrainTransform(flip_pairs=((0, 1),))}, "mixing and flip_pairs"),
    ],
)
def test_what_changes_labels_is_refused(videos, tmp_path, given, message):
    with pytest.raises(ConfigurationError, match=message):
        data(videos, FeatureCache(str(tmp_path)), **given)


def test_a_backbone_that_trains_is_refused(videos, tmp_path):
    cache = FeatureCache(str(tmp_path / "cache"))
    module = method(readout="embedding", tuning="full")
    with pytest.raises(ConfigurationError, match="tuning=full trains inside the backbone"):
        trained(tmp_path, module, data(videos, cache))
    module = method()
    module.reads = None
    with pytest.raises(ConfigurationError, match="TunedClassifier reads more of a video"):
        trained(tmp_path, module, data(videos, cache))


def test_no_copy_and_no_trainer_are_refused(videos, tmp_path):
    with pytest.raises(ConfigurationError, match="copies is 0"):
        FeatureCache("x", copies=0)
    with pytest.raises(ConfigurationError, match="under a trainer"):
        data(videos, FeatureCache(str(tmp_path))).train_dataloader()
