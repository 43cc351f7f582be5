import logging

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from tests.unit.callbacks.toy import ToyData, ToyRecogniser, quick_trainer
from video_adapt.backbones import VideoMAE, VideoMAEConfig
from video_adapt.batches import CaptionBatch
from video_adapt.callbacks import Cost, count_multiply_adds
from video_adapt.methods import AdaTAD

BLOCK = {"d_model": 32, "nhead": 4, "dim_feedforward": 64, "batch_first": True}


def block_multiply_adds(n: int, d: int = 32, hidden: int = 64) -> int:
    return n * d * 3 * d + 2 * n * n * d + n * d * d + 2 * n * d * hidden


def test_counts_attention_that_runs_fused():
    layer = nn.TransformerEncoderLayer(**BLOCK)
    assert count_multiply_adds(layer, torch.zeros(1, 10, 32)) == block_multiply_adds(10)


def test_counts_the_same_under_inference_mode():
    layer = nn.TransformerEncoderLayer(**BLOCK).eval()
    with torch.inference_mode():
        assert count_multiply_adds(layer, torch.zeros(1, 10, 32)) == block_multiply_adds(10)


def test_counting_leaves_no_trace():
    network = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    network[1].eval()
    state = torch.get_rng_state()
    count_multiply_adds(network, torch.randn(3, 4, generator=torch.Generator().manual_seed(0)))
    assert [m.training for m in network] == [True, False, True]
    assert network[0].num_batches_tracked == 0
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.backends.mha.get_fastpath_enabled()


def really_counted(network, *inputs):
    """The same figure from a pass that computes."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        network(*inputs)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("tuning", ["adapter", "side", "full"])
def test_a_window_is_counted_as_if_it_were_computed(tuning):
    small = VideoMAEConfig("small", 24, 2, 3, 48, patch_size=4, chunk_frames=4, table_size=16)
    model = VideoMAE.from_config(small, recompute="always").requires_grad_(False)
    method = AdaTAD(model, class_names=["a", "b"], tuning=tuning).eval()
    given = torch.zeros(1, 16, 3, 16, 16), torch.ones(1, 16, dtype=torch.bool)
    assert count_multiply_adds(method, *given) == really_counted(method, *given)


def test_counting_takes_no_memory():
    with torch.device("meta"):
        linear = nn.Linear(100_000, 100_000)  # 40 GB
        video = torch.empty(1, 100_000)
    assert count_multiply_adds(linear, video) == 10**10


def test_what_is_recomputed_counts_once():
    class Recomputed(nn.Linear):
        def forward(self, video):
            return checkpoint(super().forward, video, use_reentrant=False)

    assert count_multiply_adds(Recomputed(4, 3), torch.zeros(1, 4)) == 4 * 3


def test_what_a_module_keeps_is_not_kept_from_counting():
    class Keeper(nn.Linear):
        kept = None

        def forward(self, video):
            if self.kept is None:
                self.kept = super().forward(video).detach()
            return self.kept

    network = Keeper(4, 3)
    assert count_multiply_adds(network, torch.zeros(1, 4)) == 4 * 3
    assert network.kept is None


class Clock:
    """A time that passes where it is told to."""

    now_s = 0.0

    def perf_counter(self):
        return self.now_s

    def sleep(self, duration_s):
        self.now_s += duration_s


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("video_adapt.callbacks.cost.time", clock)
    monkeypatch.setattr("tests.unit.callbacks.toy.time", clock)
    return clock


def test_tells_waiting_from_computing(tmp_path, caplog, clock):
    class Slow(ToyRecogniser):
        def training_step(self, batch, batch_idx):
            clock.sleep(0.06)
            return super().training_step(batch, batch_idx)

    trainer = quick_trainer(tmp_path, Cost())
    with caplog.at_level(logging.INFO):
        trainer.fit(Slow(), ToyData([0] * 40, [0] * 20, wait_s=0.03))
    metrics = trainer.callback_metrics
    assert metrics["cost/step_ms"] == pytest.approx(60)
    assert metrics["data/wait_share"] == pytest.approx(1 / 3)
    assert "waited for data" in caplog.text


def test_logs_parameters_and_multiply_adds_of_one_view(tmp_path):
    table = CSVLogger(tmp_path)
    trainer = quick_trainer(tmp_path, Cost(), logger=table)
    trainer.fit(ToyRecogniser(), ToyData([0] * 8, [0] * 4))
    text = (tmp_path / "lightning_logs/version_0/metrics.csv").read_text()
    header, *rows = [line.split(",") for line in text.splitlines()]
    logged = {
        name: float(value) for row in rows for name, value in zip(header, row, strict=True) if value
    }
    assert logged["cost/trained_parameters"] == 9
    assert logged["cost/total_parameters"] == 18
    assert logged["cost/multiply_adds"] == 18


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_counts_in_a_run_that_does_not_train(tmp_path, stage):
    cost = Cost()
    trainer = quick_trainer(tmp_path, cost)
    getattr(trainer, stage)(ToyRecogniser(), ToyData([0] * 4, [0] * 2), verbose=False)
    assert cost.multiply_adds == 18


def test_a_parameter_may_be_the_argument_of_a_module():
    class Query(nn.Module):
        def __init__(self):
            super().__init__()
            self.query = nn.Parameter(torch.ones(1, 4))
            self.linear = nn.Linear(4, 3)

        def forward(self, video):
            return self.linear(self.query) + video.sum()

    assert count_multiply_adds(Query(), torch.zeros(1)) == 4 * 3


def test_a_captioned_video_is_counted_alone_and_with_its_mask():
    class Reader(nn.Linear):
        def forward(self, video, mask):
            return super().forward(video.mean((1, 3, 4)) * mask.any(dim=1, keepdim=True))

    video, mask = torch.zeros(3, 2, 4, 5, 5), torch.ones(3, 2, dtype=torch.bool)
    ids = torch.arange(3)
    cost, trainer = Cost(), quick_trainer(None)
    batch = CaptionBatch(video, mask, torch.zeros(3, 7, dtype=torch.int64), ids, ids, ids)
    cost.on_validation_batch_end(trainer, Reader(4, 6), None, batch, 0)
    assert cost.multiply_adds == 4 * 6


def test_a_module_in_two_places_keeps_its_weights():
    """As a model whose original is the model itself."""
    twice = nn.Module()
    twice.first = nn.Linear(3, 2)
    twice.second = nn.ModuleDict({"first": twice.first})
    twice.forward = lambda x: twice.second["first"](x)
    weight = twice.first.weight
    assert count_multiply_adds(twice, torch.zeros(1, 3)) == 6
    assert twice.first.weight is weight
