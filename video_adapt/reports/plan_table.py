"""A plan as a table, and a line for each regime: fits or not, and what to add."""

from collections.abc import Sequence

from .plan_rows import USABLE, PlanRow

_HEAD = (
    "| regime | trains M | weights | gradients, optimiser | activations | peak | measured "
    "| step s | measured s | epoch h | device hours |"
)
_NOTE = (
    "Sizes in GB (10^9 bytes). Peak: all tensors at the worst moment of a step, input included, "
    "predicted on the operations of a CPU{exact}. Step: its operations, each timed alone on this "
    "device. Validation, decoding and averages of weights (EMA) are not in it."
)


def render(rows: Sequence[PlanRow], *, title: str, memory: int | None, devices: int) -> str:
    """The plan as Markdown.

    Args:
        rows: A line for each regime.
        title: What is planned.
        memory: Bytes of the device.
        devices: How many there are.
    """
    table = [_cells(row, devices) for row in rows if row.impossible is None]
    exact = "" if any(row.measured for row in rows) else "; --measure takes a real step"
    lines = [f"# {title}", "", _HEAD, "|---" * 11 + "|", *table, "", _NOTE.format(exact=exact), ""]
    lines += [f"- {verdict(row, memory, rows)}" for row in rows]
    return "\n".join(lines) + "\n"


def verdict(row: PlanRow, memory: int | None, rows: Sequence[PlanRow]) -> str:
    """One line: whether a regime fits, and the mend.

    Args:
        row: The regime.
        memory: Bytes of the device; None = nobody asks.
        rows: All regimes, for the one that needs least.
    """
    if row.impossible is not None:
        return f"{row.regime}: not possible: {row.impossible}"
    add = f"; add {' '.join(row.words)}" if row.words else ""
    if row.filling_s is not None:
        add += f"; the first epoch fills the caches of teachers, {row.filling_s:.3g} s a step"
    if memory is None:
        return f"{row.regime}: needs {_giga(row.peak)} GB{add}; --memory 24GB says what fits"
    have = f"{_giga(USABLE * memory)} GB that tensors may take of {_giga(memory)} GB"
    if row.peak <= USABLE * memory:
        return (
            f"{row.regime}: fits: {_giga(row.peak)} GB, within the {have}; batches up to "
            f"{row.largest_batch}{add}"
        )
    text = f"{row.regime}: does not fit: {_giga(row.peak)} GB, more than the {have}; "
    if row.largest_batch:
        parts = -(-row.batch_size // row.largest_batch)
        return (
            f"{text}take --data.loader.batch_size={row.largest_batch} "
            f"--trainer.accumulate_grad_batches={parts}{add}"
        )
    least = min((other for other in rows if other.impossible is None), key=lambda o: o.peak)
    return (
        f"{text}not even a single sample does; take fewer frames, --trainer.precision=bf16-mixed, "
        f"a smaller backbone, or {least.regime}, which needs least ({_giga(least.peak)} GB)"
    )


def _cells(row: PlanRow, devices: int) -> str:
    needs, found = row.needs, row.measured
    assert needs is not None
    cells = [
        row.regime,
        f"{needs.trained / 1e6:.2f}",
        _giga(needs.weights),
        _giga(needs.gradients + needs.optimizer),
        _giga(needs.activations),
        _giga(needs.peak),
        "-" if found is None else _giga(found.allocated),
        "-" if row.seconds is None else f"{row.seconds:.3g}",
        "-" if found is None else f"{found.seconds:.3g}",
        "-" if row.epoch_s is None else f"{row.epoch_s / 3600:.3g}",
        "-" if row.run_s is None else f"{row.run_s * devices / 3600:.3g}",
    ]
    return f"| {' | '.join(cells)} |"


def _giga(size: float) -> str:
    return f"{size / 1e9:.3g}"
