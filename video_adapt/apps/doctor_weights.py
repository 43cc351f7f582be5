"""Weights: which are on this machine, and whether the missing ones can be fetched."""

import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from video_adapt.wandb_account import is_reachable

from .doctor_findings import Finding

_FILES = (".safetensors", ".bin", ".pt", ".pth")


def hub_cache() -> Path:
    """Folder in which Hugging Face's client keeps what it fetched; open_clip uses it, too."""
    home = os.environ.get("HF_HOME", _user_cache() / "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE", Path(home) / "hub")).expanduser()


def examine_hub() -> Finding:
    """Look at what was fetched before."""
    folder = hub_cache()
    found = sorted(
        place.name.removeprefix("models--").replace("--", "/")
        for place in folder.glob("models--*")
        if _weights_in(place)
    )
    if found:
        return Finding("weights", "ok", f"in {folder}: {', '.join(found)}")
    if _fetches():
        return Finding("weights", "ok", f"none in {folder}; fetched when first needed")
    text = f"none in {folder}, and {_hub()} cannot be reached"
    mend = "download files elsewhere and give their paths as `weights`; TinyCLIP is shipped"
    return Finding("weights", "warn", text, mend)


def examine_weights(node: Mapping[str, Any]) -> Iterator[Finding]:
    """Look for the weights that a part of an experiment names, if it does.

    Args:
        node: Any mapping of the experiment file.
    """
    if not isinstance(node, Mapping):
        return
    checkpoint = node.get("ckpt_path")
    if isinstance(checkpoint, str) and "$" not in checkpoint:
        yield _file(checkpoint)
    arguments = node.get("init_args", node)
    weights = arguments.get("weights") if isinstance(arguments, Mapping) else None
    if "class_path" not in node or not isinstance(weights, str) or "$" in weights:
        return
    kind = str(node["class_path"]).rpartition(".")[2]
    path = Path(weights).expanduser()
    if path.exists() or kind not in ("CLIP", "VideoMAE"):
        yield _file(weights)
        return
    name = str(arguments.get("name"))
    repository = _of_videomae(name, weights) if kind == "VideoMAE" else _of_clip(name, weights)
    yield _fetched(f"{name} {weights}", repository) if repository else _file(weights)


def _file(path: str) -> Finding:
    found = Path(path).expanduser()
    if found.exists():
        size = found.stat().st_size / 1e6
        return Finding("weights", "ok", f"{found}: {size:.1f} MB" if found.is_file() else path)
    mend = "train or download them, or name another file"
    return Finding("weights", "fail", f"{found} is not there", mend)


def _of_videomae(name: str, weights: str) -> str:
    """Repository on the hub; empty where it has none."""
    if weights != "hub":
        return ""
    from video_adapt.backbones.videomae_config import SIZES  # imports torch

    return SIZES[name].hub if name in SIZES else name


def _of_clip(name: str, tag: str) -> str:
    """Repository on the hub of weights that open_clip knows by a tag; empty where it does not."""
    import open_clip  # takes seconds

    names = (name, name.removesuffix("-quickgelu"))
    entries = (open_clip.get_pretrained_cfg(twin, tag) for twin in names)
    entry: Mapping[str, str] = next((entry for entry in entries if entry), {})
    return entry.get("hf_hub", "").rpartition("/")[0]


def _fetched(what: str, repository: str) -> Finding:
    place = hub_cache() / f"models--{repository.replace('/', '--')}"
    if _weights_in(place):
        return Finding("weights", "ok", f"{what}: {place}")
    address = f"{_hub()}/{repository}"
    if _fetches():
        text = f"{what}: not on this machine yet"
        return Finding("weights", "warn", text, f"fetched from {address} when first needed")
    text = f"{what}: not on this machine, and {_hub()} cannot be reached"
    return Finding("weights", "fail", text, f"download {address} and give its path as `weights`")


def _weights_in(place: Path) -> bool:
    """Whether a folder of the cache holds weights, not only links to what was never fetched."""
    return any(path.suffix in _FILES and path.exists() for path in place.glob("snapshots/*/*"))


def _hub() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co")


def _fetches() -> bool:
    """Whether missing weights can be fetched."""
    return os.environ.get("HF_HUB_OFFLINE", "0") in ("0", "") and _answers(_hub())


@cache
def _answers(server: str) -> bool:
    return is_reachable(server)


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
