"""Where the weights of a CLIP come from, which activation they want, and how they are renamed."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from video_adapt.checkpoints import KeyRule, is_torchscript, read_state, read_torchscript
from video_adapt.errors import WeightsError

from .clip_config import CLIPConfig

logger = logging.getLogger(__name__)

# OpenAI and the older open_clip files keep the text tower at the top level; ours is below `text`.
CLIP_KEYS = (
    KeyRule(r"((?:transformer|token_embedding|ln_final)\..+)", r"text.\1"),
    KeyRule(r"((?:positional_embedding|text_projection)(?:\..+)?)", r"text.\1"),
    KeyRule("logit_scale", "logit_scale", torch.Tensor.squeeze),
)
# Facts about the model that OpenAI stores beside the weights; a causal mask that can be rebuilt.
_OPENAI_FACTS = ("input_resolution", "context_length", "vocab_size")
CLIP_UNUSED = (*_OPENAI_FACTS, r"(text\.)?attn_mask")
POSITIONS = "visual.positional_embedding"


class CLIPWeights(NamedTuple):
    """Weights that were found, before they are put into a model.

    Attributes:
        state: Tensors by the file's own names.
        mean: Colour statistics they were trained with, None where nothing is known.
        std: As ``mean``.
    """

    state: dict[str, Tensor]
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None


def find_weights(config: CLIPConfig, weights: str) -> CLIPWeights:
    """Read weights from a file, or from the hub by their tag.

    Args:
        config: The model that they are for.
        weights: Path of a file, or a tag that open_clip knows for this model, e.g. ``openai``.

    Raises:
        WeightsError: If there is nothing of that name, it cannot be read or fetched, or it was
            trained with the other activation.
    """
    path = Path(weights).expanduser()
    if path.is_file():
        state = read_state(path)
        _check_activation(config, weights, trained_with_quick_gelu(path, state))
        return CLIPWeights(state)
    entry = _hub_entry(config.name, weights)
    _check_activation(config, weights, bool(entry.get("quick_gelu", False)))
    state = read_state(_fetch(config.name, weights, entry))
    return CLIPWeights(state, tuple(entry["mean"]), tuple(entry["std"]))


def trained_with_quick_gelu(path: Path, state: Mapping[str, Tensor]) -> bool | None:
    """Tell from a file of which activation its weights are.

    A wrong activation raises no error and costs several points of accuracy, so every trace counts:
    the code inside a TorchScript archive, OpenAI's extra entries, the names of file and hub folder.

    Args:
        path: The file.
        state: Its tensors.

    Returns:
        True for QuickGELU, False for GELU, None where nothing tells.
    """
    if is_torchscript(path):
        kinds = {module.original_name for module in read_torchscript(path).modules()}
        return "QuickGELU" in kinds if kinds & {"QuickGELU", "GELU"} else None
    if any(fact in state for fact in _OPENAI_FACTS):
        return True
    places = {*path.absolute().parts[-4:]}  # the hub's cache: models--org--name/snapshots/id/file
    known = [entry for entry in _hub_entries() if _names_of(entry) & places]
    if known:
        return bool(known[0].get("quick_gelu", False))
    if any(word in path.name.lower() for word in ("quickgelu", "quick_gelu", "openai")):
        return True
    return None


def fit_positions(state: Mapping[str, Tensor], side: int) -> dict[str, Tensor]:
    """Resize the image tower's position embedding to another number of patches.

    Args:
        state: Tensors by our names.
        side: Patches along one side of the image wanted.

    Returns:
        The tensors, the embedding ``[1 + side * side, D]`` replaced if it had another length:
        bicubic with antialiasing, the class token's row kept.
    """
    positions = state.get(POSITIONS)
    if positions is None or len(positions) == 1 + side * side:
        return dict(state)
    old = round((len(positions) - 1) ** 0.5)
    if positions.ndim != 2 or len(positions) != 1 + old * old:
        return dict(state)  # no square: strict loading names both shapes
    maps = positions[1:].float().unflatten(0, (old, old)).permute(2, 0, 1)  # [D, old, old]
    maps = F.interpolate(maps[None], size=(side, side), mode="bicubic", antialias=True)[0]
    patches = maps.flatten(1).T  # [side * side, D]
    return {**state, POSITIONS: torch.cat([positions[:1].float(), patches])}


def _check_activation(config: CLIPConfig, weights: str, quick_gelu: bool | None) -> None:
    if quick_gelu is None or quick_gelu == config.quick_gelu:
        return
    names = {True: "QuickGELU", False: "GELU"}
    base = config.name.removesuffix("-quickgelu")
    raise WeightsError(
        f"weights {weights!r} were trained with {names[quick_gelu]}, {config.name} computes "
        f"{names[config.quick_gelu]}, which would spoil every block unnoticed; use "
        f"name={base}{'-quickgelu' if quick_gelu else ''} "
        f"(or quick_gelu: {str(quick_gelu).lower()} in a model description of your own)"
    )


def _hub_entry(name: str, tag: str) -> dict[str, Any]:
    import open_clip

    # A tag of the twin with the other activation is found too: that error can name the mend.
    twins = (name, name.removesuffix("-quickgelu"))
    entry = next((e for twin in twins if (e := open_clip.get_pretrained_cfg(twin, tag))), None)
    if entry is None:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
        raise WeightsError(
            f"weights {tag!r} are neither a file nor known to open_clip for {name} "
            f"(known: {tags}); give the path of a file, or one of these"
        )
    return dict(entry)


def _hub_entries() -> list[dict[str, Any]]:
    import open_clip

    return [open_clip.get_pretrained_cfg(name, tag) for name, tag in open_clip.list_pretrained()]


def _names_of(entry: Mapping[str, Any]) -> set[str]:
    """File and folder names that only these weights have: the download's, the hub cache's."""
    url, repository = entry.get("url", ""), entry.get("hf_hub", "").rpartition("/")[0]
    names = {repository.rpartition("/")[2], "models--" + repository.replace("/", "--")}
    if "openaipublic" not in url:  # those are archives, which tell by themselves
        names.add(url.rpartition("/")[2])
    return names - {"", "models--"}


def _fetch(name: str, tag: str, entry: Mapping[str, Any]) -> Path:
    import open_clip

    logger.info("%s: looking for weights %r in the hub's cache, then on the internet", name, tag)
    try:
        return Path(open_clip.download_pretrained(dict(entry)))
    except Exception as error:  # the hub's client raises a dozen unrelated kinds
        repository = entry["hf_hub"].rpartition("/")[0]
        where = entry.get("url") or f"https://huggingface.co/{repository}"
        cause = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"weights {tag!r} of {name} are not on this machine and could not be fetched: "
            f"download {where} where there is internet, put the file anywhere here, and give its "
            f"path as the backbone's `weights` (cause: {cause})"
        ) from error
