"""Where the weights of a VideoMAE come from, whether they fit, and how they are renamed."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from video_adapt.checkpoints import (
    KeyRule,
    LoadReport,
    convert_keys,
    load_strictly,
    read_state,
)
from video_adapt.errors import WeightsError

from .videomae_config import SIZES, VideoMAEConfig

if TYPE_CHECKING:
    from .videomae import VideoMAE

_FILES = ("model.safetensors", "pytorch_model.bin")
# What frameworks put in front of the transformer's names.
_PLACE = r"(?:(?:module|model|backbone|encoder|videomae)\.)*"
_HF_BLOCK = rf"{_PLACE}layer\.(\d+)\."

VIDEOMAE_KEYS = (
    KeyRule(rf"{_PLACE}patch_embed\.(?:proj|projection)\.(.+)", r"tower.patch_embed.\1"),
    KeyRule(rf"{_PLACE}blocks\.(\d+)\.((?:norm1|norm2|attn)\..+)", r"tower.blocks.\1.\2"),
    KeyRule(rf"{_PLACE}blocks\.(\d+)\.mlp\.(fc[12]\..+)", r"tower.blocks.\1.mlp.\2"),
    KeyRule(rf"{_PLACE}blocks\.(\d+)\.mlp\.layers\.0\.0\.(.+)", r"tower.blocks.\1.mlp.fc1.\2"),
    KeyRule(rf"{_PLACE}blocks\.(\d+)\.mlp\.layers\.1\.(.+)", r"tower.blocks.\1.mlp.fc2.\2"),
    KeyRule(rf"{_PLACE}fc_norm\.(.+)", r"fc_norm.\1"),
    KeyRule(rf"{_PLACE}pos_embed", "positions"),
    # transformers
    KeyRule(rf"{_PLACE}embeddings\.patch_embeddings\.projection\.(.+)", r"tower.patch_embed.\1"),
    KeyRule(rf"{_HF_BLOCK}layernorm_before\.(.+)", r"tower.blocks.\1.norm1.\2"),
    KeyRule(rf"{_HF_BLOCK}layernorm_after\.(.+)", r"tower.blocks.\1.norm2.\2"),
    KeyRule(rf"{_HF_BLOCK}attention\.attention\.q_bias", r"tower.blocks.\1.attn.q_bias"),
    KeyRule(rf"{_HF_BLOCK}attention\.attention\.v_bias", r"tower.blocks.\1.attn.v_bias"),
    KeyRule(rf"{_HF_BLOCK}attention\.attention\.query\.bias", r"tower.blocks.\1.attn.q_bias"),
    KeyRule(rf"{_HF_BLOCK}attention\.attention\.value\.bias", r"tower.blocks.\1.attn.v_bias"),
    KeyRule(
        rf"{_HF_BLOCK}attention\.attention\.(query|key|value)\.weight",
        r"tower.blocks.\1.attn.\2.weight",
    ),
    KeyRule(rf"{_HF_BLOCK}attention\.output\.dense\.(.+)", r"tower.blocks.\1.attn.proj.\2"),
    KeyRule(rf"{_HF_BLOCK}intermediate\.dense\.(.+)", r"tower.blocks.\1.mlp.fc1.\2"),
    KeyRule(rf"{_HF_BLOCK}output\.dense\.(.+)", r"tower.blocks.\1.mlp.fc2.\2"),
)
# Classifiers; and of files that were only pre-trained the decoder, and the encoder's norm, which
# nothing behind frozen maps reads.
VIDEOMAE_UNUSED = (
    r"(?:module\.|model\.)?(?:head|cls_head\.fc_cls|classifier)\..+",
    r"(?:decoder|encoder_to_decoder)\..+",
    r"mask_token",
    rf"{_PLACE}(?:norm|layernorm)\..+",
)


def find_weights(config: VideoMAEConfig, weights: str) -> dict[str, Tensor]:
    """Read weights from a file, a folder in transformers' format, or the hub.

    Args:
        config: The model that they are for.
        weights: ``hub``, or the path of a file or folder.

    Raises:
        WeightsError: If there is nothing of that name, or it cannot be read or fetched.
    """
    if weights == "hub":
        return read_state(_fetch(config))
    path = Path(weights).expanduser()
    if path.is_dir():
        path = next((path / name for name in _FILES if (path / name).is_file()), path / _FILES[0])
    if not path.is_file():
        raise WeightsError(
            f"weights {weights!r}: no such file; give the path of a file, `hub`, or null for "
            f"random weights. {_advice(config)}"
        )
    return read_state(path)


def load_weights(backbone: "VideoMAE", state: Mapping[str, Tensor]) -> LoadReport:
    """Put weights of any known layout into a backbone, strictly; its adapters stay as they are.

    Args:
        backbone: Receives the weights.
        state: Tensors by published name.

    Raises:
        WeightsError: If they are of another size or do not fit, or have other positions.
    """
    renamed = convert_keys(state, VIDEOMAE_KEYS)
    joined = _join_projections(renamed)
    config = backbone.config
    _check_size(config, joined)
    _check_positions(backbone, joined.pop("positions", None))
    return load_strictly(
        backbone,
        joined,
        allow_new=[r"adapters\..+", r"fc_norm\..+"],
        allow_unused=VIDEOMAE_UNUSED,
        converted=[name for name in joined if name not in renamed],
    )


def _join_projections(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Join what transformers keeps apart: queries, keys and values, here one matrix."""
    joined = dict(state)
    for name in state:
        if match := re.fullmatch(r"(tower\.blocks\.\d+\.attn)\.query\.weight", name):
            parts = [f"{match[1]}.{part}.weight" for part in ("query", "key", "value")]
            if all(part in joined for part in parts):
                joined[f"{match[1]}.qkv.weight"] = torch.cat([joined.pop(part) for part in parts])
    return joined


def _check_size(config: VideoMAEConfig, state: Mapping[str, Tensor]) -> None:
    kernel = state.get("tower.patch_embed.weight")
    if kernel is None or kernel.ndim != 5:
        return  # strict loading names what is there instead
    blocks = {name.split(".")[2] for name in state if name.startswith("tower.blocks.")}
    found = (len(kernel), len(blocks), kernel.shape[-1])
    if found == (config.width, config.depth, config.patch_size):
        return
    sizes = {(c.width, c.depth, c.patch_size): name for name, c in SIZES.items()}
    mend = f"set name: {sizes[found]}" if found in sizes else "give the weights of this model"
    raise WeightsError(
        f"these weights are of width {found[0]}, {found[1]} blocks and {found[2]}-pixel patches, "
        f"{config.name} has {config.width}, {config.depth} and {config.patch_size}; {mend}"
    )


def _check_positions(backbone: "VideoMAE", positions: Tensor | None) -> None:
    """A file with positions of its own would load without a sign and compute something else."""
    if positions is None:
        return
    table = backbone.tower.positions
    shape = (len(table), backbone.width)
    found = positions.reshape(-1, positions.shape[-1]).to(table)
    if found.shape != shape or not torch.allclose(found, table, atol=1e-4):
        raise WeightsError(
            f"the file's position table {list(positions.shape)} is not the sinusoids "
            f"{list(shape)} that {backbone.name} computes; use weights with fixed positions"
        )


def _advice(config: VideoMAEConfig) -> str:
    if config.hub:
        return (
            f"Download {_FILES[0]} from https://huggingface.co/{config.hub} and give its path as "
            "the backbone's `weights`"
        )
    return (
        "Ask for VideoMAE V2-g at https://github.com/OpenGVLab/VideoMAEv2 (MODEL_ZOO, fine-tuned "
        "on Kinetics-710) and give the file as the backbone's `weights`"
    )


def _fetch(config: VideoMAEConfig) -> Path:
    from huggingface_hub import hf_hub_download  # slow to import

    if not config.hub:
        raise WeightsError(f"{config.name} is not free to download. {_advice(config)}")
    causes = []
    for name in _FILES:
        try:
            return Path(hf_hub_download(config.hub, name))
        except Exception as error:  # the hub's client raises a dozen unrelated kinds
            causes.append(" ".join(str(error).split())[:200])
    raise WeightsError(
        f"{config.hub} is not on this machine and could not be fetched. {_advice(config)} "
        f"(cause: {causes[0]})"
    )
