"""G-TAD: alignment, balanced losses and the whole detector against OpenTAD's code."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tests.parity.cases import Case, check
from video_adapt.checkpoints import KeyRule, convert_keys, load_strictly
from video_adapt.detection import GTAD
from video_adapt.detection.alignment import align_1d
from video_adapt.detection.balanced_losses import balanced_bce, balanced_l2
from video_adapt.detection.gtad import GTADHead, GTADOutputs
from video_adapt.detection.gtad_published import PUBLISHED_NAMES
from video_adapt.detection.gtad_targets import boundary_targets, overlap_targets

RULES = [KeyRule(*names) for names in PUBLISHED_NAMES]


def assert_equal(case: Case, actual: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """The same names on both sides, and close values."""
    assert actual.keys() == expected.keys(), actual.keys() ^ expected.keys()
    for name, value in actual.items():
        case.assert_close(value, expected[name], name)


def recorded_draws(*draws: Tensor) -> Any:
    """A source of random numbers that returns the recorded ones."""
    queue = iter(draws)

    def draw(like: Tensor) -> Tensor:
        drawn = next(queue)
        assert drawn.shape == like.shape
        return drawn

    return draw


@check("adatad", "gtad_align1d")
def gtad_align1d(case: Case) -> None:
    inputs, outputs, grads = case.group("inputs"), {}, {}
    for name, config in case.config.items():
        features = inputs["features"].clone().requires_grad_()
        outputs[name] = align_1d(
            features, inputs["rois"], bins=config["bins"], samples=config["sampling_ratio"]
        )
        (outputs[name] * inputs[f"probe_{name}"]).sum().backward()
        grads[name] = features.grad
    assert_equal(case, outputs, case.group("outputs"))
    assert_equal(case, grads, case.group("grads"))


@check("adatad", "gtad_balanced_losses")
def gtad_balanced_losses(case: Case) -> None:
    config = dict(case.config)
    l2 = config.pop("l2")
    outputs, grads = {}, {}
    for regime, settings in config.items():
        inputs = case.group(f"inputs/{regime}")
        target = inputs["gt"]

        def bce(predicted: Tensor, target: Tensor = target, settings: Any = settings) -> Tensor:
            return balanced_bce(predicted.logit(), target > settings["bce_pos_thresh"])

        def mse(predicted: Tensor, target: Tensor = target, inputs: Any = inputs) -> Tensor:
            return balanced_l2(
                predicted,
                target,
                low=l2["low_thresh"],
                high=l2["high_thresh"],
                weight=l2["weight"],
                draw=recorded_draws(inputs["rand_0"], inputs["rand_1"]),
            )

        for name, loss in (("bce", bce), ("l2", mse)):
            predicted = inputs["pred"].clone().requires_grad_()
            value = loss(predicted)
            value.backward()
            outputs[f"{regime}/{name}"] = value[None]
            grads[f"{regime}/{name}"] = predicted.grad
    assert_equal(case, outputs, case.group("outputs"))
    assert_equal(case, grads, case.group("grads"))


def settings_of(config: Mapping[str, Any]) -> GTAD:
    return GTAD(
        positions=config["tscale"],
        max_duration=config["dscale"],
        hidden=config["hidden"],
        groups=config["groups"],
        neighbours=config["k"],
        roi_size=config["roi_size"],
        context_size=config["context_size"],
        extension=config["prop_extend_ratio"],
        map_width=config["roi_out"],
        confidence_width=config["pem_feat"],
        convs=config["pem_convs"],
        kernel=config["pem_kernel"],
        class_threshold=config["pem_pos_thresh"],
        regression_weight=config["reg_weight"],
        half_cast=config["half_cast"],
    )


def decoded(head: GTADHead, outputs: GTADOutputs) -> dict[str, Tensor]:
    """Proposals and scores of either kind, by the fixture's names."""
    found = {}
    settings = head.settings
    for score in ("iou", "iouse"):
        head.settings = replace(settings, score=score)
        for i, candidates in enumerate(head.candidates(outputs)):
            found[f"decoded_segments_{i}"] = candidates.segments
            found[f"decoded_scores_{score}_{i}"] = candidates.scores[:, 0]
    head.settings = settings
    return found


@check("adatad", "gtad")
def gtad(case: Case) -> None:
    inputs = case.group("inputs")
    settings = settings_of(case.config)
    head = settings.build(case.config["in_channels"], num_classes=1)
    load_strictly(head, convert_keys(case.group("weights"), RULES))
    head.draw = recorded_draws(inputs["rand_0"], inputs["rand_1"])
    seen: dict[str, Tensor] = {}
    head.proposals.register_forward_hook(lambda *call: seen.update(map=call[-1]))
    head.proposals.graph.register_forward_hook(lambda *call: seen.update(roi_gcn=call[-1]))
    head.graph.register_forward_hook(lambda *call: seen.update(neck=call[-1]))
    head.graph.register_forward_pre_hook(lambda _, call: seen.update(projection=call[0]))

    mask = inputs["masks"].bool()
    features = inputs["feats"].transpose(1, 2).clone().requires_grad_()
    outputs = head(features, mask)
    segments = [inputs[f"gt_segments_{i}"] for i in range(len(mask))]
    losses = head.losses(outputs, segments, [torch.zeros(len(s)).long() for s in segments])
    cost = torch.stack([*losses.values()]).sum()
    cost.backward()

    seen["neck"] = seen["neck"] * mask.unsqueeze(1)
    features_of_map = seen.pop("map")
    assert_equal(case, seen, case.group("inter"))
    cells, valid = head.cells, head.valid
    mine = {
        "tem_logits": outputs.boundary_logits,
        "pem_logits": outputs.map_logits,
        "proposal_map_features": features_of_map,
        "proposal_map": cells,
        "valid_mask": valid.long(),
        "tem_targets": boundary_targets(segments, settings.positions).long(),
        "iou_targets": overlap_targets(segments, cells[valid]),
        "loss_tem": losses["boundary"][None],
        "loss_cls": losses["classification"][None],
        "loss_reg": losses["regression"][None],
        "cost": cost[None],
        **decoded(head, outputs),
    }
    assert_equal(case, mine, case.group("outputs"))

    recorded = case.group("grads")
    case.assert_close(
        features.grad.transpose(1, 2), recorded.pop("inputs.feats"), "gradient of features"
    )
    grads = {name: p.grad for name, p in head.named_parameters()}
    expected = convert_keys(recorded, RULES)
    # Gradients of large tensors are not recorded.
    assert all(name in expected for name, p in head.named_parameters() if p.numel() < 1500)
    assert_equal(case, {name: grads[name] for name in expected}, expected)
