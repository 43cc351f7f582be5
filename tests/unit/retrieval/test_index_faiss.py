"""The lists of faiss are derived: whatever happens to them, hits stay right."""

import logging

import pytest
import torch

from video_adapt.retrieval import Entry, create_index, index_faiss, open_index

pytest.importorskip("faiss", reason="pip install video_adapt[index]")
WIDTH, CHECKPOINT = 8, "c" * 64


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(index_faiss, "_LEAST_ROWS", 100)
    monkeypatch.setattr(index_faiss, "_LISTS_PER_ROOT", 1)
    monkeypatch.setattr(index_faiss, "_PROBED", 4)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "index"


@pytest.fixture
def index(folder):
    index = create_index(folder, checkpoint=CHECKPOINT, width=WIDTH, backend="faiss")
    add(index, range(900))
    return index


def vectors_of(numbers):
    return torch.randn(5000, WIDTH, generator=torch.Generator().manual_seed(0))[list(numbers)]


def add(index, numbers):
    entries = [Entry(f"{n}.mp4", float(n), n + 1.0) for n in numbers]
    index.add([str(n) for n in numbers], vectors_of(numbers), entries)


def reopen(folder):
    return open_index(folder, checkpoint=CHECKPOINT)


def recall(index, numbers, k=5, where=None):
    queries = torch.nn.functional.normalize(torch.randn(50, WIDTH), dim=1)
    kept = [n for n in numbers if where is None or where(Entry("", float(n), n + 1.0))]
    vectors = torch.nn.functional.normalize(vectors_of(kept), dim=1)
    best = (queries @ vectors.T).topk(k).indices.tolist()
    found = index.search(queries, k, where=where).ids
    pairs = zip(found, best, strict=True)
    return sum(len({*ids} & {str(kept[i]) for i in row}) for ids, row in pairs) / (50 * k)


def test_few_lists_hold_nearly_all_that_is_near(index, folder):
    assert 0.8 < recall(index, range(900)) < 1
    stored = (folder / "faiss.index").read_bytes()
    assert 0.8 < recall(reopen(folder), range(900)) < 1
    assert (folder / "faiss.index").read_bytes() == stored


def test_scores_are_those_of_the_stored_vectors(index):
    vectors = torch.nn.functional.normalize(vectors_of(range(900)), dim=1)
    hits = index.search(vectors[:20], 3)
    rows = torch.tensor([[int(name) for name in ids] for ids in hits.ids])
    expected = torch.einsum("qd,qkd->qk", vectors[:20], vectors[rows].half().float())
    assert torch.allclose(hits.scores, expected, atol=1e-6)
    assert (hits.scores.diff(dim=1) <= 0).all()


def test_a_filter_that_empties_the_nearest_lists_looks_into_the_others(index, monkeypatch):
    monkeypatch.setattr(index_faiss, "_PROBED", 1)
    assert recall(index, range(900), k=20, where=lambda entry: entry.start_s % 2 == 0) > 0.6
    hits = index.search(vectors_of(range(5)), 20, where=lambda entry: entry.start_s % 2 == 0)
    assert all(len(ids) == 20 for ids in hits.ids)


def test_vectors_added_after_training_are_in_the_lists(index, folder):
    before = (folder / "faiss.index").read_bytes()
    add(index, range(900, 1000))
    assert (folder / "faiss.index").read_bytes() == before
    for one in (index, reopen(folder)):
        assert recall(one, range(1000)) > 0.8
        assert one.search(vectors_of([950]), 1).ids == [["950"]]


def test_lists_are_trained_again_when_the_index_has_doubled(index, folder):
    add(index, range(900, 2000))
    assert index._lists.nlist == 44
    assert reopen(folder).search(vectors_of([1900]), 1).ids == [["1900"]]


@pytest.mark.parametrize("harm", ["change", "cut", "remove", "stale"])
def test_damaged_or_foreign_lists_are_made_anew(index, folder, tmp_path, caplog, harm):
    path = folder / "faiss.index"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    if harm in ("change", "cut"):
        path.write_bytes(data if harm == "change" else data[:40])
    elif harm == "remove":
        path.unlink()
    else:
        other = create_index(tmp_path / "b", checkpoint=CHECKPOINT, width=WIDTH, backend="faiss")
        add(other, range(1000, 1800))
        path.write_bytes((tmp_path / "b" / "faiss.index").read_bytes())
    opened = reopen(folder)
    with caplog.at_level(logging.WARNING):
        assert recall(opened, range(900)) > 0.8
    assert "made the lists of faiss anew" in caplog.text
    opened.compact()
    caplog.clear()
    assert recall(reopen(folder), range(900)) > 0.8
    assert not caplog.text


def test_a_saved_copy_has_lists_of_its_own(index, tmp_path, caplog):
    index.delete([str(n) for n in range(100)])
    index.save(tmp_path / "copy")
    assert recall(reopen(tmp_path / "copy"), range(100, 900)) > 0.8
    assert not caplog.text
