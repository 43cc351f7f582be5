import pytest
import torch

from tests.contracts.helpers import CLASSES, FRAMES, tiny_clip, video
from video_adapt.adapters import STAdapter, inject
from video_adapt.baselines import EVL, TunedClassifier, st_adapter_convert
from video_adapt.baselines.evl import convert as evl_convert
from video_adapt.checkpoints import read_state
from video_adapt.errors import WeightsError

GENERATOR = torch.Generator().manual_seed(0)


def random(*shape):
    return torch.randn(shape, generator=GENERATOR)


def linear(name, inputs, outputs):
    return {f"{name}.weight": random(outputs, inputs), f"{name}.bias": random(outputs)}


def norm(name, width):
    return {f"{name}.weight": random(width), f"{name}.bias": random(width)}


def published_evl(*, width=24, inner=16, hidden=48, layers=2, frames=FRAMES, classes=3, grid=4):
    state = {"decoder.cls_token": random(width)}
    for i in range(layers):
        offsets = (2 * grid - 1) ** 2
        state[f"decoder.temporal_pos_embed.{i}"] = random(frames, width)
        state[f"decoder.temporal_conv.{i}.weight"] = random(width, 1, 3)
        state[f"decoder.temporal_conv.{i}.bias"] = random(width)
        state[f"decoder.cross_attention.{i}.w1"] = random(offsets, width)
        state[f"decoder.cross_attention.{i}.w2"] = random(offsets, width)
        layer = f"decoder.decoder_layers.{i}"
        for number in (1, 2, 3):
            state |= norm(f"{layer}.norm{number}", width)
        for name in "qkv":
            state |= linear(f"{layer}.attn.{name}_proj", width, inner)
        state |= linear(f"{layer}.attn.out_proj", inner, width)
        state |= linear(f"{layer}.mlp.fc1", width, hidden) | linear(
            f"{layer}.mlp.fc2", hidden, width
        )
    return state | norm("proj.0", width) | linear("proj.2", width, classes)


def published_st_adapter(*, width=24, inner=6, blocks=(0, 1, 2), sites=("mlp",), classes=3):
    state = linear("fc", width, classes)
    for i in blocks:
        for site in sites:
            name = f"transformer.resblocks.{i}.adapter_pre_{site}"
            state |= linear(f"{name}.fc1", width, inner) | linear(f"{name}.fc2", inner, width)
            state[f"{name}.conv.weight"] = random(inner, 1, 3, 1, 1)
            state[f"{name}.conv.bias"] = random(inner)
    return state


def evl(**settings):
    defaults = {"num_frames": FRAMES, "layers": 2, "inner_width": 16, "mlp_ratio": 2.0, "heads": 2}
    return EVL(tiny_clip(), class_names=CLASSES, **(defaults | settings))


def st_adapter(adapter):
    return TunedClassifier(
        tiny_clip(),
        class_names=CLASSES,
        tuning="adapter",
        adapter=adapter,
        readout="mean_then_norm",
    )


def test_arguments_of_evl_are_read_off_the_file():
    arguments = evl_convert.read_arguments(published_evl(layers=3, frames=5, inner=8))
    assert arguments == {
        "num_frames": 5,
        "layers": 3,
        "inner_width": 8,
        "mlp_ratio": 2.0,
        "temporal_conv": True,
        "cross_attention": True,
    }


@pytest.mark.parametrize(
    ("module", "settings"),
    [
        ("temporal_pos_embed", {"num_frames": None}),
        ("temporal_conv", {"temporal_conv": False}),
        ("cross_attention", {"cross_attention": False}),
    ],
)
def test_a_file_of_evl_without_a_temporal_module_loads(module, settings):
    state = {k: v for k, v in published_evl().items() if f".{module}." not in k}
    assert evl_convert.read_arguments(state).items() >= settings.items()
    method = evl(**settings).eval()
    assert set(evl_convert.load_published(method, state).loaded) == {
        k for k, p in method.named_parameters() if p.requires_grad
    }
    assert method(random(1, FRAMES, 3, 16, 16)).isfinite().all()


def test_a_data_parallel_training_file_of_evl_loads(tmp_path):
    state = published_evl()
    path = tmp_path / "evl.pth"
    torch.save({"model": {f"module.{k}": v for k, v in state.items()}}, path)
    method = evl()
    report = evl_convert.load_published(method, read_state(path))
    trained = {k for k, p in method.named_parameters() if p.requires_grad}
    assert set(report.loaded) == trained
    assert report.unused == report.new == ()
    assert torch.equal(method.network.query[0], state["decoder.cls_token"])
    layer = method.network.layers[1]
    assert torch.equal(layer.motion.next, state["decoder.cross_attention.1.w2"])
    assert torch.equal(layer.norm_tokens.weight, state["decoder.decoder_layers.1.norm3.weight"])
    assert torch.equal(layer.conv.weight[..., 0], state["decoder.temporal_conv.1.weight"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frames": 8}, "num_frames=8, the method has 4"),
        ({"layers": 3}, "layers=3, the method has 2"),
        ({"width": 32, "hidden": 64}, r"network.query \[1, 32\], the model wants \[1, 24\]"),
        ({"grid": 7}, r"previous \[169, 24\], the model wants \[49, 24\]"),
        ({"classes": 400}, r"weight \[400, 24\], the model wants \[3, 24\]"),
    ],
)
def test_evl_of_another_size_is_refused(settings, message):
    with pytest.raises(WeightsError, match=message):
        evl_convert.load_published(evl(), published_evl(**settings))


def test_an_incomplete_file_of_evl_is_refused():
    state = published_evl()
    del state["decoder.decoder_layers.1.attn.v_proj.bias"]
    with pytest.raises(WeightsError, match=r"network\.layers.1.attention.v_proj.bias"):
        evl_convert.load_published(evl(), state)


@pytest.mark.parametrize("module", [evl_convert, st_adapter_convert])
def test_a_file_of_something_else_is_refused(module):
    with pytest.raises(WeightsError, match="not a published file of"):
        module.load_published(evl(), {"weight": torch.ones(1)})


def test_arguments_of_st_adapter_are_read_off_the_file():
    state = published_st_adapter(blocks=(1, 2), sites=("attn", "mlp"))
    arguments = st_adapter_convert.read_arguments(state)
    assert (arguments["tuning"], arguments["readout"]) == ("adapter", "mean_then_norm")
    assert arguments["adapter"] == {
        "class_path": "video_adapt.adapters.STAdapter",
        "init_args": {
            "width": 6,
            "kernel": (3, 1, 1),
            "before_attention": True,
            "before_mlp": True,
            "last_blocks": 2,
        },
    }


def test_st_adapter_loads_and_names_what_nobody_reads():
    state = published_st_adapter()
    method = st_adapter(st_adapter_convert.read_adapter(state))
    report = st_adapter_convert.load_published(method, state)
    trained = {k for k, p in method.named_parameters() if p.requires_grad}
    assert set(report.loaded) == trained
    assert {name.rsplit(".", 2)[0] for name in report.unused} == {"backbone.adapters.2.mlp"}
    name = "transformer.resblocks.1.adapter_pre_mlp.conv.weight"
    assert torch.equal(method.backbone.adapters["1"].mlp.conv.weight, state[name])


def test_what_nobody_reads_changes_no_logit():
    state = published_st_adapter(sites=("attn", "mlp"))
    adapter = st_adapter_convert.read_adapter(state)
    lean = st_adapter(adapter)
    backbone = tiny_clip()
    inject(backbone, adapter, reads_patches=True)
    whole = TunedClassifier(
        backbone, class_names=CLASSES, tuning="adapter", readout="mean_then_norm"
    )
    for method in (lean, whole):
        st_adapter_convert.load_published(method, state)
    assert whole.parameter_count().trained > lean.parameter_count().trained
    assert torch.equal(lean.eval()(video()), whole.eval()(video()))


def test_other_adapters_than_the_methods_are_refused():
    method = st_adapter(STAdapter(width=6, last_blocks=2))
    with pytest.raises(WeightsError, match=r"backbone\.adapters\.0\.mlp"):
        st_adapter_convert.load_published(method, published_st_adapter())
