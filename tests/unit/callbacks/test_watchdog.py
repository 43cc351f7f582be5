"""A run that hangs names process and file; one that goes on says nothing."""

import os
import re
import threading
import time
from types import SimpleNamespace

import pytest

import video_adapt.reading
from data_modules.annotations import VideoEntry
from data_modules.dataset import ClipDataset
from data_modules.loader import BrokenLog, ClipLoader, LoaderOptions
from data_modules.samplers import EvalSampler
from tests.unit.callbacks.toy import ToyData, ToyRecogniser, quick_trainer
from video_adapt.callbacks import Watchdog
from video_adapt.errors import ConfigurationError
from video_adapt.reading import reading
from video_adapt.video import SegmentSampler

SECOND_OF_THREE = SimpleNamespace(global_rank=1, world_size=3, current_epoch=4)


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """A process that reads nothing, whatever other tests left open."""
    monkeypatch.setattr(video_adapt.reading, "_own", video_adapt.reading._Own())


@pytest.fixture
def dog():
    """A watchdog that loses its patience in a moment, watching the second of three processes."""
    watchdog = Watchdog(patience_s=0.1)
    watchdog.setup(SECOND_OF_THREE, None, "fit")
    yield watchdog
    watchdog.teardown(SECOND_OF_THREE, None, "fit")


def wait_for(condition):
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen within a minute")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_video_that_never_answers_is_named(tmp_path, dog, caplog, workers):
    """A pipe into which nobody writes holds up the real reader, as a dead network disk does."""
    path = tmp_path / "stuck.mp4"
    os.mkfifo(path)
    entry = VideoEntry(str(path), 0, None, None, "list.csv:1")
    loader = ClipLoader(
        ClipDataset([entry], SegmentSampler(num_frames=2), views=1),
        EvalSampler(1),
        options=LoaderOptions(num_workers=workers),
        batch_size=1,
        broken=BrokenLog("skip", 1, 1.0),
    )
    reader = f"worker {workers - 1}" if workers else "main process"

    def release():
        wait_for(lambda: f"{reader} reads {path} for" in caplog.text)
        path.open("wb").close()

    helper = threading.Thread(target=release)
    helper.start()
    assert list(loader) == []  # what was written into the pipe is no video
    helper.join()
    loader.close()
    (line, *_) = [r.getMessage() for r in caplog.records if str(path) in r.getMessage()]
    head = rf"rank 1 of 3 on \S+ \(process {os.getpid()}\): no batch for \d+ s, the last was before"
    assert re.match(head, line), line


def test_a_reader_that_sleeps_is_named_with_the_last_batch(dog, caplog):
    dog.on_train_batch_end(SECOND_OF_THREE, None, None, None, 17)
    with reading("asleep.mp4"):
        wait_for(lambda: "main process reads asleep.mp4 for" in caplog.text)
    assert "the last was training batch 17 of epoch 4" in caplog.text


def test_who_reads_nothing_waits_for_somebody(dog, caplog):
    wait_for(lambda: caplog.records)
    assert "it reads no file, so another process or the device is late" in caplog.text
    assert re.search(r"it stands in \w+ \(\w+\.py:\d+\)", caplog.text)


def test_it_speaks_once_per_patience_and_only_in_silence(monkeypatch, caplog):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(
        "video_adapt.callbacks.watchdog.time", SimpleNamespace(monotonic=lambda: clock.now)
    )
    watchdog = Watchdog(patience_s=0.1)
    looked = threading.Semaphore(0)
    wait = watchdog._over.wait
    watchdog._over.wait = lambda seconds: (looked.release(), wait(seconds))[1]
    watchdog.setup(SECOND_OF_THREE, None, "fit")

    def lines_at(now):
        clock.now = now
        for _ in range(3):  # the second look at the latest began after the clock was set
            assert looked.acquire(timeout=60)
        while looked.acquire(blocking=False):
            pass
        assert looked.acquire(timeout=60)
        return len(caplog.records)

    assert lines_at(0.09) == 0
    watchdog.on_train_batch_end(SECOND_OF_THREE, None, None, None, 0)
    assert lines_at(0.18) == 0
    assert lines_at(0.20) == 1
    assert lines_at(0.25) == 1
    assert lines_at(0.31) == 2
    watchdog.on_train_batch_end(SECOND_OF_THREE, None, None, None, 1)
    assert lines_at(0.40) == 2
    watchdog.teardown(SECOND_OF_THREE, None, "fit")


class Notes(Watchdog):
    """Remembers what it was told."""

    def __init__(self):
        super().__init__()
        self.places = []

    def _beat(self, place):
        super()._beat(place)
        self.places.append(place)


def test_every_loop_keeps_it_quiet(tmp_path):
    notes = Notes()
    data = ToyData(shown=[0, 1] * 4, labels=[0] * 4)
    trainer = quick_trainer(tmp_path, notes)
    trainer.fit(ToyRecogniser(), data)
    trainer.test(ToyRecogniser(), data)
    expected = {
        "before the first batch",
        *(f"training batch {number} of epoch 0" for number in (0, 1)),
        *(f"validation batch {number} after epoch 0" for number in (0, 1)),
        *(f"test batch {number} of loader 0" for number in (0, 1)),
    }
    assert set(notes.places) == expected
    assert notes._thread is None


def test_a_run_that_fails_leaves_no_thread(tmp_path):
    class Failing(ToyRecogniser):
        def training_step(self, batch, batch_idx):
            assert watchdog._thread.is_alive()
            raise RuntimeError("failed")

    watchdog = Watchdog()
    data = ToyData(shown=[0, 1] * 4, labels=[0] * 4)
    with pytest.raises(RuntimeError, match="failed"):
        quick_trainer(tmp_path, watchdog).fit(Failing(), data)
    assert watchdog._thread is None


def test_patience_is_needed():
    with pytest.raises(ConfigurationError, match="patience_s is 0"):
        Watchdog(patience_s=0)
