"""A CLIP small enough to ship, which knows the looks of the demonstration world and no time."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from .clip import CLIP

CONFIG = Path(__file__).with_name("weights") / "tiny_clip.json"
WEIGHTS = CONFIG.with_suffix(".safetensors")

_TABLE = "token_embedding.weight"
_ROWS, _IDS = "token_embedding.rows", "token_embedding.ids"


class TinyCLIP(CLIP):
    """The CLIP of the demonstration world: 64 px pictures, 8 px patches, four blocks.

    An ordinary CLIP with the ordinary tokenizer, pre-trained on captioned stills. The shipped file
    holds the embeddings of those words only that occur in the captions.
    """

    def __init__(self) -> None:
        super().__init__(str(CONFIG), weights=None)
        self.load_weights(unpack_weights(load_file(WEIGHTS)))


def initial_token_embedding(vocabulary: int, width: int) -> Tensor:
    """Embedding of all words before training ``[vocabulary, width]``, the same for ever."""
    # Of NumPy's and torch's generators this is the one whose stream is promised not to change.
    generator = np.random.RandomState(0)
    values = generator.standard_normal((vocabulary, width))
    return torch.from_numpy(0.02 * values).float()


def pack_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave the words out that training has not touched.

    Args:
        state: State of an open_clip model that began with :func:`initial_token_embedding`.

    Returns:
        The same without :data:`token_embedding.weight`, with its changed rows and their numbers.
    """
    table = state[_TABLE]
    changed = (table != initial_token_embedding(*table.shape)).any(dim=1).nonzero().flatten()
    rest = {key: value for key, value in state.items() if key != _TABLE}
    shape = torch.tensor(table.shape)
    return rest | {_ROWS: table[changed].clone(), _IDS: changed, f"{_TABLE}.shape": shape}


def unpack_weights(packed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo :func:`pack_weights`."""
    state = dict(packed)
    vocabulary, width = state.pop(f"{_TABLE}.shape").tolist()
    table = initial_token_embedding(vocabulary, width)
    table[state.pop(_IDS)] = state.pop(_ROWS)
    return state | {_TABLE: table}
