"""CLIPs by name; experiments and checkpoints are tested through the command line."""

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from tests.unit.apps.coloured_videos import write_video
from video_adapt.apps.recogniser import Recogniser
from video_adapt.apps.recogniser_model import open_model
from video_adapt.backbones import TinyCLIP
from video_adapt.backbones.tiny import CONFIG
from video_adapt.errors import ConfigurationError, WeightsError
from video_adapt.tasks import ensemble, frame_logits
from video_adapt.tasks.prompts import TEMPLATES
from video_adapt.vocabulary import Vocabulary

CPU = torch.device("cpu")
SHAPES = Vocabulary("typed", ("red square", "blue circle"))


@pytest.fixture(scope="module")
def towers():
    return TinyCLIP().requires_grad_(False).eval()


@pytest.fixture(scope="module")
def named(towers, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file({k: v.contiguous() for k, v in towers.towers.state_dict().items()}, path)
    return f"{CONFIG}:{path}"


def test_a_clip_by_name_is_the_mean_over_frames_and_published_sentences(named, towers):
    method = open_model(named, CPU, SHAPES).method
    video = torch.rand(2, 3, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    rows = [towers.encode_text([t.replace("{}", k) for k in SHAPES.classes]) for t in TEMPLATES]
    frames = F.normalize(towers(video).embedding, dim=-1)
    expected = frame_logits(frames, ensemble(torch.stack(rows)), towers.logit_scale)
    with torch.inference_mode():
        torch.testing.assert_close(method(video), expected, rtol=1e-4, atol=1e-4)


def test_a_clip_by_name_recognises_with_fewer_classes_than_labels_asked(named, tmp_path):
    recognise = Recogniser(named, classes=["red square", "blue circle"], device="cpu")
    found = recognise(write_video(tmp_path / "v.mp4", ["red"]))
    assert [name for name, _ in found.top(5)] == ["red square", "blue circle"]
    assert recognise.class_names == ["red square", "blue circle"]
    assert sum(found.probs.tolist()) == pytest.approx(1.0)


def test_descriptions_are_read_where_they_are_given(named):
    recognise = Recogniser(named, classes=["red", "blue"], descriptions={"red": "like blood"})
    assert recognise.method.prompts.described
    assert recognise.method.vocabulary.entries == ("red: like blood", "blue")
    assert not Recogniser(named, classes=["red", "blue"]).method.prompts.described


def test_a_clip_by_name_knows_no_classes(named):
    with pytest.raises(ConfigurationError, match="knows no classes; type them with --classes"):
        open_model(named, CPU)


def test_frames_are_not_scaled_below_what_a_model_takes(named, monkeypatch):
    assert open_model(named, CPU, SHAPES).recipe["short_side"] == 256
    monkeypatch.setattr("video_adapt.apps.recogniser_model._SHORT_SIDE", 32)
    assert open_model(named, CPU, SHAPES).recipe["short_side"] == 48


def test_a_missing_checkpoint_is_no_name(tmp_path):
    with pytest.raises(WeightsError, match=r"a:b\.ckpt"):
        open_model(tmp_path / "a:b.ckpt", CPU, SHAPES)


def test_an_unknown_name(tmp_path):
    with pytest.raises(ConfigurationError, match="ViT-B-17"):
        open_model("ViT-B-17:openai", CPU, SHAPES)
