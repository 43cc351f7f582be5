import pytest
import torch

from video_adapt.errors import ConfigurationError, WeightsError
from video_adapt.retrieval.index_vectors import PackedVectors, pack, precision_loss, unit


def vectors_of(number, *, width=16, seed=0):
    return torch.randn(number, width, generator=torch.Generator().manual_seed(seed))


def filled(vectors, precision, *, block_rows=8):
    packed = PackedVectors(vectors.shape[1], precision, block_rows=block_rows)
    for few in vectors.split(5):  # parts that straddle the blocks
        packed.append(pack(few, precision))
    return packed


def test_unit_vectors_have_norm_one_however_long_they_were():
    vectors = vectors_of(4) * torch.tensor([1e-30, 1.0, 7.0, 1e30])[:, None]
    assert torch.allclose(unit(vectors, 16).norm(dim=1), torch.ones(4))


@pytest.mark.parametrize("value", [0.0, torch.nan, torch.inf])
def test_a_vector_without_direction_is_named(value):
    vectors = vectors_of(3)
    vectors[1] = value
    with pytest.raises(WeightsError, match="vector 1 is zero or not finite"):
        unit(vectors, 16)


@pytest.mark.parametrize("shape", [(16,), (2, 15)])
def test_another_width_is_refused(shape):
    with pytest.raises(ConfigurationError, match="width 16"):
        unit(torch.ones(shape), 16)


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
@pytest.mark.parametrize("number", [1, 8, 27])
def test_a_search_equals_sorting_all_scores_of_the_stored_vectors(precision, number):
    packed = filled(unit(vectors_of(number), 16), precision)
    stored = packed.take(torch.arange(number))
    values = stored.vectors.float() * stored.scales[:, None]
    queries = unit(vectors_of(300, seed=1), 16)
    allowed = torch.arange(number) % 3 == 0
    k = min(5, int(allowed.sum()))
    scores, rows = packed.search(queries, k, allowed)
    every = (queries @ values.T).masked_fill(~allowed, -torch.inf)
    order = every.argsort(dim=1, descending=True)[:, :k]
    assert torch.equal(rows, order)
    assert torch.allclose(scores, every.gather(1, order), atol=1e-6)


def test_taken_rows_are_those_that_were_appended():
    vectors = unit(vectors_of(27), 16)
    rows = torch.tensor([0, 7, 8, 9, 23, 26])
    assert torch.equal(filled(vectors, "float32").take(rows).vectors, vectors[rows])


def test_int8_keeps_the_direction_and_the_norm():
    vectors = unit(vectors_of(6), 16)
    packed = pack(vectors, "int8")
    assert packed.vectors.abs().amax(dim=1).tolist() == [127] * 6
    stored = packed.vectors * packed.scales[:, None]
    assert torch.allclose(stored.norm(dim=1), torch.ones(6))
    half_step = vectors.abs().amax(dim=1, keepdim=True) / 127 / 2
    assert ((stored - vectors).abs() <= 1.5 * half_step).all()


def test_the_loss_of_a_precision_is_that_of_its_scores():
    vectors, queries = vectors_of(50), vectors_of(20, seed=1)
    assert precision_loss(vectors, queries, "float32") == (1.0, 0.0)
    half, byte = (precision_loss(vectors, queries, p) for p in ("float16", "int8"))
    assert 0 < half.score_error < 2**-11 * 4 < byte.score_error < 0.02
    assert 0.8 < byte.recall <= half.recall <= 1
    exact, q = unit(vectors, 16), unit(queries, 16)
    assert half.score_error == pytest.approx(
        float((q @ (exact.half().float() - exact).T).abs().max()), rel=1e-3
    )


@pytest.mark.parametrize(("k", "recall"), [(1, 0.0), (2, 1.0)])
def test_recall_counts_the_best_that_stay(k, recall):
    # In steps of int8 2.8 beats 2.6; rounded, 1 + 1 loses to 3.
    step = 1 / 127
    vectors = torch.tensor([[1.0, 1.4 * step, 1.4 * step], [1.0, 2.6 * step, 0.0], [1.0, -1, -1]])
    loss = precision_loss(vectors, torch.tensor([[0.0, 1.0, 1.0]]), "int8", k=k)
    assert loss.recall == recall
