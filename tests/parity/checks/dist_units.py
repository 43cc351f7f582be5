"""The units of DiST, each alone, against the authors' code."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tests.parity.cases import Case, check
from video_adapt.checkpoints import convert_keys, load_strictly
from video_adapt.methods.dual_encoder.pooling import AttentivePooling
from video_adapt.methods.dual_encoder.published import RULES
from video_adapt.methods.dual_encoder.units import (
    IntegrationNet,
    IntegrationToTemporal,
    TemporalBlock,
    TemporalStem,
    TemporalToIntegration,
)


def ours(tensors: Mapping[str, Tensor], **prefixes: str) -> dict[str, Tensor]:
    """Weights or gradients by our names, after the fixture's own prefixes became published ones."""
    renamed = {}
    for key, tensor in tensors.items():
        first, _, rest = key.partition(".")
        renamed[f"{prefixes[first]}.{rest}" if first in prefixes else key] = tensor
    return convert_keys(renamed, RULES)


def assert_grads(
    case: Case, module: nn.Module, grads: Mapping[str, Tensor], idle: str = ""
) -> None:
    """Every gradient on either side, but for recorded ones whose name matches ``idle``."""
    mine = {name: p.grad for name, p in module.named_parameters() if p.requires_grad}
    recorded = {name: grad for name, grad in grads.items() if not re.fullmatch(idle, name)}
    assert mine.keys() == recorded.keys(), mine.keys() ^ recorded.keys()
    for name, grad in mine.items():
        assert grad is not None, f"{name} has no gradient"
        case.assert_close(grad, recorded[name], f"gradient of {name}")


def channels_last(maps: Tensor) -> Tensor:
    """``[B, C, T, H, W]`` as we keep it, ``[B, T, H, W, C]``."""
    return maps.permute(0, 2, 3, 4, 1)


def clip_first(tokens: Tensor, frames: int) -> Tensor:
    """``[N, B*T, C]`` as we keep it, ``[B, T, N, C]``."""
    return tokens.transpose(0, 1).unflatten(0, (-1, frames))


@check("dual_encoder", "temporal_encoder")
def temporal_encoder(case: Case) -> None:
    config = case.config
    inputs, outputs = case.group("inputs"), case.group("outputs")
    width, layers = config["temporal_dim"], range(config["num_layers"])
    encoder = nn.ModuleDict(
        {
            "temporal_stem": TemporalStem(
                width, patch_size=config["stem_patch"], kernel=config["stem_kernel_t"]
            ),
            "temporal_blocks": nn.ModuleList(
                TemporalBlock(
                    width, kernel=config["temporal_kernel"], ratio=config["temporal_mlp_ratio"]
                )
                for _ in layers
            ),
        }
    )
    load_strictly(encoder, ours(case.group("weights")))

    x = encoder["temporal_stem"](inputs["video"].transpose(1, 2))
    case.assert_close(x, channels_last(case.group("inter")["stem"]), "stem")
    for i, block in enumerate(encoder["temporal_blocks"]):
        x = block(x)
        case.assert_close(x, channels_last(outputs[f"layer_{i:02d}"]), f"block {i}")
    assert len(outputs) == len(layers)
    (x * channels_last(inputs["probe"])).sum().backward()
    assert_grads(case, encoder, ours(case.group("grads")))


@check("dual_encoder", "integration_units")
def integration_units(case: Case) -> None:
    config = case.config
    inputs, outputs = case.group("inputs"), case.group("outputs")
    dim, narrow, ratio = config["integration_dim"], config["temporal_dim"], config["frame_ratio"]
    frames = config["num_frames_temporal"] // ratio
    units = nn.ModuleDict(
        {
            "integration_nets": nn.ModuleList(
                [
                    IntegrationNet(
                        dim,
                        kernel=config["temporal_kernel"],
                        ratio=config["integration_mlp_ratio"],
                        temporal_ratio=config["integration_temporal_mlp_ratio"],
                    )
                ]
            ),
            "temporal_to_integration": nn.ModuleList(
                [TemporalToIntegration(narrow, dim, num_frames=frames, frame_ratio=ratio)]
            ),
            "integration_to_temporal": nn.ModuleList([IntegrationToTemporal(dim, narrow)]),
        }
    )
    names = {
        "integration_net": "integration_nets.0",
        "t2i": "temporal2integration_nets.0",
        "i2t": "integration2temporal_nets.0",
    }
    load_strictly(units, ours(case.group("weights"), **names))

    tokens = clip_first(inputs["integration_tokens"], frames)
    maps = channels_last(inputs["temporal_map"])
    told = units["integration_to_temporal"][0](tokens).unflatten(2, maps.shape[2:4])
    mine = {
        "integration_net": units["integration_nets"][0](tokens),
        "temporal_to_integration": units["temporal_to_integration"][0](maps),
        "integration_to_temporal": told.repeat_interleave(ratio, dim=1),
    }
    expected = {key: clip_first(outputs[key], frames) for key in list(mine)[:2]}
    expected["integration_to_temporal"] = channels_last(outputs["integration_to_temporal"])
    assert expected.keys() == outputs.keys()
    probe = clip_first(inputs["probe_tokens"], frames)
    probes = dict.fromkeys(list(mine)[:2], probe)
    probes["integration_to_temporal"] = channels_last(inputs["probe_map"])
    for key, value in mine.items():
        case.assert_close(value, expected[key], key)
    torch.stack([(value * probes[key]).sum() for key, value in mine.items()]).sum().backward()
    assert_grads(case, units, ours(case.group("grads"), **names))


@check("dual_encoder", "ada_pooling")
def ada_pooling(case: Case) -> None:
    config, inputs = case.config, case.group("inputs")
    frames = config["num_frames_temporal"] // config["frame_ratio"]
    layers = range(config["ada_pooling_layers"])
    poolings = nn.ModuleList(
        AttentivePooling(
            config["integration_dim"], heads=config["integration_heads"], num_frames=frames
        )
        for _ in layers
    )
    names = {str(i): f"adapooling_nets.{i}" for i in layers}
    module = nn.ModuleDict({"poolings": poolings})
    load_strictly(module, ours(case.group("weights"), **names))

    tokens = clip_first(inputs["tokens"], frames)
    clip, frame = inputs["video_query"][0], inputs["frame_query"][0].unflatten(0, (-1, frames))
    expected = case.group("inter") | case.group("outputs")
    for i, pooling in enumerate(poolings):
        clip, frame = pooling(clip, frame, tokens)
        for prefix in (f"layer_{i:02d}_", "") if i == layers[-1] else (f"layer_{i:02d}_",):
            case.assert_close(clip, expected.pop(f"{prefix}video_query")[0], f"clip query {i}")
            theirs = expected.pop(f"{prefix}frame_query")[0]
            case.assert_close(frame.flatten(0, 1), theirs, f"frame query {i}")
    assert not expected
    probe = inputs["probe_frame"][0].unflatten(0, (-1, frames))
    ((clip * inputs["probe_video"][0]).sum() + (frame * probe).sum()).backward()
    assert_grads(case, module, ours(case.group("grads"), **names))
