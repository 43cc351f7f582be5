"""A sweep file of Weights & Biases, read so that it runs without the service too."""

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import yaml

from video_adapt.errors import ConfigurationError

METHODS = ("grid", "random", "bayes")
MACROS = ("${env}", "${interpreter}", "${program}", "${args}")
_OWN_FOLDER = "WANDB_RUN_ID"

Point: TypeAlias = dict[str, Any]
"""A value for every parameter."""


class Choices(NamedTuple):
    """A parameter that takes one of some values.

    Attributes:
        values: At least one; anything that YAML can say.
    """

    values: tuple[Any, ...]


class Range(NamedTuple):
    """A parameter that takes a number between two others, both included.

    Attributes:
        low: Lower bound.
        high: Upper bound, above the lower one.
        whole: Whether only whole numbers count.
        log: Whether the logarithm is uniform, not the number.
        step: Distance of possible values; None = any.
    """

    low: float
    high: float
    whole: bool = False
    log: bool = False
    step: float | None = None


Domain: TypeAlias = Choices | Range


class Hyperband(NamedTuple):
    """Trials that fall behind are stopped after some validations.

    Attributes:
        min_iter: Validations that every trial may have.
        eta: Factor between the numbers of validations after which trials are compared.
        max_iter: Validations of a whole trial; None = those of the longest that has ended.
    """

    min_iter: int
    eta: int
    max_iter: int | None


class Sweep(NamedTuple):
    """What is tried, how, and what is wanted.

    Attributes:
        path: The file.
        program: The experiment file.
        method: ``grid``, ``random`` or ``bayes``.
        metric: Name of the wanted figure, as in ``metrics.csv``.
        maximize: Whether more of it is better.
        domains: What each setting can be, by its dotted key.
        command: Words of a trial's command with W&B's macros.
        hyperband: Which trials are stopped early; None = none.
        trials: How many there are at most; None = no limit of its own.
    """

    path: Path
    program: str
    method: str
    metric: str
    maximize: bool
    domains: Mapping[str, Domain]
    command: tuple[str, ...]
    hyperband: Hyperband | None
    trials: int | None

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.path.stem

    @property
    def varied(self) -> list[str]:
        """Settings that differ between trials; all where there can be one trial only."""
        fixed = {k for k, d in self.domains.items() if isinstance(d, Choices) and len(d.values) < 2}
        return [name for name in self.domains if name not in fixed] or list(self.domains)

    @property
    def identity(self) -> str:
        """All that makes trials comparable, as text: another one is another sweep."""
        same = self._replace(path=Path(), trials=None)
        return json.dumps(same._asdict(), sort_keys=True, default=str)

    def grid(self) -> Iterator[Point]:
        """Every combination of values, the last parameter changing fastest; needs choices only."""
        values = [d.values for d in self.domains.values() if isinstance(d, Choices)]
        for combination in product(*values):
            yield dict(zip(self.domains, combination, strict=True))

    def words(self, point: Point, run_dir: Path | None = None) -> list[str]:
        """The command of a trial, as W&B's agent would write it.

        Args:
            point: The settings of the trial.
            run_dir: Folder of the run in place of the file's; None keeps it.
        """
        replaced = {
            "${env}": [],
            "${interpreter}": [sys.executable],
            "${program}": [self.program],
            "${args}": [f"--{name}={value}" for name, value in point.items()],
        }
        words = [word for chunk in self.command for word in replaced.get(chunk, [chunk])]
        if run_dir is None:
            return words
        kept = [word for word in words if not word.startswith("--run_dir")]
        return [*kept, f"--run_dir={run_dir}"]


def read_sweep(path: Path) -> Sweep:
    """Read a sweep file and refuse what no trial could be made of.

    Raises:
        ConfigurationError: If the file is missing, or says something that has no meaning here.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        place = " ".join(str(error).split())
        raise ConfigurationError(f"{path}: no YAML: {place}; mend it") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: not a sweep file; it needs method, metric, parameters")
    read = _Reader(path)
    method = read.one_of(content, "method", METHODS)
    metric = read.mapping(content, "metric")
    domains = {
        name: read.domain(name, entry)
        for name, entry in read.mapping(content, "parameters").items()
    }
    if method == "grid":
        domains = {name: read.listed(name, domain) for name, domain in domains.items()}
    return Sweep(
        path,
        read.text(content, "program"),
        method,
        read.text(metric, "name", "metric."),
        read.one_of(metric, "goal", ("maximize", "minimize"), "metric.") == "maximize",
        domains,
        read.command(content),
        read.hyperband(content.get("early_terminate")),
        read.count(content, "run_cap"),
    )


class _Reader:
    """Reads parts of one file; every fault names the file and the key.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def _fault(self, text: str) -> ConfigurationError:
        return ConfigurationError(f"{self._path}: {text}")

    def mapping(self, content: Mapping[str, Any], key: str) -> dict[str, Any]:
        """A part that has parts of its own."""
        if not isinstance(value := content.get(key), dict) or not value:
            raise self._fault(f"{key} is missing; give it as a mapping")
        return value

    def text(self, content: Mapping[str, Any], key: str, above: str = "") -> str:
        """A text that cannot be left out."""
        if not isinstance(value := content.get(key), str):
            example = ", e.g. experiments/demo/dist.yaml" if key == "program" else ""
            raise self._fault(f"{above}{key} is missing; give a text{example}")
        return value

    def one_of(
        self, content: Mapping[str, Any], key: str, known: Sequence[str], above: str = ""
    ) -> str:
        """A word out of some."""
        if (value := content.get(key)) not in known:
            raise self._fault(f"{above}{key} is {value!r}; choose one of {', '.join(known)}")
        return str(value)

    def count(self, content: Mapping[str, Any], key: str) -> int | None:
        """A whole number from one, or None where there is none."""
        value = content.get(key)
        if value is not None and (not isinstance(value, int) or value < 1):
            raise self._fault(f"{key} is {value!r}; give a whole number from 1")
        return value

    def command(self, content: Mapping[str, Any]) -> tuple[str, ...]:
        """Words of the command, which give each trial a folder of its own."""
        words = content.get("command")
        if not isinstance(words, list) or "${args}" not in words:
            raise self._fault(
                "command is missing or without ${args}; write [${env}, ${interpreter}, -m, "
                "video_adapt, fit, -c, ${program}, ${args}, ...]"
            )
        for word in words:
            if re.fullmatch(r"\$\{.*\}", str(word)) and word not in MACROS:
                raise self._fault(f"command: {word} is not known; use {', '.join(MACROS)}")
        if not any(str(word).startswith("--run_dir") and _OWN_FOLDER in word for word in words):
            raise self._fault(
                "command: every trial needs a folder of its own; add "
                f"'--run_dir=runs/sweeps/{self._path.stem}/${{oc.env:{_OWN_FOLDER}}}'"
            )
        return tuple(str(word) for word in words)

    def hyperband(self, entry: Any) -> Hyperband | None:
        """W&B's ``early_terminate``: the first rung is given, or follows from the last one."""
        if entry is None:
            return None
        if not isinstance(entry, dict) or entry.get("type") != "hyperband":
            raise self._fault("early_terminate: write {type: hyperband, min_iter: 1}")
        eta, longest = self.count(entry, "eta") or 3, self.count(entry, "max_iter")
        first, brackets = self.count(entry, "min_iter"), self.count(entry, "s")
        if first is None:
            if longest is None or brackets is None:
                raise self._fault("early_terminate: give min_iter, or max_iter and s")
            first = max(1, round(longest / eta**brackets))
        if eta < 2 or (longest is not None and longest < first):
            raise self._fault("early_terminate: eta is 2 or more, max_iter not below min_iter")
        return Hyperband(first, eta, longest)

    def domain(self, name: str, entry: Any) -> Domain:
        """What a parameter can be."""
        if not isinstance(entry, dict) or "parameters" in entry:
            raise self._fault(
                f"parameters.{name}: write the whole key with dots and values, or min and max"
            )
        if "probabilities" in entry:
            raise self._fault(f"parameters.{name}: probabilities are W&B's alone; leave them out")
        values = [entry["value"]] if "value" in entry else entry.get("values")
        if values is None:
            return self._range(name, entry)
        if not isinstance(values, list) or not values:
            raise self._fault(f"parameters.{name}.values is not a list of values")
        if None in values:
            # W&B's agent would write the word None, which the command line takes for a text.
            raise self._fault(f'parameters.{name}: write "null" in quotes')
        return Choices(tuple(values))

    def _range(self, name: str, entry: Mapping[str, Any]) -> Range:
        where = f"parameters.{name}"
        bounds = [self._number(entry, key, where) for key in ("min", "max")]
        whole = all(isinstance(bound, int) for bound in bounds)
        kind = entry.get("distribution", "int_uniform" if whole else "uniform")
        low, high = bounds
        step = self._number(entry, "q", where) if str(kind).startswith("q_") else None
        if kind == "log_uniform":
            low, high = math.exp(low), math.exp(high)
        elif kind not in ("int_uniform", "uniform", "q_uniform", "log_uniform_values"):
            raise self._fault(
                f"{where}: {kind} runs on W&B alone; take uniform, q_uniform, int_uniform or "
                "log_uniform_values"
            )
        log = str(kind).startswith("log_")
        if low >= high or (log and low <= 0):
            raise self._fault(f"{where}: min is below max" + (", and above 0" if log else ""))
        return Range(low, high, kind == "int_uniform", log, step)

    def _number(self, entry: Mapping[str, Any], key: str, where: str) -> float:
        value = entry.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool):
            hint = "; write 1.0e-4, as YAML takes 1e-4 for a text" if value is not None else ""
            raise self._fault(f"{where}.{key} is {value!r}, not a number{hint}")
        return value

    def listed(self, name: str, domain: Domain) -> Choices:
        """The same as choices, which a grid is made of."""
        if isinstance(domain, Choices):
            return domain
        step = 1 if domain.whole else domain.step
        if step is None:
            raise self._fault(f"parameters.{name}: a grid has no end here; list its values")
        count = math.floor((domain.high - domain.low) / step + 1e-9) + 1
        kind = int if domain.whole else float
        return Choices(tuple(kind(domain.low + place * step) for place in range(count)))
