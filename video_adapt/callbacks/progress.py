"""The progress bar of training and evaluation."""

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar


class Progress(RichProgressBar):
    """Rich's bar, one line per finished epoch left standing, with figures short enough to read."""

    def __init__(self) -> None:
        super().__init__(leave=True)

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Figures beside the bar, without the version number of the run."""
        metrics = super().get_metrics(trainer, pl_module)
        return {name: value for name, value in metrics.items() if name != "v_num"}
