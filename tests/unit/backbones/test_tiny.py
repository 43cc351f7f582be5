"""The shipped tiny CLIP: an ordinary CLIP in a small file, which knows the looks of its world."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from video_adapt.backbones.tiny import (
    CONFIG,
    WEIGHTS,
    TinyCLIP,
    initial_token_embedding,
    pack_weights,
    unpack_weights,
)
from video_adapt.video.synthetic import COLOURS, PLACES, Actor, Scene
from video_adapt.video.synthetic_render import render


@pytest.fixture(scope="module")
def backbone():
    return TinyCLIP().eval()


def picture(backbone, colour="red", x=0.5, y=0.5):
    """One still as a clip ``[1, 1, 3, H, W]``."""
    scene = Scene((Actor(colour, "square", (x, y, 0.0, 0.7)),), 1, seed=3)
    pixels = torch.from_numpy(render(scene, size=backbone.pixels.image_size)).permute(0, 3, 1, 2)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (backbone.pixels.mean, backbone.pixels.std))
    return ((pixels / 255 - mean) / std)[None]


def answer(backbone, clip, sentences):
    image = F.normalize(backbone(clip).embedding[0, 0], dim=-1)
    return sentences[int((F.normalize(backbone.encode_text(sentences), dim=-1) @ image).argmax())]


@pytest.mark.parametrize("colour", COLOURS)
def test_it_knows_colours(backbone, colour):
    sentences = [f"a photo of {Actor(c, 'square', (0,) * 4).name}." for c in COLOURS]
    expected = sentences[list(COLOURS).index(colour)]
    assert answer(backbone, picture(backbone, colour=colour), sentences) == expected


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 2), (1, 1), (2, 0), (2, 2)])
def test_it_knows_places(backbone, row, column):
    sentences = [f"a photo of a red square at the {p}." for line in PLACES for p in line]
    clip = picture(backbone, x=(column + 0.5) / 3, y=(row + 0.5) / 3)
    assert answer(backbone, clip, sentences) == sentences[3 * row + column]


def test_shipped_files_are_small():
    assert sum(path.stat().st_size for path in CONFIG.parent.iterdir()) < 8e6


def test_it_is_an_ordinary_clip(backbone):
    text = json.loads(CONFIG.read_text())["text_cfg"]
    assert (text["context_length"], text["vocab_size"]) == (77, 49408)
    assert backbone.grid == (6, 6)
    assert 2e5 < sum(p.numel() for p in backbone.visual.parameters()) < 1e6
    assert torch.isfinite(backbone.encode_text(["word " * 70, "zebra"])).all()


def test_packing_keeps_the_words_that_training_changed():
    table = initial_token_embedding(50, 4)
    table[[7, 31], 2] += 1
    state = {"token_embedding.weight": table, "logit_scale": torch.tensor(3.0)}
    packed = pack_weights(state)
    assert packed["token_embedding.ids"].tolist() == [7, 31]
    assert packed["token_embedding.rows"].shape == (2, 4)
    unpacked = unpack_weights(packed)
    assert unpacked.keys() == state.keys()
    assert all(torch.equal(unpacked[key], state[key]) for key in state)


def test_untrained_words_are_the_same_on_every_machine():
    table = initial_token_embedding(3, 2)
    expected = 0.02 * np.array([1.764052, 0.400157, 0.978738, 2.240893, 1.867558, -0.977278])
    np.testing.assert_allclose(table.flatten(), expected, rtol=1e-5)
    assert WEIGHTS.is_file()
