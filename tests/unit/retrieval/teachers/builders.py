"""Small teachers of every kind, with weights that are not their gentle start."""

import torch
from torch import nn

from video_adapt.retrieval.teachers import XCLIP, CLIP4ClipTeacher, TS2Net, XPool

WIDTH, WORDS, FRAMES = 8, 5, 4
TEMPORAL = {"layers": 1, "heads": 2, "positions": 16}


def build(kind, **settings):
    """Build a teacher and give every weight a value of its own, as training would."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        teacher = kind(WIDTH, **settings)
        for name, parameter in teacher.named_parameters():
            if name == "logit_scale":
                nn.init.constant_(parameter, 2.5)
            else:
                parameter.data += 0.3 * torch.randn(parameter.shape)
    return teacher.eval()


def xclip(**settings):
    sizes = {"words": WORDS, "frames": FRAMES, "temperature": 0.5}
    return build(XCLIP, **{**sizes, **TEMPORAL, **settings})


def ts2net(**settings):
    selection = {"selected": 2, "samples": 30, "sigma": 0.2}
    return build(TS2Net, **{**selection, **TEMPORAL, **settings})


def xpool(**settings):
    return build(XPool, **settings)


def clip4clip(**settings):
    return build(CLIP4ClipTeacher, **{**TEMPORAL, **settings})


BUILDERS = {
    "xclip": xclip,
    "xclip_meanp": lambda **settings: xclip(header="meanP", **settings),
    "ts2net": ts2net,
    "xpool": xpool,
    "clip4clip": clip4clip,
    "clip4clip_lstm": lambda **settings: clip4clip(header="seqLSTM", **settings),
}
