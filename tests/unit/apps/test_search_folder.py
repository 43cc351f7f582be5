import json
import sqlite3

import pytest
import torch
from torch.nn import functional as F

from video_adapt.apps.search_catalogue import Catalogue, FileState, IndexedFile
from video_adapt.apps.search_folder import ReadFile, SearchFolder, SearchRecord
from video_adapt.errors import ConfigurationError, WeightsError
from video_adapt.retrieval import Entry

RECORD = SearchRecord(
    checkpoint="/runs/best.ckpt",
    digest="a" * 64,
    recipe={"max_words": 12},
    width=8,
    window_s=10.0,
    stride_s=5.0,
)
STATE = FileState(100, 5)


def read_file(path, windows, *, state=STATE, seed=0):
    generator = torch.Generator().manual_seed(seed)
    vectors = F.normalize(torch.randn(windows, 8, generator=generator), dim=1)
    entries = [Entry(path, 5.0 * k, 5.0 * k + 10) for k in range(windows)]
    return ReadFile(path, state, entries, vectors)


def found(folder, video):
    """What a search for the vectors of a video gives as the best of each."""
    return [entries[0] for entries in folder.index.search(video.vectors, 1).entries]


def test_a_folder_is_what_it_was_when_opened_again(tmp_path):
    folder = SearchFolder.create(tmp_path / "i", RECORD)
    a, b = read_file("/a.mp4", 3), read_file("/b.mp4", 1, seed=1)
    folder.add([a, b])
    again = SearchFolder.open(tmp_path / "i", digest=RECORD.digest)
    assert again.record == RECORD
    assert len(again.index) == 4
    assert found(again, a) == a.entries
    assert again.stored() == {"/a.mp4": STATE, "/b.mp4": STATE}


def test_a_newer_version_takes_the_place_of_an_older_one(tmp_path):
    folder = SearchFolder.create(tmp_path / "i", RECORD)
    folder.add([read_file("/a.mp4", 4)])
    newer = read_file("/a.mp4", 2, state=FileState(90, 7), seed=1)
    folder.add([newer])
    assert len(folder.index) == 2
    assert found(folder, newer) == newer.entries
    assert folder.stored().get("/a.mp4") == FileState(90, 7)
    longer = read_file("/a.mp4", 5, state=FileState(200, 8), seed=2)
    folder.add([longer])
    assert found(folder, longer) == longer.entries
    assert folder.files.get("/a.mp4") == IndexedFile("/a.mp4", 5, FileState(200, 8))


@pytest.mark.parametrize("broken_call", ["delete", "add"])
def test_what_is_cut_off_while_it_is_stored_is_not_taken_for_stored(
    tmp_path, monkeypatch, broken_call
):
    """Cut off between any two writes, a video counts as unread, and none of it is left over."""
    folder = SearchFolder.create(tmp_path / "i", RECORD)
    folder.add([read_file("/a.mp4", 4), read_file("/b.mp4", 1, seed=3)])

    def stop(*_):
        raise KeyboardInterrupt

    newer = FileState(90, 7)
    monkeypatch.setattr(folder.index, broken_call, stop)
    with pytest.raises(KeyboardInterrupt):
        folder.add([read_file("/a.mp4", 2, state=newer, seed=1)])
    again = SearchFolder.open(tmp_path / "i")
    assert again.stored() == {"/b.mp4": STATE}
    again.add([read_file("/a.mp4", 2, state=newer, seed=1)])
    assert len(again.index) == 3
    assert again.stored().get("/a.mp4") == newer


def test_removing_a_video_removes_its_vectors(tmp_path):
    folder = SearchFolder.create(tmp_path / "i", RECORD)
    folder.add([read_file("/a.mp4", 4), read_file("/b.mp4", 1, seed=3)])
    file = folder.files.get("/a.mp4")
    assert folder.remove([file]) == 4
    assert [file.path for file in folder.files.files()] == ["/b.mp4"]
    assert len(SearchFolder.open(tmp_path / "i").index) == 1


def test_an_unfinished_video_can_be_removed(tmp_path, monkeypatch):
    folder = SearchFolder.create(tmp_path / "i", RECORD)

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(folder.files, "put", _only_once(folder.files.put, stop))
    with pytest.raises(KeyboardInterrupt):
        folder.add([read_file("/a.mp4", 4)])  # all vectors are there, the catalogue does not know
    again = SearchFolder.open(tmp_path / "i")
    (file,) = again.files.files()
    assert file.state is None
    assert again.remove([file]) == 4
    assert len(again.index) == 0


def _only_once(call, then):
    calls = iter([call])
    return lambda *arguments: next(calls, then)(*arguments)


def test_there_is_one_index_a_folder(tmp_path):
    SearchFolder.create(tmp_path / "i", RECORD)
    with pytest.raises(ConfigurationError, match="holds an index already"):
        SearchFolder.create(tmp_path / "i", RECORD)


def test_an_interrupted_start_is_no_index_and_can_be_made_again(tmp_path):
    for left in ("vectors", "vectors.part"):
        path = tmp_path / left
        SearchFolder.create(path, RECORD)
        (path / "search.json").unlink()
        (path / "vectors").rename(path / left)
        with pytest.raises(ConfigurationError, match=r"holds no index \(no file 'search.json'\)"):
            SearchFolder.open(path)
        folder = SearchFolder.create(path, RECORD)
        folder.add([read_file("/a.mp4", 2)])
        assert len(SearchFolder.open(path).index) == 2


def test_another_checkpoint_is_refused(tmp_path):
    SearchFolder.create(tmp_path / "i", RECORD)
    with pytest.raises(WeightsError, match=r"made with /runs/best.ckpt .*not with this checkpoint"):
        SearchFolder.open(tmp_path / "i", digest="b" * 64)


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1, "width": 3}', '{"width": 3}'])
def test_a_damaged_record_is_said(tmp_path, text):
    SearchFolder.create(tmp_path / "i", RECORD)
    (tmp_path / "i/search.json").write_text(text)
    with pytest.raises(WeightsError, match=r"search\.json: damaged; copy the index again"):
        SearchFolder.open(tmp_path / "i")


def test_another_format_is_said(tmp_path):
    SearchFolder.create(tmp_path / "i", RECORD)
    file = tmp_path / "i/search.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 9}))
    with pytest.raises(ConfigurationError, match="format 9, this version reads 1"):
        SearchFolder.open(tmp_path / "i")


def test_damaged_vectors_are_an_error_or_make_their_videos_unread(tmp_path, caplog):
    folder = SearchFolder.create(tmp_path / "i", RECORD)
    folder.add([read_file("/a.mp4", 2)])
    folder.add([read_file("/b.mp4", 1, seed=1)])
    damaged = max((tmp_path / "i/vectors").glob("segment-*"), key=lambda path: path.stat().st_size)
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    with pytest.raises(WeightsError, match="damaged or missing"):
        SearchFolder.open(tmp_path / "i")
    again = SearchFolder.open(tmp_path / "i", damaged="skip")
    assert "with 2 vectors" in caplog.text
    assert again.stored() == {"/b.mp4": STATE}


def test_a_damaged_catalogue_is_said(tmp_path):
    (tmp_path / "files.sqlite").write_bytes(b"no database, but longer than a header" * 9)
    with pytest.raises(WeightsError, match=r"files\.sqlite: damaged or not accessible"):
        Catalogue(tmp_path / "files.sqlite").files()


def test_the_catalogue_writes_all_or_nothing(tmp_path):
    catalogue = Catalogue(tmp_path / "files.sqlite")
    catalogue.put([IndexedFile("/a.mp4", 1, STATE)])
    broken = [IndexedFile("/b.mp4", 1, STATE), IndexedFile("/c.mp4", None, None)]
    with pytest.raises(WeightsError, match="NOT NULL"):
        catalogue.put(broken)
    assert [file.path for file in catalogue.files()] == ["/a.mp4"]
    with sqlite3.connect(tmp_path / "files.sqlite") as other:  # nobody else is kept out
        other.execute("DELETE FROM files")
    other.close()
    assert catalogue.files() == []


def test_a_file_that_is_gone_has_no_state(tmp_path):
    assert FileState.of(tmp_path / "none.mp4") is None
    (tmp_path / "one.mp4").write_bytes(b"123")
    state = FileState.of(tmp_path / "one.mp4")
    assert state == FileState(3, (tmp_path / "one.mp4").stat().st_mtime_ns)
