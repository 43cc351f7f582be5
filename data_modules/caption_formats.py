"""Files of captions as they are handed around, each format a function from a file to rows.

========================= ======================================================================
data set                  files
========================= ======================================================================
MSR-VTT, VATEX            JSON ``{"videos": [{video_id, split}], "sentences": [{video_id,
                          caption}]}``; CSV lists ``video_id``; CSV ``video_id,sentence``
MSVD                      text lists, a name a line; JSON or pickle ``{name: [caption]}``, a
                          caption being a text or its words
ActivityNet Captions      JSON ``{name: {duration, timestamps, sentences}}``; JSON lists of names
DiDeMo                    text lists; JSON ``[{video, description}]``
one's own                 CSV or JSONL ``video,caption[,split,start_s,end_s]``
========================= ======================================================================
"""

import gzip
import io
import json
import math
import pickle
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from video_adapt.errors import AnnotationError

from .formats import csv_rows, json_items, list_lines, open_list
from .problems import Problems

_VIDEO_KEYS = ("video_id", "video", "path")
_CAPTION_KEYS = ("caption", "sentence", "description")


class CaptionRow(NamedTuple):
    """One caption of a file, or a video that it only names.

    Attributes:
        where: ``file:line``, in JSON with the name of the video.
        video: What the file calls the video; with a slash in it a path below the root.
        caption: The caption as written; None where the video is only named.
        split: Name of the split as written, or None.
        start_s: Start of the part of the video that is described, in seconds; None = its beginning.
        end_s: End of that part in seconds; None = the end of the video.
    """

    where: str
    video: str
    caption: str | None = None
    split: str | None = None
    start_s: float | None = None
    end_s: float | None = None


def parse_captions(source: Path, problems: Problems) -> list[CaptionRow]:
    """Read a file of captions, or a list of videos, in the format that its content shows.

    Raises:
        AnnotationError: If it cannot be read at all or (strict problems) a row is malformed.
    """
    suffix = source.with_suffix("").suffix if source.suffix == ".gz" else source.suffix
    try:
        return list(_PARSERS.get(suffix, parse_names)(source, problems))
    except OSError as error:
        raise AnnotationError(
            f"{source}: cannot read the captions: {error.strerror or error}"
        ) from error
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{source}: is not UTF-8 text; is it really a list?") from error


def parse_names(source: Path, problems: Problems) -> Iterator[CaptionRow]:
    """Names of videos, one a line."""
    for where, line in list_lines(source):
        yield CaptionRow(where, line)


def parse_csv(source: Path, problems: Problems) -> Iterator[CaptionRow]:
    """Columns of any order; one names the video, one may hold the caption."""
    with open_list(source) as file:
        header = file.readline()
    if not set(_VIDEO_KEYS) & {cell.strip() for cell in header.split(",")}:
        text = f"{source}:1: no column names the video; expected one of {', '.join(_VIDEO_KEYS)}"
        raise AnnotationError(f"{text} in the header, e.g. `video,caption`")
    told = bool(set(_CAPTION_KEYS) & {cell.strip() for cell in header.split(",")})
    for where, cells in csv_rows(source, problems):
        yield from _row_of(where, cells, told, problems)


def parse_jsonl(source: Path, problems: Problems) -> Iterator[CaptionRow]:
    """One object a line, with the keys ``video`` and ``caption``."""
    for where, line in list_lines(source):
        try:
            item = json.loads(line)
        except json.JSONDecodeError as error:
            problems.add("malformed", where, f"not valid JSON: {error.msg}")
            continue
        yield from _row_of_item(where, item, problems)


def parse_json(source: Path, problems: Problems) -> Iterator[CaptionRow]:
    """A list of names or of objects, MSR-VTT's tables, or an object with a key per video."""
    with open_list(source) as file:
        text = file.read()
    if text.lstrip().startswith("["):
        for where, item in json_items(source):
            yield from _row_of_item(where, item, problems)
        return
    try:
        content = json.loads(text, object_pairs_hook=_Pairs)
    except json.JSONDecodeError as error:
        raise AnnotationError(f"{source}:{error.lineno}: not valid JSON: {error.msg}") from error
    if not isinstance(content, _Pairs) or not content:
        raise AnnotationError(f"{source}:1: expected captions by video, e.g. {{name: [caption]}}")
    if "sentences" in content:
        yield from _tables(source, content, text, problems)
    else:
        lines = _lines_of_keys(text)
        for name in content.repeated:
            message = f"video {name!r} has two entries, of which only the last counts; merge them"
            problems.add("duplicate", _at(source, lines.get(name, 1), name), message)
        for name, told in content.items():
            yield from _of_video(_at(source, lines.get(name, 1), name), name, told, problems)


def parse_pickle(source: Path, problems: Problems) -> Iterator[CaptionRow]:
    """MSVD's ``raw-captions.pkl``: a dictionary from names to lists of captions, nothing else."""
    packed = source.read_bytes()
    with io.BytesIO(gzip.decompress(packed) if source.suffix == ".gz" else packed) as file:
        try:
            content = _PlainUnpickler(file, encoding="utf-8").load()
        except (pickle.UnpicklingError, EOFError, ValueError, IndexError) as error:
            raise AnnotationError(f"{source}: not a pickle of captions: {error}") from error
    if not isinstance(content, dict):
        raise AnnotationError(f"{source}: expected a dictionary {{name: [caption]}}")
    for name, told in content.items():
        yield from _of_video(f"{source} ({name})", str(name), told, problems)


_PARSERS = {
    ".csv": parse_csv,
    ".jsonl": parse_jsonl,
    ".json": parse_json,
    ".pkl": parse_pickle,
    ".pickle": parse_pickle,
}


class _PlainUnpickler(pickle.Unpickler):
    """Reads containers, numbers and text: a pickle can otherwise run any program."""

    def find_class(self, module: str, name: str) -> NoReturn:
        """Refuse everything that is not plain.

        Raises:
            UnpicklingError: Always.
        """
        raise pickle.UnpicklingError(f"holds a {module}.{name}, which captions do not need")


class _Pairs(dict[str, Any]):
    """A JSON object that remembers which keys it was given more than once."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        counts = Counter(key for key, _ in pairs) if len(pairs) > len(self) else {}
        self.repeated = [key for key, count in counts.items() if count > 1]


def _tables(source: Path, content: _Pairs, text: str, problems: Problems) -> Iterator[CaptionRow]:
    """MSR-VTT: a table of videos, which may be missing, and one of sentences."""
    splits: dict[str, str | None] = {}
    places: dict[str, str] = {}
    lines = _lines_of(r'"video_id"\s*:', text)
    videos, sentences = _table(source, content, "videos"), _table(source, content, "sentences")
    # Either table may come first; every object has one `video_id`.
    first = next(iter(key for key in content if key in ("videos", "sentences")))
    starts = (0, len(videos)) if first == "videos" else (len(sentences), 0)
    for number, video in enumerate(videos):
        name, where = _named(source, lines, starts[0] + number, video, problems)
        if name in splits:
            problems.add("duplicate", where, f"video {name!r} is already in {places[name]}")
        if name is not None:
            splits[name] = None if video.get("split") is None else str(video["split"])
            places[name] = where
    told: set[str] = set()
    for number, sentence in enumerate(sentences):
        name, where = _named(source, lines, starts[1] + number, sentence, problems)
        if name is None:
            continue
        if splits and name not in splits:
            problems.add("malformed", where, f"a caption of {name!r}, which is not in `videos`")
            continue
        told.add(name)
        yield CaptionRow(where, name, str(sentence.get("caption", "")), splits.get(name))
    for name, split in splits.items():
        if name not in told:
            yield CaptionRow(places[name], name, None, split)


def _table(source: Path, content: Mapping[str, Any], key: str) -> list[Any]:
    table = content.get(key, [])
    if not isinstance(table, list):
        raise AnnotationError(f"{source}:1: `{key}` must be a list of objects")
    return table


def _named(
    source: Path, lines: list[int], number: int, item: Any, problems: Problems
) -> tuple[str | None, str]:
    """Name and place of the video that an object is about."""
    line = lines[number] if number < len(lines) else 1
    name = item.get("video_id") if isinstance(item, dict) else None
    if name is None:
        where = f"{source}:{line}"
        problems.add("malformed", where, f"expected an object with `video_id`, found {item!r}")
        return None, where
    return str(name), _at(source, line, str(name))


def _of_video(where: str, name: str, told: Any, problems: Problems) -> Iterator[CaptionRow]:
    """Captions under the name of a video: a list, a text, or ActivityNet's object."""
    start_s = end_s = None
    if isinstance(told, dict):
        try:
            # As released: the whole of the video, in whole seconds.
            start_s, end_s = 0.0, float(math.ceil(float(told["duration"])))
            told = told["sentences"]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            problems.add("malformed", where, f"expected `duration` and `sentences`: {error!r}")
            return
    captions = [told] if isinstance(told, str) else told
    if not isinstance(captions, list):
        problems.add("malformed", where, f"expected a list of captions, found {captions!r}")
        return
    if not captions:
        yield CaptionRow(where, name, None, None, start_s, end_s)
    for caption in captions:
        text = " ".join(map(str, caption)) if isinstance(caption, list) else str(caption)
        yield CaptionRow(where, name, text, None, start_s, end_s)


def _row_of_item(where: str, item: Any, problems: Problems) -> Iterator[CaptionRow]:
    if isinstance(item, str):
        yield CaptionRow(where, item)
    elif isinstance(item, dict):
        yield from _row_of(where, item, bool(set(_CAPTION_KEYS) & set(item)), problems)
    else:
        problems.add("malformed", where, "expected an object with `video` and `caption`")


def _row_of(
    where: str, cells: Mapping[str, Any], told: bool, problems: Problems
) -> Iterator[CaptionRow]:
    """A row of columns; the first that names a video, and a caption, count."""
    name = _first(cells, _VIDEO_KEYS)
    if not name:
        problems.add("malformed", where, f"names no video; fill in {' or '.join(_VIDEO_KEYS)}")
        return
    caption = _first(cells, _CAPTION_KEYS) if told else None
    try:
        start_s, end_s = (
            None if cells.get(key) in (None, "") else float(cells[key])
            for key in ("start_s", "end_s")
        )
    except (TypeError, ValueError) as error:
        problems.add("malformed", where, f"start_s and end_s must be seconds: {error}")
        return
    split = None if cells.get("split") in (None, "") else str(cells["split"])
    yield CaptionRow(where, name, caption, split, start_s, end_s)


def _first(cells: Mapping[str, Any], keys: Iterable[str]) -> str:
    """The first of some cells that is there, as text."""
    return next((str(cells[key]) for key in keys if cells.get(key) is not None), "")


def _at(source: Path, line: int, name: str) -> str:
    """A place in JSON, where a line can hold all videos of a data set."""
    return f"{source}:{line} ({name})"


def _lines_of(key: str, text: str) -> list[int]:
    """Line of every match of a key, which ``json.loads`` does not tell."""
    lines: list[int] = []
    line, position = 1, 0
    for found in re.finditer(key, text):
        line += text.count("\n", position, found.start())
        position = found.start()
        lines.append(line)
    return lines


def _lines_of_keys(text: str) -> dict[str, int]:
    """Line of the last list, object or text under each key."""
    key = r'"((?:[^"\\]|\\.)*)"\s*:\s*["\[{]'
    names = (json.loads(f'"{name}"') for name in re.findall(key, text))
    return dict(zip(names, _lines_of(key, text), strict=True))
