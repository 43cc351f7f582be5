"""The place in a run that a checkpoint means: what Lightning's own record of it leaves open.

Lightning counts batches as ready, started, processed and completed. Behind the last batch of an
epoch it takes a checkpoint of a step for a finished epoch, and skips its validation and the hooks
of its end; a checkpoint written elsewhere than in its own hooks it cannot place at all. Here every
checkpoint is described as one that it resumes exactly.
"""

from typing import Any

from lightning.pytorch import Trainer

_COUNTS = ("ready", "started", "processed", "completed")


def describe_place(
    trainer: Trainer, checkpoint: dict[str, Any], *, before_validation: bool, validated: bool
) -> None:
    """Correct a checkpoint's record of the place, wherever in training it was written.

    Args:
        trainer: In the middle of training.
        checkpoint: What Lightning is about to write; changed in place.
        before_validation: A validation was begun or is about to, and shall be begun anew.
        validated: A validation has followed the last step.
    """
    loop: Any = trainer.fit_loop.epoch_loop
    total = loop.batch_progress.total
    if before_validation:
        _await_validation(checkpoint)
    elif total.ready > total.started:
        _leave_out_fetched_batch(trainer, checkpoint)
        if validated and loop.batch_progress.current.started:
            # Lightning counts the step once more as it passes over this validation.
            _epoch_loop(checkpoint, "state_dict")["_batches_that_stepped"] -= 1
    elif total.processed > total.completed:
        _complete_batch(checkpoint)
        if loop._should_check_val_fx(trainer.fit_loop._data_fetcher):
            _await_validation(checkpoint)
        elif not loop._should_accumulate():
            _epoch_loop(checkpoint, "state_dict")["_batches_that_stepped"] += 1


def is_row_to_come(trainer: Trainer) -> bool:
    """Whether the figures of the step that was just taken are still to be written."""
    loop: Any = trainer.fit_loop.epoch_loop
    host: Any = trainer  # Lightning does not declare the attribute
    total = loop.batch_progress.total
    logs = (loop._batches_that_stepped + 1) % host.log_every_n_steps == 0
    return bool(total.processed > total.completed and logs and not loop._should_accumulate())


def go_to_place(trainer: Trainer) -> None:
    """Lead a resumed run to the place that its checkpoint means; called when training starts."""
    fit: Any = trainer.fit_loop
    loop = fit.epoch_loop
    if not fit.restarting:
        return
    # Whether a validation is to be run was read off these counts before; now they count anew.
    loop.val_loop.batch_progress.reset()
    if loop.batch_progress.current.completed == 0:
        loop.restarting = False  # nothing of this epoch was done: it begins as any other
    elif loop._num_ready_batches_reached() and not loop._should_check_val_epoch():
        loop.val_loop._has_run = True  # there is none to wait for


def leave_place(trainer: Trainer) -> None:
    """The next epoch begins as any other; called when an epoch ends.

    Lightning forgets to say so where the epoch to be ended had no batch left.
    """
    loop: Any = trainer.fit_loop.epoch_loop
    loop.restarting = False


def _leave_out_fetched_batch(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """The batch that was fetched is fetched again."""
    progress = _epoch_loop(checkpoint, "batch_progress")
    for counts in (progress["total"], progress["current"]):
        counts["ready"] -= 1
    progress["is_last_batch"] = False
    module = getattr(trainer, "datamodule", None)
    data = checkpoint.get(type(module).__qualname__, {})
    if "place" in data:
        data["place"]["batches"] -= 1


def _complete_batch(checkpoint: dict[str, Any]) -> None:
    progress = _epoch_loop(checkpoint, "batch_progress")
    for counts in (progress["total"], progress["current"]):
        counts["completed"] += 1


def _await_validation(checkpoint: dict[str, Any]) -> None:
    """A first batch of validation that was begun makes Lightning go back to it."""
    progress = _epoch_loop(checkpoint, "val_loop.batch_progress")
    progress["total"] |= {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    progress["current"] |= dict.fromkeys(_COUNTS, 0)
    progress["is_last_batch"] = False


def _epoch_loop(checkpoint: dict[str, Any], part: str) -> dict[str, Any]:
    record: dict[str, Any] = checkpoint["loops"]["fit_loop"][f"epoch_loop.{part}"]
    return record
