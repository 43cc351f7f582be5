"""A plan: what is alive in a step, what fits, and in which words it is said."""

import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode

from video_adapt.errors import ConfigurationError
from video_adapt.reports.plan import _chosen
from video_adapt.reports.plan_measure import Measured
from video_adapt.reports.plan_memory import LiveBytes, StepNeeds
from video_adapt.reports.plan_rates import Rates, benchmark
from video_adapt.reports.plan_rows import PlanRow, largest_batch
from video_adapt.reports.plan_step import Precision
from video_adapt.reports.plan_table import render, verdict

NEEDS = StepNeeds(
    weights=2 * 10**9,
    gradients=10**9,
    optimizer=2 * 10**9,
    batch=10**9,
    activations=4 * 10**9,
    peak=10 * 10**9,
    multiply_adds=10**12,
    moved=10**11,
    trained=250_000_000,
)
ROW = PlanRow("full", ("--model.init_args.tuning=full",), None, 8, NEEDS, 2.0)


@pytest.fixture
def empty():
    """Makes tensors without content."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)

    def make(*shape):
        with mode:
            return torch.empty(shape)

    return make


def test_what_is_freed_no_longer_counts_but_the_peak_remembers_it(empty):
    x = empty(100)
    with LiveBytes() as live:
        live.watch([x])
        first = x + 1
        second = first + 1
        del first
        third = second.view(10, 10)  # the same memory
    assert third.shape == (10, 10)
    assert live.now == 2 * 400
    assert live.peak == 3 * 400


def test_a_restart_forgets_the_peak_and_keeps_what_is_alive(empty):
    x = empty(100)
    with LiveBytes() as live:
        live.watch([x])
        x + 1
        live.restart()
    assert live.peak == live.now == 400


def test_activations_stay_until_backward_has_used_them(empty):
    layer = nn.Linear(10, 10, bias=False)
    layer.weight = nn.Parameter(empty(10, 10))
    x = empty(50, 10)
    with LiveBytes() as live:
        live.watch([x, layer.weight])
        standing = live.now
        hidden = layer(layer(x))
        kept = live.now - standing
        total = hidden.sum()
        del hidden
        total.backward()
        del total
    assert kept == 2 * 50 * 10 * 4  # the inner result is kept for the outer gradient
    assert live.now == standing + 10 * 10 * 4  # the gradient alone is new


def test_products_are_counted_and_everything_else_is_moved(empty):
    x, w = empty(6, 5), empty(5, 4)
    with LiveBytes() as live:
        y = x @ w
        y + 1
    assert live.flops == 2 * 6 * 5 * 4
    assert live.moved == 2 * 6 * 4 * 4


def test_attention_is_counted_on_the_cpu_too(empty):
    q = empty(1, 2, 5, 4)
    with LiveBytes() as live:
        nn.functional.scaled_dot_product_attention(q, q, q)
    assert live.flops == 2 * 2 * (1 * 2 * 5 * 5 * 4)


def test_a_mask_that_is_known_picks_as_many_as_are_true(empty):
    x = empty(6, 3)
    with LiveBytes():
        assert x[torch.tensor([True, False, True, True, False, False])].shape == (3, 3)


def test_of_an_unknown_mask_all_may_be_true(empty):
    x = empty(6, 3)
    with LiveBytes():
        assert x[x.sum(dim=1) > 0].shape == (6, 3)


def test_time_is_that_of_products_and_of_everything_else():
    assert Rates(10**12, 10**11).seconds(NEEDS) == 2.0


def test_a_device_is_measured():
    rates = benchmark("cpu", "32-true")
    assert 1e8 < rates.multiply_adds < 1e14
    assert 1e7 < rates.moved < 1e14


@pytest.mark.parametrize(
    ("name", "weights", "inside"),
    [
        ("32-true", torch.float32, torch.float32),
        ("bf16-true", torch.bfloat16, torch.bfloat16),
        ("bf16-mixed", torch.float32, torch.bfloat16),
        ("16-mixed", torch.float32, torch.float16),
    ],
)
def test_precision_says_of_what_type_weights_and_products_are(name, weights, inside):
    setting = Precision(name, "cpu")
    assert setting.dtype == weights
    x = torch.ones(2, 2, dtype=setting.dtype)
    with setting.context():
        assert (x @ x).dtype == inside


@pytest.mark.parametrize("size", [1, 8, 100])
@pytest.mark.parametrize("limit", [1000, 1015, 5000])
def test_the_largest_batch_is_that_of_trying_all(size, limit):
    def peak(batch):
        return 500 + 10 * batch

    tried = max(batch for batch in range(1, 500) if peak(batch) <= limit)
    assert largest_batch(peak, limit, size) == tried


def test_a_peak_that_grows_faster_than_a_line_brings_the_batch_down():
    def peak(batch):
        return batch**2

    found = largest_batch(peak, 1000, 8)
    assert peak(found) <= 1000
    assert found >= 30


def test_where_no_sample_fits_the_largest_batch_is_none():
    assert largest_batch(lambda batch: 500 + 10 * batch, 505, 8) == 0


def test_what_fits_says_how_much_more_would():
    row = ROW._replace(largest_batch=17)
    text = verdict(row, 24 * 10**9, [row])
    assert text == (
        "full: fits: 10 GB, within the 21.6 GB that tensors may take of 24 GB; batches up to 17; "
        "add --model.init_args.tuning=full"
    )


def test_what_does_not_fit_names_the_batch_that_does():
    row = ROW._replace(largest_batch=3, words=())
    text = verdict(row, 8 * 10**9, [row])
    assert text.startswith("full: does not fit: 10 GB, more than the 7.2 GB")
    assert text.endswith("--data.loader.batch_size=3 --trainer.accumulate_grad_batches=3")


def test_where_nothing_fits_the_thriftiest_regime_is_named():
    row = ROW._replace(largest_batch=0)
    frozen = ROW._replace(regime="frozen", needs=NEEDS._replace(peak=10**9))
    text = verdict(row, 2 * 10**9, [row, frozen])
    assert "not even a single sample" in text
    assert text.endswith("or frozen, which needs least (1 GB)")


def test_a_measured_step_overrules_the_predicted_one():
    assert ROW._replace(measured=Measured(10**9, 2 * 10**9, 1.0)).peak == 10**9


def test_a_regime_that_cannot_be_had_says_why_and_is_in_no_row():
    row = PlanRow("side", (), "wants another adapter", 8)
    text = render([ROW, row], title="t", memory=None, devices=1)
    assert "- side: not possible: wants another adapter" in text
    assert "| side" not in text


def test_the_table_counts_the_hours_of_all_devices():
    row = ROW._replace(epoch_s=3600.0, run_s=36000.0)
    text = render([row], title="t", memory=None, devices=4)
    assert "| full | 250.00 | 2 | 3 | 4 | 10 | - | 2 | - | 1 | 40 |" in text


def test_an_unknown_regime_is_refused_with_the_known_ones():
    with pytest.raises(ConfigurationError, match="no regime hull; choose among"):
        _chosen([], ["hull"], "x.yaml")
