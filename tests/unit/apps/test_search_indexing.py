import csv
import os
import threading
from pathlib import Path

import pytest

from tests.unit.apps.coloured_videos import COLOURS, write_video
from tests.unit.apps.small_retrievers import write_retriever
from video_adapt.apps import search_indexing
from video_adapt.apps.search_indexing import VideoIndexer, open_or_create
from video_adapt.apps.search_model import SearchModel
from video_adapt.errors import ConfigurationError, VideoDecodeError, WeightsError


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("retriever")
    return SearchModel(write_retriever(folder / "mean.ckpt", kind="meanP"), device="cpu")


@pytest.fixture
def videos(tmp_path):
    """One of three windows, three of one."""
    long = write_video(tmp_path / "videos/long.mp4", COLOURS)
    return [long, *(write_video(tmp_path / f"videos/{name}.mp4", [name]) for name in COLOURS)]


def make(path, model, **options):
    return VideoIndexer(model, open_or_create(path, model, window_s=1.0), **options)


def hits(path, model, sentence, k=2):
    index = open_or_create(path, model).index
    entries = index.search(model.encode_text([sentence]), k).entries[0]
    return [(Path(entry.path).name, round(entry.start_s)) for entry in entries]


@pytest.mark.parametrize(("workers", "batch_size"), [(1, 1), (3, 2), (2, 100)])
def test_every_window_is_found_by_what_it_shows(tmp_path, model, videos, workers, batch_size):
    done = []
    index = make(tmp_path / "i", model, workers=workers, batch_size=batch_size)
    report = index(videos, on_progress=lambda read, _: done.append(read))
    assert (report.indexed, report.windows, report.kept, report.broken) == (4, 6, 0, {})
    for number, colour in enumerate(COLOURS):
        found = hits(tmp_path / "i", model, f"a {colour} square")
        assert set(found) == {(f"{colour}.mp4", 0), ("long.mp4", number)}
    assert done == sorted(done)
    assert done[-1] == pytest.approx(4)


def test_what_is_there_is_not_read_again(tmp_path, model, videos, monkeypatch):
    make(tmp_path / "i", model)(videos[:2])
    read = []
    monkeypatch.setattr(
        model, "open", lambda path, open_=model.open: read.append(path) or open_(path)
    )
    report = make(tmp_path / "i", model)([*videos, videos[0]])
    assert (report.indexed, report.kept) == (2, 2)
    assert sorted(read) == sorted(str(video) for video in videos[2:])


def test_a_changed_video_is_read_again(tmp_path, model, videos):
    make(tmp_path / "i", model)(videos)
    write_video(videos[0], ["blue"])
    os.utime(videos[1], ns=(1, 1))
    report = make(tmp_path / "i", model)(videos)
    assert (report.indexed, report.windows, report.kept) == (2, 2, 2)
    assert set(hits(tmp_path / "i", model, "a blue square")) == {("blue.mp4", 0), ("long.mp4", 0)}
    assert len(open_or_create(tmp_path / "i", model).index) == 4


@pytest.fixture
def broken(tmp_path, videos):
    """A file that is no video, one whose end is damaged, and one that is not there."""
    (tmp_path / "text.mp4").write_text("not a video")
    damaged = write_video(tmp_path / "damaged.mp4", COLOURS)
    content = bytearray(damaged.read_bytes())
    start = content.index(b"mdat")
    middle = start + (content.index(b"moov") - start) // 2
    content[middle : content.index(b"moov") - 4] = bytes(content.index(b"moov") - 4 - middle)
    damaged.write_bytes(content)
    return [tmp_path / "text.mp4", damaged, tmp_path / "gone.mp4"]


def test_broken_videos_are_left_out_and_listed(tmp_path, model, videos, broken, caplog):
    done = []
    index = make(tmp_path / "i", model, batch_size=4)
    report = index([*broken, *videos], on_progress=lambda read, _: done.append(read))
    assert (report.indexed, report.windows) == (4, 6)
    assert set(report.broken) == {str(path) for path in broken}
    assert "gone.mp4: no such file; check the path" in caplog.text
    assert report.listing == tmp_path / "i/broken.csv"
    with report.listing.open(newline="") as file:
        assert dict(csv.reader(file)) == {"video": "error", **report.broken}
    assert done[-1] == pytest.approx(7)
    assert all(not path.startswith(str(tmp_path / "damaged")) for path in _paths(tmp_path, model))
    again = make(tmp_path / "i", model)(videos)
    assert again.kept == 4
    assert not (tmp_path / "i/broken.csv").exists()


def _paths(tmp_path, model):
    return [file.path for file in open_or_create(tmp_path / "i", model).files.files()]


def test_a_broken_video_can_end_the_work_and_nothing_is_lost(tmp_path, model, videos, broken):
    index = make(tmp_path / "i", model, on_broken="error", batch_size=1)
    with pytest.raises(VideoDecodeError, match=r"text\.mp4"):
        index([*videos, broken[0]])
    assert len(_paths(tmp_path, model)) == 4
    assert make(tmp_path / "i", model)(videos).kept == 4


def test_an_interruption_keeps_what_was_read(tmp_path, model, videos, monkeypatch):
    calls = []

    def encode(clips, encode=model.encode):
        calls.append(clips)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return encode(clips)

    monkeypatch.setattr(model, "encode", encode)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "i", model, workers=1, batch_size=1)(videos)
    assert len(_paths(tmp_path, model)) == 2  # three windows of one, one of the other
    assert not [t for t in threading.enumerate() if t.name.startswith("decode")]
    monkeypatch.undo()
    report = make(tmp_path / "i", model)(videos)
    assert (report.indexed, report.kept) == (2, 2)


def test_what_is_read_is_stored_after_a_while(tmp_path, model, videos, monkeypatch):
    """A process that is killed says nothing any more: what it stored before has to be there."""
    monkeypatch.setattr(search_indexing, "_STORE_EVERY_S", -1.0)
    kept, said = [], []

    def look(_, stored):
        kept.append(len(open_or_create(tmp_path / "i", model).files.files()))
        said.append(stored)

    make(tmp_path / "i", model, batch_size=1)(videos, on_progress=look)
    assert kept == said
    assert sorted(set(kept)) == [0, 1, 2, 3, 4]


def test_an_error_of_our_own_is_not_a_broken_video(tmp_path, model, videos, monkeypatch):
    monkeypatch.setattr(model, "_prepare", lambda frames: frames.no_such_thing)
    with pytest.raises(AttributeError, match="no_such_thing"):
        make(tmp_path / "i", model)(videos)


def test_whole_videos_have_one_vector(tmp_path, model, videos):
    folder = open_or_create(tmp_path / "i", model, window_s=float("inf"), precision="int8")
    report = VideoIndexer(model, folder)(videos)
    assert (report.indexed, report.windows) == (4, 4)
    record = open_or_create(tmp_path / "i", model, window_s=float("inf")).record
    assert (record.window_s, record.stride_s, record.precision) == (None, None, "int8")


@pytest.mark.parametrize(
    "settings",
    [
        {"window_s": 0.0},
        {"window_s": float("nan")},
        {"window_s": 2.0, "stride_s": 3.0},
        {"stride_s": 0.0},
        {"window_s": float("inf"), "stride_s": 3.0},
    ],
)
def test_impossible_windows_are_refused(tmp_path, model, settings):
    with pytest.raises(ConfigurationError, match="the stride at most the window"):
        open_or_create(tmp_path / "i", model, **settings)
    assert not (tmp_path / "i").exists()


def test_settings_of_an_index_stay(tmp_path, model):
    settings = {"window_s": 2.0, "stride_s": 1.0, "precision": "float32", "backend": "torch"}
    assert open_or_create(tmp_path / "i", model, **settings).record.stride_s == 1.0
    assert open_or_create(tmp_path / "i", model, **settings).record.precision == "float32"
    for name, value in [
        ("window_s", 3.0),
        ("stride_s", 2.0),
        ("precision", "int8"),
        ("backend", "faiss"),
    ]:
        with pytest.raises(ConfigurationError, match=f"made with {name.removesuffix('_s')} "):
            open_or_create(tmp_path / "i", model, **{name: value})


def test_an_index_of_another_checkpoint_is_refused(tmp_path, model):
    open_or_create(tmp_path / "i", model)
    other = SearchModel(write_retriever(tmp_path / "other.ckpt", kind="meanP", seed=1))
    with pytest.raises(WeightsError, match="not with this checkpoint"):
        open_or_create(tmp_path / "i", other)


def test_damaged_vectors_are_made_again(tmp_path, model, videos):
    make(tmp_path / "i", model)(videos)
    (segment,) = (tmp_path / "i/vectors").glob("segment-*")
    segment.write_bytes(b"?")
    folder = open_or_create(tmp_path / "i", model, damaged="skip")
    assert VideoIndexer(model, folder)(videos).indexed == 4
    assert len(open_or_create(tmp_path / "i", model).index) == 6


@pytest.mark.parametrize("options", [{"workers": 0}, {"batch_size": 0}])
def test_somebody_has_to_work(tmp_path, model, options):
    with pytest.raises(ConfigurationError, match="give 1 or more of each"):
        make(tmp_path / "i", model, **options)


def test_vectors_do_not_depend_on_who_reads_when(tmp_path, model, videos):
    found = []
    for name, workers, batch_size in (("a", 1, 1), ("b", 3, 4)):
        make(tmp_path / name, model, workers=workers, batch_size=batch_size)(videos)
        index = open_or_create(tmp_path / name, model).index
        hits = index.search(model.encode_text(["a green square"]), 6)
        found.append(dict(zip(hits.ids[0], hits.scores[0].tolist(), strict=True)))
    assert found[0] == pytest.approx(found[1], abs=1e-3)
