"""Published retrievers become checkpoints that validate, search and teach."""

import argparse
import json

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from tests.parity.cases import DEFAULT_DIR, Case
from tests.parity.checks.teachclip_student import clip_description
from tests.unit.methods.captioned_clips import captions
from tests.unit.methods.test_teachclip_convert import PARTS
from tests.unit.retrieval.teachers.test_published import published_ts2net
from video_adapt.apps import convert
from video_adapt.backbones import CLIP
from video_adapt.errors import ConfigurationError, WeightsError
from video_adapt.methods.teachclip import StudentSpec, Taught
from video_adapt.retrieval.teachers import XCLIP, TS2Net, XPool
from video_adapt.tasks import load_method

# Lightning builds a method from its recorded arguments in a way that jsonargparse deprecates.
pytestmark = pytest.mark.filterwarnings(
    "ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"
)
CASE = Case("teachclip", "train_step_loss", DEFAULT_DIR / "teachclip/train_step_loss.json")
SIZES = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"width": 24, "head_width": 8, "layers": 2, "patch_size": 4, "image_size": 16},
    "text_cfg": {
        "width": 16,
        "heads": 2,
        "layers": 2,
        "context_length": 8,
        "vocab_size": 49408,
    },
}


def towers(*, shifted=False):
    """A CLIP under the names of the released files."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        state = CLIP.from_config(SIZES).towers.state_dict()
    named = {f"clip.{name.removeprefix('text.')}": tensor for name, tensor in state.items()}
    if shifted:
        last = "clip.visual.transformer.resblocks.1.attn."
        named = {n.replace(last, last + "net."): t for n, t in named.items()}
    return named


def renamed(module):
    """A module under the names of the released files."""
    state = {}
    for name, tensor in module.state_dict().items():
        ours = next(start for start in PARTS if name.startswith(start))
        state[PARTS[ours] + name.removeprefix(ours)] = tensor + 0.1
    return state


def run(folder, state, *words, method, description=SIZES):
    torch.save({"state_dict": state}, folder / "published.bin")
    (folder / "clip.json").write_text(json.dumps(description))
    parser = argparse.ArgumentParser()
    convert.add_arguments(parser)
    given = [folder / "published.bin", "--method", method, "--backbone", folder / "clip.json"]
    given += ["--out", folder / "out.ckpt", *words]
    assert convert.run(parser.parse_args([str(word) for word in given])) == 0
    return torch.load(folder / "out.ckpt", weights_only=True)


def test_the_recorded_student_scores_what_was_recorded(tmp_path, capsys):
    state, inputs = CASE.group("weights"), CASE.group("inputs")
    run(tmp_path, state, method="teachclip", description=clip_description(CASE.config))
    assert f"{len(state)} tensors loaded" in capsys.readouterr().out
    (tmp_path / "published.bin").unlink()
    method = load_method(tmp_path / "out.ckpt")
    video, mask = inputs["video"].flatten(1, 3), inputs["video_mask"][:, 0].bool()
    with torch.no_grad():
        text = method.read_captions(inputs["input_ids"][:, 0])
        scores = method.similarity(text, method(video.unflatten(1, (-1,)), mask))
    CASE.assert_close(scores, CASE.group("outputs")["sim_matrix"], "sim_matrix")


@pytest.mark.parametrize("kind", ["meanP", "seqTransf", "seqLSTM", "tightTransf"])
def test_students_of_clip4clip_are_told_apart_by_their_files(tmp_path, kind):
    student = StudentSpec(kind=kind, layers=1, heads=2).build(16, positions=8)
    state = {**towers(), **renamed(student)}
    if kind == "seqLSTM":
        state["frame_position_embeddings.weight"] = torch.zeros(8, 16)  # made, and never read
    saved = run(tmp_path, state, method="clip4clip")
    assert saved["hyper_parameters"]["student"]["kind"] == kind
    method = load_method(tmp_path / "out.ckpt")
    for name, tensor in student.state_dict().items():
        assert torch.equal(method.student.state_dict()[name], tensor + 0.1), name
    assert torch.equal(method.backbone.visual.proj, towers()["clip.visual.proj"])


def head_of_xclip(header="seqTransf"):
    sizes = {"words": 6, "frames": 4, "header": header}
    return XCLIP(16, **sizes, layers=1, heads=2, positions=8)


def head_of_ts2net():
    return TS2Net(16, layers=1, heads=2, positions=8, tiled_mask=True)


def xpool_file():
    """X-Pool's own names: the CLIP of transformers, and its head."""
    shared = {"intermediate_size": 64, "num_hidden_layers": 2}
    text = {"hidden_size": 16, "vocab_size": 49408, "max_position_embeddings": 8}
    vision = {"hidden_size": 24, "image_size": 16, "patch_size": 4, "num_attention_heads": 3}
    vision["intermediate_size"] = 96
    config = CLIPConfig(
        text_config={**shared, **text, "num_attention_heads": 2},
        vision_config={**shared, **vision},
        projection_dim=16,
    )
    state = {f"clip.{name}": tensor for name, tensor in CLIPModel(config).state_dict().items()}
    parts = {
        "query": "cross_attn.q_proj",
        "key": "cross_attn.k_proj",
        "value": "cross_attn.v_proj",
        "out": "cross_attn.out_proj",
        "branch": "linear_proj",
        "input_norm": "layer_norm1",
        "attention_norm": "layer_norm2",
        "output_norm": "layer_norm3",
    }
    for name, tensor in XPool(16).state_dict().items():
        if name != "logit_scale":
            part, leaf = name.split(".")
            state[f"pool_frames.{parts[part]}.{leaf}"] = tensor + 0.01
    return state


@pytest.mark.parametrize(
    ("method", "make", "head"),
    [
        ("xclip", lambda: {**towers(), **renamed(head_of_xclip())}, head_of_xclip),
        (
            "xclip",
            lambda: {**towers(), **renamed(head_of_xclip("meanP"))},
            lambda: head_of_xclip("meanP"),
        ),
        ("ts2net", lambda: {**shape_of_ts2net(), **towers()}, head_of_ts2net),
        ("xpool", xpool_file, lambda: XPool(16)),
    ],
)
def test_a_converted_teacher_compares_and_teaches_alike(tmp_path, method, make, head):
    saved = run(tmp_path, make(), method=method)
    loaded, batch = load_method(tmp_path / "out.ckpt"), captions([0, 1, 2])
    backbone = CLIP.from_config(SIZES)
    with torch.no_grad():
        found = loaded.predict_step(batch)
        scores = loaded.similarity(found.text, found.video)
        taught = Taught(head(), backbone=backbone, weights=tmp_path / "out.ckpt")
        told = taught(batch, batch.caption_video)
        published = Taught(
            head(), backbone=CLIP.from_config(SIZES), weights=tmp_path / "published.bin"
        )
        expected = published(batch, batch.caption_video)
    for similarity in (scores, told.similarity):
        torch.testing.assert_close(similarity, expected.similarity, atol=1e-3, rtol=1e-4)
    assert saved["video_adapt"]["method"].endswith("TeacherRetriever")


def shape_of_ts2net():
    """A head of TS2-Net under its file's names, without the towers of that helper."""
    state = published_ts2net(head_of_ts2net())
    return {name: tensor for name, tensor in state.items() if not name.startswith("clip.visual")}


def test_the_token_shift_of_an_original_file_is_kept(tmp_path):
    saved = run(tmp_path, {**shape_of_ts2net(), **towers(shifted=True)}, method="ts2net")
    assert saved["hyper_parameters"]["adapter"]["init_args"] == {"last_blocks": 1}
    assert list(load_method(tmp_path / "out.ckpt").backbone.adapters) == ["1"]


def test_the_checkpoint_says_how_videos_and_captions_are_prepared(tmp_path):
    state = {**towers(), **renamed(head_of_xclip())}
    given = run(tmp_path, state, method="xclip")["video_adapt"]["input"]
    assert given["sampler"]["class"] == "SecondSampler"
    assert (given["sampler"]["num_frames"], given["max_words"]) == (4, 6)
    (tmp_path / "out.ckpt").unlink()
    words = ("--num-frames", 64, "--max-words", 64)
    given = run(tmp_path, xpool_file(), *words, method="xpool")["video_adapt"]["input"]
    assert given["sampler"] == {"class": "MiddleSampler", "num_frames": 64}
    assert given["max_words"] == 64


def test_numbers_that_contradict_the_file_are_refused(tmp_path):
    state = {**towers(), **renamed(head_of_xclip())}
    with pytest.raises(ConfigurationError, match="trained with 4: leave out --num-frames 12"):
        run(tmp_path, state, "--num-frames", 12, method="xclip")


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("xclip", "not a published file of X-CLIP: has no word_logit_weight"),
        ("ts2net", "not a published file of TS2-Net: has no visual_token_selector"),
        ("xpool", "not a published file of X-Pool: has no clip.text_projection.weight"),
        ("teachclip", "is a file of the other kind; give --method clip4clip"),
    ],
)
def test_files_of_another_method_are_refused_by_name(tmp_path, method, message):
    with pytest.raises(WeightsError, match=rf"published\.bin: {message}"):
        run(tmp_path, towers(), method=method)
    assert not (tmp_path / "out.ckpt").exists()


def test_a_file_of_other_sizes_is_refused(tmp_path):
    other = {**SIZES, "vision_cfg": {**SIZES["vision_cfg"], "layers": 1}}
    with pytest.raises(WeightsError, match=r"published\.bin: .* unknown: visual"):
        run(tmp_path, towers(), method="clip4clip", description=other)


def test_a_clip_with_the_wrong_activation_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="computes GELU, the CLIP of published"):
        run(tmp_path, towers(), method="clip4clip", description={**SIZES, "quick_gelu": False})


@pytest.mark.parametrize("option", ["--classes", "--weights", "--config", "--stride"])
def test_options_of_other_methods_are_refused(tmp_path, option):
    with pytest.raises(ConfigurationError, match=f"{option} does not go with --method clip4clip"):
        run(tmp_path, towers(), option, 3, method="clip4clip")
