"""Recipe of an open-vocabulary recogniser: one rate for the towers, one for what is new."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from .optim import Algorithm
from .schedules import Schedule


@dataclass(frozen=True, kw_only=True)
class OpenVocabularyOptimizerSpec:
    """Recipe of an open-vocabulary recogniser, AdamW.

    Decay spares one-dimensional tensors; the temperature, which has no dimension, is decayed.

    Args:
        lr: Base learning rate of the pre-trained towers and the temperature.
        new_lr: That of what is new, residual networks and adapters. The released run gives them
            3.33e-6 too, with which residual networks hardly move in a few hundred steps; where the
            towers are frozen, 1e-4 to 1e-3 is the right size.
        weight_decay: Decoupled decay.
        betas: Averaging factors.
        eps: Denominator offset.
        schedule: How the rates move.

    Source: FROSTER (ICLR 2024), as trained.
    """

    lr: float = 3.33e-6
    new_lr: float = 3.33e-6
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    schedule: Schedule

    @property
    def algorithm(self) -> Algorithm:
        """Always AdamW."""
        return "AdamW"


def open_vocabulary_groups(
    module: nn.Module, spec: OpenVocabularyOptimizerSpec
) -> list[dict[str, Any]]:
    """Sort the trainable parameters of an open-vocabulary recogniser into the recipe's groups.

    Args:
        module: The method; below ``backbone.towers`` lie its towers, the rest is new.
        spec: Rates and decay.

    Returns:
        Groups ``towers`` and ``new``, each with and without decay, empty ones left out.
    """
    groups: dict[str, dict[str, Any]] = {
        f"{part}/{kind}": {"name": f"{part}/{kind}", "params": [], "lr": lr, "weight_decay": decay}
        for part, lr in (("towers", spec.lr), ("new", spec.new_lr))
        for kind, decay in (("decay", spec.weight_decay), ("no_decay", 0.0))
    }
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            part = "towers" if name.startswith("backbone.towers.") else "new"
            spared = parameter.ndim == 1 or name.endswith(".bias")
            groups[f"{part}/{'no_decay' if spared else 'decay'}"]["params"].append(parameter)
    return [group for group in groups.values() if group["params"]]
