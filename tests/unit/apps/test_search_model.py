import logging

import pytest
import torch
from lightning.pytorch.cli import instantiate_module

from tests.unit.apps import coloured_videos
from tests.unit.apps.coloured_videos import write_video
from tests.unit.apps.small_retrievers import (
    MAX_WORDS,
    build_retriever,
    data_module,
    write_retriever,
)
from video_adapt.apps.convert import checkpoint_of
from video_adapt.apps.detector import SegmentDetector
from video_adapt.apps.recogniser import Recogniser
from video_adapt.apps.search_model import SearchModel, window_spans
from video_adapt.batches import DecodedCaptions
from video_adapt.errors import ConfigurationError, VideoDecodeError, WeightsError
from video_adapt.methods import TeacherRetriever
from video_adapt.video import VideoReader

SENTENCES = ["a red square", "a blue ring grows"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("retrievers")


@pytest.fixture(scope="module")
def attentive(folder):
    return SearchModel(write_retriever(folder / "afa.ckpt", kind="afa"), device="cpu")


@pytest.fixture(scope="module")
def plain(folder):
    return SearchModel(write_retriever(folder / "mean.ckpt", kind="meanP"), device="cpu")


@pytest.fixture(scope="module")
def video(folder):
    """Three seconds of three colours."""
    return write_video(folder / "videos/three.mp4", ["red", "green", "blue"])


def encode(model, video, spans):
    with model.open(video) as reader:
        return model.encode(list(model.clips(reader, spans)))


@pytest.mark.parametrize("colours", [["red", "green", "blue"], ["green"]])
def test_a_whole_video_is_read_as_in_testing(attentive, folder, colours):
    video = write_video(folder / f"videos/{'_'.join(colours)}.mp4", colours)
    method, data = build_retriever(kind="afa"), data_module(folder)
    with VideoReader(video) as reader:
        frames = reader.frames_at(data.sampler(reader.info, reader.timestamps_s))
        duration_s = reader.info.duration_s
    number = torch.zeros(1, dtype=torch.int64)
    decoded = DecodedCaptions([frames], number, number, number, number)
    batch = data.transform(
        decoded, method.backbone.pixels, torch.zeros(1, MAX_WORDS), training=False
    )
    with torch.inference_mode():
        expected = method.read_videos(batch.video, batch.video_mask)
    found = encode(attentive, video, [(0.0, duration_s)])
    torch.testing.assert_close(found, expected)


def test_overlapping_windows_are_read_as_each_would_be_alone(plain, video):
    spans = [(0.0, 1.5), (0.5, 2.0), (1.5, 3.0)]
    together = encode(plain, video, spans)
    alone = torch.cat([encode(plain, video, [span]) for span in spans])
    torch.testing.assert_close(together, alone)
    assert (together @ together.T).triu(1).max() < 0.98


def test_a_window_comes_as_soon_as_its_frames_are_there(plain, video):
    with plain.open(video) as reader:
        decoded = []
        iter_frames = reader.iter_frames
        reader.iter_frames = lambda wanted: (
            decoded.append(frame) or frame for frame in iter_frames(wanted)
        )
        clips = plain.clips(reader, [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)])
        counts = [len(decoded) for _ in clips]
    assert counts == [2, 4, 6]


def test_windows_of_a_batch_do_not_touch_one_another(attentive, video):
    """A window of two frames beside one of four is padded, which must not show."""
    both = encode(attentive, video, [(0.0, 1.0), (0.0, 3.0)])
    torch.testing.assert_close(both[:1], encode(attentive, video, [(0.0, 1.0)]))


def test_sentences_are_read_as_in_testing(attentive):
    method = build_retriever(kind="afa")
    tokens = method.backbone.tokenize(SENTENCES, length=MAX_WORDS)
    with torch.inference_mode():
        expected = method.read_captions(tokens)
    torch.testing.assert_close(attentive.encode_text(SENTENCES), expected)


def test_a_sentence_that_is_too_long_is_cut_and_said(attentive, caplog):
    words = ["red"] * MAX_WORDS
    with caplog.at_level(logging.WARNING):
        long = attentive.encode_text([" ".join(words)])
    assert "longer than 12 tokens and were cut" in caplog.text
    torch.testing.assert_close(long, attentive.encode_text([" ".join(words[:10])]))


@pytest.mark.parametrize("sentences", [[], ["red", "  "]])
def test_an_empty_sentence_is_refused(attentive, sentences):
    with pytest.raises(ConfigurationError, match="the query is empty"):
        attentive.encode_text(sentences)


def test_a_stretch_behind_the_end_is_an_error_of_the_video(attentive, video):
    with pytest.raises(VideoDecodeError, match=r"three\.mp4: lasts 3\.00 s and has no frame from"):
        encode(attentive, video, [(7.0, 9.0)])


def test_looking_shows_the_frames_and_their_shares(attentive, video):
    look = attentive.look(video, (1.0, 3.0))
    assert look.times_s.tolist() == pytest.approx([1.0, 1.5, 2.0, 2.5])
    brightest = look.frames.float().mean((2, 3)).argmax(1)
    assert brightest.tolist() == [1, 1, 2, 2]  # green, then blue
    assert look.weights.sum().item() == pytest.approx(1.0)
    assert look.attentive
    green, blue = look.weights[0], look.weights[3]
    assert max(green, blue) > 2 * min(green, blue)


def test_the_shares_are_those_of_the_vector(attentive, video):
    """The vector is the weighted sum of the normalised frames that the pooling was shown."""
    method = build_retriever(kind="afa")
    spans = [(0.0, 3.0)]
    with attentive.open(video) as reader:
        (clip,) = attentive.clips(reader, spans)
    with torch.inference_mode():
        mask = torch.ones(1, 4, dtype=torch.bool)
        frames = method.encode(clip.pixels[None]).embedding
        seen = torch.nn.functional.normalize(method.student.temporal(frames, mask), dim=-1)[0]
    weighted = attentive.look(video, spans[0]).weights @ seen
    vector = encode(attentive, video, spans)[0]
    assert torch.cosine_similarity(weighted, vector, dim=0).item() == pytest.approx(1.0)


def test_a_student_without_attention_says_so(plain, video):
    look = plain.look(video, (0.0, 1.0))
    assert not look.attentive
    assert look.weights.tolist() == [0.5, 0.5]


def test_the_digest_is_that_of_what_makes_vectors(attentive, folder):
    same = torch.load(folder / "afa.ckpt", weights_only=True)
    same["epoch"], same["optimizer_states"] = 7, [torch.ones(3)]
    torch.save(same, folder / "later.ckpt")
    assert SearchModel(folder / "later.ckpt").digest == attentive.digest
    same["video_adapt"]["input"]["max_words"] = 9
    torch.save(same, folder / "shorter.ckpt")
    other = write_retriever(folder / "other.ckpt", kind="afa", seed=1)
    digests = {SearchModel(path).digest for path in (folder / "shorter.ckpt", other)}
    assert len(digests | {attentive.digest}) == 3


def test_a_student_without_a_vector_is_refused(folder):
    checkpoint = write_retriever(folder / "tight.ckpt", kind="tightTransf")
    with pytest.raises(WeightsError, match="keeps no vector of a video, so it cannot be indexed"):
        SearchModel(checkpoint)


def test_a_teacher_is_refused(folder):
    backbone = {"class_path": "video_adapt.backbones.TinyCLIP"}
    head = {"class_path": "video_adapt.retrieval.teachers.XPool", "init_args": {"width": 64}}
    arguments = {"backbone": backbone, "head": head}
    checkpoint = checkpoint_of(instantiate_module(TeacherRetriever, arguments), arguments)
    checkpoint["video_adapt"]["input"] = data_module(folder).evaluation_recipe()
    torch.save(checkpoint, folder / "teacher.ckpt")
    with pytest.raises(WeightsError, match=r"teacher\.ckpt: .* so it cannot be indexed"):
        SearchModel(folder / "teacher.ckpt")


def test_other_checkpoints_are_refused(tmp_path):
    recogniser = coloured_videos.write_checkpoint(tmp_path / "recogniser.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    torch.save({"video_adapt": {}}, tmp_path / "silent.ckpt")
    torch.save({"video_adapt": {"input": {"frames_per_chunk": 1}}}, tmp_path / "detector.ckpt")
    for path, message in [
        (recogniser, "use `video-adapt recognise`"),
        (tmp_path / "detector.ckpt", "use `video-adapt detect`"),
        (tmp_path / "foreign.ckpt", "not a checkpoint of video_adapt"),
        (tmp_path / "silent.ckpt", "does not say how its videos were prepared"),
        (tmp_path / "missing.ckpt", "no such file"),
    ]:
        with pytest.raises(WeightsError, match=message):
            SearchModel(path)


@pytest.mark.parametrize("app", [Recogniser, SegmentDetector])
def test_other_apps_name_this_one(attentive, app):
    with pytest.raises(WeightsError, match=r"afa\.ckpt: compares .* use `video-adapt search`"):
        app(attentive.checkpoint)


@pytest.mark.parametrize(
    ("duration_s", "window_s", "stride_s", "expected"),
    [
        (100.0, None, 0.0, [(0, 100)]),
        (7.0, 10.0, 10.0, [(0, 7)]),
        (12.0, 10.0, 10.0, [(0, 12)]),
        (20.0, 10.0, 10.0, [(0, 10), (10, 20)]),
        (22.0, 10.0, 10.0, [(0, 10), (10, 22)]),
        (25.0, 10.0, 10.0, [(0, 10), (10, 20), (15, 25)]),
        (20.0, 10.0, 5.0, [(0, 10), (5, 15), (10, 20)]),
        (24.0, 10.0, 5.0, [(0, 10), (5, 15), (10, 20), (14, 24)]),
        (0.3, 0.1, 0.1, [(0, 0.1), (0.1, 0.2), (0.2, 0.3)]),
    ],
)
def test_windows_cover_a_video_to_its_end(duration_s, window_s, stride_s, expected):
    spans = window_spans(duration_s, window_s, stride_s)
    assert torch.tensor(spans) == pytest.approx(torch.tensor(expected, dtype=torch.float32))
