import copy
import logging

import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from safetensors.torch import save_file
from torch.nn import functional as F
from torch.utils.data import DataLoader

from tests.unit.methods.captioned_clips import captioning_clip, captions
from tests.unit.retrieval.processes import as_processes
from video_adapt.callbacks.cost import count_multiply_adds
from video_adapt.errors import AnnotationError, ConfigurationError
from video_adapt.methods.teachclip import StudentSpec, Taught, TeachCLIP
from video_adapt.methods.teachclip.network import start_from_text
from video_adapt.retrieval import (
    MAX_LOGIT_SCALE,
    TeachingLoss,
    coarse_loss,
    contrastive_loss,
    fine_loss,
)
from video_adapt.retrieval.teachers import XCLIP, ScoreFile, Teacher, XPool
from video_adapt.tasks import RetrievalOptimizerSpec, WarmupCosine, load_method

# The loaders here have no workers and no validation, on purpose.
pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
)
KINDS = ["afa", "meanP", "seqTransf", "seqLSTM", "tightTransf"]
ONE_EACH = [0, 1, 2]


def build(kind="afa", *, seed=0, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return TeachCLIP(captioning_clip(), student=StudentSpec(kind=kind, layers=2), **settings)


def xclip(*, seed=7, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = XCLIP(16, words=6, frames=4, layers=1, heads=1, positions=8)
        return Taught(head, backbone=captioning_clip(seed=seed), **settings)


def xpool(**settings):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Taught(XPool(16), backbone=captioning_clip(seed=3), **settings)


class MeanTeacher(Teacher):
    """Reads no towers."""

    def similarity(self, captions, videos):
        return captions["caption_id"][:, None] * videos["video_id"]

    def relevance(self, captions, own_videos, shown):
        return None


class Captions(LightningDataModule):
    train_transform = None

    def train_dataloader(self):
        return DataLoader([captions(ONE_EACH, seed=seed) for seed in range(2)], batch_size=None)

    def evaluation_recipe(self):
        return {"frames": 4}

    def manifest(self, split):
        return self

    def digest(self):
        return "0123"


def fit(tmp_path, method, *, data=None, **settings):
    defaults = {
        "max_epochs": 1,
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    trainer = Trainer(default_root_dir=tmp_path, **(defaults | settings))
    trainer.fit(method, datamodule=data or Captions())
    return trainer


SPEC = RetrievalOptimizerSpec(
    lr=1e-2, tower_lr=1e-3, pooling_lr=1e-1, schedule=WarmupCosine(max_epochs=4)
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_student_compares_captions_with_videos(kind):
    method, batch = build(kind).eval(), captions([0, 1, 2, 0])
    found = method.predict_step(batch)
    assert found.video_id.tolist() == [10, 11, 12]
    assert found.caption_id.tolist() == [0, 1, 2, 3]
    assert found.caption_video_id.tolist() == [10, 11, 12, 10]
    scores = method.similarity(found.text, found.video)
    assert scores.shape == (4, 3)
    assert scores.isfinite().all()
    if kind != "tightTransf":
        torch.testing.assert_close(found.video.norm(dim=-1), torch.ones(3))
        scale = method.backbone.logit_scale.exp()
        torch.testing.assert_close(scores, scale * found.text @ found.video.T)


@pytest.mark.parametrize("kind", KINDS)
def test_a_video_is_read_alone_and_padding_is_not_seen(kind):
    method, batch = build(kind).eval(), captions(ONE_EACH)
    text = method.read_captions(batch.tokens)
    together = method.similarity(text, method(batch.video, batch.video_mask))
    short = method(batch.video[1:2, :3], batch.video_mask[1:2, :3])
    torch.testing.assert_close(
        method.similarity(text, short), together[:, 1:2], atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("kind", KINDS)
def test_everything_that_trains_learns_from_a_pair(kind):
    method = build(kind).train()
    method.losses(captions(ONE_EACH))["loss"].backward()
    idle = {k for k, p in method.named_parameters() if p.requires_grad and p.grad is None}
    assert idle == set()


def test_a_student_starts_from_the_text_tower():
    method = build("afa")
    temporal, text = method.student.temporal, method.backbone.text
    assert torch.equal(temporal.positions.weight, text.positional_embedding)
    for mine, theirs in zip(
        temporal.transformer.resblocks, text.transformer.resblocks, strict=True
    ):
        for name, value in theirs.state_dict().items():
            assert torch.equal(mine.state_dict()[name], value), name
    assert temporal.positions.weight is not text.positional_embedding


def test_a_student_of_another_width_starts_from_random_weights_and_says_so(caplog):
    student = StudentSpec(layers=2).build(16, positions=8)
    before = student.temporal.positions.weight.clone()
    with caplog.at_level(logging.WARNING):
        start_from_text(student, captioning_clip(width=8).text)
    assert torch.equal(student.temporal.positions.weight, before)
    assert "the transformer over frames is 16 wide, the text tower 8" in caplog.text


def test_more_blocks_than_the_text_tower_has_are_refused():
    with pytest.raises(ConfigurationError, match="transformer over frames of 3 layers"):
        TeachCLIP(captioning_clip(), student=StudentSpec(layers=3))


@pytest.mark.parametrize("multi_positive", [True, False])
def test_captions_of_one_video_are_both_right_or_not(multi_positive):
    method, batch = build(multi_positive=multi_positive).eval(), captions(ONE_EACH)
    batch = batch._replace(video_id=torch.tensor([5, 6, 5]))
    scores = method.similarity(
        method.read_captions(batch.tokens), method(batch.video, batch.video_mask)
    )
    right = torch.eye(3, dtype=torch.bool)
    if multi_positive:
        right[0, 2] = right[2, 0] = True
    torch.testing.assert_close(method.losses(batch)["loss"], contrastive_loss(scores, right))


def test_the_loss_of_a_taught_student_in_words(tmp_path):
    teachers = [xclip(), xpool(weight=3.0)]
    teaching = TeachingLoss(contrastive=0.2, coarse=1.0, fine=2.0)
    method, batch = build(teachers=teachers, teaching=teaching).eval(), captions(ONE_EACH)
    reading = method.student(method.encode(batch.video).embedding, batch.video_mask)
    scores = method.similarity(method.read_captions(batch.tokens), reading.feature)
    coarse, fine = [], []
    for teacher in teachers:
        told = teacher(batch, batch.caption_video)
        coarse.append(coarse_loss(scores, told.similarity))
        fine.append(fine_loss(reading.frame_logits, told.relevance, mask=batch.video_mask))
    expected = {
        "contrastive": contrastive_loss(scores),
        "coarse": (coarse[0] + 3 * coarse[1]) / 4,
        "fine": (fine[0] + 3 * fine[1]) / 4,
    }
    terms = method.losses(batch)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)
    total = 0.2 * expected["contrastive"] + expected["coarse"] + 2.0 * expected["fine"]
    torch.testing.assert_close(terms["loss"], total)
    assert terms["fine_excess"] < terms["fine"]


def test_each_caption_is_taught_the_frames_of_its_own_video():
    method, batch = build(teachers=[xclip()]).eval(), captions([2, 0, 1, 2])
    told = method.teachers[0](batch, batch.caption_video)
    logits = method.student(method.encode(batch.video).embedding, batch.video_mask).frame_logits
    own = batch.caption_video
    expected = fine_loss(logits[own], told.relevance, mask=batch.video_mask[own])
    torch.testing.assert_close(method.losses(batch)["fine"], expected)


def test_an_unmasked_student_is_taught_on_padding_too():
    student = StudentSpec(layers=2, masked=False)
    method = TeachCLIP(captioning_clip(), student=student, teachers=[xclip()]).eval()
    batch = captions(ONE_EACH)
    method.teachers[0].head.masked = False
    told = method.teachers[0](batch, batch.caption_video)
    logits = method.student(method.encode(batch.video).embedding, batch.video_mask).frame_logits
    torch.testing.assert_close(method.losses(batch)["fine"], fine_loss(logits, told.relevance))


def test_teachers_neither_train_nor_enter_the_checkpoint(tmp_path):
    method = build(teachers=[xclip()], optimizer=SPEC)
    before = {k: v.clone() for k, v in method.teachers[0].state_dict().items()}
    trainer = fit(tmp_path, method)
    after = method.teachers[0].state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not any(p.requires_grad for p in method.teachers[0].parameters())
    assert not any(module.training for module in method.teachers[0].modules())
    path = tmp_path / "student.ckpt"
    trainer.save_checkpoint(path)
    checkpoint = torch.load(path, weights_only=True)
    trained = {k for k, p in method.named_parameters() if p.requires_grad}
    assert checkpoint["state_dict"].keys() == trained
    loaded = load_method(
        path, backbone=captioning_clip(), student=StudentSpec(layers=2), teachers=[]
    )
    batch = captions(ONE_EACH)
    assert torch.equal(
        loaded(batch.video, batch.video_mask), method.eval()(batch.video, batch.video_mask)
    )


def test_a_checkpoint_names_no_teacher_in_its_settings():
    checkpoint = {"state_dict": {}, "hyper_parameters": {"teachers": [{"class_path": "X"}]}}
    build().on_save_checkpoint(checkpoint)
    assert checkpoint["hyper_parameters"]["teachers"] == []


def test_cached_teaching_is_live_teaching_without_towers(tmp_path):
    live, batch = xclip(), captions([0, 1, 2, 1])
    cached = xclip(cache=tmp_path)
    cached.open_cache({"manifest": "0123"})
    first, own = cached(batch, batch.caption_video), batch.caption_video
    cached._captions = cached._videos = lambda *call: pytest.fail("a tower ran")
    for told in (first, cached(batch, own)):
        torch.testing.assert_close(told.similarity, live(batch, own).similarity)
        torch.testing.assert_close(told.relevance, live(batch, own).relevance)


def test_a_run_fills_the_cache_of_its_teacher(tmp_path):
    method = build(teachers=[xclip(cache=tmp_path / "cache")], optimizer=SPEC)
    fit(tmp_path, method)
    assert len(method.teachers[0].cache) == 6  # three videos, three captions


def test_a_cache_wants_the_same_clips_in_every_epoch(tmp_path):
    data = Captions()
    data.train_transform = object()
    method = build(teachers=[xclip(cache=tmp_path / "cache")], optimizer=SPEC)
    with pytest.raises(ConfigurationError, match="the same clips in every epoch"):
        fit(tmp_path, method, data=data)


def test_a_learned_temperature_stays_within_its_limit(tmp_path):
    method = build(optimizer=SPEC)
    method.backbone.logit_scale.data.fill_(9.0)
    method.on_train_batch_end(None, None, 0)
    torch.testing.assert_close(method.backbone.logit_scale.data, torch.tensor(MAX_LOGIT_SCALE))
    frozen = build(text_tuning="frozen")
    frozen.backbone.logit_scale.data.fill_(9.0)
    frozen.on_train_batch_end(None, None, 0)
    assert frozen.backbone.logit_scale == 9.0


def test_a_video_without_a_frame_is_refused_by_its_number():
    batch = captions(ONE_EACH)
    batch.video_mask[1] = False
    for step in (build().predict_step, build().training_step):
        with pytest.raises(AnnotationError, match=r"videos \[11\] .* have no frame"):
            step(batch, 0)


def test_a_file_of_scores_teaches_without_towers(tmp_path):
    scores = torch.randn(3, 13)
    save_file({"similarity": scores}, tmp_path / "scores.safetensors")
    method = build(teachers=[Taught(ScoreFile(tmp_path / "scores.safetensors"))]).eval()
    batch = captions(ONE_EACH)
    told = method.teachers[0](batch, batch.caption_video)
    torch.testing.assert_close(told.similarity, scores[:, 10:])
    terms = method.losses(batch)
    assert terms["coarse"] > 0
    assert terms["fine"] == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"head": XPool(16)}, "XPool needs a backbone"),
        ({"head": XPool(16), "backbone": captioning_clip(), "weight": 0.0}, "weight=0.0"),
        ({"head": MeanTeacher(), "cache": "x"}, "reads no towers: cache"),
        ({"head": MeanTeacher(), "backbone": captioning_clip()}, "MeanTeacher reads no towers"),
    ],
)
def test_teachers_that_cannot_teach_are_refused(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        Taught(**settings)


def test_a_frozen_backbone_builds_no_graph():
    method, batch = build(tuning="frozen", text_tuning="frozen").train(), captions(ONE_EACH)
    assert not method.encode(batch.video).embedding.requires_grad
    assert not method.read_captions(batch.tokens).requires_grad
    assert F.normalize(method(batch.video, batch.video_mask)).requires_grad


def share(batch, first, last):
    """Some videos of a batch with their captions, as one process gets them."""
    mine = (batch.caption_video >= first) & (batch.caption_video < last)
    return batch._replace(
        video=batch.video[first:last],
        video_mask=batch.video_mask[first:last],
        tokens=batch.tokens[mine],
        caption_video=batch.caption_video[mine] - first,
        video_id=batch.video_id[first:last],
        caption_id=batch.caption_id[mine],
    )


@pytest.mark.parametrize("kind", ["afa", "meanP", "tightTransf"])
def test_processes_learn_what_one_learns_from_all_their_pairs(kind):
    whole = captions([0, 1, 1, 2, 0])
    whole = whole._replace(video_id=torch.tensor([5, 6, 5]))

    def learn(method, batch):
        terms = method.losses(batch)
        terms["loss"].backward()
        return terms, {k: p.grad for k, p in method.named_parameters() if p.grad is not None}

    # Correlations of the nearly equal scores of a new student would magnify rounding.
    teaching = TeachingLoss(coarse_distance="cross_entropy")
    method = build(kind, teachers=[xclip()], teaching=teaching).eval()
    copies = [copy.deepcopy(method) for _ in range(2)]
    terms, grads = learn(method, whole)
    # Captions of a process stand together, so the order of captions differs: no term depends on it.
    shares = [share(whole, 0, 2), share(whole, 2, 3)]
    found = as_processes(lambda rank: learn(copies[rank], shares[rank]), len(shares))
    for told, _ in found:
        for name, value in terms.items():
            torch.testing.assert_close(told[name], value, atol=1e-5, rtol=1e-4)
    assert grads.keys() == found[0][1].keys() == found[1][1].keys()
    for name, grad in grads.items():
        mean = (found[0][1][name] + found[1][1][name]) / 2
        torch.testing.assert_close(mean, grad, atol=1e-5, rtol=1e-3, msg=lambda m, n=name: n + m)


def grads_of(method, batch):
    loss = method.losses(batch)["loss"]
    loss.backward()
    grads = {k: p.grad for k, p in method.named_parameters() if p.grad is not None}
    return loss.detach(), grads


@pytest.mark.parametrize(
    ("kind", "tuning"),
    [("afa", "full"), ("afa", "frozen"), ("meanP", "full"), ("tightTransf", "full")],
)
def test_parts_of_a_batch_learn_what_the_whole_learns(kind, tuning):
    batch = captions([0, 1, 1, 2, 0])
    settings = {"tuning": tuning, "text_tuning": tuning, "teachers": [xclip()]}
    # Correlations of the nearly equal scores of a new student would magnify rounding.
    settings["teaching"] = TeachingLoss(coarse_distance="cross_entropy")
    whole, parts = (build(kind, micro_batch=n, **settings).eval() for n in (None, 2))
    frames = []
    parts.backbone.visual.conv1.register_forward_hook(lambda *call: frames.append(len(call[1][0])))
    expected, found = grads_of(whole, batch), grads_of(parts, batch)
    torch.testing.assert_close(found[0], expected[0])
    assert found[1].keys() == expected[1].keys()
    for name, grad in expected[1].items():
        torch.testing.assert_close(found[1][name], grad, atol=1e-6, rtol=1e-4)
    assert max(frames) == 8  # two videos of four frames


def test_nothing_at_once_is_refused():
    with pytest.raises(ConfigurationError, match="micro_batch is 0: give 1 or more"):
        build(micro_batch=0)


def test_the_released_scaling_is_smaller_by_the_processes_but_for_the_temperature():
    batch, taught = captions([0, 1, 1, 2, 0]), [xclip()]
    shares = [share(batch, 0, 2), share(batch, 2, 3)]

    def mean(**settings):
        method = build(teachers=taught, **settings).eval()
        copies = [copy.deepcopy(method) for _ in shares]
        found = as_processes(lambda rank: grads_of(copies[rank], shares[rank])[1], len(shares))
        return {name: sum(grads[name] for grads in found) / 2 for name in found[0]}

    exact, released = mean(micro_batch=1), mean(exact_gather=False)
    for name, grad in exact.items():
        share_left = 1.0 if name.endswith("logit_scale") else 0.5
        torch.testing.assert_close(released[name], share_left * grad, atol=1e-5, rtol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_operations_of_reading_a_video_can_be_counted(kind):
    method, batch = build(kind), captions(ONE_EACH)
    counts = [count_multiply_adds(method, batch.video[:n], batch.video_mask[:n]) for n in (1, 2)]
    assert counts[1] == 2 * counts[0] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_precision_learns(kind):
    method, batch = build(kind, teachers=[xclip()]).train(), captions(ONE_EACH)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = method.losses(batch)["loss"]
    assert found.dtype == torch.float32
    found.backward()
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.grad is not None)
