import hashlib
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from video_adapt.checkpoints import (
    KeyRule,
    LoadReport,
    convert_keys,
    digest,
    is_torchscript,
    load_strictly,
    read_checkpoint,
    read_state,
)
from video_adapt.errors import WeightsError

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(2.0)}


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


@pytest.mark.parametrize("container", [None, "state_dict", "model_state", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_are_found_wherever_frameworks_put_them(tmp_path, container, prefix):
    state = {prefix + key: value for key, value in STATE.items()}
    path = tmp_path / "file.pth"
    torch.save({container: state, "epoch": 3} if container else state, path)
    assert same(read_state(path), STATE)


def test_prefix_stays_where_not_all_names_carry_it(tmp_path):
    state = {"module.a": torch.zeros(1), "b": torch.zeros(1)}
    torch.save(state, tmp_path / "file.pt")
    assert same(read_state(tmp_path / "file.pt"), state)


def test_safetensors(tmp_path):
    save_file(STATE, tmp_path / "file.safetensors")
    assert same(read_state(tmp_path / "file.safetensors"), STATE)


@pytest.mark.filterwarnings("ignore:`torch.jit.* is deprecated:FutureWarning")
def test_torchscript(tmp_path):
    path = tmp_path / "file.pt"
    module = nn.Linear(2, 3)
    torch.jit.script(module).save(str(path))
    assert is_torchscript(path)
    assert same(read_state(path), module.state_dict())
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("file/constants.pkl", b"")
    with pytest.raises(WeightsError, match=r"file\.pt: damaged"):
        read_state(path)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_missing_file(tmp_path, suffix):
    with pytest.raises(WeightsError, match="no such file"):
        read_state(tmp_path / f"none{suffix}")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("keep", [0, 5, 100])
def test_truncated_file(tmp_path, suffix, keep):
    path = tmp_path / f"file{suffix}"
    save_file(STATE, path) if suffix == ".safetensors" else torch.save(STATE, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError, match=path.name) as caught:
        read_state(path)
    assert "\n" not in str(caught.value)


class Anything:
    """Something that a weights file has no business to hold."""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": Anything()}, "could run code"),
        ([1, 2], "holds no weights"),
        ({}, "holds no weights"),
        ({"a": torch.zeros(1), "epoch": 3}, "'epoch' is a int, not a tensor"),
    ],
)
def test_foreign_content(tmp_path, content, message):
    path = tmp_path / "file.pt"
    torch.save(content, path)
    with pytest.raises(WeightsError, match=message) as caught:
        read_state(path)
    assert "\n" not in str(caught.value)


def test_a_text_file_is_no_weights(tmp_path):
    path = tmp_path / "file.pt"
    path.write_text("<html>not found</html>")
    with pytest.raises(WeightsError, match=r"file\.pt: is no file of weights"):
        read_state(path)


def test_read_checkpoint_keeps_everything(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": STATE, "epoch": 3}, path)
    content = read_checkpoint(path)
    assert content["epoch"] == 3
    assert same(content["state_dict"], STATE)
    torch.save([1], path)
    with pytest.raises(WeightsError, match="a list, not a checkpoint"):
        read_checkpoint(path)


def test_first_matching_rule_decides():
    rules = [
        KeyRule(r"blocks\.(\d+)\.conv\.weight", r"layers.\1.weight", lambda w: w.squeeze(-1)),
        KeyRule(r"blocks\.(\d+)\.(?P<rest>.+)", r"layers.\1.\g<rest>"),
        KeyRule(r"blocks\..*", "never"),
        KeyRule("head", "never"),
    ]
    state = {
        "blocks.0.conv.weight": torch.ones(2, 3, 1),
        "blocks.10.norm.bias": torch.ones(4),
        "xblocks.0.a": torch.ones(5),
        "head.b": torch.ones(6),
    }
    converted = convert_keys(state, rules)
    shapes = {name: tuple(tensor.shape) for name, tensor in converted.items()}
    assert shapes == {
        "layers.0.weight": (2, 3),
        "layers.10.norm.bias": (4,),
        "xblocks.0.a": (5,),
        "head.b": (6,),
    }


def test_two_names_may_not_become_one():
    with pytest.raises(WeightsError, match=r"'old\.w' and 'w' both mean 'w'"):
        convert_keys({"old.w": torch.ones(1), "w": torch.ones(1)}, [KeyRule(r"old\.(.+)", r"\1")])


def fresh():
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    nn.init.zeros_(module[0].weight)
    return module


def test_load_strictly_takes_everything_over():
    source, module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), fresh()
    report = load_strictly(module, source.state_dict(), converted=["0.weight"])
    assert same(module.state_dict(), source.state_dict())
    assert report == LoadReport(tuple(module.state_dict()), ("0.weight",))


def test_load_strictly_keeps_type_of_the_module():
    module = fresh()
    load_strictly(module, {k: v.half() for k, v in fresh().state_dict().items()})
    assert module[0].weight.dtype == torch.float32


def test_stated_differences_are_reported():
    state = fresh().state_dict()
    del state["1.running_var"], state["1.running_mean"]
    state["extra.a"] = torch.zeros(1)
    report = load_strictly(fresh(), state, allow_new=[r"1\.running_.*"], allow_unused=["extra.*"])
    assert report.new == ("1.running_mean", "1.running_var")
    assert report.unused == ("extra.a",)
    assert len(report.loaded) == 5


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda s: s.pop("0.bias"), "1 missing: 0.bias"),
        (lambda s: s.update(z=torch.zeros(1)), "1 unknown: z"),
        (
            lambda s: s.update({"0.bias": torch.zeros(3)}),
            r"1 of another shape: 0.bias \[3\], the model wants \[2\]",
        ),
        (lambda s: s.clear(), r"7 missing: 0.{weight,bias}, 1.{weight,bias,running_mean"),
    ],
)
def test_unstated_differences_are_refused_and_nothing_is_written(edit, message):
    state = {name: tensor + 1 for name, tensor in fresh().state_dict().items()}
    edit(state)
    module = fresh()
    before = digest(module.state_dict())
    with pytest.raises(WeightsError, match=message):
        load_strictly(module, state, allow_new=["0"], allow_unused=["zz"])
    assert digest(module.state_dict()) == before


def test_report_counts_and_names():
    report = LoadReport(
        loaded=("a", "b.x", "b.y"),
        converted=("a",),
        unused=("c.x", "c.y", "d.x", "e", "f.x"),
    )
    assert report.render(names=3) == (
        "3 tensors loaded | converted 1 (a) | unused 5 (c.{x,y}, d.x, e and 1 more)"
    )
    assert LoadReport(loaded=("a",)).render() == "1 tensors loaded"


def test_digest_is_what_its_docstring_says():
    expected = hashlib.sha256(b"b\0torch.float32\0(2,)\0" + bytes(4) + b"\x00\x00\x80\x3f")
    assert digest({"b": torch.tensor([0.0, 1.0])}) == expected.hexdigest()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int64])
def test_digest_ignores_layout_and_order(dtype):
    tensor = torch.arange(12).reshape(3, 4).to(dtype)
    other = torch.tensor(True)
    expected = digest({"a": tensor, "b": other})
    assert digest({"b": other, "a": tensor.T.contiguous().T}) == expected
    assert digest({"a": nn.Parameter(tensor, requires_grad=False), "b": other}) == expected


@pytest.mark.parametrize(
    "tensors",
    [
        {"a": torch.tensor([1.0, 2.0000002])},
        {"b": torch.tensor([1.0, 2.0])},
        {"a": torch.tensor([[1.0, 2.0]])},
        {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(0)},
        {"a": torch.tensor([1.0, 2.0]).view(torch.int32)},
    ],
)
def test_digest_sees_name_shape_type_and_every_bit(tensors):
    assert digest(tensors) != digest({"a": torch.tensor([1.0, 2.0])})
