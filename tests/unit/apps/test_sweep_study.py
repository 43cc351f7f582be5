"""Trials in a storage: shared, resumable, never lost and never run twice at once."""

from pathlib import Path

import pytest

from video_adapt.apps.sweep_file import Choices, Hyperband, Range, Sweep
from video_adapt.apps.sweep_study import Study
from video_adapt.apps.sweep_trial import Outcome
from video_adapt.errors import ConfigurationError

DOMAINS = {
    "lr": Range(1e-4, 1.0, log=True),
    "width": Range(1, 64, whole=True),
    "heads": Choices(([1, 2], "x", False)),
}
GRID = {"a": Choices((1, 2)), "b": Choices(("x", "y"))}


def sweep(method="random", domains=DOMAINS, hyperband=None, *, maximize=True):
    command = ("${args}",)
    return Sweep(
        Path("s.yaml"), "e.yaml", method, "val/top1", maximize, domains, command, hyperband, None
    )


def done(value):
    return Outcome("complete", value, 1.0)


def run_all(study, most, value=lambda point: 0.5):
    points = []
    while (claim := study.claim(most)) is not None:
        points.append(claim.point)
        study.finish(claim, done(value(claim.point)))
    return points


def abandon(claim):
    """As if the process had been killed."""
    claim.lock.close()


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_what_is_drawn_does_not_depend_on_interruptions(tmp_path, method):
    whole = run_all(Study(sweep(method), tmp_path / "a", seed=3), 6, lambda p: p["lr"])
    pieces = []
    for most in (1, 2, 6):
        study = Study(sweep(method), tmp_path / "b", seed=3)
        pieces += run_all(study, most, lambda p: p["lr"])
    assert pieces == whole
    assert len({point["lr"] for point in whole}) == 6
    other = run_all(Study(sweep(method), tmp_path / "c", seed=4), 6)
    assert not {point["lr"] for point in other} & {point["lr"] for point in whole}


def test_what_is_drawn_lies_in_its_domain(tmp_path):
    for point in run_all(Study(sweep(), tmp_path, seed=0), 6):
        assert list(point) == list(DOMAINS)
        assert 1e-4 <= point["lr"] <= 1.0
        assert point["width"] in range(1, 65)
        assert isinstance(point["width"], int)
        assert point["heads"] in [[1, 2], "x", False]


def test_bayes_goes_where_it_is_good(tmp_path):
    def loss(point):
        return abs(point["x"] - 0.8)

    bayes = sweep("bayes", {"x": Range(0.0, 1.0)}, maximize=False)
    points = run_all(Study(bayes, tmp_path, seed=0), 24, loss)
    assert sum(map(loss, points[-8:])) < 0.5 * sum(map(loss, points[:8]))


def test_several_processes_share_a_grid(tmp_path):
    studies = [Study(sweep("grid", GRID), tmp_path, seed=0) for _ in range(2)]
    claims = [studies[number % 2].claim(99) for number in range(4)]
    assert [claim.point for claim in claims] == list(sweep("grid", GRID).grid())
    assert len({claim.folder for claim in claims}) == 4
    assert studies[0].claim(99) is None
    for number, claim in enumerate(claims):
        studies[number % 2].finish(claim, done(0.1 * number))
    assert [row.value for row in studies[1].rows()] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert studies[1].claim(99) is None


def test_there_are_never_more_trials_than_wanted(tmp_path):
    studies = [Study(sweep(), tmp_path, seed=0) for _ in range(2)]
    claims = [studies[number % 2].claim(3) for number in range(4)]
    assert [claim is None for claim in claims] == [False, False, False, True]
    for claim in claims[:3]:
        abandon(claim)


@pytest.mark.parametrize("method", ["random", "grid"])
def test_an_abandoned_trial_is_run_again_in_its_folder(tmp_path, method):
    domains = GRID if method == "grid" else DOMAINS
    first = Study(sweep(method, domains), tmp_path, seed=0)
    finished, lost, alive = (first.claim(4) for _ in range(3))
    first.finish(finished, done(0.5))
    abandon(lost)

    second = Study(sweep(method, domains), tmp_path, seed=0)
    again = second.claim(4)
    assert (again.point, again.folder) == (lost.point, lost.folder)
    fresh = second.claim(4)
    assert fresh.point not in (finished.point, lost.point, alive.point)
    assert second.claim(4) is None
    for claim in (again, fresh):
        second.finish(claim, done(0.5))
    first.finish(alive, done(0.5))
    assert [row.state for row in second.rows()] == ["complete"] * 4
    assert [row.number for row in second.rows()] == [0, 1, 2, 3]
    assert [row.folder.name for row in second.rows()] == [f"trial_000{n}" for n in range(4)]


def test_an_attempt_that_never_began_leaves_nothing(tmp_path):
    study = Study(sweep("grid", GRID), tmp_path, seed=0)
    study._study.ask()  # as if the process had been killed here
    claim = study.claim(4)
    assert (claim.number, claim.point) == (0, {"a": 1, "b": "x"})
    assert [row.number for row in study.rows()] == [0]
    study.finish(claim, done(0.5))


def test_a_failed_trial_counts_and_is_not_repeated(tmp_path):
    study = Study(sweep(), tmp_path, seed=0)
    study.finish(study.claim(2), Outcome("failed", None, 1.0, "out of memory", 1))
    assert len(run_all(study, 2)) == 1
    failed, complete = study.rows()
    assert (failed.state, failed.value, failed.note) == ("failed", None, "out of memory")
    assert (complete.state, complete.value, complete.duration_s) == ("complete", 0.5, 1.0)


def test_hyperband_keeps_the_best_share_behind_the_first_validations(tmp_path):
    study = Study(sweep(hyperband=Hyperband(2, 3, 9)), tmp_path, seed=0)
    values, kept = [0.5, 0.4, 0.6, 0.55, 0.3, 0.58, 0.57, 0.1, 0.56], []
    for value in values:
        claim = study.claim(9)
        assert not study.falls_behind(claim, 1, value)
        behind = study.falls_behind(claim, 2, value)
        kept.append(not behind)
        study.finish(claim, Outcome("pruned", None, 1.0) if behind else done(value))
    best = [sorted(values[: n + 1])[-max(1, (n + 1) // 3)] for n in range(9)]
    assert kept == [value >= limit for value, limit in zip(values, best, strict=True)]
    assert kept.count(True) == 3
    states = [row.state for row in study.rows()]
    assert states == ["complete" if whole else "pruned" for whole in kept]


@pytest.mark.parametrize("longest", [2, None])
def test_hyperband_lets_a_trial_at_its_end_be(tmp_path, longest):
    study = Study(sweep(hyperband=Hyperband(1, 2, longest)), tmp_path, seed=0)
    for values in [(0.5, 0.6), (0.55, 0.55)]:
        claim = study.claim(2)
        behind = [study.falls_behind(claim, place, v) for place, v in enumerate(values, start=1)]
        assert behind == [False, False]
        study.finish(claim, done(values[-1]))


def test_without_hyperband_nothing_is_stopped(tmp_path):
    study = Study(sweep(), tmp_path, seed=0)
    for number in range(4):
        claim = study.claim(4)
        assert not study.falls_behind(claim, 1, -float(number))
        study.finish(claim, done(0.0))


def test_trials_of_another_sweep_are_not_mixed_in(tmp_path):
    Study(sweep(), tmp_path, seed=0)
    for other, seed in ((sweep("bayes"), 0), (sweep(), 1)):
        with pytest.raises(ConfigurationError, match=r"trials here are of another s\.yaml"):
            Study(other, tmp_path, seed=seed)


@pytest.mark.slow
def test_a_database_holds_trials_as_well(tmp_path):
    storage = f"sqlite:///{tmp_path}/trials.db"
    points = run_all(Study(sweep(), tmp_path, storage=storage, seed=0), 2)
    known = Study(sweep(), tmp_path, storage=storage, seed=0).rows()
    assert [row.point for row in known] == points


def test_a_storage_that_is_none_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="name a file, or a URL"):
        Study(sweep(), tmp_path, storage="nonsense://x", seed=0)
