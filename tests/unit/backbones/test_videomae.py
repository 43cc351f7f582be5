"""What VideoMAE computes, and that none of the ways to spare memory changes it."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import VideoMAEConfig as OriginalConfig
from transformers import VideoMAEModel

from video_adapt.adapters import TIA, STAdapter, inject
from video_adapt.backbones import BlockAdapter, VideoMAE, VideoMAEConfig, videomae_groups
from video_adapt.baselines import AttentiveProbe, TunedClassifier
from video_adapt.errors import ConfigurationError
from video_adapt.tasks import FrozenBackboneMixin

CONFIG = VideoMAEConfig(
    "tiny", width=24, depth=4, heads=3, hidden=40, patch_size=4, chunk_frames=4, table_size=12
)
CHUNKS = 3


class Method(FrozenBackboneMixin):
    def __init__(self, backbone, tuning, last_n=0):
        super().__init__()
        self.backbone = backbone
        self.freeze_backbone(tuning, last_n=last_n)


class Dropout(BlockAdapter):
    """An adapter of somebody else, with noise at every site."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(24, 24)

    def _edit(self, tokens, *, num_frames, grid):
        return tokens + F.dropout(self.linear(tokens), 0.5)

    before_attention = before_mlp = after_mlp = _edit


@pytest.fixture(autouse=True)
def _one_chunk_at_a_time(monkeypatch):
    monkeypatch.setattr(videomae_groups, "_TOKENS_AT_ONCE", {"cpu": 1})


def build(tuning="frozen", adapter=None, *, last_n=0, seed=0, **settings):
    torch.manual_seed(seed)
    backbone = VideoMAE.from_config(CONFIG, **settings)
    if adapter is not None:
        inject(backbone, adapter)
        for parameter in backbone.adapters.parameters():
            nn.init.normal_(parameter, std=0.2)
    return Method(backbone, tuning, last_n)


def video(*, videos=2, chunks=CHUNKS, height=12, width=12):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(videos, 4 * chunks, 3, height, width, generator=generator)


def step(method, clips):
    """Output and gradients of one training step."""
    method.zero_grad()
    torch.manual_seed(2)
    sequence = method.encode_sequence(clips)
    sequence.square().mean().backward()
    return sequence.detach(), {n: p.grad for n, p in method.named_parameters() if p.requires_grad}


def assert_equal_steps(one, other):
    torch.testing.assert_close(one[0], other[0], rtol=1e-6, atol=1e-6)
    assert one[1].keys() == other[1].keys()
    for name, gradient in one[1].items():
        torch.testing.assert_close(gradient, other[1][name], rtol=1e-5, atol=1e-7, msg=name)


def original(**settings):
    config = OriginalConfig(
        hidden_size=24,
        num_hidden_layers=4,
        num_attention_heads=3,
        intermediate_size=40,
        patch_size=4,
        num_frames=4,
        image_size=12,
        layer_norm_eps=1e-6,
        **settings,
    )
    torch.manual_seed(0)
    model = VideoMAEModel(config).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model


def test_equals_transformers_chunk_by_chunk():
    model = original()
    backbone = VideoMAE.from_config(CONFIG)
    report = backbone.load_weights(model.state_dict())
    assert set(report.new) == {"fc_norm.weight", "fc_norm.bias"}
    clips = video()
    with torch.no_grad():
        mine = backbone(clips).tokens  # [B, S, h*w, D]
        chunks = [model(chunk).last_hidden_state for chunk in clips.split(4, dim=1)]
    theirs = torch.stack([chunk.unflatten(1, (2, 9)) for chunk in chunks], dim=1).flatten(1, 2)
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_the_sequence_is_the_mean_over_patches():
    for method in (
        build(),
        build("adapter", TIA()),
        build("adapter", TIA(blocks=[1])),
        build("side", TIA(blocks=[1, 2])),
        build("adapter", STAdapter(width=4, before_attention=True)),
        build("full"),
    ):
        clips = video()
        with torch.no_grad():
            tokens = method.encode(clips).tokens
            torch.testing.assert_close(method.encode_sequence(clips), tokens.mean(2))


@pytest.mark.parametrize(
    ("tuning", "adapter", "last_n"),
    [
        ("adapter", TIA(), 0),
        ("adapter", TIA(blocks=[1, 3]), 0),
        ("adapter", TIA(blocks=[2]), 0),
        ("adapter", STAdapter(width=4, before_attention=True, kernel=(3, 3, 3)), 0),
        ("side", TIA(last_blocks=2), 0),
        ("last_n", None, 2),
        ("full", None, 0),
    ],
)
def test_recomputation_changes_nothing(tuning, adapter, last_n):
    plain, recomputed = (
        build(tuning, adapter, last_n=last_n, drop_path=0.5, recompute=how).train()
        for how in ("never", "auto")
    )
    clips = video()
    expected = step(plain, clips)
    assert all(gradient is not None for gradient in expected[1].values())
    assert_equal_steps(step(recomputed, clips), expected)


@pytest.mark.parametrize("tuning", ["adapter", "side", "full"])
def test_the_number_of_chunks_at_once_changes_nothing(monkeypatch, tuning):
    method = build(tuning, None if tuning == "full" else TIA(), drop_path=0.5).train()
    clips = video()
    few = step(method, clips)
    monkeypatch.setattr(videomae_groups, "_TOKENS_AT_ONCE", {"cpu": 40})  # 18 tokens a chunk
    assert_equal_steps(step(method, clips), few)
    monkeypatch.setattr(videomae_groups, "_TOKENS_AT_ONCE", {"cpu": 10**6})
    assert_equal_steps(step(method, clips), few)


def test_noise_of_any_adapter_is_the_same_when_recomputed():
    results = []
    for how in ("never", "always"):
        torch.manual_seed(0)
        backbone = VideoMAE.from_config(CONFIG, recompute=how)
        backbone.adapters["1"] = Dropout()
        results.append(step(Method(backbone, "adapter").train(), video()))
    assert_equal_steps(*results)


def saved_bytes(method, clips):
    """Bytes that the forward pass keeps for the backward pass, without weights."""
    storages = {p.untyped_storage().data_ptr() for p in method.parameters()}
    storages.add(clips.untyped_storage().data_ptr())
    kept = {}

    def pack(tensor):
        pointer = tensor.untyped_storage().data_ptr()
        if pointer not in storages:
            kept[pointer] = tensor  # holding it keeps the address its own
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        method.encode_sequence(clips)
    # Two dimensions: one vector per time step, or the adapter's matrix times its scale.
    return sum(t.untyped_storage().nbytes() for t in kept.values() if t.ndim > 2)


TOKENS = 2 * CHUNKS * 2 * 9 * 4  # bytes of one channel of all tokens of `video()`


def test_what_waits_for_the_backward_pass_is_block_inputs_and_narrow_maps():
    method = build("adapter", TIA(ratio=0.25)).train()
    # Blocks 1 to 3 keep their input, blocks 0 to 2 what their adapter squeezed; block 0 begins
    # with the pixels, and of block 3 only means go on.
    assert saved_bytes(method, video()) == pytest.approx((3 * 24 + 3 * 6) * TOKENS, rel=0.05)
    method = build("adapter", TIA(last_blocks=2)).train()
    assert saved_bytes(method, video()) == pytest.approx((2 * 24 + 6) * TOKENS, rel=0.05)


def test_beside_the_backbone_nothing_waits_but_the_adapted_outputs():
    method = build("side", TIA(last_blocks=2), recompute="always").train()
    assert saved_bytes(method, video()) == pytest.approx(2 * 24 * TOKENS, rel=0.05)


def test_one_group_is_not_recomputed_unless_told(monkeypatch):
    monkeypatch.setattr(videomae_groups, "_TOKENS_AT_ONCE", {"cpu": 10**6})
    auto, never, always = (
        saved_bytes(build("adapter", TIA(), recompute=how).train(), video())
        for how in ("auto", "never", "always")
    )
    assert auto == never > 2 * always


@pytest.mark.parametrize(
    ("tuning", "settings", "expected"),
    [
        ("adapter", {"adapter": TIA(last_blocks=2)}, [False, False, True, True]),
        ("side", {"adapter": TIA(last_blocks=2)}, [False] * 4),
        ("last_n", {"last_n": 1}, [False, False, False, True]),
        ("frozen", {}, [False] * 4),
        ("full", {}, [True] * 4),
    ],
)
def test_the_graph_starts_at_the_first_block_that_needs_it(tuning, settings, expected):
    method = build(tuning, **settings).train()
    graph = {}
    for number, block in enumerate(method.backbone.tower.blocks):
        block.norm1.register_forward_hook(
            lambda *call, number=number: graph.update({number: torch.is_grad_enabled()})
        )
    method.encode_sequence(video())
    assert graph == dict(enumerate(expected))


def test_stochastic_depth_reaches_the_frozen_blocks_of_an_adapted_backbone():
    clips = video()
    method = build("adapter", TIA(), drop_path=0.9).train()
    torch.manual_seed(0)
    one, other = (method.encode_sequence(clips).detach() for _ in range(2))
    assert not torch.equal(one, other)
    torch.testing.assert_close(method.eval().encode_sequence(clips), method.encode_sequence(clips))


@pytest.mark.parametrize(("tuning", "adapter"), [("frozen", None), ("side", TIA())])
def test_stochastic_depth_is_off_where_no_gradient_passes_a_block(tuning, adapter):
    method = build(tuning, adapter, drop_path=0.9)
    clips = video()
    assert torch.equal(method.train().encode_sequence(clips), method.eval().encode_sequence(clips))


def test_stochastic_depth_keeps_the_expectation_and_spares_the_first_block():
    torch.manual_seed(0)
    method = build("full", drop_path=0.5).train()
    run = method.backbone._run(video(videos=400))
    assert run.scales[0] == ([None] * len(run.pixels), [None] * len(run.pixels))
    for number, rate in ((1, 1 / 6), (3, 0.5)):
        for scales in run.scales[number]:
            drawn = torch.cat(scales)
            assert drawn.unique().tolist() == pytest.approx([0, 1 / (1 - rate)])
            assert (drawn == 0).float().mean().item() == pytest.approx(rate, abs=0.05)


def test_only_adapters_connect_chunks():
    clips = video()
    changed = clips.clone()
    changed[0, 3] += 1  # the last frame of the first chunk
    plain, adapted = build(), build("adapter", TIA(blocks=[3]))
    for method, moved in ((plain, [0, 1]), (adapted, [0, 1, 2])):
        with torch.no_grad():
            difference = method.encode_sequence(clips) - method.encode_sequence(changed)
        assert difference[0].abs().amax(-1).gt(1e-6).nonzero().flatten().tolist() == moved
        assert not difference[1].any()


@pytest.mark.parametrize(("height", "width", "grid"), [(16, 16, 16), (8, 20, 10), (15, 11, 6)])
def test_any_shape_runs_and_odd_pixels_are_left_out(height, width, grid):
    backbone = build().backbone
    clips = video(height=height, width=width)
    with torch.no_grad():
        tokens = backbone(clips).tokens
        cut = backbone(clips[..., : height // 4 * 4, : width // 4 * 4]).tokens
    assert tokens.shape == (2, 2 * CHUNKS, grid, 24)
    assert torch.equal(tokens, cut)


def test_the_image_size_is_what_the_data_will_be_cut_to():
    backbone = VideoMAE.from_config(CONFIG, image_size=10)
    assert backbone.pixels.image_size == 10
    assert backbone.grid == (2, 2)
    with pytest.raises(ConfigurationError, match="image_size=3 holds no patch of 4 pixels"):
        VideoMAE.from_config(CONFIG, image_size=3)


@pytest.mark.parametrize("frames", [0, 3, 6])
def test_frames_that_do_not_fill_chunks_are_refused(frames):
    with pytest.raises(ConfigurationError, match=f"divide {frames}.*a multiple of 4"):
        build().backbone(torch.zeros(1, frames, 3, 12, 12))


def test_a_linear_probe_reads_it():
    for readout in ("norm_then_mean", "mean_then_norm"):
        backbone = build().backbone
        method = TunedClassifier(backbone, class_names=["a", "b"], readout=readout).eval()
        clips = video()
        tokens = method.encode(clips).tokens
        steps = tokens.mean(2)
        norm = backbone.fc_norm
        expected = norm(steps).mean(1) if readout == "norm_then_mean" else norm(steps.mean(1))
        torch.testing.assert_close(method(clips), method.head(expected))


def test_an_attentive_probe_reads_it():
    method = AttentiveProbe(build().backbone, class_names=["a", "b"], num_frames=4 * CHUNKS)
    assert method(video()).shape == (2, 2)


def test_what_needs_text_is_refused_when_it_is_built():
    with pytest.raises(ConfigurationError, match=r"never trained with text.*norm_then_mean"):
        TunedClassifier(build().backbone, class_names=["a", "b"], readout="embedding")


def test_full_tuning_leaves_no_weight_without_a_gradient():
    method = build("full").train()
    _, gradients = step(method, video())
    assert all(gradient is not None for gradient in gradients.values())


def test_a_copy_computes_the_same():
    method = build("side", TIA())
    clips = video()
    assert torch.equal(copy.deepcopy(method).encode_sequence(clips), method.encode_sequence(clips))


def test_low_precision_trains():
    method = build("adapter", TIA()).train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = method.encode_sequence(video()).float().square().mean()
    loss.backward()
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.requires_grad)
