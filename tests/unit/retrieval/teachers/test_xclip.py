import pytest
import torch
from torch.nn import functional as F

from tests.unit.retrieval.teachers.builders import xclip
from video_adapt.errors import ConfigurationError
from video_adapt.retrieval.teachers import XCLIP


def attend(x, matrix, temperature):
    return (((x / temperature).softmax(0) @ matrix) * x).sum()


def slow_similarity(teacher, captions, videos):
    """Pair by pair, from the paper's equations."""
    temperature = teacher.temperature
    rows = []
    for e, w in zip(captions["sentence"], captions["words"], strict=True):
        row = []
        for v, f in zip(videos["vector"], videos["frames"], strict=True):
            vs = (e @ teacher.video_sentence) @ v
            vw = attend(w @ v, teacher.video_words, temperature)
            sf = attend(f @ e, teacher.frames_sentence, temperature)
            grid = w @ teacher.frame_word @ f.T  # [W, T]
            by_frame = [attend(c, teacher.words_of_frame, temperature) for c in grid.T]
            by_word = [attend(r, teacher.frames_of_word, temperature) for r in grid]
            fw = attend(torch.stack(by_frame), teacher.frames_of_pair, temperature)
            fw = fw + attend(torch.stack(by_word), teacher.words_of_pair, temperature)
            row.append(teacher.logit_scale.exp() * (vs + vw + sf + fw / 2) / 4)
        rows.append(torch.stack(row))
    return torch.stack(rows)


@pytest.mark.parametrize("header", ["meanP", "seqTransf"])
def test_equals_the_slow_version_with_gradients(batch, header):
    teacher = xclip(header=header)
    videos = teacher.encode_videos(batch.tokens, batch.mask)
    captions = teacher.encode_captions(batch.sentence, batch.words)
    fast, slow = (
        teacher.similarity(captions, videos),
        slow_similarity(teacher, captions, videos),
    )
    torch.testing.assert_close(fast, slow)
    weights = list(teacher.parameters())
    probe = torch.randn(fast.shape, generator=torch.Generator().manual_seed(5))
    mine = torch.autograd.grad((fast * probe).sum(), weights, retain_graph=True)
    theirs = torch.autograd.grad((slow * probe).sum(), weights)
    torch.testing.assert_close(mine, theirs)


def test_the_vector_is_the_masked_mean_of_normalised_frames(batch):
    teacher = xclip(header="meanP")
    rows = teacher.encode_videos(batch.tokens, batch.mask)
    frames = F.normalize(batch.tokens[1, :2, 0], dim=-1)
    torch.testing.assert_close(rows["vector"][1], F.normalize(frames.mean(0), dim=-1))


def test_fine_terms_see_the_frames_as_they_came(batch):
    rows = xclip(header="seqTransf").encode_videos(batch.tokens, batch.mask)
    torch.testing.assert_close(rows["frames"], F.normalize(batch.tokens[:, :, 0], dim=-1))


def test_it_starts_with_identities():
    teacher = XCLIP(8, words=5, frames=4, heads=2, layers=1)
    for matrix in (teacher.video_sentence, teacher.words_of_pair, teacher.frames_of_word):
        assert torch.equal(matrix, torch.eye(len(matrix)))
    assert teacher.scale.item() == pytest.approx(100, rel=1e-5)


def test_other_numbers_of_frames_or_words_are_refused(batch):
    teacher = xclip()
    with pytest.raises(ConfigurationError, match="made for 4 frames, the batch has 3"):
        teacher.encode_videos(batch.tokens[:, :3], batch.mask[:, :3])
    with pytest.raises(ConfigurationError, match="made for 5 words, the batch has 6"):
        teacher.encode_captions(batch.sentence, torch.zeros(5, 6, 8))


def test_blocks_of_captions_give_what_all_at_once_give(batch, teach, monkeypatch):
    whole = teach(xclip(), batch).similarity
    monkeypatch.setattr("video_adapt.retrieval.teachers.xclip._PAIRS_AT_ONCE", 6)
    sizes = []
    finest = XCLIP._finest
    monkeypatch.setattr(
        XCLIP,
        "_finest",
        lambda self, words, *rest: sizes.append(len(words)) or finest(self, words, *rest),
    )
    torch.testing.assert_close(teach(xclip(), batch).similarity, whole)
    assert sizes == [2, 2, 1]
