"""``video-adapt bench``: speed and memory of training, decoding and detection, side by side."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from video_adapt.reports.bench_step import StepRow

HELP = "measure training and decoding side by side, as tables and pictures"

PARTS = (
    "step",
    "memory",
    "decode",
    "detect",
    "segments",
    "ranking",
    "index",
    "expanded",
    "teaching",
    "froster",
    "residual",
)

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="folder of the report")
    parser.add_argument(
        "--only",
        choices=PARTS,
        help="measure one part alone: steps on clips, memory of steps on long videos, decoding, "
        "memory of detection in an hour of video, what is done to segments, ranking all "
        "pairs of a retrieval test set, indexes of 100,000 vectors, attention to neighbouring "
        "frames, a student's step taught from caches, the teacher's share of a step of FROSTER, or "
        "an epoch of its residual_only from stored features",
    )
    parser.add_argument("--size", default="base", help="VideoMAE of the long videos")
    parser.add_argument("--chunks", type=int, default=4, help="their length, in 16 frames")
    parser.add_argument("--batch-size", type=int, default=2, help="clips per training step")
    parser.add_argument("--steps", type=int, default=5, help="training steps measured")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")


def run(args: argparse.Namespace) -> int:
    """Measure, print the tables, write them with their pictures."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args.out.mkdir(parents=True, exist_ok=True)
    wanted = (args.only,) if args.only else PARTS
    if "step" in wanted:
        from video_adapt.reports import bench_step

        rows = bench_step.run(batch_size=args.batch_size, steps=args.steps, device=_device(args))
        _write(args.out, "step", step_table(rows, bench_step.REFERENCE))
        _draw(args.out / "step.png", rows)
    if "memory" in wanted:
        _measure_memory(args)
    if "decode" in wanted:
        from video_adapt.reports import bench_decode

        _write(args.out, "decode", bench_decode.render(bench_decode.run(args.out)))
    if "detect" in wanted:
        from video_adapt.reports import bench_detect_memory

        _write(args.out, "detect", bench_detect_memory.render(bench_detect_memory.run(args.out)))
    if "segments" in wanted:
        from video_adapt.reports import bench_segments

        _write(args.out, "segments", bench_segments.render(bench_segments.run()))
    if "ranking" in wanted:
        from video_adapt.reports import bench_ranking

        _write(args.out, "ranking", bench_ranking.render(bench_ranking.run()))
    if "index" in wanted:
        _measure_index(args.out)
    if "expanded" in wanted:
        from video_adapt.reports import bench_expanded

        measured = bench_expanded.run(rounds=args.steps, device=_device(args))
        _write(args.out, "expanded", bench_expanded.render(measured))
    if "teaching" in wanted:
        _measure_teaching(args)
    if "froster" in wanted:
        _measure_froster(args)
    if "residual" in wanted:
        from video_adapt.reports import bench_residual

        measured_epoch = bench_residual.run(device=_device(args))
        _write(args.out, "residual", bench_residual.render(measured_epoch))
    return 0


def _measure_index(out: Path) -> None:
    from video_adapt.metrics import save_figure
    from video_adapt.reports import bench_index

    rows = bench_index.run()
    _write(out, "index", bench_index.render(rows))
    save_figure(bench_index.draw(rows), out / "index.png")


def _measure_teaching(args: argparse.Namespace) -> None:
    from video_adapt.reports import bench_teaching

    rows = bench_teaching.run(rounds=args.steps, device=_device(args))
    _write(args.out, "teaching", bench_teaching.render(rows))


def _measure_froster(args: argparse.Namespace) -> None:
    from video_adapt.reports import bench_froster

    rows = bench_froster.run(rounds=args.steps, device=_device(args))
    _write(args.out, "froster", bench_froster.render(rows))


def _measure_memory(args: argparse.Namespace) -> None:
    from video_adapt.metrics import save_figure
    from video_adapt.reports import bench_detection
    from video_adapt.reports.plots import bars

    rows = bench_detection.run(size=args.size, chunks=args.chunks, device=_device(args))
    _write(args.out, "memory", bench_detection.render(rows, title=f"VideoMAE {args.size}, 160 px"))
    panels: dict[str, list[float | None]] = {
        "memory, MB": [row.megabytes for row in rows],
        "forward, s": [row.forward_s for row in rows],
        "backward, s": [row.backward_s for row in rows],
    }
    names = [f"{row.name}, {16 * row.chunks} frames" for row in rows]
    save_figure(bars(names, panels), args.out / "memory.png")


def step_table(rows: Sequence["StepRow"], reference: str) -> str:
    """A Markdown table with every figure as a share of the reference's."""
    base = next(row for row in rows if row.name == reference)
    columns = ("seconds", "of full", "CPU s", "of full", "peak MB", "of full", "trained M")
    lines = [
        f"| training step, ViT-B/16, 224 px | {' | '.join(columns)} |",
        "|---" * (1 + len(columns)) + "|",
    ]
    lines += [
        f"| {row.name} | {row.seconds:.2f} | {row.seconds / base.seconds:.2f} "
        f"| {row.cpu_seconds:.2f} | {row.cpu_seconds / base.cpu_seconds:.2f} "
        f"| {row.megabytes:.0f} | {row.megabytes / base.megabytes:.2f} | {row.trained:.1f} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def _device(args: argparse.Namespace) -> str:
    import torch

    if args.device != "auto":
        return str(args.device)
    return "cuda" if torch.cuda.is_available() else "cpu"


def _write(folder: Path, name: str, table: str) -> None:
    (folder / f"{name}.md").write_text(table)
    logger.info("\n%s\nwritten to %s", table, folder / f"{name}.md")


def _draw(path: Path, rows: Sequence["StepRow"]) -> None:
    from video_adapt.metrics import save_figure
    from video_adapt.reports.plots import bars

    names = [row.name for row in rows]
    panels = {
        "seconds per step": [row.seconds for row in rows],
        "peak memory, MB": [row.megabytes for row in rows],
    }
    save_figure(bars(names, panels), path)
