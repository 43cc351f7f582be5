"""The optimiser and the schedule that CLIP4Clip and its successors were trained with."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from video_adapt.errors import ConfigurationError

from .schedules import Schedule


class BertAdam(Optimizer):
    """Adam without bias correction, each parameter's gradient clipped by itself.

    Moments and arithmetic have the precision of the parameter. The published models hold the
    matrices of CLIP in float16, without a copy in float32 and without scaling the loss: there a
    second moment below 3e-8 is 0, so that small gradients act as momentum at a rate near 0.1, and
    a step of less than half a unit in the last place is lost. The published rate of 1e-7 belongs
    to that; weights in float32 need one of their own.

    Args:
        params: Parameters or groups of them.
        lr: Rate.
        betas: Averaging factors of gradient and squared gradient.
        eps: Added to the root of the second.
        weight_decay: Share of a weight that joins its update, times the rate.
        max_grad_norm: Largest norm of the gradient of one parameter; 0 does not clip.

    Source: Devlin et al., BERT, 2019, as ported by HuggingFace (2018) and used by TeachCLIP.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        max_grad_norm: float = 1.0,
    ) -> None:
        settings = {"betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {"lr": lr, **settings, "max_grad_norm": max_grad_norm})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take one step; gradients are clipped in place.

        Args:
            closure: Computes gradients and returns the loss, which is returned; may be None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)
        return loss

    def _update(self, parameter: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["first"] = torch.zeros_like(parameter)
            state["second"] = torch.zeros_like(parameter)
        if group["max_grad_norm"] > 0:
            nn.utils.clip_grad_norm_(parameter, group["max_grad_norm"])
        beta1, beta2 = group["betas"]
        first, second = state["first"], state["second"]
        first.mul_(beta1).add_(grad, alpha=1 - beta1)
        second.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        update = first / second.sqrt().add_(group["eps"])
        if group["weight_decay"] > 0:
            update += group["weight_decay"] * parameter
        # The rate first, then the difference: in float16 each of them rounds.
        parameter.sub_(update.mul_(group["lr"]))


@dataclass(frozen=True, kw_only=True)
class BertCosine(Schedule):
    """A line from 0, then a cosine that has been falling since step 0: it starts with a drop.

    Runs over all epochs of the trainer; the first step of all changes nothing.

    Args:
        warmup_share: Length of the line, as a share of the whole.

    Raises:
        ConfigurationError: If that is not in [0, 1).

    Source: HuggingFace's port of BERT (2018), ``warmup_cosine``, as used by TeachCLIP.
    """

    warmup_share: float = 0.1

    def __post_init__(self) -> None:
        """Check the value."""
        if not 0 <= self.warmup_share < 1:
            raise ConfigurationError(f"warmup_share is {self.warmup_share}: give a share in [0, 1)")

    def rate(self, lr: float, step: int, *, steps_per_epoch: int, epochs: int | None) -> float:
        """See :meth:`Schedule.rate`."""
        if epochs is None:
            raise ConfigurationError("the schedule runs over epochs: set trainer.max_epochs")
        done = min(step / (steps_per_epoch * epochs), 1.0)
        if done < self.warmup_share:
            return lr * done / self.warmup_share
        return lr * (1.0 + math.cos(math.pi * done)) / 2.0
