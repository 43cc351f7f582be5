"""Real files, described frame by frame in ``annotations.json`` beside them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from video_adapt.errors import VideoDecodeError
from video_adapt.video import VideoReader, probe

from .numbered_videos import decode_plainly


@pytest.fixture(scope="module")
def files(real_videos: Path) -> dict[str, dict[str, Any]]:
    """What a decoder finds in every file."""
    return json.loads((real_videos / "annotations.json").read_text())["files"]


def sound(files: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: facts for name, facts in files.items() if not name.startswith("broken/")}


def test_headers_say_what_decoding_finds(
    real_videos: Path, files: dict[str, dict[str, Any]]
) -> None:
    for name, facts in sound(files).items():
        info = probe(real_videos / name)
        size = (facts["width"], facts["height"])
        # Turned by 90 degrees, the file shows what it stores the other way round.
        size = size[::-1] if facts["rotation"] % 180 else size
        assert info.num_frames == facts["decoded_frames"], name
        assert (info.width, info.height) == size, name
        assert info.rotation == facts["rotation"] % 360, name
        assert info.codec == facts["codec"], name


def test_times(real_videos: Path, files: dict[str, dict[str, Any]]) -> None:
    for name, facts in sound(files).items():
        with VideoReader(real_videos / name) as reader:
            times = reader.timestamps_s
        length = facts["last_time"] - facts["first_time"]
        if facts["non_monotonic_times"]:  # frames are counted instead
            length = (facts["decoded_frames"] - 1) / facts["fps"]
        assert times[0] == 0, name
        assert times[-1] == pytest.approx(length, abs=2e-3), name
        assert (np.diff(times) > 0).all(), name


def test_any_frame_equals_decoding_one_by_one(
    real_videos: Path, files: dict[str, dict[str, Any]]
) -> None:
    names = [name for name in files if name.startswith("codecs/")]
    names += [f"clips/{name}" for name in ("mirror_inspection.mp4", "eye_makeup.avi")]
    draw = np.random.default_rng(0)
    for name in names:
        if files[name]["width"] > 640 or files[name]["decoded_frames"] > 400:
            continue
        with VideoReader(real_videos / name) as reader:
            expected = decode_plainly(real_videos / name)
            expected = torch.rot90(expected, reader.info.rotation // 90, (2, 3))
            for indices in (draw.integers(len(expected), size=5), [len(expected) - 1], [0]):
                assert torch.equal(reader.frames_at(indices), expected[indices]), name


@pytest.mark.parametrize("name", ["index_coded_bframes.mp4", "index_coded_vfr.mp4"])
def test_frames_that_show_their_number(real_videos: Path, name: str) -> None:
    """Ten blocks of 16 pixels in the top rows are the bits of the frame number."""
    with VideoReader(real_videos / "codecs" / name) as reader:
        wanted = np.random.default_rng(0).permutation(reader.info.num_frames)[:60]
        frames = reader.frames_at(wanted)
        at_times = reader.frames_at_times(reader.timestamps_s[wanted[:8]] + 0.001)
    for shown, indices in ((frames, wanted), (at_times, wanted[:8])):
        bits = shown[:, 1, 8, 8:160:16] > 127
        assert (bits * 2 ** torch.arange(10)).sum(1).tolist() == indices.tolist()


def test_the_larger_of_two_streams_is_read(real_videos: Path) -> None:
    with VideoReader(real_videos / "clips/mirror_inspection.mp4") as reader:
        assert reader.frames_at([200]).shape == (1, 3, 270, 480)


UNREADABLE = {
    "audio_only.mp4": "has no moving picture",
    "empty.mp4": "is empty",
    "text_not_video.mp4": "cannot be opened",
    "truncated_no_index.mp4": "cannot be opened",
}
READABLE = {  # frames in all, and how many of the first can be read
    "bit_errors.mp4": (72, 0),
    "midstream_corruption.mp4": (50, 29),
    "single_frame.mp4": (1, 1),
    "starts_mid_gop.ts": (48, 48),
    "truncated_with_index.mp4": (33, 33),
}


def test_broken_files_have_an_outcome_each(real_videos: Path) -> None:
    found = {path.name for path in (real_videos / "broken").iterdir()}
    assert found == UNREADABLE.keys() | READABLE.keys()
    for name, message in UNREADABLE.items():
        with pytest.raises(VideoDecodeError, match=message):
            probe(real_videos / "broken" / name)
    for name, (count, intact) in READABLE.items():
        with VideoReader(real_videos / "broken" / name, short_side=32) as reader:
            assert reader.info.num_frames == count, name
            if intact:
                assert len(reader.frames_at(range(intact))) == intact, name
            for number in range(intact, count, 7):
                with pytest.raises(VideoDecodeError, match=f"{name}: frame {number} of {count}"):
                    reader.frames_at([number])
