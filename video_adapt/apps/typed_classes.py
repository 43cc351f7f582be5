"""Classes that a user types: names, sentences about them, the words around them, or files of it."""

import csv
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule

from data_modules.class_split import read_descriptions
from data_modules.open_vocabulary_classes import read_classes
from video_adapt.errors import AnnotationError, ConfigurationError
from video_adapt.tasks import OpenVocabularyTask, Prompts, TextHead
from video_adapt.tasks.prompts import TEMPLATES
from video_adapt.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

TYPED = "typed"
NAMED_TEMPLATES = {"published": TEMPLATES, "name": ("{}",)}
"""Templates that go by a name: the 28 of FROSTER, or the name of the class alone."""

Descriptions = Mapping[str, str] | Sequence[str]


def vocabulary_of(
    classes: Sequence[str] | Vocabulary, descriptions: Descriptions | None = None
) -> Vocabulary:
    """Classes that were typed, with what is said about them.

    Args:
        classes: Names.
        descriptions: A sentence about each class in their order, or about some of them by name.

    Raises:
        ConfigurationError: If a name is empty or appears twice, or a description is of no class.
    """
    named = classes if isinstance(classes, Vocabulary) else Vocabulary(TYPED, _stripped(classes))
    if descriptions is None:
        return named
    if isinstance(descriptions, Mapping):
        if unknown := sorted(set(descriptions) - set(named.classes)):
            raise ConfigurationError(
                f"description of {unknown[0]!r}: no class is called so; mend the name"
            )
        told = named.descriptions or ("",) * len(named)
        pairs = zip(named.classes, told, strict=True)
        return replace(named, descriptions=tuple(descriptions.get(k, old) for k, old in pairs))
    return replace(named, descriptions=tuple(descriptions))


def read_vocabulary(words: Sequence[str], descriptions: Path | None = None) -> Vocabulary:
    """Classes as a command line names them.

    Args:
        words: Names; or one file: a name per line, CSV with the columns ``name`` and
            ``description``, or a JSON class file, of which all parts are taken.
        descriptions: JSON ``{class name: sentence}``.

    Raises:
        AnnotationError: If a file is missing or malformed.
        ConfigurationError: If the classes cannot be told apart.
    """
    files = [word for word in words if Path(word).suffix.lower() in (".txt", ".csv", ".json")]
    if files and len(words) > 1:
        raise ConfigurationError(f"--classes: {files[0]} beside others; name one file, or classes")
    named = _read(Path(words[0])) if files else vocabulary_of(words)
    return vocabulary_of(named, read_descriptions(descriptions) if descriptions else None)


def read_templates(words: Sequence[str]) -> tuple[str, ...]:
    """Templates as a command line names them: themselves, a set's name, or a file with one a line.

    Raises:
        ConfigurationError: If one of them is none of these.
    """
    found: list[str] = []
    for word in words:
        if "{}" in word:
            found.append(word)
        elif word in NAMED_TEMPLATES:
            found += NAMED_TEMPLATES[word]
        elif Path(word).is_file():
            lines = Path(word).read_text(encoding="utf-8").splitlines()
            found += [line.strip() for line in lines if line.strip()]
        else:
            raise ConfigurationError(
                f"--templates {word!r}: no sentence with {{}} for the name, no file, and not one "
                f"of {', '.join(NAMED_TEMPLATES)}"
            )
    return tuple(found)


def words_for(
    vocabulary: Vocabulary, templates: Sequence[str] | None = None, trained: Prompts | None = None
) -> Prompts:
    """How classes are put into words: as in training but for what a user wants otherwise.

    Args:
        vocabulary: The classes; where one is described, its description is read.
        templates: Sentences around the name; None = as in training.
        trained: Prompts of training; None = of a model that was not trained on classes.

    Raises:
        ConfigurationError: If a template has no place for the name.
    """
    before = trained or Prompts(described=False)
    if templates is None:
        return replace(before, described=before.described or any(vocabulary.descriptions))
    return Prompts(templates=tuple(templates), described=any(vocabulary.descriptions))


def retell(
    method: LightningModule,
    vocabulary: Vocabulary | None,
    templates: Sequence[str] | None,
    *,
    source: str | Path,
) -> tuple[str, ...]:
    """Make a method tell other classes apart, or the same ones in other words.

    Args:
        method: A method whose classes are text.
        vocabulary: The classes; None = those it has.
        templates: Sentences around the name; None = those it has.
        source: Where the method comes from, for messages.

    Returns:
        The names.

    Raises:
        ConfigurationError: If its classes are outputs of a trained head.
    """
    known: Any = method
    if isinstance(method, OpenVocabularyTask):
        classes = vocabulary or method.vocabulary
        if any(method.vocabulary.descriptions) and not any(classes.descriptions):
            logger.warning(
                "%s: learnt names with a sentence about each class; the typed ones have none, "
                "which --descriptions can change",
                source,
            )
        method.tell(classes, words_for(classes, templates, method.prompts))
        return classes.classes
    if not isinstance(getattr(method, "head", None), TextHead):
        raise ConfigurationError(
            f"{source}: {type(method).__name__} tells the {len(known.class_names)} classes of its "
            "training apart and knows no others, nor words for them; leave --classes and "
            "--templates out, or take a checkpoint of FROSTER or Open-VCLIP"
        )
    classes = vocabulary or Vocabulary("train", tuple(known.class_names))
    said = tuple(templates or (method.hparams.get("template", "{}"),))
    if len(said) > 1:
        raise ConfigurationError(
            f"{source}: {type(method).__name__} reads one sentence of a class; give one template"
        )
    Prompts(templates=said)  # refuses a template without a place for the name
    known.head = TextHead(classes.entries, template=said[0])
    return classes.classes


def _stripped(classes: Sequence[str]) -> tuple[str, ...]:
    if isinstance(classes, str):
        raise ConfigurationError(f"classes are {classes!r}, one text; give a list of names")
    return tuple(name.strip() for name in classes)


def _read(path: Path) -> Vocabulary:
    if path.suffix.lower() == ".csv":
        return _read_csv(path)
    parts = read_classes(path).values()
    described = any(text for part in parts for text in part.descriptions)
    names = [k for part in parts for k in (part.titles if described else part.names)]
    told = [text for part in parts for text in part.descriptions] if described else []
    return Vocabulary(TYPED, tuple(names), tuple(told))


def _read_csv(path: Path) -> Vocabulary:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            rows = [(row.get("name") or "", row.get("description") or "") for row in table]
    except OSError as error:
        raise AnnotationError(f"{path}: cannot read it: {error.strerror}") from error
    if "name" not in (table.fieldnames or ()):
        raise AnnotationError(f"{path}:1: expected the columns `name` and perhaps `description`")
    told = tuple(text.strip() for _, text in rows)
    return Vocabulary(TYPED, tuple(name.strip() for name, _ in rows), told if any(told) else ())
