"""FROSTER's residual networks, its loss, whole optimiser steps, and Open-VCLIP's step."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.parity.cases import Case, check
from tests.parity.checks.clip import SMALL_TEXT
from video_adapt.adapters import ExpandedAttention
from video_adapt.backbones import CLIP
from video_adapt.backbones.clip_weights import CLIP_KEYS
from video_adapt.baselines import OpenVCLIP
from video_adapt.checkpoints import convert_keys, load_strictly
from video_adapt.methods import FROSTER
from video_adapt.methods.froster.convert import load_published
from video_adapt.methods.froster.losses import froster_loss
from video_adapt.methods.froster.network import ResidualPair
from video_adapt.methods.froster.published import RESIDUAL_KEYS, STUDENT_KEYS
from video_adapt.tasks import (
    OpenVocabularyOptimizerSpec,
    PlateauCosine,
    ensemble,
    frame_logits,
)
from video_adapt.tasks.schedules import StepSchedule


def compare(case: Case, mine: dict[str, Tensor], expected: dict[str, Tensor], part: str) -> None:
    """Everything recorded, and nothing else, within the tolerance of this part of the case."""
    tolerance = case.meta["tolerance"]
    own = tolerance.get(part, tolerance)
    assert mine.keys() == expected.keys(), mine.keys() ^ expected.keys()
    for name, value in mine.items():
        torch.testing.assert_close(
            value,
            expected[name],
            atol=own["atol"],
            rtol=own["rtol"],
            msg=lambda text, name=name: f"{case.name}: {part}: {name}: {text}",
        )


def clip_of(config: dict[str, Any]) -> CLIP:
    """Towers of the recorded sizes; a text tower that was not recorded is made small."""
    text = SMALL_TEXT
    if "text_width" in config:
        text = {key: config[f"text_{key}"] for key in ("width", "layers", "heads")} | {
            key: config[key] for key in ("context_length", "vocab_size")
        }
    vision = {
        "image_size": config["image_size"],
        "patch_size": config["patch_size"],
        "layers": config["vision_layers"],
        "width": config["vision_width"],
        "head_width": config["vision_width"] // config["vision_heads"],
    }
    return CLIP.from_config(
        {
            "embed_dim": config["embed_dim"],
            "quick_gelu": True,
            "vision_cfg": vision,
            "text_cfg": text,
        }
    )


def attention_of(kind: str) -> ExpandedAttention | None:
    """The student's attention by its official name."""
    if kind == "none":
        return None
    start = "expand_temporal_view"
    assert kind.startswith(start), kind
    return ExpandedAttention(reach=int(kind.removeprefix(start).removeprefix("_step") or 1))


def class_names(config: dict[str, Any]) -> list[str]:
    return [f"class {number}" for number in range(config["classes"])]


def residual_of(case: Case, width: int) -> ResidualPair:
    pair = ResidualPair(width, case.config["alpha"], reads_classes=True)
    weights = {k: v for k, v in case.group("weights").items() if k.startswith("projector")}
    load_strictly(pair, convert_keys(weights, RESIDUAL_KEYS))
    return pair


def residual_gradients(pair: ResidualPair) -> dict[str, Tensor]:
    """Gradients under the published names."""
    names = ((rule.pattern.replace("\\", ""), rule.replacement) for rule in RESIDUAL_KEYS)
    return {theirs: pair.get_parameter(ours).grad for theirs, ours in names}


@check("froster", "residual_net")
def residual_net(case: Case) -> None:
    pair = residual_of(case, case.config["embed_dim"])
    inputs = {k: v.clone() for k, v in case.group("inputs").items()}
    frames = inputs["video_feature"].requires_grad_()
    classes = inputs["text_feature"].requires_grad_()
    video, text = pair(frames, classes)
    probed = (video * inputs["probe_video"]).sum() + (text * inputs["probe_text"]).sum()
    probed.backward()
    outputs = {"video": video, "text": text, "probe_scalar": probed}
    compare(case, outputs, case.group("outputs"), "outputs")
    mine = residual_gradients(pair) | {
        "inputs/video_feature": frames.grad,
        "inputs/text_feature": classes.grad,
    }
    compare(case, mine, case.group("grads"), "grads")


@check("froster", "froster_loss")
def loss(case: Case) -> None:
    config, inputs = case.config, case.group("inputs")
    pair = residual_of(case, config["embed_dim"])
    scale = case.group("weights")["model.logit_scale"].clone().requires_grad_()
    raw_frames = inputs["student_frame_feature"].clone().requires_grad_()
    raw_text = inputs["student_text_feature"].clone().requires_grad_()

    frames = F.normalize(raw_frames, dim=-1).unflatten(0, (config["batch"], -1))
    classes = ensemble(raw_text)
    seen = F.normalize(inputs["teacher_frame_feature"], dim=-1).unflatten(0, (config["batch"], -1))
    taught = ensemble(inputs["teacher_text_feature"])
    logits = frame_logits(frames, classes, scale)
    video, text = pair(frames, classes)
    terms = froster_loss(
        logits,
        inputs["labels"],
        video=(video, seen),
        text=(text, taught),
        distillation=config["distillation_ratio"],
    )
    terms["loss"].backward()

    outputs = {"logits": logits} | renamed(terms)
    compare(case, outputs, case.group("outputs"), "outputs")
    inter = {
        "student_frame_residual": video.flatten(0, 1),
        "student_text_residual": text,
        "teacher_frame_normalised": seen.flatten(0, 1),
        "teacher_text_classifier": taught,
    }
    compare(case, inter, case.group("inter"), "inter")
    mine = residual_gradients(pair) | {
        "inputs/student_frame_feature": raw_frames.grad,
        "inputs/student_text_feature": raw_text.grad,
        "model.logit_scale": scale.grad,
    }
    compare(case, mine, case.group("grads"), "grads")


def renamed(terms: Any) -> dict[str, Tensor]:
    """Our terms under the recorded names."""
    return {name if name == "loss" else f"loss_{name}": value for name, value in terms.items()}


def build(case: Case) -> FROSTER:
    config = case.config
    plan, recipe = config["schedule"], config["optimizer"]
    assert plan["cosine_after_warmup"]
    assert recipe["weight_decay_on_1d_and_bias"] == 0
    assert config["teacher_temporal_type"] == "none"
    method = FROSTER(
        clip_of(config),
        class_names=class_names(config),
        optimizer=OpenVocabularyOptimizerSpec(
            lr=plan["base_lr"],
            new_lr=plan["base_lr"],
            weight_decay=recipe["weight_decay"],
            betas=tuple(recipe["betas"]),
            eps=recipe["eps"],
            schedule=schedule_of(plan),
        ),
        adapter=attention_of(config["student_temporal_type"]),
        distillation=config["distillation_ratio"],
        alpha=config["alpha"],
    )
    report = load_published(method, case.group("weights"))
    assert len(report.loaded) == len(case.group("weights"))
    return method.train()


def schedule_of(plan: dict[str, Any]) -> PlateauCosine:
    return PlateauCosine(
        warmup_epochs=plan["warmup_epochs"],
        start_share=plan["warmup_start_lr"] / plan["base_lr"],
        end_share=plan["cosine_end_lr"] / plan["base_lr"],
    )


def published(method: FROSTER, values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors under the published names."""
    theirs = {}
    for name in values:
        if name.startswith("backbone.towers."):
            key = name.removeprefix("backbone.towers.").removeprefix("text.")
            theirs[f"model.{key}"] = values[name]
    for rule in RESIDUAL_KEYS:
        theirs[rule.pattern.replace("\\", "")] = values[f"residual.{rule.replacement}"]
    return theirs


@check("froster", "froster_train_step")
def train_step(case: Case) -> None:
    config, inputs, expected = case.config, case.group("inputs"), case.group("outputs")
    method, plan = build(case), config["schedule"]
    teacher = {k: v.clone() for k, v in method.original.state_dict().items()}
    groups = method.parameter_groups(method.optimizer)
    optimizer = torch.optim.AdamW(groups, betas=method.optimizer.betas, eps=method.optimizer.eps)
    steps = plan["iterations_in_epoch"]

    def rate(lr: float, step: int) -> float:
        at = plan["epoch"] * steps + step
        return method.optimizer.schedule.rate(
            lr, at, steps_per_epoch=steps, epochs=plan["max_epochs"]
        )

    schedule = StepSchedule(optimizer, rate)
    count = sum(name.startswith("frames_") for name in inputs)
    mine: dict[str, Tensor] = {}
    for step in range(count):
        video = inputs[f"frames_{step}"].transpose(1, 2)  # [B, T, C, H, W]
        tokens = inputs[f"tokens_{step}"]
        frames = F.normalize(method.encode(video).embedding, dim=-1)
        classes = method.read_classes(list(tokens))
        with torch.no_grad():
            seen = F.normalize(method.original(video).embedding, dim=-1)
            taught = ensemble(
                torch.stack([method.original.embed_text(prompt).embedding for prompt in tokens])
            )
        logits = method.compare(frames, classes, method.backbone.logit_scale)
        terms = method.objective(frames, classes, inputs[f"labels_{step}"], taught=(seen, taught))
        optimizer.zero_grad()
        terms["loss"].backward()
        if step == 0:
            grads = {k: p.grad.clone() for k, p in method.named_parameters() if p.requires_grad}
            compare(case, published(method, grads), case.group("grads"), "grads")
        norm = torch.nn.utils.clip_grad_norm_(
            method.parameters(), config["optimizer"]["clip_grad_norm"]
        )
        outputs = {"logits": logits, "grad_norm": norm} | renamed(terms)
        outputs["lr"] = torch.tensor(optimizer.param_groups[0]["lr"])
        mine |= {f"{name}_{step}": value.detach() for name, value in outputs.items()}
        optimizer.step()
        schedule.step()

    updated = case.group("outputs/updated")
    compare(case, mine, {k: v for k, v in expected.items() if "/" not in k}, "outputs")
    after = published(method, dict(method.named_parameters()))
    compare(case, {k: after[k].detach() for k in updated}, updated, "updated")
    assert all(torch.equal(v, teacher[k]) for k, v in method.original.state_dict().items())


@check("froster", "openvclip_interpolated_step")
def interpolated_step(case: Case) -> None:
    config, inputs = case.config, case.group("inputs")
    method = OpenVCLIP(
        clip_of(config),
        class_names=class_names(config),
        adapter=attention_of(config["temporal_type"]),
        interpolated=config["interpolation_loss_ratio"],
        mix_range=tuple(config["mix_ratio_range"]),
    ).train()
    for towers, name in ((method.original, "clip"), (method.backbone, "current")):
        own = {k: v for k, v in towers.towers.state_dict().items() if k.startswith("text.")}
        towers.load_weights(own | case.group(f"weights/{name}"))
    mixing = float(inputs["mix_ratio"])
    assert config["mix_ratio_range"][0] <= mixing <= config["mix_ratio_range"][1]
    video = inputs["frames"].transpose(1, 2)  # [B, T, C, H, W]
    current, between = method.both_logits(video, inputs["text_classifier"], mixing)
    terms = method.objective(current, between, inputs["labels"])
    terms["loss"].backward()
    outputs = {
        "logits_current": current,
        "logits_interpolated": between,
        "loss_current": terms["ce"],
        "loss_interpolated": terms["ce_interpolated"],
    }
    compare(case, outputs, case.group("outputs"), "outputs")
    recorded = convert_keys(convert_keys(case.group("grads"), STUDENT_KEYS), CLIP_KEYS)
    grads = {k: p.grad for k, p in method.named_parameters() if p.grad is not None}
    mine = {k.removeprefix("backbone.towers."): v for k, v in grads.items()}
    compare(case, mine, recorded, "grads")


@check("froster", "lr_schedule")
def lr_schedule(case: Case) -> None:
    for plan in case.meta["schedules"]:
        schedule, lr = schedule_of(plan), plan["base_lr"]
        epochs, recorded = zip(*plan["values"], strict=True)
        mine = [schedule.at(epoch, lr=lr, end_epoch=plan["max_epochs"]) for epoch in epochs]
        both = (torch.tensor(values, dtype=torch.float64) for values in (mine, recorded))
        case.assert_close(*both, f"rates of {plan['max_epochs']} epochs")
