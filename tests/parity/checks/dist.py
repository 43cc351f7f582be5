"""DiST as a whole: branch, model, optimiser groups and schedule against the authors' code."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tests.parity.cases import Case, check
from tests.parity.checks.clip import SMALL_VISION, build, text_config, vision_config
from tests.parity.checks.dist_units import assert_grads, channels_last, clip_first, ours
from video_adapt.checkpoints import load_strictly
from video_adapt.methods.dual_encoder import BranchSpec, DiST, DiSTNetwork
from video_adapt.methods.dual_encoder.convert import load_published, read_arguments, split
from video_adapt.methods.dual_encoder.published import RULES
from video_adapt.tasks import OptimizerSpec, soft_target_cross_entropy, warmup_cosine

BRANCH = "backbone.base_encoder.dist_net."


def branch_spec(config: Mapping[str, Any]) -> BranchSpec:
    return BranchSpec(
        integration_dim=config["integration_dim"],
        temporal_dim=config["temporal_dim"],
        heads=config["integration_heads"],
        pooling_layers=config["ada_pooling_layers"],
        stem_kernel=config["stem_kernel_t"],
        temporal_kernel=config["temporal_kernel"],
        temporal_ratio=config["temporal_mlp_ratio"],
        integration_ratio=config["integration_mlp_ratio"],
        integration_temporal_ratio=config["integration_temporal_mlp_ratio"],
    )


def unused_names(case: Case, published: str = "") -> set[str]:
    """Our names of the parameters that the fixture lists as without gradient."""
    return {own_name(key.removeprefix(published)) for key in case.meta["params_without_grad"]}


def own_name(published: str) -> str:
    """Our name of a weight of the branch."""
    for rule in RULES:
        if match := re.fullmatch(rule.pattern, published):
            return match.expand(rule.replacement)
    raise LookupError(published)


def count(names: Iterable[str], module_list: str) -> int:
    """Number of modules in a list, from the names of their parameters."""
    start = f"{module_list}."
    return len({name.removeprefix(start).split(".")[0] for name in names if name.startswith(start)})


def doubles(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def keep(seen: dict[str, Tensor], name: str, module: nn.Module) -> None:
    """Note what a module returns."""
    module.register_forward_hook(lambda *call: seen.update({name: call[-1]}))


@check("dual_encoder", "dist_network")
def dist_network(case: Case) -> None:
    config, inputs = case.config, case.group("inputs")
    layers = sorted(config["selected_layers"])
    frames = config["num_frames_temporal"] // config["frame_ratio"]
    network = DiSTNetwork(
        branch_spec(config),
        width=config["width"],
        embed_dim=config["embed_dim"],
        patch_size=config["stem_patch"],
        num_layers=len(layers),
        num_frames=config["num_frames_temporal"],
        frame_ratio=config["frame_ratio"],
    )
    idle = rf"integration_to_temporal\.{len(layers) - 1}\..*"
    report = load_strictly(network, ours(case.group("weights")), allow_unused=[idle])
    assert set(report.unused) == unused_names(case)

    inter, seen = case.group("inter"), dict[str, Tensor]()
    recorded = {
        "temporal_after_net": network.temporal_blocks,
        "integration_out": network.integration_nets,
    }
    for prefix, modules in recorded.items():
        names = sorted(name for name in inter if name.startswith(prefix))
        for name, module in zip(names, modules, strict=True):
            keep(seen, name, module)
    features = [clip_first(inputs[f"layer_{i:02d}"], frames) for i in layers]
    embedding = network(inputs["video"].transpose(1, 2), features)

    assert seen.keys() == inter.keys()
    for name, value in seen.items():
        is_map = value.ndim == 5
        theirs = channels_last(inter[name]) if is_map else clip_first(inter[name], frames)
        case.assert_close(value, theirs, name)
    case.assert_close(embedding, case.group("outputs")["video_embedding"], "embedding")
    (embedding * inputs["probe"]).sum().backward()
    assert_grads(case, network, ours(case.group("grads")), idle)


@check("dual_encoder", "dist_end_to_end")
def dist_end_to_end(case: Case) -> None:
    config, inputs, outputs = case.config, case.group("inputs"), case.group("outputs")
    state = case.group("weights")
    backbone = build(config, vision_config(config), text_config(config))
    backbone.load_weights(split(state).towers)
    # The fixture's vocabulary is not the tokenizer's: its sentences are tokens already.
    backbone.encode_text = lambda _: backbone.encode_tokens(inputs["tokens"])
    # All sizes but the number of heads are read off the weights; strict loading proves them right.
    found = read_arguments(state)
    assert found["num_frames"] == config["num_frames_temporal"]
    assert found["frame_ratio"] == config["frame_ratio"]
    found["branch"] = BranchSpec(heads=config["integration_heads"], **found["branch"])
    method = DiST(
        backbone,
        class_names=[str(i) for i in range(config["num_classes"])],
        selected_layers=config["selected_layers"],
        **found,
    )
    report = load_published(method, state)
    assert set(report.unused) == unused_names(case, BRANCH)

    video = inputs["video"].transpose(1, 2)
    logits = method.train()(video)
    case.assert_close(logits, outputs["logits"], "logits")
    loss = soft_target_cross_entropy(logits, inputs["soft_targets"])
    case.assert_close(loss[None], outputs["loss"], "loss")
    loss.backward()
    idle = "|".join(map(re.escape, report.unused))
    assert_grads(case, method.network, split(case.group("grads")).branch, idle)
    assert all(p.grad is None for p in backbone.parameters())

    method.eval()
    with torch.no_grad():
        case.assert_close(method(video).softmax(-1), outputs["probs_eval"], "probabilities")
        features = method.encode(video[:, :: method.frame_ratio], blocks=method.layers)
        embedding = method.network(video, [features.blocks[i] for i in method.layers])
        method.fuse_zero_shot = True
        fused = method(video).softmax(-1)
    unit = nn.functional.normalize(embedding, dim=-1)
    case.assert_close(unit, outputs["video_embedding_normalised"], "embedding")
    case.assert_close(fused, outputs["probs_zero_shot_fused"], "fused probabilities")
    inter = case.group("inter")
    frame = features.embedding.flatten(0, 1)
    case.assert_close(frame, inter["frame_embedding"], "frame embedding")
    text = backbone.encode_tokens(inputs["tokens"])
    case.assert_close(text, inter["text_features"], "text features")


@check("dual_encoder", "param_groups")
def param_groups(case: Case) -> None:
    decayed = {
        "network." + own_name(key.removeprefix(BRANCH)): not group.startswith("no_decay")
        and not group.endswith("no_decay")
        for group, keys in case.meta["groups"].items()
        for key in keys
    }
    depth = count(decayed, "network.input_linears")
    last = rf"network\.integration_to_temporal\.{depth - 1}\..*"
    decayed = {name: decays for name, decays in decayed.items() if not re.fullmatch(last, name)}
    method = DiST(
        build({"embed_dim": 8}, {**SMALL_VISION, "layers": depth}, None),
        class_names=["a", "b"],
        branch=BranchSpec(
            integration_dim=8, temporal_dim=4, pooling_layers=count(decayed, "network.poolings")
        ),
    )
    config = case.config
    spec = OptimizerSpec(
        lr=3.2e-5,
        weight_decay=config["weight_decay"],
        new_module_multiplier=config["lr_multiplier"],
    )
    names = {id(p): name for name, p in method.named_parameters()}
    mine: dict[str, bool] = {}
    for group in method.parameter_groups(spec):
        assert group["lr"] == spec.lr * config["lr_multiplier"]
        assert group["weight_decay"] in (0.0, config["weight_decay"])
        mine |= {names[id(p)]: group["weight_decay"] > 0 for p in group["params"]}
    assert mine == decayed


@check("dual_encoder", "lr_schedule")
def lr_schedule(case: Case) -> None:
    config = case.config
    multiplier = config["new_module_multiplier"]
    for point in case.meta["points"]:
        rate = warmup_cosine(
            point["epoch"],
            lr=config["base_lr"],
            max_epochs=config["max_epochs"],
            warmup_epochs=config["warmup_epochs"],
            warmup_start_lr=config["warmup_start_lr"],
        )
        mine, theirs = [rate, rate * multiplier], [point["lr"], point["group_lr"]]
        case.assert_close(doubles(mine), doubles(theirs), f"rate at {point['epoch']}")
