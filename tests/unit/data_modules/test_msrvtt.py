"""Captioned videos in batches: pairs in training, every video once in evaluation."""

import json
import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from torch import Tensor

from data_modules import CaptionedVideo, LoaderOptions, MSRVTTDataModule
from data_modules.caption_dataset import CaptionDataset
from video_adapt.batches import DecodedCaptions
from video_adapt.errors import AnnotationError, ConfigurationError, VideoDecodeError
from video_adapt.video import MiddleSampler, SecondSampler, TrainTransform

from .captioned_videos import CAPTIONS, TRAINED, Words, write_captioned, write_lists
from .conftest import contents, write_video
from .test_kinetics import Spec

ALONE = LoaderOptions(batch_size=2, num_workers=0, short_side=None)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_captioned(tmp_path_factory.mktemp("captioned") / "data")


def _module(root: Path, **arguments: Any) -> MSRVTTDataModule:
    lists = {"train": "train.csv", "val": "test.csv", "captions": "captions.json"}
    given = {"loader": ALONE, "sampler": SecondSampler(num_frames=4, per_second=2), "seed": 1}
    return MSRVTTDataModule(root, **lists | given | arguments)


def _pairs(module: MSRVTTDataModule, batches: list[DecodedCaptions]) -> list[tuple[str, str]]:
    """Name and caption of every pair, after a look at the frames."""
    pairs = []
    names, captions = module.video_names("train"), module.captions("train")
    for batch in batches:
        for row, number in zip(
            batch.caption_video.tolist(), batch.caption_id.tolist(), strict=True
        ):
            name = names[int(batch.video_id[row])]
            assert f"video{contents(batch.frames[row])[0]}" == name
            pairs.append((name, captions[number]))
    return pairs


def _epoch(module: MSRVTTDataModule, epoch: int = 0) -> list[DecodedCaptions]:
    loader = module.train_dataloader()
    loader.batch_sampler.sampler.set_epoch(epoch)
    return list(loader)


ALL_PAIRS = [(name, text) for name in TRAINED for text in CAPTIONS[name]]


def test_every_caption_with_its_video_is_a_sample(root: Path) -> None:
    module = _module(root)
    pairs = _pairs(module, _epoch(module))
    assert sorted(pairs) == sorted(ALL_PAIRS)
    assert pairs != ALL_PAIRS  # in another order
    assert _pairs(module, _epoch(module)) == pairs
    assert _pairs(module, _epoch(module, 1)) != pairs


def test_one_caption_of_every_video_is_drawn_anew(root: Path) -> None:
    module = _module(root, train_captions="one", loader=replace(ALONE, batch_size=3))
    epochs = [_pairs(module, _epoch(module, epoch)) for epoch in range(30)]
    assert all(sorted(name for name, _ in pairs) == list(TRAINED) for pairs in epochs)
    drawn = Counter(text for pairs in epochs for _, text in pairs)
    assert drawn.keys() == {text for _, text in ALL_PAIRS}
    assert all(drawn[text] > 3 for text in CAPTIONS["video0"])
    assert _pairs(module, _epoch(module, 3)) == epochs[3]


def test_evaluation_decodes_every_video_once_with_all_its_captions(root: Path) -> None:
    module = _module(root, val="captions.json", test="train.csv")
    (batch,) = module.val_dataloader()
    assert (batch.video_id.tolist(), batch.caption_id.tolist()) == ([0], [0, 1])
    assert batch.caption_video.tolist() == [0, 0]
    assert module.video_names("val") == ["video3"]
    first, second = module.test_dataloader()
    assert first.video_id.tolist() == [0, 1]
    assert first.caption_id.tolist() == [0, 1, 2, 3]
    assert first.caption_video.tolist() == [0, 0, 0, 1]
    assert (second.video_id.tolist(), second.caption_id.tolist()) == ([2], [4, 5])
    assert second.caption_video.tolist() == [0, 0]
    assert module.caption_video("test").tolist() == [0, 0, 0, 1, 2, 2]


def test_processes_share_videos_without_padding(root: Path) -> None:
    module = _module(root)
    seen: list[int] = []
    for rank in range(3):
        module._process = lambda rank=rank: (rank, 3)  # type: ignore[method-assign]
        loader = module._eval_batches("train", module.manifest("train"))
        seen += [number for batch in loader for number in batch.caption_id.tolist()]
    assert sorted(seen) == [0, 1, 2, 3, 4, 5]


def test_workers_change_nothing(root: Path) -> None:
    alone = _epoch(_module(root))
    shared = _epoch(_module(root, loader=replace(ALONE, num_workers=2)))
    for one, other in zip(alone, shared, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_frames_are_those_of_the_sampler(root: Path) -> None:
    module = _module(root, val="train.csv")
    frames = [contents(video)[1] for batch in module.val_dataloader() for video in batch.frames]
    assert frames == [[0, 5], [0, 5, 10, 15], [0, 5, 10, 20]]  # of 1, 2 and 2.5 s
    module = _module(root, val="train.csv", sampler=MiddleSampler(2))
    frames = [contents(video)[1] for batch in module.val_dataloader() for video in batch.frames]
    assert frames == [[2, 7], [4, 14], [5, 18]]


def test_batch_reaches_the_model_normalised_padded_and_tokenised(root: Path) -> None:
    module, words = _module(root, val="train.csv", max_words=3), Words()
    (decoded, _) = module.val_dataloader()
    tokens = module.tokens("val", words)
    assert tokens.shape == (6, 3)
    batch = module.transform(
        decoded, Spec(mean=(0.5,) * 3, std=(0.25,) * 3), tokens, training=False
    )
    assert batch.video.shape == (2, 4, 3, 32, 32)
    assert batch.video_mask.tolist() == [[True, True, False, False], [True] * 4]
    assert not batch.video[0, 2:].any()
    assert contents(255 * (0.25 * batch.video[1] + 0.5)) == (1, [0, 5, 10, 15])
    assert words.read(batch.tokens) == ["a dog", "a dog", "dogs", "a cat"]
    assert batch.tokens.dtype == torch.int64
    assert batch.tokens[1].tolist()[-1] == 999
    assert batch.caption_video.tolist() == [0, 0, 0, 1]
    half = module.transform(decoded, Spec(), tokens, training=False, dtype=torch.float16)
    assert half.video.dtype == torch.float16


def test_captions_become_tokens_once(root: Path) -> None:
    module, words = _module(root), Words()
    assert module.tokens("train", words) is module.tokens("train", words)
    module.tokens("val", words)
    assert words.calls == 2


def test_training_is_not_augmented_unless_wanted(root: Path) -> None:
    module, words = _module(root), Words()
    (decoded, *_) = _epoch(module)

    def video(module: MSRVTTDataModule, *, training: bool) -> Tensor:
        tokens = module.tokens("train", words)
        return module.transform(decoded, Spec(), tokens, training=training).video

    plain = video(module, training=False)
    assert torch.equal(video(module, training=True), plain)
    augmented = _module(root, train_transform=TrainTransform(area=(0.5, 1), grayscale=0))
    assert torch.equal(video(augmented, training=False), plain)
    changed = video(augmented, training=True)
    assert changed.shape == plain.shape
    assert torch.equal(changed, video(augmented, training=True))


def test_frames_smaller_than_the_model_are_refused(root: Path) -> None:
    module = _module(root, loader=replace(ALONE, short_side=24))
    (decoded, *_) = module.val_dataloader()
    with pytest.raises(ConfigurationError, match="short side of 24 pixels, the model takes 32"):
        module.transform(decoded, Spec(), module.tokens("val", Words()), training=False)


def test_recipe_is_plain_and_complete(root: Path) -> None:
    recipe = json.loads(json.dumps(_module(root, max_words=16).evaluation_recipe()))
    assert recipe["sampler"]["class"] == "SecondSampler"
    assert (recipe["sampler"]["num_frames"], recipe["sampler"]["count"]) == (4, "time")
    assert (recipe["max_words"], recipe["short_side"]) == (16, None)
    assert recipe["transform"] == {"class": "BicubicCrop", "size": None}


def test_epoch_chosen_on_training_videos_is_said(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        _module(root).train_dataloader()
        assert not caplog.messages
        _module(root, val="captions.json", train="captions.json").train_dataloader()
        assert not caplog.messages  # its own splits do not meet
        (root / "both.csv").write_text("video_id\nvideo3\nvideo1\n")
        _module(root, val="both.csv").train_dataloader()
    assert "1 of 2 validation videos are trained on, too, first video1" in caplog.text


def test_too_few_pairs_for_one_batch(root: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"6 training captions .* do not fill one batch"):
        _module(root, loader=replace(ALONE, batch_size=7)).train_dataloader()
    four = replace(ALONE, batch_size=4)
    with pytest.raises(ConfigurationError, match=r"3 training videos .* do not fill one batch"):
        _module(root, train_captions="one", loader=four).train_dataloader()


def test_names_without_captions_are_refused(root: Path) -> None:
    with pytest.raises(AnnotationError, match=r"train.csv: names videos without captions; set dat"):
        _module(root, captions=None).manifest("train")
    assert _module(root, captions=None).manifest("val").captions == ["a red ball"]


def test_broken_video_stops_or_is_replaced(root: Path, tmp_path: Path) -> None:
    write_lists(tmp_path)
    (tmp_path / "videos").mkdir()
    for name in CAPTIONS:
        (tmp_path / f"videos/{name}.mp4").symlink_to(root / f"videos/{name}.mp4")
    (tmp_path / "videos/video0.mp4").unlink()
    (tmp_path / "videos/video0.mp4").write_text("no video")
    with pytest.raises(VideoDecodeError, match=r"train.csv:2: .*video0.mp4"):
        _epoch(_module(tmp_path))
    module = _module(tmp_path, on_broken="skip", max_broken_share=0.5)
    pairs = _pairs(module, _epoch(module))
    assert len(pairs) == 6
    assert {name for name, _ in pairs} == {"video1", "video2"}
    assert module.broken == 1
    module = _module(tmp_path, val="train.csv", on_broken="skip", max_broken_share=0.5)
    assert [batch.caption_id.tolist() for batch in module.val_dataloader()] == [[3], [4, 5]]
    assert module.digest()["val_videos"] == 2


def test_part_behind_the_end_of_a_video_is_named(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "own.csv"
    source.write_text("video,caption,start_s,end_s\nvideo1,x,0.5,1.5\nvideo1,y,7,9\n")
    module = _module(root, train=source, val=source)
    with pytest.raises(VideoDecodeError, match=r"own.csv:3: .*lasts 2.00 s, it is described fr"):
        list(module.val_dataloader())
    source.write_text("video,caption,start_s,end_s\nvideo1,x,0.5,1.5\nvideo1,y,1.5,\n")
    (batch,) = _module(root, train=source, val=source).val_dataloader()
    assert [contents(video)[1] for video in batch.frames] == [[5, 10], [15]]


def test_split_column_of_ones_own_list(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "own.csv"
    rows = ["video,caption,split", "video1,x,train", "videos/video2.mp4,y,val", "video1,z,train"]
    source.write_text("\n".join(rows))
    module = _module(root, train=source, val=source, captions=None)
    assert module.captions("train") == ["x", "z"]
    assert module.captions("val") == ["y"]
    assert module.captions("test") == ["y"]
    np.testing.assert_array_equal(module.caption_video("train"), [0, 0])


@pytest.mark.parametrize(
    ("kept", "end_s", "refused"), [(12, None, True), (12, 9.0, True), (12, 0.2, False)]
)
def test_a_video_whose_end_was_cut_off_is_broken(
    tmp_path: Path, kept: int, end_s: float | None, refused: bool
) -> None:
    path = tmp_path / "cut.mp4"
    write_video(path, 0, frames=24)
    with av.open(str(path)) as container:
        places = sorted(packet.pos for packet in container.demux(video=0) if packet.size)
    path.write_bytes(path.read_bytes()[: places[kept]])
    entry = CaptionedVideo("cut", str(path), "list:3", None, end_s, ())
    dataset = CaptionDataset([entry], np.array([0, 1]), SecondSampler())
    sample = dataset[0, 0]
    assert bool(sample.broken) == (sample.frames is None) == refused
    if refused:
        assert f"{path}: cut off: its header promises 24" in sample.broken[0].cause
    packed = dataset.collate([sample])
    assert packed.unpack().caption_id.tolist() == ([] if refused else [0])


def test_short_sides_are_scaled_while_decoding(root: Path) -> None:
    (batch,) = _module(root, loader=replace(ALONE, short_side=24)).val_dataloader()
    assert batch.frames[0].shape[-2:] == (24, 32)
