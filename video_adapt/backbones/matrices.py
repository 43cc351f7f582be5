"""The matrices of a transformer block, shown to whoever wants to add to what they write."""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

Matrix = Literal["attention_in", "attention_out", "mlp_in", "mlp_out"]
MATRICES: tuple[Matrix, ...] = ("attention_in", "attention_out", "mlp_in", "mlp_out")


class BorrowedLinear(nn.Linear):
    """A linear layer whose weights belong to another module.

    They are looked up at every use, so the layer follows whatever happens to their owner, and they
    are neither counted, stored nor trained a second time.

    Args:
        owner: Whose weights are used.
        weight: Name of its matrix ``[out, in]``.
        bias: Name of its offset ``[out]``.
    """

    def __init__(self, owner: nn.Module, weight: str = "weight", bias: str = "bias") -> None:
        nn.Module.__init__(self)  # without weights of its own
        vars(self)["_owner"] = owner  # a plain attribute: as a submodule it would lie in two places
        self._names = weight, bias
        self.out_features, self.in_features = self.weight.shape

    @property
    def weight(self) -> nn.Parameter:  # type: ignore[override]
        """The owner's matrix, ``[out, in]``."""
        return getattr(self._owner, self._names[0])

    @property
    def bias(self) -> nn.Parameter:  # type: ignore[override]
        """The owner's offset, ``[out]``."""
        return getattr(self._owner, self._names[1])

    def forward(self, tokens: Tensor) -> Tensor:
        """What the owner's matrix makes of tokens, ``[..., in]`` to ``[..., out]``."""
        return F.linear(tokens, self.weight, self.bias)
