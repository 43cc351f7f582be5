"""The steps of an open-vocabulary recogniser, and its optimiser."""

from types import SimpleNamespace

import pytest
import torch

from tests.contracts.helpers import CLASSES, video
from tests.contracts.test_open_vocabulary import (
    BUILDERS,
    NOVEL,
    PROMPTS,
    SPEC,
    TRAIN,
    form,
    tiny_clip,
)
from video_adapt.adapters import ExpandedAttention
from video_adapt.batches import ClipBatch, ClipLogits
from video_adapt.errors import AnnotationError, ConfigurationError
from video_adapt.methods import FROSTER
from video_adapt.tasks import Prompts
from video_adapt.vocabulary import Vocabulary

VAL = Vocabulary("val", ("running", "sitting"))
SETTINGS = {
    "froster": {"adapter": ExpandedAttention()},
    "froster_residual": {"regime": "residual_only"},
    "open_vclip": {"adapter": ExpandedAttention()},
}


@pytest.fixture
def method():
    return BUILDERS["froster_residual"](tiny_clip()).eval()


def batch(label=0):
    rows = torch.arange(2)
    return ClipBatch(video(2), torch.full((2,), label), None, rows + 7, rows)


def attach(method, **data):
    """A trainer that has nothing but a data module."""
    method._trainer = SimpleNamespace(datamodule=SimpleNamespace(**data), current_epoch=0)


def test_every_split_is_told_apart_by_its_own_classes(method):
    attach(
        method,
        vocabulary=lambda split: {"train": TRAIN, "val": VAL}[split],
        test_vocabularies=[VAL, NOVEL],
    )
    given = batch()
    steps = [
        (method.validation_step(given, 0), VAL),
        (method.test_step(given, 0), VAL),
        (method.test_step(given, 0, dataloader_idx=1), NOVEL),
    ]
    for predictions, vocabulary in steps:
        assert isinstance(predictions, ClipLogits)
        assert torch.equal(predictions.logits, method.classify(given.video, vocabulary))
        assert torch.equal(predictions.video_id, given.video_id)
        assert torch.equal(predictions.view, given.view)
        assert torch.equal(predictions.label, given.label)


def test_predictions_of_a_test_set_are_over_its_own_classes(method):
    attach(method, test_vocabularies=[VAL, NOVEL])
    probs = method.predict_step(batch(), 0, 1).probs
    assert torch.equal(probs, method.classify(video(2), NOVEL).softmax(dim=-1))


def test_data_without_texts_has_the_training_classes_everywhere(method):
    attach(method)
    for step in (method.validation_step, method.test_step):
        assert torch.equal(step(batch(), 0).logits, method(video(2)))


def test_a_prediction_follows_the_classes_that_are_assigned(method):
    method.vocabulary = NOVEL
    assert method.predict_step(batch()).probs.shape == (2, len(NOVEL))


def test_the_terms_of_the_loss_are_logged_apart(method):
    logged = {}
    method.log = lambda name, value, **settings: logged.update({name: value})
    loss = method.train().training_step(batch(), 0)
    assert logged.keys() == {f"train/{k}" for k in ("loss", "ce", "distill_video", "distill_text")}
    assert loss is logged["train/loss"]


def test_a_training_clip_without_a_label_is_refused(method):
    with pytest.raises(AnnotationError, match="videos without a label"):
        method.losses(batch(label=-1), 0)


def test_classes_that_look_alike_are_refused():
    with pytest.raises(ConfigurationError, match="appears twice"):
        FROSTER(tiny_clip(), class_names=["diving", "Diving "])


def test_prompts_are_drawn_by_seed_epoch_and_step(method, monkeypatch):
    monkeypatch.setattr(type(method), "current_epoch", 3)
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")
    assert method.draw_prompts(11) == PROMPTS.draw(5, 3, 11)


def test_towers_and_what_is_new_have_their_rates_and_vectors_no_decay():
    method = BUILDERS["froster"](tiny_clip())
    names = {id(p): k for k, p in method.named_parameters()}
    groups = {g["name"]: g for g in method.parameter_groups(SPEC)}
    held = {name: {names[id(p)] for p in group["params"]} for name, group in groups.items()}
    assert groups.keys() == {"towers/decay", "towers/no_decay", "new/decay"}
    assert held["new/decay"] == {
        f"residual.{side}.{layer}.weight"
        for side in ("video", "text")
        for layer in ("inner", "outer")
    }
    start = "backbone.towers."
    # The temperature has no dimension and position embeddings have two: both are decayed.
    assert held["towers/decay"] >= {
        f"{start}logit_scale",
        f"{start}visual.positional_embedding",
        f"{start}text.token_embedding.weight",
    }
    assert held["towers/no_decay"] >= {
        f"{start}visual.class_embedding",
        f"{start}text.ln_final.weight",
    }
    assert [(g["lr"], g["weight_decay"]) for g in groups.values()] == [
        (SPEC.lr, SPEC.weight_decay),
        (SPEC.lr, 0.0),
        (SPEC.new_lr, SPEC.weight_decay),
    ]


def test_class_names_are_the_classes_of_forward():
    method = FROSTER(tiny_clip(), class_names=CLASSES, prompts=PROMPTS).eval()
    plain = Vocabulary("anything", tuple(CLASSES))
    assert torch.equal(method(video(1)), method.classify(video(1), plain))


@pytest.mark.parametrize("name", SETTINGS)
def test_a_method_that_is_told_classes_and_words_uses_both_in_every_text_it_reads(name):
    method = BUILDERS[name](tiny_clip()).eval()
    words = Prompts(templates=("a film of {}.",), described=False)
    probs = method.predict_step(batch()).probs  # texts of the former words are kept
    method.tell(NOVEL, words)
    other = form(type(method), prompts=words, **SETTINGS[name])(tiny_clip()).eval()
    told = method.predict_step(batch()).probs
    assert probs.shape[1] != len(NOVEL)
    torch.testing.assert_close(told, other.classify(batch().video, NOVEL).softmax(-1))
    assert torch.equal(
        method.zero_shot_logits(batch().video, NOVEL), other.zero_shot_logits(batch().video, NOVEL)
    )
