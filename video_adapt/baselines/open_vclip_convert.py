"""Published averaged files of Open-VCLIP into our method, strictly."""

from collections.abc import Mapping

import torch
from torch import Tensor

from video_adapt.backbones.clip_weights import CLIP_KEYS
from video_adapt.checkpoints import KeyRule, LoadReport, convert_keys
from video_adapt.errors import WeightsError

from .open_vclip import OpenVCLIP

# Behind the prefix, OpenAI's names: `CLIP.load_weights` knows them.
RULES = (KeyRule(r"model\.(.+)", r"\1"),)


def load_published(method: OpenVCLIP, state: Mapping[str, Tensor]) -> LoadReport:
    """Put a published file into a method whose towers have the original weights.

    Args:
        method: Receives the weights.
        state: Tensors by published name, as :func:`video_adapt.checkpoints.read_state` gives them.

    Returns:
        The account of every tensor.

    Raises:
        WeightsError: If a tensor is missing, left over or of another shape, or the text tower is
            not that of the method's CLIP, which Open-VCLIP never changes.
    """
    towers = convert_keys(state, RULES)
    own = method.original.towers.state_dict()
    for name, tensor in convert_keys(towers, CLIP_KEYS).items():
        if name.startswith("text.") and name in own and not torch.equal(own[name], tensor.float()):
            raise WeightsError(
                f"its text tower is not that of {method.original.name} ({name} differs); give the "
                "CLIP that it was trained from"
            )
    return method.backbone.load_weights(towers)
