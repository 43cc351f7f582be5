"""The pictures of a run's report, shown in W&B when the run has ended."""

from pathlib import Path
from tempfile import TemporaryDirectory

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_only

from video_adapt.callbacks import WandbTracker
from video_adapt.callbacks.tracking import log_picture
from video_adapt.wandb_account import wandb_mode

from .document import Picture
from .kinds import kind_of
from .runs import read_run


@rank_zero_only
def show_media(trainer: Trainer, folder: Path, stage: str) -> None:
    """Draw and show examples: timelines over frames, rankings, right and wrong clips.

    What the evaluation drew itself is shown already.

    Args:
        trainer: Whose trackers see them, as far as their budgets reach.
        folder: Of the evaluation; nothing is shown where there was none.
        stage: Its name in W&B.
    """
    tracked = any(isinstance(tracker, WandbTracker) for tracker in trainer.loggers)
    if not tracked or wandb_mode() == "disabled" or not (folder / "metrics.json").is_file():
        return
    run = read_run(folder)
    with TemporaryDirectory() as drawn:
        for part in kind_of(run).parts(run, Path(drawn)):
            if isinstance(part, Picture) and not (folder / part.path.name).is_file():
                log_picture(trainer, f"{stage}/{part.path.stem}", part.path)
