import torch
from transformers import CLIPConfig, CLIPModel

from tests.unit.retrieval.teachers.builders import ts2net
from video_adapt.backbones import CLIP
from video_adapt.checkpoints import KeyRule, convert_keys, load_strictly
from video_adapt.retrieval.teachers import (
    TOWER_RULES,
    TS2NET_RULES,
    TS2NET_UNUSED,
    XPOOL_TOWER_RULES,
    join_attention,
    split_published,
)


def renamed(state, rules):
    return convert_keys(state, [KeyRule(*rule) for rule in rules])


def published_ts2net(teacher):
    """A state under the names of the original checkpoints."""
    names = {
        "positions.weight": "frame_position_embeddings.weight",
        "logit_scale": "clip.logit_scale",
        "selector.norm": "visual_token_selector.score_predictor.in_conv.0",
        "selector.hidden": "visual_token_selector.score_predictor.in_conv.1",
        "selector.mix": "visual_token_selector.score_predictor.out_conv.0",
        "selector.score": "visual_token_selector.score_predictor.out_conv.2",
        "transformer.resblocks": "transformerClip.resblocks",
    }
    state = {}
    for name, tensor in teacher.state_dict().items():
        ours = next(start for start in names if name.startswith(start))
        state[names[ours] + name.removeprefix(ours)] = tensor
    return state | {
        "clip.visual.transformer.resblocks.10.attn.net.in_proj_weight": torch.ones(3, 1),
        "clip.visual.transformer.resblocks.9.attn.in_proj_weight": torch.ones(3, 1),
        "visual_prompt_encoder.ln.weight": torch.ones(1),
        "text_token_selector.score.weight": torch.ones(1),
    }


def test_a_published_teacher_parts_into_head_and_towers():
    teacher = ts2net()
    head, towers = split_published(published_ts2net(teacher))
    other = ts2net()
    for parameter in other.parameters():
        parameter.data.zero_()
    report = load_strictly(other, renamed(head, TS2NET_RULES), allow_unused=TS2NET_UNUSED)
    assert len(report.unused) == 2
    for name, tensor in teacher.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name
    assert set(renamed(towers, TOWER_RULES)) == {
        "logit_scale",
        "visual.transformer.resblocks.10.attn.in_proj_weight",
        "visual.transformer.resblocks.9.attn.in_proj_weight",
    }


def test_the_towers_of_xpool_are_those_of_transformers():
    torch.manual_seed(0)
    shared = {"hidden_size": 16, "intermediate_size": 64, "num_hidden_layers": 2}
    text = {"vocab_size": 40, "max_position_embeddings": 8, "eos_token_id": 39}
    vision = {"image_size": 8, "patch_size": 4}
    heads = {"num_attention_heads": 2}
    theirs = CLIPModel(
        CLIPConfig(
            text_config={**shared, **text, **heads},
            vision_config={**shared, **vision, **heads},
            projection_dim=12,
        )
    ).eval()
    state = {f"clip.{name}": tensor for name, tensor in theirs.state_dict().items()}
    for tower in ("text", "vision"):
        state[f"clip.{tower}_model.embeddings.position_ids"] = torch.arange(8)[None]
    ours = CLIP.from_config(
        {
            "embed_dim": 12,
            "quick_gelu": True,
            "vision_cfg": {**vision, "width": 16, "layers": 2, "head_width": 8},
            "text_cfg": {
                "context_length": 8,
                "vocab_size": 40,
                "width": 16,
                "layers": 2,
                "heads": 2,
            },
        }
    ).eval()
    _, towers = split_published(state)
    ours.load_weights(join_attention(renamed(towers, XPOOL_TOWER_RULES)))

    frames = torch.randn(2, 3, 8, 8)
    tokens = torch.tensor([[38, 5, 7, 39, 0, 0, 0, 0], [38, 3, 39, 0, 0, 0, 0, 0]])
    with torch.no_grad():
        images = theirs.visual_projection(theirs.vision_model(frames).pooler_output)
        captions = theirs.text_projection(theirs.text_model(tokens).pooler_output)
        torch.testing.assert_close(ours(frames[None]).embedding[0], images)
        torch.testing.assert_close(ours.encode_tokens(tokens), captions)
    assert ours.logit_scale == theirs.logit_scale
