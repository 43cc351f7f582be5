import fcntl
import json
import logging
import os
from pathlib import Path

import pytest
import torch

from video_adapt.errors import ConfigurationError, WeightsError
from video_adapt.retrieval import index_torch
from video_adapt.retrieval.index import Entry
from video_adapt.retrieval.index_files import IndexFolder
from video_adapt.retrieval.index_torch import TorchIndex

WIDTH = 6


def create(folder, precision="float32"):
    return TorchIndex.create(folder, checkpoint="c" * 64, width=WIDTH, precision=precision)


def load(folder, **options):
    return TorchIndex.load(folder, checkpoint="c" * 64, **options)


def vector_of(name):
    """A direction of its own for every name."""
    return torch.randn(WIDTH, generator=torch.Generator().manual_seed(sum(map(ord, name))))


def entry_of(name, **fields):
    return Entry(f"/videos/{name}.mp4", 1.0, 2.5, fields)


def add(index, names, **fields):
    vectors = torch.stack([vector_of(name) for name in names])
    index.add(list(names), vectors, [entry_of(name, **fields) for name in names])


def found(index, name):
    """Best hit and its score for the vector of a name."""
    hits = index.search(vector_of(name)[None], 1)
    return hits.ids[0][0], float(hits.scores[0, 0])


def assert_holds(index, names):
    assert len(index) == len(names)
    for name in names:
        assert name in index
        assert found(index, name) == (name, pytest.approx(1, abs=1e-3))
    assert set(index.search(torch.ones(1, WIDTH), 10_000).ids[0]) == set(names)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "index"


@pytest.fixture
def index(folder):
    index = create(folder)
    add(index, "abc", hall=1)
    add(index, "de", hall=2)
    return index


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_what_was_added_outlives_the_process(folder, precision):
    add(create(folder, precision), "abc")
    assert_holds(load(folder), "abc")


def test_hits_come_best_first_with_what_they_are_of(index):
    hits = index.search(vector_of("d")[None].repeat(2, 1), 3)
    scores = torch.nn.functional.cosine_similarity(
        vector_of("d")[None], torch.stack([vector_of(name) for name in "abcde"])
    )
    order = scores.argsort(descending=True)[:3]
    assert hits.ids == [["abcde"[i] for i in order]] * 2
    assert torch.allclose(hits.scores, scores[order].expand(2, -1), atol=1e-6)
    assert hits.entries[0][0] == entry_of("d", hall=2)


def test_a_filter_sees_metadata_of_earlier_processes(folder, index):
    for one in (index, load(folder)):
        hits = one.search(vector_of("a")[None], 9, where=lambda entry: entry.fields["hall"] == 2)
        assert sorted(hits.ids[0]) == ["d", "e"]
        none = one.search(vector_of("a")[None], 9, where=lambda entry: entry.start_s > 1)
        assert none.ids == [[]]
        assert none.scores.shape == (1, 0)


def test_a_filter_is_not_asked_about_deleted_vectors(index):
    index.delete("a")
    asked = []
    index.search(torch.ones(1, WIDTH), 1, where=lambda entry: asked.append(entry) or True)
    assert [Path(entry.path).stem for entry in asked] == ["b", "c", "d", "e"]


def test_deleted_vectors_stay_deleted(folder, index):
    assert index.delete(["b", "e", "unknown"]) == 2
    for one in (index, load(folder)):
        assert_holds(one, "acd")
    assert index.delete(["b"]) == 0


def test_adding_a_name_again_replaces_it(folder, index):
    index.add(["a"], vector_of("z")[None], [entry_of("z")])
    for one in (index, load(folder)):
        assert len(one) == 5
        assert found(one, "z") == ("a", pytest.approx(1, abs=1e-6))
        assert found(one, "a")[1] < 0.999
        assert one.search(vector_of("z")[None], 1).entries[0][0].path == "/videos/z.mp4"


def test_the_same_content_twice_is_one_file_and_one_vector(folder, index):
    add(index, "de", hall=2)
    index.compact()
    assert_holds(load(folder), "abcde")


def test_an_empty_index_finds_nothing(folder):
    create(folder).add([], torch.zeros(0, WIDTH), [])
    hits = load(folder).search(torch.ones(2, WIDTH), 3)
    assert hits.ids == [[], []]
    assert hits.scores.shape == (2, 0)


def test_compaction_drops_deleted_vectors_from_the_disk(folder, index):
    index.delete("ab")
    (folder / "segment-0.safetensors.part").write_bytes(b"half")
    index.compact()
    (segment,) = folder.glob("segment-*")
    assert b"/videos/a.mp4" not in segment.read_bytes()
    for one in (index, load(folder)):
        assert_holds(one, "cde")
    add(index, "f")
    assert_holds(load(folder), "cdef")


def test_an_index_compacts_itself_when_most_of_it_is_deleted(folder, index):
    index.delete("abd")
    assert len(list(folder.glob("segment-*"))) == 1
    assert_holds(load(folder), "ce")


def test_an_index_can_be_emptied(folder, index):
    index.delete("abcde")
    assert not list(folder.glob("segment-*"))
    assert_holds(index, "")
    assert_holds(load(folder), "")
    add(index, "a")
    assert_holds(load(folder), "a")


def test_compaction_cuts_large_indexes(folder, index, monkeypatch):
    monkeypatch.setattr(index_torch, "_LARGEST_ROWS", 2)
    index.compact()
    assert len(list(folder.glob("segment-*"))) == 3
    assert_holds(load(folder), "abcde")


def test_many_small_files_become_one(folder, index, monkeypatch):
    monkeypatch.setattr(index_torch, "_MOST_SMALL_SEGMENTS", 3)
    for name in "fghijkl":
        add(index, name)
        assert len(list(folder.glob("segment-*"))) <= 3
        if name == "g":
            index.delete("f")
    for one in (index, load(folder)):
        assert_holds(one, "abcdeghijkl")


def test_large_files_are_not_merged(folder, index, monkeypatch):
    monkeypatch.setattr(index_torch, "_MOST_SMALL_SEGMENTS", 1)
    monkeypatch.setattr(index_torch, "_SMALL_ROWS", 3)
    first = {path.name for path in folder.glob("segment-*") if b"/a.mp4" in path.read_bytes()}
    add(index, "f")
    assert first < {path.name for path in folder.glob("segment-*")}
    assert len(list(folder.glob("segment-*"))) == 2
    assert_holds(load(folder), "abcdef")


def test_a_saved_copy_is_compact_and_independent(folder, index, tmp_path):
    index.delete("a")
    index.save(tmp_path / "copy")
    index.delete("b")
    assert_holds(load(tmp_path / "copy"), "bcde")
    with pytest.raises(ConfigurationError, match="holds an index already"):
        index.save(tmp_path / "copy")


class PowerCutError(Exception):
    pass


def cut_power(monkeypatch, after):
    """Fail at the n-th call that puts something on the disk."""
    left = [after]

    def count(call):
        def counted(*arguments, **options):
            left[0] -= 1
            if left[0] < 0:
                raise PowerCutError
            return call(*arguments, **options)

        return counted

    monkeypatch.setattr(os, "fsync", count(os.fsync))
    for name in ("replace", "unlink"):
        monkeypatch.setattr(Path, name, count(getattr(Path, name)))


@pytest.mark.parametrize(
    ("write", "after", "moments"),
    [  # a file is flushed, takes its name, and the name is flushed
        (lambda index: add(index, "fg"), "abcdefg", 3 + 3),
        (lambda index: index.delete("ad"), "bce", 3),
        (lambda index: index.compact(), "abcde", 3 + 3 + 2),
    ],
    ids=["add", "delete", "compact"],
)
def test_a_crash_at_any_moment_leaves_all_or_nothing(
    tmp_path, monkeypatch, caplog, write, after, moments
):
    for moment in range(moments + 1):
        folder = tmp_path / str(moment)
        index = create(folder)
        add(index, "abc")
        add(index, "de")
        with monkeypatch.context() as patch:
            cut_power(patch, moment)
            try:
                write(index)
                break
            except PowerCutError:
                pass
        caplog.clear()
        opened = load(folder)
        assert_holds(opened, after if "f" in opened or "a" not in opened else "abcde")
        left = {path.name for path in folder.iterdir()} - listed(folder)
        assert all(name in caplog.text for name in sorted(left)[:3])
        add(opened, "fg")
        assert {"f", "g"} < set(load(folder).search(torch.ones(1, WIDTH), 99).ids[0])
    assert moment == moments
    assert_holds(load(folder), after)


def listed(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    return {segment["file"] for segment in manifest["segments"]} | {"manifest.json", "lock"}


def test_remains_of_a_crash_are_said(folder, index, caplog):
    (folder / "segment-77.safetensors.part").write_bytes(b"half")
    with caplog.at_level(logging.WARNING):
        assert_holds(load(folder), "abcde")
    assert "1 files of interrupted writes are ignored (segment-77" in caplog.text


def test_an_index_of_another_checkpoint_is_refused(folder, index):
    with pytest.raises(WeightsError, match="made by checkpoint cccccccccccc, not by this one"):
        TorchIndex.load(folder, checkpoint="d" * 64)


def segment_with(folder, name):
    return next(p for p in folder.glob("segment-*") if f"/{name}.mp4".encode() in p.read_bytes())


@pytest.mark.parametrize("harm", ["change", "cut", "remove"])
def test_a_damaged_file_is_named_or_left_out_by_request(folder, index, caplog, harm):
    path = segment_with(folder, "d")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data[:-5] if harm == "cut" else data)
    if harm == "remove":
        path.unlink()
    with pytest.raises(WeightsError, match=f"{path.name}: damaged or missing .* 2 vectors"):
        load(folder)
    opened = load(folder, damaged="skip")
    assert path.name in caplog.text
    assert_holds(opened, "abc")
    add(opened, "de", hall=2)
    assert_holds(load(folder), "abcde")


@pytest.mark.parametrize("content", [b"", b"[]", b'{"a": 1}', b"\xff\xfe\xfa"])
def test_a_damaged_manifest_is_named(folder, index, content):
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(WeightsError, match=r"manifest\.json: damaged or incomplete"):
        load(folder)


def test_a_changed_manifest_is_noticed(folder, index):
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"width": 6', '"width": 7'))
    with pytest.raises(WeightsError, match="damaged or incomplete"):
        load(folder)


def test_a_folder_without_an_index_is_said(tmp_path, index, folder):
    with pytest.raises(ConfigurationError, match=r"holds no index \(no file 'manifest.json'\)"):
        load(tmp_path)
    (folder / "lock").unlink()
    with pytest.raises(ConfigurationError, match="no file 'lock'"):
        load(folder)


def test_an_index_is_not_begun_twice(folder, index):
    with pytest.raises(ConfigurationError, match="holds an index already"):
        create(folder)
    with pytest.raises(ConfigurationError, match="precision 'int4'"):
        create(folder, "int4")


def test_of_two_writers_the_later_is_told(folder, index):
    other = load(folder)
    add(other, "f")
    for write in (lambda: add(index, "g"), lambda: index.delete("a"), index.compact):
        with pytest.raises(ConfigurationError, match="another process wrote"):
            write()
    assert_holds(load(folder), "abcdef")
    assert_holds(index, "abcde")


def test_writers_exclude_everybody_and_readers_only_writers(folder, index):
    files = IndexFolder(folder)
    with (folder / "lock").open("ab") as other:
        with files.reading():
            fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
            with pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(other, fcntl.LOCK_UN)
        with files.writing(), pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)


@pytest.mark.parametrize(
    ("ids", "vectors", "entries"), [("aa", 2, 2), ("ab", 1, 2), ("ab", 2, 1), ("a", 2, 2)]
)
def test_each_vector_has_one_id_and_one_entry(index, ids, vectors, entries):
    with pytest.raises(ConfigurationError, match="one of each, every id once"):
        index.add(list(ids), torch.ones(vectors, WIDTH), [entry_of("x")] * entries)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (Entry("v", 2.0, 1.0), "'n': lasts from 2.0 s to 1.0 s"),
        (Entry("v", 0.0, torch.inf), "give finite times"),
        (Entry("v", 0.0, 1.0, {"x": torch.ones(1)}), "'n': its fields cannot be stored"),
        (Entry("v", 0.0, 1.0, {"x": float("nan")}), "fields cannot be stored"),
    ],
)
def test_entries_that_cannot_be_stored_are_named(folder, index, entry, message):
    with pytest.raises(ConfigurationError, match=message):
        index.add(["n"], torch.ones(1, WIDTH), [entry])
    assert_holds(load(folder), "abcde")


def test_vectors_and_queries_are_checked(index):
    with pytest.raises(WeightsError, match="zero or not finite"):
        index.add(["n"], torch.zeros(1, WIDTH), [entry_of("n")])
    with pytest.raises(WeightsError, match="zero or not finite"):
        index.search(torch.full((1, WIDTH), torch.nan), 1)
    with pytest.raises(ConfigurationError, match="k is 0"):
        index.search(torch.ones(1, WIDTH), 0)
