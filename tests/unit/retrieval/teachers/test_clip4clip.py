import pytest
import torch
from torch.nn import functional as F

from tests.parity.cases import DEFAULT_DIR, Case
from tests.unit.retrieval.teachers.builders import clip4clip
from video_adapt.checkpoints import KeyRule, convert_keys, load_strictly
from video_adapt.retrieval.teachers import CLIP4CLIP_RULES, CLIP4ClipTeacher


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


@pytest.mark.parametrize("header", ["meanP", "seqTransf", "seqLSTM"])
def test_published_weights_give_the_published_similarity(header):
    name = f"clip4clip_{header.lower()}"
    case = Case("teachclip", name, DEFAULT_DIR / "teachclip" / f"{name}.json")
    config, inputs = case.config, case.group("inputs")
    teacher = CLIP4ClipTeacher(
        config["embed_dim"],
        header=header,
        layers=config["layers"],
        heads=config["heads"],
        positions=config["position_rows"],
    )
    rules = [KeyRule(*rule) for rule in CLIP4CLIP_RULES]
    load_strictly(teacher, convert_keys(case.group("weights"), rules))
    videos = teacher.encode_videos(inputs["frames"].unsqueeze(2), inputs["video_mask"].bool())
    captions = teacher.encode_captions(inputs["sentence"], inputs["sentence"][:, None])
    recorded = case.group("outputs")["sim_matrix"]
    case.assert_close(teacher.similarity(captions, videos), recorded, "sim_matrix")
