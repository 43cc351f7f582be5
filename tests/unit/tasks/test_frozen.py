import copy

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import BackboneFinetuning, EMAWeightAveraging
from torch.utils.data import DataLoader, Dataset

from tests.contracts.helpers import tiny_clip
from tests.fakes import FakeBackbone, FakeMethod
from video_adapt.batches import ClipBatch
from video_adapt.errors import ConfigurationError, WeightsError
from video_adapt.tasks import frozen_names, load_method

# The loaders here have no workers and no validation, on purpose.
pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
)
TUNINGS = [("frozen", 0), ("adapter", 0), ("last_n", 1), ("full", 0)]


class Clips(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        return torch.randn(2, 3, 8, 8, generator=generator), index % 3, index


def collate(items):
    video, label, row = zip(*items, strict=True)
    zero = torch.zeros(len(row), dtype=torch.long)
    return ClipBatch(torch.stack(video), torch.tensor(label), None, torch.tensor(row), zero)


def loader():
    return DataLoader(Clips(), batch_size=4, collate_fn=collate)


def build(tuning="frozen", last_n=0, seed=0):
    torch.manual_seed(seed)
    return FakeMethod(FakeBackbone(adapted=tuning == "adapter"), tuning=tuning, last_n=last_n)


def trainer(tmp_path, **settings):
    defaults = {
        "max_epochs": 2,
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    return Trainer(default_root_dir=tmp_path, **(defaults | settings))


def fit(tmp_path, method, *, ckpt_path=None, **settings):
    run = trainer(tmp_path, **settings)
    run.fit(method, loader(), ckpt_path=ckpt_path)
    return run


@pytest.mark.parametrize(("tuning", "last_n"), TUNINGS)
def test_frozen_weights_and_buffers_do_not_move(tmp_path, tuning, last_n):
    method = build(tuning, last_n)
    before = copy.deepcopy(method.state_dict())
    frozen = frozen_names(method)
    fit(tmp_path, method)
    after = method.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in frozen)
    trained = [k for k, p in method.named_parameters() if p.requires_grad]
    assert all(not torch.equal(before[k], after[k]) for k in trained)


def test_statistics_of_a_norm_are_frozen_with_its_weights():
    statistics = "backbone.tower.blocks.2.norm.running_mean"
    assert statistics in frozen_names(build("frozen"))
    assert statistics not in frozen_names(build("last_n", 1))


def test_train_wakes_nothing_that_is_frozen():
    method = build("frozen").train()
    assert method.training
    assert method.head[0].training
    assert not any(m.training for m in method.backbone.modules())


def test_an_adapters_dropout_stays_alive():
    method = build("adapter").train()
    adapter = method.backbone.adapters["1"]
    assert adapter.dropout.training
    assert not method.backbone.tower["blocks"][1].dropout.training
    assert not method.eval().backbone.adapters["1"].dropout.training


def test_nothing_in_a_frozen_backbone_is_recorded_for_backward():
    features = build("frozen").train().encode(torch.randn(1, 2, 3, 8, 8))
    assert not features.class_token.requires_grad
    assert build("adapter").train().encode(torch.randn(1, 2, 3, 8, 8)).class_token.requires_grad


@pytest.mark.parametrize(("tuning", "last_n"), TUNINGS)
def test_the_optimiser_holds_exactly_what_trains(tmp_path, tuning, last_n):
    method = build(tuning, last_n)
    run = fit(tmp_path, method, max_epochs=1)
    held = {id(p) for group in run.optimizers[0].param_groups for p in group["params"]}
    assert held == {id(p) for p in method.parameters() if p.requires_grad}


class SaveAt(Callback):
    """Write a checkpoint at the end of one epoch and go on."""

    def __init__(self, epoch, path):
        self.epoch, self.path = epoch, path

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize(("tuning", "last_n"), TUNINGS)
@pytest.mark.parametrize("ema", [False, True])
def test_resumed_equals_uninterrupted(tmp_path, tuning, last_n, ema):
    def callbacks():
        return [EMAWeightAveraging(decay=0.9)] if ema else []

    def fresh():
        method = build(tuning, last_n)
        for module in method.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        return method

    path = tmp_path / "half.ckpt"
    whole, resumed = fresh(), fresh()
    torch.nn.init.ones_(resumed.head[1].weight)
    fit(tmp_path, whole, max_epochs=4, callbacks=[*callbacks(), SaveAt(1, path)])
    fit(tmp_path, resumed, max_epochs=4, callbacks=callbacks(), ckpt_path=path)
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("ema", [False, True])
def test_the_file_holds_no_frozen_key(tmp_path, ema):
    path = tmp_path / "x.ckpt"
    method = build()
    callbacks = [EMAWeightAveraging(decay=0.9)] if ema else []
    fit(tmp_path, method, max_epochs=1, callbacks=[*callbacks, SaveAt(0, path)])
    checkpoint = torch.load(path, weights_only=True)
    assert set(checkpoint["state_dict"]) == {"head.1.weight", "head.1.bias"}
    assert set(checkpoint.get("current_model_state", {})) == (
        {"head.1.weight", "head.1.bias"} if ema else set()
    )
    count = method.parameter_count()
    assert count.trained == 8 * 3 + 3
    assert count.checkpoint_bytes == 4 * count.trained
    assert count.total == sum(p.numel() for p in method.parameters())


def test_a_checkpoint_refuses_another_backbone(tmp_path):
    path = tmp_path / "x.ckpt"
    fit(tmp_path, build(seed=0), max_epochs=1, callbacks=[SaveAt(0, path)])
    with pytest.raises(WeightsError, match="trained on backbone 'fake'"):
        load_method(path, backbone=build(seed=1).backbone)
    loaded = load_method(path, backbone=build(seed=0).backbone)
    assert not loaded.training


def test_a_checkpoint_refuses_other_classes(tmp_path):
    path = tmp_path / "x.ckpt"
    method = build()
    fit(tmp_path, method, max_epochs=1, callbacks=[SaveAt(0, path)])
    with pytest.raises(WeightsError, match="knows 3 classes, the data has 2"):
        load_method(path, backbone=method.backbone, class_names=["a", "b"])


def test_a_backbone_built_in_python_is_not_pickled(tmp_path):
    path = tmp_path / "x.ckpt"
    fit(tmp_path, build(), max_epochs=1, callbacks=[SaveAt(0, path)])
    assert "backbone" not in torch.load(path, weights_only=True)["hyper_parameters"]
    with pytest.raises(WeightsError, match="needs its components again"):
        load_method(path)


def test_unfreezing_in_mid_training_works(tmp_path):
    class Unfreeze(BackboneFinetuning):
        def freeze_before_training(self, pl_module):
            pass

        def finetune_function(self, pl_module, epoch, optimizer):
            if epoch == 1:
                self.unfreeze_and_add_param_group(
                    pl_module.backbone.tower, optimizer, initial_denom_lr=10
                )

    path = tmp_path / "x.ckpt"
    method = build()
    stem = method.backbone.tower["stem"].weight.clone()
    fit(tmp_path, method, max_epochs=3, callbacks=[Unfreeze(), SaveAt(2, path)])
    assert not torch.equal(stem, method.backbone.tower["stem"].weight)
    saved = torch.load(path, weights_only=True)["state_dict"]
    assert "backbone.tower.stem.weight" in saved
    assert "backbone.text.weight" not in saved


def test_the_whole_tower_trains_with_what_was_put_inside_it():
    method = FakeMethod(FakeBackbone(adapted=True), tuning="full")
    trained = {k for k, p in method.backbone.named_parameters() if p.requires_grad}
    adapters = {f"adapters.{k}" for k, _ in method.backbone.adapters.named_parameters()}
    tower = {k for k, _ in method.backbone.named_parameters() if k.startswith("tower.")}
    assert adapters
    assert trained == adapters | tower


TOKENS, POSITIONS = "towers.text.token_embedding.weight", "towers.text.positional_embedding"


@pytest.mark.parametrize(
    ("text_tuning", "resting"),
    [("full", set()), ("blocks", {TOKENS, POSITIONS})],
)
def test_the_text_tower_trains_where_asked_and_the_temperature_with_it(text_tuning, resting):
    method = FakeMethod(tiny_clip())
    method.freeze_backbone("frozen", text_tuning=text_tuning)
    names = {k for k, _ in method.backbone.named_parameters()}
    text = {k for k in names if k.startswith("towers.text.")} | {"towers.logit_scale"}
    trained = {k for k, p in method.backbone.named_parameters() if p.requires_grad}
    assert trained == text - resting
    method.train()
    tokens = torch.tensor([[1, 2, 9, 0]])
    assert method.embed_text(tokens).embedding.requires_grad
    method.freeze_backbone("frozen")
    assert not method.embed_text(tokens).embedding.requires_grad
    assert not [k for k, p in method.backbone.named_parameters() if p.requires_grad]


def test_a_backbone_without_text_says_so():
    method = FakeMethod(FakeBackbone())
    with pytest.raises(ConfigurationError, match="no text tower"):
        method.freeze_backbone("frozen", text_tuning="full")
    with pytest.raises(ConfigurationError, match="no text tower"):
        method.embed_text(torch.tensor([[1, 2, 9, 0]]))


@pytest.mark.parametrize(
    ("tuning", "last_n", "adapted"),
    [
        ("adapter", 0, False),
        ("frozen", 0, True),
        ("last_n", 0, False),
        ("full", 1, False),
        ("last_n", 9, False),
    ],
)
def test_contradictions_are_refused(tuning, last_n, adapted):
    with pytest.raises(ConfigurationError):
        FakeMethod(FakeBackbone(adapted=adapted), tuning=tuning, last_n=last_n)
