"""Runs that differ in their seed or few-shot draw alone are one experiment, measured often."""

import json
import re
from collections.abc import Sequence
from itertools import takewhile
from typing import Any, NamedTuple

from .runs import Run

# What a seed changes besides the seed, or what changes nothing.
_RECORD = ("seed", "git", "machine", "tracker", "started", "config")
_CONFIG = ("seed_everything", "run_dir", "overwrite")
_MACHINE = ("device", "processes", "precision")


class Experiment(NamedTuple):
    """A row of a comparison.

    Attributes:
        name: Of the run, or what the names of several have in common.
        runs: One, or several that differ in seed or few-shot draw alone.
    """

    name: str
    runs: list[Run]

    @property
    def title(self) -> str:
        """The name, with the number of runs if there are several."""
        return self.name if len(self.runs) == 1 else f"{self.name} (n = {len(self.runs)})"


def experiments_of(runs: Sequence[Run]) -> list[Experiment]:
    """Group runs by everything but seed and few-shot draw, in the order in which they come.

    Commit and load of the machine do not count, its device does. A folder in the settings whose
    name ends with the run's seed, ``teacher_1`` for seed 1, counts as one without. Runs that repeat
    seed and draw, or say nothing of their settings, stay alone: they would be a spread of nothing.
    """
    groups: dict[str, list[Run]] = {}
    for place, run in enumerate(runs):
        key = _settings(run.record) if run.record else str(place)
        groups.setdefault(key, []).append(run)
    found = []
    for group in groups.values():
        if len({(run.record.get("seed"), _draw(run.record)) for run in group}) == len(group) > 1:
            found.append(Experiment(common_name(group), group))
        else:
            found += [Experiment(run.name, [run]) for run in group]
    return found


def common_name(runs: Sequence[Run]) -> str:
    """How the names of runs begin, less a word for the seed; else the folder they lie in."""
    names = sorted(run.name for run in runs)
    letters = takewhile(lambda pair: pair[0] == pair[1], zip(names[0], names[-1], strict=False))
    start = "".join(letter for letter, _ in letters)
    stem = re.sub(r"(?:[\W_]+s?|[\W_]*seed)[\W_]*\d*$", "", start)
    return stem or runs[0].folder.resolve().parent.name


def _settings(record: dict[str, Any]) -> str:
    rest = {key: value for key, value in record.items() if key not in _RECORD}
    config = {k: v for k, v in record.get("config", {}).items() if k not in _CONFIG}
    if _draw(record) is not None:
        arguments = config["data"]["init_args"]
        kept = {key: value for key, value in arguments.items() if key != "draw"}
        config["data"] = config["data"] | {"init_args": kept}
        # Another draw is another training list, perhaps of another length.
        facts = record.get("data", {})
        rest["data"] = {k: v for k, v in facts.items() if not k.startswith("train_")}
    machine = {key: record.get("machine", {}).get(key) for key in _MACHINE}
    settings = json.dumps([rest, config, machine], sort_keys=True)
    # What a run takes from one of its own seed, such as its teacher's weights, is the same to it.
    return re.sub(rf"_{record.get('seed')}(?=/)", "_", settings)


def _draw(record: dict[str, Any]) -> int | None:
    """Number of the few-shot list that was trained on; None where the data know of no draws."""
    data = record.get("config", {}).get("data")
    return data.get("init_args", {}).get("draw") if isinstance(data, dict) else None
