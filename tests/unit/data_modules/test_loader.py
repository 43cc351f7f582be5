"""Batches do not depend on workers, resume where they stopped, and never hide a broken video."""

import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
import torch

from data_modules.annotations import Manifest, VideoEntry, read_manifest
from data_modules.dataset import ClipDataset, collate
from data_modules.loader import BrokenLog, ClipLoader, LoaderOptions, _init_worker
from data_modules.samplers import EvalSampler, TrainSampler
from video_adapt.batches import DecodedClips
from video_adapt.errors import VideoDecodeError
from video_adapt.video import SegmentSampler

from .conftest import contents, write_video

SAMPLER = SegmentSampler(num_frames=4)


def _loader(
    manifest: Manifest,
    *,
    batch_size: int = 2,
    train: bool = True,
    policy: Any = "error",
    max_share: float = 1.0,
    **options: Any,
) -> ClipLoader:
    views = None if train else 2
    skip = train and policy == "skip"
    size = len(manifest)
    return ClipLoader(
        ClipDataset(manifest.entries, SAMPLER, views=views, replace_broken=skip),
        TrainSampler(size, seed=5) if train else EvalSampler(size),
        options=LoaderOptions(**{"num_workers": 0, **options}),
        batch_size=batch_size,
        broken=BrokenLog(policy, size, max_share),
    )


def _epoch(loader: ClipLoader, epoch: int = 0) -> list[DecodedClips]:
    sampler = loader.batch_sampler.sampler
    if isinstance(sampler, TrainSampler):
        sampler.set_epoch(epoch)
    return list(loader)


def _assert_equal(first: list[DecodedClips], second: list[DecodedClips]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.fixture(scope="module")
def train(videos: Path) -> Manifest:
    return read_manifest(videos / "train", root=videos, split="train")


def test_batch_holds_the_frames_that_its_seed_draws(train: Manifest) -> None:
    (batch, *_) = _epoch(_loader(train, batch_size=3))
    for frames, label, row in zip(batch.frames, batch.label, batch.video_id, strict=True):
        number, indices = contents(frames)
        entry = train.entries[int(row)]
        assert (number, int(label)) == (int(Path(entry.path).stem), entry.label)
        # One frame from each quarter of the 20 frames; both ends of a quarter can be rounded to.
        assert all(5 * i <= index <= 5 * i + 5 for i, index in enumerate(indices)), indices
    assert len({tuple(contents(frames)[1]) for frames in batch.frames}) > 1


def test_views_of_one_video_stand_together(train: Manifest) -> None:
    batch = _epoch(_loader(train, batch_size=3, train=False))[0]
    assert batch.video_id.tolist() == [0, 0, 1, 1, 2, 2]
    assert batch.view.tolist() == [0, 1] * 3
    for frames, row, view in zip(batch.frames, batch.video_id, batch.view, strict=True):
        indices = SAMPLER(20, 10.0, view=int(view), views=2).tolist()
        assert contents(frames) == (int(Path(train.entries[int(row)].path).stem), indices)


def test_times_restrict_the_frames(train: Manifest) -> None:
    path, label, *_ = train.entries[0]
    # 0.3 s and 0.7 s are no exact binary fractions: the frames 3 to 6 lie between them.
    entries = [VideoEntry(path, label, 0.3, 0.7, ""), VideoEntry(path, label, 1.7, None, "")]
    dataset = ClipDataset(entries, SAMPLER, views=1)
    assert [contents(dataset[row, 0].views[0])[1] for row in (0, 1)] == [
        (SAMPLER(4, 10.0) + 3).tolist(),
        (SAMPLER(3, 10.0) + 17).tolist(),
    ]


def test_clip_behind_the_end_of_the_video_is_named(train: Manifest) -> None:
    entry = VideoEntry(train.entries[0].path, 0, 5.0, 6.0, "list:3")
    (broken,) = ClipDataset([entry], SAMPLER)[0, 0].broken
    assert broken.where == "list:3"
    assert "no frame between 5 s and 6 s, the last one is at 1.90 s" in broken.cause


@pytest.mark.parametrize(("start_method", "num_workers"), [("fork", 2), ("spawn", 1)])
def test_workers_change_nothing(train: Manifest, start_method: str, num_workers: int) -> None:
    alone = _loader(train)
    shared = _loader(train, num_workers=num_workers, start_method=start_method)
    for epoch in (0, 1):  # the second epoch reuses the workers
        _assert_equal(_epoch(alone, epoch), _epoch(shared, epoch))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_resuming_continues_the_epoch(train: Manifest, num_workers: int) -> None:
    whole = _loader(train, num_workers=num_workers)
    expected = [_epoch(whole, epoch) for epoch in (2, 3)]

    stopped = _loader(train, num_workers=num_workers)
    stopped.batch_sampler.sampler.set_epoch(2)
    batches = iter(stopped)
    seen = [next(batches)]
    state = stopped.place()

    resumed = _loader(train, num_workers=num_workers)
    resumed.go_on_from(state)
    for epoch in (0, 2):  # before and after Lightning announces the epoch
        resumed.batch_sampler.sampler.set_epoch(epoch)
        assert resumed.place() == state  # one without a batch left is never iterated
    assert len(resumed) == 3
    _assert_equal([*seen, *_epoch(resumed, 2)], expected[0])
    assert resumed.place() == {"epoch": 2, "batches": 3}
    _assert_equal(_epoch(resumed, 3), expected[1])


def test_state_of_a_finished_epoch_skips_nothing_in_the_next(train: Manifest) -> None:
    loader = _loader(train)
    _epoch(loader, 0)
    resumed = _loader(train)
    resumed.go_on_from(loader.place())
    resumed.batch_sampler.sampler.set_epoch(1)
    assert resumed.place() == {"epoch": 1, "batches": 0}
    _assert_equal(_epoch(resumed, 1), _epoch(loader, 1))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_error_policy_stops_with_one_line(
    broken_list: Callable[..., Path], tmp_path: Path, num_workers: int
) -> None:
    source = broken_list(1, 1)
    manifest = read_manifest(source, root=tmp_path, split="train")
    with pytest.raises(
        VideoDecodeError, match=r"list.txt:2: .*bad0.mp4: cannot be opened"
    ) as error:
        _epoch(_loader(manifest, num_workers=num_workers))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_training_replaces_broken_videos(
    broken_list: Callable[..., Path],
    tmp_path: Path,
    num_workers: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    manifest = read_manifest(broken_list(4, 2), root=tmp_path, split="train")
    loader = _loader(manifest, policy="skip", num_workers=num_workers)
    with caplog.at_level(logging.WARNING):
        batches = [*_epoch(loader, 0), *_epoch(loader, 1)]
    rows = torch.cat([batch.video_id for batch in batches])
    assert len(rows) == 12
    assert set(rows.tolist()) == {0, 1, 2, 3}  # rows 4 and 5 are broken
    assert loader.broken.count == 2
    assert len([r for r in caplog.records if "left out" in r.message]) == 2  # once per file
    _assert_equal(batches[:3], _epoch(_loader(manifest, policy="skip"), 0))  # replacement by seed


def test_evaluation_leaves_broken_videos_out(
    broken_list: Callable[..., Path], tmp_path: Path
) -> None:
    manifest = read_manifest(broken_list(3, 2), root=tmp_path, split="val")
    loader = _loader(manifest, train=False, policy="skip", batch_size=2)
    batches = _epoch(loader)
    assert [batch.video_id.tolist() for batch in batches] == [[0, 0, 1, 1], [2, 2]]
    assert loader.broken.count == 2


def test_too_many_broken_videos_stop_the_run(
    broken_list: Callable[..., Path], tmp_path: Path
) -> None:
    manifest = read_manifest(broken_list(3, 2), root=tmp_path, split="val")
    loader = _loader(manifest, train=False, policy="skip", max_share=0.3)
    with pytest.raises(VideoDecodeError, match=r"2 of 5 .* more than max_broken_share=0.3 allows"):
        _epoch(loader)


def test_missing_videos_count_as_broken(caplog: pytest.LogCaptureFixture) -> None:
    missing = [VideoEntry(f"{i}.mp4", 0, None, None, f"l:{i}") for i in range(3)]
    log = BrokenLog("skip", total=10, max_share=0.3)
    log.record_missing(missing)
    assert log.count == 3
    assert caplog.messages == ["l:0: 0.mp4 does not exist, nor do 2 others; left out"]
    with pytest.raises(VideoDecodeError, match="3 of 10 videos are missing or broken"):
        BrokenLog("skip", total=10, max_share=0.2).record_missing(missing)


def test_collate_of_nothing_is_empty() -> None:
    packed = collate([])
    assert packed.unpack().frames == []
    assert packed.label.shape == (0,)


@pytest.mark.parametrize(
    ("kept", "end_s", "refused"), [(12, None, True), (23, None, False), (12, 0.2, False)]
)
def test_a_clip_whose_end_was_cut_off_is_broken(
    tmp_path: Path, kept: int, end_s: float | None, refused: bool
) -> None:
    path = tmp_path / "cut.mp4"
    write_video(path, 0, frames=24)
    with av.open(str(path)) as container:
        places = sorted(packet.pos for packet in container.demux(video=0) if packet.size)
    path.write_bytes(path.read_bytes()[: places[kept]])
    entry = VideoEntry(str(path), 0, None, end_s, "list.txt:7")
    sample = ClipDataset([entry], SAMPLER)[0, 0]
    assert bool(sample.broken) == refused
    if refused:
        (broken,) = sample.broken
        assert broken.where == "list.txt:7"
        assert f"{path}: cut off: its header promises 24 frames, 12 can be read" in broken.cause
    else:
        assert len(sample.views[0]) == SAMPLER.num_frames


def test_workers_leave_signals_to_the_main_process():
    child = os.fork()
    if child == 0:
        _init_worker(None, 0)
        for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGTERM):
            os.kill(os.getpid(), number)
        os._exit(signal.alarm(0))  # the seconds that it would still have lived
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) in range(50, 61)
