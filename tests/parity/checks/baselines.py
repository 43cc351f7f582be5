"""ST-Adapter and EVL against tensors recorded on their official implementations."""

import torch
from torch import nn

from tests.parity.cases import Case, check
from video_adapt.adapters import inject
from video_adapt.backbones import CLIP
from video_adapt.baselines import EVL, TunedClassifier, st_adapter_convert
from video_adapt.baselines.evl import TemporalCrossAttention
from video_adapt.baselines.evl import convert as evl_convert
from video_adapt.checkpoints import KeyRule, convert_keys, load_strictly

ST_BLOCK_RULES = (
    KeyRule(r"adapter_pre_attn\.(.+)", r"attention.\1"),
    KeyRule(r"adapter_pre_mlp\.(.+)", r"mlp.\1"),
)
EVL_TOWER_RULES = (
    KeyRule("cls_token", "class_embedding"),
    KeyRule("pos_embed", "positional_embedding"),
    KeyRule(r"blocks\.(\d+)\.norm([12])\.(.+)", r"transformer.resblocks.\1.ln_\2.\3"),
    KeyRule(r"blocks\.(\d+)\.attn\.(.+)", r"transformer.resblocks.\1.attn.\2"),
    KeyRule(r"blocks\.(\d+)\.mlp\.fc1\.(.+)", r"transformer.resblocks.\1.mlp.c_fc.\2"),
    KeyRule(r"blocks\.(\d+)\.mlp\.fc2\.(.+)", r"transformer.resblocks.\1.mlp.c_proj.\2"),
)


def build_clip(*, width, heads, layers, patch_size, image_size, mlp_ratio=4.0):
    """Make a CLIP; ``image_size`` is the side of a square, or height and width."""
    sides = image_size if isinstance(image_size, list) else [image_size] * 2
    rows, columns = (side // patch_size for side in sides)

    class AnyShape(CLIP):
        grid = rows, columns

    vision = {
        "width": width,
        "head_width": width // heads,
        "layers": layers,
        "patch_size": patch_size,
        "image_size": patch_size,
        "mlp_ratio": mlp_ratio,
    }
    text = {"width": 4, "heads": 1, "layers": 1, "context_length": 3, "vocab_size": 8}
    backbone = AnyShape.from_config(
        {"embed_dim": 4, "vision_cfg": vision, "text_cfg": text, "quick_gelu": True}
    )
    backbone.visual.positional_embedding = nn.Parameter(torch.empty(1 + rows * columns, width))
    return backbone


def names(count):
    return [str(number) for number in range(count)]


def assert_gradients(case, module, rules):
    """The trained parameters are those of the recording, and so are their gradients."""
    recorded = convert_keys(case.group("grads"), rules)
    mine = {name: p.grad for name, p in module.named_parameters() if p.requires_grad}
    assert recorded.keys() == mine.keys(), recorded.keys() ^ mine.keys()
    for name, gradient in mine.items():
        assert gradient is not None, f"{name} got no gradient"
        case.assert_close(gradient, recorded[name], f"gradient of {name}")


@check("dual_encoder", "st_adapter_block")
def check_st_adapter_block(case: Case) -> None:
    config, weights = case.config, case.group("weights")
    backbone = build_clip(
        width=config["width"],
        heads=config["heads"],
        layers=1,
        patch_size=1,
        image_size=config["grid"],
    )
    published = {
        name.replace("adapter_pre", "transformer.resblocks.0.adapter_pre"): tensor
        for name, tensor in weights.items()
    }
    adapter = st_adapter_convert.read_adapter(published)
    assert adapter.width == config["adapter_width"]
    assert list(adapter.kernel) == config["adapter_kernel"]
    inject(backbone, adapter, reads_patches=True)
    backbone.requires_grad_(False)
    edit = backbone.adapters["0"].requires_grad_(True)
    edits = {k: v for k, v in weights.items() if k.startswith("adapter_pre")}
    load_strictly(edit, convert_keys(edits, ST_BLOCK_RULES))
    load_strictly(backbone.blocks[0], {k: v for k, v in weights.items() if k not in edits})

    tokens = case.group("inputs")["tokens"]
    frames, outputs = config["num_frames"], case.group("outputs")
    if "adapter_only" in outputs:
        alone = (edit.attention or edit.mlp)(tokens, num_frames=frames, grid=backbone.grid)
        case.assert_close(alone, outputs["adapter_only"], "adapter_only")

    backbone._embed = lambda pixels: tokens  # the recorded tokens, in place of embedded pixels
    video = torch.zeros(len(tokens) // frames, frames, 3, *backbone.grid)
    block = backbone(video).tokens.flatten(0, 1)
    case.assert_close(block, outputs["block"], "block")
    (block * case.group("inputs")["probe"]).sum().backward()
    assert_gradients(case, edit, ST_BLOCK_RULES)


@check("dual_encoder", "st_adapter_model")
def check_st_adapter_model(case: Case) -> None:
    config, weights, inputs = case.config, case.group("weights"), case.group("inputs")
    backbone = build_clip(
        width=config["width"],
        heads=config["heads"],
        layers=config["layers"],
        patch_size=config["patch_size"],
        image_size=config["image_size"],
    )
    trained = {k: v for k, v in weights.items() if k.startswith("fc.") or ".adapter_pre_" in k}
    tower = {k: v for k, v in weights.items() if k not in trained}
    load_strictly(backbone.visual, tower, allow_new=["proj"])
    # Our own runs leave out the edit of the last block that no class token reads; with it, every
    # recorded token can be compared.
    inject(backbone, st_adapter_convert.read_adapter(trained), reads_patches=True)
    method = TunedClassifier(
        backbone,
        class_names=names(config["num_classes"]),
        tuning="adapter",
        readout="mean_then_norm",
        dropout=0.5,
    ).eval()
    report = st_adapter_convert.load_published(method, trained)
    assert not report.unused

    video = inputs["video"].transpose(1, 2)
    features = method.encode(video, blocks=range(backbone.depth))
    for block, stream in features.blocks.items():
        recorded = case.group("inter")[f"block_{block:02d}"]
        case.assert_close(stream.flatten(0, 1), recorded, f"block {block}")
    logits = method(video)
    case.assert_close(logits, case.group("outputs")["logits"], "logits")
    (logits * inputs["probe"]).sum().backward()
    assert_gradients(case, method, st_adapter_convert.RULES)


@check("dual_encoder", "evl_temporal_cross_attention")
def check_temporal_cross_attention(case: Case) -> None:
    rules = (KeyRule("w1", "previous"), KeyRule("w2", "next"))
    rows, columns = case.config["spatial_size"]
    module = TemporalCrossAttention(case.config["feature_dim"], (rows, columns))
    load_strictly(module, convert_keys(case.group("weights"), rules))
    inputs = case.group("inputs")
    features = module(inputs["q"], inputs["k"])
    case.assert_close(features, case.group("outputs")["features"], "features")
    (features * inputs["probe"]).sum().backward()
    assert_gradients(case, module, rules)


@check("dual_encoder", "evl_model")
def check_evl_model(case: Case) -> None:
    config, weights, inputs = case.config, case.group("weights"), case.group("inputs")
    backbone = build_clip(
        width=config["width"],
        heads=config["heads"],
        layers=config["layers"],
        patch_size=config["patch_size"],
        image_size=config["image_size"],
        mlp_ratio=config["mlp_factor"],
    )
    load_strictly(backbone.visual, evl_tower(case), allow_new=["proj", r"ln_post\..+"])
    trained = {k: v for k, v in weights.items() if not k.startswith("backbone.")}
    method = EVL(
        backbone,
        class_names=names(config["num_classes"]),
        heads=config["decoder_heads"],
        **evl_convert.read_arguments(trained),
    ).eval()
    report = evl_convert.load_published(method, trained)
    assert not report.unused

    found = run_evl(method, inputs["video"].transpose(1, 2))
    for name, recorded in case.group("inter").items():
        case.assert_close(found[name], recorded, name)
    logits = found["logits"]
    case.assert_close(logits, case.group("outputs")["logits"], "logits")
    mean = logits.softmax(dim=-1).mean(dim=0)
    case.assert_close(mean, case.group("outputs")["probs_view_mean"], "mean over views")
    (logits * inputs["probe"]).sum().backward()
    assert_gradients(case, method, evl_convert.RULES)


def evl_tower(case):
    """The recorded tower under CLIP's names; CLIP has no patch bias, so positions take it over."""
    state = {
        k.removeprefix("backbone."): v
        for k, v in case.group("weights").items()
        if k.startswith("backbone.")
    }
    for block in range(case.config["layers"]):
        for kind in ("weight", "bias"):
            parts = [state.pop(f"blocks.{block}.attn.{n}_proj.{kind}") for n in "qkv"]
            state[f"blocks.{block}.attn.in_proj_{kind}"] = torch.cat(parts)
    patch, bias = state.pop("patch_embed.proj.weight"), state.pop("patch_embed.proj.bias")
    side = case.config["patch_size"]
    state["conv1.weight"] = patch.unflatten(1, (3, side, side))
    state["pos_embed"] = torch.cat([state["pos_embed"][:1], state["pos_embed"][1:] + bias])
    return convert_keys(state, EVL_TOWER_RULES)


def run_evl(method, video):
    """Logits and everything recorded on the way, under the fixture's names."""
    found = {}
    hooks = []
    features = method.encode(video, blocks=method.blocks, queries_keys=method.blocks)
    for number, (layer, block) in enumerate(zip(method.network.layers, method.blocks, strict=True)):
        queries, keys = features.queries_keys[block]
        found[f"frozen_{number}_out"] = features.blocks[block].flatten(0, 1)
        found[f"frozen_{number}_q"] = queries.flatten(0, 1)
        found[f"frozen_{number}_k"] = keys.flatten(0, 1)
        recorded = {"decoder_query": layer, "temporal_cross_attention": layer.motion}
        for name, module in recorded.items():
            if module is None:
                continue
            key = f"{name}_{number}"
            hooks.append(
                module.register_forward_hook(
                    lambda module, args, output, key=key: found.__setitem__(key, output)
                )
            )
    found["logits"] = method(video)
    for hook in hooks:
        hook.remove()
    return found
