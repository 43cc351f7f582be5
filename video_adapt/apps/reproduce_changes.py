"""What decides a result and is not as it was when a run was made."""

import platform
from argparse import ArgumentError
from collections.abc import Iterator
from contextlib import chdir
from typing import Any, NamedTuple

from video_adapt.errors import ConfigurationError

from .reproduce_record import Recorded

_SPLITS = ("train", "val", "test")


class Fact(NamedTuple):
    """Something that decides a result.

    Attributes:
        what: Its name.
        then: What the run recorded.
        now: What is found.
    """

    what: str
    then: str
    now: str


def changes_since(recorded: Recorded) -> list[Fact]:
    """Versions, code, machine, weights and data that are not as they were.

    Raises:
        VideoAdaptError: If the data cannot be read.
    """
    facts = [
        *_versions(recorded),
        *_code(recorded),
        *_machine(recorded),
        *_weights(recorded),
        *_data(recorded),
    ]
    return [fact for fact in facts if fact.then != fact.now]


def _versions(recorded: Recorded) -> Iterator[Fact]:
    from video_adapt.callbacks.save_config import versions  # imports Lightning

    found = versions()
    for name, version in recorded.facts["versions"].items():
        yield Fact(name, version, found.get(name, "not installed"))


def _code(recorded: Recorded) -> Iterator[Fact]:
    """By its digest where there is one: a commit says nothing of changes beside it."""
    from video_adapt.callbacks.provenance import code_digest
    from video_adapt.callbacks.save_config import git_commit

    then, now = recorded.started.get("code"), code_digest()
    commits = [str(recorded.facts.get("git")), str(git_commit(recorded.start_folder))]
    if then is None:
        yield Fact("commit", *commits)
    elif then != now:
        yield Fact("code", f"{then[:12]}, commit {commits[0]}", f"{now[:12]}, commit {commits[1]}")


def _machine(recorded: Recorded) -> Iterator[Fact]:
    import torch

    machine, trainer = recorded.facts["machine"], recorded.facts["config"]["trainer"]
    on_gpu = trainer["accelerator"] in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    now = torch.cuda.get_device_name() if on_gpu else platform.machine()
    yield Fact("device", str(machine["device"]), now)
    if "vectors" in machine:
        found = torch.backends.cpu.get_cpu_capability()
        yield Fact("vectors of the CPU", machine["vectors"], found)


def _weights(recorded: Recorded) -> Iterator[Fact]:
    from video_adapt.callbacks.provenance import file_digest

    path, told = recorded.checkpoint, recorded.started.get("checkpoint")
    if path is not None and told is not None:
        yield Fact(f"weights {path}", str(told["sha256"]), str(file_digest(path)))


def _data(recorded: Recorded) -> Iterator[Fact]:
    """Digests of the lists; what a video of the same name shows is not looked at."""
    told = recorded.facts["data"]
    names = [key.removesuffix("_digest") for key in told if key.endswith("_digest")]
    if not names:
        return
    with chdir(recorded.start_folder):
        module = _data_module(recorded)
        for name in names:
            read = module.manifest if name in _SPLITS else module.test_manifest
            read(name)
        found = module.digest()
    for name in names:
        key = f"{name}_digest"
        yield Fact(f"data of {name}", told[key], str(found.get(key)))


def _data_module(recorded: Recorded) -> Any:
    """The data module of a run alone, without the model.

    Raises:
        ConfigurationError: If its settings are none of today's code.
    """
    from jsonargparse import ArgumentParser
    from lightning.pytorch import LightningDataModule

    parser = ArgumentParser(parser_mode="omegaconf+", exit_on_error=False)
    parser.add_subclass_arguments(LightningDataModule, "data")
    try:
        settings = parser.parse_object({"data": recorded.facts["config"]["data"]})
    except ArgumentError as error:
        cause = next((line.strip() for line in str(error).splitlines() if "ption" in line), "")
        raise ConfigurationError(
            f"{recorded.folder / 'config.yaml'}: the code has changed since and takes other "
            f"settings of the data ({cause}); take that of the run: commit "
            f"{recorded.facts.get('git')}"
        ) from error
    return parser.instantiate_classes(settings).data
