import json

import pytest
import torch

from tests.contracts import helpers
from tests.contracts.test_open_vocabulary import BUILDERS, TRAIN, tiny_clip, video
from video_adapt.apps.typed_classes import (
    read_templates,
    read_vocabulary,
    retell,
    vocabulary_of,
    words_for,
)
from video_adapt.baselines import TunedClassifier
from video_adapt.errors import AnnotationError, ConfigurationError
from video_adapt.tasks import Prompts
from video_adapt.tasks.prompts import TEMPLATES
from video_adapt.vocabulary import Vocabulary

PLAIN = Vocabulary("typed", ("diving", "sitting"))
TOLD = Vocabulary("typed", ("diving", "sitting"), ("into water", ""))


def test_names_are_taken_without_their_outer_space():
    assert vocabulary_of([" diving", "sitting "]) == PLAIN


@pytest.mark.parametrize("said", [["into water", ""], {"diving": "into water"}])
def test_descriptions_come_in_order_or_by_name(said):
    assert vocabulary_of(["diving", "sitting"], said) == TOLD
    assert vocabulary_of(PLAIN, said) == TOLD


def test_a_description_by_name_leaves_the_others_as_they_are():
    told = vocabulary_of(TOLD, {"sitting": "on a chair"})
    assert told.descriptions == ("into water", "on a chair")


@pytest.mark.parametrize(
    ("classes", "said", "message"),
    [
        (["diving", " "], None, "class 1 has an empty name"),
        (["diving", "Diving "], None, "'diving' appears twice"),
        ([], None, "name at least one"),
        ("diving", None, "'diving', one text; give a list"),
        (["diving"], {"divng": "x"}, "description of 'divng': no class is called so"),
        (["diving"], ["a", "b"], "1 classes, 2 descriptions"),
    ],
)
def test_classes_that_cannot_be_told_apart(classes, said, message):
    with pytest.raises(ConfigurationError, match=message):
        vocabulary_of(classes, said)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "diving\n\nsitting\n", PLAIN),
        ("a.csv", "name\ndiving\nsitting\n", PLAIN),
        ("a.csv", 'description,name\n"into water",diving\n,sitting\n', TOLD),
        ("a.json", ["diving", "sitting"], PLAIN),
        ("a.json", {"diving": 0, "sitting": 1}, PLAIN),
        ("a.json", {"base": ["diving"], "novel": ["sitting"]}, PLAIN),
        ("a.json", [{"name": "dive", "entry": "diving: into water"}, "sitting"], TOLD),
    ],
)
def test_a_file_of_any_known_form_holds_classes(tmp_path, name, content, expected):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    assert read_vocabulary([str(path)]) == expected


def test_typed_names_can_be_described_in_a_file(tmp_path):
    (tmp_path / "d.json").write_text('{"diving": "into water"}')
    assert read_vocabulary(["diving", "sitting"], tmp_path / "d.json") == TOLD


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"a\.csv: cannot read it: No such file"),
        ("class\ndiving\n", r"a\.csv:1: expected the columns `name`"),
    ],
)
def test_a_table_that_is_none(tmp_path, content, message):
    if content is not None:
        (tmp_path / "a.csv").write_text(content)
    with pytest.raises(AnnotationError, match=message):
        read_vocabulary([str(tmp_path / "a.csv")])


def test_a_table_without_rows_has_no_class(tmp_path):
    (tmp_path / "a.csv").write_text("name\n")
    with pytest.raises(ConfigurationError, match="name at least one"):
        read_vocabulary([str(tmp_path / "a.csv")])


def test_a_file_stands_alone():
    with pytest.raises(ConfigurationError, match=r"a\.txt beside others"):
        read_vocabulary(["diving", "a.txt"])


def test_templates_are_sentences_sets_and_files(tmp_path):
    (tmp_path / "t.txt").write_text("a film of {}.\n\n {} on film\n")
    words = ["a {}", str(tmp_path / "t.txt"), "name"]
    assert read_templates(words) == ("a {}", "a film of {}.", "{} on film", "{}")
    assert read_templates(["published"]) == TEMPLATES


def test_templates_that_are_none_of_these():
    with pytest.raises(ConfigurationError, match=r"'a film': no sentence with \{\}"):
        read_templates(["a film"])


def test_words_are_those_of_training_but_for_what_a_user_wants():
    trained = Prompts(templates=("a {}.",), described=True)
    plain = Prompts(templates=("a {}.",), described=False)
    assert words_for(PLAIN, trained=trained) == trained
    assert words_for(TOLD, trained=plain) == trained
    assert words_for(PLAIN, ("{}",), trained) == Prompts(templates=("{}",), described=False)
    assert words_for(TOLD, ("{}",), plain) == Prompts(templates=("{}",), described=True)


@pytest.mark.parametrize("name", BUILDERS)
def test_every_open_vocabulary_recogniser_takes_typed_classes(name):
    method = BUILDERS[name](tiny_clip()).eval()
    expected = method.classify(video(2), TOLD)
    assert retell(method, TOLD, None, source="x") == ("diving", "sitting")
    torch.testing.assert_close(method(video(2)), expected)


def test_names_alone_are_told_apart_from_those_with_sentences(caplog):
    method = BUILDERS["open_vclip"](tiny_clip())
    retell(method, TOLD, None, source="x")
    assert not caplog.messages
    retell(method, PLAIN, None, source="x.ckpt")
    (line,) = caplog.messages
    assert line.startswith("x.ckpt: learnt names with a sentence about each class; the typed ones")
    retell(method, PLAIN, None, source="x.ckpt")
    assert len(caplog.messages) == 1


def test_templates_alone_leave_the_classes_of_training():
    method = BUILDERS["open_vclip"](tiny_clip()).eval()
    assert retell(method, None, ("{}",), source="x") == TRAIN.classes
    assert method.prompts == Prompts(templates=("{}",), described=True)


def probe(head):
    return TunedClassifier(
        helpers.tiny_clip(),
        class_names=["walking", "running"],
        head=head,
        readout="embedding",
        template="a {}",
    ).eval()


def test_a_head_of_text_reads_typed_classes_in_its_own_sentence():
    method = probe("text")
    retell(method, TOLD, None, source="x")
    assert method.head.prompts == ["a diving: into water", "a sitting"]
    assert method(helpers.video()).shape == (3, 2)
    retell(method, PLAIN, ["{}!"], source="x")
    assert method.head.prompts == ["diving!", "sitting!"]
    retell(method, None, ["{}?"], source="x")
    assert method.head.prompts == ["walking?", "running?"]


@pytest.mark.parametrize(
    ("templates", "message"), [(["{}", "a {}"], "one sentence"), (["a"], "must hold")]
)
def test_a_head_of_text_has_one_sentence_with_a_place(templates, message):
    with pytest.raises(ConfigurationError, match=message):
        retell(probe("text"), PLAIN, templates, source="x")


def test_a_closed_head_refuses_in_one_line():
    with pytest.raises(ConfigurationError, match="TunedClassifier tells the 2 classes") as raised:
        retell(probe("linear"), PLAIN, None, source="x.ckpt")
    assert str(raised.value).startswith("x.ckpt: ")
    assert "\n" not in str(raised.value)
