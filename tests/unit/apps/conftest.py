"""Long videos, and one small detector for all tests that only look at what it does."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.apps.small_detectors import build_detector, data_of, write_checkpoint
from tests.unit.data_modules.long_videos import write_videos
from video_adapt.apps.detector import SegmentDetector


@pytest.fixture(scope="session")
def long_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five long videos with their annotation."""
    return write_videos(tmp_path_factory.mktemp("long") / "data")


@pytest.fixture(scope="session")
def detector_checkpoint(long_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as training leaves it, without thresholds."""
    path = tmp_path_factory.mktemp("checkpoint") / "detector.ckpt"
    return write_checkpoint(path, build_detector(), data_of(long_videos))


@pytest.fixture(scope="session")
def loaded(detector_checkpoint: Path) -> SegmentDetector:
    """The detector of that checkpoint."""
    return SegmentDetector(detector_checkpoint, device="cpu")


@pytest.fixture
def detect(loaded: SegmentDetector) -> Iterator[SegmentDetector]:
    """The same, for tests that change its settings."""
    cutter, batch_size, postprocess = loaded.cutter, loaded.batch_size, loaded.method.postprocess
    yield loaded
    loaded.cutter, loaded.batch_size = replace(cutter), batch_size
    loaded.method.postprocess, loaded.method.calibration = postprocess, None
