from dataclasses import replace

import pytest
import torch

from video_adapt.checkpoints import KeyRule, convert_keys
from video_adapt.detection.gtad import GTAD, GTADOutputs
from video_adapt.detection.gtad_published import PUBLISHED_NAMES
from video_adapt.detection.gtad_targets import boundary_targets, overlap_targets
from video_adapt.errors import ConfigurationError

SMALL = GTAD(
    positions=6,
    max_duration=3,
    hidden=8,
    groups=2,
    neighbours=2,
    roi_size=2,
    context_size=1,
    map_width=4,
    confidence_width=3,
    convs=2,
)
NOTHING = torch.zeros(0, 2)


def features(batch=2, positions=6, width=4):
    return torch.randn(batch, positions, width, generator=torch.Generator().manual_seed(0))


def test_boundary_positions_lie_wholly_within_reach():
    targets = boundary_targets([torch.tensor([[2.0, 3.6]]), NOTHING], 6)
    # Starts within [0.5, 3.5], ends within [2.1, 5.1].
    assert targets[0].int().tolist() == [[0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 0]]
    assert not targets[1].any()


def test_overlap_is_that_with_the_best_segment():
    cells = torch.tensor([[0.0, 2.0], [2.0, 4.0], [4.0, 6.0]])
    truth = torch.tensor([[0.0, 2.0], [1.0, 4.0]])
    targets = overlap_targets([truth, NOTHING], cells)
    torch.testing.assert_close(targets, torch.tensor([[1.0, 2 / 3, 0.0], [0.0, 0.0, 0.0]]))


def outputs_with(start, end, confidence):
    """Outputs of one window from probabilities; both confidences are the same everywhere."""
    boundaries = torch.tensor([[start, end]]).logit()
    return GTADOutputs(boundaries, torch.full((1, 2, 3, 6), confidence).logit())


START = [0.1, 0.9, 0.1, 0.1, 0.1, 0.1]
END = [0.1, 0.1, 0.9, 0.1, 0.1, 0.1]


def test_proposals_join_likely_boundaries_shortest_first():
    (found,) = SMALL.build(4, 1).candidates(outputs_with(START, END, 0.5))
    # Position 0 may always start and 5 always end; peaks and plateaus make up the rest.
    starts, ends = {0, 1, 3, 4, 5}, {0, 2, 4, 5}
    expected = [
        [t, t + d + 1] for d in range(3) for t in range(6 - d) if t in starts and t + d in ends
    ]
    assert found.segments.tolist() == expected
    torch.testing.assert_close(found.scores, torch.full((len(expected), 1), 0.25))


def test_scores_may_include_both_boundaries():
    head = replace(SMALL, score="iouse").build(4, 1)
    (found,) = head.candidates(outputs_with(START, END, 0.5))
    of = {
        tuple(s): p
        for s, p in zip(found.segments.tolist(), found.scores[:, 0].tolist(), strict=True)
    }
    assert of[1, 3] == pytest.approx(0.25 * 0.9 * 0.9)
    assert of[0, 3] == pytest.approx(0.25 * 0.1 * 0.9)
    assert of[3, 6] == pytest.approx(0.25 * 0.1 * 0.1)


def test_padding_changes_nothing_before_the_first_graph():
    head = SMALL.build(4, 1)
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    x = features()
    other = x.clone()
    other[1, 5] += 100  # beyond the reach of the projection, which mixes neighbours
    for mine, theirs in zip(head(x, mask), head(other, mask), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_losses_ignore_labels_and_know_windows_without_segments():
    head = SMALL.build(4, 1)
    x = features().requires_grad_()
    outputs = head(x, torch.ones(2, 6, dtype=torch.bool))
    losses = head.losses(outputs, [NOTHING, NOTHING], [torch.zeros(0).long()] * 2)
    assert losses.keys() == {"boundary", "classification", "regression"}
    p = outputs.map_logits.sigmoid()[:, 1][:, head.valid]
    torch.testing.assert_close(losses["regression"], p.square().mean())
    torch.stack([*losses.values()]).sum().backward()
    assert x.grad.isfinite().all()
    assert all(p.grad is not None for p in head.parameters())


def test_outputs_are_finite_under_autocast():
    head = SMALL.build(4, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = head(features(), torch.ones(2, 6, dtype=torch.bool))
        losses = head.losses(outputs, [torch.tensor([[1.0, 3.0]])] * 2, [torch.zeros(1).long()] * 2)
    assert all(loss.isfinite() and loss.dtype == torch.float32 for loss in losses.values())


def test_the_grid_is_computed_not_saved():
    assert (
        not {"cells", "proposals.sub_graphs.sums.weights"} & SMALL.build(4, 1).state_dict().keys()
    )


@pytest.mark.parametrize(
    ("change", "width", "message"),
    [
        ({}, 6, "the width of the features is 6; make it a multiple of 4"),
        ({"hidden": 9}, 4, "hidden is 9; make it a multiple of 4"),
        ({"max_duration": 7}, 4, "max_duration is 7; make it 1 to 6"),
        ({"neighbours": 0}, 4, "neighbours is 0; make it 1 to 6"),
        ({"kernel": 2}, 4, "kernel is 2; make it odd"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change, width, message):
    with pytest.raises(ConfigurationError, match=message):
        replace(SMALL, **change).build(width, 1)


def test_windows_of_another_length_are_refused():
    with pytest.raises(ConfigurationError, match="windows have 5 positions, the detector 6; set"):
        SMALL.build(4, 1)(features(positions=5), torch.ones(2, 5, dtype=torch.bool))


def test_published_names_cover_the_network():
    graph = [
        f"{branch}.{layer}.{kind}"
        for branch in ("tconvs", "sconvs")
        for layer in (0, 2, 4)
        for kind in ("weight", "bias")
    ]
    both = ("weight", "bias")
    names = [
        *[f"projection.convs.0.conv.{kind}" for kind in both],
        *[f"neck.{name}" for name in graph],
        *[f"rpn_head.tem.{i}.0.{name}" for i in range(2) for name in graph],
        *[f"rpn_head.tem.{i}.1.conv.{kind}" for i in range(2) for kind in both],
        *[f"roi_head.proposal_roi_extractor.gcnext.{name}" for name in graph],
        *[f"roi_head.proposal_roi_extractor.conv2d.0.{kind}" for kind in both],
        *[f"roi_head.proposal_head.head.{i}.0.{kind}" for i in range(2) for kind in both],
        *[f"roi_head.proposal_head.head.2.{kind}" for kind in both],
    ]
    rules = [KeyRule(*pair) for pair in PUBLISHED_NAMES]
    ours = convert_keys(dict.fromkeys(names, NOTHING), rules)
    assert ours.keys() == SMALL.build(4, 1).state_dict().keys()
