"""CLIP4Clip's four ways to compare sentences with frames."""

from torch import Tensor

from tests.parity.cases import Case, check
from video_adapt.checkpoints import convert_keys, load_strictly
from video_adapt.methods.teachclip.network import Kind, Student, StudentSpec
from video_adapt.methods.teachclip.published import STUDENT_KEYS

POSITIONS = ("frame_position_embeddings.weight", "cross.embeddings.position_embeddings.weight")


def positions_of(published: dict[str, Tensor]) -> int:
    return next((len(published[name]) for name in POSITIONS if name in published), 1)


def load_student(student: Student, published: dict[str, Tensor]) -> Student:
    """Every published tensor that is not of the towers, strictly."""
    own = {k: v for k, v in published.items() if not k.startswith("clip.")}
    load_strictly(student, convert_keys(own, STUDENT_KEYS))
    return student.eval()


def compare(case: Case, kind: Kind) -> None:
    config, published, inputs = case.config, case.group("weights"), case.group("inputs")
    spec = StudentSpec(kind=kind, layers=config["layers"], heads=config["heads"])
    student = spec.build(config["embed_dim"], positions=positions_of(published))
    load_student(student, published)
    mask = inputs["video_mask"].bool()
    scale = published.get("clip.logit_scale", mask.new_zeros((), dtype=inputs["frames"].dtype))
    reading = student(inputs["frames"], mask)
    scores = student.compare(student.read_text(inputs["sentence"]), reading.feature, scale)
    outputs = case.group("outputs")
    assert outputs.keys() == {"sim_matrix"}
    case.assert_close(scores, outputs["sim_matrix"], "sim_matrix")


@check("teachclip", "clip4clip_meanp")
def mean_pooling(case: Case) -> None:
    compare(case, "meanP")


@check("teachclip", "clip4clip_seqtransf")
def sequential_transformer(case: Case) -> None:
    compare(case, "seqTransf")


@check("teachclip", "clip4clip_seqlstm")
def sequential_lstm(case: Case) -> None:
    compare(case, "seqLSTM")


@check("teachclip", "clip4clip_tighttransf")
def tight_transformer(case: Case) -> None:
    compare(case, "tightTransf")
