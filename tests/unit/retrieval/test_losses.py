import math

import pytest
import torch

from video_adapt.errors import ConfigurationError
from video_adapt.retrieval import (
    TeachingLoss,
    coarse_loss,
    contrastive_loss,
    fine_loss,
    pearson_distance,
    positive_pairs,
    relevance_entropy,
    weights_to_logits,
)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_two_captions_of_a_video_are_both_right():
    similarity = draw(5, 4).double()
    positives = positive_pairs(torch.tensor([7, 3, 7, 9, 1]), torch.tensor([7, 3, 9, 5]))
    assert positives.int().tolist() == [
        [1, 0, 0, 0],
        [0, 1, 0, 0],
        [1, 0, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 0],
    ]

    def entropy(rows, targets):
        losses = []
        for row, right in zip(rows.tolist(), targets.tolist(), strict=True):
            total = sum(math.exp(value) for value in row)
            if any(right):
                chosen = [
                    math.log(math.exp(v) / total) for v, r in zip(row, right, strict=True) if r
                ]
                losses.append(-sum(chosen) / len(chosen))
        return sum(losses) / len(losses)

    # The last caption and the last video belong to nobody.
    expected = (entropy(similarity, positives) + entropy(similarity.T, positives.T)) / 2
    assert contrastive_loss(similarity, positives).item() == pytest.approx(expected, rel=1e-5)


def test_without_repeated_videos_the_diagonal_is_meant():
    similarity, ids = draw(4, 4), torch.tensor([4, 2, 8, 6])
    torch.testing.assert_close(
        contrastive_loss(similarity, positive_pairs(ids, ids)), contrastive_loss(similarity)
    )
    with pytest.raises(ConfigurationError, match=r"\[4, 3\] has no diagonal"):
        contrastive_loss(similarity[:, :3])


def test_a_batch_of_strangers_loses_nothing():
    similarity = draw(2, 3).requires_grad_()
    loss = contrastive_loss(similarity, torch.zeros(2, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert not similarity.grad.any()


def test_pearson_is_one_minus_the_correlation():
    x, y = draw(6, 9), draw(6, 9, seed=1)
    expected = [1 - torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(x, y, strict=True)]
    torch.testing.assert_close(pearson_distance(x, y), torch.stack(expected))
    torch.testing.assert_close(pearson_distance(3 * x + 5, x), torch.zeros(6), atol=1e-6, rtol=0)
    torch.testing.assert_close(pearson_distance(-x, x), torch.full((6,), 2.0))


@pytest.mark.parametrize("level", [0.0, 1 / 3, 1e6])
def test_constant_rows_correlate_with_nothing_and_have_no_gradient(level):
    x = draw(3, 7)
    x[1] = level
    x.requires_grad_()
    y = draw(3, 7, seed=1)
    y[2] = level
    distances = pearson_distance(x, y)
    distances.sum().backward()
    assert distances[1:].tolist() == [1, 1]
    assert x.grad.isfinite().all()
    assert x.grad[0].any()
    assert not x.grad[1:].any()


def test_nearly_constant_rows_still_correlate():
    x = 0.008 + 1e-7 * draw(1, 120).double()
    y = draw(1, 120, seed=1)
    expected = 1 - torch.corrcoef(torch.cat([x.float().double(), y.double()]))[0, 1]
    assert pearson_distance(x.float(), y).item() == pytest.approx(expected.item(), abs=1e-3)


@pytest.mark.parametrize("distance", ["pearson", "cross_entropy", "l1"])
def test_a_collapsed_batch_has_finite_losses_and_gradients(distance):
    student = torch.zeros(4, 4, requires_grad=True)
    frames = torch.zeros(4, 3, requires_grad=True)
    loss = coarse_loss(student, torch.zeros(4, 4), distance)
    loss = loss + fine_loss(frames, torch.full((4, 3), 1 / 3), distance)
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()
    assert frames.grad.isfinite().all()


def test_coarse_cross_entropy_of_the_paper_is_a_mean_over_rows_and_columns():
    student, teacher = draw(3, 4), draw(3, 4, seed=1)
    rows = -(teacher.softmax(1) * student.softmax(1).log()).sum(1).mean()
    columns = -(teacher.softmax(0) * student.softmax(0).log()).sum(0).mean()
    loss = coarse_loss(student, teacher, "cross_entropy")
    torch.testing.assert_close(loss, rows + columns)
    code = coarse_loss(student, teacher, "cross_entropy", normalization="code")
    torch.testing.assert_close(code, rows / 4 + columns / 3)


@pytest.mark.parametrize("distance", ["pearson", "cross_entropy", "l1"])
def test_both_matrices_are_divided(distance):
    student, teacher = draw(3, 4), draw(3, 4, seed=1)
    expected = coarse_loss(student / 5, teacher / 5, distance)
    torch.testing.assert_close(coarse_loss(student, teacher, distance, divisor=5), expected)


@pytest.mark.parametrize(("distance", "factor"), [("cross_entropy", 6), ("l1", 6), ("pearson", 1)])
def test_the_papers_fine_loss_adds_up_frames(distance, factor):
    logits, relevance = draw(5, 6), draw(5, 6, seed=1).softmax(1)
    code = fine_loss(logits, relevance, distance, normalization="code")
    torch.testing.assert_close(fine_loss(logits, relevance, distance), factor * code)


def test_the_student_has_a_temperature_in_the_fine_loss():
    logits, relevance = draw(2, 5), draw(2, 5, seed=1).softmax(1)
    expected = fine_loss(logits / 0.1, relevance)
    torch.testing.assert_close(fine_loss(logits, relevance, temperature=0.1), expected)


@pytest.mark.parametrize("distance", ["cross_entropy", "l1"])
def test_padding_has_no_part_in_the_fine_loss(distance):
    logits, relevance = draw(2, 5), draw(2, 5, seed=1).softmax(1)
    mask = torch.tensor([[True] * 3 + [False] * 2, [True] * 5])
    short = relevance[:1, :3] / relevance[:1, :3].sum()
    expected = fine_loss(logits[:1, :3], short, distance) + fine_loss(
        logits[1:], relevance[1:], distance
    )
    logits.requires_grad_()
    loss = fine_loss(logits, relevance, distance, mask=mask)
    loss.backward()
    torch.testing.assert_close(loss, expected / 2)
    assert logits.grad[0, :3].all()
    assert not logits.grad[0, 3:].any()


@pytest.mark.parametrize("distance", ["pearson", "cross_entropy", "l1"])
def test_a_video_without_frames_has_a_finite_loss(distance):
    logits = draw(1, 4).requires_grad_()
    mask = torch.zeros(1, 4, dtype=torch.bool)
    loss = fine_loss(logits, torch.full((1, 4), 0.25), distance, mask=mask)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_a_frame_of_no_weight_has_a_finite_cross_entropy():
    logits = torch.tensor([[500.0, 0.0]], requires_grad=True)
    loss = fine_loss(logits, torch.tensor([[0.25, 0.75]]))
    loss.backward()
    assert loss.item() == pytest.approx(375)
    assert logits.grad.tolist() == [pytest.approx([0.75, -0.75])]


@pytest.mark.parametrize("normalization", ["paper", "code"])
def test_a_perfect_student_loses_the_teachers_entropy(normalization):
    logits = draw(3, 4)
    mask = torch.tensor([[True, True, True, False]] * 3)
    relevance = logits.softmax(1)
    for shown in (None, mask):
        loss = fine_loss(logits, relevance, mask=shown, normalization=normalization)
        floor = relevance_entropy(relevance, mask=shown, normalization=normalization)
        torch.testing.assert_close(loss, floor)
    certain = torch.tensor([[1.0, 0.0]])
    assert relevance_entropy(certain).item() == 0


def test_weights_become_logits_of_the_same_loss():
    logits, relevance = draw(3, 4), draw(3, 4, seed=1).softmax(1)
    weights = logits.softmax(1)
    torch.testing.assert_close(
        fine_loss(weights_to_logits(weights), relevance), fine_loss(logits, relevance)
    )
    gone = torch.tensor([[1.0, 0.0]], requires_grad=True)
    fine_loss(weights_to_logits(gone), torch.tensor([[0.5, 0.5]])).backward()
    assert gone.grad.isfinite().all()


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_full(precision):
    similarity, teacher = (20 * draw(4, 4, seed=s).to(precision) for s in (0, 1))
    frames, relevance = draw(4, 3).to(precision), draw(4, 3, seed=1).to(precision).softmax(1)
    for distance in ("pearson", "cross_entropy", "l1"):
        for loss, *pair in (
            (coarse_loss, similarity, teacher),
            (fine_loss, frames, relevance),
        ):
            whole = loss(*(value.float() for value in pair), distance)
            torch.testing.assert_close(loss(*pair, distance), whole, rtol=0, atol=0)
    assert contrastive_loss(similarity).dtype == torch.float32


def test_terms_are_weighted_and_teachers_averaged():
    similarity, frames = draw(3, 3), draw(3, 4)
    teachers = [draw(3, 3, seed=s) for s in (1, 2, 3)]
    relevance = [draw(3, 4, seed=4).softmax(1), None, draw(3, 4, seed=5).softmax(1)]
    loss = TeachingLoss(contrastive=0.2, coarse=1.0, fine=2.0, normalization="code")
    terms = loss(
        similarity, frames, teachers=teachers, relevance=relevance, teacher_weights=(1, 2, 3)
    )
    coarse = [coarse_loss(similarity, matrix) for matrix in teachers]
    torch.testing.assert_close(terms.coarse, (coarse[0] + 2 * coarse[1] + 3 * coarse[2]) / 6)
    fine = [fine_loss(frames, w, normalization="code") for w in relevance if w is not None]
    torch.testing.assert_close(terms.fine, (fine[0] + 3 * fine[1]) / 4)
    floor = [relevance_entropy(w, normalization="code") for w in relevance if w is not None]
    torch.testing.assert_close(terms.fine_excess, terms.fine - (floor[0] + 3 * floor[1]) / 4)
    torch.testing.assert_close(terms.contrastive, contrastive_loss(similarity))
    total = 0.2 * terms.contrastive + terms.coarse + 2 * terms.fine
    torch.testing.assert_close(terms.total, total)


def test_only_a_cross_entropy_has_a_floor():
    similarity, frames, weights = draw(2, 2), draw(2, 3), draw(2, 3, seed=1).softmax(1)
    loss = TeachingLoss(fine_distance="pearson")
    terms = loss(similarity, frames, teachers=[similarity], relevance=[weights])
    torch.testing.assert_close(terms.fine_excess, terms.fine)


def test_without_a_teacher_only_the_batch_teaches():
    similarity = draw(3, 3)
    terms = TeachingLoss(contrastive=0.5)(similarity, None)
    assert (terms.coarse, terms.fine, terms.fine_excess) == (0, 0, 0)
    torch.testing.assert_close(terms.total, 0.5 * contrastive_loss(similarity))


def test_teachers_learn_nothing():
    similarity, frames = draw(2, 2).requires_grad_(), draw(2, 3).requires_grad_()
    matrix = draw(2, 2, seed=1).requires_grad_()
    weights = draw(2, 3, seed=1).softmax(1).requires_grad_()
    terms = TeachingLoss()(similarity, frames, teachers=[matrix], relevance=[weights])
    terms.total.backward()
    assert similarity.grad.any()
    assert frames.grad.any()
    assert matrix.grad is None
    assert weights.grad is None
