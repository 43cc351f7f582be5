import csv
import itertools
import json

import pytest

from tests.unit.reports.detection_run import make_detection_run
from tests.unit.reports.test_plots import texts
from video_adapt.errors import ConfigurationError
from video_adapt.reports.comparison import Row, cell, compare
from video_adapt.reports.comparison_plots import plot_tradeoff
from video_adapt.reports.detection_runs import DETECTION
from video_adapt.reports.kind import CHECKPOINT, MACS, STEP, Figure
from video_adapt.reports.runs import read_run
from video_adapt.reports.seeds import Experiment
from video_adapt.reports.spent import ENERGY, GPU_HOURS, MINUTES, read_spent, write_spent

ALONE = {"at_once": 1, "shares_gpu": False}


@pytest.fixture
def rows(tmp_path):
    """Two seeds of one experiment, one of another and a third that failed."""
    small = [
        read_run(make_detection_run(tmp_path / f"small_{k}", seed=k, mAP=value))
        for k, value in enumerate((0.5, 0.7))
    ]
    write_spent(small[0].folder, wall_s=60, attempts=1, finished=True, gpu_j=None, **ALONE)
    write_spent(small[1].folder, wall_s=180, attempts=2, finished=True, gpu_j=None, **ALONE)
    full = read_run(make_detection_run(tmp_path / "full_0", lr=0.5))
    return [
        Row("small, inside", "small.yaml", small, []),
        Row("full", "full.yaml --tuning=full", [full], ["full_1: no memory left"]),
        Row("broken", "broken.yaml", [], ["broken_0: no such file"]),
    ]


@pytest.fixture
def folder(rows, tmp_path):
    page = compare("Frozen?", rows, tmp_path / "out", command="the command", asked="out: x\n")
    assert page == tmp_path / "out/report.html"
    return page.parent


def test_what_it_gives_and_what_it_costs(folder):
    text = (folder / "report.md").read_text()
    assert text.startswith("# Frozen?\n")
    assert "3 runs, seeds 0, 1." in text
    assert "at once" not in text
    gives = "| small, inside (n = 2) | 60.0 ± 14.1% | 75.0% | 50.0% | 1,234 | unknown | unknown |"
    assert gives in text
    costs = "| unknown | 20.5 ± 0.7 ms | unknown | unknown | 2.0 ± 1.4 min | unknown | unknown |"
    assert costs in text
    assert "the command" in text
    assert "out: x" in text


def test_differences_and_what_is_missing_are_told(folder):
    text = (folder / "report.md").read_text()
    assert "| full | full.yaml --tuning=full |" in text
    assert "| full | full_1: no memory left |" in text
    assert "| broken | broken_0: no such file |" in text
    assert "| broken | broken.yaml |" in text


def test_pictures_stand_in_the_page(folder):
    for name in ("comparison", "cost", "learning"):
        assert (folder / f"{name}.png").is_file()
    assert (folder / "report.html").read_text().count("data:image/png") == 3


def test_tables_for_other_programs_leave_empty_what_is_unknown(folder, rows):
    with (folder / "comparison.csv").open() as file:
        first, second = csv.DictReader(file)
    assert first["experiment"] == "small, inside"
    assert first["runs"] == "2"
    assert float(first["mAP (%)"]) == pytest.approx(60.0)
    assert float(first["mAP (%) std"]) == pytest.approx(14.142, abs=1e-3)
    assert first["multiply-adds of a view (G)"] == first["GPU-hours"] == ""
    assert second["mAP (%) std"] == ""
    with (folder / "runs.csv").open() as file:
        runs = list(csv.DictReader(file))
    assert [(run["experiment"], run["seed"]) for run in runs] == [
        ("small, inside", "0"),
        ("small, inside", "1"),
        ("full", "0"),
    ]
    assert runs[1]["folder"] == rows[0].runs[1].folder.as_posix()
    assert float(runs[1]["time of the run (min)"]) == 3.0


def test_runs_that_were_not_alike_are_told(rows, tmp_path):
    first = rows[0].runs[0]
    other = first._replace(record=first.record | {"machine": {"device": "a GPU"}, "git": "abc"})
    rows[0] = rows[0]._replace(runs=[other, rows[0].runs[1]])
    page = compare("Mixed", rows, tmp_path / "mixed", command="c", asked="a")
    text = (page.parent / "report.md").read_text()
    assert "Not alike in all runs: devices, commits." in text


def test_runs_at_once_are_told(rows, tmp_path):
    facts = {"wall_s": 60, "attempts": 1, "finished": True, "gpu_j": None, "shares_gpu": False}

    def setting(*numbers):
        for run, number in zip(rows[0].runs, numbers, strict=True):
            write_spent(run.folder, at_once=number, **facts)
        page = compare("At once", rows, tmp_path / "at_once", command="c", asked="a")
        return (page.parent / "report.md").read_text()

    alike = setting(4, 4)
    assert "Up to 4 runs at once: times of steps" in alike
    assert "numbers of runs" not in alike
    mixed = setting(1, 4)
    assert "Up to 4 runs at once: times of steps" in mixed
    assert "Not alike in all runs: commits, numbers of runs at once." in mixed


def test_nothing_finished_is_no_report(rows, tmp_path):
    with pytest.raises(ConfigurationError, match="finished; first: broken_0: no such file"):
        compare("None", rows[2:], tmp_path / "out", command="c", asked="a")


def test_what_was_not_measured_is_never_a_zero(rows):
    trained = rows[0].runs
    assert cell(STEP, trained) == "20.5 ± 0.7 ms"
    assert cell(CHECKPOINT, trained) == "unknown"
    still = [run._replace(curves={}) for run in trained]
    assert cell(STEP, still) == "unknown"
    curve = trained[0].curves["cost/trained_parameters"]
    none = {"cost/trained_parameters": curve._replace(value=curve.value * 0)}
    still = [run._replace(curves=none) for run in trained]
    assert cell(STEP, still) == "–"
    assert cell(MACS, still) == "unknown"
    assert cell(Figure("zero", lambda run: 0.0), still) == "0"


def test_hours_count_gpus_and_energy_is_what_was_counted(rows):
    run = rows[0].runs[1]
    assert MINUTES.value(run) == 180
    assert GPU_HOURS.value(run) is None  # no GPU
    on_gpus = run._replace(
        curves=run.curves | {"memory/train_allocated": run.curves["train/loss"]},
        record=run.record | {"machine": {"processes": 4}},
    )
    assert GPU_HOURS.value(on_gpus) == pytest.approx(0.2)
    shared = {"at_once": 2, "shares_gpu": True}
    write_spent(run.folder, wall_s=180, attempts=2, finished=True, gpu_j=None, **shared)
    assert GPU_HOURS.value(on_gpus) is None
    assert ENERGY.value(run) is None
    write_spent(run.folder, wall_s=1, attempts=1, finished=True, gpu_j=7200.0, **ALONE)
    assert ENERGY.text([run]) == "2.0 Wh"
    assert MINUTES.value(rows[1].runs[0]) is None


def test_what_an_earlier_run_cost_is_not_told_of_this_one(rows):
    folder = rows[0].runs[0].folder
    assert read_spent(folder)["wall_s"] == 60
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"seed": 9}))
    assert read_spent(folder) == {}


def test_the_tradeoff_shows_costs_that_several_know(rows):
    experiments = [Experiment(row.title, list(row.runs)) for row in rows[:2]]
    drawing = plot_tradeoff(experiments, DETECTION)
    titles = [axes.get_title(loc="left") for axes in drawing.axes]
    assert titles == ["trained parameters, M", "training step, ms"]
    assert {"small, inside (n = 2)", "full"} <= set(texts(drawing))
    assert drawing.axes[0].get_xscale() == "symlog"
    assert drawing.axes[1].get_xlim() == pytest.approx((0, 1.1 * (20.5 + 0.7071)), abs=1e-3)
    assert plot_tradeoff(experiments[:1], DETECTION) is None


def test_marks_of_the_tradeoff_do_not_overlap(rows):
    """Few trained parameters, of whatever first digit, beside many and none."""
    run = rows[1].runs[0]
    curve = run.curves["cost/trained_parameters"]
    for fewest in (580, 999, 100, 4_000):
        experiments = [
            Experiment(
                str(number),
                [
                    run._replace(
                        curves=run.curves
                        | {
                            "cost/trained_parameters": curve._replace(
                                value=curve.value * 0 + number
                            )
                        }
                    )
                ],
            )
            for number in (0, fewest, 475_968)
        ]
        axes = plot_tradeoff(experiments, DETECTION).axes[0]
        axes.figure.draw_without_rendering()
        left, right = axes.get_xlim()
        boxes = [
            label.get_window_extent()
            for place, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
            if left <= place <= right
        ]
        assert len(boxes) > 3
        for one, other in itertools.pairwise(boxes):
            assert one.x1 < other.x0


def test_the_tradeoff_goes_without_trained_parameters(rows):
    none = {}
    for row in rows[:2]:
        curve = row.runs[0].curves["cost/trained_parameters"]
        curves = {"cost/trained_parameters": curve._replace(value=curve.value * 0)}
        none[row.title] = [row.runs[0]._replace(curves=curves)]
    drawing = plot_tradeoff([Experiment(*pair) for pair in none.items()], DETECTION)
    assert drawing.axes[0].get_xscale() == "linear"
