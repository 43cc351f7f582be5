"""What a teacher says of single videos and captions, kept on the disk: training then reads it.

Similarities depend on the batch and are cheap; towers and selections do not and are not. So the
latter are stored, as rows (see :mod:`video_adapt.retrieval.teachers`), once per video and caption.
"""

from collections.abc import Mapping
from pathlib import Path

from video_adapt.row_store import Precision, RowStore


class TeacherCache(RowStore):
    """Rows by number of ``video`` or ``caption``, for one state of one teacher.

    Args:
        folder: Where caches lie; each state of a teacher has its own folder in it.
        weights: Digest of the weights of the teacher's head and towers.
        preprocessing: Whatever else rows depend on, as plain values: pixels, number and sampling of
            frames, length of captions, the teacher's ``settings``, and a digest of the manifest
            whose numbers are used.
        precision: Type in which features are stored; ``float16`` takes half the space and teaches
            rounded similarities.

    Raises:
        WeightsError: If the folder holds the cache of something else.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        weights: str,
        preprocessing: Mapping[str, object],
        precision: Precision = "float32",
    ) -> None:
        facts = {"weights": weights, "preprocessing": preprocessing}
        super().__init__(folder, facts=facts, precision=precision, owner="teacher")
