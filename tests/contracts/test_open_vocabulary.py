"""What every open-vocabulary recogniser promises, in every form that experiment files give it."""

import pytest
import torch

from tests.contracts.helpers import CLASSES, load, save, video
from video_adapt import baselines, methods
from video_adapt.adapters import ExpandedAttention, STAdapter
from video_adapt.backbones import CLIP
from video_adapt.baselines import OpenVCLIP, ZeroShotCLIP
from video_adapt.batches import ClipBatch
from video_adapt.callbacks.cost import count_multiply_adds
from video_adapt.errors import WeightsError
from video_adapt.methods import FROSTER
from video_adapt.tasks import (
    OpenVocabularyOptimizerSpec,
    OpenVocabularyTask,
    PlateauCosine,
    Prompts,
    frozen_names,
)
from video_adapt.vocabulary import Vocabulary

SPEC = OpenVocabularyOptimizerSpec(lr=1e-3, new_lr=1e-2, schedule=PlateauCosine())
PROMPTS = Prompts(templates=("a photo of {}.", "a video of {}."))
NOVEL = Vocabulary("novel", ("diving", "walking"), ("", "on two legs"))
TRAIN = Vocabulary("train", tuple(CLASSES), ("on two legs", "fast", "up"))


def tiny_clip(*, seed=0):
    """An ordinary CLIP with the ordinary tokenizer, random weights: 16 pixels, 2 x 2 patches."""
    vision = {"width": 16, "head_width": 8, "layers": 2, "patch_size": 8, "image_size": 16}
    text = {"width": 8, "heads": 2, "layers": 1, "context_length": 20, "vocab_size": 49408}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return CLIP.from_config(
            {"embed_dim": 12, "vision_cfg": vision, "text_cfg": text, "quick_gelu": True},
            name="tiny",
        )


def form(kind, **settings):
    def build(backbone):
        torch.manual_seed(0)
        method = kind(
            backbone, **({"class_names": CLASSES, "optimizer": SPEC, "prompts": PROMPTS} | settings)
        )
        method.vocabulary = TRAIN
        return method

    return build


BUILDERS = {
    "froster": form(FROSTER, adapter=ExpandedAttention()),
    "froster_text_in_parts": form(FROSTER, text_micro_batch=2),
    "froster_undistilled": form(FROSTER, adapter=ExpandedAttention(), distillation=0.0),
    "froster_adapter": form(FROSTER, regime="adapter", adapter=STAdapter(width=4)),
    "froster_residual": form(FROSTER, regime="residual_only"),
    "open_vclip": form(OpenVCLIP, adapter=ExpandedAttention()),
    "open_vclip_uninterpolated": form(OpenVCLIP, interpolated=0.0, patch_ratio=0.0),
}


def batch(*, soft=False):
    rows = torch.arange(4)
    target = torch.full((4, len(CLASSES)), 1 / len(CLASSES)) if soft else None
    return ClipBatch(video(4), rows % len(CLASSES), target, rows, torch.zeros_like(rows))


def train(method, *, steps=3):
    method.train()
    optimizer = torch.optim.AdamW(method.parameter_groups(SPEC))
    for step in range(steps):
        optimizer.zero_grad()
        method.losses(batch(), step)["loss"].backward()
        optimizer.step()
    return method


@pytest.fixture(params=BUILDERS.values(), ids=BUILDERS.keys())
def build(request):
    return request.param


def trained(method):
    return {k: p for k, p in method.named_parameters() if p.requires_grad}


def test_no_method_is_left_out():
    classes = {type(build(tiny_clip())).__name__ for build in BUILDERS.values()}
    listed = [getattr(room, name) for room in (methods, baselines) for name in room.__all__]
    tasks = [kind for kind in listed if kind.job == OpenVocabularyTask.job]
    # Nothing of it trains: it has tests of its own.
    assert classes == {kind.__name__ for kind in tasks} - {ZeroShotCLIP.__name__}


@pytest.mark.parametrize("vocabulary", [TRAIN, NOVEL], ids=["train", "novel"])
def test_clips_become_logits_over_any_classes_and_each_is_judged_alone(build, vocabulary):
    method = train(build(tiny_clip()), steps=1).eval()
    logits = method.classify(video(3), vocabulary)
    assert logits.shape == (3, len(vocabulary))
    assert logits.isfinite().all()
    alone = torch.cat([method.classify(clip[None], vocabulary) for clip in video(3)])
    torch.testing.assert_close(alone, logits, rtol=1e-4, atol=1e-4)


def test_other_classes_do_not_change_what_a_class_scores(build):
    method = train(build(tiny_clip())).eval()
    both = Vocabulary("both", (*TRAIN.classes, "diving"), (*TRAIN.descriptions, ""))
    torch.testing.assert_close(
        method.classify(video(3), both)[:, :3], method.classify(video(3), TRAIN)
    )


def test_predictions_are_distributions_and_tests_are_logits(build):
    method = build(tiny_clip()).eval()
    predictions = method.predict_step(batch())
    torch.testing.assert_close(predictions.probs.sum(-1), torch.ones(4))
    assert torch.equal(predictions.probs, method(video(4)).softmax(-1))


def test_only_what_trains_moves(build):
    method = build(tiny_clip())
    names = frozen_names(method)
    before = {k: v.clone() for k, v in method.state_dict().items()}
    train(method)
    after = method.state_dict()
    assert [k for k in names if not torch.equal(after[k], before[k])] == []
    assert [k for k in before.keys() - names if torch.equal(after[k], before[k])] == []


def test_every_trained_parameter_gets_a_gradient_and_is_held_once(build):
    method = train(build(tiny_clip()), steps=1)
    assert [k for k, p in trained(method).items() if p.grad is None] == []
    held = [p for group in method.parameter_groups(SPEC) for p in group["params"]]
    assert sorted(map(id, held)) == sorted(map(id, trained(method).values()))


def test_training_mode_wakes_nothing_frozen(build):
    for name, module in build(tiny_clip()).train().named_modules():
        parameters = list(module.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            assert not module.training, name


def test_a_checkpoint_holds_what_trains_and_restores_the_rest(build):
    method = train(build(tiny_clip()))
    checkpoint = save(method)
    assert checkpoint["state_dict"].keys() == trained(method).keys()
    other = build(tiny_clip())
    other.vocabulary = Vocabulary("train", tuple(CLASSES))
    load(other, checkpoint)
    assert other.vocabulary == TRAIN
    assert torch.equal(other.eval()(video()), method.eval()(video()))


def test_a_checkpoint_serves_other_classes(build):
    method = train(build(tiny_clip()))
    other = build(tiny_clip())
    other.class_names, other.vocabulary = list(NOVEL.classes), NOVEL
    load(other, save(method))
    assert other.vocabulary == NOVEL
    assert torch.equal(other.eval()(video()), method.eval().classify(video(), NOVEL))


def test_a_checkpoint_refuses_another_original(build):
    checkpoint = save(build(tiny_clip()))
    with pytest.raises(WeightsError, match="was trained on backbone 'tiny'"):
        load(build(tiny_clip(seed=1)), checkpoint)


def test_zero_shot_stays_what_it_was(build):
    method = build(tiny_clip())
    before = method.zero_shot_logits(video(), NOVEL)
    after = train(method).eval().zero_shot_logits(video(), NOVEL)
    assert torch.equal(before, after)
    assert not torch.equal(after, method.classify(video(), NOVEL))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_its_operations_can_be_counted_without_gradients(build, mode):
    method = build(tiny_clip()).eval()
    with mode():
        assert count_multiply_adds(method, video(1)) > 0


def test_validation_in_inference_mode_does_not_spoil_training(build):
    method = build(tiny_clip()).eval()
    with torch.inference_mode():
        method(video())
    train(method)


def test_mixed_precision_trains(build):
    method = build(tiny_clip()).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = method.losses(batch(soft=True), 0)["loss"]
    assert loss.dtype == torch.float32
    loss.backward()
    assert all(p.grad.isfinite().all() for p in trained(method).values())
