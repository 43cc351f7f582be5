"""What the methods of every job share: classes, optimiser, and what a checkpoint says of itself."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from video_adapt.checkpoints import check_fit
from video_adapt.errors import ConfigurationError, WeightsError

from .optim import Recipe, configure


class Task(LightningModule):
    """A method of some job: knows its classes, trains by a recipe, writes usable checkpoints.

    Args:
        class_names: Names of the classes, in the order of their indices.
        optimizer: Recipe of the optimiser; None for a method that does not train.

    Raises:
        ConfigurationError: If there is no class.

    Attributes:
        job: Name of the job, which decides how the method is evaluated.
        knows_classes: Whether the methods of this job tell classes apart.
        provenance: How the weights came about, where training alone does not tell, as plain values:
            part of every checkpoint, such as the range of epochs they are the average of.
        rate_factor: Factor on every learning rate of the recipe, where a step sees another number
            of samples than the recipe's.
    """

    job: ClassVar[str]
    knows_classes: ClassVar[bool] = True

    def __init__(self, *, class_names: Sequence[str], optimizer: Recipe | None = None) -> None:
        super().__init__()
        if self.knows_classes and not class_names:
            raise ConfigurationError("class_names is empty: a method needs at least one class")
        self.class_names = list(class_names)
        self.optimizer = optimizer
        self.provenance: dict[str, Any] = {}
        self.rate_factor = 1.0
        self.save_hyperparameters()

    def _set_hparams(self, hp: Any) -> None:
        # Under the command line all values are plain. A component built in Python (the backbone!)
        # must not be copied into the hyper-parameters, or a checkpoint would pickle it.
        super()._set_hparams({k: v for k, v in hp.items() if _is_plain(v)})

    @property
    def num_classes(self) -> int:
        """Number of classes ``K``."""
        return len(self.class_names)

    def serves_weights_of(self, class_names: Sequence[str]) -> bool:
        """Whether weights trained for these classes, in this order, mean anything here."""
        return list(class_names) == self.class_names

    def setup(self, stage: str) -> None:
        """Refuse a strategy that checkpoints of what trains do not survive.

        Raises:
            ConfigurationError: If it takes weights apart in its own way, as Lightning's FSDP does.
        """
        super().setup(stage)
        strategy = self.trainer.strategy
        if not isinstance(strategy, SingleDeviceStrategy | DDPStrategy):
            raise strategy_refused(type(strategy).__name__)

    @property
    def _ddp_params_and_buffers_to_ignore(self) -> list[str]:
        """Buffers: a module keeps its own equal in all processes, as masks are from the beginning.

        DistributedDataParallel would broadcast them at forward passes, of which processes have
        different numbers in validation.
        """
        return [name for name, _ in self.named_buffers()]

    @abstractmethod
    def parameter_groups(self, spec: Any) -> list[dict[str, Any]]:
        """Optimiser groups of the trainable parameters, each with its name, rate and decay."""

    def configure_optimizers(self) -> Any:
        """The optimiser over the trainable parameters, its schedule updated at every step."""
        spec = self.optimizer
        if spec is None:
            raise ConfigurationError(f"{type(self).__name__} was built without an optimizer")
        groups = self.parameter_groups(spec)
        return configure(groups, spec, self.trainer, rate_factor=self.rate_factor)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add all that an application needs to run this model on somebody's video."""
        super().on_save_checkpoint(checkpoint)
        record = checkpoint.setdefault("video_adapt", {})
        record |= {"method": _class_path(type(self)), "class_names": self.class_names}
        record["provenance"] = dict(self.provenance)
        data = getattr(self._trainer, "datamodule", None)
        if data is not None:
            record["input"] = data.evaluation_recipe()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of something else before a weight is touched.

        Raises:
            WeightsError: If the file was not written by this method, or for other classes.
        """
        super().on_load_checkpoint(checkpoint)
        record = checkpoint.get("video_adapt")
        if record is None:
            raise WeightsError(
                "not a checkpoint of video_adapt; turn published files into one with "
                "`video-adapt convert`"
            )
        if record["method"] != (own := _class_path(type(self))):
            raise WeightsError(f"checkpoint of {record['method']} given to {own}; use its config")
        if not self.serves_weights_of(record["class_names"]):
            theirs, ours = len(record["class_names"]), len(self.class_names)
            raise WeightsError(
                f"checkpoint knows {theirs} classes, the data has {ours}, or their names or order "
                "differ; use the class file of the training run"
            )
        self.provenance = dict(record.get("provenance", {}))

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Take weights over.

        Raises:
            WeightsError: If they are of a method with other settings.
        """
        if strict:
            try:
                check_fit(self, state_dict)
            except WeightsError as error:
                raise WeightsError(
                    f"{error}; give the experiment file of the run that wrote the checkpoint"
                ) from error
        return super().load_state_dict(state_dict, strict=strict, assign=assign)


def strategy_refused(strategy: str) -> ConfigurationError:
    """What to say of a strategy under which checkpoints of what trains cannot be made."""
    return ConfigurationError(
        f"trainer.strategy {strategy} takes weights apart in a way that checkpoints of what trains "
        "do not survive; take fsdp, which spreads what trains over the processes, or ddp"
    )


def _class_path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _is_plain(value: Any) -> bool:
    """Whether a value survives ``torch.load(weights_only=True)`` without our classes."""
    if isinstance(value, dict):
        return all(isinstance(k, str) and _is_plain(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float | bool | torch.Tensor)
