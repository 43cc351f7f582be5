import json
import logging
import multiprocessing

import pytest
import torch

from tests.unit.retrieval.teachers.builders import BUILDERS, FRAMES, WIDTH, WORDS
from video_adapt.checkpoints import digest
from video_adapt.errors import ConfigurationError, WeightsError
from video_adapt.retrieval.cache import TeacherCache


def cache_at(folder, *, weights="w", precision="float32", **preprocessing):
    return TeacherCache(folder, weights=weights, preprocessing=preprocessing, precision=precision)


def rows_of(ids, *, shift=0.0):
    """Rows that tell whose they are."""
    values = torch.as_tensor(ids).float()
    return {
        "frames": values[:, None, None].expand(-1, 2, 3) + shift,
        "mask": torch.as_tensor(ids)[:, None].expand(-1, 2) % 2 == 0,
    }


def ids(*numbers):
    return torch.tensor(numbers)


@pytest.fixture
def cache(tmp_path):
    cache = cache_at(tmp_path)
    cache.add("video", ids(4, 7), rows_of([4, 7]))
    cache.add("video", ids(1), rows_of([1]))
    return cache


def assert_rows(found, numbers):
    expected = rows_of(numbers)
    assert found.keys() == expected.keys()
    for name, rows in expected.items():
        assert torch.equal(found[name], rows)


def test_rows_come_back_in_any_order_and_number(cache):
    assert_rows(cache.read("video", ids(7, 1, 4, 7)), [7, 1, 4, 7])
    assert len(cache) == 3


def test_rows_outlive_the_process(cache, tmp_path):
    assert_rows(cache_at(tmp_path).read("video", ids(1, 4)), [1, 4])


def test_videos_and_captions_have_numbers_of_their_own(cache):
    cache.add("caption", ids(4), {"sentence": torch.full((1, 5), 9.0)})
    assert cache.read("caption", ids(4))["sentence"].tolist() == [[9.0] * 5]
    assert_rows(cache.read("video", ids(4)), [4])


def test_missing_are_the_first_places_of_what_is_not_stored(cache):
    assert cache.missing("video", ids(4, 9, 1, 9, 3)).tolist() == [1, 4]
    assert cache.missing("caption", ids(4)).tolist() == [0]


def test_fetch_computes_what_is_missing_once(cache):
    calls = []

    def encode(places):
        calls.append(places.tolist())
        return rows_of(wanted[places])

    wanted = ids(9, 4, 9, 2)
    for _ in range(2):
        assert_rows(cache.fetch("video", wanted, encode), [9, 4, 9, 2])
    assert calls == [[0, 3]]


@pytest.mark.parametrize(
    "other",
    [{"weights": "v"}, {"precision": "float16"}, {"frames": 12}, {"frames": 12, "size": 224}],
)
def test_another_teacher_or_preprocessing_has_a_cache_of_its_own(cache, tmp_path, other):
    assert cache_at(tmp_path, **other).missing("video", ids(4)).tolist() == [0]
    assert len(cache_at(tmp_path)) == 3


def test_the_folder_says_in_clear_what_it_is_for(tmp_path):
    cache = cache_at(tmp_path, weights="abc", size=224)
    facts = json.loads((cache.folder / "facts.json").read_text())
    assert facts["weights"] == "abc"
    assert facts["preprocessing"] == {"size": 224}
    (cache.folder / "facts.json").write_text("{}")
    with pytest.raises(WeightsError, match="describes another teacher"):
        cache_at(tmp_path, weights="abc", size=224)


def test_half_precision_rounds_and_halves(tmp_path):
    rows = {"frames": torch.tensor([[0.1, 0.2]]), "mask": torch.tensor([[True, False]])}
    cache = cache_at(tmp_path, precision="float16")
    cache.add("video", ids(0), rows)
    read = cache.read("video", ids(0))
    assert torch.equal(read["frames"], rows["frames"].half())
    assert torch.equal(read["mask"], rows["mask"])


def test_an_interrupted_write_leaves_what_was_stored(cache, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="no space left"):
        cache.add("video", ids(8), rows_of([8]))
    monkeypatch.undo()
    again = cache_at(tmp_path)
    assert len(again) == 3
    assert again.missing("video", ids(8, 7)).tolist() == [0]


def test_a_damaged_file_is_said_and_computed_again(cache, tmp_path, caplog):
    path = next(p for p in cache.folder.glob("video-*") if p.stat().st_size)
    path.write_bytes(path.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING):
        again = cache_at(tmp_path)
    assert f"{path}: damaged" in caplog.text
    assert 0 < len(again) < 3
    assert_rows(again.fetch("video", ids(4, 7, 1), lambda p: rows_of(ids(4, 7, 1)[p])), [4, 7, 1])


def test_changed_content_is_refused_on_reading(cache, tmp_path):
    for path in cache.folder.glob("video-*"):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1  # in the mask of the last row
        path.unlink()  # the open cache has it mapped
        path.write_bytes(content)
    again = cache_at(tmp_path)
    assert_rows(again.read("video", ids(4)), [4])
    with pytest.raises(WeightsError, match="its content changed on the disk; delete the file"):
        again.read("video", ids(4, 7))


def test_what_was_never_stored_is_refused(cache):
    with pytest.raises(ConfigurationError, match="video 5 is not in the teacher's cache"):
        cache.read("video", ids(4, 5))


def test_rows_of_another_shape_are_refused(cache):
    rows = {"frames": torch.ones(1, 3, 3), "mask": torch.ones(1, 3).bool()}
    with pytest.raises(ConfigurationError, match="the same number of frames"):
        cache.add("video", ids(2), rows)
    assert cache.missing("video", ids(2)).tolist() == [0]


def test_broken_rows_are_refused(cache):
    with pytest.raises(WeightsError, match="'frames' of a video is not finite"):
        cache.add("video", ids(2), rows_of([2], shift=torch.inf))


def _fill(folder, numbers):
    cache = cache_at(folder)
    for number in numbers:
        cache.add("video", ids(number), rows_of([number]))


def test_several_processes_fill_one_cache(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=_fill, args=(tmp_path, range(first, 8, 2))) for first in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert_rows(cache_at(tmp_path).read("video", torch.arange(8)), list(range(8)))


@pytest.fixture
def world():
    """9 videos and 18 captions, as a training set would have them."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(1, FRAMES + 1, (9, 1), generator=generator)
    return {
        "tokens": torch.randn(9, FRAMES, 7, WIDTH, generator=generator),
        "mask": torch.arange(FRAMES) < lengths,
        "sentence": torch.randn(18, WIDTH, generator=generator),
        "words": torch.randn(18, WORDS, WIDTH, generator=generator),
    }


@pytest.mark.parametrize("name", BUILDERS)
def test_cached_and_live_teaching_are_the_same(tmp_path, world, name):
    """Filled in batches of one order, read in another: the loss gets the same inputs."""
    teacher = BUILDERS[name]()
    cache = TeacherCache(
        tmp_path, weights=digest(teacher.state_dict()), preprocessing=teacher.settings
    )

    def videos(numbers):
        return teacher.encode_videos(world["tokens"][numbers], world["mask"][numbers])

    def captions(numbers):
        return teacher.encode_captions(world["sentence"][numbers], world["words"][numbers])

    with torch.no_grad():
        for part in torch.arange(9).split(4):
            cache.add("video", part, videos(part))
        for part in torch.arange(18).split(7):
            cache.add("caption", part, captions(part))
        wanted, spoken = torch.tensor([8, 2, 5]), torch.tensor([16, 5, 4, 11])  # caption // 2
        pairs = torch.tensor([0, 1, 1, 2])
        live = teacher(captions(spoken), videos(wanted), pairs)
        again = TeacherCache(
            tmp_path, weights=digest(teacher.state_dict()), preprocessing=teacher.settings
        )
        cached = teacher(again.read("caption", spoken), again.read("video", wanted), pairs)
    torch.testing.assert_close(cached.similarity, live.similarity)
    torch.testing.assert_close(cached.relevance, live.relevance)


def test_settings_that_change_rows_change_the_key(tmp_path):
    keys = {
        TeacherCache(tmp_path, weights="w", preprocessing=BUILDERS["ts2net"](**s).settings).key
        for s in ({}, {"seed": 1}, {"samples": 7}, {"sigma": 0.3}, {"tiled_mask": True})
    }
    assert len(keys) == 5


def test_rows_of_another_process_are_taken_up_when_asked(tmp_path):
    mine, other = cache_at(tmp_path), cache_at(tmp_path)
    other.add("video", ids(4), rows_of([4]))
    assert not mine.holds("video", 4)
    mine.refresh()
    assert mine.holds("video", 4)
    assert not mine.holds("caption", 4)
    assert_rows(mine.read("video", ids(4)), [4])
