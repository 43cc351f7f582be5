import json

import pytest

from video_adapt.apps.reproduce_compare import Figure, compare_results, compare_tables


@pytest.fixture
def tables(tmp_path):
    """Compare two tables, given as lines."""

    def compare(then, now, tolerance=0.0):
        for name, lines in (("then", then), ("now", now)):
            (tmp_path / name).write_text("\n".join(lines) + "\n")
        return compare_tables(tmp_path / "then", tmp_path / "now", tolerance)

    return compare


@pytest.fixture
def results(tmp_path):
    """Compare two contents of ``metrics.json``."""

    def compare(then, now, tolerance=0.0):
        for name, content in (("then", then), ("now", now)):
            (tmp_path / name).write_text(json.dumps(content))
        return compare_results(tmp_path / "then", tmp_path / "now", tolerance)

    return compare


def test_rows_that_only_hold_measurements_do_not_count(tables):
    then = ["step,a,memory/train_process,cost/step_ms,data/wait_share", "0,1,,,", "0,,5,7,1"]
    now = ["step,a", "0,1"]
    assert tables(then, now) == [Figure("a", 1)]


def test_counted_costs_are_figures(tables):
    columns = "cost/trained_parameters,cost/total_parameters,cost/multiply_adds"
    figures = tables([f"step,{columns}", "0,1,2,3"], [f"step,{columns}", "0,1,2,4"])
    assert [figure.equal for figure in figures] == [False, True, True]
    assert figures[0].name == "cost/multiply_adds"


def test_one_bit_is_a_difference_and_nan_equals_nan(tables):
    then = ["step,a,b", "0,0.1,nan", "1,0.2,1"]
    now = ["step,a,b", "0,0.1,nan", "1,0.20000000000000004,1"]
    a, b = tables(then, now)
    assert a.where == "step 1: 0.2, again 0.2"
    assert 0 < a.apart < 1e-15
    assert b == Figure("b", 2)
    assert all(figure.equal for figure in tables(then, now, 1e-9))


def test_nan_in_one_of_them_is_a_difference_without_a_size(tables):
    (figure,) = tables(["step,a", "0,1", "1,nan"], ["step,a", "0,1", "1,2"])
    assert figure == Figure("a", 2, None, "step 1: nan, again 2")


def test_another_step_is_a_difference(tables):
    (figure,) = tables(["step,a", "0,1", "5,1"], ["step,a", "0,1", "6,1"])
    assert figure == Figure("a", 2, None, "value 2: at step 5, again at step 6")


def test_a_shorter_run_is_a_difference(tables):
    (figure,) = tables(["step,a", "0,1", "5,1"], ["step,a", "0,1"])
    assert figure == Figure("a", 1, None, "value 2: at step 5, again none")


def test_a_figure_of_one_run_is_a_difference(tables):
    figures = tables(["step,a,b", "0,1,1"], ["step,b,c", "0,1,1"])
    assert [figure.where for figure in figures] == [
        "in the first run only",
        "",
        "in the second run only",
    ]


def test_results_are_compared_at_every_depth(results):
    then = {"t2v": {"R@1": 50.0, "intervals": [40, 60]}, "ties": "official", "mAP": None}
    assert [figure.name for figure in results(then, then) if figure.equal] == [
        *("t2v.R@1", "t2v.intervals[0]", "t2v.intervals[1]", "ties", "mAP"),
    ]
    now = {"t2v": {"R@1": 50.25, "intervals": [40, 61]}, "ties": "mean", "mAP": 1.0}
    off = [figure for figure in results(then, now, 0.005) if not figure.equal]
    assert off == [
        Figure("t2v.intervals[1]", 1, 1, "60, again 61"),
        Figure("ties", 1, None, "'official', again 'mean'"),
        Figure("mAP", 1, None, "None, again 1.0"),
    ]
