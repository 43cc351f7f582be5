"""Which vision transformer a name stands for."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from video_adapt.errors import ConfigurationError

# Colour statistics of ImageNet, which every published VideoMAE was trained with.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class VideoMAEConfig(NamedTuple):
    """The architecture of a VideoMAE.

    Attributes:
        name: What a checkpoint calls it.
        width: Token width ``D``.
        depth: Number of blocks.
        heads: Attention heads of a block.
        hidden: Width inside the MLPs.
        patch_size: Side of a patch in pixels.
        tubelet: Frames of a patch.
        chunk_frames: Frames that see one another; longer videos are cut into such chunks.
        table_size: Side in pixels for which the position table is made; other grids resize it.
        hub: Name on Hugging Face's hub of weights that were fine-tuned on Kinetics-400; "" where
            they are not free to download.
    """

    name: str
    width: int
    depth: int
    heads: int
    hidden: int
    patch_size: int = 16
    tubelet: int = 2
    chunk_frames: int = 16
    table_size: int = 224
    hub: str = ""


def _size(name: str, width: int, depth: int, heads: int, *, free: bool = True) -> VideoMAEConfig:
    hub = f"MCG-NJU/{name}-finetuned-kinetics" if free else ""
    return VideoMAEConfig(name, width, depth, heads, 4 * width, hub=hub)


# Tong et al., VideoMAE, NeurIPS 2022; giant: Wang et al., VideoMAE V2, CVPR 2023.
SIZES = {
    "small": _size("videomae-small", 384, 12, 6),
    "base": _size("videomae-base", 768, 12, 12),
    "large": _size("videomae-large", 1024, 24, 16),
    "huge": _size("videomae-huge", 1280, 32, 16),
    "giant": VideoMAEConfig("videomae-giant", 1408, 40, 16, 6144, patch_size=14),
}


def read_config(name: str) -> VideoMAEConfig:
    """Find the architecture that a name stands for.

    Args:
        name: A size; the folder of a model in transformers' format or its ``config.json``; or the
            name of such a model on Hugging Face's hub.

    Raises:
        ConfigurationError: If it is none of these, or describes another kind of model.
    """
    if name in SIZES:
        return SIZES[name]
    path = Path(name).expanduser()
    if path.is_dir():
        path /= "config.json"
    elif path.suffix != ".json":
        path = _fetch_config(name)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path}: no model description in JSON: {error}") from error
    return parse_config(name, content)


def parse_config(name: str, content: Mapping[str, Any]) -> VideoMAEConfig:
    """Read transformers' description of a model.

    Args:
        name: Where it came from.
        content: The content of ``config.json``.

    Raises:
        ConfigurationError: If this is no VideoMAE, or one that computes something else than the
            published ones, which no weight would show.
    """
    expected = {"model_type": "videomae", "hidden_act": "gelu", "num_channels": 3}
    for key, value in expected.items():
        if content.get(key, value if key != "model_type" else None) != value:
            raise ConfigurationError(
                f"{name}: {key}={content.get(key)!r}, but only {value!r} is computed here; "
                f"choose a size ({', '.join(SIZES)}) or a VideoMAE of the hub"
            )
    if not content.get("qkv_bias", content.get("qv_bias", True)):
        raise ConfigurationError(f"{name}: attention without biases is not computed here")
    hub_name = name if not Path(name).expanduser().exists() else ""
    try:
        return VideoMAEConfig(
            name=Path(name.removesuffix("/config.json")).name,
            width=content["hidden_size"],
            depth=content["num_hidden_layers"],
            heads=content["num_attention_heads"],
            hidden=content["intermediate_size"],
            patch_size=content.get("patch_size", 16),
            tubelet=content.get("tubelet_size", 2),
            chunk_frames=content.get("num_frames", 16),
            table_size=content.get("image_size", 224),
            hub=hub_name,
        )
    except KeyError as error:
        raise ConfigurationError(f"{name}: model description lacks {error}") from error


def _fetch_config(name: str) -> Path:
    from huggingface_hub import hf_hub_download  # slow to import

    try:
        return Path(hf_hub_download(name, "config.json"))
    except Exception as error:  # the hub's client raises a dozen unrelated kinds
        cause = " ".join(str(error).split())[:200]
        raise ConfigurationError(
            f"name={name!r} is no size ({', '.join(SIZES)}), no folder here, and could not be "
            f"fetched from the hub; without internet give a size as `name` and a downloaded file "
            f"as `weights` (cause: {cause})"
        ) from error
