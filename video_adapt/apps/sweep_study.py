"""The trials of a sweep in a storage of optuna, which several processes share."""

import fcntl
import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO, Any, NamedTuple

import optuna
from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from video_adapt.errors import ConfigurationError

from .sweep_file import Choices, Domain, Point, Sweep
from .sweep_trial import Outcome, State

_STATES: dict[TrialState, str] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
_TOLD: dict[State, TrialState] = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
_FOLDER, _ABANDONED, _DURATION, _NOTE, _IDENTITY = "folder", "abandoned", "seconds", "note", "sweep"


class Claim(NamedTuple):
    """A trial that this process runs.

    Attributes:
        trial: Of optuna, which counts abandoned attempts too.
        number: From 0, in the order in which trials began.
        point: Its settings.
        folder: Of its run; holds what an abandoned attempt left.
        lock: Held as long as somebody runs it.
    """

    trial: optuna.Trial
    number: int
    point: Point
    folder: Path
    lock: IO[str]


class TrialRow(NamedTuple):
    """What is known of a trial.

    Attributes:
        number: From 0, in the order in which they began.
        state: ``complete``, ``pruned``, ``failed``, ``running`` or ``waiting``.
        value: Of the wanted figure; None where there is none.
        duration_s: How long it ran; None while it does.
        point: Its settings.
        folder: Of its run.
        note: Why it failed.
    """

    number: int
    state: str
    value: float | None
    duration_s: float | None
    point: Point
    folder: Path
    note: str


class Study:
    """A sweep that goes on where it was left, by one process or by several.

    Settings are drawn under a lock in the folder and depend on the seed and on the trials before,
    so that a sweep that was interrupted draws what it would have drawn.

    Args:
        sweep: What is tried.
        out: Folder of the sweep; every trial has one in it.
        storage: A file of its own, or a URL that optuna knows; None = ``trials.log`` in the folder.
        seed: Of the settings that are drawn.

    Raises:
        ConfigurationError: If the storage holds another sweep of this name, or cannot be opened.
    """

    def __init__(self, sweep: Sweep, out: Path, *, storage: str | None = None, seed: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        out.mkdir(parents=True, exist_ok=True)
        self._sweep, self._out, self._seed = sweep, out, seed
        self._grid = list(sweep.grid()) if sweep.method == "grid" else []
        with self.locked():
            self._study = self._open(storage or str(out / "trials.log"))
            self._check_identity()

    def _open(self, storage: str) -> optuna.Study:
        try:
            opened: Any = (
                storage if "://" in storage else JournalStorage(JournalFileBackend(storage))
            )
            return optuna.create_study(
                storage=opened,
                study_name=self._sweep.name,
                direction="maximize" if self._sweep.maximize else "minimize",
                pruner=_pruner(self._sweep),
                load_if_exists=True,
            )
        except (ValueError, ImportError, OSError, SQLAlchemyError) as error:
            place = " ".join(str(error).split())
            raise ConfigurationError(
                f"--storage {storage}: {place}; name a file, or a URL as sqlite:///sweep.db"
            ) from error

    def _check_identity(self) -> None:
        identity = hashlib.sha256(f"{self._sweep.identity} {self._seed}".encode()).hexdigest()
        known = self._study.user_attrs.setdefault(_IDENTITY, identity)
        if known != identity:
            raise ConfigurationError(
                f"{self._out}: the trials here are of another {self._sweep.path.name} or --seed; "
                "choose another --out (and --storage)"
            )
        self._study.set_user_attr(_IDENTITY, identity)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes of this sweep out for a moment."""
        with (self._out / "sweep.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def claim(self, most: int) -> Claim | None:
        """Take the next trial: an abandoned one, else a new one; None if there are enough.

        Args:
            most: Trials of the whole sweep, those of other processes and earlier days included.
        """
        with self.locked():
            self._reap()
            trials = self._trials()
            waiting = any(trial.state == TrialState.WAITING for trial in trials)
            if not waiting and len(trials) >= most:
                return None
            if not waiting and self._grid:
                if (point := self._next_on_grid(trials)) is None:
                    return None
                self._study.enqueue_trial(_encoded(self._sweep, point))
            self._study.sampler = self._sampler(len(trials), most)
            return self._begin(self._study.ask())

    def _begin(self, trial: optuna.Trial) -> Claim:
        folder = self._out / trial.user_attrs.get(_FOLDER, self._free_folder())
        folder.mkdir(exist_ok=True)
        trial.set_user_attr(_FOLDER, folder.name)
        lock = (folder / "running.lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        point = {name: _draw(trial, name, domain) for name, domain in self._sweep.domains.items()}
        return Claim(trial, _number(folder.name), point, folder, lock)

    def _free_folder(self) -> str:
        taken = {trial.user_attrs.get(_FOLDER) for trial in self._trials()}
        return next(name for place in count() if (name := f"trial_{place:04d}") not in taken)

    def falls_behind(self, claim: Claim, validation: int, value: float) -> bool:
        """Note a value on the way; True if the trial is to be stopped."""
        claim.trial.report(value, validation)
        # One that has reached its end is whole; stopping it would save nothing.
        return validation < self._longest() and claim.trial.should_prune()

    def _longest(self) -> float:
        """Validations of a whole trial, as far as that is known."""
        if self._sweep.hyperband is not None and self._sweep.hyperband.max_iter is not None:
            return self._sweep.hyperband.max_iter
        ended = [trial for trial in self._trials() if trial.state == TrialState.COMPLETE]
        return max((trial.last_step or 0 for trial in ended), default=math.inf)

    def finish(self, claim: Claim, outcome: Outcome) -> None:
        """Note how a trial ended."""
        claim.trial.set_user_attr(_DURATION, outcome.duration_s)
        claim.trial.set_user_attr(_NOTE, outcome.note)
        value = outcome.value if outcome.state == "complete" else None
        self._study.tell(claim.trial, value, state=_TOLD[outcome.state])
        claim.lock.close()

    def rows(self) -> list[TrialRow]:
        """All trials but attempts that were abandoned."""
        begun = [trial for trial in self._trials() if _FOLDER in trial.user_attrs]
        return sorted(map(self._row, begun), key=lambda row: row.number)

    def _point(self, trial: FrozenTrial) -> Point:
        return {
            name: _decoded(domain, trial.params[name])
            for name, domain in self._sweep.domains.items()
            if name in trial.params
        }

    def _row(self, trial: FrozenTrial) -> TrialRow:
        folder = trial.user_attrs[_FOLDER]
        return TrialRow(
            _number(folder),
            _STATES[trial.state],
            trial.value,
            trial.user_attrs.get(_DURATION),
            self._point(trial),
            self._out / folder,
            trial.user_attrs.get(_NOTE, ""),
        )

    def _trials(self) -> list[FrozenTrial]:
        trials = self._study.get_trials(deepcopy=False)
        return [trial for trial in trials if _ABANDONED not in trial.user_attrs]

    def _reap(self) -> None:
        """Queue what nobody runs any more, with its settings and its folder."""
        for trial in self._trials():
            if trial.state != TrialState.RUNNING or self._is_run(trial):
                continue
            live = optuna.Trial(self._study, trial._trial_id)
            live.set_user_attr(_ABANDONED, True)
            self._study.tell(live, state=TrialState.FAIL)
            if _FOLDER in trial.user_attrs:
                kept = {_FOLDER: trial.user_attrs[_FOLDER]}
                self._study.enqueue_trial(trial.params, user_attrs=kept)

    def _is_run(self, trial: FrozenTrial) -> bool:
        path = self._out / trial.user_attrs.get(_FOLDER, "") / "running.lock"
        if not path.is_file():
            return False
        with path.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def _next_on_grid(self, trials: list[FrozenTrial]) -> Point | None:
        taken = [self._point(trial) for trial in trials]
        return next((point for point in self._grid if point not in taken), None)

    def _sampler(self, done: int, most: int) -> BaseSampler:
        """A sampler whose draws depend on the seed and the number of trials, not on the process."""
        digest = hashlib.sha256(f"{self._seed} {done}".encode()).digest()
        seed = int.from_bytes(digest[:4])
        if self._sweep.method == "bayes":
            first = min(10, max(2, most // 3))
            return TPESampler(seed=seed, n_startup_trials=first, constant_liar=True)
        return RandomSampler(seed=seed)


def _pruner(sweep: Sweep) -> BasePruner:
    """W&B's hyperband is one bracket for all trials, which optuna calls successive halving."""
    if sweep.hyperband is None:
        return NopPruner()
    first, eta, _ = sweep.hyperband
    return SuccessiveHalvingPruner(min_resource=first, reduction_factor=eta)


def _number(folder: str) -> int:
    return int(folder.rpartition("_")[2])


def _draw(trial: optuna.Trial, name: str, domain: Domain) -> Any:
    if isinstance(domain, Choices):
        texts = [json.dumps(value) for value in domain.values]
        return _decoded(domain, trial.suggest_categorical(name, texts))
    low, high, whole, log, step = domain
    if whole:
        return trial.suggest_int(name, int(low), int(high), log=log)
    return trial.suggest_float(name, low, high, step=step, log=log)


def _encoded(sweep: Sweep, point: Point) -> dict[str, Any]:
    """A point as optuna keeps it: choices as text, as they may be lists."""
    domains = sweep.domains
    return {k: json.dumps(v) if isinstance(domains[k], Choices) else v for k, v in point.items()}


def _decoded(domain: Domain, value: Any) -> Any:
    return json.loads(value) if isinstance(domain, Choices) else value
