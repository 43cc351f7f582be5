"""What fitting to examples did, in words: how much, how long, and how well where that is known."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor


class HeldOut(NamedTuple):
    """What became of examples that were not fitted.

    Attributes:
        best: Probability of the best label of each, ``[n]``.
        right: Whether it is the right one, bool ``[n]``.
        right_before: How many were right before fitting.
    """

    best: Tensor
    right: Tensor
    right_before: int


@dataclass(frozen=True)
class FewShotReport:
    """What fitting did.

    Args:
        examples: Number of examples.
        classes: Number of classes.
        fitted: Examples that were fitted while the others were held out.
        read_s: Seconds for their features.
        fit_s: Seconds for the fit to all of them.
        held_out: What became of those held out; None where there were too few.
    """

    examples: int
    classes: int
    fitted: int
    read_s: float
    fit_s: float
    held_out: HeldOut | None

    def render(self, reject_below: float | None = None) -> str:
        """Lines for a reader.

        Args:
            reject_below: The threshold in use; what it does to held-out examples is told.
        """
        amount = f"{self.examples} examples of {self.classes} classes"
        times = f"features {self.read_s:.1f} s, fit {self.fit_s:.1f} s"
        lines = [f"residual networks on a frozen CLIP, fitted to {amount}: {times}"]
        if self.held_out is None:
            lines.append("too few examples to hold some out, so how often it is right is unknown")
            return "\n".join(lines) + "\n"
        best, right, before = self.held_out
        lines.append(
            f"held-out examples: {int(right.sum())} of {len(right)} right when fitted to the other "
            f"{self.fitted}, {before} before fitting"
        )
        if reject_below is not None:
            kept = best >= reject_below
            lines.append(
                f"--reject-below {reject_below:g} turns {int((~kept).sum())} of them away; of the "
                f"other {int(kept.sum())}, {int(right[kept].sum())} are right"
            )
        return "\n".join(lines) + "\n"

    def facts(self) -> dict[str, Any]:
        """The same as plain values."""
        facts: dict[str, Any] = {"examples": self.examples, "classes": self.classes}
        if self.held_out is not None:
            facts["held_out"] = len(self.held_out.right)
            facts["held_out_right"] = int(self.held_out.right.sum())
            facts["held_out_right_before_fitting"] = self.held_out.right_before
        return facts
