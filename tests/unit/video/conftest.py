"""Small numbered videos of every kind, each written once per test session."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .numbered_videos import write_video

Make = Callable[[str], Path]

# A change of settings gives another kind of file; 24 frames, a key frame every 8 at most.
X264 = "keyint=8:scenecut=0:bframes=3:b-adapt=0"
X265 = "log-level=none:pools=none:keyint=8:min-keyint=8:scenecut=0:bframes=4:b-adapt=0"
GAPS = [0, 1, 2, 7, 8, 10, 12, 13, 43, 44, 45, 46, 49, 50, 51, 52, 53, 62, 63, 64, 66, 67, 68, 268]


def x264(more: str = "", **settings: Any) -> dict[str, Any]:
    return {"options": {"preset": "ultrafast", "x264-params": f"{X264}:{more}"}} | settings


def x265(more: str = "", **settings: Any) -> dict[str, Any]:
    options = {"preset": "ultrafast", "x265-params": f"{X265}:{more}"}
    return {"codec": "libx265", "options": options} | settings


def other(codec: str, options: dict[str, str] | None = None, **settings: Any) -> dict[str, Any]:
    return {"codec": codec, "options": {"g": "8"} | (options or {})} | settings


LAGGED = {"deadline": "good", "cpu-used": "8", "lag-in-frames": "12", "auto-alt-ref": "1"}
KINDS: dict[str, dict[str, Any]] = {
    "b_frames.mp4": x264(),
    "b_pyramid.mp4": x264("keyint=12:bframes=7:b-pyramid=normal:ref=4"),
    "open_gop.mp4": x264("open-gop=1"),
    "open_gop.mkv": x264("open-gop=1"),
    "open_gop.ts": x264("open-gop=1"),
    "gradual_refresh.mp4": x264("bframes=0:intra-refresh=1"),
    "gradual_refresh.ts": x264("bframes=0:intra-refresh=1"),
    "interlaced.mp4": x264("interlaced=1"),
    "interlaced.ts": x264("tff=1"),
    "gaps.mp4": x264(ticks=GAPS),
    "gaps.mkv": x264(ticks=GAPS),
    "gaps.ts": x264(ticks=GAPS),
    "starts_late.mp4": x264(ticks=range(100, 124)),
    "starts_late.mkv": x264(ticks=range(100, 124)),
    "starts_early.mkv": x264(ticks=range(-5, 19)),
    "starts_early.mp4": x264(ticks=range(-5, 19), muxer={"use_editlist": "0"}),
    "negative_offsets.mp4": x264(muxer={"movflags": "negative_cts_offsets"}),
    "fragments.mp4": x264(muxer={"movflags": "frag_keyframe+empty_moov"}),
    "many_fragments.mp4": x264(muxer={"movflags": "frag_every_frame+empty_moov"}),
    "index_in_front.mp4": x264(muxer={"movflags": "faststart"}),
    "odd_444.mp4": x264(pix_fmt="yuv444p", size=(71, 67)),
    "ten_bit.mp4": x264(pix_fmt="yuv420p10le"),
    "turned_90.mp4": x264(turn=90, size=(80, 64)),
    "turned_180.mp4": x264(turn=180, size=(80, 64)),
    "turned_270.mp4": x264(turn=270, size=(80, 64)),
    "turned_90.mkv": x264(turn=90, size=(80, 64)),
    "h264.mov": x264(),
    "h264.flv": x264(),
    "h264.avi": x264(),
    "no_container.h264": x264(),
    "single.mp4": x264(shown=[7]),
    "hevc.mp4": x265("open-gop=0"),
    "hevc_pyramid.mp4": x265("keyint=16:bframes=8:b-pyramid=1:rc-lookahead=20"),
    "hevc_open_gop.mp4": x265("open-gop=1"),
    "hevc_open_gop.mkv": x265("open-gop=1"),
    "hevc_open_gop.ts": x265("open-gop=1"),
    "hevc_ten_bit.mp4": x265("open-gop=1", pix_fmt="yuv420p10le"),
    "vp9.webm": other("libvpx-vp9", LAGGED),
    "vp9.mp4": other("libvpx-vp9", LAGGED),
    "av1.mkv": other("libsvtav1", {"preset": "12", "svtav1-params": "hierarchical-levels=3"}),
    "av1.mp4": other("libsvtav1", {"preset": "12", "svtav1-params": "hierarchical-levels=4"}),
    "vp8.webm": other("libvpx", LAGGED),
    "mpeg4.avi": other("mpeg4", {"bf": "2"}),
    "mpeg4_no_b.avi": other("mpeg4"),
    "mpeg4.mp4": other("mpeg4", {"bf": "2"}),
    "mpeg4.mkv": other("mpeg4", {"bf": "2"}),
    "mpeg2.ts": other("mpeg2video", {"bf": "2"}),
    "mpeg2.mpg": other("mpeg2video", {"bf": "2"}),
    "mjpeg.avi": other("mjpeg", pix_fmt="yuvj420p"),
    "wmv2.wmv": other("wmv2"),
    "ffv1.mkv": other("ffv1"),
    "prores.mov": other("prores_ks", pix_fmt="yuv422p10le"),
}


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Gives the path of a kind of video, writing it at first use; only read it."""
    folder = tmp_path_factory.mktemp("numbered")

    def path_of(kind: str) -> Path:
        path = folder / kind
        return path if path.exists() else write_video(path, **KINDS[kind])

    return path_of
