import subprocess
import sys

import pytest

import video_adapt
from tests.unit.apps.coloured_videos import COLOURS, write_video
from tests.unit.apps.small_retrievers import write_retriever
from video_adapt.apps.search_indexing import VideoIndexer, open_or_create
from video_adapt.apps.search_model import SearchModel
from video_adapt.apps.search_where import where_all
from video_adapt.apps.searcher import Hit, Searcher
from video_adapt.errors import ConfigurationError, VideoDecodeError, WeightsError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint, four videos, and an index of them in windows of a second."""
    folder = tmp_path_factory.mktemp("search")
    model = SearchModel(write_retriever(folder / "mean.ckpt", kind="meanP"))
    videos = [write_video(folder / "videos/long.mp4", COLOURS)]
    videos += [write_video(folder / f"videos/{name}.mp4", [name]) for name in COLOURS]
    index = open_or_create(folder / "i", model, window_s=1.0, precision="float32")
    VideoIndexer(model, index)(videos)
    return folder


@pytest.fixture(scope="module")
def search(folder):
    return Searcher(folder / "mean.ckpt", folder / "i", device="cpu")


def test_a_sentence_finds_what_shows_it(folder, search):
    assert len(search) == 6
    best, second, third = search("a blue square").top(3)
    assert {(hit.video, hit.start_s, round(hit.end_s, 6)) for hit in (best, second)} == {
        (str(folder / "videos/blue.mp4"), 0.0, 1.0),
        (str(folder / "videos/long.mp4"), 2.0, 3.0),
    }
    assert best.score >= second.score > third.score + 0.1
    assert best.score < 1


def test_three_lines_suffice(folder):
    search = video_adapt.Searcher(folder / "mean.ckpt", folder / "i")
    assert search("a red square").top(1)[0].score > 0.5


def test_more_hits_than_there_are_windows_are_all_of_them(search):
    assert len(search("a blue square").top(100)) == 6


def test_a_filter_narrows_the_search(folder, search):
    hits = search("a blue square", where=where_all(["path!=*/long.mp4"])).top(1)
    assert [hit.video for hit in hits] == [str(folder / "videos/blue.mp4")]
    assert search("a blue square", where=where_all(["start_s>99"])).top(1) == []


def test_a_video_finds_itself_and_what_resembles_it(folder, search):
    first, second = search.like(folder / "videos/green.mp4").top(2)
    assert first.score == pytest.approx(1.0)
    assert {first.video, second.video} == {
        str(folder / "videos/green.mp4"),
        str(folder / "videos/long.mp4"),
    }
    assert second.score > 0.98


def test_a_part_of_a_video_finds_what_resembles_that_part(folder, search):
    found = search.like(folder / "videos/long.mp4", (2.0, 3.0))
    assert found.query == str(folder / "videos/long.mp4")
    videos = {(hit.video, hit.start_s) for hit in found.top(2)}
    assert videos == {
        (str(folder / "videos/blue.mp4"), 0.0),
        (str(folder / "videos/long.mp4"), 2.0),
    }


@pytest.mark.parametrize("span", [(2.0, 2.0), (3.0, 2.0), (-1.0, 2.0), (0.0, float("nan"))])
def test_a_part_of_a_video_has_a_length(folder, search, span):
    with pytest.raises(ConfigurationError, match=r"long\.mp4: from .* is no part of it"):
        search.like(folder / "videos/long.mp4", span)


def test_a_query_that_says_nothing_is_refused(search):
    with pytest.raises(ConfigurationError, match="the query is empty"):
        search("  ")


def test_a_hit_can_be_looked_at(folder, search):
    (hit,) = search("a green square", where=where_all(["path=*/long.mp4"])).top(1)
    look = search.look(hit)
    assert look.times_s.tolist() == pytest.approx([1.0, 1.5])
    assert look.frames.float().mean((0, 2, 3)).argmax() == COLOURS.index("green")
    with pytest.raises(VideoDecodeError):
        search.look(Hit(str(folder / "gone.mp4"), 0.0, 1.0, 0.5))


def test_the_index_of_another_checkpoint_is_refused(folder, tmp_path):
    other = write_retriever(tmp_path / "other.ckpt", kind="meanP", seed=1)
    with pytest.raises(WeightsError, match="not with this checkpoint"):
        Searcher(other, folder / "i")


def test_a_folder_without_an_index_is_refused(folder, tmp_path):
    with pytest.raises(ConfigurationError, match="holds no index"):
        Searcher(folder / "mean.ckpt", tmp_path)


def test_importing_the_package_does_not_import_the_searcher():
    code = (
        "import sys, video_adapt; assert 'Searcher' in video_adapt.__all__;"
        "assert 'video_adapt.apps' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
