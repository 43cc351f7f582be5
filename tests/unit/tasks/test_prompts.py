from collections import Counter

import pytest

from video_adapt.errors import ConfigurationError
from video_adapt.tasks import TEMPLATES, Prompts
from video_adapt.vocabulary import Vocabulary

CLASSES = Vocabulary("set", ("diving", "odd {name}"), ("into water", ""))


def test_the_published_sentences_in_their_order():
    assert len(TEMPLATES) == 28 == len(set(TEMPLATES))
    assert TEMPLATES[:2] == ("a photo of {}.", "a photo of a person {}.")
    assert TEMPLATES[-1] == "a demonstration of a person practicing {}."


def test_an_entry_follows_every_template_and_stands_alone_at_the_end():
    prompts = Prompts(templates=("see {}!",))
    assert len(prompts) == 2
    assert prompts.write(CLASSES, 0) == [
        "see diving! diving: into water",
        "see odd {name}! odd {name}",
    ]
    assert prompts.write(CLASSES, 1) == ["diving: into water", "odd {name}"]


def test_without_descriptions_the_templates_are_all():
    prompts = Prompts(templates=("see {}!",), described=False)
    assert len(prompts) == 1
    assert prompts.write(CLASSES, 0) == ["see diving!", "see odd {name}!"]
    assert prompts.draw(0, 0, 0) == [0]


def test_entries_alone_are_prompts_too():
    prompts = Prompts(templates=())
    assert prompts.write(CLASSES, 0) == list(CLASSES.entries)
    assert prompts.draw(3, 1) == [0]


def test_a_draw_is_one_template_and_the_entry_and_depends_on_its_numbers_alone():
    prompts = Prompts()
    draws = [prompts.draw(0, epoch, step) for epoch in range(20) for step in range(100)]
    assert draws == [prompts.draw(0, epoch, step) for epoch in range(20) for step in range(100)]
    assert draws != [prompts.draw(1, epoch, step) for epoch in range(20) for step in range(100)]
    assert all(len(drawn) == 2 and drawn[1] == 28 for drawn in draws)
    counts = Counter(drawn[0] for drawn in draws)
    assert sorted(counts) == list(range(28))
    assert max(counts.values()) < 2 * 2000 / 28


def test_impossible_prompts_are_refused():
    with pytest.raises(ConfigurationError, match=r"template 'no place' must hold \{\} once"):
        Prompts(templates=("no place",))
    with pytest.raises(ConfigurationError, match="no prompt"):
        Prompts(templates=(), described=False)
