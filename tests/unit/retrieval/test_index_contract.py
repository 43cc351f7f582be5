"""What every backend of the index must do, whatever is behind it."""

import importlib.util
import os
from pathlib import Path

import pytest
import torch

from video_adapt.errors import ConfigurationError, WeightsError
from video_adapt.retrieval import Entry, create_index, index_faiss, index_lancedb, open_index
from video_adapt.retrieval.index import import_extra

WIDTH = 8
PACKAGES = {"torch": "torch", "faiss": "faiss", "lancedb": "lancedb"}
CHECKPOINT = "c" * 64


@pytest.fixture(params=PACKAGES)
def backend(request, monkeypatch):
    """Each backend, with its shortcut for many vectors taken from the 40th on."""
    package = PACKAGES[request.param]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed (pip install video_adapt[index])")
    monkeypatch.setattr(index_faiss, "_LEAST_ROWS", 40)
    monkeypatch.setattr(index_faiss, "_LISTS_PER_ROOT", 1)
    monkeypatch.setattr(index_lancedb, "_LEAST_ROWS", 40)
    return request.param


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "index"


@pytest.fixture
def index(folder, backend):
    index = create_index(
        folder, checkpoint=CHECKPOINT, width=WIDTH, precision="float32", backend=backend
    )
    add(index, range(300))
    return index


def vectors_of(numbers):
    noise = torch.randn(1000, WIDTH, generator=torch.Generator().manual_seed(0))
    return noise[list(numbers)]


def name_of(number):
    return f"it's {number}"


def add(index, numbers, *, of=None):
    entries = [Entry(f"/v/{n}.mp4", float(n), n + 1.5, {"even": n % 2 == 0}) for n in numbers]
    index.add([name_of(n) for n in numbers], vectors_of(of or numbers), entries)


def reopen(folder):
    return open_index(folder, checkpoint=CHECKPOINT)


def nearest(query, numbers, k):
    """The slow obvious search."""
    cosines = torch.nn.functional.cosine_similarity(query[None], vectors_of(numbers))
    best, order = cosines.topk(min(k, len(numbers)))
    return [name_of(numbers[i]) for i in order.tolist()], best


def assert_holds(index, numbers, k=5):
    assert len(index) == len(numbers)
    queries = torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(1))
    hits = index.search(queries, k)
    for query, ids, scores in zip(queries, hits.ids, hits.scores, strict=True):
        expected, cosines = nearest(query, numbers, k)
        assert ids == expected
        assert torch.allclose(scores, cosines, atol=1e-5)
    assert all(name_of(n) in index for n in numbers)


def test_the_nearest_are_found_with_what_they_are_of(index, folder):
    for one in (index, reopen(folder)):
        assert_holds(one, range(300))
        hits = one.search(vectors_of([7]) * 3, 1)
        assert hits.entries == [[Entry("/v/7.mp4", 7.0, 8.5, {"even": False})]]


def test_everything_can_be_asked_for(index):
    assert_holds(index, range(300), k=1000)


def test_later_additions_are_found_too(index, folder):
    for start in range(300, 700, 80):
        add(index, range(start, start + 80))
    for one in (index, reopen(folder)):
        assert_holds(one, range(700))


def test_replaced_vectors_are_found_where_they_are_now(index, folder):
    add(index, [3, 4], of=[903, 904])
    for one in (index, reopen(folder)):
        assert len(one) == 300
        assert one.search(vectors_of([903]), 1).ids == [[name_of(3)]]
        assert one.search(vectors_of([3]), 1).ids != [[name_of(3)]]


def test_deleted_vectors_are_gone(index, folder):
    gone = range(100)
    assert index.delete([name_of(n) for n in [*gone, 0, 999]]) == 100
    for one in (index, reopen(folder)):
        assert_holds(one, range(100, 300))
        assert name_of(5) not in one
    index.compact()
    for one in (index, reopen(folder)):
        assert_holds(one, range(100, 300))
    add(index, range(50))
    assert_holds(reopen(folder), [*range(100, 300), *range(50)])


def test_an_emptied_index_finds_nothing_and_takes_more(index, folder):
    index.delete([name_of(n) for n in range(300)])
    for one in (index, reopen(folder)):
        hits = one.search(torch.ones(2, WIDTH), 3)
        assert hits.ids == [[], []]
        assert hits.scores.shape == (2, 0)
    add(index, range(3))
    assert_holds(reopen(folder), range(3))


@pytest.mark.parametrize("one_in", [2, 60])
def test_a_filter_hides_the_rest_and_nothing_else(index, one_in):
    hits = index.search(vectors_of([1]), 4, where=lambda entry: entry.start_s % one_in == 0)
    allowed = [n for n in range(300) if n % one_in == 0]
    assert hits.ids[0] == nearest(vectors_of([1])[0], allowed, 4)[0]
    assert all(entry.start_s % one_in == 0 for entry in hits.entries[0])


def test_a_filter_that_nothing_passes_finds_nothing(index):
    hits = index.search(vectors_of([1]), 4, where=lambda entry: False)
    assert hits.ids == [[]]
    assert hits.scores.shape == (1, 0)


def test_a_saved_copy_is_independent(index, folder, tmp_path):
    index.delete([name_of(0)])
    index.save(tmp_path / "copy")
    index.delete([name_of(1)])
    assert_holds(reopen(tmp_path / "copy"), range(1, 300))
    with pytest.raises(ConfigurationError, match="holds an index already"):
        index.save(tmp_path / "copy")


def test_another_checkpoint_is_refused(index, folder):
    with pytest.raises(WeightsError, match="made by checkpoint cccccccccccc, not by this one"):
        open_index(folder, checkpoint="d" * 64)


def test_a_folder_is_opened_by_its_own_backend_alone(index, folder, backend):
    assert reopen(folder).backend == backend
    other = index_faiss.TorchIndex if backend == "lancedb" else index_lancedb.LanceIndex
    with pytest.raises(ConfigurationError, match=f"is an index of backend '{backend}'"):
        other.load(folder, checkpoint=CHECKPOINT)


def test_what_does_not_fit_is_refused(index):
    with pytest.raises(ConfigurationError, match="one of each, every id once"):
        index.add(["a", "a"], torch.ones(2, WIDTH), [Entry("v", 0.0, 1.0)] * 2)
    with pytest.raises(ConfigurationError, match=f"index of width {WIDTH}"):
        index.add(["a"], torch.ones(1, WIDTH + 1), [Entry("v", 0.0, 1.0)])
    with pytest.raises(WeightsError, match="zero or not finite"):
        index.search(torch.full((1, WIDTH), torch.nan), 1)
    with pytest.raises(ConfigurationError, match="k is 0"):
        index.search(torch.ones(1, WIDTH), 0)
    assert_holds(index, range(300))


def vectors_file(folder):
    files = [*folder.glob("segment-*"), *folder.glob("vectors.lance/data/*")]
    return max(files, key=lambda path: path.stat().st_size)


@pytest.mark.parametrize("harm", ["change", "cut", "remove"])
def test_damage_is_noticed(index, folder, harm):
    path = vectors_file(folder)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data[: len(data) // 2] if harm == "cut" else data)
    if harm == "remove":
        path.unlink()
    with pytest.raises(WeightsError, match=r"damaged.*copy .* again"):
        reopen(folder)


def test_of_two_writers_the_later_is_told(index, folder):
    add(reopen(folder), [400])
    with pytest.raises(ConfigurationError, match="another process wrote"):
        index.delete([name_of(1)])
    assert_holds(reopen(folder), [*range(300), 400])


class PowerCutError(Exception):
    pass


def cut_power(monkeypatch, after):
    """Fail at the n-th flush or renaming."""
    left = [after]

    def count(call):
        def counted(*arguments, **options):
            left[0] -= 1
            if left[0] < 0:
                raise PowerCutError
            return call(*arguments, **options)

        return counted

    monkeypatch.setattr(os, "fsync", count(os.fsync))
    monkeypatch.setattr(Path, "replace", count(Path.replace))


@pytest.mark.parametrize("write", ["add", "replace", "delete", "compact"])
def test_a_crash_between_two_writes_leaves_all_or_nothing(tmp_path, backend, monkeypatch, write):
    before, after = range(60), {"add": range(70), "delete": range(50)}.get(write, range(60))
    for moment in range(100):
        folder = tmp_path / str(moment)
        index = create_index(
            folder, checkpoint=CHECKPOINT, width=WIDTH, precision="float32", backend=backend
        )
        add(index, before)
        with monkeypatch.context() as patch:
            cut_power(patch, moment)
            try:
                if write == "delete":
                    index.delete([name_of(n) for n in range(50, 60)])
                elif write == "compact":
                    index.compact()
                else:
                    add(index, range(60, 70) if write == "add" else [1])
                break
            except PowerCutError:
                pass
        opened = reopen(folder)
        assert_holds(opened, after if len(opened) == len(after) else before)
        add(opened, range(80, 90))
        assert len(reopen(folder)) == len(opened)
    assert moment > 2
    assert_holds(reopen(folder), after)


def test_a_missing_package_is_said_with_the_mend():
    with pytest.raises(
        ConfigurationError, match=r"no_such_package .*pip install video_adapt\[index"
    ):
        import_extra("no_such_package")
