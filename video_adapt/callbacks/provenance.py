"""How a run was started and by which code: what settings, data and versions do not tell."""

import hashlib
import sys
from functools import cache
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).parents[1]
_SOURCES = (_PACKAGE, _PACKAGE.parent / "data_modules")


def how_started(checkpoint: str | Path | None = None) -> dict[str, Any]:
    """The command, and the files that it depends on without being named in settings or lists.

    Args:
        checkpoint: Weights that the command began with; None = without any. A word such as ``last``
            instead of a file is kept without a digest.

    Returns:
        ``words`` of the command line, the ``folder`` that paths in it start at, the digest of the
        ``code``, and ``checkpoint``: path and SHA-256, or None.
    """
    return {
        "words": ["video-adapt", *sys.argv[1:]],
        "folder": str(Path.cwd()),
        "code": code_digest(),
        "checkpoint": None if checkpoint is None else _file_facts(Path(checkpoint)),
    }


@cache
def code_digest() -> str:
    """SHA-256 of this program's sources: tells changes apart that no commit holds."""
    digest = hashlib.sha256()
    for root in _SOURCES:
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{root.name}/{path.relative_to(root).as_posix()}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def file_digest(path: Path) -> str | None:
    """SHA-256 of a file; None where there is none."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _file_facts(path: Path) -> dict[str, str | None]:
    return {"path": str(path), "sha256": file_digest(path)}
