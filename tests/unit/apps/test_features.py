import argparse
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from lightning.pytorch import Trainer

from data_modules import THUMOSDataModule
from tests.unit.apps.small_detectors import ARGUMENTS, SAMPLER
from video_adapt.apps import features as app
from video_adapt.apps.feature_extractor import FeatureExtractor
from video_adapt.apps.features import settings
from video_adapt.baselines import FeatureDetector
from video_adapt.detection import ActionFormer, Assignment, Pyramid
from video_adapt.errors import ConfigurationError
from video_adapt.tasks import DetectionOptimizerSpec, WarmupCosine
from video_adapt.video import SlidingWindows, VideoReader, WholeVideo

WIDTH = 96


def extractor(detect, sampler=SAMPLER, batch_size=1):
    return FeatureExtractor(
        detect.method.sequence,
        detect.method.backbone,
        replace(detect.cutter, sampler=sampler),
        origin={"checkpoint": "x", "tuning": "frozen"},
        device=torch.device("cpu"),
        batch_size=batch_size,
    )


@pytest.fixture
def run(detect, monkeypatch, tmp_path):
    """The command on the small detector, storing below ``tmp_path``; counts the encoded videos."""
    extract = extractor(detect)
    calls = []

    class Counting:
        width, sampler, describe = extract.width, extract.sampler, extract.describe

        def __call__(self, video, **options):
            calls.append(video.name)
            return extract(video, **options)

    monkeypatch.setattr(FeatureExtractor, "from_checkpoint", lambda *_, **__: Counting())

    def run(*words, out=tmp_path / "features"):
        parser = argparse.ArgumentParser()
        app.add_arguments(parser)
        given = ("x.ckpt", *words, "--out", out)
        return app.run(parser.parse_args([str(word) for word in given]))

    run.calls = calls
    return run


@pytest.fixture
def video(long_videos):
    return long_videos / "videos/a.mp4"


def vectors(detect, video, numbers):
    """What the backbone says of some frames, each by itself."""
    with VideoReader(video) as reader:
        frames = torch.stack([detect.cutter.crop(frame) for frame in reader.frames_at(numbers)])
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in detect.method.backbone.pixels[1:])
    with torch.inference_mode():
        return detect.method.sequence(((frames / 255 - mean) / std)[None])[0]


def test_one_vector_for_every_position(detect, video):
    """An image model gives the same for a frame in any window: rows follow the video."""
    sampler = SlidingWindows(16, 1, snippet_stride=4)
    rows, facts = extractor(detect, sampler)(video)
    torch.testing.assert_close(rows, vectors(detect, video, range(0, 200, 4)), rtol=1e-4, atol=1e-4)
    assert facts == {
        "rows": 50,
        "duration_s": pytest.approx(20.0),
        "num_frames": 200,
        "frames_per_s": pytest.approx(10.0),
        "offset_s": 0.0,
        "step_s": pytest.approx(0.4),
        "vectors_per_s": pytest.approx(2.5),
    }


def test_a_position_of_several_frames_is_their_mean(detect, video):
    rows, _ = extractor(detect)(video)
    every_second = vectors(detect, video, range(0, 200, 2))
    torch.testing.assert_close(
        rows, every_second.unflatten(0, (50, 2)).mean(1), rtol=1e-4, atol=1e-4
    )


def test_windows_do_not_overlap(detect, video, monkeypatch):
    encoded = []
    true_sequence = detect.method.sequence
    monkeypatch.setattr(
        detect.method, "sequence", lambda video: encoded.append(len(video)) or true_sequence(video)
    )
    one, _ = extractor(detect)(video)
    assert encoded == [1, 1, 1, 1]  # 50 positions of 16 each; the last window ends with the video
    many, _ = extractor(detect, batch_size=3)(video)
    assert encoded[4:] == [3, 1]
    torch.testing.assert_close(one, many, rtol=1e-4, atol=1e-4)


def test_a_short_video_has_rows_for_its_length_alone(detect, long_videos):
    rows, facts = extractor(detect, replace(SAMPLER, positions=64))(long_videos / "videos/d.mp4")
    assert facts["rows"] == len(rows) == 17  # 35 frames in pairs


def test_a_whole_video_has_as_many_rows_as_positions(detect, video):
    rows, facts = extractor(detect, WholeVideo(16, 2))(video)
    assert rows.shape == (16, WIDTH)
    assert facts["step_s"] == pytest.approx(20 / 16)
    told = extractor(detect, WholeVideo(16, 2)).describe()
    assert (told["stride"], told["window"], told["sampler"]) == (None, 16, "WholeVideo")


def test_the_record_tells_what_a_vector_is(run, detect, long_videos, tmp_path):
    assert run(long_videos / "videos", "--dtype", "float16") == 0
    record = json.loads((tmp_path / "features/features.json").read_text())
    assert (record["backbone"], record["width"], record["dtype"]) == ("tiny_clip", WIDTH, "float16")
    assert (record["window"], record["stride"], record["fps"]) == (16, 4, None)
    assert len(record["digest"]) == 64
    assert sorted(record["videos"]) == list("abcde")
    assert record["videos"]["a"]["file"] == str(long_videos / "videos/a.mp4")
    stored = np.load(tmp_path / "features/a.npy")
    assert (stored.shape, stored.dtype) == ((50, WIDTH), np.float16)
    exact = extractor(detect)(long_videos / "videos/a.mp4").rows.numpy()
    np.testing.assert_allclose(stored, exact, rtol=2e-3, atol=2e-3)


def test_digest_follows_the_weights(detect):
    before = extractor(detect).describe()["digest"]
    weight = next(detect.method.backbone.parameters())
    old = weight.detach().clone()
    with torch.no_grad():
        weight.add_(1)
        after = extractor(detect).describe()["digest"]
        weight.copy_(old)
    assert before != after
    assert before == extractor(detect).describe()["digest"]


def test_goes_on_where_it_stopped(run, long_videos, tmp_path, capsys):
    run(long_videos / "videos/a.mp4", long_videos / "videos/b.mp4")
    assert "stored 2 videos; an experiment" in capsys.readouterr().err
    run(long_videos / "videos")
    assert "stored 3 videos, 2 were there before" in capsys.readouterr().err
    (tmp_path / "features/b.npy").unlink()
    run(long_videos / "videos")
    assert run.calls == ["a.mp4", "b.mp4", "c.mp4", "d.mp4", "e.mp4", "b.mp4"]
    assert not list(tmp_path.glob("features/*.partial"))


def test_a_broken_video_leaves_nothing_and_stops_nothing(run, long_videos, tmp_path, capsys):
    (tmp_path / "bad.mp4").write_text("not a video")
    assert run(tmp_path / "bad.mp4", long_videos / "videos/a.mp4") == 1
    assert "1 of 2 videos could not be read" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "features").iterdir()) == [
        *("a.npy", "features.json")
    ]


def test_features_of_two_kinds_do_not_mix(run, long_videos):
    run(long_videos / "videos/a.mp4")
    with pytest.raises(ConfigurationError, match="differ in dtype; choose another --out"):
        run(long_videos / "videos/b.mp4", "--dtype", "float16")


def test_senseless_requests(run, detect, long_videos, tmp_path):
    for name in ("other", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "other/a.mkv").touch()
    with pytest.raises(ConfigurationError, match="both called 'a'"):
        run(long_videos / "videos", tmp_path / "other")
    with pytest.raises(ConfigurationError, match="no video in this folder"):
        run(tmp_path / "empty")
    with pytest.raises(ConfigurationError, match="batch of 0 windows"):
        extractor(detect, batch_size=0)


def test_named_twice_a_video_is_stored_once(run, long_videos):
    run(long_videos / "videos/a.mp4", long_videos / "videos/a.mp4")
    assert run.calls == ["a.mp4"]


def test_settings_name_what_differs_from_the_defaults(tmp_path):
    sampler = SlidingWindows(64, 8, snippet_stride=16, fps=30.0, overlap=0.25)
    said = yaml.safe_load(settings(96, sampler, tmp_path))
    assert said["model"] == {"class_path": "FeatureDetector", "init_args": {"width": 96}}
    data = said["data"]["init_args"]
    assert data["features"] == {"width": 96, "stride": 16, "path": f"{tmp_path}/{{name}}.npy"}
    assert data["sampler"] == {
        "class_path": "SlidingWindows",
        "init_args": {
            "positions": 64,
            "frames_per_position": 1,
            "snippet_stride": 16,
            "fps": 30.0,
            "overlap": 0.25,
        },
    }


@pytest.mark.filterwarnings("ignore::Warning:lightning")
def test_a_detector_trains_on_stored_features(run, long_videos, tmp_path, capsys):
    """The printed settings read what was stored, at the times of the frames."""
    run(long_videos / "videos")
    said = yaml.safe_load(capsys.readouterr().out)["data"]
    own = {
        "root": str(long_videos),
        "train": "annotations.json",
        "val": "annotations.json",
        "subsets": {"val": "training"},
        "loader": {"batch_size": 2, "num_workers": 0},
    }
    said = {"class_path": "data_modules.THUMOSDataModule", "init_args": said["init_args"] | own}
    parser = ArgumentParser()
    parser.add_subclass_arguments(THUMOSDataModule, "data")
    data = parser.instantiate(parser.parse_object({"data": said})).data
    (first, *_) = data.val_dataloader()
    stored = np.load(tmp_path / "features/a.npy")
    np.testing.assert_array_equal(first.frames[0], stored[:16])
    assert (first.offset_s[1], first.step_s[1]) == (pytest.approx(3.2), pytest.approx(0.4))
    detector = FeatureDetector(
        class_names=data.class_names,
        width=WIDTH,
        detector=ActionFormer(
            pyramid=Pyramid(width=16, levels=2, max_length=16),
            assignment=Assignment(ranges=((0, 4), (4, 10000))),
            heads=2,
        ),
        optimizer=DetectionOptimizerSpec(
            lr=1e-3, adapter_lr=0.0, backbone_lr=0.0, schedule=WarmupCosine(max_epochs=2)
        ),
    )
    before = [weights.detach().clone() for weights in detector.parameters()]
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(
        max_epochs=1, limit_train_batches=1, accelerator="cpu", enable_model_summary=False, **quiet
    )
    trainer.fit(detector, data)
    pairs = zip(before, detector.parameters(), strict=True)
    assert trainer.global_step == 1
    assert any(not torch.equal(old, new) for old, new in pairs)


@pytest.mark.filterwarnings("ignore::Warning:lightning")
def test_an_experiment_names_a_backbone_and_windows(detect, video, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["video-adapt", "features"])
    experiment = {
        "model": {
            "class_path": "AdaTAD",
            "init_args": {key: ARGUMENTS[key] for key in ("backbone", "detector", "tuning")},
        },
        "data": {
            "class_path": "THUMOSDataModule",
            "init_args": {
                "root": "/nowhere",
                "frames_per_chunk": 1,
                "sampler": {"class_path": "SlidingWindows", "init_args": {"positions": 16}},
                "loader": {"short_side": None},
            },
        },
    }

    def build(changes):
        path = tmp_path / "experiment.yaml"
        path.write_text(yaml.safe_dump(experiment | changes))
        return FeatureExtractor.from_experiment(path, device="cpu")

    extract = build({})
    assert extract.sampler == SlidingWindows(16)
    rows, _ = extract(video)
    expected = extractor(detect, SlidingWindows(16))
    torch.testing.assert_close(rows, expected(video).rows, rtol=1e-4, atol=1e-4)
    assert extract.describe()["digest"] == expected.describe()["digest"]
    on_features = {"class_path": "FeatureDetector", "init_args": {"width": 8, "detector": None}}
    on_features["init_args"]["detector"] = ARGUMENTS["detector"]
    with pytest.raises(ConfigurationError, match=r"experiment\.yaml: names no model.backbone"):
        build({"model": on_features})
    clips = {"class_path": "KineticsDataModule", "init_args": {"root": "/nowhere"}}
    with pytest.raises(ConfigurationError, match=r"its data are not long videos"):
        build({"data": clips})


def test_a_checkpoint_brings_its_backbone(detector_checkpoint, video, detect):
    extract = FeatureExtractor.from_checkpoint(detector_checkpoint, device="cpu")
    assert extract.describe()["checkpoint"] == str(detector_checkpoint)
    torch.testing.assert_close(
        extract(video).rows, extractor(detect)(video).rows, rtol=1e-4, atol=1e-4
    )
