"""Settings shared by all tests: quiet, offline, deterministic, one thread a process."""

import os
from pathlib import Path

import pytest

# The suite runs in as many processes as there are cores; threads would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

REAL_VIDEOS = Path(
    os.environ.get("VIDEO_ADAPT_REAL_VIDEOS", Path(__file__).parents[2] / "shared/data/real_videos")
)
THUMOS14 = Path(
    os.environ.get("VIDEO_ADAPT_THUMOS14", Path(__file__).parents[2] / "shared/data/thumos14")
)


@pytest.fixture(scope="session")
def real_videos() -> Path:
    """The folder of third-party real videos; they are not part of the repository."""
    if not REAL_VIDEOS.is_dir():
        pytest.skip(f"real videos not found at {REAL_VIDEOS}; set VIDEO_ADAPT_REAL_VIDEOS")
    return REAL_VIDEOS
