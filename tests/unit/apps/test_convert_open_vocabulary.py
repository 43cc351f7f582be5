import argparse
import json

import pytest
import torch
from safetensors.torch import save_file

from tests.contracts.helpers import video
from tests.contracts.test_open_vocabulary import tiny_clip
from tests.unit.methods.published_froster import (
    openai_names,
    published_froster,
    published_open_vclip,
    write_description,
)
from video_adapt.apps import convert
from video_adapt.errors import ConfigurationError, WeightsError
from video_adapt.tasks import load_method
from video_adapt.vocabulary import Vocabulary

# Lightning builds a method from its recorded arguments in a way that jsonargparse deprecates.
pytestmark = pytest.mark.filterwarnings(
    "ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"
)
ENTRIES = [{"name": "diving", "entry": "Diving: into water"}, {"name": "sitting"}]


@pytest.fixture
def folder(tmp_path):
    write_description(tmp_path / "clip.json")
    save_file(openai_names(tiny_clip()), tmp_path / "openai_clip.safetensors")
    classes = {"base": ENTRIES, "novel": ["running"]}
    (tmp_path / "classes.json").write_text(json.dumps(classes))
    return tmp_path


def run(folder, state, *words, method="froster"):
    torch.save({"model_state": state, "epoch": 21}, folder / "file.pyth")
    parser = argparse.ArgumentParser()
    convert.add_arguments(parser)
    given = [str(folder / "file.pyth"), "--method", method, "--out", str(folder / "out.ckpt")]
    given += ["--backbone", str(folder / "clip.json"), "--classes", str(folder / "classes.json")]
    return convert.run(parser.parse_args([*given, *words]))


def test_a_training_checkpoint_brings_its_original_and_loads_alone(folder):
    assert run(folder, published_froster()) == 0
    method = load_method(folder / "out.ckpt")
    assert method.vocabulary == Vocabulary("train", ("Diving", "sitting"), ("into water", ""))
    assert method.backbone.adapters
    assert torch.equal(method.original(video()).embedding, tiny_clip()(video()).embedding)
    proj = published_froster()["model.visual.proj"]
    assert torch.equal(method.backbone.visual.proj, proj)
    assert (folder / "out.quickgelu_towers.safetensors").exists()
    saved = torch.load(folder / "out.ckpt", weights_only=True)
    assert not [key for key in saved["state_dict"] if key.startswith("original")]


def test_an_averaged_file_wants_the_original(folder):
    averaged = published_froster(training=False)
    with pytest.raises(ConfigurationError, match="give its --weights"):
        run(folder, averaged)
    run(folder, averaged, "--weights", str(folder / "openai_clip.safetensors"))
    method = load_method(folder / "out.ckpt")
    assert torch.equal(method.original(video()).embedding, tiny_clip()(video()).embedding)


def test_open_vclip_is_told_plain_names_and_evaluated_in_between(folder):
    weights = str(folder / "openai_clip.safetensors")
    run(folder, published_open_vclip(), "--weights", weights, method="open_vclip")
    method = load_method(folder / "out.ckpt")
    assert method.vocabulary == Vocabulary("train", ("diving", "sitting"))
    assert method.patch_ratio == 0.5
    saved = torch.load(folder / "out.ckpt", weights_only=True)
    assert not [key for key in saved["state_dict"] if ".text." in key]


def test_the_checkpoint_says_how_videos_are_prepared(folder):
    run(folder, published_froster(), "--num-frames", "4")
    recipe = torch.load(folder / "out.ckpt", weights_only=True)["video_adapt"]["input"]
    sampler = recipe["sampler"]
    assert (sampler["class"], sampler["num_frames"]) == ("PublishedViewSampler", 4)
    assert (sampler["stride"], recipe["eval_views"]) == (16, 3)


def test_a_file_that_does_not_fit_leaves_nothing_behind(folder):
    state = published_froster()
    del state["model.visual.proj"]
    with pytest.raises(WeightsError, match=r"file\.pyth: weights do not fit"):
        run(folder, state)
    assert not list(folder.glob("out*"))
