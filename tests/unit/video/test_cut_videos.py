"""Files cut without encoding: packets before the cut are decoded, but are no frames of the file."""

import logging
from pathlib import Path

import av
import numpy as np
import pytest

from video_adapt.video import VideoReader, probe

FRAMES, CUT, LEVEL = 24, 5, 10


def write_video(path: Path, turn: int = 0) -> Path:
    """Frame ``i`` is a grey of ``10 * i``; key frames are 0 and 12, others refer to both sides."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.options = {"x264-params": "keyint=12:min-keyint=12:scenecut=0:bframes=2:b-adapt=0"}
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        if turn:
            stream.set_display_rotation(turn)
        for i in range(FRAMES):
            image = np.full((32, 64, 3), LEVEL * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(params=[0, 90])
def cut(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, int]:
    """The video from frame 5 on, and its rotation.

    Times start below 0, which MP4 keeps as a list of edits.
    """
    turn: int = request.param
    whole, path = write_video(tmp_path / "whole.mp4", turn), tmp_path / "cut.mp4"
    with (
        av.open(str(whole)) as source,
        av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as target,
    ):
        given = source.streams.video[0]
        stream = target.add_stream_from_template(given)
        if turn:
            stream.set_display_rotation(turn)
        assert given.time_base is not None
        shift = int(CUT / 10 / given.time_base)
        for packet in source.demux(given):
            if packet.size and packet.pts is not None and packet.dts is not None:
                packet.stream = stream
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                target.mux(packet)
    with av.open(str(path)) as container:
        hidden = sum(packet.is_discard for packet in container.demux(video=0) if packet.size)
    assert hidden, "the fixture must hold packets that are not shown"
    return path, turn


def test_frames_are_counted_from_the_cut(
    cut: tuple[Path, int], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), VideoReader(cut[0]) as reader:
        frames = [frame.float().mean() for frame in reader.iter_frames()]
        levels = [round(float(mean) / LEVEL) for mean in frames]
        assert levels == list(range(CUT, FRAMES))
        np.testing.assert_allclose(reader.timestamps_s, np.arange(len(levels)) / 10, atol=1e-6)
        for i in range(len(levels)):
            assert round(float(reader.frames_at([i]).float().mean()) / LEVEL) == levels[i]
    assert not caplog.records  # what the container cuts off is not missing


def test_rotation_is_that_of_the_first_shown_frame(cut: tuple[Path, int]) -> None:
    path, turn = cut
    info = probe(path)
    assert info.rotation == turn
    assert (info.width, info.height) == ((32, 64) if turn else (64, 32))
