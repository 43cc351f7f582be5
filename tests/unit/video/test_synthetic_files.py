"""The world on disk: real files, true annotations, the same on every run."""

import csv
import errno
import json
from dataclasses import replace

import av
import pytest

from video_adapt.errors import ConfigurationError
from video_adapt.video import synthetic_files
from video_adapt.video.synthetic import MOTIONS, ONE_WAY
from video_adapt.video.synthetic_files import WorldSpec, write_world
from video_adapt.video.synthetic_render import read_frame_code

SMALL = WorldSpec(train=3, val=2, seconds=0.5, size=32, fps=12, motions=("grows", "moves left"))


def frames_of(path):
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_every_frame_of_a_file_carries_its_number(tmp_path):
    write_world(tmp_path, replace(SMALL, size=64, seconds=25.0, train=1, val=0, frame_code=True))
    frames = frames_of(tmp_path / "train/grows/00000.mp4")
    assert [read_frame_code(frame) for frame in frames] == list(range(300))


def test_trimmed_lists_name_every_file_with_its_class(tmp_path):
    assert write_world(tmp_path, SMALL)
    assert json.loads((tmp_path / "labels.json").read_text()) == {"grows": 0, "moves left": 1}
    assert (tmp_path / "train.txt").read_text().splitlines() == [
        "train/grows/00000.mp4 0",
        "train/moves_left/00001.mp4 1",
        "train/grows/00002.mp4 0",
    ]
    assert len((tmp_path / "val.txt").read_text().splitlines()) == 2
    assert {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.mp4")} == set(
        json.loads((tmp_path / "captions.json").read_text())
    )
    frames = frames_of(tmp_path / "val/moves_left/00001.mp4")
    assert len(frames) == 6
    assert frames[0].shape == (32, 32, 3)


def test_untrimmed_segments_are_in_seconds_and_inside_the_video(tmp_path):
    write_world(
        tmp_path, replace(SMALL, layout="untrimmed", train=1, val=1, seconds=12.0, motions=None)
    )
    database = json.loads((tmp_path / "annotations.json").read_text())["database"]
    assert sorted(database) == ["train_00000", "val_00000"]
    names = (tmp_path / "category_idx.txt").read_text().splitlines()
    assert names == sorted(ONE_WAY)
    for name, video in database.items():
        assert video["subset"] == ("training" if name.startswith("train") else "validation")
        assert (video["duration"], video["frame"]) == (12.0, 144)
        assert len(frames_of(tmp_path / "videos" / f"{name}.mp4")) == 144
        assert video["annotations"]
        for note in video["annotations"]:
            start_s, end_s = note["segment"]
            assert 1.0 <= start_s < end_s <= 12.0
            assert 1.0 <= end_s - start_s <= 3.0
            assert names[note["label_id"]] == note["label"]


def test_captioned_files_follow_msrvtt(tmp_path):
    write_world(tmp_path, replace(SMALL, layout="captioned", seconds=1.0))
    notes = json.loads((tmp_path / "captions.json").read_text())
    ids = [video["video_id"] for video in notes["videos"]]
    assert ids == ["video0", "video1", "video2", "video3", "video4"]
    assert [video["split"] for video in notes["videos"]] == ["train"] * 3 + ["test"] * 2
    assert [sentence["sen_id"] for sentence in notes["sentences"]] == list(range(15))
    assert all((tmp_path / "videos" / f"{name}.mp4").is_file() for name in ids)
    with (tmp_path / "test.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["video_id"] for row in rows] == ids[3:]
    of_video = [s["caption"] for s in notes["sentences"] if s["video_id"] == "video3"]
    assert rows[0]["sentence"] == of_video[0]
    assert (tmp_path / "train.csv").read_text().split() == ["video_id", *ids[:3]]


def test_captioned_shapes_may_be_three_in_turn(tmp_path):
    spec = replace(SMALL, layout="captioned", seconds=1.0, train=1, val=0, actors=3, in_turn=True)
    write_world(tmp_path, spec)
    notes = json.loads((tmp_path / "captions.json").read_text())
    assert notes["sentences"][0]["caption"].count(", then ") == 2
    together = tmp_path / "together"
    write_world(together, replace(spec, in_turn=False))
    assert (tmp_path / "videos/video0.mp4").read_bytes() != (
        together / "videos/video0.mp4"
    ).read_bytes()


@pytest.mark.parametrize("actors", [0, 4])
def test_shapes_that_do_not_fit_are_refused(actors):
    with pytest.raises(ConfigurationError, match="from 1 to 3 are possible"):
        replace(SMALL, layout="captioned", seconds=0.5, actors=actors)


def test_a_world_of_before_a_setting_is_kept(tmp_path):
    write_world(tmp_path, SMALL)
    record = json.loads((tmp_path / "world.json").read_text())
    del record["spec"]["in_turn"]
    (tmp_path / "world.json").write_text(json.dumps(record))
    assert not write_world(tmp_path, SMALL)
    with pytest.raises(ConfigurationError, match="another specification"):
        write_world(tmp_path, replace(SMALL, in_turn=True))


def test_equal_specifications_give_equal_files_on_any_number_of_processes(tmp_path):
    for name, workers in (("a", 1), ("b", 2)):
        write_world(tmp_path / name, SMALL, workers=workers)
    for path in (tmp_path / "a").rglob("*.*"):
        twin = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert path.read_bytes() == twin.read_bytes(), path.name
    other = replace(SMALL, seed=1)
    write_world(tmp_path / "c", other)
    clip = "train/grows/00000.mp4"
    assert (tmp_path / "a" / clip).read_bytes() != (tmp_path / "c" / clip).read_bytes()


def test_splits_do_not_share_clips(tmp_path):
    write_world(tmp_path, replace(SMALL, train=1, val=1))
    train, val = (tmp_path / split / "grows/00000.mp4" for split in ("train", "val"))
    assert train.read_bytes() != val.read_bytes()


def test_a_complete_world_is_kept_and_another_is_refused(tmp_path):
    assert write_world(tmp_path, SMALL)
    before = (tmp_path / "train/grows/00000.mp4").stat().st_mtime_ns
    assert not write_world(tmp_path, SMALL)
    assert (tmp_path / "train/grows/00000.mp4").stat().st_mtime_ns == before
    with pytest.raises(ConfigurationError, match="another specification"):
        write_world(tmp_path, replace(SMALL, seed=9))


def test_a_folder_with_foreign_files_is_refused(tmp_path):
    (tmp_path / "holiday.mp4").touch()
    with pytest.raises(ConfigurationError, match="not empty"):
        write_world(tmp_path, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.mp4"]


def test_default_classes():
    assert WorldSpec().class_names == sorted(MOTIONS)
    assert WorldSpec(layout="untrimmed").class_names == sorted(ONE_WAY)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 60}, "multiple of 8"),
        ({"train": -1}, "negative"),
        ({"seconds": 0.01}, "two frames"),
        ({"motions": ("flies",)}, "unknown motion 'flies'"),
    ],
)
def test_impossible_specifications_are_refused(values, message):
    with pytest.raises(ConfigurationError, match=message):
        replace(SMALL, **values)


def test_a_world_that_fails_on_the_way_leaves_nothing(tmp_path, monkeypatch):
    def fill_up(folder, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(synthetic_files, "_write_json", fill_up)
    with pytest.raises(OSError, match="No space"):
        write_world(tmp_path / "world", SMALL)
    assert not list(tmp_path.iterdir())
