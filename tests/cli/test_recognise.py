"""``video-adapt recognise`` with typed classes, as a person types it."""

import json

import pytest
import torch

from tests.unit.apps.coloured_videos import COLOURS, write_video
from video_adapt import Recogniser
from video_adapt.__main__ import main
from video_adapt.adapters import ExpandedAttention
from video_adapt.apps.convert import checkpoint_of
from video_adapt.backbones import TinyCLIP
from video_adapt.baselines import OpenVCLIP, TunedClassifier
from video_adapt.methods import FROSTER
from video_adapt.tasks import Prompts

ZERO_SHOT = "experiments/demo/zero_shot.yaml"
SHAPES = ("red square", "green square", "blue square")
TINY = {"class_path": "video_adapt.backbones.TinyCLIP"}
EXPANDED = {"class_path": "video_adapt.adapters.ExpandedAttention"}
RECIPE = {
    "sampler": {"class": "SegmentSampler", "num_frames": 4},
    "transform": {"class": "EvalTransform", "size": None, "scale": None, "crops": 1},
    "short_side": None,
    "eval_views": 1,
    "class_names": ["walking", "running"],
}
FORMS = {
    "full": (FROSTER, {"adapter": EXPANDED}, {"adapter": ExpandedAttention()}),
    "residual_only": (FROSTER, {"regime": "residual_only"}, {"regime": "residual_only"}),
    "open_vclip": (OpenVCLIP, {"adapter": EXPANDED}, {"adapter": ExpandedAttention()}),
    "probe": (TunedClassifier, {}, {}),
}


def write_checkpoint(path, form):
    """What training leaves: classes and weights of its own."""
    kind, arguments, parts = FORMS[form]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        method = kind(TinyCLIP(), class_names=RECIPE["class_names"], **parts).eval()
    names = {"backbone": TINY, "class_names": RECIPE["class_names"]}
    checkpoint = checkpoint_of(method, names | arguments)
    checkpoint["video_adapt"]["input"] = RECIPE
    torch.save(checkpoint, path)
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A video of every colour, and a checkpoint of every form."""
    home = tmp_path_factory.mktemp("home")
    for colour in COLOURS:
        write_video(home / f"videos/{colour}.mp4", [colour])
    for form in FORMS:
        write_checkpoint(home / f"{form}.ckpt", form)
    return home


@pytest.fixture
def refused(capsys):
    """Run a command that must fail, and give the one line that it says."""

    def run(*words):
        capsys.readouterr()
        assert main(["recognise", *map(str, words)]) == 1
        out, err = capsys.readouterr()
        assert not out
        assert err.strip().count("\n") == 0  # a bar that is gone leaves an empty line
        assert err.strip().startswith("video-adapt: error: ")
        return err

    return run


def recognised(capsys, *words):
    """Labels of every video, best first."""
    capsys.readouterr()
    assert main(["recognise", *map(str, words), "--json", "-", "--device", "cpu"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    return [[entry["label"] for entry in result["labels"]] for result in results]


def test_zero_shot_needs_no_checkpoint_and_no_data(home, capsys):
    found = recognised(capsys, ZERO_SHOT, home / "videos", "--classes", *SHAPES)
    assert [labels[0] for labels in found] == ["blue square", "green square", "red square"]
    assert all(sorted(labels) == sorted(SHAPES) for labels in found)


@pytest.mark.parametrize("form", ["full", "residual_only", "open_vclip"])
def test_every_open_vocabulary_checkpoint_takes_typed_classes(home, capsys, form):
    video = home / "videos/red.mp4"
    (labels,) = recognised(capsys, home / f"{form}.ckpt", video, "--classes", *SHAPES)
    assert sorted(labels) == sorted(SHAPES)
    assert labels[0] == "red square"
    assert sorted(recognised(capsys, home / f"{form}.ckpt", video)[0]) == ["running", "walking"]


def test_python_says_the_same_as_the_command(home, capsys):
    video = home / "videos/red.mp4"
    labels = recognised(capsys, home / "full.ckpt", video, "--classes", *SHAPES)[0]
    recognise = Recogniser(home / "full.ckpt", classes=SHAPES, device="cpu")
    assert [name for name, _ in recognise(video).top()] == labels
    assert recognise.method.prompts == Prompts()


def test_classes_descriptions_and_templates_come_from_files(home, tmp_path, capsys):
    (tmp_path / "c.csv").write_text("name,description\nfirst,a red square\nsecond,a blue square\n")
    (tmp_path / "t.txt").write_text("a photo of {}.\n")
    words = ("--classes", tmp_path / "c.csv", "--templates", tmp_path / "t.txt")
    found = recognised(capsys, ZERO_SHOT, home / "videos", *words)
    assert (found[0][0], found[2][0]) == ("second", "first")


def test_prompts_that_are_too_long_are_cut_counted_and_said(home, caplog, capsys):
    name = "a red square that moves " + "far " * 80
    recognised(capsys, ZERO_SHOT, home / "videos/red.mp4", "--classes", name, "a blue square")
    (line,) = [text for text in caplog.messages if "cut" in text]
    assert line.startswith("1 of 2 prompts are longer than 77 tokens and were cut, first: 'a red")


@pytest.mark.parametrize(
    ("source", "words", "message"),
    [
        ("probe.ckpt", ["--classes", "a", "b"], "TunedClassifier tells the 2 classes of its"),
        ("probe.ckpt", ["--templates", "a {}"], "TunedClassifier tells the 2 classes of its"),
        ("full.ckpt", ["--classes", "a", " "], "class 1 has an empty name; name it"),
        ("full.ckpt", ["--classes", "a", "A"], "'a' appears twice; keep one of them"),
        ("full.ckpt", ["--classes", "none.txt"], "none.txt: cannot read the class names"),
        ("full.ckpt", ["--classes", "a", "b", "--templates", "x"], "no sentence with {}"),
        ("full.ckpt", ["--classes", "a", "--reject-below", "0.5"], "whose probability is 1"),
        ("full.ckpt", ["--classes", "a", "b", "--save", "x.ckpt"], "give --classes FOLDER"),
        ("full.ckpt", ["--descriptions", "d.json"], "give --classes with them"),
        ("none.ckpt", ["--classes", "a", "b"], "none.ckpt"),
    ],
)
def test_what_cannot_be_done_is_one_line(home, refused, source, words, message):
    assert message in refused(home / source, home / "videos/red.mp4", *words)


def test_an_experiment_that_must_be_trained(home, refused):
    answer = refused("experiments/demo/dist.yaml", home / "videos", "--classes", "a", "b")
    assert "its DiST is not trained; give a checkpoint" in answer


def test_a_folder_of_examples_is_fitted_reported_and_kept(home, tmp_path, capsys):
    for name, colour in (("like_this", "red"), ("like_that", "blue")):
        for number in range(2):
            write_video(tmp_path / "few" / name / f"{number}.mp4", [colour] * (number + 1))
    fit = ("--classes", tmp_path / "few", "--cache", tmp_path / "cache", "--save")
    words = (ZERO_SHOT, home / "videos/red.mp4", *fit, tmp_path / "mine.ckpt")
    assert main(["recognise", *map(str, words)]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[1].endswith("like this")
    first, second, third = err.strip().splitlines()
    assert "fitted to 4 examples of 2 classes: features" in first
    assert "how often it is right is unknown" in second
    assert third == f"{tmp_path / 'mine.ckpt'}: what was fitted"
    (labels,) = recognised(capsys, tmp_path / "mine.ckpt", home / "videos/blue.mp4")
    assert labels == ["like that", "like this"]


def test_examples_want_a_frozen_clip(home, tmp_path, refused):
    for name in "ab":
        write_video(tmp_path / "few" / name / "0.mp4", ["red"])
    answer = refused(home / "full.ckpt", home / "videos", "--classes", tmp_path / "few")
    assert "not by FROSTER with regime: full; start from MODEL:WEIGHTS" in answer
    answer = refused(home / "probe.ckpt", home / "videos", "--classes", tmp_path / "few")
    assert "not by TunedClassifier; start from" in answer


def test_a_broken_example_is_named(home, tmp_path, refused):
    write_video(tmp_path / "few/a/0.mp4", ["red"])
    (tmp_path / "few/b").mkdir()
    (tmp_path / "few/b/bad.mp4").write_text("no video")
    words = ("--classes", tmp_path / "few", "--cache", tmp_path / "cache")
    assert "few/b/bad.mp4" in refused(ZERO_SHOT, home / "videos", *words)
