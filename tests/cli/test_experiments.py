"""Every experiment file is complete, agrees with itself and builds what it names."""

import re
from dataclasses import fields
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser, Namespace

from data_modules import FeatureFiles
from video_adapt.cli import VideoAdaptCLI
from video_adapt.detection import GTAD
from video_adapt.retrieval.teachers import XCLIP
from video_adapt.tasks import (
    DetectionOptimizerSpec,
    DetectionTask,
    OpenVocabularyOptimizerSpec,
    OptimizerSpec,
    RetrievalOptimizerSpec,
    RetrievalTask,
    Task,
)
from video_adapt.video import FrameSampler, MomentSampler, WindowSampler

ROOT = Path(__file__).parents[2]
NO_EXPERIMENTS = {"_base", "comparisons", "sweeps"}
FILES = sorted(p for p in (ROOT / "experiments").rglob("*.yaml") if not NO_EXPERIMENTS & {*p.parts})
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


@pytest.fixture(scope="module")
def parse():
    """Parse an experiment file as ``fit --config`` does; every folder it asks for is set."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        for path in (ROOT / "experiments").rglob("*.yaml"):
            for name in re.findall(r"oc\.env:(\w+)}", path.read_text()):
                patch.setenv(name, "/videos")
        patch.setattr("sys.argv", ["video-adapt", "fit", "--config", str(FILES[0])])
        parser = Dry("fit")._subcommand_parsers["fit"]
        yield lambda path: parser.parse_args(["--config", str(path)])


@pytest.fixture(scope="module")
def build():
    """Build model, sampler and features of a parsed file; real towers without weights or memory."""
    parser = ArgumentParser()
    parser.add_subclass_arguments(Task, "model")
    parser.add_subclass_arguments((FrameSampler, MomentSampler, WindowSampler), "sampler")
    parser.add_argument("--features", type=FeatureFiles | None)

    def build(config, class_names=CLASSES):
        model, data = config.model.clone(), config.data.init_args
        if not retrieves(model):
            model.init_args.class_names = class_names
        backbone = model.init_args.get("backbone")
        shipped = backbone is not None and not forget_weights(backbone)
        for teacher in model.init_args.get("teachers") or []:
            teacher.init_args.weights = None
            forget_weights(teacher.init_args.backbone)
        # Parsed and checked already: a second time would take longer than the building.
        named = Namespace(model=model, sampler=data.sampler, features=data.get("features"))
        with torch.device("cpu" if shipped else "meta"), pytest.MonkeyPatch.context() as patch:
            # The map of proposals is computed, so it cannot be without content.
            patch.setattr(GTAD, "build", on_the_cpu(GTAD.build))
            return parser.instantiate(named)

    return build


def forget_weights(backbone):
    """Take the weights out of a parsed backbone; False where it ships with its own."""
    named = "weights" in backbone.get("init_args", {})
    if named:
        backbone.init_args.weights = None
    return named


def retrieves(model):
    """Whether a parsed model is a retriever, which tells nothing apart by class."""
    return model.class_path.rpartition(".")[2] in ("TeachCLIP", "TeacherRetriever")


def on_the_cpu(function):
    def wrapped(*args):
        with torch.device("cpu"):
            return function(*args)

    return wrapped


def referenced(value, folder):
    """The values of a file, with those of the files it names in place of the names."""
    if isinstance(value, str) and value.endswith(".yaml"):
        path = folder / value
        assert path.is_file(), f"{value} is not there"
        return referenced(yaml.safe_load(path.read_text()), path.parent)
    if isinstance(value, dict):
        return {key: referenced(item, folder) for key, item in value.items()}
    if isinstance(value, list):
        return [referenced(item, folder) for item in value]
    return value


@cache
def written(path):
    """An experiment file as it stands, not parsed."""
    return referenced(yaml.safe_load(path.read_text()), path.parent)


def test_there_are_experiments():
    assert len(FILES) >= 100


@every_file
def test_the_optimiser_is_stated_in_full(path):
    """A value left out would be inherited in silence where a class is changed."""
    stated = written(path)["model"]["init_args"].get("optimizer")
    if stated is None:
        assert path.stem.endswith("zero_shot"), "trains without a stated optimiser"
    else:
        recipe = DetectionOptimizerSpec if "schedule" in stated else OptimizerSpec
        if "tower_lr" in stated:
            recipe = RetrievalOptimizerSpec
        elif "new_lr" in stated:
            recipe = OpenVocabularyOptimizerSpec
        assert set(stated) == {field.name for field in fields(recipe)}


def test_no_two_experiments_share_a_folder():
    folders = [written(path)["run_dir"] for path in FILES]
    assert sorted(set(folders)) == sorted(folders)


@every_file
def test_the_model_it_names_can_be_built(path, parse, build):
    config = parse(path)
    built = build(config)
    assert type(built.model).__name__ == written(path)["model"]["class_path"]
    if isinstance(built.model, DetectionTask):
        check_detection(built, config)
    elif isinstance(built.model, RetrievalTask):
        check_retrieval(built, config)
    else:
        check_recognition(built, config)


def check_recognition(built, config):
    """The sampler gives the frames that the model takes, large enough."""
    asked, data = config.model.init_args, config.data.init_args
    assert built.sampler.num_frames == asked.get("num_frames", built.sampler.num_frames)
    views = data.eval_views
    indices = built.sampler(300, 30.0, view=views - 1, views=views)
    assert len(indices) == built.sampler.num_frames
    native = data.loader.short_side is None
    assert native or data.loader.short_side >= built.model.backbone.pixels.image_size
    trains = built.model.parameter_count().trained > 0
    assert trains == (type(built.model).__name__ not in ("ZeroShot", "ZeroShotCLIP"))


def check_detection(built, config):
    """A window fills the chunks of the backbone and the grid of the head, large enough."""
    model, data = built.model, config.data.init_args
    if built.features is not None:
        assert built.features.width == model.width
    else:
        assert built.sampler.num_frames % data.frames_per_chunk == 0
        chunk = getattr(model.backbone, "config", None)
        assert chunk is None or chunk.chunk_frames == data.frames_per_chunk
        assert data.loader.short_side is None or (
            data.loader.short_side >= model.backbone.pixels.image_size
        )
    check_grid(model.detector, built.sampler.positions)
    check_training(model, config)


def check_retrieval(built, config):
    """The student has a place for every frame, the loader leaves the pixels that it takes."""
    model, data = built.model, config.data.init_args
    places = model.backbone.text.context_length
    assert built.sampler.num_frames + 1 <= places
    assert data.max_words <= places
    assert data.loader.short_side is None or (
        data.loader.short_side >= model.backbone.pixels.image_size
    )
    taught = getattr(model, "teachers", ())
    for head in [model.head] if hasattr(model, "head") else [teacher.head for teacher in taught]:
        if isinstance(head, XCLIP):
            assert head.video_words.shape[0] == data.max_words
            assert head.frames_sentence.shape[0] == built.sampler.num_frames
    check_training(model, config)


def check_grid(detector, positions):
    """No window is longer than the head is made for, and no proposal than the window."""
    if isinstance(detector, GTAD):
        assert detector.positions == positions
        return
    pyramid, ranges = detector.pyramid, detector.assignment.ranges
    assert positions <= pyramid.max_length < 2 * positions
    assert detector.towers.width == pyramid.width
    assert len(ranges) == pyramid.levels
    # Every length has a level that learns it.
    assert ranges[0][0] == 0
    assert all(lower[1] >= upper[0] for lower, upper in pairwise(ranges))
    assert ranges[-1][1] >= positions


def check_training(model, config):
    """The trainer stops within the schedule, and a step sees as much as the recipe says."""
    end = getattr(model.optimizer.schedule, "max_epochs", config.trainer.max_epochs)
    assert config.trainer.max_epochs <= end
    batch = config.data.init_args.loader.batch_size
    for callback in config.trainer.callbacks or []:
        if callback.class_path.endswith("EffectiveBatch"):
            assert callback.init_args.published % batch == 0
    assert any(parameter.requires_grad for parameter in model.parameters())


def millions(module):
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


@pytest.mark.parametrize(
    ("name", "classes", "size"),
    [
        ("adatad/thumos14_vitb", 20, 27.3),
        ("adatad/activitynet_vitb", 200, 7.1),
        ("adatad/charades_vits", 157, 33.2),
        ("adatad/ego4d_mq_vitl", 110, 40.5),
        ("baselines/thumos14_i3d_tridet", 20, 16.0),
        ("baselines/activitynet_tsn_gtad", 200, 5.6),
    ],
)
def test_detectors_are_as_large_as_the_published_ones(name, classes, size, parse, build):
    config = parse(ROOT / "experiments" / f"{name}.yaml")
    model = build(config, [f"class {number}" for number in range(classes)]).model
    assert round(millions(model.head), 1) == size


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("thumos14_vits", 1.01),
        ("thumos14_vitb", 4.00),
        ("thumos14_vitl", 14.22),
        ("thumos14_vith", 29.59),
        ("thumos14_vitg", 44.75),
        ("thumos14_vitg_1536", 22.4),
        ("thumos14_vitg_1536_side", 10.6),
    ],
)
def test_adapters_are_as_large_as_the_published_ones(name, size, parse, build):
    config = parse(ROOT / "experiments/adatad" / f"{name}.yaml")
    assert millions(build(config).model.backbone.adapters) == pytest.approx(size, abs=0.05)
