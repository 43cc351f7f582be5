import pytest
import torch
from safetensors.torch import save_file

from video_adapt.errors import AnnotationError
from video_adapt.retrieval.teachers import ScoreFile

MASK = torch.tensor([[True, True, True], [True, True, False]])
VIDEOS = {"video_id": torch.tensor([3, 1]), "mask": MASK}
CAPTIONS = {"caption_id": torch.tensor([5, 0, 2])}
PAIRS = torch.tensor([0, 1, 1])


@pytest.fixture
def tensors():
    generator = torch.Generator().manual_seed(0)
    return {
        "similarity": torch.randn(6, 4, generator=generator),
        "relevance": torch.rand(6, 3, generator=generator),
    }


@pytest.fixture
def write(tmp_path, tensors):
    def run(**changed):
        content = {k: v for k, v in {**tensors, **changed}.items() if v is not None}
        save_file(content, tmp_path / "scores.safetensors")
        return tmp_path / "scores.safetensors"

    return run


def test_scores_are_looked_up_by_number_and_scaled(write, tensors):
    similarity, relevance = ScoreFile(write(), scale=100.0)(CAPTIONS, VIDEOS, PAIRS)
    for row, caption in enumerate((5, 0, 2)):
        for column, video in enumerate((3, 1)):
            assert similarity[row, column] == 100 * tensors["similarity"][caption, video]
    whole = tensors["relevance"][5]
    torch.testing.assert_close(relevance[0], whole / whole.sum())
    part = tensors["relevance"][0, :2]  # its video has two frames
    torch.testing.assert_close(relevance[1], torch.cat([part / part.sum(), torch.zeros(1)]))


def test_padding_keeps_its_share_as_released(write, tensors):
    relevance = ScoreFile(write(), masked=False)(CAPTIONS, VIDEOS, PAIRS).relevance
    torch.testing.assert_close(
        relevance[1], tensors["relevance"][0] / tensors["relevance"][0].sum()
    )


def test_shares_of_zero_are_spread_evenly(write):
    relevance = ScoreFile(write(relevance=torch.zeros(6, 3)))(CAPTIONS, VIDEOS, PAIRS).relevance
    torch.testing.assert_close(relevance[1], torch.tensor([0.5, 0.5, 0.0]))


def test_half_precision_is_read_as_float32(write, tensors):
    half = {name: x.half() for name, x in tensors.items()}
    taught = ScoreFile(write(**half))(CAPTIONS, VIDEOS, PAIRS)
    assert taught.similarity.dtype == torch.float32
    assert taught.similarity[1, 1] == half["similarity"][0, 1].float()


def test_without_relevance_there_is_none(write):
    assert ScoreFile(write(relevance=None))(CAPTIONS, VIDEOS, PAIRS).relevance is None


def test_nothing_of_it_is_a_weight(write):
    assert not ScoreFile(write()).state_dict()


@pytest.mark.parametrize(
    ("rows", "number", "message"),
    [
        ("caption_id", 6, "has scores of 6 captions, the batch holds number 6"),
        ("caption_id", -1, "has scores of 6 captions, the batch holds number -1"),
        ("video_id", 4, "has scores of 4 videos, the batch holds number 4"),
    ],
)
def test_scores_of_another_manifest_are_refused(write, rows, number, message):
    captions, videos = dict(CAPTIONS), dict(VIDEOS)
    owner = captions if rows in captions else videos
    owner[rows] = owner[rows].clone()
    owner[rows][0] = number
    with pytest.raises(AnnotationError, match=message):
        ScoreFile(write())(captions, videos, PAIRS)


def test_another_number_of_frames_is_refused(write):
    with pytest.raises(AnnotationError, match="relevance of 5 frames, the batch has 3"):
        ScoreFile(write(relevance=torch.ones(6, 5)))(CAPTIONS, VIDEOS, PAIRS)


def test_broken_scores_are_named(write, tensors):
    tensors["similarity"][2, 1] = torch.nan
    with pytest.raises(AnnotationError, match="a score of caption 2 is not finite"):
        ScoreFile(write())(CAPTIONS, VIDEOS, PAIRS)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"similarity": None}, r"holds relevance; it must hold `similarity`"),
        ({"similarity": torch.ones(6)}, "it must hold `similarity`"),
        ({"relevance": torch.ones(5, 3)}, r"relevance \[5, 3\] does not go with"),
        ({"relevance": torch.ones(6)}, r"relevance \[6\] does not go with"),
    ],
)
def test_files_of_other_things_are_refused(write, changed, message):
    with pytest.raises(AnnotationError, match=message):
        ScoreFile(write(**changed))


def test_missing_and_damaged_files_are_refused(tmp_path, write):
    with pytest.raises(AnnotationError, match="no such file of scores"):
        ScoreFile(tmp_path / "none.safetensors")
    path = write()
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(AnnotationError, match="not a whole safetensors file"):
        ScoreFile(path)
