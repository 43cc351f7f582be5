import importlib.util
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from video_adapt.reports import bench_decode, bench_readers
from video_adapt.reports.bench_decode import DecodeRow, Task

WANTED = [np.array([0, 7, 19]), np.array([5, 6])]


@pytest.fixture
def short(monkeypatch) -> None:
    monkeypatch.setattr(bench_decode, "PIECE", 10)


@pytest.fixture
def video(tmp_path, short) -> Path:
    task = Task("any", "clip", (32, 16), 5, 2, WANTED, copies=2)
    bench_decode.write_files(task, tmp_path)
    assert sorted(p.name for p in (tmp_path / "videos").iterdir()) == ["clip_0.mp4", "clip_1.mp4"]
    return tmp_path / "videos" / "clip_1.mp4"


def test_pieces_follow_one_another(video: Path):
    with av.open(str(video)) as container:
        frames = list(container.decode(video=0))
        assert [round(float(frame.time) * 30) for frame in frames] == list(range(20))
        assert [i for i, frame in enumerate(frames) if frame.key_frame] == [0, 5, 10, 15]
        images = [frame.to_ndarray(format="rgb24") for frame in frames]
    for first, second in zip(images[:10], images[10:], strict=True):
        assert np.array_equal(first, second)
    assert len({image.tobytes() for image in images[:10]}) > 1


def test_readers_deliver_the_same_frames(video: Path):
    expected = list(bench_readers.decode_all()(video, WANTED, None))
    assert [clip.shape for clip in expected] == [(3, 3, 16, 32), (2, 3, 16, 32)]
    for name in ("ours", "convert all, keep wanted", "decode all, keep wanted"):
        clips = list(bench_readers.READERS[name]()(video, WANTED, None))
        for clip, same in zip(clips, expected, strict=True):
            assert torch.equal(clip, same), name
        scaled = list(bench_readers.READERS[name]()(video, WANTED, 8))
        assert scaled[0].shape == (3, 3, 8, 16)


@pytest.mark.skipif(importlib.util.find_spec("cv2") is None, reason="OpenCV is not installed")
def test_opencv_delivers_the_same_frames(video: Path):
    expected = list(bench_readers.decode_all()(video, WANTED, None))
    clips = list(bench_readers.opencv()(video, WANTED, None))
    for clip, same in zip(clips, expected, strict=True):
        images = torch.from_numpy(np.stack(clip)).permute(0, 3, 1, 2)
        assert (images.float() - same.float()).abs().mean() < 3


def test_measures_time_and_memory(video: Path):
    milliseconds, megabytes = bench_readers.measure("ours", [video], WANTED, None)
    assert 0 < milliseconds < 10_000
    assert megabytes >= 0  # this process had its peak before


def test_missing_rival_is_skipped_with_its_reason(tmp_path, short, monkeypatch):
    monkeypatch.setitem(bench_decode.MODULES, "OpenCV", "surely_not_installed")
    task = Task("any", "clip", (32, 16), 5, 1, [np.array([0])], contenders=("OpenCV",))
    row = bench_decode._in_own_process(tmp_path, task, "OpenCV")
    assert row.skipped == "not installed: `pip install video-adapt[bench]`"


def test_table_compares_with_ours():
    rows = [
        DecodeRow("clip", "ours", 50.0, 20.0),
        DecodeRow("clip", "decode all", 200.0, 90.0),
        DecodeRow("clip", "OpenCV", skipped="not installed"),
    ]
    lines = bench_decode.render(rows).splitlines()
    assert lines[2] == "| clip | ours | 50 | 1.00 | 20 | 1.0 |"
    assert lines[3] == "| clip | decode all | 200 | 4.00 | 90 | 4.5 |"
    assert lines[4] == "| clip | OpenCV | not installed | - | - | - |"
