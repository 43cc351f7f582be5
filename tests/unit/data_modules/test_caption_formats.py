"""Captions of every known format become the same rows, faults with file and line."""

import gzip
import json
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

from data_modules.caption_formats import CaptionRow, parse_captions
from data_modules.problems import Problems
from video_adapt.errors import AnnotationError


def _told(source: Path, problems: Problems | None = None) -> list[tuple[str, str | None]]:
    return [(row.video, row.caption) for row in parse_captions(source, problems or Problems())]


def _write(path: Path, content: Any, **options: Any) -> Path:
    text = content if isinstance(content, str) else json.dumps(content, **options)
    path.write_text(text)
    return path


def test_lists_name_videos(tmp_path: Path) -> None:
    names = [("a", None), ("-b_1_2", None)]
    assert _told(_write(tmp_path / "list.txt", "a\n\n-b_1_2\n")) == names
    assert _told(_write(tmp_path / "ids.json", ["a", "-b_1_2"])) == names
    source = _write(tmp_path / "list.csv", "video_id\na\n-b_1_2\n")
    assert _told(source) == names
    assert [row.where for row in parse_captions(source, Problems())] == [
        f"{source}:2",
        f"{source}:3",
    ]


def test_tables_with_a_caption_a_row(tmp_path: Path) -> None:
    test = 'key,vid_key,video_id,sentence\nret0,msr1,video1,"a dog, a cat"\n'
    (row,) = parse_captions(_write(tmp_path / "test.csv", test), Problems())
    assert row == CaptionRow(f"{tmp_path}/test.csv:2", "video1", "a dog, a cat")
    own = "video,caption,split,start_s,end_s\nclips/a.mp4,hello,val,1.5,4\nclips/a.mp4,,val,,\n"
    rows = parse_captions(_write(tmp_path / "own.csv", own), Problems())
    assert rows[0][1:] == ("clips/a.mp4", "hello", "val", 1.5, 4.0)
    assert rows[1][1:] == ("clips/a.mp4", "", "val", None, None)
    lines = '{"video": "a", "caption": "hello", "end_s": 3}\n{"video": "b"}\n'
    rows = parse_captions(_write(tmp_path / "own.jsonl", lines), Problems())
    assert [row[1:] for row in rows] == [
        ("a", "hello", None, None, 3.0),
        ("b", None, None, None, None),
    ]


@pytest.mark.parametrize("reverse", [False, True])
def test_tables_of_msrvtt(tmp_path: Path, reverse: bool) -> None:
    tables = {
        "videos": [
            {"video_id": "video0", "split": "train", "start time": 3.0},
            {"video_id": "video1", "split": "validate"},
            {"video_id": "video2", "split": "test"},
        ],
        "sentences": [  # sentences of a video need not be neighbours; a key may occur in a text
            {"caption": "one", "video_id": "video1", "sen_id": 0},
            {"caption": 'says "video_id": twice', "video_id": "video0", "sen_id": 1},
            {"caption": "three", "video_id": "video1", "sen_id": 2},
        ],
    }
    order = sorted(tables, reverse=reverse)
    source = _write(tmp_path / "data.json", {"info": {}, **{k: tables[k] for k in order}}, indent=1)
    lines = source.read_text().splitlines()
    rows = parse_captions(source, Problems())
    assert [row[1:4] for row in rows] == [
        ("video1", "one", "validate"),
        ("video0", 'says "video_id": twice', "train"),
        ("video1", "three", "validate"),
        ("video2", None, "test"),
    ]
    for row, near in zip(rows, ('"one"', "says", '"three"', '"video2"'), strict=True):
        line = next(i for i, text in enumerate(lines, 1) if near in text)
        line += row.caption is not None  # `video_id` follows the caption
        assert row.where == f"{source}:{line} ({row.video})"


def test_captions_by_video(tmp_path: Path) -> None:
    told = [("a", "one"), ("a", "two words"), ("b", "three")]
    source = _write(tmp_path / "c.json", {"a": ["one", "two words"], "b": "three"}, indent=1)
    assert _told(source) == told
    assert [row.where for row in parse_captions(source, Problems())] == [
        f"{source}:2 (a)",
        f"{source}:2 (a)",
        f"{source}:6 (b)",
    ]
    words = {"a": [["one"], ["two", "words"]], "b": [["three"]]}
    assert _told(_write(tmp_path / "words.json", words)) == told
    for protocol in (0, 2, 4):
        (tmp_path / "c.pkl").write_bytes(pickle.dumps(words, protocol))
        assert _told(tmp_path / "c.pkl") == told
    (tmp_path / "c.json.gz").write_bytes(gzip.compress(source.read_bytes()))
    assert _told(tmp_path / "c.json.gz") == told


def test_pickle_that_runs_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.pkl").write_bytes(pickle.dumps(OrderedDict(a=["one"])))
    with pytest.raises(AnnotationError, match=r"c.pkl: not a pickle .* a collections.OrderedDict"):
        parse_captions(tmp_path / "c.pkl", Problems())
    (tmp_path / "c.pkl").write_bytes(b"no pickle")
    with pytest.raises(AnnotationError, match="not a pickle of captions"):
        parse_captions(tmp_path / "c.pkl", Problems())


def test_paragraphs_of_activitynet_and_didemo(tmp_path: Path) -> None:
    video = {"duration": 82.73, "timestamps": [[0, 3], [1, 9]], "sentences": [" One. ", "Two."]}
    rows = parse_captions(_write(tmp_path / "train.json", {"v_x": video}), Problems())
    assert [row[1:] for row in rows] == [
        ("v_x", " One. ", None, 0.0, 83.0),
        ("v_x", "Two.", None, 0.0, 83.0),
    ]
    moments = [{"video": "x.avi", "description": "one", "times": [[0, 1]]}]
    assert _told(_write(tmp_path / "didemo.json", moments)) == [("x.avi", "one")]


@pytest.mark.parametrize(
    ("name", "content", "kind", "line", "cause"),
    [
        ("a.csv", "video,caption\na,hello,x\n", "malformed", ":2", "3 columns where the header"),
        ("a.csv", "video,caption\n,hello\n", "malformed", ":2", "names no video"),
        ("a.csv", "video,caption,end_s\na,b,x\n", "malformed", ":2", "must be seconds"),
        ("a.jsonl", '{"video": "a"\n', "malformed", ":1", "not valid JSON"),
        ("a.jsonl", "3\n", "malformed", ":1", "expected an object with `video`"),
        ("a.json", '{"a": {"sentences": []}}', "malformed", ":1 (a)", "expected `duration`"),
        ("a.json", '{"a": 3}', "malformed", ":1 (a)", "expected a list of captions, found 3"),
        ("a.json", '{"a": [],\n"a": ["x"]}', "duplicate", ":2 (a)", "has two entries"),
        ("a.json", '{"sentences": [{}]}', "malformed", ":1", "an object with `video_id`"),
        (
            "a.json",
            '{"videos": [{"video_id": "a"},\n{"video_id": "a"}],\n"sentences": []}',
            "duplicate",
            ":2 (a)",
            "'a' is already in ",
        ),
    ],
)
def test_faults_have_a_place(
    tmp_path: Path, name: str, content: str, kind: str, line: str, cause: str
) -> None:
    source = _write(tmp_path / name, content)
    with pytest.raises(AnnotationError, match="^" + str(source)):
        parse_captions(source, Problems())
    problems = Problems(strict=False)
    parse_captions(source, problems)
    assert problems.found[0].kind == kind
    assert problems.found[0].where == f"{source}{line}"
    assert cause in problems.found[0].message


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("a.csv", "clip,text\na,b\n", r"a.csv:1: no column names the video; .* `video,caption`"),
        ("a.csv", "", "a.csv:1: no column names the video"),
        ("a.json", '{"a": [,', r"a.json:1: not valid JSON"),
        ("a.json", "{}", r"a.json:1: expected captions by video"),
        ("a.json", '{"sentences": 3}', "`sentences` must be a list"),
    ],
)
def test_files_of_another_kind_are_refused(
    tmp_path: Path, name: str, content: str, cause: str
) -> None:
    with pytest.raises(AnnotationError, match=cause):
        parse_captions(_write(tmp_path / name, content), Problems(strict=False))


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"none.csv: cannot read the captions: No such file"):
        parse_captions(tmp_path / "none.csv", Problems())
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(AnnotationError, match="is not UTF-8 text"):
        parse_captions(tmp_path / "a.txt", Problems())
    (tmp_path / "a.json.gz").write_bytes(b"not gzipped")
    with pytest.raises(AnnotationError, match="cannot read the captions: Not a gzipped file"):
        parse_captions(tmp_path / "a.json.gz", Problems())


def test_caption_of_an_unlisted_video(tmp_path: Path) -> None:
    tables = {"videos": [{"video_id": "a"}], "sentences": [{"video_id": "b", "caption": "x"}]}
    problems = Problems(strict=False)
    assert _told(_write(tmp_path / "d.json", tables), problems) == [("a", None)]
    assert "a caption of 'b', which is not in `videos`" in problems.found[0].message
