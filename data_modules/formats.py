"""The annotation formats of the field, each a function from a file to rows."""

import csv
import gzip
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, get_args

from video_adapt.errors import AnnotationError
from video_adapt.video import VIDEO_SUFFIXES

from .problems import Problems

Format = Literal["auto", "folder", "list", "csv", "jsonl", "kinetics", "something"]


class Row(NamedTuple):
    """One line of an annotation file, before paths and labels are looked up.

    Attributes:
        where: ``file:line``.
        paths: Where the video may lie below the root; the first that exists is taken.
        label: Class index, class name (or digits), or None where the file gives none.
        start_s: Start of the clip inside the video in seconds; None = from its beginning.
        end_s: End of the clip inside the video in seconds; None = to its end.
        split: Name of the split as written, or None.
    """

    where: str
    paths: tuple[str, ...]
    label: int | str | None
    start_s: float | None = None
    end_s: float | None = None
    split: str | None = None


def parse(source: Path, format: Format, problems: Problems) -> Iterator[Row]:  # noqa: A002
    """Read a list in the stated format, or in the one that its content shows.

    Raises:
        AnnotationError: If the file cannot be read, or (strict problems) a line is malformed.
    """
    try:
        yield from PARSERS[detect(source) if format == "auto" else format](source, problems)
    except OSError as error:
        raise AnnotationError(f"{source}: cannot read the list: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{source}: is not UTF-8 text; is it really a list?") from error


def detect(source: Path) -> Format:
    """The format of a list, told from its suffix and its first line."""
    if source.is_dir():
        return "folder"
    suffix = source.with_suffix("").suffix if source.suffix == ".gz" else source.suffix
    if suffix == ".jsonl":
        return "jsonl"
    if suffix == ".json":
        return "something"
    with open_list(source) as file:
        first = next((line.strip() for line in file if line.strip()), "")
    columns = {cell.strip() for cell in first.split(",")}
    if "youtube_id" in columns:
        return "kinetics"
    if "path" in columns:
        return "csv"
    rest, _, last = first.rpartition(" ")
    spaced = last.isdecimal() and not rest.rstrip().endswith(",")
    return "csv" if "," in first and not spaced else "list"


def parse_folder(source: Path, problems: Problems) -> Iterator[Row]:
    """``<class>/**/*.mp4``: the name of the first folder is the label."""
    if not source.is_dir():
        raise AnnotationError(f"{source}: is not a folder; format `folder` needs one per class")
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in VIDEO_SUFFIXES:
                yield Row(str(path), (str(path.absolute()),), folder.name)


def parse_list(source: Path, problems: Problems) -> Iterator[Row]:
    """``relative/path class_index``; the path may hold spaces (Kinetics text lists)."""
    for where, line in list_lines(source):
        path, _, label = line.replace("\t", " ").rpartition(" ")
        if not path or not label.isdecimal():
            text = f"expected `path class_index`, found {line!r}"
            problems.add("malformed", where, text)
            continue
        yield Row(where, (path.strip(),), int(label))


def parse_csv(source: Path, problems: Problems) -> Iterator[Row]:
    """``path[,label,start_s,end_s,split]`` with a header, or ``path,label`` without one."""
    with open_list(source) as file:
        first = file.readline()
    columns = [cell.strip() for cell in first.split(",")]
    if "path" not in columns:
        yield from _parse_headless_csv(source, problems)
        return
    for where, cells in csv_rows(source, problems):
        yield from _row_of_columns(where, cells, problems)


def parse_jsonl(source: Path, problems: Problems) -> Iterator[Row]:
    """One JSON object a line, with the keys ``path, label[, start_s, end_s, split]``."""
    for where, line in list_lines(source):
        try:
            cells = json.loads(line)
        except json.JSONDecodeError as error:
            problems.add("malformed", where, f"not valid JSON: {error.msg}")
            continue
        if not isinstance(cells, dict):
            problems.add("malformed", where, "expected an object with `path` and `label`")
            continue
        yield from _row_of_columns(where, cells, problems)


def parse_kinetics(source: Path, problems: Problems) -> Iterator[Row]:
    """Official CSV: ``label,youtube_id,time_start,time_end,split``, label absent in the test list.

    Clips are files ``<youtube_id>_<start:06d>_<end:06d>`` in a folder per label (with spaces or
    underscores) or all in one, below the root or below a folder named like the split.
    """
    for where, cells in csv_rows(source, problems):
        try:
            start, end = int(cells["time_start"]), int(cells["time_end"])
            stem = f"{cells['youtube_id']}_{start:06d}_{end:06d}"
        except (KeyError, ValueError) as error:
            text = f"expected youtube_id, time_start and time_end in whole seconds: {error}"
            problems.add("malformed", where, text)
            continue
        if end <= start:
            problems.add("time", where, f"time_end {end} is not after time_start {start}")
            continue
        label, split = cells.get("label") or None, cells.get("split") or None
        yield Row(where, _kinetics_paths(stem, label, split), label, split=split)


def parse_something(source: Path, problems: Problems) -> Iterator[Row]:
    """Something-Something v2: a JSON list of objects with ``id`` and ``label_idx`` or ``template``.

    A template is a class name once its square brackets are removed. Videos are ``<id>.webm`` or
    ``<id>.mp4`` straight below the root.
    """
    for where, item in json_items(source):
        video = item.get("id") if isinstance(item, dict) else None
        if video is None:
            problems.add("malformed", where, "expected an object with `id`")
            continue
        label = item.get("label_idx")
        if label is None and "template" in item:
            label = re.sub(r"[\[\]]", "", item["template"])
        yield Row(where, (f"{video}.webm", f"{video}.mp4"), label)


PARSERS: Mapping[str, Callable[[Path, Problems], Iterator[Row]]] = {
    "folder": parse_folder,
    "list": parse_list,
    "csv": parse_csv,
    "jsonl": parse_jsonl,
    "kinetics": parse_kinetics,
    "something": parse_something,
}
assert {"auto", *PARSERS} == set(get_args(Format))


def open_list(source: Path) -> IO[str]:
    """Open a list as text, also a gzipped one."""
    # utf-8-sig: spreadsheets put a byte-order mark in front of the first column's name.
    if source.suffix == ".gz":
        return gzip.open(source, "rt", encoding="utf-8-sig", newline="")
    return source.open(encoding="utf-8-sig", newline="")


def list_lines(source: Path) -> Iterator[tuple[str, str]]:
    """``file:line`` and text of every line that is not blank."""
    with open_list(source) as file:
        for number, line in enumerate(file, 1):
            if text := line.strip():
                yield f"{source}:{number}", text


def csv_rows(source: Path, problems: Problems) -> Iterator[tuple[str, dict[str, str]]]:
    """``file:line`` of every row below a header, and its cells by column."""
    with open_list(source) as file:
        reader = csv.reader(file)
        header = [cell.strip() for cell in next(reader, [])]
        for cells in reader:
            where = f"{source}:{reader.line_num}"
            if header == ["path", "label"] and len(cells) > 2:  # a comma in the name of a file
                cells = [",".join(cells[:-1]), cells[-1]]
            if len(cells) == len(header):
                values = (cell.strip() for cell in cells)
                yield where, dict(zip(header, values, strict=True))
            elif cells:
                text = f"{len(cells)} columns where the header names {len(header)}"
                problems.add("malformed", where, text)


def _parse_headless_csv(source: Path, problems: Problems) -> Iterator[Row]:
    for where, line in list_lines(source):
        path, _, label = (part.strip() for part in line.rpartition(","))
        if not path or not label:
            problems.add("malformed", where, f"expected `path,label`, found {line!r}")
            continue
        yield Row(where, (path.strip('"'),), label)


def _row_of_columns(where: str, cells: Mapping[str, Any], problems: Problems) -> Iterator[Row]:
    """A row of one's own manifest; empty cells count as absent."""
    given = {key: value for key, value in cells.items() if value not in ("", None)}
    if "path" not in given:
        problems.add("malformed", where, "the column `path` is empty")
        return
    try:
        start_s, end_s = (
            float(given[key]) if key in given else None for key in ("start_s", "end_s")
        )
    except (TypeError, ValueError) as error:
        problems.add("malformed", where, f"start_s and end_s must be seconds: {error}")
        return
    label = given.get("label")
    if label is not None and not isinstance(label, int | str):
        problems.add("malformed", where, f"label must be a name or an index, found {label!r}")
        return
    yield Row(where, (str(given["path"]),), label, start_s, end_s, given.get("split"))


def _kinetics_paths(stem: str, label: str | None, split: str | None) -> tuple[str, ...]:
    labels = (f"{label}/", f"{label.replace(' ', '_')}/") if label else ()
    tops = ("", f"{split}/") if split else ("",)
    folders: Sequence[str] = [top + name for top in tops for name in (*labels, "")]
    return tuple(f"{folder}{stem}{suffix}" for folder in folders for suffix in VIDEO_SUFFIXES[:3])


def json_items(source: Path) -> Iterator[tuple[str, Any]]:
    """Items of a top-level JSON list with their lines, which ``json.load`` does not tell."""
    with open_list(source) as file:
        text = file.read()
    decoder, space = json.JSONDecoder(), re.compile(r"[\s,\[]*")
    if not text.lstrip().startswith("["):
        raise AnnotationError(f"{source}:1: expected a JSON list of videos")
    position, line = 0, 1
    while True:
        start = space.match(text, position).end()  # type: ignore[union-attr]
        line += text.count("\n", position, start)
        if text[start : start + 1] == "]":
            return
        try:
            item, position = decoder.raw_decode(text, start)
        except json.JSONDecodeError as error:
            raise AnnotationError(f"{source}:{line}: not valid JSON: {error.msg}") from error
        yield f"{source}:{line}", item
        line += text.count("\n", start, position)
