"""Every frame of every kind of file is found, in any order, as decoding one by one gives it."""

import gc
import random
import resource
import tracemalloc
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from video_adapt.errors import VideoDecodeError
from video_adapt.video import VideoReader, decode, probe

from .conftest import GAPS, KINDS, Make
from .numbered_videos import decode_plainly, numbers

FRAMES = 24


@pytest.mark.parametrize("kind", KINDS)
def test_any_order_equals_decoding_one_by_one(make: Make, kind: str) -> None:
    path = make(kind)
    with VideoReader(path) as reader:
        count = reader.info.num_frames
        expected = torch.rot90(decode_plainly(path), reader.info.rotation // 90, (2, 3))
        assert numbers(expected) == list(KINDS[kind].get("shown", range(FRAMES)))
        assert count == len(expected)
        draw = random.Random(0)
        wanted = [[i] for i in reversed(range(count))]
        wanted += [[draw.randrange(count) for _ in range(n)] for n in (2, 3, 5, 8, 13)]
        for indices in [*wanted, list(range(count))]:
            assert torch.equal(reader.frames_at(indices), expected[indices]), indices
        assert torch.equal(torch.stack(list(reader.iter_frames())), expected)
        some = list(range(count // 2, count, 3))
        assert torch.equal(torch.stack(list(reader.iter_frames(some))), expected[some])


@pytest.mark.parametrize("kind", [k for k in KINDS if not k.endswith(("avi", "mpg", "h264"))])
def test_one_seek_is_enough(make: Make, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind.startswith("gradual"):
        pytest.skip("has no key frame but the first")
    runs = []
    true_decode = decode.decode_frames
    monkeypatch.setattr(
        decode, "decode_frames", lambda *a, **kw: runs.append(1) or true_decode(*a, **kw)
    )
    with VideoReader(make(kind)) as reader:
        for done, number in enumerate(reversed(range(reader.info.num_frames))):
            reader.frames_at([number])
            assert len(runs) == done + 1


@pytest.mark.parametrize(
    ("spare", "out"), [(False, [0, 1, 2, 3, 4, 5, 7]), (True, [0, 2, 4, 5, 7])]
)
def test_frames_no_other_depends_on_are_left_out(make: Make, spare: bool, out: list[int]) -> None:
    """Frame 2 is a reference of 1 and 3; 6 comes behind 5 in the file."""
    with decode.open_video(make("b_frames.mp4")) as source:
        frames = decode.decode_frames(*source, start=0, wanted={512 * 5}, spare=spare)
        assert [frame.pts // 512 for frame, _ in frames] == out


def test_repeated_indices(make: Make) -> None:
    with VideoReader(make("open_gop.mp4")) as reader:
        assert numbers(reader.frames_at([5, 20, 5, 5, 0])) == [5, 20, 5, 5, 0]


def test_calls_do_not_disturb_one_another(make: Make) -> None:
    with VideoReader(make("open_gop.mp4")) as reader:
        stream = reader.iter_frames()
        for number in range(FRAMES):
            assert numbers(next(stream)[None]) == [number]
            assert numbers(reader.frames_at([FRAMES - 1 - number])) == [FRAMES - 1 - number]


@pytest.mark.parametrize("wrong", [-1, FRAMES, 10_000])
def test_index_out_of_range(make: Make, wrong: int) -> None:
    with VideoReader(make("b_frames.mp4")) as reader:
        with pytest.raises(
            VideoDecodeError, match=rf"b_frames.mp4: has frames 0 to 23, not {wrong};"
        ):
            reader.frames_at([3, wrong])
        assert numbers(reader.frames_at([3])) == [3]


@pytest.mark.parametrize("indices", [[], [[1, 2]], 3])
def test_indices_must_be_a_list(make: Make, indices: object) -> None:
    with VideoReader(make("b_frames.mp4")) as reader, pytest.raises(ValueError, match="indices"):
        reader.frames_at(indices)


@pytest.mark.parametrize("kind", ["gaps.mp4", "gaps.mkv", "gaps.ts"])
def test_times_find_the_frame_on_display(make: Make, kind: str) -> None:
    with VideoReader(make(kind)) as reader:
        np.testing.assert_allclose(reader.timestamps_s, np.array(GAPS) / 24, atol=2e-3)
        # Frame 22 (2.83 s) is on display until 23 comes at 11.17 s.
        times = [-3, 0, 1.0, 1.7, 1.8, 2.84, 11.0, 11.2, 99]
        assert numbers(reader.frames_at_times(times)) == [0, 0, 7, 7, 8, 22, 22, 23, 23]
        assert numbers(reader.frames_at_times(reader.timestamps_s)) == list(range(FRAMES))


@pytest.mark.parametrize("kind", ["starts_late.mp4", "starts_early.mkv", "starts_early.mp4"])
def test_times_begin_at_the_first_frame(make: Make, kind: str) -> None:
    with VideoReader(make(kind)) as reader:
        np.testing.assert_allclose(reader.timestamps_s, np.arange(FRAMES) / 24, atol=1e-3)


@pytest.mark.parametrize(
    ("kind", "short_side", "size"),
    [
        ("b_frames.mp4", 32, (32, 32)),
        ("b_frames.mp4", 500, (64, 64)),
        ("odd_444.mp4", None, (67, 71)),
        ("odd_444.mp4", 67, (67, 71)),
        ("odd_444.mp4", 33, (33, 35)),
        ("turned_90.mp4", None, (64, 80)),
        ("turned_90.mp4", 32, (32, 40)),
        ("turned_180.mp4", 32, (32, 40)),
    ],
)
def test_short_side(make: Make, kind: str, short_side: int | None, size: tuple[int, int]) -> None:
    with VideoReader(make(kind), short_side=short_side) as reader:
        frames = reader.frames_at([9, 2])
        assert frames.dtype == torch.uint8
        assert frames.shape == (2, 3, *size)
        assert next(reader.iter_frames()).shape == (3, *size)
    with VideoReader(make(kind)) as reader:
        whole = reader.frames_at([9, 2]).float()
    small = torch.nn.functional.interpolate(whole, size, mode="bicubic", antialias=True)
    assert (small - frames).abs().mean() < 4


def test_info(make: Make) -> None:
    info = probe(str(make("turned_90.mp4")))
    assert info._replace(path=Path(info.path).name) == (
        *("turned_90.mp4", 24, pytest.approx(1.0), pytest.approx(24.0)),
        *(80, 64, 90, "h264"),
    )
    assert probe(make("gaps.mp4")).duration_s == pytest.approx(268 / 24 * 24 / 23)
    codecs = {"hevc.mp4": "hevc", "vp9.webm": "vp9", "av1.mkv": "av1", "mpeg4.avi": "mpeg4"}
    assert {kind: probe(make(kind)).codec for kind in codecs} == codecs


def test_memory_is_given_back(make: Make) -> None:
    path, statistics = make("b_frames.mp4"), Path("/proc/self/statm")
    if not statistics.exists():
        pytest.skip("this system does not tell a process's memory this way")

    def read(times: int) -> int:
        """Open and read; returns the process's bytes in memory."""
        for _ in range(times):
            with VideoReader(path) as reader:
                reader.frames_at([5])
        gc.collect()
        return int(statistics.read_text().split()[1]) * resource.getpagesize()

    before = read(20)
    assert read(200) - before < 8 * 2**20


def test_no_frame_is_held_twice(make: Make) -> None:
    with VideoReader(make("b_frames.mp4")) as reader:
        reader.frames_at([0])
        tracemalloc.start()
        try:
            frames = reader.frames_at(np.arange(FRAMES))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 1.5 * frames.numel()


def damage(source: Path, target: Path, packets: set[int], content: bytes | None = None) -> Path:
    """A copy in which some packets, in decoding order, hold something else; noise by default."""
    with av.open(str(source)) as given, av.open(str(target), "w") as container:
        stream = container.add_stream_from_template(given.streams.video[0])
        for number, packet in enumerate(given.demux(video=0)):
            if not packet.size:
                continue
            copy = packet
            if number in packets:
                copy = av.Packet(content or random.Random(number).randbytes(packet.size))
                copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
                copy.is_keyframe = packet.is_keyframe
            copy.stream = stream
            container.mux(copy)
    return target


# Decoding order of b_frames.mp4: 0 4 2 1 3 7 5 6, 8 12 10 9 11 15 13 14, 16 20 18 17 19 23 21 22.
@pytest.mark.parametrize(
    ("packet", "lost"),
    [
        (1, {1, 2, 3, 4, 5, 6, 7}),
        (3, {1, 3, 5, 6, 7}),
        (5, {5, 6, 7}),
        (9, {9, 10, 11, 12, 13, 14, 15}),
        (23, {22}),
    ],
)
@pytest.mark.parametrize("container", [".mkv", ".mp4"])
def test_damage_is_named_and_the_rest_still_reads(
    make: Make, tmp_path: Path, packet: int, lost: set[int], container: str
) -> None:
    path = damage(make("b_frames.mp4"), tmp_path / f"damaged{container}", {packet})
    with VideoReader(path) as reader:
        for number in range(FRAMES):
            if number not in lost:
                assert numbers(reader.frames_at([number])) == [number]
                continue
            with pytest.raises(VideoDecodeError) as caught:
                reader.frames_at([number])
            message = str(caught.value)
            assert message.startswith(f"{path}: frame {number} of 24 (at {number / 24:.2f} s)")
            assert "replace the file" in message


def test_streaming_stops_at_damage(make: Make, tmp_path: Path) -> None:
    path = damage(make("b_frames.mp4"), tmp_path / "damaged.mkv", {9})
    with VideoReader(path) as reader:
        frames = reader.iter_frames()
        assert numbers(torch.stack([next(frames) for _ in range(9)])) == list(range(9))
        with pytest.raises(VideoDecodeError, match="frame 9 of 24"):
            next(frames)


def test_counting_ends_where_a_frame_is_lost(make: Make, tmp_path: Path) -> None:
    """In AVI frames have no times: behind a lost one every number would be one off."""
    path = damage(make("mpeg4_no_b.avi"), tmp_path / "damaged.avi", {5})
    with VideoReader(path) as reader:
        assert numbers(reader.frames_at([4, 0])) == [4, 0]
        for number in range(5, FRAMES):
            with pytest.raises(VideoDecodeError, match=f"frame {number} of 24"):
                reader.frames_at([number])


def test_streaming_notices_a_frame_that_never_comes(make: Make, tmp_path: Path) -> None:
    """The decoder passes over a packet without a picture, and says nothing."""
    no_picture = bytes([0, 0, 0, 3, 70, 1, 80])  # an access unit delimiter of HEVC
    path = damage(make("hevc.mp4"), tmp_path / "gap.mkv", {7}, no_picture)
    with av.open(str(path)) as container:
        lost = round(next(islice(container.demux(video=0), 7, None)).pts * 24 / 1000)
    with VideoReader(path) as reader:
        with pytest.raises(VideoDecodeError, match=f"frame {lost} of 24"):
            reader.frames_at([lost])
        frames = reader.iter_frames()
        assert numbers(torch.stack([next(frames) for _ in range(lost)])) == list(range(lost))
        with pytest.raises(VideoDecodeError, match=f"frame {lost} of 24"):
            next(frames)


def test_decoding_ends_where_no_wanted_frame_can_follow(make: Make) -> None:
    """A container may land behind the key frame; then the rest of a long file is left alone."""
    with decode.open_video(make("b_frames.mp4")) as (container, stream):
        container.seek(512 * 8, stream=stream)
        assert list(decode.decode_frames(container, stream, start=0, wanted={512 * 2})) == []
        assert next(container.demux(stream)).pts <= 512 * 12
