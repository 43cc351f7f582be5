"""``video-adapt ratios``: test one checkpoint with weights at several shares of the original."""

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from video_adapt.errors import ConfigurationError

from .outputs import whole_file

HELP = "test an open-vocabulary checkpoint with weights at several shares of the original CLIP"
RATIOS = tuple(step / 10 for step in range(11))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--config", "-c", required=True, help="experiment file of the run")
    parser.add_argument("--ckpt_path", required=True, help="its checkpoint, e.g. averaged.ckpt")
    parser.add_argument("--out", type=Path, required=True, help="folder of all that is written")
    parser.add_argument(
        "--ratios",
        nargs="+",
        type=float,
        default=RATIOS,
        metavar="R",
        help="shares of the original weights, 0 to 1 (default: 0 0.1 ... 1)",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        default=(),
        metavar="KEY=VALUE",
        help="settings that differ from the experiment file, e.g. data.init_args.root=/data",
    )


def run(args: argparse.Namespace) -> int:
    """Test at every ratio, each with the ordinary command, and compare.

    Writes ``ratio_<R>/`` for each, ``ratios.csv`` and ``ratios.png``.

    Raises:
        ConfigurationError: If a ratio is impossible or a test failed.
    """
    ratios = sorted(set(args.ratios))
    if wrong := [ratio for ratio in ratios if not 0 <= ratio <= 1]:
        raise ConfigurationError(f"--ratios {wrong[0]:g}: a share of weights is within 0 to 1")
    curves = [_test(args, ratio) for ratio in ratios]
    table = args.out / "ratios.csv"
    with whole_file(table) as file:
        writer = csv.writer(file)
        writer.writerow(["ratio", *curves[0]])
        for ratio, figures in zip(ratios, curves, strict=True):
            values = ("" if v is None else f"{v:.4f}" for v in figures.values())
            writer.writerow([f"{ratio:g}", *values])
    picture = _draw(ratios, curves, args.out / "ratios.png")
    sys.stdout.write(f"{table.read_text()}{table}\n{picture}\n")
    return 0


def _test(args: argparse.Namespace, ratio: float) -> Mapping[str, float | None]:
    """Top-1 of every test set and their means at one ratio."""
    folder = args.out / f"ratio_{ratio:g}"
    settings = [f"--{setting}" for setting in args.set]
    command = [
        *(sys.executable, "-m", "video_adapt", "test"),
        *("--config", args.config, "--ckpt_path", args.ckpt_path, f"--run_dir={folder}"),
        *(f"--model.init_args.patch_ratio={ratio:g}", *settings),
    ]
    code = subprocess.run(command, check=False).returncode
    if code:
        raise ConfigurationError(
            f"the test at ratio {ratio:g} ended with code {code}: mend what it said above"
        )
    figures: Mapping[str, float | None] = json.loads(
        (folder / "test" / "metrics.json").read_text(encoding="utf-8")
    )["top1"]
    return figures


def _draw(
    ratios: Sequence[float], curves: Sequence[Mapping[str, float | None]], path: Path
) -> Path:
    """Accuracy against the share of the original weights, a line for every figure."""
    from matplotlib.figure import Figure

    from video_adapt.metrics.plots import house_style, save_figure

    with house_style():
        figure = Figure(figsize=(6.4, 4.0))
        axes = figure.subplots()
        for name in curves[0]:
            if not name.endswith("_std"):
                values = [_percent(curve[name]) for curve in curves]
                axes.plot(ratios, values, marker="o", label=name)
        axes.set_title("Between the tuned model and the original CLIP")
        axes.set_xlabel("share of the original weights")
        axes.set_ylabel("top-1 (%)")
        axes.legend()
        return save_figure(figure, path)


def _percent(share: float | None) -> float:
    return float("nan") if share is None else 100 * share
