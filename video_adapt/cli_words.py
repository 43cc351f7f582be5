"""Words of the command line that have to be put in another way for jsonargparse to understand."""

import json
import re
from collections.abc import Iterator, Sequence

_NULLS = ("null", "None", "~")
_INSIDE = re.compile(r"init_args\.\w+\.")


def spell_nulls(words: Sequence[str]) -> list[str]:
    """Let ``--x=null`` mean null wherever x stands; ``None``, which W&B's agent writes, too.

    A null for a value inside a component of a component, such as
    ``--data.init_args.loader.short_side=null``, is handed on by jsonargparse 4.53 as the text
    "None". It does read it right from an experiment file, so such a word becomes one of a line.

    Args:
        words: The command and its arguments.
    """
    return [_as_file(word) for word in _joined(words)]


def _joined(words: Sequence[str]) -> Iterator[str]:
    """The words, ``--x null`` in one."""
    option = ""
    for word in words:
        if option and word in _NULLS:
            yield f"{option}=null"
            option = ""
            continue
        if option:
            yield option
        option = word if word.startswith("--") and "=" not in word else ""
        if not option:
            yield word
    if option:
        yield option


def _as_file(word: str) -> str:
    key, _, value = word.partition("=")
    if not key.startswith("--") or value not in _NULLS:
        return word
    if not _INSIDE.search(key):
        return f"{key}=null"
    content: object = None
    for part in reversed(key.removeprefix("--").split(".")):
        content = {part: content}
    return f"--config={json.dumps(content)}"
