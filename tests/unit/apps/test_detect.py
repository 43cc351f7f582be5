import argparse
import csv
import gc
import io
import json
import sys
import weakref
from dataclasses import replace

import pytest
import torch

from data_modules import FeatureFiles
from tests.unit.apps import coloured_videos
from tests.unit.apps.small_detectors import (
    CLASSES,
    SAMPLER,
    build_detector,
    data_of,
    write_checkpoint,
)
from video_adapt.apps import detect as app
from video_adapt.apps.detect import clock, describe, progress, unique_names
from video_adapt.apps.detector import NEVER, SegmentDetector, VideoDetections
from video_adapt.apps.recogniser import Recogniser
from video_adapt.batches import SegmentPredictions
from video_adapt.detection import NMS, PostProcess
from video_adapt.errors import ConfigurationError, VideoDecodeError, WeightsError
from video_adapt.reports.detections import Detection
from video_adapt.video import SlidingWindows, VideoReader, WholeVideo

CALIBRATION = {
    "tiou": 0.5,
    "precision": [0.5, 0.75, 0.9],
    "overall": [0.01, 0.05, None],
    "per_class": [[0.02, 0.04, 0.06], [0.03, None, None]],
}


@pytest.fixture
def run(detect, detector_checkpoint, monkeypatch):
    """The command on that detector, which is not loaded anew for every test."""
    monkeypatch.setattr("video_adapt.apps.detector.SegmentDetector", lambda *_, **__: detect)

    def run(*words):
        parser = argparse.ArgumentParser()
        app.add_arguments(parser)
        return app.run(parser.parse_args([str(word) for word in (detector_checkpoint, *words)]))

    return run


@pytest.fixture
def video(long_videos):
    return long_videos / "videos/a.mp4"


def ready_in_testing(data, pixels):
    """Windows of every video by way of the data module, as the model receives them."""
    return [data.transform(batch, pixels, training=False) for batch in data.val_dataloader()]


def found_in_testing(method, batches, names):
    """Detections of every video in these windows."""
    parts = [method.predict_step(batch) for batch in batches]
    found = method.finish(SegmentPredictions(*map(torch.cat, zip(*parts, strict=True))), names)
    results = {name: [] for name in names}
    for row, (start_s, end_s), score, label in zip(
        *(found.video_id.tolist(), found.segments.tolist(), found.scores.tolist()),
        found.labels.tolist(),
        strict=True,
    ):
        results[names[row]].append(Detection(start_s, end_s, CLASSES[label], score))
    return results


def assert_same(found, expected):
    """Equal but for the last bits, which depend on where in memory a tensor begins."""
    one, other = (sorted(of, key=lambda d: (d.label, *d)) for of in (found, expected))
    assert [d.label for d in one] == [d.label for d in other]
    numbers = ([(d.start_s, d.end_s, d.score) for d in of] for of in (one, other))
    torch.testing.assert_close(*map(torch.tensor, numbers), rtol=1e-4, atol=1e-5)


@pytest.fixture
def remembering(detect, monkeypatch):
    """The detector, whose model answers the same for a window whenever it is asked."""
    answers = {}
    true_predict = detect.method.predict_step

    def predict(batch):
        key = tuple(batch.window.tolist())
        if key not in answers:
            answers[key] = true_predict(batch)
        return answers[key]

    monkeypatch.setattr(detect.method, "predict_step", predict)
    return detect


@pytest.mark.parametrize(
    "sampler",
    [
        SAMPLER,
        replace(SAMPLER, overlap=0.75, positions=12),
        SlidingWindows(16, 2, snippet_stride=4, overlap=0.0, offset_frames=1.5),
        SlidingWindows(16, 2, snippet_stride=12, fps=30.0),
        SlidingWindows(32, 1, snippet_stride=1, fps=3.0),
        WholeVideo(16, 2),
    ],
    ids=["half", "dense", "apart", "faster_rate", "slower_rate", "whole"],
)
@torch.inference_mode()
def test_sees_and_finds_what_testing_does(detect, long_videos, sampler):
    detect.cutter = replace(detect.cutter, sampler=sampler)
    data, method = data_of(long_videos, sampler=sampler), detect.method
    batches, names = ready_in_testing(data, method.backbone.pixels), data.video_names("val")
    expected = found_in_testing(method, batches, names)
    assert sum(map(len, expected.values())) > 100
    for row, name in enumerate(names):
        video = long_videos / f"videos/{name}.mp4"
        with detect.cutter.open(video) as stream:
            seen = [detect.cutter.prepare(batch, detect.device) for batch in stream.batches(1)]
        theirs = [batch for batch in batches if batch.video_id == row]
        assert len(seen) == len(theirs)
        for one, other in zip(seen, theirs, strict=True):
            assert torch.equal(one.video, other.video)
            for field in ("mask", "window", "offset_s", "step_s", "duration_s"):
                torch.testing.assert_close(getattr(one, field), getattr(other, field))
        assert_same(detect(video), expected[name])


def test_windows_in_batches_change_nothing(detect, video):
    alone = detect(video)
    detect.batch_size = 4
    assert_same(detect(video), alone)


def test_every_frame_is_converted_once_and_only_if_it_is_seen(detect, video, monkeypatch):
    converted = []
    true_image = VideoReader._image
    monkeypatch.setattr(
        VideoReader, "_image", lambda *args: converted.append(1) or true_image(*args)
    )
    detect(video)
    assert len(converted) == 100  # every second one of 200


def test_no_more_frames_wait_than_a_window_has(detect, video):
    alive, most = weakref.WeakSet(), []
    true_crop = detect.cutter.crop

    class Counting(type(detect.cutter)):
        def crop(self, frame):
            kept = true_crop(frame)
            alive.add(kept)
            return kept

    settings = {name: getattr(detect.cutter, name) for name in detect.cutter.__dataclass_fields__}
    with Counting(**settings).open(video) as stream:
        for _ in stream.batches(1):
            gc.collect()
            most.append(len(alive))
    assert len(most) == 6
    assert max(most) == 32


def test_frames_wait_as_small_as_the_model_sees_them(detect, video):
    with VideoReader(video) as reader:
        frame = reader.frames_at([7])[0]
    kept = detect.cutter.crop(frame)
    assert (kept.shape, kept.dtype) == ((3, 48, 48), torch.uint8)
    assert torch.equal(detect.cutter.crop(kept), kept)


@pytest.mark.parametrize(
    "nms",
    [
        NMS(),
        NMS(kind="hard", iou=0.3),
        NMS(class_wise=False),
        NMS(max_segments=20),
        NMS(voting_iou=0.3),
        None,
    ],
    ids=["soft", "hard", "across_classes", "limited", "voting", "none"],
)
@pytest.mark.parametrize("mode", ["clean", "official"])
def test_a_threshold_only_leaves_out_what_is_below(remembering, video, nms, mode):
    remembering.method.postprocess = PostProcess(nms=nms, mode=mode)
    everything = remembering(video)
    threshold = everything[len(everything) // 3].score
    above = [found for found in everything if found.score >= threshold]
    assert 0 < len(above) < len(everything)
    assert remembering(video, threshold=threshold) == above


def test_only_what_can_be_reported_is_kept(remembering, video, monkeypatch):
    counts = []
    true_finish = remembering.method.finish
    monkeypatch.setattr(
        remembering.method,
        "finish",
        lambda found, names: counts.append(len(found.scores)) or true_finish(found, names),
    )
    remembering(video)
    remembering(video, threshold=0.05)
    assert counts[1] < counts[0] / 2


def test_each_class_has_its_threshold(remembering, video):
    both = remembering(video)
    assert {found.label for found in both} == set(CLASSES)
    only = remembering(video, threshold=[NEVER, 0.0])
    assert only == [found for found in both if found.label == "run"]


def test_thresholds_come_from_validation(detect):
    detect.method.calibration = CALIBRATION
    assert detect.thresholds(0.5) == [0.01, 0.01]
    assert detect.thresholds(0.6) == [0.05, 0.05]  # the next that was chosen
    assert detect.thresholds(0.5, per_class=True) == [0.02, 0.03]
    assert detect.thresholds(0.9, per_class=True) == [0.06, NEVER]


def test_thresholds_that_nobody_knows(detect, detector_checkpoint):
    with pytest.raises(ConfigurationError, match=r"detector\.ckpt: no validation has chosen"):
        detect.thresholds(0.5)
    detect.method.calibration = CALIBRATION
    with pytest.raises(ConfigurationError, match=r"precision of 0.9 .*together: 0.75\); ask for"):
        detect.thresholds(0.9)
    with pytest.raises(ConfigurationError, match=r"up to 0.9; ask for less"):
        detect.thresholds(0.99)
    detect.method.calibration = CALIBRATION | {"overall": [None] * 3}
    with pytest.raises(ConfigurationError, match=r"precision of 0.5 on validation; ask for less"):
        detect.thresholds(0.5)


def test_progress_goes_to_the_end(detect, video):
    told = []
    detect.examine(video, on_progress=lambda *seconds: told.append(seconds))
    assert told == sorted(told)
    assert told[0] == (pytest.approx(6.4), pytest.approx(20.0))
    assert told[-1] == (pytest.approx(20.0), pytest.approx(20.0))


@pytest.mark.parametrize(
    ("fps", "rule"),
    [
        (None, "6.4 s of video at 10 frames per second, of which 5 are seen; the video's own"),
        (30.0, "counted at 30 per second (read by time from 10)"),
        (10.0, "counted at 10 per second (the video's own rate)"),
    ],
)
def test_says_how_frames_are_counted(detect, video, fps, rule):
    detect.cutter = replace(detect.cutter, sampler=replace(SAMPLER, fps=fps))
    assert rule in detect.examine(video).windows


def test_a_video_shorter_than_a_chunk_is_named(detect, video):
    detect.cutter = replace(detect.cutter, frames_per_chunk=101)
    with pytest.raises(VideoDecodeError, match=r"a\.mp4: 200 frames give 100 to look at"):
        detect(video)


def test_checkpoints_of_other_kinds_say_what_to_use(long_videos, detector_checkpoint, tmp_path):
    method, features = build_detector(), FeatureFiles(width=96)
    no_recipe = write_checkpoint(tmp_path / "a.ckpt", method, None)
    on_features = write_checkpoint(
        tmp_path / "b.ckpt", method, data_of(long_videos, features=features)
    )
    of_clips = coloured_videos.write_checkpoint(tmp_path / "c.ckpt")
    for path, message in (
        (no_recipe, r"a\.ckpt: does not say how"),
        (on_features, r"b\.ckpt: reads stored features.*`video-adapt features`"),
        (of_clips, r"c\.ckpt: names whole clips.*use `video-adapt recognise`"),
    ):
        with pytest.raises(WeightsError, match=message):
            SegmentDetector(path)
    with pytest.raises(WeightsError, match=r"detector\.ckpt: finds segments.*adapt detect`"):
        Recogniser(detector_checkpoint)


def test_a_list_that_ends_by_number_says_so(remembering, video, caplog):
    remembering.method.postprocess = PostProcess(nms=NMS(max_segments=5))
    assert len(remembering(video)) == 5
    assert "a.mp4: has the most segments that a video can have, 5; raise" in caplog.text
    caplog.clear()
    assert len(remembering(video, threshold=0.11)) < 5
    assert not caplog.text


def test_the_most_segments_can_be_changed(detector_checkpoint, video):
    short = SegmentDetector(detector_checkpoint, device="cpu", max_segments=3)
    assert len(short(video)) == 3


def test_an_empty_batch_is_refused(detector_checkpoint):
    with pytest.raises(ConfigurationError, match="batch of 0 windows"):
        SegmentDetector(detector_checkpoint, batch_size=0)


def test_listing_is_in_the_order_of_time():
    found = [Detection(61.0, 62.04, "b", 0.9), Detection(3.0, 59.97, "a", 0.25)]
    text = describe(VideoDetections("v.mp4", 75.0, "", found))
    assert text.splitlines() == [
        "v.mp4  2 segments in 1:15.0",
        "  0:03.0 - 1:00.0  0.25  a",
        "  1:01.0 - 1:02.0  0.90  b",
    ]
    assert describe(VideoDetections("v.mp4", 5.0, "", [])) == "v.mp4  no segments in 0:05.0\n"
    assert "1 segment in" in describe(VideoDetections("v.mp4", 5.0, "", found[:1]))


def test_command_lists_the_best(run, remembering, video, capsys):
    assert run(video, "--top", 4, "--threshold", 0.01) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == f"{video}  4 segments in 0:20.0"
    best = remembering(video)[:4]
    assert [line.split()[-1] for line in out.splitlines()[1:]] == [f.label for f in sorted(best)]
    assert "reporting scores of 0.01 and more\n" in err
    assert "windows of 16 positions" in err


def test_command_does_the_rest_when_one_is_broken(run, video, tmp_path, capsys):
    (tmp_path / "bad.mp4").write_text("not a video")
    written = tmp_path / "out/all.json"
    assert run(tmp_path / "bad.mp4", video, "--json", written) == 1
    content = json.loads(written.read_text())
    assert list(content["results"]) == ["a"]
    assert len(content["made_by"]["started"]["checkpoint"]["sha256"]) == 64
    assert "1 of 2 videos could not be read" in capsys.readouterr().err


def test_json_or_csv_on_the_output_is_nothing_else(run, remembering, video, capsys):
    words = video, "--threshold", 0, "--top", 5
    run(*words, "--json", "-")
    (found,) = json.loads(capsys.readouterr().out)["results"].values()
    assert [entry["label"] for entry in found] == [one.label for one in remembering(video)[:5]]
    run(*words, "--csv", "-")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["label"] for row in rows] == [entry["label"] for entry in found]


def test_subtitles_and_pictures_of_each_video(run, long_videos, tmp_path):
    two = [long_videos / f"videos/{name}.mp4" for name in "ab"]
    run(two[0], "--srt", tmp_path / "one.srt", "--plot", tmp_path / "one.png", "--threshold", 0.05)
    run(*two, "--srt", tmp_path / "srt", "--plot", tmp_path / "png", "--threshold", 0.05)
    assert " --> " in (tmp_path / "one.srt").read_text()
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.glob("*/*")) == [
        *("a.png", "a.srt", "b.png", "b.srt")
    ]
    assert (tmp_path / "srt/a.srt").read_text() == (tmp_path / "one.srt").read_text()


def test_thresholds_of_the_command(run, detect, video, capsys):
    def reported(*words):
        run(video, *words)
        return capsys.readouterr().err.splitlines()[0]

    assert reported() == "reporting scores of 0.1 and more"
    detect.method.calibration = CALIBRATION
    assert reported() == "reporting scores of 0.01 and more: precision 0.5 on validation"
    assert "scores of 0.05 and more: precision 0.7" in reported("--threshold-for-precision", 0.7)
    by_class = "--threshold-for-precision", 0.5, "--per-class"
    assert "scores of 0.02 to 0.03, by class, and more" in reported(*by_class)
    never = reported("--threshold-for-precision", 0.9, "--per-class")
    assert never.endswith("never reached by run, of which nothing is reported")
    detect.method.calibration = CALIBRATION | {"overall": [None] * 3}
    assert reported() == "reporting scores of 0.1 and more"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--top", 0], "--top 0"),
        (["--threshold", 1.5], "--threshold 1.5: scores lie"),
        (["--threshold-for-precision", 0], "must lie in"),
        (["--per-class"], "goes with --threshold-for-precision"),
        (["--srt", "x.srt"], r"--srt x\.srt is one file for 5 videos; name a folder"),
        (["--plot", "x.png"], r"--plot x\.png is one file"),
    ],
)
def test_senseless_requests(run, long_videos, words, message):
    with pytest.raises(ConfigurationError, match=message):
        run(long_videos / "videos", *words)


def test_a_folder_without_videos(run, tmp_path):
    with pytest.raises(ConfigurationError, match="no video in this folder"):
        run(tmp_path)


def test_videos_of_one_name_are_told_apart(tmp_path):
    videos = [tmp_path / "x/a.mp4", tmp_path / "y/a.mp4", tmp_path / "b.mp4"]
    assert list(unique_names(videos).values()) == ["000_a", "001_a", "b"]


def test_the_bar_of_a_terminal_leaves_an_output_that_is_a_file_alone(
    run, long_videos, capsys, monkeypatch
):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    run(long_videos / "videos/a.mp4", long_videos / "videos/b.mp4")
    out, err = capsys.readouterr()
    told = [line.split()[0] for line in out.splitlines() if "segments in" in line]
    assert told == [str(long_videos / f"videos/{name}.mp4") for name in "ab"]
    assert "0:20.0 of 0:20.0" in err


def test_no_bar_in_a_log(capsys):
    with progress("a.mp4") as on_progress:
        on_progress(1.0, 2.0)
    assert capsys.readouterr() == ("", "")


def test_seconds_are_rounded_before_they_are_split():
    assert clock(59.97) == "1:00.0"
