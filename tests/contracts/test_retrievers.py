"""Every retriever, in every form that experiment files give it, keeps a retriever's promises."""

import pytest
import torch

from tests.contracts.helpers import load, save
from tests.unit.methods.captioned_clips import captioning_clip, captions
from video_adapt import methods
from video_adapt.adapters import STAdapter, TokenShift
from video_adapt.callbacks.cost import count_multiply_adds
from video_adapt.errors import WeightsError
from video_adapt.methods import TeachCLIP, TeacherRetriever
from video_adapt.methods.teachclip import StudentSpec
from video_adapt.metrics import RetrievalRecall
from video_adapt.retrieval.teachers import XCLIP, CLIP4ClipTeacher, TS2Net, XPool
from video_adapt.tasks import BertCosine, RetrievalOptimizerSpec, RetrievalTask, frozen_names

SPEC = RetrievalOptimizerSpec(lr=1e-2, tower_lr=1e-2, pooling_lr=1e-2, schedule=BertCosine())
BLOCKS = {"layers": 1, "heads": 2, "positions": 8}


def student(kind="afa", **settings):
    spec = StudentSpec(kind=kind, layers=1)
    return lambda backbone: TeachCLIP(backbone, student=spec, optimizer=SPEC, **settings)


def teacher(kind, *sizes, adapter=None, tuning="full", text_tuning="full", **settings):
    return lambda backbone: TeacherRetriever(
        backbone,
        kind(16, *sizes, **settings),
        optimizer=SPEC,
        tuning=tuning,
        text_tuning=text_tuning,
        adapter=adapter,
    )


BUILDERS = {
    "afa": student(),
    "meanP": student("meanP"),
    "seqTransf": student("seqTransf"),
    "seqLSTM": student("seqLSTM"),
    "tightTransf": student("tightTransf"),
    "afa_frozen": student(tuning="frozen", text_tuning="frozen"),
    "afa_blocks": student(tuning="last_n", last_n=2, text_tuning="blocks"),
    "afa_adapted": student(tuning="adapter", adapter=STAdapter(width=4), text_tuning="frozen"),
    "xclip": teacher(XCLIP, words=6, frames=4, **BLOCKS),
    "ts2net": teacher(TS2Net, samples=20, **BLOCKS),
    "ts2net_shift": teacher(TS2Net, adapter=TokenShift(last_blocks=1, divisor=2), **BLOCKS),
    "xpool": teacher(XPool),
    "xpool_frozen": teacher(XPool, tuning="frozen", text_tuning="frozen"),
    "clip4clip": teacher(CLIP4ClipTeacher, **BLOCKS),
    "clip4clip_lstm": teacher(CLIP4ClipTeacher, header="seqLSTM"),
    "clip4clip_attentive": teacher(CLIP4ClipTeacher, attentive=True, **BLOCKS),
}


@pytest.fixture(params=BUILDERS.values(), ids=BUILDERS.keys())
def build(request):
    def seeded(backbone):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return request.param(backbone)

    return seeded


def train(method, *, steps=2):
    method.train()
    optimizer = torch.optim.AdamW(method.parameter_groups(SPEC))
    for step in range(steps):
        optimizer.zero_grad()
        method.losses(captions([0, 1, 2], seed=step))["loss"].backward()
        optimizer.step()


def scores(method, rows=(0, 1, 2, 1)):
    found = method.eval().predict_step(captions(list(rows)))
    return method.similarity(found.text, found.video)


def test_no_method_is_left_out():
    classes = {type(build(captioning_clip())).__name__ for build in BUILDERS.values()}
    listed = [getattr(methods, name) for name in methods.__all__]
    assert classes == {kind.__name__ for kind in listed if issubclass(kind, RetrievalTask)}


def test_every_caption_is_compared_with_every_video(build):
    found = scores(build(captioning_clip()))
    assert found.shape == (4, 3)
    assert found.dtype == torch.float32
    assert found.std() > 0


def test_a_video_is_read_alone(build):
    method, batch = build(captioning_clip()).eval(), captions([0, 1, 2])
    text = method.read_captions(batch.tokens)
    together = method.similarity(text, method(batch.video, batch.video_mask))
    for n in range(3):
        alone = method(batch.video[n : n + 1], batch.video_mask[n : n + 1])
        torch.testing.assert_close(
            method.similarity(text, alone), together[:, n : n + 1], atol=1e-4, rtol=1e-4
        )


@torch.no_grad()
def test_the_evaluation_ranks_by_its_similarity(build):
    method, batch = build(captioning_clip()).eval(), captions([0, 1, 2])
    metric = RetrievalRecall(method.similarity)
    metric.update(method.predict_step(batch))
    own = scores(method, (0, 1, 2))
    places = 1 + (own > own.diagonal()[:, None]).sum(dim=1)
    assert metric.compute().plain.t2v.ranking.rank.tolist() == places.tolist()


def test_frozen_weights_are_bit_identical_after_training(build):
    method = build(captioning_clip())
    names = frozen_names(method)
    before = {k: v.clone() for k, v in method.state_dict().items()}
    train(method)
    after = method.state_dict()
    assert all(torch.equal(after[k], before[k]) for k in names)
    same = {k for k in before.keys() - names if torch.equal(after[k], before[k])}
    # A softmax does not see an offset, so these have a gradient of rounding at most.
    assert all(k.endswith(("pooling.score.bias", "key.bias")) for k in same)


def test_every_trained_parameter_gets_a_gradient(build):
    method = build(captioning_clip())
    train(method, steps=1)
    idle = [k for k, p in method.named_parameters() if p.requires_grad and p.grad is None]
    assert idle == []


def test_the_optimiser_holds_what_trains_once(build):
    method = build(captioning_clip())
    held = [p for group in method.parameter_groups(SPEC) for p in group["params"]]
    assert sorted(map(id, held)) == sorted(id(p) for p in method.parameters() if p.requires_grad)


def test_a_temperature_moves_at_the_rate_of_the_towers(build):
    method = build(captioning_clip())
    scales = {id(p) for k, p in method.named_parameters() if k.endswith("logit_scale")}
    for group in method.parameter_groups(SPEC):
        if scales & {id(p) for p in group["params"]}:
            assert group["name"] == "towers/decay"


def test_a_frozen_backbone_builds_no_graph(build):
    method = build(captioning_clip()).train()
    trains = any(p.requires_grad for p in method.backbone.parameters())
    assert method.encode(captions([0, 1]).video).tokens.requires_grad == trains


def test_a_checkpoint_holds_what_trains_and_restores_the_rest(build):
    method = build(captioning_clip())
    train(method)
    checkpoint = save(method)
    trained = {k for k, p in method.named_parameters() if p.requires_grad}
    assert checkpoint["state_dict"].keys() == trained
    other = build(captioning_clip())
    load(other, checkpoint)
    assert torch.equal(scores(other), scores(method))


def test_a_checkpoint_refuses_another_backbone(build):
    method = build(captioning_clip())
    if frozen_names(method) <= {"backbone.towers.logit_scale"}:
        pytest.skip("the towers train: the checkpoint brings its own")
    with pytest.raises(WeightsError, match="was trained on backbone 'tiny'"):
        load(build(captioning_clip(seed=1)), save(method))


def test_operations_can_be_counted(build):
    method, batch = build(captioning_clip()), captions([0, 1, 2])
    with torch.no_grad():
        assert count_multiply_adds(method, batch.video[:1], batch.video_mask[:1]) > 0


def test_mixed_precision_trains(build):
    method = build(captioning_clip()).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = method.losses(captions([0, 1, 2]))["loss"]
    assert loss.dtype == torch.float32
    loss.backward()
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.grad is not None)
