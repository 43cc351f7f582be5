"""Parity fixtures: numbers recorded on the original implementations, and who checks which."""

import gzip
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

DEFAULT_DIR = Path(__file__).parent / "fixtures"


@dataclass(frozen=True)
class Case:
    """One fixture: ``<method>/<name>.json`` with tensors or data beside it."""

    method: str
    name: str
    path: Path

    @cached_property
    def meta(self) -> dict[str, Any]:
        return json.loads(self.path.read_text())

    @property
    def config(self) -> dict[str, Any]:
        return self.meta["config"]

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        return load_file(self.path.with_suffix(".safetensors"))

    @cached_property
    def data(self) -> Any:
        with gzip.open(self.path.with_suffix(".data.json.gz")) as file:
            return json.load(file)

    def group(self, prefix: str) -> dict[str, Tensor]:
        """Tensors below ``prefix/``, without it: weights, inputs, outputs, grads, inter."""
        start = f"{prefix}/"
        return {k.removeprefix(start): v for k, v in self.tensors.items() if k.startswith(start)}

    def assert_close(self, actual: Tensor, expected: Tensor, what: str) -> None:
        """Compare within the fixture's own tolerance."""
        tolerance = self.meta["tolerance"]
        exact = tolerance == "exact"
        torch.testing.assert_close(
            actual,
            expected,
            atol=0.0 if exact else tolerance.get("atol", 0.0),
            rtol=0.0 if exact else tolerance.get("rtol", 0.0),
            msg=lambda text: f"{self.method}/{self.name}: {what}: {text}",
        )

    def assert_grads(self, module: torch.nn.Module, prefix: str = "") -> None:
        """Compare every recorded gradient with the module's; none may be left over on either side.

        Parameters listed in the fixture's ``params_without_grad`` may have none.
        """
        recorded = {k: v for k, v in self.group("grads").items() if k.startswith(prefix)}
        assert recorded, f"{self.name} records no gradient below {prefix!r}"
        mine = {prefix + k: p.grad for k, p in module.named_parameters() if p.grad is not None}
        idle = {k for k, v in recorded.items() if k not in mine and not v.any()}
        assert set(recorded) - idle == set(mine), set(recorded) ^ set(mine)
        for key, grad in mine.items():
            self.assert_close(grad, recorded[key], f"gradient of {key}")


Check = Callable[[Case], None]
_CHECKS: dict[tuple[str, str], Check] = {}


def check(method: str, name: str) -> Callable[[Check], Check]:
    """Register the function that checks a case, and its variants ``<name>_<anything>``."""

    def register(function: Check) -> Check:
        assert (method, name) not in _CHECKS, f"two checks for {method}/{name}"
        _CHECKS[method, name] = function
        return function

    return register


def find_check(case: Case) -> Check:
    """The check with the longest name that the case's name equals or extends by ``_...``.

    Raises:
        LookupError: If no check knows the case.
    """
    words = case.name.split("_")
    for length in range(len(words), 0, -1):
        if function := _CHECKS.get((case.method, "_".join(words[:length]))):
            return function
    raise LookupError(f"no parity check knows the case {case.method}/{case.name}: {case.path}")


def discover() -> Iterator[Case]:
    """Every fixture below ``VIDEO_ADAPT_PARITY_DIR`` (default: the fixtures shipped here)."""
    root = Path(os.environ.get("VIDEO_ADAPT_PARITY_DIR", DEFAULT_DIR))
    for path in sorted(root.glob("*/*.json")):
        yield Case(path.parent.name, path.stem, path)
