"""Teachers that are trained here."""

import copy

import pytest
import torch
from torch.nn import functional as F

from tests.unit.methods.captioned_clips import captioning_clip, captions
from tests.unit.methods.test_teachclip import share
from tests.unit.retrieval.processes import as_processes
from video_adapt.errors import ConfigurationError
from video_adapt.methods.teachclip import TeacherRetriever
from video_adapt.retrieval.teachers import XCLIP, TS2Net, XPool


def xclip(**settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = XCLIP(16, words=6, frames=4, layers=2, heads=2, positions=8)
        return TeacherRetriever(captioning_clip(), head, **settings)


def test_it_learns_from_both_directions_of_its_own_similarity():
    method, batch = xclip().eval(), captions([0, 1, 2])
    features = method.backbone(batch.video)
    videos = method.head.encode_videos(features.embedding.unsqueeze(2), batch.video_mask)
    captioned = method.head.encode_captions(*method.backbone.embed_text(batch.tokens))
    scores, target = method.head.similarity(captioned, videos), torch.arange(3)
    expected = (F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)) / 2
    torch.testing.assert_close(method.losses(batch)["loss"], expected)


@pytest.mark.parametrize("multi_positive", [True, False])
def test_captions_of_one_video_are_both_right_or_not(multi_positive):
    method, batch = xclip(multi_positive=multi_positive).eval(), captions([0, 1, 2])
    twin = batch._replace(video_id=torch.tensor([5, 6, 5]))
    same = torch.equal(method.losses(batch)["loss"], method.losses(twin)["loss"])
    assert same != multi_positive


def test_its_head_starts_from_the_text_tower_and_its_temperature():
    backbone = captioning_clip()
    backbone.logit_scale.data.fill_(3.0)
    head = TS2Net(16, layers=1, heads=2, positions=12)
    spare = head.positions.weight[8:].clone()
    TeacherRetriever(backbone, head)
    text = backbone.text
    assert torch.equal(head.positions.weight[:8], text.positional_embedding)
    assert torch.equal(head.positions.weight[8:], spare)
    start = text.transformer.resblocks[0].mlp.c_fc.weight
    assert torch.equal(head.transformer.resblocks[0].mlp.c_fc.weight, start)
    assert head.logit_scale == 3.0


def test_a_head_of_another_width_is_refused():
    with pytest.raises(ConfigurationError, match=r"XPool is made for .* 8, those of tiny have 16"):
        TeacherRetriever(captioning_clip(), XPool(8))


def test_dropout_of_x_pool_is_alive_in_training_alone():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        method, batch = TeacherRetriever(captioning_clip(), XPool(16)), captions([0, 1, 2])
        losses = [
            [method.train(mode).losses(batch)["loss"].item() for _ in range(2)]
            for mode in (True, False)
        ]
    assert losses[0][0] != losses[0][1]
    assert losses[1][0] == losses[1][1]


def test_processes_learn_what_one_learns_from_all_their_pairs():
    whole = captions([0, 1, 1, 2, 0])

    def learn(method, batch):
        method.losses(batch)["loss"].backward()
        return {k: p.grad for k, p in method.named_parameters() if p.grad is not None}

    method = xclip().eval()
    copies = [copy.deepcopy(method) for _ in range(2)]
    grads, shares = learn(method, whole), [share(whole, 0, 2), share(whole, 2, 3)]
    found = as_processes(lambda rank: learn(copies[rank], shares[rank]), 2)
    assert grads.keys() == found[0].keys() == found[1].keys()
    for name, grad in grads.items():
        mean = (found[0][name] + found[1][name]) / 2
        torch.testing.assert_close(mean, grad, atol=1e-5, rtol=1e-3, msg=lambda m, n=name: n + m)


def test_parts_of_a_batch_learn_what_the_whole_learns():
    batch = captions([0, 1, 1, 2, 0])
    found = []
    for micro_batch in (None, 1):
        method = xclip(micro_batch=micro_batch).eval()
        method.losses(batch)["loss"].backward()
        found.append({k: p.grad for k, p in method.named_parameters() if p.grad is not None})
    whole, parts = found
    assert whole.keys() == parts.keys()
    for name, grad in whole.items():
        torch.testing.assert_close(parts[name], grad, atol=1e-6, rtol=1e-4)
