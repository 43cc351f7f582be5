"""Videos of plain colours, and a recogniser that names the colour it sees."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import torch
from torch import Tensor, nn

from video_adapt.backbones import PixelSpec
from video_adapt.batches import ClipBatch, ClipPredictions

COLOURS = ["red", "green", "blue"]
FPS = 10


def write_video(path: Path, colours: Sequence[str], seconds_each: float = 1.0) -> Path:
    """Encode one stretch of each colour after the other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for colour in colours:
            pixels = np.zeros((32, 48, 3), dtype=np.uint8)
            pixels[..., COLOURS.index(colour)] = 255
            for _ in range(round(seconds_each * FPS)):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


class ColourMethod(nn.Module):
    """Scores are the mean brightness of the three channels."""

    def __init__(self):
        super().__init__()
        self.backbone = SimpleNamespace(
            pixels=PixelSpec(16, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        )
        self.largest_batch = 0

    def predict_step(self, batch: ClipBatch, batch_idx: int) -> ClipPredictions:
        assert batch.video.shape[-2:] == (16, 16)
        self.largest_batch = max(self.largest_batch, len(batch.video))
        probs: Tensor = (8 * batch.video.mean((1, 3, 4))).softmax(-1)
        return ClipPredictions(batch.video_id, batch.view, probs, batch.label)


def write_checkpoint(path: Path, *, views: int = 1, crops: int = 1, **changes) -> Path:
    recipe = {
        "sampler": {"class": "SegmentSampler", "num_frames": 4},
        "transform": {"class": "EvalTransform", "size": None, "scale": None, "crops": crops},
        "short_side": 24,
        "eval_views": views,
        "class_names": COLOURS,
    } | changes
    torch.save({"video_adapt": {"class_names": COLOURS, "input": recipe}}, path)
    return path
