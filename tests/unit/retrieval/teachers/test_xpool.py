import pytest
import torch
from torch.nn import functional as F

from tests.unit.retrieval.teachers.builders import xpool
from video_adapt.errors import ConfigurationError
from video_adapt.retrieval.teachers import XPool


def slow_pool(teacher, sentence, frames):
    """One sentence and one video, one head after the other."""
    query = teacher.query(teacher.input_norm(sentence))
    keys = teacher.key(teacher.input_norm(frames))
    values = teacher.value(teacher.input_norm(frames))
    size = len(query) // teacher.heads
    seen = []
    for start in range(0, len(query), size):
        part = slice(start, start + size)
        shares = (keys[:, part] @ query[part] / size**0.5).softmax(0)
        seen.append(shares @ values[:, part])
    x = teacher.attention_norm(teacher.out(torch.cat(seen)))
    return teacher.output_norm(x + teacher.branch(x))


@pytest.mark.parametrize("heads", [1, 2])
def test_pooling_equals_the_slow_version_with_gradients(batch, heads):
    teacher = xpool(heads=heads)
    frames = batch.tokens[:, :, 0]
    fast = teacher.pool(batch.sentence, frames)
    slow = torch.stack(
        [torch.stack([slow_pool(teacher, e, f) for e in batch.sentence]) for f in frames]
    )
    torch.testing.assert_close(fast, slow)
    weights = [p for name, p in teacher.named_parameters() if name != "logit_scale"]
    probe = torch.randn(fast.shape, generator=torch.Generator().manual_seed(5))
    mine = torch.autograd.grad((fast * probe).sum(), weights, retain_graph=True)
    theirs = torch.autograd.grad((slow * probe).sum(), weights)
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


def test_similarity_is_the_cosine_times_temperature(batch, teach):
    teacher = xpool()
    pooled = teacher.pool(batch.sentence, batch.tokens[:, :, 0])
    found = teach(teacher, batch).similarity
    for row, column in ((0, 0), (4, 2)):
        cosine = F.cosine_similarity(batch.sentence[row], pooled[column, row], dim=0)
        torch.testing.assert_close(found[row, column], teacher.logit_scale.exp() * cosine)


def test_comparing_in_blocks_changes_nothing(batch, teach, monkeypatch):
    whole = teach(xpool(), batch).similarity
    monkeypatch.setattr("video_adapt.retrieval.teachers.xpool._PAIRS_AT_ONCE", 6)
    torch.testing.assert_close(teach(xpool(), batch).similarity, whole)


def test_it_starts_with_identities_and_drops_in_training_only(batch):
    teacher = XPool(8, dropout=0.5)
    assert torch.equal(teacher.key.weight, torch.eye(8))
    assert not teacher.key.bias.any()
    frames = batch.tokens[:, :, 0]
    torch.manual_seed(0)
    assert not torch.equal(
        teacher.pool(batch.sentence, frames), teacher.pool(batch.sentence, frames)
    )
    teacher.eval()
    assert torch.equal(teacher.pool(batch.sentence, frames), teacher.pool(batch.sentence, frames))


def test_heads_must_divide_the_width():
    with pytest.raises(ConfigurationError, match="3 attention heads do not divide a width of 8"):
        XPool(8, heads=3)
