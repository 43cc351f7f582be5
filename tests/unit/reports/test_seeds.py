import statistics

import pytest

from tests.unit.reports.detection_run import make_detection_run
from tests.unit.reports.test_plots import texts
from video_adapt.reports.kind import Figure, measured
from video_adapt.reports.kinds import common_kind
from video_adapt.reports.plots import bars, plot_comparison, plot_learning_together
from video_adapt.reports.run_report import report
from video_adapt.reports.runs import Curve, read_run
from video_adapt.reports.seeds import Experiment, common_name, experiments_of


@pytest.fixture
def seeds(tmp_path):
    """Three seeds of one experiment, and another one."""
    figures = [0.5, 0.6, 0.7]
    runs = [
        make_detection_run(tmp_path / f"frozen_s{k}", seed=k, mAP=value)
        for k, value in enumerate(figures)
    ]
    return [*runs, make_detection_run(tmp_path / "full", lr=0.5)]


def test_seeds_share_a_row_with_mean_and_spread(seeds, tmp_path):
    page = report(seeds, tmp_path / "all")
    text = (page.parent / "report.md").read_text()
    # step: 20, 21, 22 ms; what all have in common stands without a spread.
    row = "| frozen (n = 3) | 60.0 ± 10.0% | 75.0% | 50.0% | 1,234 | – | – | 21.0 ± 1.0 ms | – |"
    assert row in text
    assert "| full | 87.5% |" in text
    assert "share a row" in text
    assert (
        "share a row" not in (report(seeds[2:], tmp_path / "two").parent / "report.md").read_text()
    )


def test_order_of_experiments_is_that_of_the_runs(seeds):
    runs = [read_run(folder) for folder in [seeds[3], *seeds[:3]]]
    found = experiments_of(runs)
    assert [(e.name, len(e.runs)) for e in found] == [("full", 1), ("frozen", 3)]


def test_other_settings_data_or_machines_are_other_experiments(seeds):
    first, second = (read_run(folder) for folder in seeds[:2])
    other = {
        "data": {"train_digest": "x"},
        "versions": {"torch": "1"},
        "machine": {"device": "a large computer"},
        "config": {**second.record["config"], "trainer": {"max_epochs": 3}},
    }
    for key, value in other.items():
        changed = second._replace(record={**second.record, key: value})
        assert [e.title for e in experiments_of([first, changed])] == ["frozen_s0", "frozen_s1"]


@pytest.mark.parametrize(
    ("teacher", "together"), [("runs/teacher_1/best", True), ("runs/teacher_2/best", False)]
)
def test_what_comes_from_a_run_of_the_same_seed_is_the_same(seeds, teacher, together):
    first, second = (read_run(folder) for folder in seeds[:2])

    def taught(run, weights):
        config = run.record["config"] | {"model": {"weights": weights}}
        return run._replace(record=run.record | {"config": config})

    names = ["runs/teacher_0/best", teacher]
    found = experiments_of(
        [taught(run, name) for run, name in zip((first, second), names, strict=True)]
    )
    assert (len(found) == 1) == together


def test_a_seed_that_comes_twice_is_no_spread(seeds):
    run = read_run(seeds[0])
    assert [len(e.runs) for e in experiments_of([run, run])] == [1, 1]


def test_runs_without_a_record_stay_alone(seeds):
    runs = [read_run(folder)._replace(record={}) for folder in seeds[:2]]
    assert [len(e.runs) for e in experiments_of(runs)] == [1, 1]


@pytest.mark.parametrize(
    ("names", "common"),
    [
        (("dist_s0", "dist_s1"), "dist"),
        (("dist-seed-1", "dist-seed-12"), "dist"),
        (("vitb16_10", "vitb16_11"), "vitb16"),
        (("8+16_0", "8+16_1"), "8+16"),
        (("classes1", "classes2"), "classes"),
        (("dist", "dist_2"), "dist"),
        (("seed0", "seed1"), "experiment"),
        (("a", "b"), "experiment"),
    ],
)
def test_name_of_several_seeds(tmp_path, names, common):
    runs = [read_run(make_detection_run(tmp_path / "experiment" / name)) for name in names]
    assert common_name(runs) == common


def test_figures_are_means_where_all_runs_have_them(seeds):
    runs = [read_run(folder) for folder in seeds[:3]]
    figure = measured("mAP", "mAP")
    assert figure.mean(runs) == pytest.approx(60.0)
    assert figure.spread(runs) == pytest.approx(statistics.stdev([50.0, 60.0, 70.0]))
    assert figure.spread(runs[:1]) == 0.0
    runs[1].results["mAP"] = None
    assert (figure.mean(runs), figure.spread(runs), figure.text(runs)) == (None, 0.0, "–")
    assert Figure("parameters", lambda run: 1234567.0, " M", 2, 1e-6).text(runs) == "1.23 M"


def test_bars_of_seeds_have_whiskers(seeds):
    runs = [read_run(folder) for folder in seeds]
    found = texts(plot_comparison(experiments_of(runs), common_kind(runs)))
    assert {"frozen (n = 3)", "mAP, %", "60.0 ± 10.0", "87.5", "21.0 ± 1.0"} <= set(found)
    with_whiskers = bars(["one"], {"x": [2.0], "y": [1.0]}, {"x": [0.5]})
    assert [len(axes.containers) for axes in with_whiskers.axes] == [2, 1]
    (whisker,) = with_whiskers.axes[0].containers[1].lines[2]
    assert whisker.get_segments()[0][:, 0].tolist() == [1.5, 2.5]


def test_seeds_share_a_colour_and_a_name_in_the_curves(seeds):
    runs = [read_run(folder) for folder in seeds]
    (axes,) = plot_learning_together(experiments_of(runs), common_kind(runs)).axes
    colors = [line.get_color() for line in axes.get_lines()]
    assert len(colors) == 4
    assert len(set(colors[:3])) == 1
    assert colors[3] != colors[0]
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["frozen (n = 3)", "full"]
    assert axes.get_xlim()[0] == 0
    assert axes.get_ylim()[1] == pytest.approx(24.0)  # 20 % at most


def test_curves_of_one_colour_have_another_stroke_and_one_evaluation_is_a_dot(seeds):
    run = read_run(seeds[0])
    kind = common_kind([run])
    name = f"val/{kind.headline}"
    dot = Curve(run.curves[name].step[:1], run.curves[name].value[:1])
    once = run._replace(curves=run.curves | {name: dot})
    experiments = [Experiment(str(number), [run]) for number in range(7)]
    (axes,) = plot_learning_together([*experiments, Experiment("once", [once])], kind).axes
    first, *others, last = axes.get_lines()
    assert last.get_color() == first.get_color()
    assert [line.get_linestyle() for line in (first, *others)] == ["-"] * 7
    assert last.get_linestyle() == "--"
    assert (first.get_marker(), last.get_marker()) == ("None", "o")


def test_how_a_run_was_started_makes_no_other_experiment(seeds):
    runs = [read_run(folder) for folder in seeds[:2]]
    started = [
        run._replace(record={**run.record, "started": {"words": [run.name]}}) for run in runs
    ]
    assert [len(found.runs) for found in experiments_of(started)] == [2]
