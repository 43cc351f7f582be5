"""One optimiser recipe for every method: AdamW, warm-up and cosine per step, named groups."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

NamedParameter = tuple[str, nn.Parameter]
NO_DECAY_SUFFIXES = ("cls_token", "positional_embedding")


@dataclass(frozen=True, kw_only=True)
class OptimizerSpec:
    """AdamW with a learning rate that follows :func:`warmup_cosine`, updated every step.

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


def warmup_cosine(
    epoch: float,
    *,
    lr: float,
    max_epochs: float,
    warmup_epochs: float = 0.0,
    warmup_start_lr: float = 0.0,
) -> float:
    """Cosine from ``lr`` to 0 over the whole training; warm-up is a line that ends on it.

    The base rate itself is never reached when there is a warm-up: the line meets the cosine where
    it already has fallen.

    Args:
        epoch: Position in training, fractional.
        lr: Height of the cosine at epoch 0.
        max_epochs: Where the cosine ends.
        warmup_epochs: Where the line meets the cosine.
        warmup_start_lr: Where the line starts.

    Source: schedule of DiST (ICCV 2023), as trained.
    """

    def cosine(at: float) -> float:
        return lr * (1.0 + math.cos(math.pi * at / max_epochs)) / 2.0

    if epoch >= warmup_epochs:
        return cosine(epoch)
    end = cosine(warmup_epochs)
    return warmup_start_lr + (end - warmup_start_lr) * epoch / warmup_epochs


class StepSchedule(LambdaLR):
    """One factor on the initial rate of every group, also of groups added during training."""

    def get_lr(self) -> list[float | Tensor]:
        """Rates of all groups at the current step."""
        factor = self.lr_lambdas[0](self.last_epoch)
        groups = self.optimizer.param_groups
        return [group.setdefault("initial_lr", group["lr"]) * factor for group in groups]


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
