"""Open-vocabulary recognition measured on every test set, beside zero-shot CLIP."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from video_adapt.batches import ClipLogits
from video_adapt.metrics import AccuracyBySet, AccuracyResult, harmonic_mean, has_top5, spread_of
from video_adapt.vocabulary import Vocabulary

from .evaluation import Clip
from .evaluation_hooks import EvaluationCallback
from .open_vocabulary_files import (
    SetScores,
    write_class_accuracy,
    write_metrics,
    write_predictions,
    write_results,
)

logger = logging.getLogger(__name__)

METHOD, ZERO_SHOT = "method", "zero_shot"


class OpenVocabularyResult(NamedTuple):
    """An evaluation.

    Attributes:
        sets: What came out on every set, by its name.
        groups: Names of the sets that are splits of one data set, by its name.
        settings: What the figures depend on beside the weights, for the result table.
    """

    sets: Mapping[str, SetScores]
    groups: Mapping[str, list[str]]
    settings: Mapping[str, str]

    def figures(self, *, zero_shot: bool = False) -> dict[str, float]:
        """Top-1 by set; ``HM`` of ``base`` and ``novel``; ``<group>`` and ``<group>_std``.

        Args:
            zero_shot: Of zero-shot CLIP instead of the method; empty where it was not measured.
        """
        top1 = {}
        for name, scores in self.sets.items():
            measured = scores.zero_shot if zero_shot else scores.method
            if measured is not None:
                top1[name] = measured.top1
        found = dict(top1)
        if {"base", "novel"} <= set(top1):
            found["HM"] = harmonic_mean(top1["base"], top1["novel"])
        for group, names in self.groups.items():
            if set(names) <= set(top1):
                spread = spread_of([top1[name] for name in names])
                found |= {group: spread.mean, f"{group}_std": spread.std}
        return found


class OpenVocabularyEvaluation(EvaluationCallback[OpenVocabularyResult]):
    """Measure the logits that ``validation_step`` and ``test_step`` return, summed over views.

    Validation logs ``val/top1``, ``top5``, ``mean_class`` (fractions) and ``videos``, as does a
    test of data without named sets. Testing logs the same of every set as ``test/<set>/...``, the
    harmonic mean ``test/HM`` where there are sets called ``base`` and ``novel``, and of every group
    of splits ``test/<group>/top1`` and ``std``; of zero-shot CLIP ``zero_shot_top1``, ``HM`` and
    ``std``. Top-5 is left out of fewer than five classes.

    The last evaluation is written to the run's folder, below ``val/`` where the run trains:
    ``results.md``, a table with zero-shot CLIP beside every result and what the figures depend on;
    ``metrics.json``; ``class_accuracy.csv``; ``predictions_<set>.csv`` with one line per video.

    The data module tells ``test_vocabularies`` and ``test_manifest(name)``; the method, for
    testing, ``zero_shot_logits(video, vocabulary)``.

    Args:
        zero_shot: Whether zero-shot CLIP is measured in testing, on the same clips.

    Attributes:
        results: The last evaluation of each stage.
    """

    headline = "top1"
    predictions = ClipLogits

    def __init__(self, zero_shot: bool = True) -> None:
        super().__init__()
        self.zero_shot = zero_shot

    def on_validation_batch_end(
        self,
        trainer: Any,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect the logits of a batch."""
        self._collect("val", "val", METHOD, ClipLogits(*outputs))

    def on_test_batch_end(
        self,
        trainer: Any,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect the logits of a batch, and what zero-shot CLIP says of the same clips."""
        vocabulary = _vocabularies("test", trainer, pl_module)[dataloader_idx]
        clips = ClipLogits(*outputs)
        self._collect("test", vocabulary.name, METHOD, clips)
        if self._compares(pl_module):
            logits = pl_module.zero_shot_logits(batch.video, vocabulary)
            self._collect("test", vocabulary.name, ZERO_SHOT, clips._replace(logits=logits.float()))

    def _collect(self, stage: str, name: str, reading: str, clips: ClipLogits) -> None:
        self._metrics[stage].update(name, reading, clips)

    def _compares(self, pl_module: Any) -> bool:
        return self.zero_shot and hasattr(pl_module, "zero_shot_logits")

    def _metric(self, stage: str, trainer: Any, pl_module: Any) -> AccuracyBySet:
        compares = stage == "test" and self._compares(pl_module)
        sizes = {v.name: len(v) for v in _vocabularies(stage, trainer, pl_module)}
        return AccuracyBySet(sizes, (METHOD, ZERO_SHOT) if compares else (METHOD,))

    def _result(
        self,
        stage: str,
        measured: Mapping[str, Mapping[str, AccuracyResult]],
        trainer: Any,
        pl_module: Any,
    ) -> OpenVocabularyResult:
        sets = {
            vocabulary.name: SetScores(
                vocabulary,
                measured[vocabulary.name][METHOD],
                measured[vocabulary.name].get(ZERO_SHOT),
            )
            for vocabulary in _vocabularies(stage, trainer, pl_module)
        }
        groups = getattr(trainer.datamodule, "test_groups", {}) if stage == "test" else {}
        return OpenVocabularyResult(sets, groups, _settings(trainer, pl_module))

    def _figures(self, result: OpenVocabularyResult) -> dict[str, float]:
        figures: dict[str, float] = {}
        for name, scores in result.sets.items():
            accuracies = _accuracies(scores.method)
            figures |= {_key(name, figure): value for figure, value in accuracies.items()}
        for prefix, zero_shot in (("", False), ("zero_shot_", True)):
            for name, value in result.figures(zero_shot=zero_shot).items():
                figures |= _logged(name, prefix, value, result.groups)
        return figures

    def _report(self, stage: str, result: OpenVocabularyResult) -> None:
        zero_shot = result.figures(zero_shot=True)
        for name, value in result.figures().items():
            if not name.endswith("_std"):
                beside = f", zero-shot {100 * zero_shot[name]:.2f} %" if name in zero_shot else ""
                logger.info("%s: %s top-1 %.2f %%%s", stage, name, 100 * value, beside)
        for name, scores in result.sets.items():
            if scores.method.num_unlabeled:
                text = "%s: %d videos of %s have no label, left out"
                logger.warning(text, stage, scores.method.num_unlabeled, name)
            if undecided := int((scores.method.videos.prediction < 0).sum()):
                text = "%s: %d videos of %s have a score that is not a number"
                logger.warning(text, stage, undecided, name)

    def _write_files(self, folder: Path, stage: str, trainer: Any, pl_module: Any) -> None:
        result = self.results[stage]
        for name, scores in result.sets.items():
            clips = _clips(trainer, name)
            write_predictions(folder / f"predictions_{name}.csv", scores, clips)
        write_class_accuracy(folder / "class_accuracy.csv", result.sets)
        figures, zero_shot = result.figures(), result.figures(zero_shot=True)
        write_results(folder / "results.md", result, figures, zero_shot)
        write_metrics(folder / "metrics.json", result, figures, zero_shot)


def _accuracies(result: AccuracyResult) -> dict[str, float]:
    figures = {"top1": result.top1}
    if has_top5(result.videos.scores.shape[1]):
        figures["top5"] = result.top5
    return figures | {"mean_class": result.mean_class, "videos": float(result.num_videos)}


def _logged(name: str, prefix: str, value: float, groups: Mapping[str, Any]) -> dict[str, float]:
    """A figure under the name by which it is logged: that of a set, of a group, or ``HM``."""
    if name == "HM":
        return {f"{prefix}HM": value}
    if name.endswith("_std") and name.removesuffix("_std") in groups:
        key = f"{name.removesuffix('_std')}/{prefix}std"
        return {} if math.isnan(value) else {key: value}
    return {_key(name, f"{prefix}top1"): value}


def _key(name: str, figure: str) -> str:
    """A figure of a set below the stage; a set that is all of its stage has no name of its own."""
    return figure if name in ("val", "test") else f"{name}/{figure}"


def _vocabularies(stage: str, trainer: Any, pl_module: Any) -> list[Vocabulary]:
    """Classes of every set of a stage, in the order of its loaders."""
    data = trainer.datamodule
    if stage == "test" and hasattr(data, "test_vocabularies"):
        return list(data.test_vocabularies)
    return [Vocabulary(stage, tuple(pl_module.class_names))]


def _settings(trainer: Any, pl_module: Any) -> dict[str, str]:
    """What a figure depends on beside the weights: labels, averaging, interpolation, data."""
    data, averaged = trainer.datamodule, None
    if (provenance := getattr(pl_module, "provenance", None)) is not None:
        epochs = provenance.get("averaged_epochs")
        averaged = "none" if epochs is None else " to ".join(map(str, epochs))
    stated = {
        "method": getattr(pl_module, "label", None),
        "labels": getattr(data, "label_variant", None),
        "training list": getattr(data, "train_list", None),
        "frames": _frames(data),
        "epochs averaged": averaged,
        "share of the original weights": getattr(pl_module, "patch_ratio", None),
    }
    return {k: "not stated" if value is None else str(value) for k, value in stated.items()}


def _frames(data: Any) -> str | None:
    """How the frames of a clip are chosen, and in how many views."""
    sampler = getattr(data, "sampler", None)
    return None if sampler is None else f"{type(sampler).__name__}, {data.eval_views} views"


def _clips(trainer: Any, name: str) -> list[Clip] | None:
    """Where the videos of a set lie, from the data module's manifest."""
    data = trainer.datamodule
    if name in getattr(data, "test_sets", {}):
        entries = data.test_manifest(name).entries
    elif hasattr(data, "manifest"):
        entries = data.manifest(name).entries
    else:
        return None
    return [Clip(entry.path, entry.start_s, entry.end_s) for entry in entries]
