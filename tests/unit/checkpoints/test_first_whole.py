import logging

import pytest
import torch

from video_adapt.checkpoints import first_whole, read_checkpoint
from video_adapt.errors import WeightsError


@pytest.fixture
def files(tmp_path):
    """Checkpoints of steps 2, 1 and 0."""
    paths = [tmp_path / name for name in ("last.ckpt", "previous.ckpt", "best.ckpt")]
    for step, path in zip((2, 1, 0), paths, strict=True):
        torch.save({"step": step, "weight": torch.arange(1000.0)}, path)
    return paths


def cut(path):
    path.write_bytes(path.read_bytes()[:2000])


def spoil(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_the_first_one_is_taken_where_it_is_whole(files, caplog):
    path, content = first_whole(files)
    assert (path, content["step"]) == (files[0], 2)
    assert not caplog.records


@pytest.mark.parametrize("damage", [cut, spoil])
def test_a_damaged_one_is_named_and_the_next_taken(files, caplog, damage):
    damage(files[0])
    with caplog.at_level(logging.WARNING):
        path, content = first_whole(files)
    assert (path, content["step"]) == (files[1], 1)
    (said,) = caplog.messages
    assert said.startswith(f"{files[0]}: damaged or incomplete (")
    assert said.endswith(f"taking {files[1]} instead")


def test_a_missing_one_is_passed_over(files):
    files[0].unlink()
    assert first_whole(files)[1]["step"] == 1


def test_none_that_is_whole_is_an_error_about_the_first(files):
    for path in files:
        cut(path)
    with pytest.raises(WeightsError, match=r"last\.ckpt: damaged"):
        first_whole(files)


def test_one_bit_that_is_wrong_is_found(files):
    assert read_checkpoint(files[0])["step"] == 2
    spoil(files[0])
    assert not torch.equal(torch.load(files[0])["weight"], torch.arange(1000.0))
    with pytest.raises(WeightsError, match=r"damaged or incomplete \(check sum of "):
        read_checkpoint(files[0])


def test_files_without_check_sums_can_be_read(tmp_path):
    path = tmp_path / "old.pt"
    torch.save({"step": 3}, path, _use_new_zipfile_serialization=False)
    assert read_checkpoint(path) == {"step": 3}
