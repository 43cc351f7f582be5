"""Long videos become batches of windows: the frames, events and times that they claim to be."""

import json
import logging
import os
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from data_modules import FeatureFiles, LoaderOptions, THUMOSDataModule
from data_modules.samplers import EvalSampler
from tests.unit.video.numbered_videos import numbers
from video_adapt.batches import DecodedWindows
from video_adapt.errors import AnnotationError, ConfigurationError, VideoDecodeError
from video_adapt.video import SlidingWindows, WholeVideo
from video_adapt.video.synthetic_files import WorldSpec, write_world

from .long_videos import EVENTS, FPS, FRAMES, database, line_of, video_of, write_annotations

SAMPLER = SlidingWindows(16, 2, snippet_stride=4, min_kept=0.5)
WORLD_LABELS = ["jump", "run"]
THUMOS = Path(
    os.environ.get("VIDEO_ADAPT_THUMOS14", Path(__file__).parents[4] / "shared/data/thumos14")
)


class Spec(NamedTuple):
    """Pixels of a model."""

    image_size: int = 32
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)


def _data(root: Path, **arguments: Any) -> THUMOSDataModule:
    loader = LoaderOptions(batch_size=1, eval_batch_size=3, num_workers=0)
    given = {"train": "annotations.json", "val": "annotations.json", "sampler": SAMPLER}
    given |= {"loader": loader, "seed": 0, "video_path": f"{root}/videos/{{name}}"} | arguments
    return THUMOSDataModule(root, **given)


def _spoilt(long_videos: Path, tmp_path: Path, name: str, **values: Any) -> dict[str, Any]:
    """Arguments for an annotation in which one video says something else."""
    videos = database()
    videos[name] |= values
    source = write_annotations(tmp_path / "spoilt.json", videos)
    return {"train": source, "val": source, "video_path": f"{long_videos}/videos/{{name}}"}


def _assert_truthful(batch: DecodedWindows, names: list[str], per_position: int = 2) -> None:
    """Frames stand where the window says, and events where the annotation says."""
    for i, row in enumerate(batch.video_id.tolist()):
        name = names[row]
        offset_s, step_s = float(batch.offset_s[i]), float(batch.step_s[i])
        positions = torch.arange(len(batch.frames[i])) / per_position
        times_s = offset_s + positions * step_s
        last = 2 * ((FRAMES[name] - 1) // 2)  # of every second frame
        expected = (times_s * FPS).round().long().clamp(max=last) + 3 * video_of(name)
        shown = numbers(batch.frames[i])
        valid = int(batch.mask[i].sum()) * per_position
        assert shown[:valid] == expected[:valid].tolist(), name
        assert shown[valid:] == [max(shown)] * (len(shown) - valid)
        for (start_s, end_s), label in zip(
            (offset_s + batch.segments[i].double() * step_s).tolist(), batch.labels[i], strict=True
        ):
            assert any(
                WORLD_LABELS[label] == known and start_s >= first - 0.1 and end_s <= last_s + 0.1
                for first, last_s, known in EVENTS[name]
            ), (name, start_s, end_s)
        assert float(batch.duration_s[i]) == pytest.approx(FRAMES[name] / FPS)


def test_training_windows_are_what_they_claim(long_videos: Path) -> None:
    data = _data(long_videos)
    loader = data.train_dataloader()
    batches = [*loader]
    loader.batch_sampler.sampler.set_epoch(1)
    batches += [*loader]
    assert sorted(int(batch.video_id) for batch in batches) == [0, 0, 1, 1, 2, 2]
    offsets = set()
    for batch in batches:
        assert batch.frames[0].shape == (32, 3, 64, 64)
        _assert_truthful(batch, data.video_names("train"))
        assert len(batch.labels[0]) >= 1
        offsets.add((int(batch.video_id), float(batch.offset_s)))
    assert len(offsets) == 6  # other windows in the second epoch
    assert data.video_names("train") == ["a", "b", "d"]  # nothing happens in c


def test_events_listed_twice_are_learnt_once(long_videos: Path) -> None:
    (batch,) = (b for b in _data(long_videos).train_dataloader() if int(b.video_id) == 1)
    assert batch.labels[0].tolist() == [0]


def test_events_without_length_are_not_learnt(long_videos: Path, tmp_path: Path) -> None:
    events = [
        {"segment": [2.0, 2.0], "label": "jump"},
        {"segment": [3.0, 4.0], "label": "run"},
    ]
    arguments = _spoilt(long_videos, tmp_path, "d", annotations=events)
    data = _data(long_videos, exclude=["a", "b"], **arguments)
    (batch,) = data.train_dataloader()
    assert [labels.tolist() for labels in batch.labels] == [[WORLD_LABELS.index("run")]]


def test_evaluation_covers_every_video_with_all_its_windows(long_videos: Path) -> None:
    data = _data(long_videos, val="annotations.json", subsets={"val": "training"})
    batches = list(data.val_dataloader())  # type: ignore[arg-type]
    names = data.video_names("val")
    assert names == ["a", "b", "c", "d"]
    seen: dict[str, set[int]] = {}
    for batch in batches:
        _assert_truthful(batch, names)
        for row, frames in zip(batch.video_id.tolist(), batch.frames, strict=True):
            seen.setdefault(names[row], set()).update(numbers(frames))
    for name, shown in seen.items():
        assert shown == {3 * video_of(name) + i for i in range(0, FRAMES[name], 2)}
    # 50 positions, eight apart: five starts and a last one that is shifted back; the others alike.
    assert [w.row for w in data.windows("val")] == [0] * 6 + [1] * 3 + [2] * 2 + [3] * 2
    assert [len(batch.frames) for batch in batches] == [3] * 4 + [1]
    rows = torch.cat([torch.stack([batch.video_id, batch.window], 1) for batch in batches])
    assert rows.tolist() == [[w.row, w.number] for w in data.windows("val")]


def test_windows_of_a_batch_are_decoded_in_one_pass(
    long_videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from data_modules import window_sources

    opened: list[str] = []

    class Counting(window_sources.VideoReader):
        def __init__(self, path: str, **arguments: Any) -> None:
            opened.append(Path(path).stem)
            super().__init__(path, **arguments)

    monkeypatch.setattr(window_sources, "VideoReader", Counting)
    data = _data(long_videos, subsets={"val": "training"})
    assert len(list(data.val_dataloader())) == 5  # type: ignore[arg-type]
    assert opened == ["a", "a", "b", "c", "d", "d"]


def test_ground_truth_is_what_the_annotation_says(long_videos: Path) -> None:
    data = _data(long_videos, subsets={"val": "training"})
    truth = data.ground_truth("val")
    assert truth._fields == ("video_id", "segments_s", "label")
    expected = [(row, *event) for row, name in enumerate("abcd") for event in EVENTS[name]]
    assert truth.video_id.tolist() == [row for row, *_ in expected]
    assert truth.segments_s.tolist() == [[start, end] for _, start, end, _ in expected]
    assert truth.label.tolist() == [WORLD_LABELS.index(label) for *_, label in expected]
    assert data.durations_s("val").tolist() == [20.0, 12.0, 9.0, 7.0]
    assert (data.class_names, data.num_classes) == (WORLD_LABELS, 2)
    assert data.ground_truth("test") is not None  # without a test list, that of validation


def test_workers_change_nothing(long_videos: Path) -> None:
    alone, shared = (
        _data(
            long_videos,
            loader=LoaderOptions(batch_size=1, eval_batch_size=2, num_workers=workers),
        )
        for workers in (0, 2)
    )
    for one, other in (
        (alone.train_dataloader(), shared.train_dataloader()),
        (alone.val_dataloader(), shared.val_dataloader()),
    ):
        for first, second in zip(one, other, strict=True):  # type: ignore[arg-type]
            torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_processes_share_windows_that_follow_one_another() -> None:
    parts = [list(EvalSampler(7, rank=rank, world=3, in_a_row=True)) for rank in range(3)]
    assert [[row for row, _ in part] for part in parts] == [[0, 1], [2, 3], [4, 5, 6]]


def test_two_processes_evaluate_each_window_once(
    long_videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = _data(long_videos, subsets={"val": "training"})
    shares = []
    for rank in range(2):
        monkeypatch.setattr(data, "_process", lambda rank=rank: (rank, 2))
        batches = list(data.val_dataloader())  # type: ignore[arg-type]
        shares.append([int(row) for batch in batches for row in batch.video_id])
    # Six and seven windows, so that only one video is opened by both.
    assert shares == [[0] * 6, [1] * 3 + [2] * 2 + [3] * 2]


def test_batch_on_the_device_is_normalised(long_videos: Path) -> None:
    data = _data(long_videos)
    decoded = next(iter(data.val_dataloader()))  # type: ignore[arg-type]
    batch = data.transform(decoded, Spec(), training=False)
    assert batch.video.shape == (3, 32, 3, 32, 32)
    assert batch.video.min() < -1.5
    assert batch.video.max() > 1.5
    assert batch.mask is decoded.mask
    assert batch.duration_s is decoded.duration_s
    augmented = data.transform(decoded, Spec(), training=True, dtype=torch.bfloat16)
    assert (augmented.video.shape, augmented.video.dtype) == (batch.video.shape, torch.bfloat16)
    with pytest.raises(ConfigurationError, match="scaled to a short side of 16"):
        _data(long_videos, loader=LoaderOptions(short_side=16)).transform(
            decoded, Spec(), training=False
        )


def test_whole_videos_are_one_window_each(long_videos: Path) -> None:
    data = _data(long_videos, sampler=WholeVideo(24, 2), subsets={"val": "training"})
    (first, second) = data.val_dataloader()  # type: ignore[misc]
    assert first.video_id.tolist() + second.video_id.tolist() == [0, 1, 2, 3]
    assert first.step_s.tolist() == [20.0 / 24, 12.0 / 24, 9.0 / 24]
    torch.testing.assert_close(
        first.segments[0], torch.tensor([[1.0, 4.0], [5.0, 9.5], [12.0, 18.0]]) / 20 * 24
    )
    assert numbers(first.frames[0])[:3] == [round(i * 200 / 48 + 200 / 96 - 0.5) for i in range(3)]


def test_own_list_needs_no_json(long_videos: Path, tmp_path: Path) -> None:
    source = tmp_path / "list.csv"
    lines = [f"videos/{n}.mp4,{s},{e},{label}" for n in "ab" for s, e, label in EVENTS[n]]
    source.write_text("\n".join(["path,start_s,end_s,label", *lines, "videos/c.mp4,,,"]))
    data = _data(long_videos, train=source, val=source)
    assert data.durations_s("val") == pytest.approx([20.0, 12.0, 9.0])
    for batch in data.val_dataloader():
        _assert_truthful(batch, ["a", "b", "c"])  # type: ignore[arg-type]
    assert data.video_names("val") == ["videos/a.mp4", "videos/b.mp4", "videos/c.mp4"]
    assert len(data.train_dataloader()) == 2
    assert len(_data(long_videos, train=source, train_on_empty=True).train_dataloader()) == 3


def test_file_of_another_rate_is_read_by_time(long_videos: Path, tmp_path: Path) -> None:
    """Annotated at 20 frames per second, encoded again at 10."""
    arguments = _spoilt(long_videos, tmp_path, "e", frame=300)
    data = _data(long_videos, **arguments)
    (first, *_) = data.val_dataloader()  # type: ignore[misc]
    assert first.step_s[0] == 0.2
    assert numbers(first.frames[1])[:8] == [12 + 16 + i for i in range(8)]


@pytest.mark.parametrize(
    ("values", "step_s"),
    [
        ({"duration": 30.0}, 0.8),  # as many frames: only the sound is longer
        ({"duration": 17.0, "frame": 170}, 0.4),  # the same rate: the file was cut off
    ],
)
def test_frames_are_counted_where_rate_or_number_agrees(
    long_videos: Path, tmp_path: Path, values: dict[str, Any], step_s: float
) -> None:
    data = _data(long_videos, **_spoilt(long_videos, tmp_path, "e", **values))
    first, *_, last = data.val_dataloader()  # type: ignore[misc]
    assert first.step_s[0] == pytest.approx(step_s)
    assert numbers(first.frames[0])[:4] == [12, 14, 16, 18]
    assert max(numbers(last.frames[-1])) == 12 + 148


def test_fixed_rate_reads_files_of_any_rate_by_time(long_videos: Path) -> None:
    sampler = SlidingWindows(16, 2, snippet_stride=12, fps=30.0)
    data = _data(long_videos, sampler=sampler)
    (first, *_) = data.val_dataloader()  # type: ignore[misc]
    assert first.step_s[0] == 0.4
    assert numbers(first.frames[0])[:5] == [12, 14, 16, 18, 20]


def test_recipe_rebuilds_the_same_windows(long_videos: Path) -> None:
    recipe = _data(long_videos).evaluation_recipe()
    values = dict(recipe["sampler"])
    assert values.pop("class") == "SlidingWindows"
    assert SlidingWindows(**values) == SAMPLER
    assert recipe["transform"]["class"] == "WindowEvalTransform"
    assert (recipe["short_side"], recipe["frames_per_chunk"]) == (256, 16)
    assert (recipe["class_names"], recipe["features"]) == (WORLD_LABELS, None)


def test_windows_are_described_once(long_videos: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = _data(long_videos)
    with caplog.at_level(logging.INFO):
        data.train_dataloader()
        data.val_dataloader()
    told = [text for text in caplog.messages if text.startswith("windows of")]
    expected = "windows of 16 positions: 6.4 s of video at 10 frames per second, of which 5 are "
    assert told == [f"{expected}seen; 32 frames in 2 chunks of 16"]
    assert any("1 of 4 training videos have no event" in text for text in caplog.messages)


def test_frames_must_fill_chunks(long_videos: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"20 positions x 2 frames are 40, not a multiple"):
        _data(long_videos, sampler=SlidingWindows(20, 2, snippet_stride=4))
    _data(long_videos, sampler=SlidingWindows(20, 2, snippet_stride=4), frames_per_chunk=8)


def test_training_set_without_events_is_refused(long_videos: Path, tmp_path: Path) -> None:
    source = tmp_path / "classes.txt"
    source.write_text("jump\nrun\n")
    with pytest.raises(AnnotationError, match="none of its 4 training videos has an event"):
        _data(long_videos, ignore_labels=("run", "jump"), classes=source).manifest("train")


def test_no_event_at_all_names_the_classes_file(long_videos: Path) -> None:
    data = _data(long_videos, ignore_labels=("run", "jump"))
    with pytest.raises(AnnotationError, match="holds no event; give events, or a class names"):
        _ = data.class_names


def test_batch_without_events_is_a_batch(long_videos: Path) -> None:
    data = _data(long_videos, exclude=["a", "b", "d"], subsets={"val": "training"})
    (batch,) = data.val_dataloader()  # type: ignore[misc]
    assert batch.segments[0].shape == (0, 2)
    assert batch.labels[0].shape == (0,)
    assert data.ground_truth("val").segments_s.shape == (0, 2)


def test_video_shorter_than_a_chunk_is_named(long_videos: Path) -> None:
    sampler = SlidingWindows(64, 1, snippet_stride=5)
    data = _data(long_videos, sampler=sampler)
    where = line_of(long_videos / "annotations.json", "d")
    with pytest.raises(VideoDecodeError) as error:
        list(data.train_dataloader())
    assert str(error.value).startswith(f"{where}: ")
    assert "70 frames give 14 to look at, fewer than the 16 of one chunk" in str(error.value)
    assert "\n" not in str(error.value)


def test_skipping_replaces_what_is_too_short(
    long_videos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sampler = SlidingWindows(64, 1, snippet_stride=5)
    data = _data(long_videos, sampler=sampler, on_broken="skip", max_broken_share=0.5)
    rows = [int(batch.video_id) for batch in data.train_dataloader()]
    assert len(rows) == 3
    assert set(rows) <= {0, 1}
    assert data.broken == 1
    assert data.digest()["train_videos"] == 2


def test_file_much_shorter_than_annotated_is_named(long_videos: Path, tmp_path: Path) -> None:
    data = _data(long_videos, **_spoilt(long_videos, tmp_path, "e", frame=600, duration=60.0))
    with pytest.raises(VideoDecodeError, match=r"ends at 15.0 s, before its last window begins"):
        list(data.val_dataloader())  # type: ignore[arg-type]


def test_missing_and_broken_videos_follow_the_policy(long_videos: Path, tmp_path: Path) -> None:
    source = tmp_path / "list.csv"
    (tmp_path / "bad.mp4").write_text("not a video")
    paths = [f"{long_videos}/videos/e.mp4", f"{tmp_path}/bad.mp4", f"{tmp_path}/none.mp4"]
    source.write_text("\n".join(["path,start_s,end_s,label", *(f"{p},1,2,run" for p in paths)]))
    with pytest.raises(AnnotationError, match="1 of 3 files are missing"):
        _data(tmp_path, train=None, val=source).manifest("val")
    lenient = _data(tmp_path, val=source, train=None, on_broken="skip", max_broken_share=0.7)
    assert {int(row) for b in lenient.val_dataloader() for row in b.video_id} == {0}  # type: ignore
    assert lenient.broken == 2
    assert np.isnan(lenient.durations_s("val")).tolist() == [False, True]
    source.write_text("\n".join(["path,start_s,end_s,label", f"{paths[1]},1,2,run"]))
    with pytest.raises(VideoDecodeError, match=r"list.csv:2: .*bad.mp4: cannot be opened"):
        list(_data(tmp_path, train=None, val=source).val_dataloader())  # type: ignore[arg-type]


def test_nothing_named_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"no annotation is named; set data\.train"):
        _ = _data(tmp_path, train=None, val=None).class_names
    with pytest.raises(ConfigurationError, match="has no 'train' list"):
        _data(tmp_path, train=None, val=None).train_dataloader()
    with pytest.raises(AnnotationError, match="the data root is not a folder"):
        _data(tmp_path / "no", train=tmp_path / "x.json").manifest("train")


@pytest.fixture
def features(long_videos: Path, tmp_path: Path) -> Path:
    """One row for every second frame; row r of video v is ``[v, r]``."""
    (tmp_path / "features").mkdir()
    for name, count in FRAMES.items():
        rows = np.array([[video_of(name), r] for r in range(count // 2 - 2)], dtype=np.float16)
        np.save(tmp_path / f"features/{name}.npy", rows)
    return tmp_path


def _features_data(root: Path, videos: Path, **arguments: Any) -> THUMOSDataModule:
    source = videos / "annotations.json"
    files = FeatureFiles(2, stride=arguments.pop("stride", 2), path="features/{name}.npy")
    sampler = SlidingWindows(8, 1, snippet_stride=4, min_kept=0.5, offset_frames=2.0)
    given = {"train": source, "val": source, "features": files, "sampler": sampler}
    return _data(root, **given | arguments)


def test_features_are_cut_like_frames(long_videos: Path, features: Path) -> None:
    data = _features_data(features, long_videos, subsets={"val": "training"})
    batches = list(data.val_dataloader())  # type: ignore[arg-type]
    for batch in batches:
        video = data.transform(batch, None, training=False).video
        assert video.shape == (len(batch.frames), 8, 2)
        for i, row in enumerate(batch.video_id.tolist()):
            valid = int(batch.mask[i].sum())
            # Every second row, so that a position is four frames; the first one stands for 2.
            first = (float(batch.offset_s[i]) * FPS - 2) / 2
            assert video[i, :valid, 1].tolist() == [round(first) + 2 * k for k in range(valid)]
            assert set(video[i, :valid, 0].tolist()) == {float(row)}
            assert not video[i, valid:].any()
    assert [len(b.labels[0]) > 0 for b in data.train_dataloader()] == [True] * 3


def test_features_of_whole_videos_are_interpolated(long_videos: Path, features: Path) -> None:
    data = _features_data(features, long_videos, sampler=WholeVideo(49, 1))
    (batch,) = data.val_dataloader()  # type: ignore[misc]
    rows = torch.arange(73.0)
    expected = torch.nn.functional.interpolate(rows[None, None], size=49, mode="linear")[0, 0]
    torch.testing.assert_close(batch.frames[0][:, 1], expected)
    assert batch.mask.all()


def test_tensors_of_features_are_read_too(long_videos: Path, features: Path) -> None:
    for path in (features / "features").glob("*.npy"):
        torch.save(torch.from_numpy(np.load(path)), path.with_suffix(".pt"))
    files = FeatureFiles(2, stride=2, path="features/{name}.pt")
    torch.testing.assert_close(
        next(iter(_features_data(features, long_videos, features=files).val_dataloader())),  # type: ignore
        next(iter(_features_data(features, long_videos).val_dataloader())),  # type: ignore
    )


@pytest.mark.parametrize(
    ("rows", "cause"),
    [
        (np.zeros((73, 5)), r"shape \[73, 5\], expected \[rows, 2\]; mend data.features.width"),
        (np.zeros((2, 73)), r"expected \[rows, 2\]; transpose it"),
        (np.zeros(73), r"shape \[73\]"),
        (np.zeros((0, 2)), r"shape \[0, 2\]"),
        (np.zeros((37, 2)), "37 rows for 150 frames are one in 4.05, not in 2"),
        (np.array([{}]), "cannot read these features"),
    ],
)
def test_wrong_features_are_named(long_videos: Path, features: Path, rows: Any, cause: str) -> None:
    np.save(features / "features/e.npy", rows, allow_pickle=True)
    with pytest.raises(VideoDecodeError, match=cause) as error:
        list(_features_data(features, long_videos).val_dataloader())  # type: ignore[arg-type]
    assert str(error.value).startswith(line_of(long_videos / "annotations.json", "e"))


def test_features_need_a_stride_that_fits_and_a_duration(
    long_videos: Path, features: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=r"features every 3 frames cannot give positions"):
        _features_data(features, long_videos, stride=3)
    videos = database()
    videos["e"].pop("duration")
    source = write_annotations(tmp_path / "x.json", videos)
    with pytest.raises(AnnotationError, match="e has no `duration`, which features do not tell"):
        _features_data(features, long_videos, val=source).manifest("val")
    with pytest.raises(ConfigurationError, match=r"it must hold {name} and end with one of"):
        FeatureFiles(2, path="features/x.npy")
    with pytest.raises(ConfigurationError, match="must be positive"):
        FeatureFiles(0)


def test_untrimmed_world_is_learnt_from_and_covered(tmp_path: Path) -> None:
    root = tmp_path / "world"
    write_world(root, WorldSpec(layout="untrimmed", train=3, val=2, seconds=10.0, size=32))
    loader = LoaderOptions(batch_size=3, eval_batch_size=2, num_workers=0)
    data = THUMOSDataModule(
        root,
        train="annotations.json",
        val="annotations.json",
        classes="category_idx.txt",
        sampler=SlidingWindows(48, 1, snippet_stride=2, overlap=0.25),
        loader=loader,
        seed=0,
    )
    (batch,) = data.train_dataloader()
    assert sorted(batch.video_id.tolist()) == [0, 1, 2]
    assert all(len(labels) for labels in batch.labels)
    spans: dict[int, list[tuple[float, float]]] = {}
    for batch in data.val_dataloader():  # type: ignore[assignment]
        for row, offset, step, mask in zip(
            batch.video_id.tolist(),
            batch.offset_s.tolist(),
            batch.step_s.tolist(),
            batch.mask,
            strict=True,
        ):
            spans.setdefault(row, []).append((offset, offset + step * int(mask.sum())))
    assert sorted(spans) == [0, 1]
    for windows in spans.values():
        assert windows[0][0] == 0
        assert windows[-1][1] == pytest.approx(10.0)
        assert all(second[0] <= first[1] for first, second in pairwise(windows))
    world = json.loads((root / "annotations.json").read_text())["database"]
    assert len(data.ground_truth("val").label) == sum(
        len(world[name]["annotations"]) for name in data.video_names("val")
    )


@pytest.mark.skipif(
    not THUMOS.is_dir(), reason=f"THUMOS-14 annotations not at {THUMOS}; set VIDEO_ADAPT_THUMOS14"
)
def test_thumos14_has_the_published_counts(tmp_path: Path) -> None:
    source = THUMOS / "thumos_14_anno.json"
    (tmp_path / "videos").mkdir()
    for name in json.loads(source.read_text())["database"]:
        (tmp_path / f"videos/{name}.mp4").touch()
    data = THUMOSDataModule(tmp_path, train=source, val=source, classes=THUMOS / "category_idx.txt")
    assert (len(data.video_names("train")), len(data.video_names("val"))) == (200, 211)
    assert (len(data.ground_truth("train").label), len(data.ground_truth("val").label)) == (
        3003,
        3325,
    )
    assert len(data.windows("val")) == 792
    assert data.num_classes == 20
    assert (data.class_names[0], data.class_names[-1]) == ("BaseballPitch", "VolleyballSpiking")
    by_label = THUMOSDataModule(tmp_path, train=source)
    assert by_label.class_names == data.class_names
