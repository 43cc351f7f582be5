"""LoRA: to what a frozen matrix writes, a product of two narrow ones is added.

Source: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022; the layers are
those of the library peft.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from video_adapt.backbones.base import Backbone
from video_adapt.backbones.block_adapter import BlockAdapter
from video_adapt.backbones.matrices import MATRICES, Matrix
from video_adapt.errors import ConfigurationError

from .inject import Adapter

_NAME = "default"  # what peft calls an adapter that is alone


class LoRABlockAdapter(BlockAdapter):
    """``W x + b + alpha / rank * B A dropout(x)`` at some matrices of one block; ``B`` is zero.

    Args:
        layers: peft's layers by the matrix that they stand on.
    """

    def __init__(self, layers: Mapping[Matrix, nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({str(matrix): layer for matrix, layer in layers.items()})

    def multiply(self, matrix: Matrix, layer: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
        """Apply one of the block's matrices and its edit."""
        if matrix not in self.layers:
            return layer(tokens)
        edited: Tensor = self.layers[matrix](tokens)
        return edited


class LoRA(Adapter):
    """Low-rank edits of the matrices of an image tower; they see single frames.

    Queries, keys and values share one narrow matrix ``A``, as they share one wide matrix in CLIP.
    Needs ``pip install video_adapt[lora]``.

    Args:
        rank: Channels between the two narrow matrices.
        alpha: Factor of the edit, divided by the rank.
        dropout: Dropout of what the edit reads.
        matrices: Which of the matrices of a block are edited.
        last_blocks: How many blocks to adapt, counted from the last; null adapts all.

    Raises:
        ConfigurationError: If rank, dropout or matrices make no edit.
    """

    def __init__(
        self,
        *,
        rank: int = 8,
        alpha: int = 16,
        dropout: float = 0.0,
        matrices: Sequence[Matrix] = MATRICES,
        last_blocks: int | None = None,
    ) -> None:
        if rank < 1 or not matrices:
            raise ConfigurationError(
                f"LoRA: rank={rank} on matrices={list(matrices)} edits nothing; give a rank of at "
                f"least 1 and some of {', '.join(MATRICES)}"
            )
        if not 0 <= dropout < 1:
            raise ConfigurationError(f"LoRA: dropout={dropout} must be at least 0 and less than 1")
        self.rank = rank
        self.alpha = alpha
        self.dropout = dropout
        self.matrices = matrices
        self.last_blocks = last_blocks

    def build(self, block: int, backbone: Backbone, *, reads_patches: bool) -> BlockAdapter | None:
        """Make the edits of one block; all reach the class token, so they are always read.

        Raises:
            ConfigurationError: If ``last_blocks`` exceeds the depth of the backbone, its matrices
                cannot be edited, or peft is not installed.
        """
        adapted = backbone.depth if self.last_blocks is None else self.last_blocks
        if not 0 < adapted <= backbone.depth:
            raise ConfigurationError(
                f"LoRA: last_blocks={adapted}, but {backbone.name} has {backbone.depth} blocks; "
                f"give 1 to {backbone.depth}"
            )
        if block < backbone.depth - adapted:
            return None
        found = backbone.matrices(block)
        return LoRABlockAdapter({matrix: self._layer(found[matrix]) for matrix in self.matrices})

    def _layer(self, matrix: nn.Linear) -> nn.Module:
        peft = _import_peft()
        config = peft.LoraConfig(r=self.rank, lora_alpha=self.alpha, lora_dropout=self.dropout)
        layer: nn.Module = peft.tuners.lora.Linear(
            matrix, _NAME, config=config, r=self.rank, lora_alpha=self.alpha
        )
        # peft gives the edit the type of the frozen matrix, in which it could not be trained.
        return layer.float()


def merge_lora(backbone: Backbone) -> None:
    """Add the edits to the frozen matrices themselves and take the adapters out, in place.

    The backbone then answers as before, at the price of a plain one.

    Args:
        backbone: One that carries :class:`LoRA`.

    Raises:
        ConfigurationError: If it carries none, or other adapters.
    """
    edits = list(backbone.adapters.values())
    if not edits or not all(isinstance(edit, LoRABlockAdapter) for edit in edits):
        raise ConfigurationError(
            f"{backbone.name} carries no LoRA, so there is nothing to merge; inject one first"
        )
    for edit in edits:
        assert isinstance(edit, LoRABlockAdapter)
        layers: Any = edit.layers.values()
        for layer in layers:
            layer.merge(safe_merge=True)
    backbone.adapters = nn.ModuleDict()


def _import_peft() -> Any:
    """The library, which takes seconds to import, so only whoever builds an edit pays.

    Raises:
        ConfigurationError: If it is not installed.
    """
    try:
        import peft
    except ImportError as error:
        raise ConfigurationError(
            f"LoRA needs the package peft ({error}); pip install video_adapt[lora]"
        ) from error
    return peft
