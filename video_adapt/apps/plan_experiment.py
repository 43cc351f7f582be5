"""An experiment file as a plan reads it: its regimes, its model without weights, no data needed."""

import os
import re
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from jsonargparse import ArgumentParser, Namespace
from omegaconf.errors import InterpolationResolutionError

from data_modules.base import VideoDataModule
from video_adapt.adapters import ChannelShift, ExpandedAttention, TokenShift
from video_adapt.errors import ConfigurationError, VideoAdaptError
from video_adapt.tasks import Task

from .experiment_file import read_experiment

_UNSET = re.compile(r"Environment variable '(\w+)' not found")
_NOWHERE = "unset"
_TUNINGS = ("frozen", "adapter", "side", "last_n", "full")
_LAST_N = 2
# Methods of these jobs have no adapter that is taken where none is named.
_NAMES_AN_ADAPTER = ("recognition", "retrieval")
_WEIGHTLESS = (ChannelShift, ExpandedAttention, TokenShift)


class Regime(NamedTuple):
    """One way to train the method of an experiment file.

    Attributes:
        name: What trains in the backbone, such as ``adapter``.
        words: What to add to the command line for it.
        cached: Whether it learns from stored features.
    """

    name: str
    words: tuple[str, ...]
    cached: bool = False


class Samples(NamedTuple):
    """How long the training of a file is.

    Attributes:
        number: Training samples of an epoch; None where the lists cannot be read.
        epochs: ``trainer.max_epochs``; None where it has none.
        problem: Why the lists cannot be read; empty if they can.
    """

    number: int | None
    epochs: int | None
    problem: str = ""


class Experiment:
    """What a plan wants to know of an experiment file.

    Args:
        path: The file.
        words: What else stands on the command line, such as ``--trainer.precision=bf16-mixed``.
        classes: Number of classes where the class file cannot be read.

    Attributes:
        class_names: Names of the classes.
        classes_problem: Why they stand in for the true ones; empty if they do not.
    """

    def __init__(self, path: str | Path, words: Sequence[str] = (), *, classes: int = 100) -> None:
        self.path, self.words = path, tuple(words)
        self.config = _read(path, self.words)
        if self.config.model.init_args.get("optimizer") is None:
            raise ConfigurationError(
                f"{path}: the method does not train, so there is no step to plan; name a file with "
                "model.init_args.optimizer"
            )
        self.class_names, self.classes_problem = self._classes(classes)

    @property
    def precision(self) -> str:
        """``trainer.precision``."""
        return str(self.config.trainer.precision or "32-true")

    @property
    def batch_size(self) -> int:
        """Samples of a step on one device."""
        return int(self.config.data.init_args.loader.batch_size)

    @property
    def devices(self) -> int:
        """Devices that the file names; one where it leaves that to the machine."""
        named = self.config.trainer.devices
        return named if isinstance(named, int) and named > 0 else 1

    def samples(self) -> Samples:
        """How much an epoch is; reads the training list where it is there."""
        epochs = self.config.trainer.max_epochs
        try:
            data = _instantiate(VideoDataModule, self.config.data)
            return Samples(data._trained_on(data._required("train"))[0], epochs)
        except (VideoAdaptError, OSError, ValueError) as error:
            return Samples(None, epochs, problem=_first_line(error))

    def data(self) -> Any:
        """The data module, for its sampler and settings; nothing is read."""
        settings = self.config.data.clone()
        if "exclude" in settings.init_args:
            settings.init_args.exclude = None  # the one list that a constructor opens
        return _instantiate(VideoDataModule, settings)

    def regimes(self) -> list[Regime]:
        """The way of the file first, then all others that its method may know."""
        init = self.config.model.init_args
        if "tuning" in init:
            return _tunings(init, self._job())
        if "regime" in init:
            return _named_regimes(init, _choices(_class_of(self.config.model), "regime"))
        return [Regime("as written", ())]

    def build(self, regime: Regime, *, content: bool) -> Task:
        """The method in one of its regimes, with random weights.

        Args:
            regime: Which one.
            content: Whether its weights are numbers; else they have a shape alone where that is
                possible, which costs neither time nor memory.

        Raises:
            ConfigurationError: If the method has no such regime.
        """
        model = _read(self.path, (*self.words, *regime.words)).model
        shipped = _forget_weights(model.init_args)
        if "class_names" in model.init_args:
            model.init_args.class_names = self.class_names
        if not content and not shipped:
            try:
                with torch.device("meta"):
                    return _instantiate(Task, model)
            except RuntimeError:
                pass  # a constant is computed while building; that wants numbers
        return _instantiate(Task, model)

    def _job(self) -> str:
        return str(_class_of(self.config.model).job)

    def _classes(self, number: int) -> tuple[list[str], str]:
        """Names of the classes, or stand-ins and why the true ones cannot be read."""
        try:
            data = _instantiate(VideoDataModule, self.config.data)
            return list(data.class_names), ""
        except (VideoAdaptError, OSError, ValueError) as error:
            return [f"class {i}" for i in range(number)], _first_line(error)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _read(path: str | Path, words: Sequence[str]) -> Namespace:
    """Read a file; a folder that only the environment could name is then nowhere."""
    with _restored_environment():
        while True:
            try:
                return read_experiment(path, *words)
            except InterpolationResolutionError as error:
                if (unset := _UNSET.search(str(error))) is None:
                    raise
                os.environ[unset[1]] = _NOWHERE


@contextmanager
def _restored_environment() -> Iterator[None]:
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]


def _instantiate(kind: type, settings: Namespace) -> Any:
    parser = ArgumentParser()
    parser.add_subclass_arguments(kind, "it", required=True)
    parsed: Any = Namespace
    try:
        return parser.instantiate(parsed(it=settings)).it
    except ValueError as error:
        # What a constructor refuses is what the user shall read.
        behind = error.__cause__ or error.__context__
        if isinstance(behind, VideoAdaptError | RuntimeError):
            raise behind from None
        raise


def _class_of(settings: Namespace) -> Any:
    module, _, name = settings.class_path.rpartition(".")
    return getattr(__import__(module, fromlist=[name]), name)


def _forget_weights(init: Namespace) -> bool:
    """Take named weights out of backbone and teachers; whether a backbone ships with its own."""
    owners = [init, *(teacher.init_args for teacher in init.get("teachers") or [])]
    shipped = False
    for owner in owners:
        if "weights" in owner:
            owner.weights = None
        backbone = owner.get("backbone")
        if backbone is not None and "weights" in backbone.get("init_args", {}):
            backbone.init_args.weights = None
        elif backbone is not None:
            shipped = True
    return shipped


def _choices(method: Any, argument: str) -> tuple[str, ...]:
    hint = typing.get_type_hints(method.__init__)[argument]
    assert typing.get_origin(hint) is Literal
    return typing.get_args(hint)


def _tunings(init: Namespace, job: str) -> list[Regime]:
    own = Regime(init.tuning, ())
    others = [Regime(name, _tuning_words(name, init, job)) for name in _TUNINGS]
    regimes = [own, *(regime for regime in others if regime.name != own.name)]
    # Of retrieval no frames are stored: what teachers say is, by their own setting.
    stored = "frozen" if job != "retrieval" else None
    return [both for regime in regimes for both in _with_cached(regime, regime.name == stored)]


def _tuning_words(name: str, init: Namespace, job: str) -> tuple[str, ...]:
    prefix = "--model.init_args."
    words = [f"{prefix}tuning={name}", f"{prefix}last_n={_LAST_N if name == 'last_n' else 0}"]
    if name == "side":
        words.append(f"{prefix}adapter=TIA")
    elif name != "adapter":
        # One without weights is a part of the model, whatever trains.
        words += [] if _is_weightless(init.adapter) else [f"{prefix}adapter=null"]
    elif job in _NAMES_AN_ADAPTER and (init.adapter is None or _is_weightless(init.adapter)):
        words.append(f"{prefix}adapter=STAdapter")
    if name in ("last_n", "full") and "readout" in init:
        words.append(f"{prefix}readout=embedding")  # the others do not read all that trains
    return tuple(words)


def _is_weightless(adapter: Namespace | None) -> bool:
    return adapter is not None and _class_of(adapter) in _WEIGHTLESS


def _named_regimes(init: Namespace, choices: Sequence[str]) -> list[Regime]:
    prefix = "--model.init_args."
    regimes = [Regime(init.regime, ())]
    for name in choices:
        words = [f"{prefix}regime={name}"]
        if name == "residual_only":
            words.append(f"{prefix}adapter=null")
        elif name == "adapter" and (init.adapter is None or _is_weightless(init.adapter)):
            words.append(f"{prefix}adapter=STAdapter")
        if name != "full" and init.get("text_micro_batch") is not None:
            words.append(f"{prefix}text_micro_batch=null")
        if name != init.regime:
            regimes.append(Regime(name, tuple(words)))
    frozen = "residual_only"
    return [both for regime in regimes for both in _with_cached(regime, regime.name == frozen)]


def _with_cached(regime: Regime, frozen: bool) -> list[Regime]:
    return [regime, regime._replace(cached=True)] if frozen else [regime]
