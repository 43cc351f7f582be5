"""Checkpoints of this project as teachers: those of a teacher's own training, or of a student."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from video_adapt.backbones import CLIP
from video_adapt.checkpoints import (
    LoadReport,
    digest,
    is_torchscript,
    load_strictly,
    read_checkpoint,
)
from video_adapt.errors import ConfigurationError, WeightsError
from video_adapt.retrieval.teachers import CLIP4ClipTeacher, FeatureTeacher, vector_settings

from .network import Student, VectorStudent
from .reading import drop_temperature

_TEACHER, _STUDENT = "TeacherRetriever", "TeachCLIP"


def read_own(path: str | Path) -> dict[str, Any] | None:
    """Read a checkpoint of this project; None where the file is another kind of weights.

    Raises:
        WeightsError: If the file is missing or damaged.
    """
    if Path(path).suffix == ".safetensors" or is_torchscript(path):
        return None
    content = read_checkpoint(path)
    return content if "video_adapt" in content else None


def describe(head: FeatureTeacher) -> dict[str, Any]:
    """What a head is beside its weights, as a checkpoint records it."""
    return {"class": type(head).__name__, **head.settings}


def describe_student(student: Student) -> dict[str, Any] | None:
    """The same of the head that can stand for a student; None where there is none."""
    if not isinstance(student, VectorStudent):
        return None
    settings = vector_settings(student.temporal, student.pooling)
    return {"class": CLIP4ClipTeacher.__name__, **settings}


def load_own(head: FeatureTeacher, backbone: CLIP, checkpoint: Mapping[str, Any]) -> LoadReport:
    """Put a retriever that was trained here into a teacher, strictly.

    What was frozen in its training is not in the file: the backbone must have it already.

    Args:
        head: Receives the head, or what a student has in its place: a student of the kind
            ``meanP``, ``seqTransf`` or ``seqLSTM`` fits a ``CLIP4ClipTeacher`` of the same
            ``header``, ``afa`` one that is ``attentive``.
        backbone: Receives what trained in the towers; adapters are there already.
        checkpoint: As :func:`read_own` gives it.

    Returns:
        The account of every tensor; ``new`` is what came from the backbone.

    Raises:
        ConfigurationError: If the head has other settings than the one that was trained.
        WeightsError: If the file is of a method that does not teach, of another head or backbone.
    """
    record = checkpoint["video_adapt"]
    kind = record["method"].rpartition(".")[2]
    if kind not in (_TEACHER, _STUDENT):
        raise WeightsError(f"a checkpoint of {kind} does not teach; give one of {_TEACHER}")
    if record.get("head") is None:
        raise WeightsError("a student that reads every pair together does not teach; give another")
    _check_settings(head, record["head"])
    state = dict(checkpoint["state_dict"])
    if kind == _STUDENT:
        state = _as_head(state, backbone.logit_scale)
    else:
        drop_temperature(backbone)
    both = nn.ModuleDict({"head": head, "backbone": backbone})
    live = both.state_dict()
    kept = {n: x for n, x in live.items() if n.startswith("backbone.") and n not in state}
    if kept and digest(kept) != record["frozen_digest"]:
        raise WeightsError(
            f"the teacher was trained on backbone {record['backbone']!r}, whose frozen weights are "
            f"not those of this {backbone.name!r}; give the teacher's backbone the name, weights "
            "and adapter of its training run"
        )
    return load_strictly(both, state, allow_new=[r"backbone\..+"])


def _check_settings(head: FeatureTeacher, trained: Mapping[str, Any]) -> None:
    own = describe(head)
    if trained == own:
        return
    names = [name for name in {**trained, **own} if trained.get(name) != own.get(name)]
    told = ", ".join(f"{n} {trained.get(n)} (here {own.get(n)})" for n in names)
    raise ConfigurationError(f"the teacher was trained with {told}; give its head the same")


def _as_head(student: Mapping[str, Tensor], scale: Tensor) -> dict[str, Tensor]:
    """A student's weights under the names of a head, which holds a temperature of its own."""
    state = {
        f"head.{name.removeprefix('student.')}" if name.startswith("student.") else name: x
        for name, x in student.items()
    }
    return {"head.logit_scale": student.get("backbone.towers.logit_scale", scale), **state}
