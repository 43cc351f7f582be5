import math

import torch
from torch.nn import functional as F

from video_adapt.retrieval import (
    MAX_LOGIT_SCALE,
    TightSimilarity,
    in_blocks,
    similarity_matrix,
    temperature,
)


def sample(q=4, b=3, t=5, d=8):
    generator = torch.Generator().manual_seed(0)
    mask = torch.ones(b, t, dtype=torch.bool)
    mask[1, 3:] = False
    return (
        torch.randn(q, d, generator=generator),
        torch.randn(b, t, d, generator=generator),
        mask,
    )


def tight(**settings):
    torch.manual_seed(0)
    return TightSimilarity(8, **({"layers": 1, "heads": 2, "positions": 6} | settings)).eval()


def test_cosines_times_the_temperature():
    text, frames, _ = sample()
    video = frames[:, 0]
    scores = similarity_matrix(text, video, torch.tensor(math.log(7.0)))
    for i in range(len(text)):
        for j in range(len(video)):
            cosine = F.cosine_similarity(text[i], video[j], dim=0)
            torch.testing.assert_close(scores[i, j], 7 * cosine)


def test_the_temperature_is_cut_and_can_come_back():
    text, frames, _ = sample()
    above = similarity_matrix(text, frames[:, 0], torch.tensor(9.0))
    at_limit = similarity_matrix(text, frames[:, 0], torch.tensor(MAX_LOGIT_SCALE))
    torch.testing.assert_close(above, at_limit)
    torch.testing.assert_close(temperature(torch.tensor(9.0)), torch.tensor(100.0))
    for start in (MAX_LOGIT_SCALE, 9.0):
        scale = torch.tensor(start, requires_grad=True)
        similarity_matrix(text, frames[:, 0], scale).sum().backward()
        torch.testing.assert_close(scale.grad, at_limit.sum())


def test_half_precision_compares_in_float32():
    text, frames, _ = sample()
    scale = torch.tensor(1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = similarity_matrix(text, frames[:, 0], scale)
    assert torch.equal(scores, similarity_matrix(text, frames[:, 0], scale))


def test_the_tight_type_reads_each_pair_alone():
    text, frames, mask = sample()
    similarity = tight()
    together = similarity(text, frames, mask)
    for i in range(len(text)):
        for j in range(len(frames)):
            alone = similarity(
                text[i : i + 1], frames[j : j + 1, mask[j]], mask[j : j + 1, mask[j]]
            )
            torch.testing.assert_close(together[i, j], alone[0, 0], atol=1e-6, rtol=1e-5)


def test_the_number_of_pairs_at_once_changes_nothing():
    text, frames, mask = sample()
    for pairs in (1, 4, 100):
        torch.testing.assert_close(
            tight(pairs_at_once=pairs)(text, frames, mask), tight()(text, frames, mask)
        )


def test_dropout_acts_in_training_only():
    text, frames, mask = sample()
    similarity = tight(dropout=0.5)
    assert torch.equal(similarity(text, frames, mask), similarity(text, frames, mask))
    similarity.train()
    assert not torch.equal(similarity(text, frames, mask), similarity(text, frames, mask))


def test_blocks_hold_as_many_rows_as_asked():
    sizes = []
    joined = in_blocks(lambda rows: sizes.append(len(rows)) or 2 * rows, torch.arange(7), 3)
    assert sizes == [3, 3, 1]
    assert joined.tolist() == [0, 2, 4, 6, 8, 10, 12]
    assert in_blocks(lambda rows: rows, torch.arange(2), 0).tolist() == [0, 1]
