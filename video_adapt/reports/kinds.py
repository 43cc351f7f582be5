"""The kinds of runs, told apart by what they left: a new kind is a file and a line here."""

from collections.abc import Sequence

from video_adapt.errors import ConfigurationError

from .detection_runs import DETECTION
from .kind import Kind
from .open_vocabulary_runs import BASE_TO_NOVEL, CROSS_DATASET
from .recognition_runs import RECOGNITION
from .retrieval_runs import RETRIEVAL
from .runs import Run

KINDS = (RECOGNITION, DETECTION, RETRIEVAL, BASE_TO_NOVEL, CROSS_DATASET)
UNKNOWN = Kind(
    name="not evaluated yet",
    files=(),
    headline="",
    figures=lambda run: (),
    columns=(),
    learning="validation",
    curves=lambda run: {},
    summary=lambda run: "",
    parts=lambda run, out: [],
)
"""A run that stopped before its first evaluation: costs and training loss are all there is."""


def kind_of(run: Run) -> Kind:
    """The kind by the files of the evaluation, or without any by what was logged of one.

    Raises:
        ConfigurationError: If an evaluation lacks its files.
    """
    folder = run.evaluation
    if folder is None:
        logged = (kind for kind in KINDS if f"val/{kind.headline}" in run.curves)
        return next(logged, UNKNOWN)
    for kind in KINDS:
        if all((folder / name).is_file() for name in kind.files):
            return kind
    known = ", or ".join(" and ".join(kind.files) for kind in KINDS)
    raise ConfigurationError(f"{folder}: metrics.json lies here without {known}; evaluate again")


def common_kind(runs: Sequence[Run]) -> Kind:
    """The kind of all runs.

    Raises:
        ConfigurationError: If they are not of one kind.
    """
    first = kind_of(runs[0])
    for run in runs[1:]:
        if (kind := kind_of(run)) is not first:
            raise ConfigurationError(
                f"{runs[0].folder} is {first.name}, {run.folder} is {kind.name}: they have no "
                "figure in common; compare runs of one kind"
            )
    return first
