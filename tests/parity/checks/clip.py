"""The frozen towers: features of every block, and the classifier made of class names."""

from typing import Any

import torch

from tests.parity.cases import Case, check
from video_adapt.backbones import CLIP
from video_adapt.checkpoints import load_strictly
from video_adapt.tasks import TextHead

SMALL_VISION = {"image_size": 8, "patch_size": 8, "layers": 1, "width": 8, "head_width": 8}
SMALL_TEXT = {"context_length": 4, "vocab_size": 8, "width": 8, "layers": 1, "heads": 1}


def vision_config(config: dict[str, Any]) -> dict[str, Any]:
    shared = {key: config[key] for key in ("image_size", "patch_size", "width", "layers")}
    return shared | {"head_width": config["width"] // config["heads"]}


def text_config(config: dict[str, Any]) -> dict[str, Any]:
    named = {key: config[f"text_{key}"] for key in ("width", "layers", "heads")}
    return named | {key: config[key] for key in ("context_length", "vocab_size")}


def build(
    config: dict[str, Any], vision: dict[str, Any] | None, text: dict[str, Any] | None
) -> CLIP:
    """A CLIP of the fixture's sizes; a tower that the fixture lacks is made as small as can be."""
    description = {
        "embed_dim": config["embed_dim"],
        "quick_gelu": True,
        "vision_cfg": vision or SMALL_VISION,
        "text_cfg": text or SMALL_TEXT,
    }
    return CLIP.from_config(description).eval()


@check("dual_encoder", "clip_visual_features")
def visual_features(case: Case) -> None:
    config = case.config
    backbone = build(config, vision_config(config), None)
    load_strictly(backbone.visual, case.group("weights"))
    embedded: list[torch.Tensor] = []
    backbone.visual.ln_pre.register_forward_hook(lambda *call: embedded.append(call[-1]))
    video = case.group("inputs")["video"].transpose(1, 2)  # [B, T, C, H, W]

    with torch.no_grad():
        backbone(video)
        features = backbone(video[:, :: config["frame_ratio"]], blocks=range(config["layers"]))

    outputs, inter = case.group("outputs"), case.group("inter")
    mine = {
        "cls_post_ln": features.class_token.flatten(0, 1),
        "image_embedding": features.embedding.flatten(0, 1),
        "patch_tokens_last": features.tokens[:, :, 1:].flatten(0, 1),
    }
    for number, tokens in features.blocks.items():
        mine[f"layer_{number:02d}"] = tokens.flatten(0, 1).transpose(0, 1)
    assert mine.keys() == outputs.keys()
    for key, expected in outputs.items():
        case.assert_close(mine[key], expected, key)
    for tokens, key in zip(embedded, ("ln_pre_all_frames", "tokens_kept_frames"), strict=True):
        case.assert_close(tokens.transpose(0, 1), inter[key], key)


@check("dual_encoder", "clip_text_logits")
def text_logits(case: Case) -> None:
    config = case.config
    backbone = build(config, None, text_config(config))
    image_tower = {f"visual.{key}": value for key, value in backbone.visual.state_dict().items()}
    backbone.load_weights(case.group("weights") | image_tower)
    inputs, outputs = case.group("inputs"), case.group("outputs")
    states: list[torch.Tensor] = []
    backbone.towers.text.ln_final.register_forward_pre_hook(lambda _, x: states.append(x[0]))

    text = backbone.encode_tokens(inputs["tokens"])
    ends = inputs["tokens"].argmax(dim=-1)
    case.assert_close(text, outputs["text_features"], "text_features")
    hidden = torch.cat(states)[torch.arange(len(ends)), ends]
    case.assert_close(hidden, case.group("inter")["eot_hidden"], "eot_hidden")

    # The classifier is given the fixture's tokens in the place of prompts.
    backbone.encode_text = lambda prompts: backbone.encode_tokens(inputs["tokens"])
    head = TextHead([str(number) for number in range(config["num_classes"])])
    logits = head(inputs["video_embedding"], backbone)
    case.assert_close(logits, outputs["logits"], "logits")
    case.assert_close(logits.softmax(dim=-1), outputs["probs"], "probs")
