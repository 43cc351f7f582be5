"""ActionFormer and TriDet against the authors' code: levels, losses, gradients, segments."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tests.parity.cases import Case, check
from tests.parity.checks.dist_units import assert_grads
from video_adapt.checkpoints import KeyRule, convert_keys, load_strictly
from video_adapt.detection import (
    SGP,
    ActionFormer,
    Assignment,
    PointLoss,
    Pyramid,
    Towers,
    TriDet,
)
from video_adapt.detection.assign import assign_points
from video_adapt.detection.published import ACTIONFORMER_RULES, TRIDET_RULES, Rule
from video_adapt.detection.tridet import expected_offsets

Config = Mapping[str, Any]


def pyramid(config: Config) -> Pyramid:
    embed, stem, branch = config["arch"]
    settings = Pyramid(
        width=config["out_channels"],
        embed_layers=embed,
        stem_layers=stem,
        levels=1 + branch,
        max_length=config["max_seq_len"],
        position_table=config["use_abs_pe"],
        drop_path=config["path_pdrop"],
    )
    assert settings.strides == list(config["strides"])
    return settings


def shared_settings(config: Config) -> dict[str, Any]:
    radius = 1.5 if config.get("center_sample", "radius") == "radius" else None
    weight = config["loss_weight"]
    return {
        "pyramid": pyramid(config),
        "towers": Towers(
            width=config["feat_channels"],
            layers=config["num_convs"],
            kernel=config.get("kernel_size", 3),
        ),
        "assignment": Assignment(
            ranges=tuple((low, high) for low, high in config["regression_range"]),
            centre_radius=radius,
            shortest_only=config.get("filter_similar_gt", True),
        ),
        "loss": PointLoss(
            normalizer=config["loss_normalizer"],
            label_smoothing=config["label_smoothing"],
            regression_weight=weight if weight > 0 else None,
        ),
    }


def attention_windows(config: Config) -> int | tuple[int | None, ...] | None:
    """Their windows of 1 and less mean the whole level."""
    window = config["n_mha_win_size"]
    if isinstance(window, int):
        return window if window > 1 else None
    return tuple(w if w > 1 else None for w in window)


def as_tuple(value: int | Sequence[int]) -> int | tuple[int, ...]:
    return value if isinstance(value, int) else tuple(value)


def actionformer_settings(config: Config) -> ActionFormer:
    return ActionFormer(
        **shared_settings(config), heads=config["n_head"], windows=attention_windows(config)
    )


def tridet_settings(config: Config) -> TriDet:
    return TriDet(
        **shared_settings(config),
        sgp=SGP(
            windows=as_tuple(config["sgp_win_size"]),
            expansion=config["k"],
            mlp_width=config["sgp_mlp_dim"],
            pool={"max": "max", "avg": "mean"}[config["downsample_type"]],
        ),
        boundary_kernel=config["boundary_kernel_size"],
        bins=config["num_bins"],
        iou_power=config["iou_weight_power"],
    )


def ours(tensors: Mapping[str, Tensor], rules: Sequence[Rule]) -> dict[str, Tensor]:
    return convert_keys(tensors, [KeyRule(*rule) for rule in rules])


def swap(x: Tensor) -> Tensor:
    """``[B, C, S]`` as we keep it, ``[B, S, C]``, and back."""
    return x.transpose(1, 2)


class Recording:
    """A head run once on a recorded input, with all that it said on the way."""

    def __init__(self, case: Case, settings: ActionFormer | TriDet, rules: Sequence[Rule]) -> None:
        config, inputs = case.config, case.group("inputs")
        self.case, self.rules, self.expected = case, rules, case.group("outputs")
        self.head = settings.build(config["in_channels"], config["num_classes"])
        load_strictly(self.head, ours(case.group("weights"), rules))
        self.head.train(config["mode"] == "train")
        self.necks: list[tuple[Tensor, Tensor]] = []  # input and output of the norm of each level
        for norm in self.head.pyramid.norms:
            norm.register_forward_hook(lambda _, given, out: self.necks.append((*given, out)))

        windows = range(config["B"])
        self.segments = [inputs[f"gt_segments_{i}"] for i in windows]
        self.labels = [inputs[f"gt_labels_{i}"] for i in windows]
        self.features = swap(inputs["feats"]).clone().requires_grad_()
        self.mask = inputs["masks"].bool()
        self.outputs = self.head(self.features, self.mask)

    def levels(self, joined: Tensor, skip: int = 0) -> list[Tensor]:
        """Cut ``[B, P, ...]`` into levels, which lie ``skip`` rows apart."""
        lengths = [mask.shape[1] for mask in self.masks]
        pieces, start = [], 0
        for length in lengths:
            pieces.append(joined[:, start : start + length])
            start += length + skip
        return pieces

    @property
    def masks(self) -> list[Tensor]:
        count = len(self.case.config["strides"])
        return [self.expected[f"mask_{i}"].bool() for i in range(count)]

    def check_pyramid(self) -> None:
        """Every level before and after the neck."""
        inter = self.case.group("inter")
        assert len(self.necks) == len(self.masks)
        for i, (before, after) in enumerate(self.necks):
            self.case.assert_close(swap(before), inter[f"proj_{i}"], f"proj {i}")
            self.case.assert_close(swap(after), inter[f"neck_{i}"], f"neck {i}")
        assert torch.equal(self.outputs.mask, torch.cat(self.masks, dim=1))

    def check_levels(self, **joined: Sequence[Tensor]) -> None:
        for name, levels in joined.items():
            for i, level in enumerate(levels):
                self.case.assert_close(swap(level), self.expected[f"{name}_{i}"], f"{name} {i}")

    def check_targets(self) -> None:
        points = self.outputs.points
        layout = torch.stack([points.position, points.low, points.high, points.stride], dim=1)
        self.case.assert_close(layout, self.expected["points"], "points")
        targets = assign_points(
            points,
            self.segments,
            self.labels,
            num_classes=self.case.config["num_classes"],
            rules=self.head.settings.assignment,
        )
        self.case.assert_close(targets.classes, self.expected["gt_cls"], "classes")
        offsets = targets.offsets * targets.classes.any(dim=-1, keepdim=True)
        self.case.assert_close(offsets, self.expected["gt_reg"], "offsets")

    def check_losses(self) -> None:
        terms = self.head.losses(self.outputs, self.segments, self.labels)
        cost = torch.stack(list(terms.values())).sum()
        self._check_scalar(terms["classification"], "cls_loss")
        self._check_scalar(terms["regression"], "reg_loss")
        self._check_scalar(cost, "cost")
        self._check_scalar(self.head.positives.value, "loss_normalizer_after")
        cost.backward()
        grads = self.case.group("grads")
        assert self.features.grad is not None
        theirs = grads.pop("inputs.feats")
        self.case.assert_close(swap(self.features.grad), theirs, "gradient of features")
        assert_grads(self.case, self.head, ours(grads, self.rules))

    def evaluated(self) -> nn.Module:
        self.head.eval()
        return self.head

    def _check_scalar(self, value: Tensor, name: str) -> None:
        self.case.assert_close(value.reshape(1), self.expected[name], name)


@check("adatad", "actionformer")
def actionformer(case: Case) -> None:
    run = Recording(case, actionformer_settings(case.config), ACTIONFORMER_RULES)
    run.check_pyramid()
    run.check_levels(cls=run.levels(run.outputs.logits), reg=run.levels(run.outputs.offsets))
    run.check_targets()
    run.check_losses()
    head = run.evaluated()
    for i, found in enumerate(head.candidates(head(run.features, run.mask))):
        case.assert_close(found.segments, run.expected[f"proposals_{i}"], f"segments {i}")
        case.assert_close(found.scores, run.expected[f"scores_{i}"], f"scores {i}")


@check("adatad", "tridet")
def tridet(case: Case) -> None:
    config = case.config
    run = Recording(case, tridet_settings(config), TRIDET_RULES)
    outputs, bins, expected = run.outputs, config["num_bins"], run.expected
    run.check_pyramid()
    run.check_levels(
        cls=run.levels(outputs.logits),
        reg=run.levels(outputs.bins.flatten(2)),
        start=run.levels(outputs.starts[:, bins:], skip=bins),
        end=run.levels(outputs.ends, skip=bins),
    )
    run.check_targets()
    offsets = all_offsets(outputs)
    case.assert_close(offsets, case.group("inter")["decoded_offsets_train_layout"], "offsets")
    run.check_losses()

    head = run.evaluated()
    outputs = head(run.features, run.mask)
    case.assert_close(all_offsets(outputs).transpose(1, 2), expected["test_offsets"], "offsets")
    points = torch.stack(list(outputs.points), dim=1)
    case.assert_close(points, expected["test_points"], "points")
    # Theirs keeps invalid points, with a score of zero; ours drops them.
    assert not expected["test_scores"][~outputs.mask].any()
    for i, (found, valid) in enumerate(zip(head.candidates(outputs), outputs.mask, strict=True)):
        theirs = expected["test_proposals"][i].transpose(0, 1)[valid]  # [N, K, 2]
        case.assert_close(found.segments, theirs, f"segments {i}")
        case.assert_close(found.scores, expected["test_scores"][i][valid], f"scores {i}")


def all_offsets(outputs: Any) -> Tensor:
    """Offsets of every class at every point, ``[B, P, K, 2]``."""
    b, p, k = outputs.logits.shape
    sample, point = torch.arange(b)[:, None, None], torch.arange(p)[:, None]
    grid = torch.broadcast_tensors(sample, point, torch.arange(k))
    return expected_offsets(outputs, *grid)
