import copy
import sys

import pytest
import torch
from torch import nn

from video_adapt.adapters import LoRA, LoRABlockAdapter, TokenShift, inject, merge_lora
from video_adapt.backbones import CLIP, VideoMAE, VideoMAEConfig
from video_adapt.backbones.matrices import MATRICES
from video_adapt.baselines import TunedClassifier
from video_adapt.callbacks.cost import count_multiply_adds
from video_adapt.errors import ConfigurationError, WeightsError

CONFIG = {
    "embed_dim": 12,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 8, "patch_size": 4, "width": 16, "layers": 3, "head_width": 8},
    "text_cfg": {"context_length": 4, "vocab_size": 8, "width": 8, "layers": 1, "heads": 1},
}


def clip():
    torch.manual_seed(0)
    return CLIP.from_config(CONFIG).eval().requires_grad_(False)


def randomised(backbone):
    """Edits that do something: fresh ones are zero."""
    generator = torch.Generator().manual_seed(2)
    for parameter in backbone.adapters.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    return backbone


@pytest.fixture
def video():
    return torch.randn(2, 3, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def classifier(rank=2, **recipe):
    adapter = LoRA(rank=rank, alpha=6, **recipe)
    return TunedClassifier(clip(), class_names=["a", "b"], tuning="adapter", adapter=adapter)


def test_a_matrix_and_its_edit_are_one_sum(video):
    """Written out: the product is added to every matrix, and the plain tower runs."""
    adapted, written = clip(), clip()
    inject(adapted, LoRA(rank=2, alpha=6))
    randomised(adapted)
    with torch.no_grad():
        for number, block in enumerate(written.blocks):
            own = {
                "attention_in": block.attn.in_proj_weight,
                "attention_out": block.attn.out_proj.weight,
                "mlp_in": block.mlp.c_fc.weight,
                "mlp_out": block.mlp.c_proj.weight,
            }
            for name, weight in own.items():
                layer = adapted.adapters[str(number)].layers[name]
                weight += 3 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    torch.testing.assert_close(adapted(video).class_token, written(video).class_token)
    assert (adapted(video).class_token - clip()(video).class_token).abs().max() > 0.1


def test_is_an_identity_at_the_start(video):
    plain = clip()(video)
    adapted = clip()
    inject(adapted, LoRA())
    torch.testing.assert_close(adapted(video).tokens, plain.tokens, rtol=0, atol=1e-6)


def test_every_weight_of_every_matrix_has_a_gradient(video):
    model = classifier()
    randomised(model.backbone)
    model(video).square().sum().backward()
    edits = dict(model.backbone.adapters.named_parameters())
    assert len(edits) == 3 * 4 * 2
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in edits.values())
    assert all(p.grad is None for p in model.backbone.visual.parameters())


def test_only_the_edits_train_and_are_stored(video):
    model = classifier()
    count = model.parameter_count()
    wide = [(16, 48), (16, 16), (16, 64), (64, 16)]
    edits = 3 * sum(2 * (inner + outer) for inner, outer in wide)
    assert count.trained == edits + 2 * 16 + 2
    checkpoint = {"state_dict": model.state_dict()}
    model.on_save_checkpoint(checkpoint)
    names = {name for name in checkpoint["state_dict"] if name.startswith("backbone")}
    assert len(names) == 3 * 4 * 2
    assert all(".lora_" in name for name in names)


def test_a_checkpoint_brings_the_edits_back(video):
    model = classifier()
    randomised(model.backbone)
    checkpoint = {"state_dict": model.state_dict()}
    model.on_save_checkpoint(checkpoint)
    fresh = classifier()
    fresh.on_load_checkpoint(checkpoint)
    fresh.load_state_dict(checkpoint["state_dict"])
    assert torch.equal(fresh.eval()(video), model.eval()(video))
    other = classifier(rank=3)
    other.on_load_checkpoint(checkpoint)
    with pytest.raises(WeightsError, match="24 of another shape"):
        other.load_state_dict(checkpoint["state_dict"])


def test_merged_edits_answer_alike_without_an_adapter(video):
    backbone = clip()
    inject(backbone, LoRA(rank=2))
    randomised(backbone)
    before, names = backbone(video), set(clip().state_dict())
    merge_lora(backbone)
    assert len(backbone.adapters) == 0
    assert set(backbone.state_dict()) == names
    torch.testing.assert_close(backbone(video).class_token, before.class_token)


def test_there_must_be_something_to_merge():
    backbone = clip()
    with pytest.raises(ConfigurationError, match="carries no LoRA"):
        merge_lora(backbone)
    inject(backbone, TokenShift(last_blocks=1, divisor=5))
    with pytest.raises(ConfigurationError, match="carries no LoRA"):
        merge_lora(backbone)


def test_chosen_matrices_of_chosen_blocks():
    backbone = clip()
    inject(backbone, LoRA(matrices=["attention_in", "mlp_out"], last_blocks=2))
    assert list(backbone.adapters) == ["1", "2"]
    assert list(backbone.adapters["1"].layers) == ["attention_in", "mlp_out"]
    for wrong in (0, 4):
        with pytest.raises(ConfigurationError, match="give 1 to 3"):
            inject(clip(), LoRA(last_blocks=wrong))


def test_edits_follow_the_tower_of_a_copy(video):
    backbone = clip()
    inject(backbone, LoRA(rank=2))
    randomised(backbone)
    before = backbone(video).class_token
    twin = copy.deepcopy(backbone)
    nn.init.zeros_(backbone.blocks[0].mlp.c_fc.weight)
    assert torch.equal(twin(video).class_token, before)
    assert not torch.equal(backbone(video).class_token, before)


def test_dropout_acts_in_training_alone(video):
    model = classifier(dropout=0.5)
    randomised(model.backbone)
    model.train()
    assert not torch.equal(model(video), model(video))
    model.eval()
    assert torch.equal(model(video), model(video))


def test_edits_of_float16_towers_stay_float32(video):
    torch.manual_seed(0)
    backbone = CLIP.from_config(CONFIG, precision="float16_weights").requires_grad_(False)
    inject(backbone, LoRA(rank=2))
    randomised(backbone)
    assert {p.dtype for p in backbone.adapters.parameters()} == {torch.float32}
    assert backbone(video).tokens.isfinite().all()


def test_multiply_adds_of_the_edits_are_counted(video):
    plain, adapted = clip(), clip()
    inject(adapted, LoRA(rank=2, matrices=["mlp_in"]))
    more = count_multiply_adds(adapted, video) - count_multiply_adds(plain, video)
    assert more == 2 * 3 * 5 * 3 * 2 * (16 + 64)  # videos, frames, tokens, blocks, rank


@pytest.mark.parametrize(
    ("recipe", "problem"),
    [({"rank": 0}, "rank=0"), ({"matrices": []}, "edits nothing"), ({"dropout": 1.0}, "dropout=1")],
)
def test_recipes_that_edit_nothing_are_refused(recipe, problem):
    with pytest.raises(ConfigurationError, match=problem):
        LoRA(**recipe)


def test_a_missing_peft_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigurationError, match=r"pip install video_adapt\[lora\]"):
        inject(clip(), LoRA())


def test_models_that_do_not_ask_are_refused():
    config = VideoMAEConfig(
        "chunk", width=8, depth=1, heads=2, hidden=16, patch_size=8, chunk_frames=2, table_size=16
    )
    with pytest.raises(ConfigurationError, match="shows its matrices to no adapter"):
        inject(VideoMAE.from_config(config, image_size=16), LoRA())


def test_plain_matrices_stay_plain(video):
    block = LoRABlockAdapter({})
    assert torch.equal(block.multiply("mlp_in", torch.neg, video), -video)
    assert MATRICES == ("attention_in", "attention_out", "mlp_in", "mlp_out")
