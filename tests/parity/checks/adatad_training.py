"""AdaTAD as a whole: optimiser steps from frames to averaged weights, against the authors' code."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from tests.parity.cases import Case, check
from tests.parity.checks.adatad_backbone import architecture
from tests.parity.checks.adatad_heads import actionformer_settings
from video_adapt.adapters import TIA
from video_adapt.backbones import VideoMAE
from video_adapt.batches import SegmentBatch
from video_adapt.callbacks import EMA
from video_adapt.methods import AdaTAD
from video_adapt.methods.adatad.convert import load_published, rename
from video_adapt.tasks import DetectionOptimizerSpec, WarmupCosine
from video_adapt.tasks.schedules import StepSchedule


def build(case: Case) -> AdaTAD:
    config = case.config
    recipe = DetectionOptimizerSpec(
        lr=config["lr"],
        adapter_lr=config["adapter_lr"],
        weight_decay=config["weight_decay"],
        backbone_weight_decay=config["adapter_weight_decay"],
        schedule=WarmupCosine(max_epochs=config["max_epoch"], warmup_epochs=config["warmup_epoch"]),
    )
    method = AdaTAD(
        VideoMAE.from_config(architecture(config)),
        class_names=[f"class {i}" for i in range(config["num_classes"])],
        detector=actionformer_settings(config),
        optimizer=recipe,
        tuning="adapter",
        adapter=TIA(ratio=config["adapter_mlp_ratio"], blocks=config["adapter_index"]),
    )
    load_published(method, case.group("weights"))
    return method.train()


def batch(case: Case, number: int, method: AdaTAD) -> SegmentBatch:
    inputs = case.group(f"inputs/{number}")
    pixels = method.backbone.pixels
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (pixels.mean, pixels.std))
    frames = inputs["frames"][:, 0].transpose(1, 2) / 255  # [B, T, C, H, W]
    videos = range(len(frames))
    zeros = torch.zeros(len(frames))
    return SegmentBatch(
        video=(frames - mean) / std,
        mask=inputs["masks"].bool(),
        segments=[inputs[f"gt_segments_{i}"] for i in videos],
        labels=[inputs[f"gt_labels_{i}"] for i in videos],
        video_id=torch.arange(len(frames)),
        window=zeros.long(),
        offset_s=zeros.double(),
        step_s=zeros.double() + 1,
        duration_s=zeros.double() + inputs["masks"].shape[1],
    )


@check("adatad", "end_to_end_training_steps")
def end_to_end_training_steps(case: Case) -> None:
    config, expected = case.config, case.group("outputs")
    method = build(case)
    frozen = {k: p.clone() for k, p in method.named_parameters() if not p.requires_grad}
    batches = [batch(case, i, method) for i in range(config["iters"])]
    groups = method.parameter_groups(method.optimizer)
    optimizer = torch.optim.AdamW(groups)
    plan = method.optimizer.schedule

    def rate(lr: float, step: int) -> float:
        return plan.rate(lr, step, steps_per_epoch=len(batches), epochs=config["epochs"])

    schedule = StepSchedule(optimizer, rate)
    trainer: Any = SimpleNamespace(global_step=0)
    ema = EMA(config["ema_decay"])
    ema.on_train_start(trainer, method)
    normaliser = method.head.positives.value.clone().long()  # theirs averages it as an integer
    for step in range(config["epochs"] * len(batches)):
        given = batches[step % len(batches)]
        optimizer.zero_grad()
        outputs = method(given.video, given.mask)
        terms = list(method.head.losses(outputs, given.segments, given.labels).values())
        cost = torch.stack(terms).sum()
        case.assert_close(torch.stack([*terms, cost]), expected["losses"][step], f"losses {step}")
        cost.backward()
        norm = torch.nn.utils.clip_grad_norm_(method.parameters(), config["clip_grad_norm"])
        case.assert_close(norm, expected["grad_norms"][step], f"norm of the gradient {step}")
        optimizer.step()
        schedule.step()
        trainer.global_step += 1
        ema.on_train_batch_end(trainer, method, None, given, step)
        average = ema.decay * normaliser + (1 - ema.decay) * method.head.positives.value
        normaliser = average.long()

    live = method.state_dict()
    held = ema._held
    after, averaged = recorded(case, method, "after"), recorded(case, method, "ema")
    assert after.keys() == averaged.keys() == held.keys()
    name = "head.positives.value"
    case.assert_close(normaliser.float(), averaged.pop(name).float(), "average of the normaliser")
    for key, tensor in after.items():
        case.assert_close(live[key], tensor, f"{key} after training")
    for key, tensor in averaged.items():
        case.assert_close(held[key], tensor, f"average of {key}")
    for key, tensor in frozen.items():
        assert torch.equal(live[key], tensor), f"{key} is frozen and moved"


def recorded(case: Case, method: AdaTAD, when: str) -> dict[str, Tensor]:
    """Every recorded tensor of ``outputs/<when>`` by our names."""
    tensors = case.group(f"outputs/{when}")
    return {
        key: tensor.reshape(method.state_dict()[key].shape).to(method.state_dict()[key].dtype)
        for key, tensor in rename(method, tensors).items()
    }
