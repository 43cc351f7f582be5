"""Class files of open-vocabulary protocols, and everything that can be wrong with them."""

import json
from pathlib import Path
from typing import Any

import pytest

from data_modules.open_vocabulary_classes import part_of, read_classes, require_apart, require_pairs
from video_adapt.errors import AnnotationError, ConfigurationError
from video_adapt.vocabulary import Vocabulary

ENTRIES = [
    {"name": "putting, taking", "entry": "Putting and taking: A hand moves: back and forth"},
    {"name": "run", "entry": "Run: A person runs"},
]


def written(folder: Path, value: Any, name: str = "classes.json") -> Path:
    path = folder / name
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_an_entry_gives_title_and_description(tmp_path: Path) -> None:
    parts = read_classes(written(tmp_path, {"base": ENTRIES, "novel": ["Jump"]}))
    assert list(parts) == ["base", "novel"]
    base = parts["base"]
    assert base.names == ("putting, taking", "run")
    assert base.titles == ("Putting and taking", "Run")
    assert base.descriptions == ("A hand moves: back and forth", "A person runs")
    assert base.labels.index("putting, taking") == 0
    assert base.vocabulary("base") == Vocabulary("base", base.titles, base.descriptions)
    assert base.vocabulary("base", described=False) == Vocabulary("base", base.names)
    assert parts["novel"].vocabulary("novel") == Vocabulary("novel", ("Jump",))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("classes.json", [{"name": "run"}, {"name": "jump"}]),
        ("classes.json", ["run", "jump"]),
        ("classes.json", {"jump": 1, "run": 0}),
        ("classes.txt", "run\njump\n"),
    ],
)
def test_a_file_without_parts(tmp_path: Path, name: str, content: Any) -> None:
    path = written(tmp_path, content, name)
    assert part_of(read_classes(path), None, path).names == ("run", "jump")


def test_exchanged_pairs_change_places_with_all_they_say(tmp_path: Path) -> None:
    classes = read_classes(written(tmp_path, [*ENTRIES, {"name": "jump"}]))[None]
    put_right = classes.exchanged([("putting, taking", "run"), ("jump", "not here")])
    assert put_right.names == ("run", "putting, taking", "jump")
    assert put_right.titles == ("Run", "Putting and taking", "jump")
    assert put_right.descriptions == ("A person runs", "A hand moves: back and forth", "")


def test_a_pair_that_no_part_has_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, {"base": ["run", "jump"], "novel": ["sit"]})
    require_pairs(read_classes(path), [("jump", "run")], path)
    with pytest.raises(ConfigurationError, match="no part has both 'run' and 'sit'"):
        require_pairs(read_classes(path), [("run", "sit")], path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"base": ["run"], "novel": ["Run "]}, "class 'Run' is in both 'base' and 'novel'"),
        ({"base": ["run", "RUN"]}, "part 'base': 'RUN' is the name of the classes 0 and 1"),
        ({"base": []}, "part 'base': holds no class"),
        ({"base": ["run", " "]}, "class 1 has an empty name"),
        ([{"name": "run", "entry": "Run"}], "entry of class 0 is 'Run'; expected `Name: desc"),
        ([{"name": "a", "entry": "X: y"}, {"name": "b", "entry": "x: z"}], "'x' is the name of"),
        ([{"title": "run"}], "class 0 is {'title': 'run'}; expected a name or an object"),
        ('["run"', "classes.json:1: not valid JSON"),
    ],
)
def test_faults_are_one_line(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(AnnotationError) as caught:
        read_classes(written(tmp_path, content))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"nowhere\.json: cannot read the class names"):
        read_classes(tmp_path / "nowhere.json")


def test_parts_must_be_named_where_there_are_some(tmp_path: Path) -> None:
    path = written(tmp_path, {"base": ["run"], "novel": ["jump"]})
    with pytest.raises(ConfigurationError, match="has the parts base, novel; name one"):
        part_of(read_classes(path), None, path)
    with pytest.raises(ConfigurationError, match="no part 'all', the file has the parts base"):
        part_of(read_classes(path), "all", path)
    plain = written(tmp_path, ["run"], "plain.json")
    with pytest.raises(ConfigurationError, match="no part 'base', the file has no parts"):
        part_of(read_classes(plain), "base", plain)


def test_a_class_is_not_new_that_training_knows() -> None:
    base = Vocabulary("train", ("Run", "Jump"))
    require_apart(base, Vocabulary("novel", ("Sit",)))
    with pytest.raises(AnnotationError, match="'run' is in both 'train' and 'novel'"):
        require_apart(base, Vocabulary("novel", ("Sit", "run")))
