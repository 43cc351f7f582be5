"""Files as OpenTAD publishes them: those that the parity fixtures carry, and what fits them."""

import json
from dataclasses import asdict

import torch
import yaml

from tests.parity.cases import DEFAULT_DIR, Case
from tests.parity.checks.adatad_gtad import settings_of
from tests.parity.checks.adatad_heads import actionformer_settings, tridet_settings

SETTINGS = {
    "actionformer_eval": actionformer_settings,
    "tridet_eval": tridet_settings,
    "gtad_exact": settings_of,
}


def case_of(name):
    return Case("adatad", name, DEFAULT_DIR / f"adatad/{name}.json")


END_TO_END = case_of("end_to_end_training_steps")


def published(*, side=False):
    """Backbone, adapters and ActionFormer; with ``side`` the adapters beside the backbone."""
    state = END_TO_END.group("weights")
    if not side:
        return state
    return {_beside(name): tensor for name, tensor in state.items()}


def _beside(name):
    for place, block in enumerate(END_TO_END.config["adapter_index"]):
        name = name.replace(f".blocks.{block}.adapter.", f".ladders.adapters.{place}.")
    return name


def on_features(name):
    """A detector without a backbone; its own name for its settings, and its weights."""
    case = case_of(name)
    return SETTINGS[name](case.config), case.group("weights")


def width_and_classes(name):
    config = case_of(name).config
    return config.get("in_channels"), config.get("num_classes", 1)


def save(state, path):
    """As their training writes it: the average beside the weights in training."""
    average = {f"module.{name}": tensor for name, tensor in state.items()}
    moving = {name: torch.zeros_like(tensor) for name, tensor in average.items()}
    torch.save({"epoch": 3, "state_dict": moving, "state_dict_ema": average}, path)


def write_experiment(folder, *, tuning="adapter", root=None, features=None, method=None):
    """An experiment file of the same sizes; on features if a fixture of them is named."""
    config = END_TO_END.config
    detector = actionformer_settings(config) if features is None else on_features(features)[0]
    arguments = {
        "detector": {"class_path": type(detector).__name__, "init_args": plain(asdict(detector))}
    }
    positions, more = config["max_seq_len"], {}
    if features is None:
        arguments |= {
            "backbone": {
                "class_path": "VideoMAE",
                "init_args": {"name": write_description(folder), "image_size": config["img_size"]},
            },
            "tuning": tuning,
            "adapter": {
                "class_path": "TIA",
                "init_args": {
                    "ratio": config["adapter_mlp_ratio"],
                    "blocks": config["adapter_index"],
                },
            },
        }
    else:
        width, _ = width_and_classes(features)
        arguments["width"] = width
        more["features"] = {"width": width}
    content = {
        "model": {
            "class_path": method or ("AdaTAD" if features is None else "FeatureDetector"),
            "init_args": arguments,
        },
        "data": {
            "class_path": "THUMOSDataModule",
            "init_args": {
                "root": root or "${oc.env:NOWHERE_TO_BE_FOUND}",
                "val": "annotations.json",
                "classes": "category_idx.txt",
                "exclude": "missing.txt",
                "sampler": {"class_path": "SlidingWindows", "init_args": {"positions": positions}},
                "frames_per_chunk": config["num_frames"],
                **more,
            },
        },
    }
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def write_description(folder):
    """transformers' description of the recorded backbone."""
    config = END_TO_END.config
    content = {
        "model_type": "videomae",
        "hidden_size": config["embed_dims"],
        "num_hidden_layers": config["depth"],
        "num_attention_heads": config["num_heads"],
        "intermediate_size": int(config["embed_dims"] * config["mlp_ratio"]),
        "patch_size": config["patch_size"],
        "image_size": config["img_size"],
        "num_frames": config["num_frames"],
    }
    path = folder / "video_model.json"
    path.write_text(json.dumps(content))
    return str(path)


def plain(value):
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value
