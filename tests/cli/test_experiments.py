"""Every experiment file is complete, agrees with itself and builds what it names."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser

from video_adapt.cli import VideoAdaptCLI
from video_adapt.tasks import OptimizerSpec, RecognitionTask
from video_adapt.video import FrameSampler

ROOT = Path(__file__).parents[2]
FILES = sorted(p for p in (ROOT / "experiments").rglob("*.yaml") if "_base" not in p.parts)
CLASSES = ["opening", "closing"]

every_file = pytest.mark.parametrize(
    "path", FILES, ids=[str(path.relative_to(ROOT / "experiments")) for path in FILES]
)


class Dry(VideoAdaptCLI):
    """The real command line, stopped behind its parser."""

    def instantiate_classes(self):
        pass

    def before_instantiate_classes(self):
        pass

    def _run_subcommand(self, subcommand):
        pass


@pytest.fixture(scope="session")
def parse():
    """Parse an experiment file as ``fit --config`` does; every folder it asks for is set."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        for path in (ROOT / "experiments").rglob("*.yaml"):
            for name in re.findall(r"oc\.env:(\w+)", path.read_text()):
                patch.setenv(name, "/videos")
        patch.setattr("sys.argv", ["video-adapt", "fit", "--config", str(FILES[0])])
        parser = Dry("fit").parser
        parsed = {}

        def parse(path):
            if path not in parsed:
                parsed[path] = parser.parse_args(["fit", "--config", str(path)]).fit
            return parsed[path]

        yield parse


@pytest.fixture(scope="session")
def build():
    """Build model and sampler of a parsed file; real towers without weights, without memory."""
    parser = ArgumentParser()
    parser.add_subclass_arguments(RecognitionTask, "model")
    parser.add_subclass_arguments(FrameSampler, "sampler")

    def build(config):
        model, sampler = config.model.clone(), config.data.init_args.sampler
        model.init_args.class_names = CLASSES
        shipped = "weights" not in model.init_args.backbone.get("init_args", {})
        if not shipped:
            model.init_args.backbone.init_args.weights = None
        objects = parser.parse_object({"model": model.as_dict(), "sampler": sampler.as_dict()})
        with torch.device("cpu" if shipped else "meta"):
            return parser.instantiate(objects)

    return build


def referenced(value, folder):
    """The values of a file, with those of the files it names in place of the names."""
    if isinstance(value, str) and value.endswith(".yaml"):
        path = folder / value
        assert path.is_file(), f"{value} is not there"
        return referenced(yaml.safe_load(path.read_text()), path.parent)
    if isinstance(value, dict):
        return {key: referenced(item, folder) for key, item in value.items()}
    return value


def written(path):
    return referenced(yaml.safe_load(path.read_text()), path.parent)


def test_there_are_experiments():
    assert len(FILES) >= 20


@every_file
def test_the_optimiser_is_stated_in_full(path):
    """A value left out would be inherited in silence where a class is changed."""
    stated = written(path)["model"]["init_args"].get("optimizer")
    if stated is None:
        assert path.stem.endswith("zero_shot"), "trains without a stated optimiser"
    else:
        assert set(stated) == {field.name for field in fields(OptimizerSpec)}


def test_no_two_experiments_share_a_folder():
    folders = [written(path)["run_dir"] for path in FILES]
    assert sorted(set(folders)) == sorted(folders)


@every_file
def test_the_model_it_names_can_be_built(path, parse, build):
    config = parse(path)
    built = build(config)
    asked = config.model.init_args
    assert type(built.model).__name__ == written(path)["model"]["class_path"]
    data = config.data.init_args
    assert built.sampler.num_frames == asked.get("num_frames", built.sampler.num_frames)
    views = data.eval_views
    indices = built.sampler(300, 30.0, view=views - 1, views=views)
    assert len(indices) == built.sampler.num_frames
    native = data.loader.short_side is None
    assert native or data.loader.short_side >= built.model.backbone.pixels.image_size
    trains = built.model.parameter_count().trained > 0
    assert trains == (type(built.model).__name__ != "ZeroShot")
