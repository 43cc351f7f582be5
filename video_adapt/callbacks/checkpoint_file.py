"""Checkpoints that are there as a whole or not at all."""

import io
import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"


class CheckpointFile(TorchCheckpointIO):
    """Write a checkpoint beside its place and move it there when it is complete and on the disk.

    Lightning writes it into the system's temporary folder first. Where that is another disk, the
    move is a copy, and a disk that fills up ruins the checkpoint that lay there before. The
    ``last.ckpt`` of before stays as ``previous.ckpt``: of two files, a broken disk spoils one.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Save; whatever goes wrong, an earlier file of that name stays as it was.

        Raises:
            OSError: If the disk is full or not writable; names the file.
        """
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        path = Path(path)
        partial = path.with_name(f".{path.name}.partial")
        buffer = io.BytesIO()  # torch's own writer tells nothing of what the disk says
        torch.save(checkpoint, buffer)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(buffer.getbuffer())
            _settle(partial)
            if path.name == LAST and path.exists():
                path.replace(path.with_name(PREVIOUS))
            partial.replace(path)
            _settle(path.parent)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
        finally:
            partial.unlink(missing_ok=True)


def _settle(path: Path) -> None:
    """Wait until a file, or the names in a folder, would survive a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
