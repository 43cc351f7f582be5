import ast
import copy
import json
import logging
import warnings
from pathlib import Path

import open_clip
import pytest
import torch
from open_clip.model import resize_pos_embed
from safetensors.torch import save_file

import video_adapt.backbones
from video_adapt.backbones import CLIP
from video_adapt.checkpoints import digest
from video_adapt.errors import ConfigurationError, WeightsError

IMPORTS = (ast.Import, ast.ImportFrom)
SMALL = {
    "embed_dim": 12,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 16, "patch_size": 4, "width": 24, "layers": 2, "head_width": 8},
    "text_cfg": {"context_length": 10, "vocab_size": 49408, "width": 8, "layers": 1, "heads": 1},
}


def changed(**values):
    """SMALL with other values; those of the towers as ``vision_<key>`` and ``text_<key>``."""
    config = copy.deepcopy(SMALL)
    for key, value in values.items():
        tower, _, field = key.partition("_")
        if tower in ("vision", "text"):
            config[f"{tower}_cfg"][field] = value
        else:
            config[key] = value
    return config


@pytest.fixture(scope="module")
def original():
    """open_clip's own model, in the layout of published files: text tower at the top level."""
    torch.manual_seed(0)
    return open_clip.model.CLIP(**SMALL).eval()


@pytest.fixture
def description(tmp_path):
    path = tmp_path / "tiny-model.json"
    path.write_text(json.dumps(SMALL))
    return str(path)


def test_a_long_sequence_is_encoded_some_frames_at_a_time():
    backbone = CLIP.from_config(SMALL)
    video = torch.randn(2, 70, 3, 16, 16)
    lengths = []
    backbone.visual.conv1.register_forward_hook(lambda *call: lengths.append(len(call[2])))
    with torch.no_grad():
        sequence = backbone.sequence(video)
    assert lengths == [64, 64, 12]
    torch.testing.assert_close(sequence, backbone(video).class_token)


def test_equals_open_clip(original):
    backbone = CLIP.from_config(SMALL)
    backbone.load_weights(original.state_dict())
    video = torch.randn(2, 3, 3, 16, 16)
    tokens = torch.randint(1, 49408, (5, 10))
    with torch.no_grad():
        mine, theirs = backbone(video).embedding, original.encode_image(video.flatten(0, 1))
        torch.testing.assert_close(mine.flatten(0, 1), theirs, atol=1e-6, rtol=1e-6)
        expected = original.encode_text(tokens)
    torch.testing.assert_close(backbone.encode_tokens(tokens), expected, atol=1e-6, rtol=1e-6)


def test_layer_scale_is_applied():
    config = changed(vision_ls_init_value=0.3)
    backbone = CLIP.from_config(config).eval()
    video = torch.randn(1, 2, 3, 16, 16)
    with torch.no_grad():
        theirs = backbone.towers.encode_image(video[0])
        torch.testing.assert_close(backbone(video).embedding[0], theirs, atol=1e-6, rtol=1e-6)


def test_queries_and_keys_are_those_of_the_attention():
    backbone = CLIP.from_config(SMALL).eval()
    video = torch.randn(1, 1, 3, 16, 16)
    with torch.no_grad():
        features = backbone(video, blocks=(0,), queries_keys=(1,))
        block = backbone.blocks[1]
        normed = block.ln_1(features.blocks[0][0])  # [1, N, D]
        _, weights = block.attn(normed, normed, normed, average_attn_weights=False)
    queries, keys = (x[0, 0].transpose(0, 1) for x in features.queries_keys[1])  # [heads, N, d]
    mine = (queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5).softmax(dim=-1)
    torch.testing.assert_close(mine, weights[0], atol=1e-6, rtol=1e-5)


def test_describes_itself(description):
    backbone = CLIP(description, weights=None, image_size=24)
    assert backbone.name == "tiny-model"
    assert backbone.pixels.image_size == 24
    assert backbone.pixels.mean == open_clip.OPENAI_DATASET_MEAN
    assert backbone.pixels.std == open_clip.OPENAI_DATASET_STD
    sizes = (backbone.width, backbone.depth, backbone.heads, backbone.patch_size)
    assert sizes == (24, 2, 3, 4)
    assert backbone.embed_dim == 12
    assert backbone.grid == (6, 6)
    assert len(backbone.blocks) == 2


def test_published_description_carries_its_colours(tmp_path):
    path = tmp_path / "published.json"
    pixels = {"mean": [0.5, 0.4, 0.3], "std": [0.1, 0.2, 0.3]}
    path.write_text(json.dumps({"model_cfg": SMALL, "preprocess_cfg": pixels}))
    assert CLIP(str(path), None).pixels == (16, (0.5, 0.4, 0.3), (0.1, 0.2, 0.3))


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".safetensors"])
@pytest.mark.parametrize("layout", ["published", "custom_text"])
def test_loads_open_clip_files(original, description, tmp_path, suffix, layout, caplog):
    state = original.state_dict()
    if layout == "custom_text":
        state = CLIP.from_config(SMALL).towers.state_dict()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, path)
    with caplog.at_level(logging.INFO):
        backbone = CLIP(description, str(path))
    assert torch.equal(backbone.visual.proj, state["visual.proj"])
    assert f"tiny-model: {len(state)} tensors loaded" in caplog.text


@pytest.fixture(scope="module")
def archive(original, tmp_path_factory):
    """A TorchScript archive like OpenAI's: the weights, some facts about them, and code."""
    path = tmp_path_factory.mktemp("archive") / "ViT-T-4.pt"
    model = copy.deepcopy(original)
    for fact in ("input_resolution", "context_length", "vocab_size"):
        if hasattr(model, fact):
            delattr(model, fact)
        model.register_buffer(fact, torch.tensor(16))
    inputs = torch.zeros(1, 3, 16, 16), torch.zeros(1, 10, dtype=torch.long)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\..* is deprecated", FutureWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        torch.jit.trace(model, inputs, check_trace=False).save(str(path))
    return path


def test_loads_a_torchscript_archive(archive, original, description, caplog):
    with caplog.at_level(logging.INFO):
        backbone = CLIP(description, str(archive))
    assert torch.equal(backbone.visual.conv1.weight, original.visual.conv1.weight)
    assert torch.equal(backbone.towers.text.text_projection, original.text_projection)
    assert "unused 4 (attn_mask, input_resolution, context_length, vocab_size)" in caplog.text


def test_archive_with_quickgelu_is_refused_by_a_gelu_model(archive, tmp_path):
    path = tmp_path / "plain.json"
    path.write_text(json.dumps(changed(quick_gelu=False)))
    with pytest.raises(WeightsError, match=r"trained with QuickGELU, plain computes GELU"):
        CLIP(str(path), str(archive))


def test_archive_tells_by_its_code_alone(archive, tmp_path):
    renamed = tmp_path / "anything.pt"
    renamed.write_bytes(archive.read_bytes())
    path = tmp_path / "plain.json"
    path.write_text(json.dumps(changed(quick_gelu=False)))
    with pytest.raises(WeightsError, match=r"use name=plain-quickgelu \(or quick_gelu: true"):
        CLIP(str(path), str(renamed))


@pytest.mark.parametrize(
    ("file", "facts"),
    [
        ("vit_base_patch16_clip_224.openai/open_clip_model.safetensors", ()),
        ("models--timm--vit_base_patch16_clip_224.openai/snapshots/1a2b/model.safetensors", ()),
        ("b16_400m.pt", ()),
        ("my-openai-copy.pt", ()),
        ("ours-quickgelu.pt", ()),
        ("anything.pt", ("input_resolution",)),
    ],
)
def test_traces_of_quickgelu_are_refused_by_a_gelu_model(original, tmp_path, file, facts):
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {**original.state_dict(), **{fact: torch.tensor(1) for fact in facts}}
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    model = tmp_path / "plain.json"
    model.write_text(json.dumps(changed(quick_gelu=False)))
    with pytest.raises(WeightsError, match="trained with QuickGELU"):
        CLIP(str(model), str(path))


def test_file_known_to_be_gelu_is_refused_by_a_quickgelu_model(original, tmp_path, description):
    path = tmp_path / "CLIP-ViT-B-16-laion2B-s34B-b88K" / "open_clip_pytorch_model.bin"
    path.parent.mkdir()
    torch.save(original.state_dict(), path)
    with pytest.raises(WeightsError, match=r"trained with GELU, tiny-model computes QuickGELU"):
        CLIP(description, str(path))


@pytest.mark.parametrize(
    ("name", "tag", "mend"),
    [
        ("ViT-B-16", "openai", "name=ViT-B-16-quickgelu"),
        ("ViT-B-16-quickgelu", "laion2b_s34b_b88k", "name=ViT-B-16 "),
    ],
)
def test_tag_of_the_other_activation_is_refused_before_any_download(name, tag, mend):
    with pytest.raises(WeightsError, match=mend):
        CLIP(name, tag)


def test_without_internet_the_error_says_what_to_download(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError) as caught:
        CLIP("ViT-B-16-quickgelu", "openai")
    message = str(caught.value)
    assert "https://openaipublic.azureedge.net" in message
    assert "path as the backbone's `weights`" in message
    assert "\n" not in message


def test_tag_brings_its_colours(monkeypatch, original, tmp_path, description):
    path = tmp_path / "fetched.pt"
    torch.save(original.state_dict(), path)
    entry = {"quick_gelu": True, "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "hf_hub": "a/b/"}
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda name, tag: entry)
    monkeypatch.setattr(open_clip, "download_pretrained", lambda entry: str(path))
    backbone = CLIP(description, "some_tag")
    assert torch.equal(backbone.visual.proj, original.visual.proj)
    assert backbone.pixels == (16, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_neither_file_nor_tag():
    with pytest.raises(WeightsError, match="neither a file nor known to open_clip"):
        CLIP("ViT-B-16-quickgelu", "no/such/file.pt")


@pytest.mark.parametrize("side", [24, 12])
def test_other_image_size_resizes_the_position_embedding(original, tmp_path, side, caplog):
    weights = tmp_path / "w.pt"
    torch.save(original.state_dict(), weights)
    model = tmp_path / "m.json"
    model.write_text(json.dumps(SMALL))
    with caplog.at_level(logging.INFO):
        backbone = CLIP(str(model), str(weights), image_size=side)
    expected = dict(original.state_dict())
    resize_pos_embed(expected, backbone.towers)
    mine = backbone.visual.positional_embedding
    assert mine.shape == (1 + (side // 4) ** 2, 24)
    torch.testing.assert_close(mine.data, expected["visual.positional_embedding"])
    assert "converted 1 (visual.positional_embedding)" in caplog.text
    assert backbone(torch.randn(1, 1, 3, side, side)).embedding.isfinite().all()


def test_loading_is_strict(original):
    backbone = CLIP.from_config(SMALL)
    before = digest(backbone.state_dict())
    state = original.state_dict()
    with pytest.raises(WeightsError, match=r"1 missing: visual.proj; 1 unknown: extra"):
        backbone.load_weights(
            {"extra": torch.zeros(1), **{k: v for k, v in state.items() if k != "visual.proj"}}
        )
    with pytest.raises(WeightsError, match=r"visual.proj \[24, 5\], the model wants \[24, 12\]"):
        backbone.load_weights({**state, "visual.proj": torch.zeros(24, 5)})
    assert digest(backbone.state_dict()) == before


def test_temperature_may_be_stored_as_a_vector(original):
    backbone = CLIP.from_config(SMALL)
    backbone.load_weights({**original.state_dict(), "logit_scale": torch.tensor([3.0])})
    assert backbone.logit_scale == 3


def test_last_blocks_end_with_norm_and_projection():
    backbone = CLIP.from_config(SMALL)
    *blocks, norm, projection = backbone.last_blocks(1)
    assert blocks == [backbone.blocks[1]]
    assert norm is backbone.visual.ln_post
    assert next(projection.parameters()) is backbone.visual.proj


def test_strictness_names_the_file(original, tmp_path, description):
    path = tmp_path / "half.pt"
    torch.save({"visual.proj": original.visual.proj.data}, path)
    with pytest.raises(WeightsError, match=r"half\.pt: weights do not fit"):
        CLIP(description, str(path))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-B16-quickgelu", "did you mean ViT-B-16-quickgelu"),
        ("RN50", "ResNet"),
        ("ViT-B-16-SigLIP", "timm"),
        ("coca_ViT-B-32", "captioning"),
        ("ViT-L-14-CLIPA", "class token"),
        ("xlm-roberta-base-ViT-B-32", "Hugging Face"),
        ("missing.json", "cannot read"),
    ],
)
def test_models_that_cannot_be_used(name, message):
    with pytest.raises(ConfigurationError, match=message):
        CLIP(name, None)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"vision_scale_fc": True}, "blocks of its image tower"),
        ({"vision_patch_dropout": 0.5}, "drops patches"),
        ({"vision_image_size": 18}, "multiple of 4"),
        ({"vision_image_size": [16, 32]}, "no square"),
        ({"vision_image_size": 0}, "multiple of 4"),
        ({"vision_patch_size": [4, 4]}, "whole"),
        ({"vision_depth": 3}, "bad model description"),
        ({"text_heads": 3}, "bad model description"),
    ],
)
def test_descriptions_that_cannot_be_used(values, message):
    with pytest.raises(ConfigurationError, match=message):
        CLIP.from_config(changed(**values))


@pytest.mark.parametrize("broken", ["{", "3"])
def test_incomplete_descriptions(tmp_path, broken):
    with pytest.raises(ConfigurationError, match="lacks embed_dim, text_cfg"):
        CLIP.from_config({"vision_cfg": {}})
    path = tmp_path / "broken.json"
    path.write_text(broken)
    with pytest.raises(ConfigurationError, match="not a model description in JSON"):
        CLIP(str(path), None)


def test_long_prompts_are_cut_and_counted(caplog):
    backbone = CLIP.from_config(SMALL)
    fits, long = "one two three four five six seven eight", "one " * 9
    backbone.encode_text([fits])
    assert not caplog.records
    backbone.encode_text([fits, long])
    assert "1 of 2 prompts are longer than 10 tokens and were cut, first: 'one one" in caplog.text


def test_text_is_encoded_in_chunks(monkeypatch):
    backbone = CLIP.from_config(SMALL)
    prompts = [f"number {i}" for i in range(7)]
    whole = backbone.encode_text(prompts)
    monkeypatch.setattr("video_adapt.backbones.clip._PROMPTS_AT_ONCE", 3)
    torch.testing.assert_close(backbone.encode_text(prompts), whole)


def test_foreign_vocabulary_wants_tokens():
    backbone = CLIP.from_config(changed(text_vocab_size=50))
    assert backbone.encode_tokens(torch.randint(0, 50, (3, 10))).shape == (3, 12)
    with pytest.raises(ConfigurationError, match="use encode_tokens"):
        backbone.encode_text(["a"])


def test_text_tower_can_be_dropped():
    backbone = CLIP.from_config(SMALL)
    backbone.drop_text()
    assert not [name for name in backbone.state_dict() if ".text." in name]
    assert backbone(torch.randn(1, 1, 3, 16, 16)).embedding.shape == (1, 1, 12)
    with pytest.raises(ConfigurationError, match="drop_text"):
        backbone.encode_text(["a"])


def test_only_building_a_model_imports_open_clip():
    for path in Path(video_adapt.backbones.__file__).parent.glob("*.py"):
        imports = [node for node in ast.parse(path.read_text()).body if isinstance(node, IMPORTS)]
        names = {name for node in imports for name in ast.unparse(node).split()}
        assert not [name for name in names if name.startswith("open_clip")], path
