"""What published files tell of the models in them: kind and sizes, and an error where it is none.

Attention heads are not told: transformers over frames have those of the text tower they start from.
"""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from video_adapt.errors import WeightsError

_HEADS = "video_adapt.retrieval.teachers"
_ATTENTIVE, _POSITIONS = "frameLinear.weight", "frame_position_embeddings.weight"
_TEMPORAL, _CROSS = "transformerClip", "cross.transformer"


def student_of(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of :class:`StudentSpec` for a file of TeachCLIP or CLIP4Clip.

    Raises:
        WeightsError: If the file holds no CLIP, or something beside it that no student has.
    """
    _refuse_foreign(state, "TeachCLIP or CLIP4Clip", "clip.text_projection")
    if _ATTENTIVE in state:
        # The released models give padding a share.
        return {"kind": "afa", "layers": _layers(state, _TEMPORAL), "masked": False}
    if "similarity_dense.weight" in state:
        return {"kind": "tightTransf", "layers": _layers(state, _CROSS)}
    if "lstm_visual.weight_ih_l0" in state:
        return {"kind": "seqLSTM"}
    layers = _layers(state, _TEMPORAL)
    return {"kind": "seqTransf", "layers": layers} if layers else {"kind": "meanP"}


def is_attentive(student: Mapping[str, Any]) -> bool:
    """Whether a student is TeachCLIP's, which CLIP4Clip's are not."""
    return bool(student["kind"] == "afa")


def xclip_of(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Class and arguments of the head in a file of X-CLIP.

    Raises:
        WeightsError: If it is the file of something else.
    """
    words, frames = "word_logit_weight", "frame_logit_weight"
    _refuse_foreign(state, "X-CLIP", "clip.text_projection", words, frames)
    sizes = {"words": len(state[words]), "frames": len(state[frames])}
    if not _layers(state, _TEMPORAL):
        return _head("XCLIP", _width(state), header="meanP", **sizes)
    _refuse_foreign(state, "X-CLIP", _POSITIONS)
    return _head("XCLIP", _width(state), **sizes, **_temporal(state))


def ts2net_of(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Class and arguments of the head in a file of TS2-Net.

    Raises:
        WeightsError: If it is the file of something else.
    """
    selector = "visual_token_selector.score_predictor.in_conv.1.weight"
    _refuse_foreign(state, "TS2-Net", "clip.text_projection", selector, _POSITIONS)
    return _head("TS2Net", _width(state), tiled_mask=True, **_temporal(state))


def xpool_of(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Class and arguments of the head in a file of X-Pool.

    Raises:
        WeightsError: If it is the file of something else.
    """
    query = "pool_frames.cross_attn.q_proj.weight"
    _refuse_foreign(state, "X-Pool", "clip.text_projection.weight", query)
    return _head("XPool", len(state[query]))


def shifted_blocks(state: Mapping[str, Tensor]) -> int:
    """How many blocks of the image tower shift tokens; 0 in files of TeachCLIP's own TS2-Net."""
    pattern = r"clip\.visual\.transformer\.resblocks\.(\d+)\.attn\.net\..+"
    return len({match[1] for name in state if (match := re.fullmatch(pattern, name))})


def _head(name: str, width: int, **arguments: Any) -> dict[str, Any]:
    return {"class_path": f"{_HEADS}.{name}", "init_args": {"width": width, **arguments}}


def _temporal(state: Mapping[str, Tensor]) -> dict[str, int]:
    return {
        "layers": _layers(state, _TEMPORAL),
        "positions": len(state[_POSITIONS]),
    }


def _layers(state: Mapping[str, Tensor], owner: str) -> int:
    pattern = rf"{re.escape(owner)}\.resblocks\.(\d+)\..+"
    return len({match[1] for name in state if (match := re.fullmatch(pattern, name))})


def _width(state: Mapping[str, Tensor]) -> int:
    return state["clip.text_projection"].shape[1]


def _refuse_foreign(state: Mapping[str, Tensor], whose: str, *names: str) -> None:
    missing = [name for name in names if name not in state]
    if missing:
        raise WeightsError(f"not a published file of {whose}: has no {missing[0]}")
