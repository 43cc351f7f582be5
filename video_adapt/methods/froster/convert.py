"""Published files of FROSTER into our method, strictly: training checkpoints and averaged ones."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from video_adapt.checkpoints import LoadReport, convert_keys, load_strictly
from video_adapt.errors import WeightsError

from .method import FROSTER
from .published import RESIDUAL_KEYS, STUDENT_KEYS, TEACHER_KEYS


class Published(NamedTuple):
    """The parts of a published file.

    Attributes:
        student: Towers under OpenAI's names.
        teacher: The same of the original CLIP; empty in an averaged file.
        residual: Residual networks under our names, and all that is not known.
    """

    student: dict[str, Tensor]
    teacher: dict[str, Tensor]
    residual: dict[str, Tensor]


def split(state: Mapping[str, Tensor]) -> Published:
    """Sort the tensors of a published file.

    Args:
        state: Tensors by published name, as :func:`video_adapt.checkpoints.read_state` gives them.

    Raises:
        WeightsError: If the file holds no student.
    """
    student = {k: v for k, v in state.items() if k.startswith("model.")}
    teacher = {k: v for k, v in state.items() if k.startswith("raw_model.")}
    if not student:
        raise WeightsError(
            "holds no weight below 'model.', as files of FROSTER do; check that it is one"
        )
    rest = {k: v for k, v in state.items() if k not in student and k not in teacher}
    return Published(
        convert_keys(student, STUDENT_KEYS),
        convert_keys(teacher, TEACHER_KEYS),
        convert_keys(rest, RESIDUAL_KEYS),
    )


def load_published(method: FROSTER, state: Mapping[str, Tensor]) -> LoadReport:
    """Put a published file into a method of the same sizes.

    Args:
        method: In the regime ``full``, with ``distillation``.
        state: Tensors by published name, as :func:`video_adapt.checkpoints.read_state` gives them.

    Returns:
        The account of every tensor.

    Raises:
        WeightsError: If the method is another one, or a tensor is missing, left over or of another
            shape.
    """
    if method.regime != "full" or method.residual is None:
        raise WeightsError(
            "published files are of the regime full with distillation; convert them into that"
        )
    parts = split(state)
    reports = [
        load_strictly(method.residual, parts.residual),
        method.backbone.load_weights(parts.student),
    ]
    if parts.teacher:
        reports.append(method.original.load_weights(parts.teacher))
    return LoadReport(
        loaded=tuple(name for report in reports for name in report.loaded),
        converted=tuple(name for report in reports for name in report.converted),
        new=tuple(name for report in reports for name in report.new),
        unused=tuple(name for report in reports for name in report.unused),
    )
