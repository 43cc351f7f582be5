"""Files as FROSTER and Open-VCLIP publish them, of a CLIP of a few thousand parameters."""

import json

import torch

from tests.contracts.test_open_vocabulary import tiny_clip

DESCRIPTION = {
    "embed_dim": 12,
    "quick_gelu": True,
    "vision_cfg": {
        "width": 16,
        "head_width": 8,
        "layers": 2,
        "patch_size": 8,
        "image_size": 16,
    },
    "text_cfg": {"width": 8, "heads": 2, "layers": 1, "context_length": 20, "vocab_size": 49408},
}


def openai_names(backbone):
    """Weights of a CLIP under OpenAI's names."""
    return {
        name.removeprefix("text."): value.clone()
        for name, value in backbone.towers.state_dict().items()
    }


def published_froster(*, training=True, student=1, teacher=0):
    """A training checkpoint's weights, or an averaged file's."""
    generator = torch.Generator().manual_seed(0)
    width = DESCRIPTION["embed_dim"]
    state = {f"model.{k}": v for k, v in openai_names(tiny_clip(seed=student)).items()}
    if training:
        original = openai_names(tiny_clip(seed=teacher))
        state |= {f"raw_model.{k}": v for k, v in original.items()}
    for side in "vt":
        for layer in (0, 2):
            name = f"projector_{side}.{layer}.weight"
            state[name] = torch.randn(width, width, generator=generator)
    return state


def published_open_vclip(*, student=1, original=0):
    """An averaged file: the image tower has moved, the text tower has not."""
    moved, kept = openai_names(tiny_clip(seed=student)), openai_names(tiny_clip(seed=original))
    return {
        f"model.{k}": moved[k] if k.startswith(("visual.", "logit_scale")) else kept[k]
        for k in kept
    }


def write_description(path):
    path.write_text(json.dumps(DESCRIPTION))
    return path
