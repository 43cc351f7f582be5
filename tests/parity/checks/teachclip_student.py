"""TeachCLIP's student: words, frames, vectors, and every gradient of one training step."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.parity.cases import Case, check
from tests.parity.checks.clip import SMALL_TEXT, SMALL_VISION
from tests.parity.checks.teachclip_clip4clip import load_student, positions_of
from video_adapt.backbones import CLIP
from video_adapt.backbones.clip_weights import CLIP_KEYS
from video_adapt.checkpoints import convert_keys
from video_adapt.methods.teachclip import convert
from video_adapt.methods.teachclip.network import StudentSpec, VectorStudent, VideoReading
from video_adapt.methods.teachclip.published import STUDENT_KEYS, TOWER_KEYS
from video_adapt.retrieval import MeanPooling, similarity_matrix


def clip_description(config: dict[str, Any]) -> dict[str, Any]:
    """The recorded towers; one that the recording lacks is made as small as can be."""
    vision, text = SMALL_VISION, SMALL_TEXT
    if recorded := config.get("vision"):
        vision = {key: recorded[key] for key in ("image_size", "width", "layers")} | {
            "patch_size": recorded["patch"],
            "head_width": recorded["width"] // recorded["heads"],
        }
    if recorded := config.get("text"):
        text = {key: recorded[key] for key in ("context_length", "width", "layers", "heads")} | {
            "vocab_size": recorded["vocab"]
        }
    width = config.get("embed_dim") or config["text"]["width"]
    return {"embed_dim": width, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}


def tower_names(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a file holds of the towers, under our names."""
    towers = {k: v for k, v in published.items() if k.startswith("clip.")}
    return convert_keys(convert_keys(towers, TOWER_KEYS), CLIP_KEYS)


def build_towers(case: Case) -> CLIP:
    """The recorded towers, their weights loaded strictly; what was not recorded stays random."""
    backbone = CLIP.from_config(clip_description(case.config)).eval()
    recorded = tower_names(case.group("weights"))
    own = backbone.towers.state_dict()
    halves = ("visual.", "text.", "logit_scale")
    absent = tuple(half for half in halves if not any(k.startswith(half) for k in recorded))
    rest = {k: v for k, v in own.items() if k.startswith(absent)} if absent else {}
    backbone.load_weights(recorded | rest)
    return backbone


def build_student(case: Case) -> VectorStudent:
    config, published = case.config, case.group("weights")
    spec = StudentSpec(
        kind="afa",
        layers=config["temporal_layers"],
        heads=config["temporal_heads"],
        temperature=config["afa_pool_temperature"],
        masked=False,
    )
    student = spec.build(config["embed_dim"], positions=positions_of(published))
    load_student(student, published)
    assert isinstance(student, VectorStudent)
    return student


def compare(case: Case, group: str, mine: dict[str, Tensor]) -> None:
    """Everything recorded in a group, and nothing else."""
    expected = case.group(group)
    assert mine.keys() == expected.keys()
    for key, value in mine.items():
        case.assert_close(value, expected[key], key)


def fine_weights(case: Case, reading: VideoReading) -> Tensor:
    """The softmax that the losses see, padding included."""
    assert reading.frame_logits is not None
    return (reading.frame_logits / case.config["afa_fine_temperature"]).softmax(dim=1)


@check("teachclip", "tokenizer_bpe")
def tokens(case: Case) -> None:
    backbone = CLIP.from_config(
        {
            "embed_dim": SMALL_VISION["width"],
            "vision_cfg": SMALL_VISION,
            "text_cfg": SMALL_TEXT
            | {
                "vocab_size": case.config["eot_id"] + 1,
                "context_length": max(entry["max_words"] for entry in case.meta["cases"]),
            },
        }
    )
    for entry in case.meta["cases"]:
        caption, length = entry["caption"], entry["max_words"]
        # Either tokenizer takes the spelling of its own marks for a mark; ours is open_clip's.
        expected = entry.get("open_clip_ids", entry["ids"])
        assert entry["equals_open_clip_same_length"] == ("open_clip_ids" not in entry)
        mine = backbone.tokenize([caption], length=length)[0].tolist()
        padding = [case.config["pad_id"]] * (length - len(expected))
        assert mine == expected + padding, f"{case.name}: {caption!r}"


@check("teachclip", "student_text")
def text(case: Case) -> None:
    backbone = build_towers(case)
    ids = case.group("inputs")["input_ids"]
    features = backbone.embed_text(ids)
    mine = {
        "text_embed": F.normalize(features.embedding, dim=-1),
        "text_embed_unnormalised": features.embedding,
        "token_features": features.words,
    }
    compare(case, "outputs", mine)


@check("teachclip", "student_video_from_frames")
def video_from_frames(case: Case) -> None:
    student, inputs = build_student(case), case.group("inputs")
    frames, mask = inputs["frame_features"], inputs["video_mask"].bool()
    scale = case.group("weights")["clip.logit_scale"]
    context = student.temporal(frames, mask)
    pooled, reading = student.pool(frames, mask), student(frames, mask)
    sentences = inputs["text_features"]
    mean = MeanPooling()(context, mask).vector
    outputs = {
        "afa_fine_weights": fine_weights(case, reading),
        "sim_matrix": student.compare(student.read_text(sentences), reading.feature, scale),
        "sim_matrix_meanpool": similarity_matrix(sentences, mean, scale),
        "video_embed": reading.feature,
        "video_embed_unnormalised": pooled.vector,
    }
    compare(case, "outputs", outputs)
    inter = {
        "afa_logits": pooled.logits,
        "afa_pool_weights": pooled.weights,
        "frame_context": context,
    }
    compare(case, "inter", inter)


@check("teachclip", "student_video_from_pixels")
def video_from_pixels(case: Case) -> None:
    backbone, student, inputs = build_towers(case), build_student(case), case.group("inputs")
    video = inputs["video"][:, 0, :, 0]  # [B, T, C, H, W]
    mask = inputs["video_mask"].bool()
    features = backbone(video)
    outputs = {
        "frame_features": features.embedding,
        "video_embed": student(features.embedding, mask).feature,
        "video_embed_unnormalised": student.pool(features.embedding, mask).vector,
    }
    compare(case, "outputs", outputs)
    compare(case, "inter", {"last_block_tokens_first_image": features.tokens[0, :1]})


@check("teachclip", "train_step_loss")
def train_step(case: Case) -> None:
    backbone, student, inputs = build_towers(case), build_student(case), case.group("inputs")
    report = convert.load_student(student, backbone, case.group("weights"))
    assert len(report.loaded) == len(case.group("weights"))
    backbone.train()
    student.train()
    video, mask = inputs["video"][:, 0, :, 0], inputs["video_mask"][:, 0].bool()
    frames = backbone(video).embedding
    sentences = backbone.embed_text(inputs["input_ids"][:, 0]).embedding
    reading = student(frames, mask)
    scores = student.compare(student.read_text(sentences), reading.feature, backbone.logit_scale)
    terms = loss_terms(case, scores, fine_weights(case, reading))
    weights = case.config["loss_weights"]
    loss = torch.stack([weights[name] * value for name, value in terms.items()]).sum()
    loss.backward()

    recorded = case.group("grads")
    expected = {f"towers.{k}": v for k, v in tower_names(recorded).items()}
    expected |= convert_keys(
        {k: v for k, v in recorded.items() if not k.startswith("clip.")}, STUDENT_KEYS
    )
    named = [*backbone.named_parameters(), *student.named_parameters()]
    mine = {name: p.grad for name, p in named if p.grad is not None}
    assert mine.keys() == expected.keys()
    for name, grad in mine.items():
        case.assert_close(grad, expected[name], f"gradient of {name}")
    norm = torch.stack([grad.norm() for grad in mine.values()]).norm()
    outputs = {
        "afa_fine_weights": fine_weights(case, reading),
        "sim_matrix": scores,
        "loss": loss,
        "grad_norm_before_clip": norm,
        **terms,
    }
    compare(case, "outputs", outputs)


def loss_terms(case: Case, scores: Tensor, relevance: Tensor) -> dict[str, Tensor]:
    """The three terms of the released code, written out: Pearson coarse, cross-entropy fine."""
    config, inputs = case.config, case.group("inputs")
    assert (config["coarse"], config["fine"], config["beta"]) == ("pear", "ce", 1.0)
    pairs = torch.arange(len(scores))
    both = F.cross_entropy(scores, pairs) + F.cross_entropy(scores.T, pairs)

    def pearson(a: Tensor, b: Tensor) -> Tensor:
        a, b = (x.softmax(dim=1) for x in (a, b))
        a, b = (x - x.mean(dim=1, keepdim=True) for x in (a, b))
        return 1 - F.cosine_similarity(a, b, dim=1).mean()

    taught = inputs["teacher_sims"]
    coarse = [pearson(scores, own) + pearson(scores.T, own.T) for own in taught]
    fine = [-(own * relevance.log()).mean() for own in inputs["teacher_relevance"]]
    return {
        "contrastive": both / 2,
        "coarse": torch.stack(coarse).mean(),
        "fine": torch.stack(fine).mean(),
    }
