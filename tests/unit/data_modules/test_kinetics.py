"""A folder of videos alone is enough; batches reach the model augmented, mixed and numbered."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from data_modules import KineticsDataModule, LoaderOptions
from video_adapt.errors import AnnotationError, ConfigurationError
from video_adapt.video import EvalTransform, Mixing, SegmentSampler, TrainTransform

from .conftest import contents

ALONE = LoaderOptions(batch_size=2, num_workers=0)


class Spec(NamedTuple):
    """Pixels without normalisation, so that levels can be read off a batch."""

    image_size: int = 32
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


def _module(root: Path, **arguments: Any) -> KineticsDataModule:
    given = {"loader": ALONE, "sampler": SegmentSampler(num_frames=4), "seed": 1} | arguments
    return KineticsDataModule(root, **given)


def test_folders_of_splits_are_found(videos: Path) -> None:
    module = _module(videos)
    assert (module.class_names, module.num_classes) == (["jump", "run"], 2)
    sizes = [len(module.manifest(split)) for split in ("train", "val", "test")]
    assert sizes == [6, 3, 3]  # without a test list, validation is tested
    assert [batch.video_id.tolist() for batch in module.val_dataloader()] == [[0, 1], [2]]


def test_folder_without_splits_holds_videos_out(tmp_path: Path) -> None:
    for i in range(10):
        (tmp_path / f"run/{i}.mp4").parent.mkdir(exist_ok=True)
        (tmp_path / f"run/{i}.mp4").touch()
    module = _module(tmp_path)
    train, val = ({e.path for e in module.manifest(split).entries} for split in ("train", "val"))
    assert (len(train), len(val), len(train & val)) == (8, 2, 0)


def test_list_without_validation_gives_no_loader(
    broken_list: Callable[..., Path], tmp_path: Path
) -> None:
    module = _module(tmp_path, train=broken_list(4, 0))
    assert module.val_dataloader() == []
    with pytest.raises(ConfigurationError, match=r"no 'test' list; set data.test"):
        module.test_dataloader()


def test_lists_are_found_below_the_root(videos: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("hop\njump\nrun\n")
    module = _module(videos, val="val", classes=names)
    assert module.num_classes == 3
    assert {e.label for e in module.manifest("val").entries} == {1, 2}
    with pytest.raises(AnnotationError, match=r"nowhere.txt: no such list or folder"):
        _module(videos, train="nowhere.txt").class_names  # noqa: B018


def test_too_few_clips_for_one_batch(videos: Path) -> None:
    module = _module(videos, loader=replace(ALONE, batch_size=7))
    with pytest.raises(ConfigurationError, match=r"6 training clips .* do not fill one batch of 7"):
        module.train_dataloader()


def test_skip_counts_missing_videos(
    broken_list: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = broken_list(4, 1)
    (tmp_path / "bad0.mp4").unlink()
    with pytest.raises(AnnotationError, match="1 of 5 files are missing"):
        _module(tmp_path, train=source).train_dataloader()
    module = _module(tmp_path, train=source, on_broken="skip", max_broken_share=0.2)
    assert len(list(module.train_dataloader())) == 2
    assert module.broken == 1
    assert module.digest()["train_clips"] == 4


def test_training_batch_is_augmented_and_mixed(videos: Path) -> None:
    module = _module(videos, mixing=Mixing())
    clips = next(iter(module.train_dataloader()))
    batch = module.transform(clips, Spec(), training=True)
    assert batch.video.shape == (2, 4, 3, 32, 32)
    assert batch.target is not None
    torch.testing.assert_close(batch.target.sum(1), torch.ones(2))
    again = module.transform(clips, Spec(), training=True)
    assert torch.equal(batch.video, again.video)  # all draws come from the clips' seeds
    plain = _module(videos).transform(clips, Spec(), training=True)
    assert plain.target is None
    assert torch.equal(plain.label, clips.label)


def test_views_and_crops_are_numbered(videos: Path) -> None:
    module = _module(videos, eval_views=2, eval_transform=EvalTransform(crops=3))
    clips = next(iter(module.test_dataloader()))  # a batch of two clips: one video, two views
    batch = module.transform(clips, Spec(), training=False)
    assert batch.video.shape == (6, 4, 3, 32, 32)
    assert batch.video_id.tolist() == [0] * 6
    assert batch.view.tolist() == [0, 1, 2, 3, 4, 5]
    assert len(batch.label) == 6
    for i, video in enumerate(batch.video):  # crop i of view i // 3
        assert contents(255 * video) == contents(clips.frames[i // 3])
    one = module.transform(clips, Spec(), training=False, crops=1)
    assert one.view.tolist() == [0, 1]


def test_frames_smaller_than_the_model_are_refused(videos: Path) -> None:
    module = _module(videos, loader=replace(ALONE, short_side=24))
    clips = next(iter(module.val_dataloader()))
    with pytest.raises(ConfigurationError, match="short side of 24 pixels, the model takes 32"):
        module.transform(clips, Spec(), training=False)
    assert clips.frames[0].shape[-2:] == (24, 32)


def test_recipe_is_plain_and_complete(videos: Path) -> None:
    module = _module(videos, eval_views=3, eval_transform=EvalTransform(scale=40))
    recipe = json.loads(json.dumps(module.evaluation_recipe()))
    assert recipe["sampler"]["class"] == "SegmentSampler"
    assert recipe["sampler"]["num_frames"] == 4
    assert recipe["transform"]["scale"] == 40
    assert recipe["class_names"] == ["jump", "run"]
    assert (recipe["short_side"], recipe["eval_views"]) == (256, 3)


def test_digest_changes_with_the_data(videos: Path) -> None:
    module = _module(videos)
    assert module.digest() == {}
    module.train_dataloader()
    first = module.digest()
    assert first["train_clips"] == 6
    other = _module(videos, train="val")
    other.train_dataloader()
    assert other.digest()["train_digest"] != first["train_digest"]


def test_run_seed_is_the_default(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    assert KineticsDataModule(videos).seed == 7
    assert KineticsDataModule(videos, seed=2).seed == 2


def test_flip_pairs_reach_the_labels(videos: Path) -> None:
    flip = TrainTransform(flip=1.0, grayscale=0.0, flip_pairs=((0, 1),))
    module = _module(videos, train_transform=flip)
    clips = next(iter(module.train_dataloader()))
    batch = module.transform(clips, Spec(), training=True)
    assert torch.equal(batch.label, 1 - clips.label)


class Processes(NamedTuple):
    """What a trainer tells of itself."""

    world_size: int
    num_training_batches: int = 3
    global_rank: int = 0
    overfit_batches: float = 0


@pytest.mark.parametrize(("handed_out", "refused"), [(1, True), (3, False)])
def test_the_middle_of_an_epoch_belongs_to_its_number_of_processes(
    videos: Path, handed_out: int, refused: bool
) -> None:
    module, other = _module(videos), _module(videos)
    module.trainer, other.trainer = Processes(1), Processes(2)
    batches = iter(module.train_dataloader())
    for _ in range(handed_out):
        next(batches)
    state = module.state_dict()
    _module(videos).load_state_dict(state)
    if refused:
        with pytest.raises(ConfigurationError, match=r"by 1 process\(es\), this run has 2"):
            other.load_state_dict(state)
    else:
        other.load_state_dict(state)
