import pytest
import torch
from torch.nn import functional as F

from tests.unit.retrieval.teachers.builders import clip4clip


@pytest.mark.parametrize("header", ["meanP", "seqTransf", "seqLSTM"])
def test_cosine_of_sentence_and_mean_frame(batch, teach, header):
    teacher = clip4clip(header=header)
    frames = batch.tokens[:, :, 0]
    if teacher.temporal is not None:
        frames = teacher.temporal(frames, batch.mask)
    taught = teach(teacher, batch)
    for row, column in ((0, 0), (2, 1), (3, 2)):
        real = F.normalize(frames[column][batch.mask[column]], dim=-1)
        cosine = F.cosine_similarity(batch.sentence[row], real.mean(0), dim=0)
        expected = teacher.logit_scale.exp() * cosine
        torch.testing.assert_close(taught.similarity[row, column], expected)
    # Caption 1 belongs to video 1, of which two frames are real.
    cosines = F.cosine_similarity(batch.sentence[1], frames[1, :2], dim=-1)
    torch.testing.assert_close(taught.relevance[1, :2], cosines.softmax(0))


def test_headers_differ_in_what_frames_see(batch, teach):
    found = [teach(clip4clip(header=h), batch).similarity for h in ("meanP", "seqTransf")]
    assert (found[0] - found[1]).abs().max() > 1e-2
    assert clip4clip(header="meanP").temporal is None
