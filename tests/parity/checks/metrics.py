"""Accuracy over views of DiST, and of its verb, noun and action heads."""

import itertools

import torch
from torch import Tensor

from tests.parity.cases import Case, check
from video_adapt.batches import ClipPredictions
from video_adapt.metrics import AccuracyResult, VideoAccuracy, action_probs


def accuracy(probs: Tensor, labels: Tensor, views: int, order: Tensor) -> AccuracyResult:
    """Row i of ``probs`` is view i % views of video i // views; rows arrive as ``order`` says."""
    metric = VideoAccuracy(probs.shape[1])
    for rows in order.split(5):
        video, view = rows // views, rows % views
        metric.update(ClipPredictions(video, view, probs[rows], labels[video]))
    return metric.compute()


def percents(result: AccuracyResult) -> Tensor:
    return torch.tensor([100 * result.top1, 100 * result.top5])


@check("dual_encoder", "multi_view_eval")
def multi_view_eval(case: Case) -> None:
    inputs, outputs = case.group("inputs"), case.group("outputs")
    probs = inputs["clip_logits"].softmax(-1)
    order = inputs["order"]
    views = len(order) // len(inputs["labels"])  # temporal times spatial ones
    twice = torch.cat([order, order[: 2 * views]])  # a padded sampler must change nothing
    for rows in (order, twice):
        result = accuracy(probs, inputs["labels"], views, rows)
        percent = torch.cat([outputs["top1_percent"], outputs["top5_percent"]])
        case.assert_close(percents(result), percent, "top-1, top-5")
        scores = torch.from_numpy(result.videos.scores).float()
        case.assert_close(scores, outputs["video_scores"], "video scores")


@check("dual_encoder", "epic_action_metrics")
def epic_action_metrics(case: Case) -> None:
    inputs, outputs = case.group("inputs"), case.group("outputs")
    views = case.config["num_views"]
    labels = {"verb": inputs["verb_labels"], "noun": inputs["noun_labels"]}
    labels["action"] = labels["verb"] * case.config["num_nouns"] + labels["noun"]
    probs = {head: inputs[f"{head}_logits"].softmax(-1) for head in ("verb", "noun")}
    probs["action"] = action_probs(probs["verb"], probs["noun"])
    rows = torch.arange(len(probs["verb"]))
    results = {head: accuracy(probs[head], labels[head], views, rows) for head in labels}
    scores = {k: torch.from_numpy(r.videos.scores).float() for k, r in results.items()}

    names = {"verb": "verb", "noun": "noun", "action": "action_per_view_product"}
    for head, name in names.items():
        expected = outputs[f"{name}_top1_top5_percent"]
        case.assert_close(percents(results[head]), expected, f"{head} accuracy")
    for head in ("verb", "noun"):
        case.assert_close(scores[head], outputs[f"{head}_scores"], f"{head} scores")
    expected = outputs["action_scores_per_view_product"]
    case.assert_close(scores["action"], expected, "action scores")

    # The repository's other figure: softmax once more over the sums, an accident it reports too.
    # With one view rounding decides there whether it happens, for each head on its own.
    expected = outputs["action_of_ensembled_top1_top5_percent"]
    heads = [
        [scores[head].softmax(-1), *([scores[head]] if views == 1 else [])]
        for head in ("verb", "noun")
    ]
    possible = [
        percents(accuracy(joint, labels["action"], 1, torch.arange(len(joint))))
        for joint in itertools.starmap(action_probs, itertools.product(*heads))
    ]
    nearest = min(possible, key=lambda found: (found - expected).abs().sum().item())
    case.assert_close(nearest, expected, "action accuracy of the summed heads")
