"""Captions find their videos, and what cannot be learned from or searched is refused."""

import logging
from pathlib import Path

import pytest

from data_modules.caption_formats import CaptionRow
from data_modules.captions import CaptionManifest, CaptionRules, build_manifest, tell
from data_modules.problems import Problems
from video_adapt.errors import AnnotationError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "videos").mkdir()
    for name in ("a.mp4", "b.avi", "v_x.y.mp4"):
        (tmp_path / "videos" / name).touch()
    (tmp_path / "own.mov").touch()
    return tmp_path


def _row(video: str, caption: str | None = "x", line: int = 1, **values) -> CaptionRow:
    return CaptionRow(f"list:{line}", video, caption, **values)


def _build(
    root: Path, *rows: CaptionRow, known=None, problems: Problems | None = None, **rules
) -> CaptionManifest:
    problems = problems or Problems()
    told = tell(rows, known or {}, problems)
    return build_manifest(
        told, source=Path("list"), root=root, rules=CaptionRules(**rules), problems=problems
    )


def _found(manifest: CaptionManifest) -> list[str]:
    return [Path(entry.path).name for entry in manifest.entries]


def test_captions_are_grouped_by_video_in_the_order_of_first_mention(root: Path) -> None:
    rows = (_row("b", "one", 1), _row("a", " two  words ", 2), _row("b", "three", 3))
    manifest = _build(root, *rows)
    assert [entry.name for entry in manifest.entries] == ["b", "a"]
    assert manifest.captions == ["one", "three", "two words"]
    assert manifest.caption_video.tolist() == [0, 0, 1]
    assert manifest.first_caption.tolist() == [0, 2, 3]
    assert [entry.where for entry in manifest.entries] == ["list:1", "list:2"]
    assert [one.where for one in manifest.entries[0].captions] == ["list:1", "list:3"]


def test_a_list_of_names_takes_the_captions_of_another_file(root: Path) -> None:
    known = {
        "a": [CaptionRow("c:1", "a", "one"), CaptionRow("c:2", "a", "two")],
        "z": [CaptionRow("c:3", "z", "of no listed video")],
        "b": [CaptionRow("c:4", "b", "three")],
    }
    manifest = _build(root, _row("b", None, 1), _row("a", None, 2), known=known)
    assert manifest.captions == ["three", "one", "two"]
    assert [entry.where for entry in manifest.entries] == ["list:1", "list:2"]
    assert manifest.entries[1].captions[1].where == "c:2"


def test_same_words_twice_are_two_captions(root: Path) -> None:
    assert _build(root, _row("a", "x"), _row("a", "x")).captions == ["x", "x"]


def test_parts_of_a_video_are_videos_of_their_own(root: Path) -> None:
    rows = [_row("a", str(n), start_s=start, end_s=end) for n, start, end in ((1, 0, 5), (2, 5, 9))]
    manifest = _build(root, *rows, _row("a", "3", start_s=0, end_s=5))
    assert [(entry.start_s, entry.end_s) for entry in manifest.entries] == [(0, 5), (5, 9)]
    assert manifest.captions == ["1", "3", "2"]
    limited = _build(root, *rows, _row("b", "x"), until_s=7)
    assert [entry.end_s for entry in limited.entries] == [5, 7, 7]


def test_paragraph_joins_all_captions(root: Path) -> None:
    manifest = _build(root, _row("a", "One. "), _row("b", "x"), _row("a", "Two."), paragraph=True)
    assert manifest.captions == ["One. Two.", "x"]


def test_files_are_found_by_name_suffix_and_path(root: Path) -> None:
    names = ("a", "b.mp4", "v_x.y", "./own.mov")
    manifest = _build(root, *(_row(name) for name in names))
    assert _found(manifest) == ["a.mp4", "b.avi", "v_x.y.mp4", "own.mov"]
    assert _found(_build(root, _row("own.mov"))) == ["own.mov"]
    assert _found(_build(root, _row("own"), path="{name}")) == ["own.mov"]
    assert _found(_build(root, _row("a"), path="videos/{name}.mp4")) == ["a.mp4"]
    with pytest.raises(AnnotationError, match=r"first .*videos/b.mp4;"):
        _build(root, _row("b"), _row("a"), path="videos/{name}.mp4")


@pytest.mark.parametrize(
    ("rows", "kind", "where", "cause"),
    [
        ([_row("a", ""), _row("a")], "caption", "list:1", "a caption of a is empty; fill it in"),
        ([_row("a"), _row("b", None, 2)], "caption", "list:2", "b has no caption; add one"),
        ([_row("a", None), _row("a", None, 2)], "duplicate", "list:2", "a is already in list:1"),
        ([_row("a", start_s=3, end_s=3)], "time", "list:1", "from 3 s to 3 s; the end must"),
        ([_row("a", start_s=-1)], "time", "list:1", "the start not before 0"),
        ([_row("a"), _row("z", line=2)], "missing", "list:2", "videos/z.mp4"),
    ],
)
def test_faults(root: Path, rows, kind: str, where: str, cause: str) -> None:
    known = {"a": [_row("a", "known")]}
    with pytest.raises(AnnotationError, match=f"^{where}: .*{cause}"):
        _build(root, *rows, known=known)
    problems = Problems(strict=False)
    _build(root, *rows, known=known, problems=problems)
    (problem,) = problems.found
    assert (problem.kind, problem.where) == (kind, where)
    assert cause in problem.message


def test_left_out_captions_are_counted_and_named(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = (_row("a", " ", 1), _row("a", "x", 2), _row("b", None, 3), _row("z", "y", 4))
    with caplog.at_level(logging.WARNING):
        manifest = _build(root, *rows, skip=True)
    assert manifest.captions == ["x"]
    assert [entry.name for entry in manifest.missing] == ["z"]
    assert len(caplog.messages) == 1
    assert "list:1: a caption of a is empty; fill it in or remove it; 1 more" in caplog.text
    with pytest.raises(AnnotationError, match="already in list:1"):
        _build(root, _row("a", None, 1), _row("a", None, 2), known={"a": [_row("a")]}, skip=True)


def test_no_video_at_all(root: Path) -> None:
    with pytest.raises(AnnotationError, match=r"list: none of its 1 videos exists below .*captio"):
        _build(root, _row("z"), skip=True)


def test_digest_depends_on_all_that_is_said_and_not_on_the_folder(root: Path) -> None:
    first = _build(root, _row("a", "x"), _row("b", "y")).digest()
    assert first == _build(root, _row("a", "x", 7), _row("b", "y")).digest()
    for rows in ((_row("a", "x"), _row("b", "z")), (_row("a", "x"), _row("b", "y", end_s=3.0))):
        assert _build(root, *rows).digest() != first
