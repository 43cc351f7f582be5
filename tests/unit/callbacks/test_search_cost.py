import torch
from torch.nn import functional as F

from video_adapt.callbacks.search_cost import SearchCost, search_cost

TEXT, VIDEO = torch.rand(3, 7), torch.rand(4, 7)


def test_vectors_cost_their_width():
    assert search_cost(TEXT, VIDEO, None) == SearchCost(7, 7, 7)


def test_what_is_done_once_per_caption_or_video_is_no_part_of_a_pair():
    weight = torch.rand(7, 7)
    cost = search_cost(TEXT, VIDEO, lambda text, video: (text @ weight) @ (video @ weight).T)
    assert cost == SearchCost(7, 7, 7)


def test_every_word_with_every_frame():
    text, video = torch.rand(2, 5, 7), torch.rand(1, 3, 7)
    cost = search_cost(text, video, lambda q, b: torch.einsum("qwe,bte->qbwt", q, b).mean((2, 3)))
    assert cost == SearchCost(21, 35, 5 * 3 * 7)


def test_fused_attention_is_counted():
    def similarity(text, video):
        query = text[:, None, :].expand(-1, len(video), -1)
        keys = video.expand(len(text), *video.shape).flatten(0, 1)  # [Q * B, T, E]
        pooled = F.scaled_dot_product_attention(query.flatten(0, 1)[:, None], keys, keys)
        return pooled.sum((1, 2)).view(len(text), len(video))

    assert search_cost(TEXT, torch.rand(4, 3, 7), similarity).multiply_adds_per_pair == 2 * 3 * 7


def test_counting_compares_copies_of_one_pair_alone():
    seen = []

    def similarity(text, video):
        seen.append((len(text), len(video)))
        return text @ video.T

    search_cost(TEXT, VIDEO, similarity)
    assert set(seen) == {(1, 1), (1, 2), (2, 1), (2, 2)}
