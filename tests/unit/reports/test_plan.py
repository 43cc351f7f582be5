"""A plan: what is alive in a step, what fits, and in which words it is said."""

from collections import Counter

import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode

from video_adapt.errors import ConfigurationError
from video_adapt.reports.plan import _chosen
from video_adapt.reports.plan_measure import Measured
from video_adapt.reports.plan_memory import LiveBytes, StepNeeds, Work
from video_adapt.reports.plan_operations import Operation
from video_adapt.reports.plan_rates import Rates, Stopwatch
from video_adapt.reports.plan_rows import PlanRow, largest_batch
from video_adapt.reports.plan_step import Precision, RowsInMemory
from video_adapt.reports.plan_table import render, verdict

NEEDS = StepNeeds(
    weights=2 * 10**9,
    gradients=10**9,
    optimizer=2 * 10**9,
    batch=10**9,
    activations=4 * 10**9,
    peak=10 * 10**9,
    trained=250_000_000,
    work=Work(10**12, 10**11, 1000, Counter()),
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
    work = live.work()
    assert work.multiply_adds == 6 * 5 * 4
    assert work.moved == 2 * 6 * 4 * 4
    assert sum(work.operations.values()) == work.calls == 2


def test_attention_is_counted_on_the_cpu_too(empty):
    q = empty(1, 2, 5, 4)
    with LiveBytes() as live:
        nn.functional.scaled_dot_product_attention(q, q, q)
    assert live.work().multiply_adds == 2 * (1 * 2 * 5 * 5 * 4)


def test_what_only_looks_at_memory_in_another_way_is_a_call_and_no_more(empty):
    x = empty(6, 5)
    with LiveBytes() as live:
        live.watch([x])
        x.t()
    assert live.calls == 1
    assert not live.operations


def recorded(function, *tensors):
    with LiveBytes() as live:
        function(*tensors)
    (operation,) = live.operations
    return operation


def test_an_operation_is_repeated_on_tensors_of_the_same_layout(empty):
    operation = recorded(torch.add, empty(6, 5).t(), empty(5, 1))
    (x, y), kwargs = operation.arguments("cpu")
    assert (x.shape, x.stride()) == ((5, 6), (1, 5))
    assert (y.shape, y.stride(), y.dtype) == ((5, 1), (1, 1), torch.float32)
    assert operation.func(x, y, **kwargs).shape == (5, 6)


def test_a_smaller_product_has_less_of_the_batch_in_both_factors(empty):
    gradient = recorded(torch.mm, empty(4000, 30).t(), empty(4000, 20))
    left, right = gradient.smaller(10).arguments("cpu")[0]
    assert (left.shape, right.shape) == ((30, 400), (400, 20))


def test_a_smaller_operation_shrinks_the_first_size_wherever_it_stands(empty):
    def back(gradient):
        return torch.ops.aten.select_backward(gradient, [100, 2, 3], 1, 0)

    smaller = recorded(back, empty(100, 3)).smaller(10)
    args, kwargs = smaller.arguments("cpu")
    assert args[0].shape == (10, 3)
    assert smaller.func(*args, **kwargs).shape == (10, 2, 3)


def test_what_a_graph_may_keep_is_told_from_what_is_given_back(empty):
    x = empty(3).requires_grad_()
    assert recorded(torch.exp, x).stays
    with torch.no_grad():
        assert not recorded(torch.exp, x).stays


def test_numbers_of_something_are_zeros(empty):
    table = empty(7, 3)
    operation = recorded(nn.functional.embedding, torch.tensor([5, 6]), table)
    args, _ = operation.arguments("cpu")
    assert [x.tolist() for x in args if isinstance(x, torch.Tensor) and x.ndim == 1] == [[0, 0]]


def test_a_mask_that_is_known_picks_as_many_as_are_true(empty):
    x = empty(6, 3)
    with LiveBytes():
        assert x[torch.tensor([True, False, True, True, False, False])].shape == (3, 3)


def test_of_an_unknown_mask_all_may_be_true(empty):
    x = empty(6, 3)
    with LiveBytes():
        assert x[x.sum(dim=1) > 0].shape == (6, 3)


def test_at_full_speed_an_operation_takes_what_it_multiplies_or_moves():
    rates = Rates(10**12, 10**11)
    product = Operation(None, (), None, 2 * 10**12, 0, False)
    assert rates.seconds(product) == 1.0
    assert rates.seconds(product._replace(flops=0, moved=10**11)) == 1.0


class Ticks:
    """A clock on which every look takes a second."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1
        return self.now


def test_a_step_takes_its_operations_its_calls_and_what_every_step_does(empty):
    rates = Rates(1e15, 1e15, call_s=0.5, step_s=100.0)
    watch = Stopwatch("cpu", rates, clock=Ticks())
    operation = recorded(torch.add, empty(2), empty(2))
    one = Work(0, 24, 7, Counter({operation: 3}))
    assert watch.seconds(one) == 100 + 3 * 1 + 7 * 0.5


def test_what_would_take_long_is_tried_small_and_counted_whole(empty):
    operation = recorded(torch.add, empty(1000, 4), empty(1000, 4))
    watch = Stopwatch("cpu", Rates(1e15, operation.moved / 0.2), clock=Ticks())
    assert watch.seconds(Work(0, 0, 0, Counter({operation: 1}))) == 10.0


def test_what_cannot_be_tried_takes_its_time_at_full_speed_and_is_named(empty):
    def broken(*args, **kwargs):
        raise RuntimeError

    watch = Stopwatch("cpu", Rates(1e15, 100.0), clock=Ticks())
    operation = recorded(torch.add, empty(2), empty(2))._replace(func=broken)
    assert watch.seconds(Work(0, 0, 0, Counter({operation: 1}))) == operation.moved / 100
    assert len(watch.untried) == 1


def test_a_cache_of_a_teacher_is_filled_by_the_first_step_and_read_by_the_next():
    asked, cache, ids = [], RowsInMemory(), torch.tensor([7, 9])

    def encode(at):
        asked.append(at.tolist())
        return {"x": at.float()}

    first, second = cache.fetch("video", ids, encode), cache.fetch("video", ids, encode)
    assert first["x"].tolist() == second["x"].tolist() == [0, 1]
    assert first["x"] is not second["x"]
    assert asked == [[0, 1]]
    cache.forget()
    cache.fetch("video", ids, encode)
    assert len(asked) == 2


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


def test_what_the_first_epoch_takes_for_caches_of_teachers_is_said():
    text = verdict(ROW._replace(filling_s=3.5, words=()), None, [])
    assert "the first epoch fills the caches of teachers, 3.5 s a step" in text


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
