import json
import re

import huggingface_hub
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import VideoMAEConfig as OriginalConfig
from transformers import VideoMAEForPreTraining, VideoMAEForVideoClassification

from video_adapt.backbones import VideoMAE, VideoMAEConfig, videomae_config
from video_adapt.backbones.videomae_config import SIZES, parse_config, read_config
from video_adapt.errors import ConfigurationError, WeightsError

CONFIG = VideoMAEConfig(
    "tiny", width=16, depth=2, heads=2, hidden=24, patch_size=4, chunk_frames=4, table_size=8
)
ORIGINAL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "patch_size": 4,
    "num_frames": 4,
    "image_size": 8,
    "layer_norm_eps": 1e-6,
    "num_labels": 3,
}
# From our names to those of other files; "tower." is left out of all but ours.
TO_MMACTION = (
    (r"^", "backbone."),
    (r"patch_embed\.", "patch_embed.projection."),
    (r"mlp\.fc1\.", "mlp.layers.0.0."),
    (r"mlp\.fc2\.", "mlp.layers.1."),
)
TO_ORIGINAL = ((r"patch_embed\.", "patch_embed.proj."),)


@pytest.fixture
def source():
    torch.manual_seed(3)
    backbone = VideoMAE.from_config(CONFIG)
    for parameter in backbone.parameters():
        nn.init.normal_(parameter, std=0.2)
    return backbone.eval()


def published(backbone, renames, head):
    state = {}
    for name, tensor in backbone.state_dict().items():
        name = name.removeprefix("tower.")
        for pattern, replacement in renames:
            name = re.sub(pattern, replacement, name)
        state[name] = tensor
    return state | {f"{head}.weight": torch.zeros(3, 16), f"{head}.bias": torch.zeros(3)}


def same(one, other):
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("container", ["module", "model", "state_dict", None])
def test_the_authors_files_are_read(tmp_path, source, container):
    state = published(source, TO_ORIGINAL, "head")
    path = tmp_path / "checkpoint.pth"
    torch.save({container: state} if container else state, path)
    assert same(VideoMAE.from_config(CONFIG, str(path)), source)


def test_files_of_mmaction_are_read(tmp_path, source):
    path = tmp_path / "mmaction.pth"
    state = published(source, TO_MMACTION, "cls_head.fc_cls")
    state["backbone.pos_embed"] = source.tower.positions[None]
    torch.save({"meta": {}, "state_dict": state}, path)
    assert same(VideoMAE.from_config(CONFIG, str(path)), source)


def transformers_model(kind=VideoMAEForVideoClassification):
    torch.manual_seed(0)
    model = kind(OriginalConfig(**ORIGINAL)).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model


@pytest.mark.parametrize("weights", ["folder", "file"])
def test_a_folder_of_transformers_is_model_and_weights(tmp_path, weights):
    model = transformers_model()
    folder = tmp_path / "my-videomae"
    model.save_pretrained(folder)
    path = folder if weights == "folder" else folder / "model.safetensors"
    backbone = VideoMAE(str(folder), str(path), image_size=8).eval()
    assert backbone.name == "my-videomae"
    assert backbone.config == CONFIG._replace(name="my-videomae")
    video = torch.randn(1, 4, 3, 8, 8)
    with torch.no_grad():
        mine = backbone.final_norm(backbone(video).tokens.flatten(1, 2).mean(1))
        theirs = model.fc_norm(model.videomae(video).last_hidden_state.mean(1))
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_older_files_of_transformers_name_biases_differently(source):
    model = transformers_model()
    old = {
        re.sub(r"(query|value)\.bias", lambda m: f"{m[1][0]}_bias", name): tensor
        for name, tensor in model.state_dict().items()
    }
    assert "videomae.encoder.layer.0.attention.attention.q_bias" in old
    first, second = VideoMAE.from_config(CONFIG), VideoMAE.from_config(CONFIG)
    first.load_weights(old)
    report = second.load_weights(model.state_dict())
    assert same(first, second)
    assert set(report.converted) == {f"tower.blocks.{n}.attn.qkv.weight" for n in range(2)}


def test_of_a_pre_trained_model_the_decoder_is_left(source):
    report = VideoMAE.from_config(CONFIG).load_weights(
        transformers_model(VideoMAEForPreTraining).state_dict()
    )
    assert set(report.new) == {"fc_norm.weight", "fc_norm.bias"}
    assert all("decoder" in name or name == "mask_token" for name in report.unused)


def test_adapters_do_not_come_from_the_file(source):
    backbone = VideoMAE.from_config(CONFIG)
    backbone.adapters["0"] = nn.Linear(2, 2)
    report = backbone.load_weights(published(source, TO_ORIGINAL, "head"))
    assert set(report.new) == {"adapters.0.weight", "adapters.0.bias"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("blocks.1.attn.q_bias"), "1 missing: tower.blocks.1.attn.q_bias"),
        (lambda s: s.update({"blocks.0.attn.qkv.bias": torch.zeros(48)}), "qkv.bias"),
        (lambda s: s.update({"cls_token": torch.zeros(1, 1, 16)}), "unknown: cls_token"),
        (lambda s: s.update({"pos_embed": torch.zeros(1, 8, 16)}), "not the sinusoids"),
        (lambda s: s.update({"pos_embed": torch.zeros(1, 9, 16)}), "not the sinusoids"),
    ],
)
def test_other_kinds_of_model_are_refused(source, change, message):
    state = published(source, TO_ORIGINAL, "head")
    change(state)
    with pytest.raises(WeightsError, match=re.escape(message)):
        VideoMAE.from_config(CONFIG).load_weights(state)


def test_another_size_is_refused_with_its_name(source, monkeypatch):
    monkeypatch.setitem(videomae_config.SIZES, "tiny", CONFIG)
    state = published(source, TO_ORIGINAL, "head")
    with pytest.raises(WeightsError, match=r"width 16, 2 blocks and 4-pixel.*set name: tiny"):
        VideoMAE.from_config(CONFIG._replace(name="other", depth=3)).load_weights(state)


def test_a_missing_file_says_what_to_download():
    with pytest.raises(WeightsError) as error:
        VideoMAE("base", "nowhere/vit-b.pth")
    text = str(error.value)
    assert "huggingface.co/MCG-NJU/videomae-base-finetuned-kinetics" in text
    assert "`weights`" in text
    with pytest.raises(WeightsError, match=r"VideoMAEv2.*`weights`"):
        VideoMAE("giant", "hub")


def test_without_internet_the_hub_says_what_to_download(monkeypatch):
    def fail(*args):
        raise OSError("no route\nto host")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(WeightsError, match=r"videomae-small-finetuned.*`weights`.*no route to"):
        VideoMAE("small")
    with pytest.raises(ConfigurationError, match=r"is no size .*no route to host"):
        VideoMAE("some/model")


def test_the_hub_gives_model_and_weights(tmp_path, monkeypatch):
    model = transformers_model()
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "videomae"} | ORIGINAL))
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    asked = []

    def download(repository, name):
        asked.append((repository, name))
        if not (tmp_path / name).exists():
            raise OSError(name)
        return str(tmp_path / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    backbone = VideoMAE("MCG-NJU/videomae-tiny")
    assert backbone.name == "videomae-tiny"
    expected = VideoMAE.from_config(CONFIG)
    expected.load_weights(model.state_dict())
    assert same(backbone, expected)
    assert {repository for repository, _ in asked} == {"MCG-NJU/videomae-tiny"}


def test_half_a_folder_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=r"config\.json: no model description"):
        VideoMAE(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "videomae"}))
    with pytest.raises(ConfigurationError, match="lacks 'hidden_size'"):
        VideoMAE(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "videomae"} | ORIGINAL))
    with pytest.raises(WeightsError, match="no such file"):
        VideoMAE(str(tmp_path), str(tmp_path))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model_type", "vit", "model_type='vit'.*only 'videomae'"),
        ("hidden_act", "quick_gelu", "hidden_act='quick_gelu'.*only 'gelu'"),
        ("hidden_act", "gelu_pytorch_tanh", "only 'gelu'"),
        ("num_channels", 4, "only 3"),
        ("qkv_bias", False, "without biases"),
        ("qv_bias", False, "without biases"),
    ],
)
def test_models_that_compute_something_else_are_refused(key, value, message):
    content = {"model_type": "videomae"} | ORIGINAL | {key: value}
    with pytest.raises(ConfigurationError, match=message):
        parse_config("somewhere", content)


@pytest.mark.parametrize(
    ("name", "millions"),
    [("small", 21.88), ("base", 86.23), ("large", 303.86), ("huge", 631.61), ("giant", 1011.6)],
)
def test_sizes_have_the_published_number_of_parameters(name, millions):
    with torch.device("meta"):
        backbone = VideoMAE.from_config(read_config(name))
    assert sum(p.numel() for p in backbone.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)
    assert backbone.width % backbone.heads == 0
    assert SIZES[name].table_size // backbone.patch_size in (14, 16)


def test_safetensors_files_are_read(tmp_path, source):
    path = tmp_path / "model.safetensors"
    state = {k: v.contiguous() for k, v in published(source, TO_ORIGINAL, "head").items()}
    save_file(state, path)
    assert same(VideoMAE.from_config(CONFIG, str(path)), source)
