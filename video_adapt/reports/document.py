"""A report as a list of parts, written as Markdown and as one HTML file holding its pictures."""

import base64
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple, TypeAlias


class Heading(NamedTuple):
    """A heading; level 1 is the title."""

    text: str
    level: int = 2


class Paragraph(NamedTuple):
    """A paragraph of plain text."""

    text: str


class Table(NamedTuple):
    """A table; the first column names the rows, the others are figures, or texts."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: bool = False


class Picture(NamedTuple):
    """A PNG beside the report."""

    path: Path
    caption: str


class Listing(NamedTuple):
    """Text to be read letter by letter, folded away in HTML."""

    title: str
    text: str


DPI = 150  # of save_figure

Part: TypeAlias = Heading | Paragraph | Table | Picture | Listing

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, "Segoe UI", "Helvetica Neue", sans-serif; color: #22303c;
       max-width: 1080px; margin: 3rem auto; padding: 0 1.5rem; background: #fff; }
h1 { font-size: 1.9rem; margin: 0 0 .4rem; letter-spacing: -.01em; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .6rem; }
p { margin: .4rem 0 1rem; color: #44525f; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: .45rem .9rem .45rem 0; text-align: right; border-bottom: 1px solid #e8edf1; }
th { font-weight: 600; font-size: .86rem; color: #6b7a88; }
th:first-child, td:first-child { text-align: left; color: #22303c; }
table.texts th, table.texts td { text-align: left; }
table.texts td:first-child { white-space: nowrap; }
table.pairs { display: inline-table; vertical-align: top; width: 24rem; margin-right: 4rem; }
figure { display: inline-block; vertical-align: top; max-width: 100%;
         margin: .8rem 1.6rem 1.2rem 0; }
figure img { max-width: 100%; height: auto; display: block; }
figcaption { font-size: .86rem; color: #6b7a88; }
details { margin: 1rem 0; }
summary { cursor: pointer; color: #0072b2; }
pre { background: #f4f7f9; padding: 1rem; border-radius: 6px; overflow-x: auto; font-size: .8rem; }
""".strip()


def write_report(folder: Path, parts: Sequence[Part]) -> Path:
    """Write ``report.md`` and ``report.html`` into a folder; returns the path of the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(to_markdown(parts, folder), encoding="utf-8")
    page = folder / "report.html"
    page.write_text(to_html(parts), encoding="utf-8")
    return page


def to_markdown(parts: Sequence[Part], folder: Path) -> str:
    """The parts as Markdown whose pictures are named relative to a folder."""
    return "\n\n".join(_markdown(part, folder) for part in parts) + "\n"


def to_html(parts: Sequence[Part]) -> str:
    """The parts as one page that needs no other file."""
    title = next((part.text for part in parts if isinstance(part, Heading)), "Report")
    body = "\n".join(_html(part) for part in parts)
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{escape(title)}</title>'
        f'\n<meta name="viewport" content="width=device-width">\n<style>\n{_STYLE}\n</style>\n'
        f"{body}\n</html>\n"
    )


def _markdown(part: Part, folder: Path) -> str:
    match part:
        case Heading(text, level):
            return f"{'#' * level} {text}"
        case Paragraph(text):
            return text
        case Table(header, rows, texts):
            others = "---" if texts else "---:"
            lines = [header, ["---", *[others] * (len(header) - 1)], *rows]
            return "\n".join(f"| {' | '.join(_cell(c) for c in line)} |" for line in lines)
        case Picture(path, caption):
            return f"![{caption}]({path.relative_to(folder).as_posix()})"
        case Listing(title, text):
            return f"**{title}**\n\n```yaml\n{text.rstrip()}\n```"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _html(part: Part) -> str:
    match part:
        case Heading(text, level):
            return f"<h{level}>{escape(text)}</h{level}>"
        case Paragraph(text):
            marked = re.sub("`(.+?)`", r"<code>\1</code>", escape(text))
            return f"<p>{marked}</p>"
        case Table(header, rows, texts):
            head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
            body = "".join(
                f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>\n" for row in rows
            )
            kind = ' class="texts"' if texts else ' class="pairs"' if len(header) == 2 else ""
            return (
                f"<table{kind}>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>"
            )
        case Picture(path, caption):
            content = path.read_bytes()
            data = base64.b64encode(content).decode()
            return (
                f'<figure style="width: {_width_inch(content):.2f}in">'
                f'<img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
                f"<figcaption>{escape(caption)}</figcaption></figure>"
            )
        case Listing(title, text):
            return f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>"


def _width_inch(png: bytes) -> float:
    """Width at the house's resolution, at which letters are of one size in all pictures."""
    return int.from_bytes(png[16:20], "big") / DPI
