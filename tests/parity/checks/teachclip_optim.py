"""The authors' optimiser, schedule and parameter groups, step by step."""

import math
from types import SimpleNamespace

import torch
from torch import nn

from tests.parity.cases import Case, check
from video_adapt.retrieval import MAX_LOGIT_SCALE
from video_adapt.tasks import BertCosine, configure
from video_adapt.tasks.retrieval_optim import RetrievalOptimizerSpec, retrieval_groups

PARTS = {
    "clip.": "backbone.",
    "frameLinear.": "student.pooling.hidden.",
    "frameLinear2.": "student.pooling.score.",
}


def ours(name: str) -> str:
    for theirs, mine in PARTS.items():
        if name.startswith(theirs):
            return mine + name.removeprefix(theirs)
    return f"student.temporal.{name}"


class Parameters:
    """As much of a method as its groups are made from; those that are only named are 0."""

    def __init__(self, case: Case) -> None:
        weights = case.group("weights")
        self.by_name = {}
        for name in case.meta["param_groups"]:
            weight = weights.get(name, torch.zeros(1)).clone()
            half = name in case.config["half_parameters"]
            self.by_name[name] = nn.Parameter(weight.half() if half else weight)

    def named_parameters(self):
        return [(ours(name), parameter) for name, parameter in self.by_name.items()]


def recipe(case: Case) -> RetrievalOptimizerSpec:
    config = case.config
    assert config["per_parameter_clip"] == 1.0
    assert config["logit_scale_max"] == "ln 100"
    assert math.isclose(math.exp(MAX_LOGIT_SCALE), 100.0)
    factor, _, rest = config["new_module_lr"].partition("*lr")
    assert rest == " for frameLinear.* and frameLinear2.*"
    return RetrievalOptimizerSpec(
        lr=config["lr"],
        tower_lr=config["lr"] * config["coef_lr"],
        pooling_lr=config["lr"] * float(factor),
        weight_decay=config["weight_decay"],
        decay="published",
        betas=tuple(config["betas"]),
        eps=config["eps"],
        algorithm="BertAdam",
        schedule=BertCosine(warmup_share=config["warmup_proportion"]),
    )


@check("teachclip", "bertadam_steps")
def bertadam_steps(case: Case) -> None:
    method, spec = Parameters(case), recipe(case)
    trainer = SimpleNamespace(
        max_epochs=1,
        estimated_stepping_batches=0,
        num_training_batches=case.config["t_total"],
        accumulate_grad_batches=1,
    )
    configured = configure(retrieval_groups(method, spec), spec, trainer)
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    assert len(groups) == len(method.by_name)
    for name, expected in case.meta["param_groups"].items():
        group = groups[id(method.by_name[name])]
        assert math.isclose(group["initial_lr"], expected["base_lr"]), name
        assert group["weight_decay"] == expected["weight_decay"], name

    grads, recorded = case.group("inputs/grad"), case.group("outputs/param")
    assert set(grads) == set(recorded)
    for step in range(len(case.tensors["outputs/grad_norm"])):
        for name, parameter in method.by_name.items():
            parameter.grad = grads[name][step].to(parameter) if name in grads else None
        norm = nn.utils.clip_grad_norm_(method.by_name.values(), case.config["global_clip"])
        case.assert_close(norm.float(), case.tensors["outputs/grad_norm"][step], "norm")
        for name, expected in case.meta["param_groups"].items():
            rate = case.tensors["outputs/group_lr_per_step"][step, expected["group"]]
            mine = torch.tensor(groups[id(method.by_name[name])]["lr"])
            torch.testing.assert_close(mine, rate, rtol=1e-5, atol=1e-12)
        optimizer.step()
        scheduler.step()
        with torch.no_grad():
            method.by_name["clip.logit_scale"].clamp_(max=MAX_LOGIT_SCALE)
        for name, values in recorded.items():
            mine = method.by_name[name].detach().float()
            case.assert_close(mine, values[step], f"{name} after step {step}")
