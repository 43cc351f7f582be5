"""Losses of a taught retriever and their gradients, against the authors' code."""

import torch
from torch import Tensor

from tests.parity.cases import Case, check
from video_adapt.retrieval.losses import coarse_loss, contrastive_loss, fine_loss
from video_adapt.retrieval.teaching import TeachingLoss

DISTANCES = {"pear": "pearson", "ce": "cross_entropy", "l1": "l1"}


def compare(case: Case, loss: Tensor, leaf: Tensor, output: str, gradient: str):
    case.assert_close(loss, case.tensors[f"outputs/{output}"], output)
    (grad,) = torch.autograd.grad(loss, leaf, retain_graph=True)
    case.assert_close(grad, case.tensors[f"grads/{gradient}"], gradient)


@check("teachclip", "loss_coarse")
def coarse(case: Case) -> None:
    student = case.tensors["inputs/student_sim"].requires_grad_()
    teachers = case.tensors["inputs/teacher_sims"]
    assert len(teachers) == case.config["teachers"]
    assert case.config["smooth_l1_beta"] == 1.0
    divisor = case.config["similarity_divisor_beta"]
    for short, distance in DISTANCES.items():
        settings = {"divisor": divisor, "normalization": "code"}
        each = [coarse_loss(student, matrix, distance, **settings) for matrix in teachers]
        case.assert_close(torch.stack(each), case.tensors[f"inter/per_teacher_{short}"], distance)
        loss = TeachingLoss(coarse_distance=distance, contrastive=0.0, **settings)
        terms = loss(student, None, teachers=list(teachers), relevance=[None] * len(teachers))
        for mine in (terms.coarse, terms.total):
            compare(case, mine, student, f"coarse_{short}", f"student_sim.{short}")
    compare(case, contrastive_loss(student), student, "contrastive", "student_sim.contrastive")


@check("teachclip", "loss_fine")
def fine(case: Case) -> None:
    logits = case.tensors["inputs/afa_logits"].requires_grad_()
    relevance = case.tensors["inputs/teacher_relevance"]
    assert len(relevance) == case.config["teachers"]
    assert case.config["smooth_l1_beta"] == 1.0
    temperature = case.config["student_temperature"]
    weights = (logits / temperature).softmax(dim=1)
    case.assert_close(weights, case.tensors["outputs/student_weights"], "student_weights")
    for short, distance in DISTANCES.items():
        settings = {"temperature": temperature, "normalization": "code"}
        each = [fine_loss(logits, weights, distance, **settings) for weights in relevance]
        mean = torch.stack(each).mean()
        compare(case, mean, logits, f"fine_{short}", f"afa_logits.{short}")
