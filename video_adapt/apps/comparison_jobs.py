"""The runs of a comparison as jobs of a cluster or of a W&B sweep."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import yaml

from .comparison_file import Comparison

_SLURM = """#!/bin/bash
# Written by: video-adapt compare {file} --jobs slurm
# Submit with what your cluster wants to know:
#   sbatch --gpus=1 --cpus-per-task=8 --time=24:00:00 {script}
# A job that was stopped goes on when it is submitted again. When all are done, the report:
#   video-adapt compare {file} --report
#SBATCH --job-name={name}
#SBATCH --array=0-{last}
#SBATCH --output={logs}/slurm_%A_%a.log
#SBATCH --signal=TERM@120
#SBATCH --requeue
runs=({runs})
exec video-adapt compare {file} --run "${{runs[$SLURM_ARRAY_TASK_ID]}}"
"""


def write_slurm(comparison: Comparison, names: Sequence[str]) -> Path:
    """Write an array script, one job a run, and say in it how it is submitted.

    Args:
        comparison: The comparison.
        names: Names of the runs that are still to do, at least one.

    Returns:
        ``jobs.sh`` in the comparison's folder.
    """
    script, logs = comparison.out / "jobs.sh", comparison.out / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    text = _SLURM.format(
        file=shlex.quote(str(comparison.path)),
        script=shlex.quote(str(script)),
        name=comparison.path.stem,
        last=len(names) - 1,
        logs=logs,
        runs=" ".join(names),
    )
    script.write_text(text, encoding="utf-8")
    script.chmod(0o755)
    return script


def write_sweep(comparison: Comparison, names: Sequence[str]) -> Path:
    """Write a W&B sweep, a grid of one parameter: the run.

    Args:
        comparison: The comparison.
        names: Names of the runs that are still to do, at least one.

    Returns:
        ``sweep.yaml`` in the comparison's folder.
    """
    content = {
        "program": "video-adapt",
        "name": comparison.title,
        "method": "grid",
        "command": ["${env}", "video-adapt", "compare", str(comparison.path), "${args}"],
        "parameters": {"run": {"values": list(names)}},
    }
    path = comparison.out / "sweep.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "# `wandb sweep` of this file answers with the command of its agents.\n"
        + yaml.safe_dump(content, sort_keys=False),
        encoding="utf-8",
    )
    return path
