"""Every way to detect, in every form that experiment files give it, keeps the same promises."""

import pytest
import torch

from tests.contracts.helpers import load, save, tiny_clip
from video_adapt import baselines, methods
from video_adapt.backbones import VideoMAE, VideoMAEConfig
from video_adapt.baselines import FeatureDetector
from video_adapt.batches import SegmentBatch
from video_adapt.callbacks.cost import count_multiply_adds
from video_adapt.detection import GTAD, SGP, ActionFormer, Assignment, Pyramid, Towers, TriDet
from video_adapt.errors import WeightsError
from video_adapt.methods import AdaTAD
from video_adapt.tasks import DetectionOptimizerSpec, DetectionTask, WarmupCosine, frozen_names

CLASSES = ["walking", "running", "jumping"]
RECIPE = DetectionOptimizerSpec(
    lr=1e-2, adapter_lr=1e-2, backbone_lr=1e-2, schedule=WarmupCosine(max_epochs=10)
)
POSITIONS, CHUNK = 16, 4
SMALL = VideoMAEConfig(
    "small", width=24, depth=3, heads=3, hidden=48, patch_size=4, chunk_frames=CHUNK, table_size=16
)
PYRAMID = Pyramid(width=16, embed_layers=1, stem_layers=1, levels=2, max_length=POSITIONS)
RANGES = Assignment(ranges=((0, 4), (4, 10000)))
SHARED = {"pyramid": PYRAMID, "towers": Towers(width=16, layers=1), "assignment": RANGES}
HEADS = {
    "actionformer": ActionFormer(**SHARED, heads=2),
    "windowed": ActionFormer(**SHARED, heads=2, windows=3),
    "tridet": TriDet(**SHARED, sgp=SGP(mlp_width=16), bins=4),
    "gtad": GTAD(positions=POSITIONS, max_duration=8, hidden=32, map_width=16, confidence_width=16),
}


def video_model(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return VideoMAE.from_config(SMALL)


def adatad(head="actionformer", model=video_model, **settings):
    def build(seed=0):
        return AdaTAD(
            model(seed), class_names=CLASSES, detector=HEADS[head], optimizer=RECIPE, **settings
        )

    return build


def image_model(seed):
    return tiny_clip(seed=seed)


def on_features(head):
    return lambda seed=0: FeatureDetector(
        class_names=CLASSES, width=24, detector=HEADS[head], optimizer=RECIPE
    )


BUILDERS = {
    "adapter": adatad(),
    "side": adatad(tuning="side"),
    "frozen": adatad(tuning="frozen"),
    "last_n": adatad(tuning="last_n", last_n=1),
    "full": adatad(tuning="full"),
    "windowed": adatad("windowed"),
    "tridet": adatad("tridet"),
    "gtad": adatad("gtad"),
    "image_model_adapter": adatad(model=image_model),
    "image_model_side": adatad(model=image_model, tuning="side"),
    "image_model_full": adatad(model=image_model, tuning="full"),
    "image_model_last_n": adatad(model=image_model, tuning="last_n", last_n=1),
    "features_actionformer": on_features("actionformer"),
    "features_tridet": on_features("tridet"),
    "features_gtad": on_features("gtad"),
}


@pytest.fixture(params=BUILDERS.values(), ids=BUILDERS.keys())
def build(request):
    torch.manual_seed(0)
    return request.param


def has_backbone(method):
    return hasattr(method, "backbone")


def windows(method, count=2, *, empty=False):
    """Windows of which the second ends early; with an event in each, or with none."""
    noise = torch.Generator().manual_seed(1)
    shape = (count, POSITIONS, 3, 16, 16) if has_backbone(method) else (count, POSITIONS, 24)
    mask = torch.ones(count, POSITIONS, dtype=torch.bool)
    mask[1:, 12:] = False
    segments = [torch.tensor([[1.0, 5.0], [6.0, 11.5]]) for _ in range(count)]
    labels = [torch.tensor([0, 2]) for _ in range(count)]
    rows = torch.arange(count)
    return SegmentBatch(
        video=torch.randn(shape, generator=noise),
        mask=mask,
        segments=[torch.zeros(0, 2)] * count if empty else segments,
        labels=[torch.zeros(0, dtype=torch.long)] * count if empty else labels,
        video_id=rows,
        window=torch.zeros_like(rows),
        offset_s=torch.zeros(count, dtype=torch.float64),
        step_s=torch.full((count,), 0.5, dtype=torch.float64),
        duration_s=torch.full((count,), 7.0, dtype=torch.float64),
    )


def loss(method, batch):
    """The training step without a trainer to log to."""
    method.log = method.log_dict = lambda *_, **__: None
    return method.training_step(batch, 0)


def train(method, steps=3):
    method.train()
    optimizer = torch.optim.AdamW(method.parameter_groups(RECIPE))
    for _ in range(steps):
        optimizer.zero_grad()
        loss(method, windows(method)).backward()
        optimizer.step()


def test_no_detector_is_left_out():
    classes = {type(build()) for build in BUILDERS.values()}
    listed = [getattr(room, name) for room in (methods, baselines) for name in room.__all__]
    assert classes == {kind for kind in listed if issubclass(kind, DetectionTask)}


def test_windows_become_detections_in_seconds(build):
    method = build().eval()
    found = method.predict_step(windows(method))
    assert found.segments.shape == (len(found.scores), 2)
    assert (found.segments >= 0).all()
    assert (found.segments <= 7.0).all()
    assert set(found.video_id.tolist()) <= {0, 1}
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    final = method.finish(found)
    assert len(final.scores) <= len(found.scores)


def test_a_window_is_judged_alone(build):
    method = build().eval()
    given = windows(method)
    together = method.head.candidates(method(given.video, given.mask))
    for i, found in enumerate(together):
        (alone,) = method.head.candidates(method(given.video[i : i + 1], given.mask[i : i + 1]))
        torch.testing.assert_close(alone.scores, found.scores, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(alone.segments, found.segments, rtol=1e-3, atol=1e-3)


def test_frozen_weights_and_buffers_are_bit_identical_after_training(build):
    method = build()
    names = frozen_names(method)
    before = {k: v.clone() for k, v in method.state_dict().items()}
    train(method)
    assert all(torch.equal(method.state_dict()[k], before[k]) for k in names)


def test_every_trained_parameter_gets_a_gradient(build):
    method = build()
    train(method, steps=2)  # the adapters start as an identity
    trained = {k: p for k, p in method.named_parameters() if p.requires_grad}
    assert [k for k, p in trained.items() if p.grad is None] == []


def test_the_optimiser_holds_what_trains_once(build):
    method = build()
    held = [p for group in method.parameter_groups(RECIPE) for p in group["params"]]
    trained = [p for p in method.parameters() if p.requires_grad]
    assert sorted(map(id, held)) == sorted(map(id, trained))


def test_windows_without_events_give_a_finite_loss_with_a_graph(build):
    method = build().train()
    value = loss(method, windows(method, empty=True))
    assert value.isfinite()
    value.backward()
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.grad is not None)


def test_a_checkpoint_holds_what_trains_and_restores_the_rest(build):
    method = build()
    train(method)
    checkpoint = save(method)
    kept = set(method.state_dict()) - frozen_names(method)
    assert checkpoint["state_dict"].keys() == kept
    torch.manual_seed(1)
    other = build()
    load(other, checkpoint)
    given = windows(method)
    ours, theirs = (m.eval().predict_step(given) for m in (method, other))
    assert torch.equal(ours.scores, theirs.scores)
    assert torch.equal(ours.segments, theirs.segments)


@pytest.mark.parametrize("form", ["adapter", "frozen", "image_model_side"])
def test_a_checkpoint_refuses_another_backbone(form):
    checkpoint = save(BUILDERS[form]())
    with pytest.raises(WeightsError, match="was trained on backbone"):
        load(BUILDERS[form](seed=1), checkpoint)


def test_calibration_travels_with_the_checkpoint():
    method = BUILDERS["adapter"]()
    method.calibration = {"overall": {"0.90": 0.4}}
    other = BUILDERS["adapter"]()
    load(other, save(method))
    assert other.calibration == {"overall": {"0.90": 0.4}}


def test_its_operations_can_be_counted(build):
    method = build()
    given = windows(method, 1)
    assert count_multiply_adds(method, given.video, given.mask) > 0


def test_mixed_precision_trains(build):
    method = build().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(method, windows(method))
    assert value.isfinite()
    value.backward()
    grads = [p.grad for p in method.parameters() if p.grad is not None]
    assert all(grad.isfinite().all() for grad in grads)
