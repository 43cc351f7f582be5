"""Annotations of long videos: formats, subsets, classes, faults with file and line."""

import json
from pathlib import Path
from typing import Any

import pytest

from data_modules.classes import ClassNames
from data_modules.problems import Problems
from data_modules.segment_formats import Event, parse_videos
from data_modules.segments import (
    SegmentManifest,
    SegmentRules,
    build_manifest,
    read_names,
    rows_of,
)
from video_adapt.errors import AnnotationError

from .long_videos import database, line_of, write_annotations

CLASSES = ClassNames(("jump", "run"))


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    (tmp_path / "videos").mkdir()
    for name in database():
        (tmp_path / f"videos/{name}.mkv").touch()
    return write_annotations(tmp_path / "annotations.json", database())


def _manifest(source: Path, subset: str | None = None, **rules: Any) -> SegmentManifest:
    problems = rules.pop("problems", Problems())
    rows = parse_videos(source, problems)
    return build_manifest(
        rows_of(rows, "train", subset, source),
        source=source,
        root=source.parent,
        classes=CLASSES,
        rules=SegmentRules("videos/{name}", **rules),
        problems=problems,
    )


def _spoil(source: Path, name: str, **values: Any) -> Path:
    videos = database()
    videos[name] |= values
    return write_annotations(source, videos)


def test_json_becomes_a_manifest(annotations: Path) -> None:
    manifest = _manifest(annotations)
    assert [entry.name for entry in manifest.entries] == ["a", "b", "c", "d"]
    first = manifest.entries[0]
    assert first.path == str(annotations.parent / "videos/a.mkv")
    assert (first.duration_s, first.num_frames) == (20.0, 200)
    assert first.segments_s.tolist() == [[1.0, 4.0], [5.0, 9.5], [12.0, 18.0]]
    assert first.labels.tolist() == [1, 0, 1]
    assert first.where == line_of(annotations, "a")
    events = manifest.events()
    assert events.video_id.tolist() == [0, 0, 0, 1, 1, 3]
    assert events.segments_s.shape == (6, 2)
    assert events.label.tolist() == [1, 0, 1, 0, 0, 1]


def test_frames_follow_from_the_rate(annotations: Path) -> None:
    _spoil(annotations, "a", frame=None, fps=12.5)
    assert _manifest(annotations).entries[0].num_frames == 250


def test_digest_changes_with_what_is_annotated(annotations: Path, tmp_path: Path) -> None:
    before = _manifest(annotations).digest()
    assert _manifest(annotations).digest() == before
    _spoil(annotations, "a", annotations=[{"segment": [1.0, 4.5], "label": "run"}])
    assert _manifest(annotations).digest() != before


def test_line_of_a_video_is_found_in_any_layout(tmp_path: Path) -> None:
    source = tmp_path / "a.json"
    source.write_text('{"database": {"v": {"subset": "x",\n "duration": -1}, \n\n "w":\n{}}}')
    assert [row.where for row in parse_videos(source, Problems())] == [
        f"{source}:1",
        f"{source}:4",
    ]


def test_own_list_is_grouped_by_video(tmp_path: Path) -> None:
    source = tmp_path / "list.csv"
    source.write_text(
        "path,start_s,end_s,label\nx/a.mp4,0,2,run\nb.mp4,,,\nx/a.mp4,3.5,4,jump\nb.mp4,1,2,run\n"
    )
    rows = parse_videos(source, Problems())
    assert [(row.name, row.path, row.where) for row in rows] == [
        ("x/a.mp4", "x/a.mp4", f"{source}:2"),
        ("b.mp4", "b.mp4", f"{source}:3"),
    ]
    assert rows[0].events == (
        Event(0.0, 2.0, "run", f"{source}:2"),
        Event(3.5, 4.0, "jump", f"{source}:4"),
    )
    assert (rows[0].duration_s, rows[0].num_frames) == (None, None)


@pytest.mark.parametrize("text", ["path\na.mp4\nb.mp4\n", "path,label\na.mp4,\nb.mp4,\n"])
def test_paths_alone_are_videos_without_events(tmp_path: Path, text: str) -> None:
    source = tmp_path / "list.csv"
    source.write_text(text)
    rows = parse_videos(source, Problems())
    assert [(row.name, row.events) for row in rows] == [("a.mp4", ()), ("b.mp4", ())]


def test_jsonl_is_an_own_list_too(tmp_path: Path) -> None:
    source = tmp_path / "list.jsonl"
    rows = [{"path": "a.mp4", "start_s": 1, "end_s": 2, "label": "run"}, {"path": "b.mp4"}]
    source.write_text("\n".join(map(json.dumps, rows)))
    assert [len(row.events) for row in parse_videos(source, Problems())] == [1, 0]


def test_half_an_event_is_named(tmp_path: Path) -> None:
    source = tmp_path / "list.csv"
    source.write_text("path,start_s,end_s,label\na.mp4,0,2,run\na.mp4,3,,run\n")
    with pytest.raises(AnnotationError, match=r"list.csv:3: an event needs start_s, end_s and"):
        parse_videos(source, Problems())


def test_video_in_two_splits_is_named(tmp_path: Path) -> None:
    source = tmp_path / "list.csv"
    source.write_text("path,start_s,end_s,label,split\na.mp4,0,2,run,train\na.mp4,3,4,run,val\n")
    with pytest.raises(AnnotationError, match=r"list.csv:3: a.mp4 is in split 'val', but in 'tra"):
        parse_videos(source, Problems())


@pytest.mark.parametrize(
    ("split", "subset", "expected"),
    [
        ("train", None, "abcd"),
        ("val", None, "e"),
        ("test", None, "e"),
        ("test", "training", "abcd"),
    ],
)
def test_subsets(annotations: Path, split: Any, subset: str | None, expected: str) -> None:
    rows = rows_of(parse_videos(annotations, Problems()), split, subset, annotations)
    assert "".join(row.name for row in rows) == expected


def test_unknown_subset_is_named(annotations: Path) -> None:
    rows = parse_videos(annotations, Problems())
    with pytest.raises(
        AnnotationError,
        match=r"no video in the subset 'testing', only in training, validation; set data.subsets",
    ):
        rows_of(rows, "val", "testing", annotations)


def test_list_without_subsets_is_one_split(tmp_path: Path) -> None:
    source = tmp_path / "list.csv"
    source.write_text("path\na.mp4\n")
    assert len(rows_of(parse_videos(source, Problems()), "val", None, source)) == 1


def test_rules_of_a_data_set(annotations: Path) -> None:
    manifest = _manifest(annotations, exclude=["b", "d"])
    assert [entry.name for entry in manifest.entries] == ["a", "c"]
    manifest = _manifest(annotations, ignore_labels=["run"])
    assert manifest.entries[0].labels.tolist() == [0]
    assert manifest.entries[0].segments_s.tolist() == [[5.0, 9.5]]


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        ({"annotations": [{"segment": [4, 3], "label": "run"}]}, "runs from 4.0 s to 3.0 s"),
        ({"annotations": [{"segment": [4, None], "label": "run"}]}, "expected `segment`"),
        ({"annotations": [{"segment": [4, 5], "label": "walk"}]}, "unknown label 'walk'"),
        ({"annotations": [{"segment": [4, 5], "label": 2}]}, "label 2 is out of range"),
        ({"annotations": [{"segment": [4, 5], "label": ["run"]}]}, "expected `segment` and"),
        ({"annotations": [{"segment": [4, 5]}]}, "annotation 1: expected `segment` and `label`"),
        ({"annotations": 3}, "annotations is malformed"),
        ({"duration": "long"}, "duration, frame or annotations is malformed"),
        ({"duration": 0}, "b lasts 0.0 s; mend `duration`"),
    ],
)
def test_faults_have_file_and_line(annotations: Path, values: dict[str, Any], cause: str) -> None:
    _spoil(annotations, "b", **values)
    with pytest.raises(AnnotationError) as error:
        _manifest(annotations)
    assert str(error.value).startswith(f"{line_of(annotations, 'b')}: ")
    assert cause in str(error.value)
    assert "\n" not in str(error.value)


def test_collected_faults_leave_the_rest(annotations: Path) -> None:
    _spoil(annotations, "a", annotations=[{"segment": [4, 3], "label": "run"}])
    problems = Problems(strict=False)
    manifest = _manifest(annotations, problems=problems)
    assert [problem.kind for problem in problems.found] == ["time"]
    assert [len(entry.labels) for entry in manifest.entries] == [0, 2, 0, 1]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ('{"database": {"a": ', r"a.json:1: not valid JSON"),
        ("[]", r'a.json:1: expected {"database"'),
        ('{"database": []}', r'a.json:1: expected {"database"'),
    ],
)
def test_no_database(tmp_path: Path, text: str, cause: str) -> None:
    source = tmp_path / "a.json"
    source.write_text(text)
    with pytest.raises(AnnotationError, match=cause):
        parse_videos(source, Problems())


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"a.json: cannot read the annotations: No such"):
        parse_videos(tmp_path / "a.json", Problems())
    with pytest.raises(AnnotationError, match="is a folder; name an annotation file"):
        parse_videos(tmp_path, Problems())
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(AnnotationError, match="is not UTF-8 text"):
        parse_videos(tmp_path / "b.json", Problems())


def test_video_that_is_annotated_twice(tmp_path: Path) -> None:
    source = tmp_path / "a.json"
    source.write_text('{"database": {\n"a": {},\n"a": {}\n}}')
    with pytest.raises(AnnotationError, match=r"a.json:3: video 'a' is annotated twice"):
        parse_videos(source, Problems())


def test_missing_videos(annotations: Path) -> None:
    (annotations.parent / "videos/b.mkv").unlink()
    with pytest.raises(AnnotationError, match=r"1 of 4 files are missing below .*/videos/b.mp4"):
        _manifest(annotations)
    manifest = _manifest(annotations, skip_missing=True)
    assert [entry.name for entry in manifest.entries] == ["a", "c", "d"]
    assert [entry.name for entry in manifest.missing] == ["b"]


def test_names_of_videos_come_from_anywhere(tmp_path: Path) -> None:
    assert read_names(["a", "b"]) == {"a", "b"}
    (tmp_path / "x.txt").write_text("a\n b \n\n")
    assert read_names(tmp_path / "x.txt") == {"a", "b"}
    (tmp_path / "x.json").write_text('["a", "b"]')
    assert read_names(tmp_path / "x.json") == {"a", "b"}
    (tmp_path / "y.json").write_text('{"a": 1, "b": 2}')
    assert read_names(tmp_path / "y.json") == {"a", "b"}
    (tmp_path / "z.json").write_text('["a"')
    with pytest.raises(AnnotationError, match=r"z.json: cannot read the names of videos"):
        read_names(tmp_path / "z.json")
