"""CLIP's towers, the expanded attention and the other students, against the official code."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.parity.cases import Case, check
from tests.parity.checks.clip import build, vision_config
from video_adapt.adapters import (
    AIM,
    Adapter,
    ChannelShift,
    CrossFrameMessage,
    ExpandedAttention,
    FFNAdapter,
    STAdapter,
    inject,
    student_keys,
)
from video_adapt.backbones import CLIP, Features
from video_adapt.checkpoints import convert_keys, load_strictly

INSIDE = "backbone.adapters."


def build_tower(case: Case, adapter: Adapter | None) -> CLIP:
    """The fixture's image tower with its weights and what stands inside."""
    backbone = build(case.config, vision_config(case.config), None)
    if adapter is not None:
        inject(backbone, adapter, reads_patches=True)
    weights = convert_keys(case.group("weights"), student_keys(prefix="backbone."))
    inside = {name: weights.pop(name) for name in [*weights] if name.startswith(INSIDE)}
    load_strictly(backbone.visual, weights)
    load_strictly(backbone.adapters, {n.removeprefix(INSIDE): x for n, x in inside.items()})
    return backbone


def run_tower(case: Case, backbone: CLIP, dtype: torch.dtype) -> tuple[Features, Tensor]:
    """Forward and backward in a given precision: features and the probed sum."""
    backbone.zero_grad()
    inputs = case.group("inputs")
    video = inputs["frames"].transpose(1, 2).to(dtype)  # [B, T, C, H, W]
    features = backbone.to(dtype)(video)
    probed = (features.embedding.flatten(0, 1) * inputs["probe"].to(dtype)).sum()
    probed.backward()
    return features, probed


def compare_gradients(case: Case, single: dict[str, Tensor], double: dict[str, Tensor]) -> None:
    """Every recorded gradient against ours, and none left over on either side.

    The recordings were made in float32 and the largest gradients are sums of hundreds of terms:
    of plain CLIP already, whose arithmetic is the official one, some lie further from the result
    in float64 than the tolerance. What our own float32 loses is therefore added to it; a mistake
    would move both of our results alike.
    """
    tolerance = case.meta["tolerance"]
    recorded = convert_keys(case.group("grads"), student_keys(prefix="backbone."))
    assert recorded.keys() == single.keys(), recorded.keys() ^ single.keys()
    for name, expected in recorded.items():
        rounding = (single[name] - double[name]).abs().max().item()
        torch.testing.assert_close(
            single[name],
            expected,
            atol=tolerance["atol"] + rounding,
            rtol=tolerance["rtol"],
            msg=lambda text, name=name: f"{case.name}: gradient of {name}: {text}",
        )


def gradients(tower: nn.Module, adapters: nn.Module | None = None) -> dict[str, Tensor]:
    """Gradients of a tower under its own names, and of what stands inside."""
    named = dict(tower.named_parameters())
    if adapters is not None:
        named |= {f"{INSIDE}{name}": p for name, p in adapters.named_parameters()}
    return {name: p.grad.clone() for name, p in named.items() if p.grad is not None}


def compare_tower(case: Case, adapter: Adapter | None) -> None:
    """Outputs, tokens and the gradient of every parameter of the tower and what stands inside."""
    backbone = build_tower(case, adapter)
    features, probed = run_tower(case, backbone, torch.float32)
    outputs = {
        "frame_embed": features.embedding.flatten(0, 1),
        "probe_scalar": probed,
        "video_embed": F.normalize(features.embedding, dim=-1).mean(dim=1),
    }
    recorded = case.group("outputs")
    assert recorded.keys() == outputs.keys()
    for name, expected in recorded.items():
        case.assert_close(outputs[name], expected, name)
    assert case.group("inter").keys() == {"tokens"}
    case.assert_close(features.tokens.flatten(0, 1), case.group("inter")["tokens"], "tokens")

    single = gradients(backbone.visual, backbone.adapters)
    run_tower(case, backbone, torch.float64)
    compare_gradients(case, single, gradients(backbone.visual, backbone.adapters))


@check("froster", "clip_image_tower")
def clip_image_tower(case: Case) -> None:
    compare_tower(case, None)


@check("froster", "vclip_tower")
def vclip_tower(case: Case) -> None:
    kind = case.config["temporal_type"].removeprefix("expand_temporal_view")
    compare_tower(case, ExpandedAttention(reach=int(kind.removeprefix("_step") or 1)))


@check("froster", "student_stadapter")
def student_stadapter(case: Case) -> None:
    width = case.config["width"] // 2
    adapter = STAdapter(width=width, before_attention=True, before_mlp=False, zero="up")
    compare_tower(case, adapter)


@check("froster", "student_aim")
def student_aim(case: Case) -> None:
    compare_tower(case, AIM())


@check("froster", "student_ffn_adapter")
def student_ffn_adapter(case: Case) -> None:
    compare_tower(case, FFNAdapter())


@check("froster", "student_cross_frame")
def student_cross_frame(case: Case) -> None:
    compare_tower(case, CrossFrameMessage())


@check("froster", "student_channel_shift")
def student_channel_shift(case: Case) -> None:
    compare_tower(case, ChannelShift(as_published=True))


@check("froster", "clip_text_tower")
def clip_text_tower(case: Case) -> None:
    config, inputs = case.config, case.group("inputs")
    sizes = ("vocab_size", "context_length", "width", "heads", "layers")
    backbone = build(config, None, {size: config[size] for size in sizes})
    load_strictly(backbone.text, case.group("weights"))

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        backbone.zero_grad()
        embedding = backbone.to(dtype).embed_text(inputs["tokens"]).embedding
        probed = (embedding * inputs["probe"].to(dtype)).sum()
        probed.backward()
        normalised = F.normalize(embedding, dim=-1)
        return {
            "text_embed": embedding,
            "text_embed_normalised": normalised,
            "probe_scalar": probed,
        }

    outputs, single = run(torch.float32), gradients(backbone.text)
    recorded = case.group("outputs")
    assert recorded.keys() == outputs.keys()
    for name, expected in recorded.items():
        case.assert_close(outputs[name], expected, name)
    run(torch.float64)
    compare_gradients(case, single, gradients(backbone.text))
