"""A recording whose pictures change their size on the way, as broadcasts do."""

from pathlib import Path

import av
import numpy as np
import pytest

from video_adapt.video import VideoReader

FPS, TICKS = 25, 90_000  # time units per second in MPEG-TS


def write_part(path: Path, size: tuple[int, int], level: int) -> Path:
    """A second of plain grey."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"g": "5", "bf": "0"})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        image = np.full((size[1], size[0], 3), level, np.uint8)
        for _ in range(FPS):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Two seconds: 160x96 in dark grey, then 96x64 in light grey."""
    parts = [
        write_part(tmp_path / "wide.ts", (160, 96), 60),
        write_part(tmp_path / "small.ts", (96, 64), 180),
    ]
    path = tmp_path / "recording.ts"
    with av.open(str(path), "w") as target:
        stream = None
        for second, part in enumerate(parts):
            with av.open(str(part)) as source:
                given = source.streams.video[0]
                stream = stream or target.add_stream_from_template(given)
                packets = [packet for packet in source.demux(given) if packet.size]
                shift = second * TICKS - packets[0].pts
                for packet in packets:
                    packet.stream = stream
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    target.mux(packet)
    return path


@pytest.mark.parametrize(("short_side", "size"), [(None, (96, 160)), (48, (48, 80))])
def test_all_frames_get_the_size_of_the_header(
    recording: Path, short_side: int | None, size: tuple[int, int]
) -> None:
    with VideoReader(recording, short_side=short_side) as reader:
        frames = reader.frames_at([0, 2 * FPS - 1])
        assert frames.shape == (2, 3, *size)
        levels = [round(float(frame.float().mean()), -1) for frame in frames]
        assert levels == [60, 180]
        assert {tuple(frame.shape[1:]) for frame in reader.iter_frames()} == {size}
        assert (reader.info.height, reader.info.width) == (96, 160)
