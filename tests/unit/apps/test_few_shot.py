"""Fitting to examples: stills of colours as videos, the CLIP of the demonstration world."""

import pytest
import torch

from tests.unit.apps.coloured_videos import COLOURS, write_video
from video_adapt.apps.few_shot import fit_examples, require_new, save_fitted
from video_adapt.apps.few_shot_examples import read_examples, read_features
from video_adapt.apps.few_shot_report import FewShotReport, HeldOut
from video_adapt.apps.recogniser import Recogniser
from video_adapt.apps.recogniser_model import RecogniserModel, open_model
from video_adapt.backbones import TinyCLIP
from video_adapt.errors import AnnotationError, ConfigurationError
from video_adapt.methods import FROSTER
from video_adapt.tasks import Prompts
from video_adapt.video import VideoReader
from video_adapt.vocabulary import Vocabulary

# What a name says of a colour is wrong on purpose: only the examples tell.
NAMES = ("first_kind", "second_kind", "third_kind")
WORDS = ("first kind", "second kind", "third kind")
PROMPTS = Prompts(templates=("{}",), described=False)


def write_examples(folder, count):
    for name, colour in zip(NAMES, COLOURS, strict=True):
        for number in range(count):
            # Another shade of every example, by another mixture with the next colour.
            other = COLOURS[(COLOURS.index(colour) + 1) % 3]
            write_video(
                folder / name / f"{number}.mp4", [colour] * 4 + [other], 0.1 + 0.02 * number
            )
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three examples of each class."""
    return write_examples(tmp_path_factory.mktemp("few") / "examples", 3)


def start(classes=WORDS):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        method = FROSTER(
            TinyCLIP(), class_names=list(classes), regime="residual_only", prompts=PROMPTS
        ).eval()
    recipe = {
        "sampler": {"class": "SegmentSampler", "num_frames": 4},
        "transform": {"class": "EvalTransform", "size": None, "scale": None, "crops": 3},
        "short_side": None,
        "eval_views": 2,
    }
    backbone = {"class_path": "video_adapt.backbones.TinyCLIP"}
    arguments = {"backbone": backbone, "regime": "residual_only"}
    return RecogniserModel(method, recipe, list(classes), arguments)


@pytest.fixture(scope="module")
def fitted(folder, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return fit_examples(start(), read_examples(folder), Vocabulary("x", WORDS), cache=cache)


@pytest.fixture
def briefly(monkeypatch):
    """Fits that do no more than begin, for tests that ask nothing of what is learnt."""
    monkeypatch.setattr("video_adapt.apps.few_shot._STEPS", 5)


def test_folders_are_classes_and_underscores_are_spaces(folder):
    examples = read_examples(folder)
    assert examples.names == WORDS
    assert [entry.label for entry in examples.entries] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_few_examples_are_all_fitted_and_none_is_held_out(folder):
    examples = read_examples(folder)
    assert (len(examples.entries), len(examples.fitted), len(examples.held_out)) == (9, 9, 0)


@pytest.mark.parametrize(("counts", "held"), [((20, 15, 15), 10), ((20, 15, 10), 0), ((50, 4), 0)])
def test_examples_are_held_out_where_they_say_something_of_every_class(tmp_path, counts, held):
    for number, count in enumerate(counts):
        (tmp_path / str("abc"[number])).mkdir()
        for video in range(count):
            (tmp_path / str("abc"[number]) / f"{video}.mp4").touch()
    examples = read_examples(tmp_path)
    assert len(examples.held_out) == held
    assert len(examples.fitted) == sum(counts) - held
    assert not set(examples.fitted) & set(examples.held_out)


def test_a_class_without_examples_and_one_class_alone(tmp_path):
    for name in ("full", "empty", ".hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "full/a.mp4").touch()
    with pytest.raises(AnnotationError, match="empty: holds no video"):
        read_examples(tmp_path)
    (tmp_path / "empty").rmdir()
    with pytest.raises(AnnotationError, match="one class, 'full'; give two"):
        read_examples(tmp_path)
    (tmp_path / "full/a.mp4").unlink()
    with pytest.raises(AnnotationError, match="names no video"):
        read_examples(tmp_path)


def test_a_fit_knows_what_names_do_not_tell(folder, fitted):
    videos = sorted(folder.rglob("*.mp4"))
    truth = [WORDS[NAMES.index(video.parent.name)] for video in videos]
    before = Recogniser(start(), device="cpu")
    after = Recogniser(fitted.model, device="cpu")
    assert sum(before(video).label == name for video, name in zip(videos, truth, strict=True)) < 6
    assert [after(video).label for video in videos] == truth


def test_the_same_examples_give_the_same_fit(folder, tmp_path, briefly):
    fits = []
    for seed in range(2):
        torch.manual_seed(seed)
        fit = fit_examples(start(), read_examples(folder), Vocabulary("x", WORDS), cache=tmp_path)
        fits.append(torch.cat([p.flatten() for p in fit.model.method.residual.parameters()]))
    assert torch.equal(*fits)


def test_features_are_those_of_recognition_and_are_read_once(folder, tmp_path, monkeypatch):
    examples, model = read_examples(folder), start()
    clips = read_features(model, examples, tmp_path)
    assert len(clips.label) == 9 * 2 * 3  # views and crops
    recognise = Recogniser(model, device="cpu")
    expected = torch.stack([recognise(entry.path).probs for entry in examples.entries])
    with torch.no_grad():
        probs = model.method.predict_step(clips).probs.unflatten(0, (9, -1)).mean(1)
    torch.testing.assert_close(probs, expected, rtol=1e-4, atol=1e-5)

    def refuse(*args, **kwargs):
        raise AssertionError("decoded again")

    monkeypatch.setattr(VideoReader, "frames_at", refuse)
    again = read_features(start(), examples, tmp_path)
    assert torch.equal(again.video["embedding"], clips.video["embedding"])


def test_many_examples_are_judged_before_all_are_fitted(folder, tmp_path, briefly):
    examples = read_examples(folder)
    held = [entry for entry in examples.entries if entry.path.endswith("1.mp4")]
    rest = [entry for entry in examples.entries if entry not in held]
    parted = examples._replace(fitted=rest, held_out=held)
    voc = Vocabulary("x", WORDS)
    fitted = fit_examples(start(), parted, voc, cache=tmp_path)
    alone = fit_examples(start(), examples._replace(entries=rest, fitted=rest), voc, cache=tmp_path)
    judge = Recogniser(alone.model, device="cpu")
    found = [judge(entry.path) for entry in held]
    report = fitted.report
    assert (report.examples, report.fitted, alone.report.held_out) == (9, 6, None)
    assert report.held_out.right.tolist() == [
        result.label == WORDS[entry.label] for result, entry in zip(found, held, strict=True)
    ]
    torch.testing.assert_close(
        report.held_out.best, torch.stack([r.probs.amax() for r in found]), rtol=1e-4, atol=1e-5
    )
    before = Recogniser(start(), device="cpu")
    known = sum(before(entry.path).label == WORDS[entry.label] for entry in held)
    assert report.held_out.right_before == known


def test_what_was_fitted_is_kept_and_recognises_alone(folder, fitted, tmp_path):
    save_fitted(fitted.model, tmp_path / "mine.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.ckpt"]
    saved = Recogniser(tmp_path / "mine.ckpt", device="cpu")
    video = next(folder.rglob("*.mp4"))
    assert saved.class_names == list(WORDS)
    expected = Recogniser(fitted.model, device="cpu")(video).probs
    torch.testing.assert_close(saved(video).probs, expected)
    assert saved.method.provenance["few_shot"] == {"examples": 9, "classes": 3}
    assert saved.method.label == "residual networks on a frozen CLIP, not FROSTER as published"


def test_a_fit_goes_on_from_one_that_was_kept(folder, fitted, tmp_path, briefly):
    save_fitted(fitted.model, tmp_path / "mine.ckpt")
    kept = open_model(tmp_path / "mine.ckpt", torch.device("cpu"))
    two = read_examples(folder)
    two = two._replace(entries=two.entries[:6], fitted=two.entries[:6], names=WORDS[:2])
    on = fit_examples(kept, two, Vocabulary("x", WORDS[:2]), cache=tmp_path / "c")
    outer = [m.method.residual.video.outer.weight for m in (on.model, kept)]
    # Far nearer to where it began than to the identity.
    assert (outer[0] - outer[1]).norm() < outer[1].norm()
    save_fitted(on.model, tmp_path / "two.ckpt")
    assert Recogniser(tmp_path / "two.ckpt", device="cpu").class_names == list(WORDS[:2])


def test_descriptions_and_templates_are_read_and_kept(folder, tmp_path, briefly):
    voc = Vocabulary("x", WORDS, ("red", "green", "blue"))
    model = start()
    fitted = fit_examples(
        model, read_examples(folder), voc, templates=["a {}"], cache=tmp_path
    ).model
    assert fitted.method.prompts == Prompts(templates=("a {}",), described=True)
    save_fitted(fitted, tmp_path / "mine.ckpt")
    saved = open_model(tmp_path / "mine.ckpt", torch.device("cpu")).method
    assert saved.prompts == fitted.method.prompts
    assert saved.vocabulary.descriptions == voc.descriptions


@pytest.mark.parametrize("regime", ["full", "adapter"])
def test_towers_that_were_trained_are_refused(folder, tmp_path, regime):
    model = start()
    model.method.regime = regime
    with pytest.raises(ConfigurationError, match=f"not by FROSTER with regime: {regime}"):
        fit_examples(model, read_examples(folder), Vocabulary("x", WORDS), cache=tmp_path)


@pytest.mark.parametrize("name", ["there.ckpt", "no/new.ckpt", "new.pt"])
def test_a_place_that_cannot_be_written(tmp_path, name):
    (tmp_path / "there.ckpt").touch()
    with pytest.raises(ConfigurationError, match="give a new file"):
        require_new(tmp_path / name)
    require_new(tmp_path / "new.ckpt")


def test_a_report_tells_what_is_known_and_nothing_else():
    report = FewShotReport(9, 3, 9, 1.25, 0.5, None)
    first, second = report.render(0.5).splitlines()
    assert first.endswith("fitted to 9 examples of 3 classes: features 1.2 s, fit 0.5 s")
    assert second == "too few examples to hold some out, so how often it is right is unknown"
    assert report.facts() == {"examples": 9, "classes": 3}


def test_a_report_tells_what_a_threshold_does_to_held_out_examples():
    best = torch.tensor([0.9, 0.5, 0.4, 0.3])
    held = HeldOut(best, torch.tensor([True, False, True, False]), 1)
    report = FewShotReport(20, 2, 16, 1.0, 1.0, held)
    lines = report.render(0.5).splitlines()
    assert lines[1] == (
        "held-out examples: 2 of 4 right when fitted to the other 16, 1 before fitting"
    )
    assert lines[2] == "--reject-below 0.5 turns 2 of them away; of the other 2, 1 are right"
    assert len(report.render().splitlines()) == 2
    assert report.facts() == {
        "examples": 20,
        "classes": 2,
        "held_out": 4,
        "held_out_right": 2,
        "held_out_right_before_fitting": 1,
    }
