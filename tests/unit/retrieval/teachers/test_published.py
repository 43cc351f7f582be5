import torch

from tests.unit.retrieval.teachers.builders import ts2net
from video_adapt.checkpoints import KeyRule, convert_keys, load_strictly
from video_adapt.retrieval.teachers import (
    TOWER_RULES,
    TS2NET_RULES,
    TS2NET_UNUSED,
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
