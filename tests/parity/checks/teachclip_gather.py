"""Gradients of a batch spread over processes, in the released code's scaling and exact."""

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.parity.cases import Case, check
from tests.parity.checks.teachclip_clip4clip import load_student, positions_of
from tests.unit.retrieval.processes import as_processes
from video_adapt.checkpoints import convert_keys
from video_adapt.methods.teachclip.network import StudentSpec
from video_adapt.methods.teachclip.published import STUDENT_KEYS
from video_adapt.retrieval import TeachingLoss, gather, similarity_matrix

SCALE = "clip.logit_scale"


class Share:
    """What one process does with its rows."""

    def __init__(self, case: Case, rank: int) -> None:
        config, published = case.config, case.group("weights")
        assert config["temporal_heads"] * config["head_width"] == config["embed_dim"]
        layers, heads = config["temporal_layers"], config["temporal_heads"]
        spec = StudentSpec(kind="afa", layers=layers, heads=heads, masked=False)
        self.student = spec.build(config["embed_dim"], positions=positions_of(published))
        load_student(self.student, published)
        self.scale = published[SCALE].clone().requires_grad_()
        rows = config["batch_per_process"]
        own = slice(rank * rows, (rank + 1) * rows)
        inputs = case.group("inputs")
        self.text = inputs["text_features"][own].clone().requires_grad_()
        self.frames, self.mask = inputs["frame_features"][own], inputs["video_mask"][own].bool()
        self.teacher, self.relevance = inputs["teacher_sim"], inputs["teacher_relevance"]

    def run(self, *, exact: bool) -> dict[str, Tensor]:
        """The loss and the matrix, and gradients before they are averaged."""
        pooled = self.student.pool(self.frames, self.mask)
        text, video, logits = (
            gather(rows, exact=exact) for rows in (self.text, pooled.vector, pooled.logits)
        )
        scores = similarity_matrix(F.normalize(text, dim=-1), video, self.scale)
        loss = TeachingLoss(contrastive=0.2, coarse=1.0, fine=2.0, normalization="code")
        terms = loss(scores, logits, teachers=[self.teacher], relevance=[self.relevance])
        terms.total.backward()
        named = {name: p.grad for name, p in self.student.named_parameters()}
        named |= {SCALE: self.scale.grad, "text": self.text.grad}
        return {"loss": terms.total.detach(), "sim_matrix": scores.detach()} | named


def renamed(recorded: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gradients under our names."""
    student = {name: grad for name, grad in recorded.items() if name != SCALE}
    return convert_keys(student, STUDENT_KEYS) | {SCALE: recorded[SCALE]}


@check("teachclip", "gather_gradients")
def gather_gradients(case: Case) -> None:
    processes = case.config["processes"]
    recorded = {
        False: renamed(case.group("grads")),
        True: renamed(case.group("inter/single_process_grad")),
    }
    per_rank = case.tensors["outputs/text_feature_grad_per_rank"]
    # An exact gradient of local rows is what the processes' mean of it will be, times their number.
    text = {False: per_rank, True: case.tensors["inter/single_process_text_grad"] * processes}
    for exact, expected in recorded.items():
        shares = as_processes(
            lambda rank, exact=exact: Share(case, rank).run(exact=exact), processes
        )
        for share in shares:
            for name in ("loss", "sim_matrix"):
                case.assert_close(share.pop(name), case.tensors[f"outputs/{name}"], name)
        mine = torch.cat([share.pop("text") for share in shares])
        case.assert_close(mine, text[exact], "text features")
        assert all(share.keys() == expected.keys() for share in shares)
        for name, value in expected.items():
            mean = torch.stack([share[name] for share in shares]).mean(dim=0)
            case.assert_close(mean, value, f"gradient of {name}, exact={exact}")
