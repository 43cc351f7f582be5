"""What every backbone keeps to, whoever wrote it: run over ``backbones.__all__``."""

import inspect
from copy import deepcopy

import pytest
import torch
from torch import Tensor

from video_adapt import backbones
from video_adapt.adapters import TIA, inject
from video_adapt.backbones import CLIP, Backbone, BlockAdapter, VideoMAE, VideoMAEConfig
from video_adapt.checkpoints import digest
from video_adapt.errors import ConfigurationError

SMALL = {
    "embed_dim": 12,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 16, "patch_size": 4, "width": 24, "layers": 3, "head_width": 8},
    "text_cfg": {"context_length": 10, "vocab_size": 49408, "width": 8, "layers": 1, "heads": 1},
}
# A chunk of one time step, so that this model too promises that time steps do not see each other.
CHUNK = VideoMAEConfig(
    "chunk", width=24, depth=3, heads=3, hidden=48, patch_size=4, chunk_frames=2, table_size=20
)
STEPS = 3
# Backbones that need arguments; any other is built without.
BUILDERS = {
    CLIP: lambda: CLIP.from_config(SMALL),
    VideoMAE: lambda: VideoMAE.from_config(CHUNK, image_size=16),
}


def concrete():
    listed = [getattr(backbones, name) for name in backbones.__all__]
    return [
        kind
        for kind in listed
        if inspect.isclass(kind) and issubclass(kind, Backbone) and not inspect.isabstract(kind)
    ]


@pytest.fixture(scope="module", params=concrete(), ids=lambda kind: kind.__name__)
def backbone(request) -> Backbone:
    torch.manual_seed(0)
    return BUILDERS.get(request.param, request.param)().eval().requires_grad_(False)


@pytest.fixture
def video(backbone) -> Tensor:
    side, frames = backbone.pixels.image_size, STEPS * backbone.tubelet
    return torch.randn(2, frames, 3, side, side, generator=torch.Generator().manual_seed(1))


def shows_attention(backbone):
    """Whether it can show queries and keys of single time steps: an image model can."""
    return backbone.tubelet == 1


def reads_text(backbone):
    try:
        return bool(backbone.embed_dim)
    except ConfigurationError:
        return False


def token_count(backbone):
    return backbone.class_tokens + backbone.grid[0] * backbone.grid[1]


class Recorder(BlockAdapter):
    """Notes each call; tilts the tokens (a mere shift would vanish in the next norm)."""

    def __init__(self) -> None:
        super().__init__()
        self.tilt = torch.nn.Parameter(torch.tensor(0.0))
        self.calls = []

    def _edit(self, site, tokens, num_frames, grid):
        self.calls.append((site, tuple(tokens.shape), num_frames, grid))
        return tokens + self.tilt * torch.linspace(-1, 1, tokens.shape[-1])

    def before_attention(self, tokens, *, num_frames, grid):
        return self._edit("attention", tokens, num_frames, grid)

    def inside_attention(self, tokens, *, num_frames, grid):
        return self._edit("inside", tokens, num_frames, grid)

    def before_mlp(self, tokens, *, num_frames, grid):
        return self._edit("mlp", tokens, num_frames, grid)

    def after_mlp(self, tokens, *, num_frames, grid):
        return self._edit("after", tokens, num_frames, grid)


@pytest.fixture
def adapted(backbone):
    recorder = Recorder()
    backbone.adapters["1"] = recorder
    yield recorder
    del backbone.adapters["1"]


def test_features_have_the_promised_shapes(backbone, video):
    last = backbone.depth - 1
    features = backbone(video, blocks=(0, last))
    assert features.class_token.shape == (2, STEPS, backbone.width)
    assert features.tokens.shape == (2, STEPS, token_count(backbone), backbone.width)
    assert [t.shape for t in features.blocks.values()] == [features.tokens.shape] * 2
    assert backbone.sequence(video).shape == (2, STEPS, backbone.width)
    joint = backbone.embed_dim if reads_text(backbone) else 0
    assert features.embedding.shape == (2, STEPS, joint)


def test_queries_and_keys_are_shown_or_refused(backbone, video):
    if not shows_attention(backbone):
        with pytest.raises(ConfigurationError, match="several frames"):
            backbone(video, queries_keys=(0,))
        return
    heads = (2, STEPS, token_count(backbone), backbone.heads, backbone.width // backbone.heads)
    shown = backbone(video, queries_keys=(backbone.depth - 1,)).queries_keys[backbone.depth - 1]
    assert [t.shape for t in shown] == [heads] * 2


def test_only_what_is_asked_for_is_kept(backbone, video):
    features = backbone(video, blocks=(1,))
    assert set(features.blocks) == {1}
    assert features.queries_keys == {}
    assert backbone(video).blocks == {}


def test_last_block_and_final_norm_agree_with_the_summary(backbone, video):
    features = backbone(video, blocks=(backbone.depth - 1,))
    torch.testing.assert_close(features.blocks[backbone.depth - 1], features.tokens)
    summary = backbone.final_norm(backbone.summarise(features.tokens))
    torch.testing.assert_close(summary, features.class_token)


def test_time_steps_and_clips_do_not_see_one_another(backbone, video):
    together = backbone(video).class_token
    steps = video.unflatten(1, (STEPS, -1))
    for clip, step in ((0, 0), (0, 2), (1, 1)):
        alone = backbone(steps[clip, step][None]).class_token[0, 0]
        torch.testing.assert_close(alone, together[clip, step], atol=1e-5, rtol=1e-5)
    assert (together[0, 0] - together[0, 1]).abs().max() > 1e-3


def test_training_mode_changes_nothing(backbone, video):
    quiet = backbone(video).class_token
    loud = backbone.train()(video).class_token
    backbone.eval()
    torch.testing.assert_close(loud, quiet)


def test_adapter_is_called_at_its_sites_in_order(backbone, video, adapted):
    plain = backbone(video).tokens
    shape = (2 * STEPS, token_count(backbone), backbone.width)
    inside = ("inside",) if backbone.tubelet == 1 else ()  # models of video lack this site
    sites = ("attention", *inside, "mlp", "after")
    assert adapted.calls == [(site, shape, STEPS, backbone.grid) for site in sites]
    adapted.tilt.data.fill_(0.5)
    assert (backbone(video).tokens - plain).abs().max() > 1e-3


def test_gradient_reaches_an_adapter_through_frozen_blocks(backbone, video, adapted):
    backbone(video).class_token.square()[..., 0].sum().backward()
    assert adapted.tilt.grad.abs() > 0
    assert all(p.grad is None for p in backbone.visual.parameters())


def test_adapters_beside_let_no_gradient_into_the_blocks(backbone, video):
    plain = backbone(video, blocks=(1,)).blocks[1]
    inject(backbone, TIA(blocks=[0, 1]))
    backbone.beside = True
    backbone.requires_grad_(True)
    backbone(video).tokens.square().sum().backward()
    trained = {name for name, p in backbone.named_parameters() if p.grad is not None}
    tokens = backbone(video).tokens
    backbone.requires_grad_(False).zero_grad()
    backbone.beside = False
    backbone.adapters.clear()
    assert trained
    assert all(name.startswith("adapters.") for name in trained)
    # The adapters begin with no edit, and nothing behind the last adapted block is read.
    torch.testing.assert_close(tokens, plain)


def test_gradient_flows_to_pixels_only_where_wanted(backbone, video):
    assert not backbone(video).class_token.requires_grad
    backbone(video.requires_grad_()).class_token[..., 0].sum().backward()
    assert video.grad.abs().max() > 0


def test_last_blocks_are_what_trains_and_all_of_it(backbone, video):
    modules = backbone.last_blocks(1)
    for module in modules:
        module.requires_grad_(True)
    features = backbone(video)
    read = features.embedding if reads_text(backbone) else features.class_token[..., 0]
    read.square().sum().backward()
    trained = [p for p in backbone.parameters() if p.requires_grad]
    expected = sum(p.numel() for module in modules for p in module.parameters())
    grads = [p.grad for p in trained]
    backbone.requires_grad_(False).zero_grad()
    assert sum(p.numel() for p in trained) == expected > 0
    assert all(grad is not None and grad.isfinite().all() for grad in grads)
    assert len(backbone.last_blocks(backbone.depth)) == len(modules) + backbone.depth - 1


def test_text_lives_in_the_space_of_images_or_is_refused(backbone):
    if not reads_text(backbone):
        for ask in (lambda: backbone.encode_text(["a red circle"]), lambda: backbone.logit_scale):
            with pytest.raises(ConfigurationError, match=r"never trained with text.*readout"):
                ask()
        return
    text = backbone.requires_grad_(True).encode_text(["a red circle", "a blue square"])
    backbone.requires_grad_(False)
    assert text.shape == (2, backbone.embed_dim)
    assert not text.requires_grad
    assert (text[0] - text[1]).abs().max() > 0
    assert backbone.logit_scale.ndim == 0


def test_runs_in_bfloat16(backbone, video):
    exact = backbone(video).class_token
    with torch.autocast("cpu", torch.bfloat16):
        rough = backbone(video, blocks=(0,))
    assert not torch.equal(rough.class_token.float(), exact)
    cosine = torch.cosine_similarity(rough.class_token.float(), exact, dim=-1)
    assert cosine.min() > 0.99


def test_forward_leaves_the_weights_alone(backbone, video):
    before = digest(backbone.state_dict())
    backbone(video)
    assert digest(backbone.state_dict()) == before


def test_wrong_video_and_unknown_blocks_are_refused(backbone, video):
    with pytest.raises(ConfigurationError, match=backbone.name):
        backbone(video[:, :, 1:])
    with pytest.raises(ConfigurationError, match=backbone.name):
        backbone(video[..., : backbone.patch_size - 1])
    if backbone.tubelet == 1:  # a model of images has positions for one size only
        with pytest.raises(ConfigurationError, match=backbone.name):
            backbone(video[..., 1:])
    with pytest.raises(ConfigurationError, match=f"{backbone.name}.*{backbone.depth}"):
        backbone(video, blocks=(backbone.depth,))
    with pytest.raises(ConfigurationError, match=f"{backbone.name}.*-1"):
        backbone(video, queries_keys=(-1,))


def test_stages_read_their_weights_while_they_run_only(backbone, video, monkeypatch):
    """Outside of that method, which runs once, the weights may lie elsewhere (FSDP)."""
    copy = deepcopy(backbone)
    runs = []
    for stage, method in copy.stages():
        weights, inner = deepcopy(stage.state_dict()), getattr(stage, method)

        def run(*args, stage=stage, inner=inner, weights=weights, **kwargs):
            runs.append(stage)
            stage.load_state_dict(weights)
            result = inner(*args, **kwargs)
            _spoil(stage)
            return result

        monkeypatch.setattr(stage, method, run)
        _spoil(stage)
    assert torch.equal(copy(video).tokens, backbone(video).tokens)
    assert len(runs) == len(set(runs)) == len(copy.stages())


@torch.no_grad()
def _spoil(stage):
    for parameter in stage.parameters():
        parameter.fill_(float("nan"))
