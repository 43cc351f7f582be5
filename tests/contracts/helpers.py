"""What every recogniser promises, tested on a real CLIP of a few thousand visual parameters."""

import pytest
import torch
from torch import nn

from video_adapt.backbones import CLIP
from video_adapt.batches import ClipBatch
from video_adapt.callbacks.cost import count_multiply_adds
from video_adapt.errors import WeightsError
from video_adapt.tasks import OptimizerSpec, frozen_names

CLASSES = ["walking", "running", "jumping"]
SPEC = OptimizerSpec(lr=1e-2, weight_decay=0.1)
FRAMES = 4


def tiny_clip(*, seed=0, depth=3):
    """An ordinary CLIP with the ordinary tokenizer, random weights: 16 pixels, 4 x 4 patches."""
    vision = {"width": 24, "head_width": 8, "layers": depth, "patch_size": 4, "image_size": 16}
    text = {"width": 8, "heads": 2, "layers": 1, "context_length": 8, "vocab_size": 49408}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return CLIP.from_config(
            {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text, "quick_gelu": True},
            name="tiny",
        )


def video(clips=3, frames=FRAMES, *, seed=0):
    return torch.randn(clips, frames, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def batch(clips=3, frames=FRAMES, *, soft=False):
    rows = torch.arange(clips)
    label = rows % len(CLASSES)
    target = torch.full((clips, len(CLASSES)), 1 / len(CLASSES)) if soft else None
    return ClipBatch(video(clips, frames), label, target, rows, torch.zeros_like(rows))


def train(method, *, steps=3, clips=batch):
    """A few steps with the method's own optimiser groups; nothing where nothing trains."""
    method.train()
    groups = method.parameter_groups(SPEC)
    if not groups:
        return
    optimizer = torch.optim.AdamW(groups, lr=SPEC.lr)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(method, clips()).backward()
        optimizer.step()


def loss(method, clips):
    return nn.functional.cross_entropy(
        method(clips.video).float(), clips.label if clips.target is None else clips.target
    )


def save(method):
    checkpoint = {"state_dict": method.state_dict()}
    method.on_save_checkpoint(checkpoint)
    return checkpoint


def load(method, checkpoint):
    checkpoint = {**checkpoint, "state_dict": dict(checkpoint["state_dict"])}
    method.on_load_checkpoint(checkpoint)
    method.load_state_dict(checkpoint["state_dict"], strict=True)


class RecogniserContract:
    """Derive from it, and give the fixture ``build``: a backbone in, a recogniser out.

    The recogniser takes clips of ``FRAMES`` frames and knows ``CLASSES``.
    """

    def test_clips_become_logits(self, build):
        logits = build(tiny_clip()).eval()(video())
        assert logits.shape == (3, len(CLASSES))
        assert logits.isfinite().all()

    def test_a_clip_is_judged_alone(self, build):
        method = build(tiny_clip()).eval()
        together = method(video())
        alone = torch.cat([method(clip[None]) for clip in video()])
        torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-4)

    def test_predictions_are_distributions(self, build):
        method = build(tiny_clip()).eval()
        given = batch()
        predictions = method.predict_step(given)
        torch.testing.assert_close(predictions.probs.sum(-1), torch.ones(3))
        assert torch.equal(predictions.video_id, given.video_id)
        assert torch.equal(predictions.probs.argmax(-1), method(given.video).argmax(-1))

    def test_frozen_weights_and_buffers_are_bit_identical_after_training(self, build):
        method = build(tiny_clip())
        names = frozen_names(method)
        before = {k: v.clone() for k, v in method.state_dict().items()}
        train(method)
        assert all(torch.equal(method.state_dict()[k], before[k]) for k in names)
        assert all(
            not torch.equal(method.state_dict()[k], before[k]) for k in before.keys() - names
        )

    def test_the_text_tower_never_trains(self, build):
        method = build(tiny_clip())
        trained = [k for k, p in method.named_parameters() if p.requires_grad]
        assert not [
            k for k in trained if k.startswith(("backbone.towers.text", "backbone.towers.l"))
        ]

    def test_training_mode_wakes_nothing_frozen(self, build):
        method = build(tiny_clip()).train()
        for name, module in method.named_modules():
            parameters = list(module.parameters())
            if parameters and not any(p.requires_grad for p in parameters):
                assert not module.training, name

    def test_the_optimiser_holds_what_trains_once(self, build):
        method = build(tiny_clip())
        held = [p for group in method.parameter_groups(SPEC) for p in group["params"]]
        trained = [p for p in method.parameters() if p.requires_grad]
        assert sorted(map(id, held)) == sorted(map(id, trained))

    def test_every_trained_parameter_gets_a_gradient(self, build):
        method = build(tiny_clip())
        train(method, steps=1)
        trained = {k: p for k, p in method.named_parameters() if p.requires_grad}
        assert [k for k, p in trained.items() if p.grad is None] == []

    def test_a_frozen_backbone_builds_no_graph(self, build):
        method = build(tiny_clip()).train()
        trains = any(p.requires_grad for p in method.backbone.parameters())
        assert method.encode(video()).tokens.requires_grad == trains

    def test_a_checkpoint_holds_what_trains_and_restores_the_rest(self, build):
        method = build(tiny_clip())
        train(method)
        checkpoint = save(method)
        trained = {k for k, p in method.named_parameters() if p.requires_grad}
        assert checkpoint["state_dict"].keys() == trained
        torch.manual_seed(1)
        other = build(tiny_clip())
        load(other, checkpoint)
        assert torch.equal(other.eval()(video()), method.eval()(video()))

    def test_a_checkpoint_refuses_another_backbone(self, build):
        checkpoint = save(build(tiny_clip()))
        with pytest.raises(WeightsError, match="was trained on backbone 'tiny'"):
            load(build(tiny_clip(seed=1)), checkpoint)

    @pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
    def test_its_operations_can_be_counted_without_gradients(self, build, mode):
        method = build(tiny_clip())
        with mode():
            assert count_multiply_adds(method, video(1)) > 0

    def test_mixed_precision_trains(self, build):
        method = build(tiny_clip()).train()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = loss(method, batch(soft=True))
        assert value.isfinite()
        if value.requires_grad:
            value.backward()
            grads = [p.grad for p in method.parameters() if p.grad is not None]
            assert all(grad.isfinite().all() for grad in grads)
