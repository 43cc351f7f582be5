"""The command ``video-adapt plan``: what a training will need, before it is started."""

import argparse
import importlib
import json
import logging
import re
import sys
from pathlib import Path

from video_adapt.errors import ConfigurationError

HELP = "predict or measure memory and time of each way to train an experiment; say what fits"

_UNITS = {"MB": 1e6, "GB": 1e9, "TB": 1e12, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_MEMORY = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([MGT]i?B)", re.IGNORECASE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("config", type=Path, help="experiment file; its data need not be there")
    parser.add_argument(
        "--memory", help="memory of a device, such as 24GB; left out, that of this GPU, if any"
    )
    parser.add_argument("--measure", action="store_true", help="also take a real step of each")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument(
        "--only", nargs="+", metavar="REGIME", help="plan these regimes alone, such as adapter full"
    )
    parser.add_argument("--samples", type=int, help="training samples of an epoch")
    parser.add_argument(
        "--classes", type=int, default=100, help="number of classes, where their file is not here"
    )
    parser.add_argument("--out", type=Path, help="folder for plan.md and plan.json")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="settings that replace those of the file, such as trainer.precision=bf16-mixed",
    )


def run(args: argparse.Namespace) -> int:
    """Plan an experiment.

    Raises:
        ConfigurationError: If the file does not train, or an argument means nothing.
    """
    memory = None if args.memory is None else read_memory(args.memory)
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    # Torch takes seconds to import; `--help` of all commands does not pay for it.
    planning = importlib.import_module("video_adapt.reports.plan")
    text, facts = planning.make_plan(
        args.config,
        words=[f"--{setting}" for setting in args.set],
        memory=memory,
        measures=args.measure,
        device=args.device,
        only=args.only,
        samples=args.samples,
        classes=args.classes,
    )
    sys.stdout.write(text)
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "plan.md").write_text(text)
        (args.out / "plan.json").write_text(json.dumps(facts, indent=2) + "\n")
    return 0


def read_memory(text: str) -> int:
    """Bytes of ``24GB``, ``80 GiB`` ...

    Raises:
        ConfigurationError: If it is no size.
    """
    found = _MEMORY.fullmatch(text.strip())
    if found is None or float(found[1]) == 0:
        raise ConfigurationError(f"--memory {text!r} is no size; write it as 24GB or 22.5GiB")
    return int(float(found[1]) * _UNITS[found[2].upper()])
