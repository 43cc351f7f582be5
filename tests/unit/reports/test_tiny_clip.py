"""Pre-training of the tiny CLIP: true captions, a right loss, and figures that hold."""

import math

import pytest
import torch

from video_adapt.backbones.tiny import WEIGHTS, TinyCLIP
from video_adapt.reports.tiny_clip import (
    Recipe,
    contrastive_loss,
    initial_positions,
    record,
    train,
    zero_shot_accuracy,
)
from video_adapt.reports.tiny_stills import QUESTIONS, WORDS, draw_stills, phrase


def test_captions_are_true_and_mistakes_differ_in_one_word():
    stills = draw_stills((0, 7), 40, size=16, pairs=0.0)
    assert len(stills.mistakes) == 2 * len(stills.captions)
    for i, (caption, actor) in enumerate(zip(stills.captions, stills.actors, strict=True)):
        assert f"{actor.colour} {actor.shape}" in caption
        for wrong in stills.mistakes[2 * i : 2 * i + 2]:
            assert wrong != caption
            assert len(set(wrong.split()) - set(caption.split()) - {"a", "an"}) <= 2


def test_captions_tell_nothing_of_time():
    stills = draw_stills((0, 8), 200, size=16, pairs=0.3)
    said = {word for caption in stills.captions for word in caption.strip(".").split()}
    known = {part for words in WORDS.values() for word in words for part in word.split()}
    assert said <= known | {"a", "an", "and", "at", "the", "pointing", "of", "photo", "picture",
                            "video"}  # fmt: skip
    assert not stills.alone.all()


def test_phrase_puts_the_words_in_order():
    words = {"heading": "up", "place": "top left", "shape": "ring", "colour": "orange"}
    assert phrase(words) == "an orange ring at the top left pointing up"
    assert phrase({**words, "size": "big"}).startswith("a big orange ring at")


def test_loss_counts_equal_captions_as_right_and_mistakes_as_wrong():
    axes = torch.eye(3)
    image, scale = axes[[0, 0, 1]], torch.tensor(math.log(100.0))
    text = axes[[0, 0, 1, 2]]
    perfect = contrastive_loss(image, text, scale, ["a", "a", "b", "wrong"])
    # Two equal captions share the probability: ln 2 for two of three pictures and captions.
    assert float(perfect) == pytest.approx(2 / 3 * math.log(2), abs=1e-4)
    confused = contrastive_loss(image, axes[[0, 0, 1, 1]], scale, ["a", "a", "b", "wrong"])
    assert float(confused - perfect) == pytest.approx(math.log(2) / 6, abs=1e-4)


def test_accuracy_asks_every_question_with_the_true_shape():
    stills = draw_stills((0, 9), 12, size=16, pairs=0.0)
    truth = {q.sentence(a, q.answer(a)) for q in QUESTIONS.values() for a in stills.actors}

    def encode(sentences):
        return torch.tensor([[1.0, 0.0] if s in truth else [0.0, 1.0] for s in sentences])

    shares = zero_shot_accuracy(torch.tensor([[1.0, 0.0]]).expand(12, 2), stills.actors, encode)
    assert shares["heading (4 answers)"] > 0.5  # several shapes may make one sentence true
    assert list(shares) == [f"{k} ({len(q.options)} answers)" for k, q in QUESTIONS.items()]


def test_positions_begin_distinct():
    positions = initial_positions(36, 96)
    assert positions.shape == (36, 96)
    assert torch.pdist(positions).min() > 0.3


def test_training_returns_an_ordinary_state():
    state, accuracy = train(Recipe(steps=1, batch=4), held_out=8)
    assert state["positional_embedding"].shape == (77, 64)
    assert state["token_embedding.weight"].shape == (49408, 64)
    assert not any(key.startswith("kinds") for key in state)
    assert all(0 <= share <= 1 for share in accuracy.values())


def test_recorded_accuracy_holds():
    """The note beside the weights against 400 other stills."""
    backbone = TinyCLIP().eval()
    stills = draw_stills((123,), 400, size=backbone.pixels.image_size, pairs=0.0)
    with torch.no_grad():
        image = backbone(stills.pictures[:, None]).embedding[:, 0]
    note = WEIGHTS.with_suffix(".md").read_text()
    for what, share in zero_shot_accuracy(image, stills.actors, backbone.encode_text).items():
        recorded = float(note.partition(f"| {what} | ")[2].partition(" %")[0])
        assert 100 * share == pytest.approx(recorded, abs=8)


def test_record_states_recipe_and_accuracy():
    note = record(Recipe(steps=7), {"place (9 answers)": 0.5}, minutes=3.2, num_bytes=2**21)
    assert "| steps | 7 |" in note
    assert "| place (9 answers) | 50.0 % |" in note
    assert "3 minutes" in note
