"""X-CLIP, TS2-Net and X-Pool against tensors recorded on their official implementations."""

import torch
from torch import nn

from tests.parity.cases import Case, check
from video_adapt.adapters import TokenShift, TokenShiftBlockAdapter, inject
from video_adapt.backbones import CLIP
from video_adapt.backbones.clip_block import attend
from video_adapt.checkpoints import KeyRule, convert_keys, load_strictly
from video_adapt.retrieval.teachers import (
    TOWER_RULES,
    TS2NET_RULES,
    XCLIP,
    XCLIP_RULES,
    XPOOL_RULES,
    TS2Net,
    XPool,
)


def load(teacher, case, rules, **allowed):
    state = convert_keys(case.group("weights"), [KeyRule(*rule) for rule in rules])
    load_strictly(teacher, state, **allowed)
    return teacher.eval()


def mask_of(case):
    """Frames that are real; a case without a mask has nothing but real frames."""
    inputs = case.group("inputs")
    if "video_mask" in inputs:
        return inputs["video_mask"].bool()
    return torch.ones(inputs["frames"].shape[:2], dtype=torch.bool)


def compare(case, recorded, mine):
    """Everything recorded is compared and nothing of ours is left over."""
    assert recorded.keys() == mine.keys(), recorded.keys() ^ mine.keys()
    for key, expected in recorded.items():
        case.assert_close(mine[key], expected, key)


@check("teachclip", "xclip_head")
def xclip_head(case: Case) -> None:
    config, inputs = case.config, case.group("inputs")
    teacher = XCLIP(
        config["embed_dim"],
        words=config["max_words"],
        frames=config["max_frames"],
        header=config["sim_header"],
        layers=config["temporal_layers"],
        heads=config["temporal_heads"],
        positions=config["frame_position_rows"],
        temperature=config["attention_temperature"],
        masked=False,
    )
    load(teacher, case, XCLIP_RULES)
    videos = teacher.encode_videos(inputs["frames"].unsqueeze(2), mask_of(case))
    captions = teacher.encode_captions(inputs["sentence"], inputs["words"])
    pairs = torch.arange(len(inputs["sentence"])).clamp(max=len(inputs["frames"]) - 1)
    taught = teacher(captions, videos, pairs)
    finest = teacher.frame_word_similarity(captions["words"], videos["frames"])
    compare(case, case.group("inter"), {"frame_word_logits": teacher.scale * finest})
    matched = len(case.group("outputs")["frame_relevance"])
    outputs = {"sim_matrix": taught.similarity, "frame_relevance": taught.relevance[:matched]}
    compare(case, case.group("outputs"), outputs)


@check("teachclip", "ts2net_head")
def ts2net_head(case: Case) -> None:
    config, inputs = case.config, case.group("inputs")
    teacher = TS2Net(
        config["embed_dim"],
        selected=config["topk"],
        samples=config["num_samples"],
        sigma=config["sigma"],
        layers=config["temporal_layers"],
        heads=config["temporal_heads"],
        positions=config["frame_position_rows"],
        sharpness=config["softmax_factor"],
        tiled_mask=True,
        masked=False,
    )
    load(teacher, case, TS2NET_RULES)
    seen = {}
    teacher.selector.register_forward_hook(lambda *call: seen.update(selected=call[-1]))
    teacher.transformer.register_forward_hook(lambda *call: seen.update(mixed=call[-1]))
    videos = teacher.encode_videos(inputs["tokens"], mask_of(case), inputs["noise"])
    captions = teacher.encode_captions(inputs["sentence"], inputs["sentence"][:, None])
    pairs = torch.arange(len(inputs["sentence"])).clamp(max=len(inputs["tokens"]) - 1)
    taught = teacher(captions, videos, pairs)

    scores = teacher.selector.scores(inputs["tokens"].flatten(0, 1))
    selected = seen["selected"].unflatten(0, inputs["tokens"].shape[:2]).flatten(1, 2)
    recorded = case.group("inter")
    # Recorded before the residual around the transformer.
    compare(case, recorded, {"token_scores": scores, "temporal_block_out": seen["mixed"]})
    matched = len(case.group("outputs")["frame_relevance"])
    outputs = {
        "selected_tokens": selected,
        "sim_matrix": taught.similarity,
        "sim_matrix_global": taught.similarity,  # equal by construction
        "frame_relevance": taught.relevance[:matched],
    }
    compare(case, case.group("outputs"), outputs)


@check("teachclip", "ts2net_token_shift")
def ts2net_token_shift(case: Case) -> None:
    config, tokens = case.config, case.group("inputs")["x"].transpose(0, 1)  # [B*T, N, D]
    attention = nn.MultiheadAttention(config["width"], config["heads"])
    weights = {name.removeprefix("net."): x for name, x in case.group("weights").items()}
    load_strictly(attention, weights)
    shift = TokenShiftBlockAdapter(config["n_div"])
    grid = 1, config["tokens"] - 1
    shifted = shift.inside_attention(tokens, num_frames=config["frames"], grid=grid)
    compare(case, case.group("inter"), {"shifted": shifted.transpose(0, 1)})
    mixed, _, _ = attend(attention, shifted)
    compare(case, case.group("outputs"), {"attn": mixed.transpose(0, 1)})


@check("teachclip", "ts2net_visual_tokens")
def ts2net_visual_tokens(case: Case) -> None:
    config, vision = case.config, case.config["vision"]
    backbone = CLIP.from_config(
        {
            "embed_dim": config["embed_dim"],
            "quick_gelu": True,
            "vision_cfg": {
                "image_size": vision["image_size"],
                "patch_size": vision["patch"],
                "width": vision["width"],
                "layers": vision["layers"],
                "head_width": vision["width"] // vision["heads"],
            },
            "text_cfg": {"context_length": 4, "vocab_size": 8, "width": 8, "layers": 1, "heads": 1},
        }
    ).eval()
    published = convert_keys(case.group("weights"), [KeyRule(*rule) for rule in TOWER_RULES])
    load_strictly(backbone.towers, published, allow_new=[r"text\..+", "logit_scale"])
    shifting = [name for name in case.group("weights") if ".attn.net.in_proj_weight" in name]
    inject(backbone, TokenShift(last_blocks=len(shifting), divisor=config["n_div"]))
    video = case.group("inputs")["video"].unflatten(0, (-1, config["frames"]))
    tokens = backbone.final_norm(backbone(video).tokens) @ backbone.projection[0]
    compare(case, case.group("outputs"), {"visual_tokens": tokens.flatten(0, 1)})


@check("teachclip", "xpool_head")
def xpool_head(case: Case) -> None:
    config, inputs = case.config, case.group("inputs")
    teacher = XPool(config["embed_dim"], heads=config["heads"], masked=False)
    load(teacher, case, XPOOL_RULES, allow_new=["logit_scale"])
    videos = teacher.encode_videos(inputs["frames"].unsqueeze(2), mask_of(case))
    captions = teacher.encode_captions(inputs["sentence"], inputs["sentence"][:, None])
    pairs = torch.arange(len(inputs["sentence"])).clamp(max=len(inputs["frames"]) - 1)
    taught = teacher(captions, videos, pairs)
    recorded = case.group("outputs")
    mine = {
        "pooled": teacher.pool(inputs["sentence"], inputs["frames"]),
        "cosine": teacher.cosines(inputs["sentence"], inputs["frames"]),
        "sim_matrix": taught.similarity,
        "frame_relevance": taught.relevance[: len(inputs["frames"])],
    }
    assert recorded.keys() <= mine.keys()
    compare(case, recorded, {name: mine[name] for name in recorded})
