"""A plan from an experiment file: the regimes of its method, side by side."""

import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from video_adapt.apps.plan_experiment import Experiment, Regime, Samples
from video_adapt.apps.recogniser import find_device
from video_adapt.errors import ConfigurationError

from .plan_rates import benchmark
from .plan_rows import Planner
from .plan_table import render, verdict


def make_plan(
    path: Path,
    *,
    words: Sequence[str] = (),
    memory: int | None = None,
    measures: bool = False,
    device: str = "auto",
    only: Sequence[str] | None = None,
    samples: int | None = None,
    classes: int = 100,
) -> tuple[str, dict[str, Any]]:
    """Plan every regime of an experiment.

    Args:
        path: The experiment file.
        words: Settings that replace those of the file, as on the command line.
        memory: Bytes of a device; None = those of this GPU, if there is one.
        measures: Whether a real step is taken as well.
        device: ``auto``, ``cpu`` or ``cuda``.
        only: Names of regimes; None = all.
        samples: Training samples; None = those of the lists.
        classes: Number of classes, where their file is not there.

    Returns:
        The plan as Markdown and as plain values.

    Raises:
        ConfigurationError: If the file does not train, or has no such regime.
    """
    place = find_device(device)
    if memory is None and place.type == "cuda":
        memory = torch.cuda.get_device_properties(place).total_memory
    experiment = Experiment(path, words, classes=classes)
    length = experiment.samples()
    if samples is not None:
        length = Samples(samples, length.epochs)
    stopwatch = benchmark(place.type, experiment.precision)
    planner = Planner(
        experiment,
        device=place.type,
        stopwatch=stopwatch,
        memory=memory,
        measures=measures,
        samples=length,
    )
    regimes = _chosen(experiment.regimes(), only, path)
    shown = track(regimes, "planning", console=Console(stderr=True), transient=True)
    rows = [planner.row(regime) for regime in shown]
    title = f"{path}: batches of {experiment.batch_size}, {experiment.precision}, {place.type}"
    text = render(rows, title=title, memory=memory, devices=experiment.devices)
    text += _assumed(experiment, length, stopwatch.untried)
    facts = {
        "experiment": str(path),
        "settings": list(words),
        "device": place.type,
        "precision": experiment.precision,
        "devices": experiment.devices,
        "memory": memory,
        "rates": stopwatch.rates._asdict(),
        "samples": length._asdict(),
        "classes": len(experiment.class_names),
        "versions": {"torch": torch.__version__, "python": sys.version.split()[0]},
        "regimes": [{**row.as_dict(), "verdict": verdict(row, memory, rows)} for row in rows],
    }
    return text, facts


def _chosen(regimes: Sequence[Regime], only: Sequence[str] | None, path: Path) -> list[Regime]:
    if only is None:
        return list(regimes)
    names = dict.fromkeys(regime.name for regime in regimes)
    if unknown := sorted(set(only) - names.keys()):
        raise ConfigurationError(
            f"{path}: no regime {', '.join(unknown)}; choose among {', '.join(names)}"
        )
    return [regime for regime in regimes if regime.name in only]


def _assumed(experiment: Experiment, length: Samples, untried: Collection[str]) -> str:
    lines = []
    if experiment.classes_problem:
        lines.append(
            f"- {len(experiment.class_names)} classes are assumed; --classes says how many there "
            f"are: {experiment.classes_problem}"
        )
    if length.problem:
        lines.append(f"- --samples says how long an epoch is: {length.problem}")
    if untried:
        names = ", ".join(sorted(untried))
        lines.append(f"- not tried on the device, so timed by its rates alone: {names}")
    return "".join(f"{line}\n" for line in lines)
