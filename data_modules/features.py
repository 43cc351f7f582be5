"""Features that were extracted before: one file of rows per video."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from video_adapt.errors import ConfigurationError, VideoDecodeError
from video_adapt.reading import reading

SUFFIXES = (".npy", ".pt", ".pth")
_SLACK_ROWS, _SLACK_SHARE = 8, 0.05
"""Extraction loses some rows at the end of a video; another stride would change their number."""


@dataclass(frozen=True)
class FeatureFiles:
    """Where features lie and what they look like; each row stands for one snippet.

    Args:
        width: Width ``D`` of a row, ``model.init_args.width`` of the model that reads them.
        path: Where the file of a video lies below the root, with ``{name}`` in it; ``.npy`` or a
            tensor in ``.pt``, of shape ``[rows, width]``.
        stride: Frames of the video from one row to the next; a sampler of sliding windows takes
            every n-th row so that its ``snippet_stride`` results.

    Raises:
        ConfigurationError: If a value is impossible.
    """

    width: int
    path: str = "features/{name}.npy"
    stride: int = 4

    def __post_init__(self) -> None:
        """Check the values."""
        if "{name}" not in self.path or Path(self.path).suffix not in SUFFIXES:
            raise ConfigurationError(
                f"path of the features is {self.path!r}: it must hold {{name}} and end with one of "
                f"{', '.join(SUFFIXES)}"
            )
        if self.width < 1 or self.stride < 1:
            raise ConfigurationError(
                f"width {self.width} and stride {self.stride} of the features must be positive"
            )

    def rows(self, path: str | Path) -> NDArray[np.floating]:
        """Rows of one video ``[rows, width]``; of ``.npy`` only what is used is read.

        Raises:
            VideoDecodeError: If the file is missing, damaged or of another shape.
        """
        try:
            with reading(path):
                found = self._load(Path(path))
        except Exception as error:  # numpy and pickle raise whatever they stumble upon
            cause = str(error).partition("\n")[0]
            raise VideoDecodeError(f"{path}: cannot read these features: {cause}") from error
        if found.ndim != 2 or found.shape[1] != self.width or not len(found):
            hint = "; transpose it" if found.ndim == 2 and found.shape[0] == self.width else ""
            raise VideoDecodeError(
                f"{path}: features have the shape {list(found.shape)}, expected [rows, "
                f"{self.width}]{hint}; mend data.features.width or extract them again"
            )
        return found

    def require_stride(self, path: str | Path, rows: int, num_frames: int) -> None:
        """Refuse features of another stride than stated.

        Args:
            path: The file, for the message.
            rows: Rows that it has.
            num_frames: Frames that the video has.

        Raises:
            VideoDecodeError: If that many rows cannot come from that many frames.
        """
        expected = num_frames / self.stride
        if abs(rows - expected) > max(_SLACK_ROWS, _SLACK_SHARE * expected):
            raise VideoDecodeError(
                f"{path}: {rows} rows for {num_frames} frames are one in {num_frames / rows:.3g}, "
                f"not in {self.stride}; mend data.features.stride or extract them again"
            )

    def _load(self, path: Path) -> Any:
        if path.suffix == ".npy":
            return np.load(path, mmap_mode="r", allow_pickle=False)
        found = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(found, Tensor):
            raise TypeError(f"holds {type(found).__name__}, not one tensor")
        return found.numpy()
