"""Files that are cut, damaged, odd or no videos at all, and what the index says of each."""

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest

from video_adapt.errors import VideoDecodeError
from video_adapt.video import VideoReader, probe
from video_adapt.video.packet_index import read_index

from .conftest import Make
from .numbered_videos import numbers, picture, write_video

FRAMES = 24


def rewrite(source: Path, target: Path, keep: Callable[[int, av.Packet], bool]) -> Path:
    """Copy some of the packets, numbered in decoding order, without encoding."""
    with av.open(str(source)) as given, av.open(str(target), "w") as container:
        stream = container.add_stream_from_template(given.streams.video[0])
        for number, packet in enumerate(given.demux(video=0)):
            if packet.size and keep(number, packet):
                packet.stream = stream
                container.mux(packet)
    return target


def write_sound(path: Path, *, cover: bool = False) -> Path:
    """A fifth of a second of silence, with a picture of the album on request."""
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=8000)
        image = container.add_stream("mjpeg", rate=1) if cover else None
        if image is not None:
            image.width = image.height = 64
            image.pix_fmt = "yuvj420p"
            image.disposition = av.stream.Disposition.attached_pic
            container.mux(image.encode(av.VideoFrame.from_ndarray(picture(1), format="rgb24")))
        for _ in range(2):
            silence = np.zeros((1, 1024), np.float32)
            frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
            frame.rate = 8000
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def test_index_of_a_plain_file(make: Make) -> None:
    index = read_index(make("b_frames.mp4"))
    assert index.by_time
    assert (index.pts // 512).tolist() == list(range(FRAMES))
    assert (index.key_pts // 512).tolist() == [0, 8, 16]
    assert index.times_s.tolist() == pytest.approx((np.arange(FRAMES) / 24).tolist())
    assert (index.fps, index.promised, index.width, index.height) == (24.0, 24, 64, 64)


@pytest.mark.parametrize("kind", ["mpeg4.avi", "h264.avi", "no_container.h264"])
def test_frames_without_clear_times_are_counted(make: Make, kind: str) -> None:
    index = read_index(make(kind))
    assert not index.by_time
    assert index.pts.tolist() == list(range(FRAMES))
    assert index.key_pts.size == 0
    assert index.times_s[-1] == pytest.approx(23 / (25 if kind.endswith("h264") else 24))


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation(make: Make, rotation: int) -> None:
    index = read_index(make(f"turned_{rotation}.mp4"))
    assert index.rotation == rotation
    assert (index.width, index.height) == ((80, 64) if rotation == 180 else (64, 80))


def test_index_notices_a_changed_file(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", range(5))
    assert read_index(path) is read_index(path)
    assert probe(path).num_frames == 5
    write_video(path, range(10, 19))
    with VideoReader(path) as reader:
        assert reader.info.num_frames == 9
        assert numbers(reader.frames_at([8, 0])) == [18, 10]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.mp4", None, "no such file; check the path, or the list and its root"),
        ("empty.mp4", b"", r"the file is empty \(0 bytes\)"),
        ("text.mp4", b"a line of text\n" * 20, r"cannot be opened as a video \(Invalid data"),
    ],
)
@pytest.mark.parametrize("read", [probe, VideoReader])
def test_no_video(
    tmp_path: Path, name: str, content: bytes | None, message: str, read: Callable[[Path], object]
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VideoDecodeError, match=f"^{path}: {message}"):
        read(path)


def test_a_folder_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(VideoDecodeError, match=f"^{tmp_path}: cannot be opened"):
        probe(tmp_path)


@pytest.mark.parametrize("cover", [False, True])
def test_sound_only(tmp_path: Path, cover: bool) -> None:
    """The picture of an album is no video either."""
    path = write_sound(tmp_path / "sound.mp4", cover=cover)
    with pytest.raises(VideoDecodeError, match="has no moving picture, only sound"):
        probe(path)


def test_no_key_frame(make: Make, tmp_path: Path) -> None:
    path = rewrite(make("h264.mov"), tmp_path / "cut.mkv", lambda _, p: not p.is_keyframe)
    with pytest.raises(VideoDecodeError, match="holds no frame that can be decoded"):
        probe(path)


@pytest.mark.parametrize(
    ("kind", "container", "first"),
    [
        ("open_gop.ts", ".ts", 8),
        ("open_gop.ts", ".mkv", 8),
        ("hevc_open_gop.mkv", ".mkv", 8),
        ("hevc_open_gop.ts", ".ts", 8),
        ("mpeg2.ts", ".ts", 9),
    ],
)
@pytest.mark.parametrize("early", [0, 3])
def test_a_recording_begins_at_the_first_frame_that_can_be_decoded(
    make: Make, tmp_path: Path, kind: str, container: str, first: int, early: int
) -> None:
    """Behind its first key frame come frames that refer to what was before the recording."""
    with av.open(str(make(kind))) as given:
        keys = [n for n, packet in enumerate(given.demux(video=0)) if packet.is_keyframe]
    path = rewrite(make(kind), tmp_path / f"cut{container}", lambda n, _: n >= keys[1] - early)
    with VideoReader(path) as reader:
        count = reader.info.num_frames
        assert numbers(reader.frames_at(range(count))) == list(range(first, FRAMES))
        assert [numbers(frame[None]) for frame in reader.iter_frames()] == [
            [number] for number in range(first, FRAMES)
        ]
        for number in reversed(range(count)):
            assert numbers(reader.frames_at([number])) == [first + number]


def test_frames_in_front_of_the_first_key_frame_are_told(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = rewrite(make("open_gop.ts"), tmp_path / "cut.ts", lambda n, _: n >= 2)
    assert probe(path).num_frames == 16
    assert f"{path}: begins with 3 frames that cannot be decoded" in caplog.text


@pytest.mark.parametrize(
    "kind", ["index_in_front.mp4", "open_gop.mkv", "open_gop.ts", "mpeg4.avi", "vp9.webm"]
)
@pytest.mark.parametrize("missing", [60, 300, 900, 1600])
def test_cut_off_file(make: Make, tmp_path: Path, kind: str, missing: int) -> None:
    """What is left reads rightly; a frame that is half there is refused."""
    path = tmp_path / kind
    path.write_bytes(make(kind).read_bytes()[:-missing])
    with VideoReader(path) as reader:
        # The last B frames may be missing while the one they refer to, shown later, is there.
        expected = np.rint(reader.timestamps_s * 24).astype(int).tolist()
        for number in range(len(expected) - 4):
            assert numbers(reader.frames_at([number])) == [expected[number]]
        for number in range(len(expected) - 4, len(expected)):
            with suppress(VideoDecodeError):
                assert numbers(reader.frames_at([number])) == [expected[number]]


def test_a_cut_off_file_is_told_once(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = make("index_in_front.mp4").read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole[: len(whole) // 2])
    with caplog.at_level(logging.WARNING):
        counts = {probe(path).num_frames for _ in range(3)}
    (count,) = counts
    assert 0 < count < FRAMES
    assert caplog.text.count("cut short: its header promises 24 frames") == 1
    assert read_index(path).promised == FRAMES


@pytest.mark.parametrize("kind", ["b_frames.mp4", "hevc.mp4", "vp9.webm", "mpeg4.avi", "mpeg2.ts"])
def test_bit_errors_never_escape(make: Make, tmp_path: Path, kind: str) -> None:
    """Whatever the bits say, a frame comes or a VideoDecodeError."""
    path, sound = tmp_path / kind, make(kind).read_bytes()
    for seed in range(6):
        data, rng = bytearray(sound), np.random.default_rng(seed)
        for place in rng.integers(0, len(data), 20):
            data[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        with suppress(VideoDecodeError), VideoReader(path) as reader:
            shape = (1, 3, reader.info.height, reader.info.width)
            for number in rng.integers(reader.info.num_frames, size=4):
                with suppress(VideoDecodeError):
                    assert reader.frames_at([number]).shape == shape
