"""VideoMAE, TIA inside and beside it, and the fixed positions, against the official code."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.parity.cases import Case, check
from video_adapt.adapters import TIA, TIA_KEYS, TIABlockAdapter, inject, tia_keys
from video_adapt.backbones import VIDEOMAE_KEYS, VideoMAE, VideoMAEConfig
from video_adapt.backbones.videomae_config import SIZES
from video_adapt.backbones.videomae_tower import fit_table, sinusoid_table
from video_adapt.checkpoints import convert_keys, load_strictly
from video_adapt.detection.pyramid import fit_positions, position_table
from video_adapt.tasks import FrozenBackboneMixin, Tuning


def architecture(config: dict[str, Any]) -> VideoMAEConfig:
    width = config.get("embed_dims", config.get("embed_dim"))
    return VideoMAEConfig(
        name="recorded",
        width=width,
        depth=config["depth"],
        heads=config["num_heads"],
        hidden=int(width * config["mlp_ratio"]),
        patch_size=config["patch_size"],
        tubelet=config.get("tubelet_size", SIZES["base"].tubelet),
        chunk_frames=config.get("num_frames", config.get("all_frames")),
        table_size=config["img_size"],
    )


class Method(FrozenBackboneMixin):
    """The least that freezes a backbone."""

    def __init__(self, backbone: VideoMAE, tuning: Tuning) -> None:
        super().__init__()
        self.backbone = backbone
        self.freeze_backbone(tuning)


def build(case: Case, tuning: Tuning, **settings: Any) -> Method:
    """The recorded model, its weights loaded strictly under the names of AdaTAD's checkpoints."""
    config = case.config
    backbone = VideoMAE.from_config(architecture(config), **settings)
    blocks = sorted(config.get("adapter_index", []))
    if blocks:
        inject(backbone, TIA(ratio=config["adapter_mlp_ratio"], blocks=blocks))
    published = case.group("weights")
    state = convert_keys(published, [*tia_keys(blocks), *VIDEOMAE_KEYS])
    adapters = {k: v for k, v in state.items() if k.startswith("adapters.")}
    backbone.load_weights({k: v for k, v in state.items() if k not in adapters})
    load_strictly(backbone, adapters, allow_new=[r"(?!adapters\.).*"])
    return Method(backbone, tuning).eval()


def normalised(case: Case) -> Tensor:
    """The recorded frames as ``[B, T, C, H, W]``, normalised on their own scale."""
    frames = case.group("inputs")["frames"][:, 0].transpose(1, 2)
    mean, std = (torch.tensor(case.config[key]).view(3, 1, 1) for key in ("mean", "std"))
    return (frames - mean) / std


def compare(case: Case, tuning: Tuning, **settings: Any) -> None:
    """Feature map, features, loss and gradients of one way to tune, however it is run."""
    method = build(case, tuning, **settings)
    config, inputs, outputs = case.config, case.group("inputs"), case.group("outputs")
    video = normalised(case)

    tokens = method.encode(video).tokens.detach()  # [B, S, h*w, D]
    expected = case.group("inter")["backbone_feature_map"]
    steps = config["num_frames"] // config["tubelet_size"]
    maps = tokens.reshape(-1, steps, *expected.shape[3:], config["embed_dims"])
    case.assert_close(maps.permute(0, 4, 1, 2, 3), expected, "backbone_feature_map")

    sequence = method.encode_sequence(video).transpose(1, 2)  # [B, D, S]
    features = F.interpolate(sequence, size=config["window_size"], mode="linear")
    case.assert_close(features, outputs["features"], "features")
    loss = (features * inputs["probe"]).sum()
    case.assert_close(loss.reshape(1), outputs["loss"], "loss")
    loss.backward()
    assert_gradients(case, method.backbone)


def assert_gradients(case: Case, backbone: VideoMAE) -> None:
    """What trains has the recorded gradient, and nothing else has one."""
    rules = [*tia_keys(sorted(case.config.get("adapter_index", []))), *VIDEOMAE_KEYS]
    recorded = convert_keys(case.group("grads"), rules)
    mine = {name: p.grad for name, p in backbone.named_parameters() if p.grad is not None}
    assert recorded.keys() == mine.keys(), recorded.keys() ^ mine.keys()
    assert mine.keys() == {n for n, p in backbone.named_parameters() if p.requires_grad}
    for name, gradient in mine.items():
        case.assert_close(gradient, recorded[name], f"gradient of {name}")


def compare_in_all_ways(case: Case, tuning: Tuning) -> None:
    """As it comes; recomputed; and with a group of chunks that holds one chunk only."""
    compare(case, tuning, recompute="never")
    compare(case, tuning, recompute="always")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("video_adapt.backbones.videomae_groups._TOKENS_AT_ONCE", {"cpu": 1})
        compare(case, tuning, recompute="auto")


@check("adatad", "backbone_tia_adapter")
def check_tia_adapter(case: Case) -> None:
    compare_in_all_ways(case, "adapter")


@check("adatad", "backbone_ladder")
def check_ladder(case: Case) -> None:
    compare_in_all_ways(case, "side")


@check("adatad", "backbone_full_finetune")
def check_full_finetune(case: Case) -> None:
    compare_in_all_ways(case, "full")


@check("adatad", "tia_adapter_module")
def check_tia_module(case: Case) -> None:
    config, inputs = case.config, case.group("inputs")
    adapter = TIABlockAdapter(config["embed_dims"], config["hidden"], config["kernel_size"])
    load_strictly(adapter, convert_keys(case.group("weights"), TIA_KEYS))
    steps = config["temporal_tokens"]
    grid = (config["h"], config["w"])
    for form in ("inside", "ladder"):
        adapter.zero_grad()
        x = inputs["x"].clone().requires_grad_()
        tokens = x.reshape(config["videos"] * steps, -1, config["embed_dims"])
        if form == "inside":
            y = adapter.after_mlp(tokens, num_frames=steps, grid=grid)
        else:
            y = adapter.edit(tokens, num_frames=steps)
        y = y.view_as(x)
        case.assert_close(y, case.group("outputs")[form], form)
        (y * inputs["probe"]).sum().backward()
        grads = case.group(f"grads/{form}")
        case.assert_close(x.grad, grads.pop("x"), f"{form}: gradient of x")
        recorded = convert_keys(grads, TIA_KEYS)
        mine = {name: p.grad for name, p in adapter.named_parameters()}
        assert recorded.keys() == mine.keys()
        for name, gradient in mine.items():
            case.assert_close(gradient, recorded[name], f"{form}: gradient of {name}")


@check("adatad", "videomae_official_checkpoint")
def check_official_checkpoint(case: Case) -> None:
    config, weights = case.config, case.group("weights")
    backbone = VideoMAE.from_config(architecture(config)).eval()
    report = backbone.load_weights(weights)
    assert set(report.unused) == {"head.weight", "head.bias"}
    assert not report.new
    head = nn.Linear(backbone.width, config["num_classes"])
    load_strictly(head, {k.removeprefix("head."): weights[k] for k in report.unused})

    video = case.group("inputs")["video"].transpose(1, 2)
    with torch.no_grad():
        tokens = backbone(video).tokens  # [B, S, h*w, D]
        pooled = backbone.final_norm(tokens.flatten(1, 2).mean(1))
        logits = head(pooled)
    outputs = case.group("outputs")
    rows = config["img_size"] // config["patch_size"]
    maps = tokens.unflatten(2, (rows, -1)).permute(0, 4, 1, 2, 3)
    case.assert_close(tokens.flatten(1, 2), outputs["tokens"], "tokens")
    case.assert_close(maps, outputs["feature_map"], "feature_map")
    case.assert_close(pooled, outputs["pooled_features"], "pooled_features")
    case.assert_close(logits, outputs["logits"], "logits")


@check("adatad", "position_tables")
def check_position_tables(case: Case) -> None:
    outputs, config = case.group("outputs"), case.config
    tables = {}
    for name, wanted in config["tables"].items():
        count = wanted["temporal_tokens"] * wanted["grid"] ** 2
        tables[name] = sinusoid_table(count, wanted["embed_dims"])
        case.assert_close(tables[name][None], outputs[f"table/{name}"], name)
    for name, wanted in config["interpolations"].items():
        side = config["tables"][wanted["table"]]["grid"]
        fitted = fit_table(tables[wanted["table"]], side, (wanted["h"], wanted["w"]))
        case.assert_close(fitted[None], outputs[f"interp/{name}"], name)
    for name, wanted in config["actionformer_abs_pe"].items():
        table = position_table(wanted["max_seq_len"], wanted["channels"])
        fitted = fit_positions(table, wanted["length"])
        case.assert_close(fitted.T[None], outputs[f"abs_pe/{name}"], name)
