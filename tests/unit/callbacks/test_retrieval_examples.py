import numpy as np

from tests.unit.callbacks.test_retrieval_evaluation import TightRetriever, evaluate, measured
from video_adapt.callbacks.evaluation import Clip
from video_adapt.callbacks.retrieval_examples import (
    Query,
    read_examples,
    spread_by_rank,
    write_examples,
)


def test_captions_from_the_best_placed_to_the_worst():
    rank = np.array([30.0, 1.0, 2.0, 1.0])
    assert spread_by_rank(rank) == [1, 3, 2, 0]
    many = np.arange(100.0)[::-1]
    chosen = spread_by_rank(many)
    assert (len(chosen), chosen[0], chosen[-1]) == (8, 99, 0)
    assert spread_by_rank(np.empty(0)) == []


def test_only_videos_that_are_shown_are_named(tmp_path):
    clips = {"one": Clip("/one.mp4", None, 2.0), "other": Clip("/other.mp4", None, None)}
    queries = [Query("a “dog”", "one", 2.0, ("two", "one"))]
    write_examples(tmp_path / "examples.json", queries, clips)
    assert read_examples(tmp_path / "examples.json") == (queries, {"one": clips["one"]})


def test_an_evaluation_leaves_what_its_captions_find(tmp_path):
    evaluate(tmp_path)
    queries, clips = read_examples(tmp_path / "examples.json")
    assert [(query.video, query.rank) for query in queries] == [
        ("one", 1),
        ("one", 2),
        ("three", 2),
        ("two", 3),
    ]
    assert queries[0].top == ("one", "two", "three")
    assert queries[1].top == ("two", "one", "three")
    assert clips == {}  # the data module does not tell where they lie


def test_an_evaluation_tells_what_a_search_costs(tmp_path):
    evaluate(tmp_path)
    assert measured(tmp_path)["search"] == {
        "numbers_per_video": 3,
        "numbers_per_caption": 3,
        "multiply_adds_per_pair": 3,
    }
    evaluate(tmp_path, TightRetriever())
    assert measured(tmp_path)["search"]["multiply_adds_per_pair"] == 3
