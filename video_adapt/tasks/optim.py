"""Optimiser recipes: named parameter groups, one optimiser over them, one schedule on top."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from lightning.pytorch import Trainer
from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.optim import Adam, AdamW, Optimizer

from video_adapt.errors import ConfigurationError

from .bert_adam import BertAdam
from .schedules import DistCosine, Schedule, StepSchedule

NamedParameter = tuple[str, nn.Parameter]
Algorithm = Literal["AdamW", "Adam", "BertAdam"]
NO_DECAY_SUFFIXES = ("cls_token", "positional_embedding")
_ALGORITHMS: dict[Algorithm, type[Optimizer]] = {
    "AdamW": AdamW,
    "Adam": Adam,
    "BertAdam": BertAdam,
}


class Recipe(Protocol):
    """What :func:`configure` needs to know of a recipe; rates and decay are in the groups."""

    @property
    def algorithm(self) -> Algorithm:
        """The optimiser."""

    @property
    def betas(self) -> tuple[float, float]:
        """Its averaging factors."""

    @property
    def eps(self) -> float:
        """Its denominator offset."""

    @property
    def schedule(self) -> Schedule:
        """How the rates move."""


@dataclass(frozen=True, kw_only=True)
class OptimizerSpec:
    """Recipe of a recogniser: AdamW under :class:`DistCosine`, updated every step.

    Args:
        lr: Base learning rate, of the weights that were pre-trained.
        new_module_multiplier: Factor on the rate (warm-up included) of everything else.
        weight_decay: Decay of matrices and kernels.
        decay: ``matrices`` spares biases, norms and learned tokens; ``all`` decays everything.
        betas: Adam's averaging factors.
        eps: Adam's denominator offset.
        warmup_epochs: Length of the linear warm-up, in epochs.
        warmup_start_lr: Rate at step 0 when there is a warm-up.
    """

    lr: float
    new_module_multiplier: float = 1.0
    weight_decay: float = 1e-4
    decay: Literal["matrices", "all"] = "matrices"
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    warmup_epochs: float = 0.0
    warmup_start_lr: float = 0.0

    @property
    def algorithm(self) -> Algorithm:
        """Always AdamW."""
        return "AdamW"

    @property
    def schedule(self) -> Schedule:
        """The cosine over all epochs of the trainer."""
        return DistCosine(
            warmup_epochs=self.warmup_epochs, warmup_start_share=self.warmup_start_lr / self.lr
        )


@dataclass(frozen=True, kw_only=True)
class DetectionOptimizerSpec:
    """Recipe of a detector: one rate for each of its three parts.

    All that trains inside the backbone is decayed, biases included; of the detector only what
    ``decay`` says.

    Args:
        lr: Base learning rate of the detector.
        adapter_lr: That of the adapters, where there are any.
        backbone_lr: That of the backbone's own weights, where they train.
        weight_decay: Decay of the detector.
        backbone_weight_decay: Decay of adapters and backbone.
        decay: ``matrices`` = weights of linear and convolutional layers; ``all`` = everything.
        algorithm: ``AdamW`` decays weights directly, ``Adam`` through the gradient.
        schedule: How the rates move.

    Source: AdaTAD (CVPR 2024), as trained.
    """

    lr: float
    adapter_lr: float
    backbone_lr: float = 1e-5
    weight_decay: float = 0.05
    backbone_weight_decay: float = 0.05
    decay: Literal["matrices", "all"] = "matrices"
    algorithm: Algorithm = "AdamW"
    schedule: Schedule

    @property
    def betas(self) -> tuple[float, float]:
        """Adam's averaging factors, which no published detector changes."""
        return (0.9, 0.999)

    @property
    def eps(self) -> float:
        """Adam's denominator offset, which no published detector changes."""
        return 1e-8


def takes_decay(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay applies: not to learned tokens, biases and one-dimensional tensors."""
    if name.endswith(NO_DECAY_SUFFIXES):
        return False
    return parameter.ndim > 1 and "bias" not in name


def decay_groups(
    named: Iterable[NamedParameter], spec: OptimizerSpec, *, name: str, multiplier: float = 1.0
) -> list[dict[str, Any]]:
    """Split trainable parameters into a group with and one without weight decay.

    Args:
        named: Parameters with their names; frozen ones are left out.
        spec: The recipe that gives rate and decay.
        name: Prefix of the groups' names, seen in the learning-rate curves.
        multiplier: Factor on the recipe's rate.

    Returns:
        Optimiser groups, empty ones left out.
    """
    trainable = [(key, p) for key, p in named if p.requires_grad]
    decayed = [p for key, p in trainable if spec.decay == "all" or takes_decay(key, p)]
    spared = [p for key, p in trainable if spec.decay != "all" and not takes_decay(key, p)]
    rate = spec.lr * multiplier
    groups: list[dict[str, Any]] = [
        {"name": f"{name}/decay", "params": decayed, "lr": rate, "weight_decay": spec.weight_decay},
        {"name": f"{name}/no_decay", "params": spared, "lr": rate, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def detection_groups(
    module: nn.Module,
    spec: DetectionOptimizerSpec,
    *,
    adapters: tuple[str, ...] = ("backbone.adapters.",),
) -> list[dict[str, Any]]:
    """Sort the trainable parameters of a detection method into the groups of its recipe.

    Args:
        module: The method; what lies below ``backbone`` is its backbone, the rest its detector.
        spec: Rates and decay.
        adapters: Beginnings of the names of adapters, wherever they are.

    Returns:
        Groups ``adapters``, ``backbone``, ``detector/decay`` and ``detector/no_decay``, empty ones
        left out.
    """
    kernels = set(_kernels(module))
    parts: dict[str, list[nn.Parameter]] = {
        name: [] for name in ("adapters", "backbone", "detector/decay", "detector/no_decay")
    }
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        if name.startswith(adapters):
            part = "adapters"
        elif name.startswith("backbone."):
            part = "backbone"
        else:
            decays = spec.decay == "all" or name in kernels
            part = "detector/decay" if decays else "detector/no_decay"
        parts[part].append(parameter)
    rates = {"adapters": spec.adapter_lr, "backbone": spec.backbone_lr}
    decay = {"detector/decay": spec.weight_decay, "detector/no_decay": 0.0}
    return [
        {
            "name": name,
            "params": params,
            "lr": rates.get(name, spec.lr),
            "weight_decay": decay.get(name, spec.backbone_weight_decay),
        }
        for name, params in parts.items()
        if params
    ]


def _kernels(module: nn.Module) -> Iterator[str]:
    """Names of the weights of linear and convolutional layers.

    The number of dimensions would not tell: norms and scales may have three to fit ``[B, D, S]``.
    """
    for name, child in module.named_modules():
        if isinstance(child, nn.Linear | _ConvNd):
            yield f"{name}.weight" if name else "weight"


def configure(
    groups: Sequence[dict[str, Any]], recipe: Recipe, trainer: Trainer, *, rate_factor: float = 1.0
) -> dict[str, Any]:
    """Build the optimiser and its schedule in the form that ``configure_optimizers`` returns.

    Args:
        groups: Parameter groups, each with its own rate and decay.
        recipe: Algorithm and schedule.
        trainer: Tells how many optimiser steps an epoch has.
        rate_factor: Factor on the base rate of every group, for another global batch than the
            recipe's.

    Raises:
        ConfigurationError: If nothing trains, or the schedule lacks the trainer's ``max_epochs``.
    """
    if not groups:
        method = type(trainer.lightning_module).__name__
        raise ConfigurationError(f"{method} has nothing to train: use validate, or change tuning")
    algorithm: Any = _ALGORITHMS[recipe.algorithm]
    groups = [{**group, "lr": group["lr"] * rate_factor} for group in groups]
    optimizer = algorithm(groups, lr=0.0, betas=recipe.betas, eps=recipe.eps)
    schedule, steps_per_epoch = recipe.schedule, _steps_per_epoch(trainer)
    epochs = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else None

    def rate(lr: float, step: int) -> float:
        return schedule.rate(lr, step, steps_per_epoch=steps_per_epoch, epochs=epochs)

    scheduler = {"scheduler": StepSchedule(optimizer, rate), "interval": "step"}
    return {"optimizer": optimizer, "lr_scheduler": scheduler}


def _steps_per_epoch(trainer: Trainer) -> int:
    _ = trainer.estimated_stepping_batches  # counts the batches if nobody has
    if trainer.num_training_batches == float("inf"):  # not where the trainer counts steps alone
        trainer.fit_loop.setup_data()
    return -(-int(trainer.num_training_batches) // trainer.accumulate_grad_batches)
