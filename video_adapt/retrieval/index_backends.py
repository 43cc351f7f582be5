"""Which index a folder holds, and making one: the two calls that every application needs."""

from pathlib import Path

from .index import Backend, Damaged, Index
from .index_faiss import FaissIndex
from .index_files import IndexFolder
from .index_lancedb import LanceIndex
from .index_torch import TorchIndex
from .index_vectors import Precision

_KINDS: dict[Backend, type[TorchIndex] | type[LanceIndex]] = {
    "torch": TorchIndex,
    "faiss": FaissIndex,
    "lancedb": LanceIndex,
}


def create_index(
    folder: str | Path,
    *,
    checkpoint: str,
    width: int,
    precision: Precision = "float16",
    backend: Backend = "torch",
) -> Index:
    """Begin an empty index.

    Args:
        folder: Where its files go; made if missing.
        checkpoint: Digest of the checkpoint that makes the vectors.
        width: Width ``D`` of a vector.
        precision: How vectors are stored: ``float32``, ``float16`` in half of that, ``int8`` in
            a quarter (not with LanceDB).
        backend: ``torch`` reads all vectors, exactly; ``faiss`` reads a few lists of them, for
            hundreds of thousands and more; ``lancedb`` keeps them on the disk, for more than the
            memory holds. The last two need ``pip install video_adapt[index]``.

    Raises:
        ConfigurationError: If the folder holds an index, the backend does not know the precision,
            or its package is missing.
    """
    return _KINDS[backend].create(folder, checkpoint=checkpoint, width=width, precision=precision)


def open_index(folder: str | Path, *, checkpoint: str, damaged: Damaged = "error") -> Index:
    """Open an index, whatever backend made it; every row of it is checked.

    Args:
        folder: Its files.
        checkpoint: Digest of the checkpoint that makes queries and further vectors.
        damaged: Whether a damaged file is an error, or is left out, said, and gone from the index
            with the next write: what it held can then be added again.

    Raises:
        ConfigurationError: If there is no index, or its backend's package is missing.
        WeightsError: If another checkpoint made it, or a file is damaged.
    """
    with IndexFolder(folder).reading() as manifest:
        backend = manifest.backend
    return _KINDS[backend].load(folder, checkpoint=checkpoint, damaged=damaged)
