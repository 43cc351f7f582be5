"""Published files into students and teachers: towers and head in one file, strictly.

Students: TeachCLIP and CLIP4Clip. Teachers: X-CLIP, TS2-Net, X-Pool, CLIP4Clip.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from video_adapt.backbones import CLIP
from video_adapt.checkpoints import KeyRule, LoadReport, convert_keys, load_strictly
from video_adapt.errors import WeightsError
from video_adapt.retrieval.teachers import (
    CLIP4CLIP_RULES,
    TOWER_RULES,
    TS2NET_RULES,
    TS2NET_UNUSED,
    XCLIP,
    XCLIP_RULES,
    XPOOL_RULES,
    XPOOL_TOWER_RULES,
    CLIP4ClipTeacher,
    FeatureTeacher,
    Rule,
    Teacher,
    TS2Net,
    XPool,
    join_attention,
    split_published,
)

from .network import Student
from .published import STUDENT_KEYS, STUDENT_UNUSED, TOWER_KEYS


class _Published(NamedTuple):
    """How the files of one teacher name things."""

    head: tuple[Rule, ...]
    towers: tuple[Rule, ...] = TOWER_RULES
    unused: tuple[str, ...] = ()


# Before the class it derives from: the first that fits decides.
_TEACHERS: dict[type[FeatureTeacher], _Published] = {
    XCLIP: _Published(XCLIP_RULES, unused=STUDENT_UNUSED),
    CLIP4ClipTeacher: _Published(CLIP4CLIP_RULES, unused=STUDENT_UNUSED),
    TS2Net: _Published(TS2NET_RULES, unused=TS2NET_UNUSED),
    XPool: _Published(XPOOL_RULES, towers=XPOOL_TOWER_RULES),
}


def load_student(student: Student, backbone: CLIP, state: Mapping[str, Tensor]) -> LoadReport:
    """Put a published student into one of the same kind and sizes, its towers included.

    Args:
        student: Receives what lies beside the towers.
        backbone: Receives the towers.
        state: Tensors by published name, as :func:`video_adapt.checkpoints.read_state` gives them.

    Returns:
        The account of every tensor.

    Raises:
        WeightsError: If a tensor is missing, left over or of another shape.
    """
    towers = {name: tensor for name, tensor in state.items() if name.startswith("clip.")}
    head = {name: tensor for name, tensor in state.items() if name not in towers}
    return _joined(
        [
            load_strictly(student, convert_keys(head, STUDENT_KEYS), allow_unused=STUDENT_UNUSED),
            backbone.load_weights(convert_keys(towers, TOWER_KEYS)),
        ]
    )


def load_teacher(head: Teacher, backbone: CLIP, state: Mapping[str, Tensor]) -> LoadReport:
    """Put a published teacher into one of the same kind and sizes, its towers included.

    Args:
        head: Receives what lies beside the towers.
        backbone: Receives the towers.
        state: Tensors by published name, as :func:`video_adapt.checkpoints.read_state` gives them.

    Returns:
        The account of every tensor.

    Raises:
        WeightsError: If nothing is known of files of this teacher, or a tensor is missing, left
            over or of another shape.
    """
    known = next((names for kind, names in _TEACHERS.items() if isinstance(head, kind)), None)
    if known is None:
        kinds = ", ".join(kind.__name__ for kind in _TEACHERS)
        raise WeightsError(
            f"published files of {type(head).__name__} are not known; known are those of {kinds}"
        )
    own, towers = split_published(state)
    return _joined(
        [
            load_strictly(head, convert_keys(own, _rules(known.head)), allow_unused=known.unused),
            backbone.load_weights(join_attention(convert_keys(towers, _rules(known.towers)))),
        ]
    )


def _rules(rules: Sequence[Rule]) -> list[KeyRule]:
    return [KeyRule(*rule) for rule in rules]


def _joined(reports: Sequence[LoadReport]) -> LoadReport:
    return LoadReport(
        loaded=tuple(name for report in reports for name in report.loaded),
        converted=tuple(name for report in reports for name in report.converted),
        new=tuple(name for report in reports for name in report.new),
        unused=tuple(name for report in reports for name in report.unused),
    )
