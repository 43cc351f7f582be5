"""Packages: what must be installed, and what only some commands need."""

import platform
from collections.abc import Iterator, Mapping
from importlib import metadata
from importlib.util import find_spec
from typing import NamedTuple

from packaging.requirements import Requirement

from .doctor_findings import Finding

_DISTRIBUTION = "video-adapt"
# What one asks for first when figures differ.
_SHOWN = ("torch", "lightning", "av", "open_clip_torch", "transformers", "numpy", "wandb")


class Extra(NamedTuple):
    """Packages that are installed by a word in brackets.

    Attributes:
        modules: What is imported of them.
        purpose: What needs them.
    """

    modules: tuple[str, ...]
    purpose: str


EXTRAS: Mapping[str, Extra] = {
    "index": Extra(("faiss", "lancedb"), "search in large collections"),
    "lora": Extra(("peft",), "the adapter LoRA"),
    "sweep": Extra(("optuna",), "video-adapt sweep --local"),
}


def examine_packages() -> Iterator[Finding]:
    """Look at Python, the packages that are required, and the optional ones."""
    yield Finding("python", "ok", f"{platform.python_version()}, {platform.platform()}")
    required = [Requirement(text) for text in metadata.requires(_DISTRIBUTION) or ()]
    problems = [problem for need in required if _always(need) and (problem := _problem(need))]
    yield from problems
    if not problems:
        told = ", ".join(f"{name} {metadata.version(name)}" for name in _SHOWN)
        yield Finding("packages", "ok", f"video-adapt {metadata.version(_DISTRIBUTION)}, {told}")
    for name, extra in EXTRAS.items():
        yield _examine_extra(name, extra)


def _always(need: Requirement) -> bool:
    return need.marker is None or need.marker.evaluate({"extra": ""})


def _problem(need: Requirement) -> Finding | None:
    mend = f"pip install '{need}'"
    try:
        version = metadata.version(need.name)
    except metadata.PackageNotFoundError:
        return Finding("packages", "fail", f"{need.name} is not installed", mend)
    if need.specifier.contains(version, prereleases=True):
        return None
    return Finding("packages", "fail", f"{need.name} {version}, wanted {need.specifier}", mend)


def _examine_extra(name: str, extra: Extra) -> Finding:
    absent = [module for module in extra.modules if find_spec(module) is None]
    subject, modules = f"extra {name}", ", ".join(extra.modules)
    if not absent:
        return Finding(subject, "ok", f"{modules}: {extra.purpose}")
    text = f"without {', '.join(absent)}, which serves {extra.purpose}"
    return Finding(subject, "warn", text, f"pip install '{_DISTRIBUTION}[{name}]'")
