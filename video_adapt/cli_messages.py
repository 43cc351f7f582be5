"""What the command line says of a wrong experiment file: place, cause and mend in one line.

jsonargparse names the key and the cause; the file, the line and the nearest right name are found
here, by looking at the files of the command once more.
"""

import difflib
import re
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

_CONFIG = ("-c", "--config")
# Where jsonargparse tries several types, the first of its complaints is about the wanted one.
_UNION = re.compile(r"Does not validate against any of the Union subtypes .*? Errors: - (.*?) - .*")
_WRONG_KEY = re.compile(r"(?:[Oo]ption|unrecognized arguments:) ['\"]?(?:--)?([\w.]+)")
_GROUP = re.compile(r"Group '([\w.]+)' does not accept")
_WRONG_CLASS = re.compile(r"Expected a dot import path string: ([\w.]+)")
_WRONG_VALUE = re.compile(r'Parser key "([\w.]+)": Expected an? (.+?)\. Got value: (.+)')
_NOT_GIVEN = re.compile(r"the following arguments are required: ([\w.]+)")
_NO_FILE = re.compile(r"(?:File does not exist:|Unable to load config) ['\"]([^'\"]+)['\"]")
_ALWAYS = ("class_path", "init_args", "dict_kwargs")


def explain(
    message: str, words: Sequence[str], *, options: Collection[str], classes: Collection[str]
) -> str:
    """Rewrite a complaint of jsonargparse for the person who wrote the experiment file.

    Args:
        message: The complaint.
        words: The command line.
        options: Dotted names that are right where the complaint arose.
        classes: Names of the classes that an experiment file may name.

    Returns:
        One line.
    """
    text = _UNION.sub(r"\1", " ".join(message.split()))
    if broken := next(_broken_files(words), None):
        return broken
    if found := _WRONG_CLASS.search(text):
        near = _nearest(found[1], classes)
        return f"{_place(words, found[1])}there is no class {found[1]!r}{near}"
    if found := _WRONG_VALUE.search(text):
        key, wanted, value = found[1], found[2].replace("typing.Literal", "one of "), found[3]
        wanted = re.sub(r"<class '(\w+)'>", r"\1", wanted)
        place = _place(words, key.rpartition(".")[2], value)
        return f"{place}{key} is {value!r}; expected {wanted}"
    if found := _WRONG_KEY.search(text):
        group = _GROUP.match(text)
        wrong, siblings = _first_wrong(f"{group[1]}.{found[1]}" if group else found[1], options)
        return f"{_place(words, wrong)}unknown key {wrong!r}{_nearest(wrong, siblings)}"
    if found := _NO_FILE.search(text):
        return f"{_place(words, found[1])}{found[1]}: no such experiment file; check the path"
    if found := _NOT_GIVEN.search(text):
        name = found[1].partition(".")[2] or found[1]
        return f"{name!r} is not given; name an experiment file that says it: -c FILE.yaml"
    return re.sub(r'^Parser key "([\w.]+)": ', r"\1: ", text)


def explain_interpolation(message: str, words: Sequence[str]) -> str:
    """Rewrite OmegaConf's complaint of a ``${...}`` that leads nowhere; one line.

    Args:
        message: The complaint, with ``full_key:`` on a line of its own.
        words: The command line.
    """
    cause, _, rest = message.strip().partition("\n")
    key = re.search(r"full_key: (?:\w+\.)?(\S+)", rest)
    where = f"{key[1]}: " if key else ""
    if variable := re.search(r"Environment variable '(\w+)' not found", cause):
        name = variable[1]
        return (
            f"{_place(words, name)}{where}the environment variable {name} is not set; set it in "
            f"front of the command: {name}=... video-adapt {words[0]} ..."
        )
    return f"{where}{cause}; mend the ${{...}} in the experiment file"


def _nearest(wrong: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(wrong, sorted(set(known) - {wrong}), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _first_wrong(dotted: str, options: Collection[str]) -> tuple[str, set[str]]:
    """The first part of a dotted key that is wrong, and what could stand in its place."""
    parts = dotted.split(".")
    for place, part in enumerate(parts):
        above = "".join(f"{name}." for name in parts[:place])
        siblings = {
            option.removeprefix(above).partition(".")[0]
            for option in options
            if option.startswith(above)
        }
        if part not in siblings and part not in _ALWAYS:
            return part, siblings
    return parts[-1], set()


def _place(words: Sequence[str], name: str, value: str | None = None) -> str:
    """The option, or the file and line, in which a name stands, if there is just one."""
    for word in words:
        option, _, given = word.partition("=")
        if word.startswith("--") and name in (*re.split(r"[.+]", option.lstrip("-")), given):
            return f"{option}: "
    ends = rf"['\"]?\s*:\s*['\"]?{re.escape(value)}" if value is not None else r"(?!\w)"
    pattern = re.compile(rf"(?<!\w){re.escape(name)}{ends}")
    hits = [
        f"{path}:{number}: "
        for path in _files(words)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line.partition("#")[0])
    ]
    return hits[0] if len(hits) == 1 else ""


def _files(words: Sequence[str]) -> list[Path]:
    """The experiment files of the command and the YAML files that they name."""
    given = [b for a, b in pairwise(words) if a in _CONFIG]
    given += [word.partition("=")[2] for word in words if word.startswith("--config=")]
    waiting, found = [Path(name) for name in given], []
    while waiting:
        path = waiting.pop()
        if path.is_file() and path not in found:
            found.append(path)
            named = re.findall(r"[\w./+-]+\.ya?ml\b", path.read_text(encoding="utf-8"))
            waiting += [path.parent / name for name in named]
    return found


def _broken_files(words: Sequence[str]) -> Iterator[str]:
    """What is wrong with those files that are no YAML at all."""
    import yaml

    for path in _files(words):
        try:
            yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            yield f"{path}:{line}: not valid YAML: {error.problem}"
