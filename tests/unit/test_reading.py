import multiprocessing
from pathlib import Path

import pytest

import video_adapt.reading
from video_adapt.reading import ReadingBoard, being_read, reading


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """A process that reads nothing, whatever other tests left open."""
    monkeypatch.setattr(video_adapt.reading, "_own", video_adapt.reading._Own())


def names():
    return [(found.reader, found.path) for found in being_read()]


def test_a_file_is_named_while_it_is_open():
    assert names() == []
    with reading("outer.mp4"):
        with reading(Path("inner.mp4")):
            assert names() == [("main process", "inner.mp4")]
        assert names() == [("main process", "outer.mp4")]
        assert 0 <= being_read()[0].since_s < 60
    assert names() == []


def test_files_may_be_closed_in_any_order():
    first, second = reading("first.mp4"), reading("second.mp4")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert names() == [("main process", "second.mp4")]
    second.__exit__(None, None, None)
    assert names() == []


def test_a_file_that_fails_is_read_no_longer():
    with pytest.raises(OSError, match="gone"), reading("broken.mp4"):
        raise OSError("gone")
    assert names() == []


def test_of_a_long_path_the_end_is_kept():
    with reading("x" * 5000 + "/é.mp4"):
        ((_, path),) = names()
    assert path.endswith("/é.mp4")
    assert len(path) < 1024


def _read_as(board, worker, at_it, enough):
    board.join(worker)
    with reading(f"{worker}.mp4"):
        at_it.release()
        enough.wait(60)
    at_it.release()


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_what_workers_read_is_seen_from_outside(method):
    context = multiprocessing.get_context(method)
    board = ReadingBoard(3)
    at_it, enough = context.Semaphore(0), context.Event()
    workers = [
        context.Process(target=_read_as, args=(board, number, at_it, enough)) for number in (0, 2)
    ]
    for worker in workers:
        worker.start()
    for _ in workers:
        assert at_it.acquire(timeout=120)
    assert names() == [("worker 0", "0.mp4"), ("worker 2", "2.mp4")]
    enough.set()
    for worker in workers:
        worker.join(60)
    assert board.readings() == []


def test_a_board_that_is_gone_is_not_asked():
    board = ReadingBoard(1)
    board.join(0)
    with reading("kept.mp4"):
        assert ("worker 0", "kept.mp4") in names()
        del board
        assert ("worker 0", "kept.mp4") not in names()
