"""Imports run one way only: a room may look at the rooms below it and at nothing else."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BASE = {
    "errors",
    "batches",
    "segments",
    "vocabulary",
    "row_store",
    "reading",
    "wandb_account",
    "__init__",
}
LAYER_1 = {"backbones", "metrics", "checkpoints", "video", "detection", "retrieval"}
MAY_IMPORT = {
    "errors": set(),
    "batches": set(),
    "vocabulary": {"errors"},
    "row_store": {"errors"},
    "reading": set(),
    "wandb_account": set(),
    "__init__": {"apps"},
    "video": BASE,
    "backbones": BASE | {"checkpoints"},
    "metrics": BASE,
    "checkpoints": BASE,
    "segments": set(),
    "detection": BASE,
    "retrieval": BASE,
    "adapters": BASE | {"backbones", "checkpoints"},
    "tasks": BASE | {"backbones", "checkpoints", "metrics", "video", "detection", "retrieval"},
    "callbacks": BASE | {"metrics"},
    "data_modules": BASE | {"video"},
    "methods": BASE | LAYER_1 | {"adapters", "tasks"},
    "baselines": BASE | LAYER_1 | {"adapters", "tasks"},
}
FREE = {"cli", "cli_messages", "cli_resume", "cli_words", "__main__", "apps", "reports"}


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return "data_modules" if parts[0] == "data_modules" else parts[1]


def imported_rooms(path: Path):
    package = list(path.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "data_modules":
                yield "data_modules"
            elif parts[0] == "video_adapt":
                room = parts[1] if len(parts) > 1 else "__init__"
                yield "__init__" if room == "__version__" else room


SOURCES = sorted([*ROOT.glob("video_adapt/**/*.py"), *ROOT.glob("data_modules/**/*.py")])


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    room = room_of(path)
    if room in FREE:
        return
    wrong = set(imported_rooms(path)) - MAY_IMPORT[room] - {room}
    assert not wrong, f"{room} must not import {sorted(wrong)}"


def test_methods_do_not_know_one_another():
    for path in ROOT.glob("video_adapt/methods/*/*.py"):
        others = {p.name for p in (ROOT / "video_adapt/methods").iterdir()} - {path.parent.name}
        text = path.read_text()
        assert not [name for name in others if f"methods.{name}" in text or f"..{name} " in text]


def test_importing_the_package_loads_nothing_heavy():
    heavy = ("torch", "numpy", "lightning", "av")
    code = f"import sys, video_adapt; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
