"""Every list format becomes the same manifest; every fault names file, line, cause and mend."""

import gzip
import json
from pathlib import Path

import pytest

from data_modules.annotations import Manifest, hold_out, read_manifest
from data_modules.classes import ClassNames, read_class_names
from data_modules.problems import Problems
from video_adapt.errors import AnnotationError

DIVING = ClassNames(("air drumming", "diving"))


def _touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def _facts(manifest: Manifest) -> list[tuple[str, int]]:
    return [(str(Path(e.path).relative_to(manifest.root)), e.label) for e in manifest.entries]


def _write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_text_list_keeps_spaces_in_paths_and_line_numbers(tmp_path: Path) -> None:
    _touch(tmp_path, "a b.mp4", "c, d.mp4")
    source = _write(tmp_path / "train.txt", "a b.mp4 1", "", "c, d.mp4 0")
    manifest = read_manifest(source, root=tmp_path, split="train", classes=DIVING)
    assert _facts(manifest) == [("a b.mp4", 1), ("c, d.mp4", 0)]
    assert [e.where for e in manifest.entries] == [f"{source}:1", f"{source}:3"]


@pytest.mark.parametrize("header", [["path,label"], []])
def test_csv_with_and_without_header(tmp_path: Path, header: list[str]) -> None:
    _touch(tmp_path, "a.mp4", "b.mp4")
    source = _write(tmp_path / "val.csv", *header, "a.mp4,1", "b.mp4,air drumming")
    manifest = read_manifest(source, root=tmp_path, split="val", classes=DIVING)
    assert _facts(manifest) == [("a.mp4", 1), ("b.mp4", 0)]


def test_compressed_csv(tmp_path: Path) -> None:
    _touch(tmp_path, "a.mp4")
    source = tmp_path / "val.csv.gz"
    source.write_bytes(gzip.compress(b"path,label\na.mp4,1\n"))
    manifest = read_manifest(source, root=tmp_path, split="val", classes=DIVING)
    assert _facts(manifest) == [("a.mp4", 1)]


def test_own_manifest_cuts_clips_by_time(tmp_path: Path) -> None:
    _touch(tmp_path, "long.mp4")
    lines = ["path,label,start_s,end_s", "long.mp4,diving,1.5,3", "long.mp4,0,3,"]
    source = _write(tmp_path / "mine.csv", *lines)
    manifest = read_manifest(source, root=tmp_path, split="train", classes=DIVING)
    assert [e[1:4] for e in manifest.entries] == [(1, 1.5, 3.0), (0, 3.0, None)]


def test_jsonl_equals_csv(tmp_path: Path) -> None:
    _touch(tmp_path, "long.mp4")
    line = json.dumps({"path": "long.mp4", "label": "diving", "start_s": 1, "end_s": 2.5})
    source = _write(tmp_path / "mine.jsonl", line)
    entry = read_manifest(source, root=tmp_path, split="train", classes=DIVING).entries[0]
    assert entry == (str(tmp_path / "long.mp4"), 1, 1.0, 2.5, f"{source}:1")


def test_several_splits_in_one_list(tmp_path: Path) -> None:
    _touch(tmp_path, "a.mp4", "b.mp4")
    source = _write(tmp_path / "all.csv", "path,label,split", "a.mp4,0,train", "b.mp4,1,validate")
    read = {s: read_manifest(source, root=tmp_path, split=s) for s in ("train", "val")}
    assert _facts(read["train"]) == [("a.mp4", 0)]
    assert _facts(read["val"]) == [("b.mp4", 1)]
    with pytest.raises(AnnotationError, match=r"no row of the split 'test'.*'train', 'validate'"):
        read_manifest(source, root=tmp_path, split="test")


@pytest.mark.parametrize(
    "place", ["air drumming", "air_drumming", ".", "validate/air drumming", "validate"]
)
@pytest.mark.parametrize("suffix", ["mp4", "webm"])
def test_official_kinetics_csv(tmp_path: Path, place: str, suffix: str) -> None:
    name = f"{place}/-0_aBc_000012_000022.{suffix}"
    _touch(tmp_path, name)
    header = "label,youtube_id,time_start,time_end,split"
    source = _write(tmp_path / "v.csv", header, '"air drumming",-0_aBc,12,22,validate')
    manifest = read_manifest(source, root=tmp_path, split="val", classes=DIVING)
    assert _facts(manifest) == [(name.removeprefix("./"), 0)]
    assert manifest.entries[0].start_s is None  # the file is the clip


def test_official_kinetics_test_list_has_no_labels(tmp_path: Path) -> None:
    _touch(tmp_path, "abc_000000_000010.mp4")
    source = _write(tmp_path / "t.csv", "youtube_id,time_start,time_end,split", "abc,0,10,test")
    manifest = read_manifest(source, root=tmp_path, split="test", classes=DIVING)
    assert _facts(manifest) == [("abc_000000_000010.mp4", -1)]
    with pytest.raises(AnnotationError, match=r"t.csv:2: has no label"):
        read_manifest(source, root=tmp_path, split="train", classes=DIVING)


def test_something_something_json(tmp_path: Path) -> None:
    _touch(tmp_path, "7.webm", "8.mp4", "9.mp4")
    items = [{"id": "7", "label_idx": 1}, {"id": 8, "label_idx": "0"}]
    items.append({"id": "9", "template": "[diving]"})
    source = tmp_path / "train.json"
    source.write_text("[\n" + ",\n".join(map(json.dumps, items)) + "\n]")
    manifest = read_manifest(source, root=tmp_path, split="train", classes=DIVING)
    assert _facts(manifest) == [("7.webm", 1), ("8.mp4", 0), ("9.mp4", 1)]
    assert [e.where for e in manifest.entries] == [f"{source}:{n}" for n in (2, 3, 4)]


def test_folder_of_classes_names_its_classes(tmp_path: Path) -> None:
    _touch(tmp_path, "run/b.mp4", "jump/deep/a.MP4", "jump/notes.txt")
    manifest = read_manifest(tmp_path, root=tmp_path, split="train")
    assert manifest.classes.names == ("jump", "run")
    assert _facts(manifest) == [("jump/deep/a.MP4", 0), ("run/b.mp4", 1)]


def test_format_can_be_stated(tmp_path: Path) -> None:
    _touch(tmp_path, "a,b 1.mp4")
    source = _write(tmp_path / "odd", "a,b 1.mp4 0")
    assert (
        len(read_manifest(source, root=tmp_path, split="val", classes=DIVING, format="list")) == 1
    )
    with pytest.raises(AnnotationError, match=r"unknown label 'b 1.mp4 0'"):
        read_manifest(source, root=tmp_path, split="val", classes=DIVING, format="csv")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a.mp4"], r":1: expected `path class_index`, found 'a.mp4'"),
        (["a.mp4 0", "b.mp4 x"], r":2: expected `path class_index`"),
        (["a.mp4 2"], r":1: label 2 is out of range, 2 classes have the indices 0 to 1; mend"),
        (["a.mp4 0", "a.mp4 1"], r":2: a.mp4 is already in .+:1; remove one"),
        (
            ["a.mp4 0", "x.mp4 0", "y.mp4 1"],
            r":2: 2 of 3 files are missing below .* first \S+x.mp4",
        ),
        (["path,label", "a.mp4,divin"], r":2: unknown label 'divin', .*mean 'diving'\?"),
        (["path,label", "a.mp4"], r":2: 1 columns where the header names 2"),
        (["path,label", ",1"], r":2: the column `path` is empty"),
        (["path,label", "a.mp4,"], r":2: has no label"),
        (["path,label,start_s,end_s", "a.mp4,1,5,4"], r":2: the clip runs from 5.0 s to 4.0 s"),
        (["path,label,start_s,end_s", "a.mp4,1,2,2"], r":2: the clip runs from 2.0 s to 2.0 s"),
        (["path,label,start_s,end_s", "a.mp4,1,-1,2"], r":2: the clip runs from -1.0 s"),
        (["path,label,start_s,end_s", "a.mp4,1,nan,2"], r":2: the clip runs from nan s"),
        (["path,label,start_s,end_s", "a.mp4,1,one,2"], r":2: start_s and end_s must be seconds"),
        (["label,youtube_id,time_start,time_end", "diving,a,x,2"], r":2: expected youtube_id"),
        (["label,youtube_id,time_start,time_end", "diving,a,3,2"], r":2: time_end 2 is not after"),
        (["", ""], r": names no video"),
    ],
)
def test_faults_name_file_line_cause(tmp_path: Path, lines: list[str], message: str) -> None:
    _touch(tmp_path, "a.mp4", "b.mp4")
    source = _write(tmp_path / "some list", *lines)
    with pytest.raises(AnnotationError, match=message) as error:
        read_manifest(source, root=tmp_path, split="train", classes=DIVING)
    assert str(error.value).startswith(str(source))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"label_idx": 1}]', ":1: expected an object with `id`"),
        ('[\n{"id": 1 "label_idx"}]', ":2: not valid JSON"),
        ('{"id": 1}', ":1: expected a JSON list"),
    ],
)
def test_faults_in_json(tmp_path: Path, text: str, message: str) -> None:
    source = _write(tmp_path / "list.json", text)
    with pytest.raises(AnnotationError, match=message):
        read_manifest(source, root=tmp_path, split="train", classes=DIVING)


def test_missing_root_and_list(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"none: the data root is not a folder; set `root`"):
        read_manifest(tmp_path, root=tmp_path / "none", split="train")
    with pytest.raises(AnnotationError, match=r"none.txt: no such list or folder; check `val`"):
        read_manifest(tmp_path / "none.txt", root=tmp_path, split="val")


def test_binary_list_is_a_named_error(tmp_path: Path) -> None:
    source = tmp_path / "list.txt"
    source.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(AnnotationError, match=r"list.txt: is not UTF-8"):
        read_manifest(source, root=tmp_path, split="train")


def test_missing_files_can_be_left_out(tmp_path: Path) -> None:
    _touch(tmp_path, "a.mp4")
    source = _write(tmp_path / "l.txt", "a.mp4 0", "x.mp4 1")
    manifest = read_manifest(source, root=tmp_path, split="train", skip_missing=True)
    assert _facts(manifest) == [("a.mp4", 0)]
    assert [e.where for e in manifest.missing] == [f"{source}:2"]
    assert len(manifest.classes) == 2  # a missing file does not take its class away


def test_all_faults_can_be_collected(tmp_path: Path) -> None:
    _touch(tmp_path, "a.mp4")
    source = _write(tmp_path / "l.txt", "a.mp4 0", "a.mp4 7", "oops", "x.mp4 1", "a.mp4 1")
    problems = Problems(strict=False)
    read_manifest(source, root=tmp_path, split="train", classes=DIVING, problems=problems)
    assert [(p.kind, p.where) for p in problems.found] == [
        ("malformed", f"{source}:3"),
        ("label", f"{source}:2"),
        ("duplicate", f"{source}:5"),
        ("missing", f"{source}:4"),
    ]


def test_digest_knows_content_not_place(tmp_path: Path) -> None:
    digests = []
    for top, label in (("one", 0), ("two", 0), ("three", 1)):
        root = tmp_path / top
        _touch(root, "a.mp4")
        source = _write(root / "l.txt", f"a.mp4 {label}")
        digests.append(read_manifest(source, root=root, split="val", classes=DIVING).digest())
    assert digests[0] == digests[1] != digests[2]


def test_hold_out_takes_a_fifth_of_each_class(tmp_path: Path) -> None:
    _touch(tmp_path, *(f"{c}/{i}.mp4" for c in "ab" for i in range(10)), "few/1.mp4")
    whole = read_manifest(tmp_path, root=tmp_path, split="train")
    train, val = hold_out(whole)
    assert [e.label for e in val.entries] == [0, 0, 1, 1]
    assert sorted([*train.entries, *val.entries]) == sorted(whole.entries)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.json", '{"diving": "1", "\\"air drumming\\" ": 0}'),
        ("labels.json", '["air drumming", "diving"]'),
        ("names.txt", '"air drumming"\n\ndiving\n'),
    ],
)
def test_class_names_file(tmp_path: Path, name: str, text: str) -> None:
    assert read_class_names(_write(tmp_path / name, text)) == DIVING


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("l.json", "{", "l.json:2: not valid JSON"),
        ("l.json", "3", "expected an object"),
        ("l.json", '{"a": "x"}', "not an integer"),
        ("l.json", '{"a": 0, "b": 2}', "2 classes must have the indices 0 to 1; 1 is missing"),
        ("l.json", '{"a": 0, "b": 0}', "'b' with index 0 repeats 'a'"),
        ("n.txt", "a\nb\na", "n.txt:3: class 'a' with index 2 repeats 'a'"),
        ("n.txt", 'a\n""', "n.txt:2: class 1 has an empty name"),
        ("n.txt", "\n", "holds no class names"),
    ],
)
def test_faults_in_class_names(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        read_class_names(_write(tmp_path / name, text))


def test_missing_class_names_file(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"cannot read the class names .*check `classes`"):
        read_class_names(tmp_path / "none.json")
