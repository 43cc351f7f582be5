import errno
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from video_adapt.errors import ConfigurationError, VideoDecodeError
from video_adapt.video import VideoReader
from video_adapt.video import transcode as module
from video_adapt.video.transcode import Encoding, transcode

SPEC = Encoding(short_side=16, gop=4)
TICKS = [0, 40, 90, 100, 500, 520, 560, 600, 640, 700]  # milliseconds, irregular


def write(path: Path, size=(48, 32), ticks=TICKS, container=None) -> Path:
    """H.264 with B frames and one key frame; frame ``i`` is a grey of ``20 * i``."""
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.options = {"x264-params": "keyint=100:scenecut=0:bframes=2:b-adapt=0"}
        for i, tick in enumerate(ticks):
            image = np.full((size[1], size[0], 3), 20 * i, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def contents(path: Path) -> list[int]:
    with VideoReader(path) as reader:
        return [round(float(frame.float().mean()) / 20) for frame in reader.iter_frames()]


def test_copy_has_the_frames_at_their_times(tmp_path):
    source, target = write(tmp_path / "a.mp4"), tmp_path / "deep" / "b.mp4"
    before = source.read_bytes()
    assert transcode(source, target, SPEC)
    assert source.read_bytes() == before
    with VideoReader(target) as reader:
        np.testing.assert_allclose(reader.timestamps_s, np.array(TICKS) / 1000, atol=1e-5)
        assert (reader.info.width, reader.info.height) == (24, 16)
    assert contents(target) == list(range(10))
    assert [path.name for path in target.parent.iterdir()] == ["b.mp4"]


def test_copy_has_short_gops_and_no_b_frames(tmp_path):
    source, target = write(tmp_path / "a.mp4"), tmp_path / "b.mp4"
    transcode(source, target, SPEC)
    with av.open(str(source)) as file:
        packets = [p for p in file.demux(video=0) if p.size]
    assert sum(p.is_keyframe for p in packets) == 1
    assert any(p.pts != p.dts for p in packets)
    with av.open(str(target)) as file:
        assert [stream.type for stream in file.streams] == ["video"]
        packets = [p for p in file.demux(video=0) if p.size]
    keys = [i for i, p in enumerate(packets) if p.is_keyframe]
    assert keys == [0, 4, 8]
    assert all(p.pts == p.dts for p in packets)


def test_small_and_odd_pictures_are_not_enlarged(tmp_path):
    source = tmp_path / "a.mkv"
    with av.open(str(source), "w") as file:
        stream = file.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 33, 15, "bgr0"
        for _ in range(3):
            image = np.full((15, 33, 3), 90, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        file.mux(stream.encode(None))
    transcode(source, tmp_path / "b.mp4", SPEC)
    with VideoReader(tmp_path / "b.mp4") as reader:
        assert (reader.info.width, reader.info.height) == (32, 14)
        assert abs(float(reader.frames_at([1]).float().mean()) - 90) < 3


def test_right_copy_is_left_alone_until_something_changes(tmp_path):
    source, target = write(tmp_path / "a.mp4"), tmp_path / "b.mp4"
    assert transcode(source, target, SPEC)
    stamp = target.stat().st_mtime_ns
    assert not transcode(source, target, SPEC)
    assert target.stat().st_mtime_ns == stamp
    assert transcode(source, target, Encoding(short_side=16, gop=2))
    assert transcode(source, target, SPEC)
    write(source, ticks=TICKS[:-1])
    assert transcode(source, target, SPEC)
    assert contents(target) == list(range(9))


def test_foreign_file_is_never_replaced(tmp_path):
    source, target = write(tmp_path / "a.mp4"), tmp_path / "b.mp4"
    for foreign in (b"notes", source.read_bytes()):
        target.write_bytes(foreign)
        with pytest.raises(ConfigurationError, match=r"b\.mp4: exists and is no copy"):
            transcode(source, target, SPEC)
        assert target.read_bytes() == foreign


def test_broken_original_leaves_nothing(tmp_path):
    source = write(tmp_path / "a.mp4")
    source.write_bytes(source.read_bytes()[:200])
    out = tmp_path / "out"
    with pytest.raises(VideoDecodeError, match=r"a\.mp4: "):
        transcode(source, out / "b.mp4", SPEC)
    with pytest.raises(VideoDecodeError, match="no such file"):
        transcode(tmp_path / "none.mp4", out / "b.mp4", SPEC)
    assert not out.exists()


def test_copy_that_differs_is_refused(tmp_path, monkeypatch):
    source, target = write(tmp_path / "a.mp4"), tmp_path / "out" / "b.mp4"

    def lossy(source, path, index, encoding):
        write(path, ticks=TICKS[:-1], container="mp4")

    monkeypatch.setattr(module, "_write", lossy)
    with pytest.raises(VideoDecodeError, match="does not have the 10 frames of its source"):
        transcode(source, target, SPEC)
    assert list(target.parent.iterdir()) == []


def test_full_disk_names_the_copy_and_leaves_nothing(tmp_path, monkeypatch):
    source, target = write(tmp_path / "a.mp4"), tmp_path / "out" / "b.mp4"

    def full(source, path, index, encoding):
        path.write_bytes(b"half")
        raise av.error.FFmpegError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(module, "_write", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*b\.mp4'") as caught:
        transcode(source, target, SPEC)
    assert caught.value.errno == errno.ENOSPC
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    ["codecs/index_coded_vfr.mp4", "codecs/juggling_mpegts_bframes.ts", "codecs/rotation_90.mov"],
)
def test_real_files_keep_frames_times_and_direction(real_videos, tmp_path, name):
    source, target = real_videos / name, tmp_path / Path(name).name
    transcode(source, target, Encoding(short_side=90, crf=18))
    with VideoReader(source, short_side=90) as old, VideoReader(target) as new:
        np.testing.assert_allclose(new.timestamps_s, old.timestamps_s, atol=1e-5)
        last = len(old.timestamps_s) - 1
        difference = old.frames_at([0, last // 2, last]).float() - new.frames_at(
            [0, last // 2, last]
        )
        assert difference.abs().mean() < 4
        assert new.info.rotation == 0
