"""Recipe of a retriever: one rate for the towers, one for what is new, one for the pooling."""

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from .optim import Algorithm, takes_decay
from .schedules import Schedule


@dataclass(frozen=True, kw_only=True)
class RetrievalOptimizerSpec:
    """Recipe of a retriever.

    Args:
        lr: Base learning rate of what is new: temporal parts, adapters.
        tower_lr: That of the pre-trained towers and the temperature, where they train. The
            published 1e-7 belongs to weights in float16, where it acts like a larger one.
        pooling_lr: That of attentive pooling, which starts from small random numbers.
        weight_decay: Decay of what ``decay`` names.
        decay: ``published`` = all but biases, norms and embeddings included; ``matrices`` spares
            biases, norms and learned tokens.
        betas: Averaging factors.
        eps: Denominator offset.
        algorithm: The optimiser.
        schedule: How the rates move.

    Source: TeachCLIP (CVPR 2024), as trained.
    """

    lr: float = 1e-4
    tower_lr: float = 1e-7
    pooling_lr: float = 1e-3
    weight_decay: float = 0.2
    decay: Literal["published", "matrices"] = "published"
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    algorithm: Algorithm = "AdamW"
    schedule: Schedule


def retrieval_groups(module: nn.Module, spec: RetrievalOptimizerSpec) -> list[dict[str, Any]]:
    """Sort the trainable parameters of a retriever into the groups of its recipe.

    Args:
        module: The method: below ``backbone`` its towers, below ``student.pooling`` its pooling; a
            temperature belongs to the towers, whoever holds it.
        spec: Rates and decay.

    Returns:
        Groups ``towers``, ``new`` and ``pooling``, each with and without decay, empty ones left
        out.
    """
    rates = {"towers": spec.tower_lr, "new": spec.lr, "pooling": spec.pooling_lr}
    groups: dict[str, dict[str, Any]] = {
        f"{part}/{kind}": {
            "name": f"{part}/{kind}",
            "params": [],
            "lr": rate,
            "weight_decay": spec.weight_decay if kind == "decay" else 0.0,
        }
        for part, rate in rates.items()
        for kind in ("decay", "no_decay")
    }
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            decays = "bias" not in name
            if spec.decay == "matrices":
                decays = takes_decay(name, parameter)
            kind = "decay" if decays else "no_decay"
            groups[f"{_part(name)}/{kind}"]["params"].append(parameter)
    return [group for group in groups.values() if group["params"]]


def _part(name: str) -> str:
    of_towers = name.startswith("backbone.") and not name.startswith("backbone.adapters.")
    if of_towers or name.endswith("logit_scale"):
        return "towers"
    return "pooling" if name.startswith("student.pooling.") else "new"
