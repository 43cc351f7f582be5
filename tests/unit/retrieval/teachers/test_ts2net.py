import pytest
import torch
from torch.nn import functional as F

from tests.unit.retrieval.teachers.builders import ts2net
from video_adapt.errors import ConfigurationError
from video_adapt.retrieval.teachers.selection import TokenSelector, perturbed_top_k


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def one_hot_choices(scores, noise, k, sigma):
    """Every disturbed choice as one-hot vectors, ``[M, samples, k, P]``."""
    disturbed = scores[:, None] + sigma * noise
    places = disturbed.topk(k, dim=-1).indices.sort(dim=-1).values
    return F.one_hot(places, scores.shape[1]).float()


def test_selection_equals_the_mean_of_one_hot_vectors_with_its_gradient():
    scores, noise, sigma = draw(4, 6).requires_grad_(), draw(4, 50, 6, seed=1), 0.5
    chosen = one_hot_choices(scores.detach(), noise, 2, sigma)
    mixing = perturbed_top_k(scores, noise, k=2, sigma=sigma)
    torch.testing.assert_close(mixing, chosen.mean(dim=1))
    probe = draw(4, 2, 6, seed=2)
    (mixing * probe).sum().backward()
    slope = (chosen * noise[:, :, None]).mean(dim=1) / sigma  # [M, k, P]
    torch.testing.assert_close(scores.grad, (probe * slope).sum(dim=1))


def test_shared_noise_is_the_same_to_all():
    scores, noise = draw(4, 6), draw(1, 20, 6, seed=1)
    shared = perturbed_top_k(scores, noise, k=3, sigma=0.3)
    assert torch.equal(shared, perturbed_top_k(scores, noise.expand(4, -1, -1), k=3, sigma=0.3))


def test_without_noise_the_best_are_taken_in_order():
    scores = torch.tensor([[0.1, 0.9, 0.2, 0.8]])
    mixing = perturbed_top_k(scores, torch.zeros(1, 5, 4), k=2, sigma=1.0)
    assert mixing.tolist() == [[[0, 1, 0, 0], [0, 0, 0, 1]]]


def test_the_class_token_is_kept_and_patches_are_mixed():
    torch.manual_seed(0)
    selector = TokenSelector(8, k=2, samples=40, sigma=0.1, seed=3).eval()
    tokens = draw(5, 7, 8)
    selected = selector(tokens)
    assert torch.equal(selected[:, 0], tokens[:, 0])
    mixing = perturbed_top_k(selector.scores(tokens)[:, 1:], draw(1, 40, 6, seed=3), k=2, sigma=0.1)
    torch.testing.assert_close(selected[:, 1:], mixing @ tokens[:, 1:])


def test_scores_depend_on_the_frames_class_token():
    torch.manual_seed(0)
    selector = TokenSelector(8, k=2, samples=4, sigma=0.1, seed=0)
    tokens = draw(2, 7, 8)
    other = tokens.clone()
    other[0, 0] += 1 + draw(8, seed=4)
    moved = (selector.scores(other) - selector.scores(tokens)).abs() > 1e-6
    assert moved[0].all()
    assert not moved[1].any()


def test_teaching_is_repeatable_and_independent_of_the_generator(batch, teach):
    teacher = ts2net()
    torch.manual_seed(1)
    first = teach(teacher, batch).similarity
    torch.manual_seed(2)
    assert torch.equal(teach(teacher, batch).similarity, first)
    assert not torch.equal(teach(ts2net(seed=7), batch).similarity, first)


def test_training_draws_anew_and_follows_torchs_seed(batch):
    teacher = ts2net().train()
    torch.manual_seed(1)
    first, second = (teacher.encode_videos(batch.tokens, batch.mask)["frames"] for _ in range(2))
    torch.manual_seed(1)
    again = teacher.encode_videos(batch.tokens, batch.mask)["frames"]
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def slow_similarity(teacher, captions, videos):
    rows = []
    for e in captions["sentence"]:
        row = []
        for f, real in zip(videos["frames"], videos["counted"], strict=True):
            cosines = (f @ e)[real]
            weights = (teacher.sharpness * cosines / cosines.norm()).softmax(0)
            row.append(teacher.logit_scale.exp() * (weights * cosines).sum())
        rows.append(torch.stack(row))
    return torch.stack(rows)


def test_similarity_equals_the_slow_version_with_gradients(batch):
    teacher = ts2net()
    videos = teacher.encode_videos(batch.tokens, batch.mask)
    captions = teacher.encode_captions(batch.sentence, batch.words)
    fast, slow = teacher.similarity(captions, videos), slow_similarity(teacher, captions, videos)
    torch.testing.assert_close(fast, slow)
    weights = list(teacher.parameters())
    probe = draw(5, 3, seed=9)
    mine = torch.autograd.grad((fast * probe).sum(), weights, retain_graph=True)
    theirs = torch.autograd.grad((slow * probe).sum(), weights)
    torch.testing.assert_close(mine, theirs)


def test_padding_changes_nothing_unless_the_mask_is_tiled(batch, teach):
    other = batch.tokens.clone()
    other[1, 2:] = draw(2, 7, 8, seed=8)  # the padded frames of video 1
    other = batch._replace(tokens=other)
    ours, tiled = ts2net(), ts2net(tiled_mask=True)
    torch.testing.assert_close(teach(ours, batch).similarity, teach(ours, other).similarity)
    moved = teach(tiled, batch).similarity - teach(tiled, other).similarity
    assert moved[:, 1].abs().max() > 1e-3


def test_both_masks_agree_on_whole_videos(batch, teach):
    batch = batch._replace(mask=torch.ones_like(batch.mask))
    ours = teach(ts2net(), batch).similarity
    assert torch.equal(ours, teach(ts2net(tiled_mask=True), batch).similarity)


def test_positions_start_over_behind_the_last():
    teacher = ts2net(positions=4)
    tokens, keys = draw(1, 6, 8), torch.ones(1, 6, dtype=torch.bool)
    placed = tokens + teacher.positions.weight[[0, 1, 2, 3, 0, 1]]
    expected = tokens + teacher.transformer(placed, keys)
    assert torch.equal(teacher.contextualise(tokens, keys), expected)


def test_too_few_patches_are_refused(batch):
    with pytest.raises(ConfigurationError, match="selects 2 of 1 patches"):
        ts2net().encode_videos(batch.tokens[:, :, :2], batch.mask)
