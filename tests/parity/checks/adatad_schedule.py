"""Learning rates of AdaTAD, step by step."""

from typing import Any

import torch

from tests.parity.cases import Case, check
from video_adapt.tasks import MultiStep, Schedule, WarmupCosine
from video_adapt.tasks.schedules import StepSchedule


def build(config: dict[str, Any]) -> Schedule:
    match config["type"]:
        case "LinearWarmupCosineAnnealingLR":
            floor = {"min_lr": config["eta_min"]} if "eta_min" in config else {}
            return WarmupCosine(
                max_epochs=config["max_epoch"], warmup_epochs=config["warmup_epoch"], **floor
            )
        case "MultiStepLR":
            return MultiStep(milestones=tuple(config["milestones"]), gamma=config["gamma"])
    raise LookupError(f"no schedule of ours is a {config['type']}")


@check("adatad", "lr_schedule")
def lr_schedule(case: Case) -> None:
    bases, length = case.config["base_lrs"], case.config["iterations_per_epoch"]
    for name, recorded in case.meta["outputs"].items():
        schedule = build(recorded["config"])
        groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in bases]
        optimizer = torch.optim.AdamW(groups)

        def rate(lr: float, step: int, of: Schedule = schedule) -> float:
            return of.rate(lr, step, steps_per_epoch=length, epochs=None)

        scheduler = StepSchedule(optimizer, rate)
        used = []
        for _ in recorded["lr_used_at_iteration"]:
            used.append([group["lr"] for group in optimizer.param_groups])
            optimizer.step()
            scheduler.step()
        theirs = torch.tensor(recorded["lr_used_at_iteration"], dtype=torch.float64)
        case.assert_close(torch.tensor(used, dtype=torch.float64), theirs, name)
