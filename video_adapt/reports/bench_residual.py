"""An epoch of ``residual_only`` from stored features: no video, no tower, two small networks."""

import statistics
import tempfile
import time
from typing import Any, NamedTuple

import torch
from lightning.pytorch import seed_everything

from data_modules import LoaderOptions
from data_modules.annotations import VideoEntry
from data_modules.loader import BatchLoader, BrokenLog
from data_modules.samplers import TrainSampler
from data_modules.stored import CLIP_ROWS, StoredDataset, training_keys
from video_adapt.backbones import CLIP
from video_adapt.methods import FROSTER
from video_adapt.row_store import RowStore
from video_adapt.tasks import OpenVocabularyOptimizerSpec, PlateauCosine

FRAMES, WIDTH, CLASSES, BATCH = 8, 512, 26, 32
RECIPE = OpenVocabularyOptimizerSpec(new_lr=1e-3, schedule=PlateauCosine())
# The joint space of ViT-B/16; an epoch runs neither tower, so that they may be small.
TOWERS = {
    "embed_dim": WIDTH,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 32, "layers": 1, "head_width": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1},
}


class ResidualRow(NamedTuple):
    """One line of the table.

    Attributes:
        clips: Clips of an epoch.
        seconds: Median time of an epoch on the clock.
        cpu_seconds: The same of all threads; it does not grow where others use the machine.
    """

    clips: int
    seconds: float
    cpu_seconds: float


def run(*, clips: int = 400, epochs: int = 3, device: str = "cpu") -> ResidualRow:
    """Measure epochs over clips of 8 frames and 512 numbers a frame; on a CPU with one thread.

    Args:
        clips: Clips of an epoch.
        epochs: Epochs measured, after one that is not.
        device: ``cpu`` or ``cuda``.
    """
    seed_everything(0, verbose=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            loader = _stored_clips(folder, clips)
            step = _Step(device)
            times = [_epoch(loader, step, number) for number in range(epochs + 1)][1:]
    finally:
        torch.set_num_threads(threads)
    seconds, cpu_seconds = (statistics.median(column) for column in zip(*times, strict=True))
    return ResidualRow(clips, seconds, cpu_seconds)


def render(row: ResidualRow) -> str:
    """A Markdown table."""
    return (
        f"| an epoch of residual_only, {FRAMES} frames of {WIDTH} | seconds | CPU s |\n"
        "|---|---|---|\n"
        f"| {row.clips} clips, {CLASSES} classes | {row.seconds:.2f} | {row.cpu_seconds:.2f} |\n"
    )


class _Step:
    """Forward, backward and AdamW of the method on stored clips."""

    def __init__(self, device: str) -> None:
        names = [f"doing number {number}" for number in range(CLASSES)]
        towers = CLIP.from_config(TOWERS, name="towers that are not run")
        method: Any = FROSTER(towers, class_names=names, optimizer=RECIPE, regime="residual_only")
        self.method, self.device = method.to(device).train(), device
        self.optimizer = torch.optim.AdamW(method.parameter_groups(RECIPE))

    def __call__(self, batch: Any) -> None:
        video = {name: rows.to(self.device) for name, rows in batch.video.items()}
        batch = batch._replace(video=video, label=batch.label.to(self.device))
        self.optimizer.zero_grad()
        self.method.losses(batch, 0)["loss"].backward()
        self.optimizer.step()


def _stored_clips(folder: str, clips: int) -> BatchLoader[Any]:
    """A loader of random features, as data modules with a feature cache have it."""
    entries = [
        VideoEntry(f"{number}.mp4", number % CLASSES, None, None, "") for number in range(clips)
    ]
    keys = training_keys(clips, 1, 0)
    store = RowStore(folder, facts={"of": "random rows"}, owner="backbone")
    dataset = StoredDataset(entries, store, keys, views=None)
    numbers = torch.tensor([number for key in keys for number in dataset.numbers(key)])
    store.add(CLIP_ROWS, numbers, {"embedding": torch.randn(clips, FRAMES, WIDTH)})
    sampler = TrainSampler(clips, seed=0)
    sampler.copies = 1
    return BatchLoader(
        dataset,
        sampler,
        options=LoaderOptions(num_workers=0),
        batch_size=BATCH,
        broken=BrokenLog("error", clips, 0.0),
    )


def _epoch(loader: BatchLoader[Any], step: _Step, number: int) -> tuple[float, float]:
    """Seconds on the clock and of all threads."""
    loader.batch_sampler.sampler.set_epoch(number)
    start, cpu = time.perf_counter(), time.process_time()
    for batch in loader:
        step(batch)
    return time.perf_counter() - start, time.process_time() - cpu
