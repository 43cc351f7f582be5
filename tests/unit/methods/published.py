"""A DiST file as published: the one that the parity fixtures carry, and the CLIP that fits it."""

import json

from tests.parity.cases import DEFAULT_DIR, Case
from tests.parity.checks.clip import text_config, vision_config

CASE = Case("dual_encoder", "dist_end_to_end", DEFAULT_DIR / "dual_encoder/dist_end_to_end.json")
PREFIX = "backbone.base_encoder."
OLD = {
    "input_linears": "input_map_feat_nets",
    "integration2temporal_nets": "s2t_fuse_nets",
    "temporal2integration_nets": "t2s_fuse_nets",
    "integration_nets": "spatial_nets",
    "adapooling_nets": "final_temporal_nets",
}


def published(*, old=False):
    state = CASE.group("weights")
    return {_old(key): t for key, t in state.items()} if old else state


def _old(key):
    words = key.removeprefix(PREFIX).split(".")
    if words[0] == "dist_net":
        words[:2] = "ladder_net", OLD.get(words[1], words[1])
    return PREFIX + ".".join(words)


def description():
    """open_clip's description of the towers."""
    return {
        "embed_dim": CASE.config["embed_dim"],
        "quick_gelu": True,
        "vision_cfg": vision_config(CASE.config),
        "text_cfg": text_config(CASE.config),
    }


def write_description(path):
    path.write_text(json.dumps(description()))
    return path
