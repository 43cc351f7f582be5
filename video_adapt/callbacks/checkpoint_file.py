"""Checkpoints that are there as a whole or not at all."""

import io
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO


class CheckpointFile(TorchCheckpointIO):
    """Write a checkpoint beside its place and move it there when it is complete.

    Lightning writes it into the system's temporary folder first. Where that is another disk, the
    move is a copy, and a disk that fills up ruins the checkpoint that lay there before.
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
            partial.replace(path)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
        finally:
            partial.unlink(missing_ok=True)
