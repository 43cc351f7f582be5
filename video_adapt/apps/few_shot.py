"""A folder of examples per class: residual networks on a frozen CLIP, fitted to them in seconds."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from video_adapt.batches import StoredClips
from video_adapt.errors import ConfigurationError
from video_adapt.methods import FROSTER
from video_adapt.tasks import Prompts
from video_adapt.vocabulary import Vocabulary

from .convert import checkpoint_of
from .few_shot_examples import Examples, read_features
from .few_shot_report import FewShotReport, HeldOut
from .recogniser_model import RecogniserModel
from .typed_classes import words_for

_STEPS, _ROWS, _RATE, _DECAY = 100, 64, 1e-3, 0.01
"""A short fit: longer ones learn the examples by heart and what is held out no better."""


class Fitted(NamedTuple):
    """What came of fitting.

    Attributes:
        model: The recogniser, fitted to all examples.
        report: What was done and how well it went.
    """

    model: RecogniserModel
    report: FewShotReport


def fit_examples(
    start: RecogniserModel,
    examples: Examples,
    vocabulary: Vocabulary,
    *,
    templates: Sequence[str] | None = None,
    cache: str | Path,
) -> Fitted:
    """Fit the residual networks of a frozen CLIP, its features read once and kept.

    Where there are enough examples, every fifth is held out, what was fitted to the others is
    judged by it, and then all are fitted.

    Args:
        start: Zero-shot CLIP, or residual networks that were trained before.
        examples: Videos of each class.
        vocabulary: The classes in the order of their labels, perhaps described.
        templates: Sentences around the name; None = those of ``start``.
        cache: Folder of features.

    Raises:
        ConfigurationError: If the model is another one.
        VideoDecodeError: If an example cannot be read.
    """
    _require_residual(start.method)
    prompts = words_for(vocabulary, templates, start.method.prompts)
    began = time.perf_counter()
    clips = read_features(start, examples, cache)
    read_s = time.perf_counter() - began
    held_out = None
    if examples.held_out:
        held_out = _judge(_student(start, vocabulary, prompts), clips, examples)
    began = time.perf_counter()
    method = _train(_student(start, vocabulary, prompts), clips)
    fit_s = time.perf_counter() - began
    report = FewShotReport(
        len(examples.entries), len(vocabulary), len(examples.fitted), read_s, fit_s, held_out
    )
    method.provenance = {"few_shot": report.facts()}
    arguments = start.arguments | {
        "class_names": list(vocabulary.classes),
        "prompts": {"templates": list(prompts.templates), "described": prompts.described},
        "optimizer": None,
    }
    model = RecogniserModel(method, start.recipe, list(vocabulary.classes), arguments)
    return Fitted(model, report)


def save_fitted(model: RecogniserModel, path: Path) -> None:
    """Write a checkpoint that ``video-adapt recognise`` reads.

    Args:
        model: What was fitted.
        path: A file that does not exist, see :func:`require_new`.
    """
    checkpoint = checkpoint_of(model.method, model.arguments)
    checkpoint["video_adapt"]["input"] = {**model.recipe, "class_names": model.class_names}
    unfinished = path.with_name(f"{path.name}.part")
    torch.save(checkpoint, unfinished)
    unfinished.replace(path)


def require_new(path: Path) -> None:
    """Refuse a place for a checkpoint before anything is fitted.

    Raises:
        ConfigurationError: If the file exists, or its folder does not, or it is no ``.ckpt``.
    """
    if path.exists() or not path.parent.is_dir() or path.suffix != ".ckpt":
        raise ConfigurationError(
            f"--save {path}: give a new file that ends with .ckpt, in a folder that exists"
        )


def _require_residual(method: Any) -> None:
    if isinstance(method, FROSTER) and method.regime == "residual_only" and method.reads:
        return
    regime = f" with regime: {method.regime}" if isinstance(method, FROSTER) else ""
    raise ConfigurationError(
        "examples are fitted by residual networks on a frozen CLIP as it was published, not by "
        f"{type(method).__name__}{regime}; start from MODEL:WEIGHTS, an experiment on ZeroShot, or "
        "a checkpoint of FROSTER with regime: residual_only and no adapter"
    )


def _student(start: RecogniserModel, vocabulary: Vocabulary, prompts: Prompts) -> FROSTER:
    """The method of ``start`` for other classes, on the same backbone."""
    old = start.method
    student = FROSTER(
        old.backbone,
        class_names=list(vocabulary.classes),
        regime="residual_only",
        distillation=old.distillation,
        alpha=old.residual.video.alpha,
        patch_ratio=old.patch_ratio,
    )
    student.tell(vocabulary, prompts)
    assert student.residual is not None, "residual_only always has them"
    student.residual.load_state_dict(old.residual.state_dict())
    return student.eval().to(old.device)


def _judge(method: Any, clips: StoredClips, examples: Examples) -> HeldOut:
    """Fit a part of the examples and see what becomes of the rest."""
    held = set(examples.held_out)
    rows = [row for row, entry in enumerate(examples.entries) if entry in held]
    out = torch.isin(clips.video_id, torch.tensor(rows, device=clips.video_id.device))
    rest, part = _rows(clips, out), _rows(clips, ~out)
    views = len(rest.label) // len(held)
    truth = rest.label[::views]
    before = _probabilities(method, rest, views).argmax(dim=1) == truth
    probs = _probabilities(_train(method, part), rest, views)
    return HeldOut(probs.amax(dim=1), probs.argmax(dim=1) == truth, int(before.sum()))


def _train(method: Any, clips: StoredClips) -> Any:
    """A short run of AdamW with a falling rate over features in memory."""
    optimizer = torch.optim.AdamW(method.residual.parameters(), weight_decay=_DECAY)
    draws = torch.Generator().manual_seed(0)
    method.train()
    for step in range(_STEPS):
        for group in optimizer.param_groups:
            group["lr"] = _RATE * 0.5 * (1 + math.cos(math.pi * step / _STEPS))
        chosen = torch.randperm(len(clips.label), generator=draws)[:_ROWS]
        optimizer.zero_grad()
        method.losses(_rows(clips, chosen.to(clips.label.device)), step)["loss"].backward()
        optimizer.step()
    method.eval()
    return method


@torch.no_grad()
def _probabilities(method: Any, clips: StoredClips, views: int) -> Tensor:
    """Probabilities of videos ``[n, K]``, the mean of their views as in recognition."""
    probs: Tensor = method.predict_step(clips).probs
    return probs.unflatten(0, (-1, views)).mean(dim=1)


def _rows(clips: StoredClips, chosen: Tensor) -> StoredClips:
    """Some of the clips, by number or by a mask."""
    return StoredClips(
        video={name: x[chosen] for name, x in clips.video.items()},
        label=clips.label[chosen],
        target=None,
        video_id=clips.video_id[chosen],
        view=clips.view[chosen],
    )
