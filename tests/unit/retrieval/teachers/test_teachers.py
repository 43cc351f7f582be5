"""What every teacher keeps to."""

import math

import pytest
import torch
from torch.nn import functional as F

from tests.unit.retrieval.teachers.builders import BUILDERS


@pytest.fixture(params=BUILDERS, ids=list(BUILDERS))
def build(request):
    return BUILDERS[request.param]


def test_shapes_and_shares(build, batch, teach):
    similarity, relevance = teach(build(), batch)
    assert similarity.shape == (5, 3)
    assert relevance.shape == (5, 4)
    torch.testing.assert_close(relevance.sum(dim=1), torch.ones(5))
    assert similarity.std() > 0.01


def test_padding_has_no_share_unless_as_released(build, batch, teach):
    shown = batch.mask[batch.caption_video]
    assert not teach(build(), batch).relevance[~shown].any()
    assert (teach(build(masked=False), batch).relevance[~shown] > 0).all()


def test_the_two_relevances_agree_where_nothing_is_padded(build, batch, teach):
    batch = batch._replace(mask=torch.ones_like(batch.mask))
    ours, released = teach(build(), batch), teach(build(masked=False), batch)
    assert torch.equal(ours.relevance, released.relevance)


def test_relevance_is_of_the_captions_own_video(build, batch, teach):
    teacher = build()
    together = teach(teacher, batch).relevance
    for row, video in enumerate(batch.caption_video.tolist()):
        alone = batch._replace(
            tokens=batch.tokens[[video]],
            mask=batch.mask[[video]],
            sentence=batch.sentence[[row]],
            words=batch.words[[row]],
            caption_video=torch.tensor([0]),
        )
        torch.testing.assert_close(teach(teacher, alone).relevance[0], together[row])


def test_rows_do_not_depend_on_the_batch(build, batch):
    teacher = build()
    together = teacher.encode_videos(batch.tokens, batch.mask)
    alone = teacher.encode_videos(batch.tokens[1:2], batch.mask[1:2])
    assert together.keys() == alone.keys()
    for name, rows in alone.items():
        torch.testing.assert_close(rows[0], together[name][1])


def test_a_video_without_frames_makes_nothing_nan(build, batch, teach):
    batch = batch._replace(mask=batch.mask & torch.tensor([[True], [False], [True]]))
    similarity, relevance = teach(build(), batch)
    assert similarity.isfinite().all()
    torch.testing.assert_close(relevance.sum(dim=1), torch.ones(5))


def test_every_weight_can_be_trained(build, batch, teach):
    teacher = build().train()
    batch = batch._replace(
        sentence=batch.sentence[:3], words=batch.words[:3], caption_video=torch.arange(3)
    )
    similarity = teach(teacher, batch).similarity
    target = torch.arange(3)
    loss = F.cross_entropy(similarity, target) + F.cross_entropy(similarity.T, target)
    loss.backward()
    for name, parameter in teacher.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert teacher.logit_scale.grad.abs() > 0


def test_comparison_stays_exact_under_autocast(build, batch):
    teacher = build()
    videos = teacher.encode_videos(batch.tokens, batch.mask)
    captions = teacher.encode_captions(batch.sentence, batch.words)
    exact = teacher(captions, videos, batch.caption_video)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = teacher(captions, videos, batch.caption_video)
    assert torch.equal(exact.similarity, mixed.similarity)
    assert torch.equal(exact.relevance, mixed.relevance)


def test_temperature_stops_at_100(build):
    teacher = build()
    teacher.logit_scale.data.fill_(9.0)
    assert teacher.scale.item() == pytest.approx(100, rel=1e-5)


def test_a_temperature_at_its_limit_can_learn(build):
    teacher = build()
    torch.nn.init.constant_(teacher.logit_scale, math.log(100))
    teacher.scale.backward()
    assert teacher.logit_scale.grad.item() == pytest.approx(100.0, rel=1e-4)


def test_rows_are_kept_as_one_tensor_and_come_back(build, batch):
    teacher = build()
    videos = teacher.encode_videos(batch.tokens, batch.mask)
    captions = teacher.encode_captions(batch.sentence, batch.words)
    for layout, rows in ((teacher.video_rows, videos), (teacher.caption_rows, captions)):
        packed = layout.pack(rows)
        assert packed.ndim == 3
        back = layout.unpack(packed)
        assert back.keys() == rows.keys()
        assert all(torch.equal(back[name], value) for name, value in rows.items())
