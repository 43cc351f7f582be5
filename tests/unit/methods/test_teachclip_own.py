"""What was trained here teaches."""

import copy

import pytest
import torch

from tests.unit.methods.captioned_clips import captioning_clip, captions
from video_adapt.adapters import STAdapter
from video_adapt.errors import ConfigurationError, WeightsError
from video_adapt.methods.teachclip import StudentSpec, Taught, TeachCLIP, TeacherRetriever
from video_adapt.retrieval.teachers import XCLIP, CLIP4ClipTeacher, XPool

FROZEN = {"tuning": "frozen", "text_tuning": "frozen"}


def xclip(**settings):
    sizes = {"words": 6, "frames": 4, "layers": 1, "heads": 2, "positions": 8}
    return XCLIP(16, **{**sizes, **settings})


def adapter():
    return STAdapter(width=4, kernel=(3, 1, 1))


def trained(method, path):
    """Move every weight that trains away from its start and save a checkpoint; returns both."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(5)
        for name, parameter in method.named_parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape)
            if name.endswith("logit_scale") and parameter.requires_grad:
                parameter.fill_(2.5)
    checkpoint = {"state_dict": method.state_dict()}
    method.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, path)
    return method.eval()


def scores(method, batch):
    found = method.predict_step(batch)
    return method.similarity(found.text, found.video)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        FROZEN,
        {"tuning": "last_n", "last_n": 1, "text_tuning": "blocks"},
        {"tuning": "adapter", "text_tuning": "frozen", "adapter": adapter()},
    ],
)
def test_a_trained_teacher_teaches_what_it_learned(tmp_path, settings):
    path, batch = tmp_path / "teacher.ckpt", captions([0, 1, 2, 1])
    method = trained(TeacherRetriever(captioning_clip(), xclip(), **settings), path)
    inside = copy.deepcopy(settings.get("adapter"))
    mine = Taught(xclip(), backbone=captioning_clip(), weights=path, adapter=inside)
    told = mine(batch, batch.caption_video)
    torch.testing.assert_close(told.similarity, scores(method, batch))
    assert not any(p.requires_grad for p in mine.parameters())


@pytest.mark.parametrize("settings", [{}, FROZEN])
@pytest.mark.parametrize("kind", ["meanP", "seqTransf", "seqLSTM", "afa"])
def test_a_trained_student_teaches_too(tmp_path, kind, settings):
    path, batch = tmp_path / "student.ckpt", captions([0, 1, 2])
    spec = StudentSpec(kind=kind, layers=1, heads=2)
    method = trained(TeachCLIP(captioning_clip(), student=spec, **settings), path)
    header = "seqTransf" if kind == "afa" else kind
    sizes = {"layers": 1, "heads": 2, "positions": 8}
    head = CLIP4ClipTeacher(16, header=header, attentive=kind == "afa", **sizes)
    told = Taught(head, backbone=captioning_clip(), weights=path)(batch, batch.caption_video)
    torch.testing.assert_close(told.similarity, scores(method, batch))


def test_the_account_of_a_teacher_is_logged(tmp_path, caplog):
    path = tmp_path / "teacher.ckpt"
    trained(TeacherRetriever(captioning_clip(), XPool(16), **FROZEN), path)
    with caplog.at_level("INFO"):
        Taught(XPool(16), backbone=captioning_clip(), weights=path)
    assert f"teacher XPool: {path}: 17 tensors loaded | new" in caplog.text


def refused(path, head, **settings):
    with pytest.raises((ConfigurationError, WeightsError)) as caught:
        Taught(head, backbone=captioning_clip(**settings), weights=path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


def test_other_heads_settings_and_backbones_are_refused(tmp_path):
    path = tmp_path / "teacher.ckpt"
    trained(TeacherRetriever(captioning_clip(), xclip(), **FROZEN), path)
    assert "trained with heads 2 (here 1); give" in refused(path, xclip(heads=1))
    assert "trained with class XCLIP (here XPool)" in refused(path, XPool(16))
    assert "video_words [6, 6], the model wants [5, 5]" in refused(path, xclip(words=5))
    assert "trained on backbone 'tiny'" in refused(path, xclip(), seed=1)


def test_a_head_that_lacks_a_part_of_the_student_is_refused(tmp_path):
    path = tmp_path / "student.ckpt"
    trained(TeachCLIP(captioning_clip(), student=StudentSpec(layers=1, heads=2)), path)
    sizes = {"layers": 1, "heads": 2, "positions": 8}
    assert "trained with attentive True (here None)" in refused(path, CLIP4ClipTeacher(16, **sizes))


def test_a_teacher_of_another_width_is_refused():
    with pytest.raises(ConfigurationError, match=r"made for .* width 8, those of tiny have 16"):
        Taught(XPool(8), backbone=captioning_clip())


@pytest.mark.parametrize(
    ("student", "head", "message"),
    [
        ({"heads": 2}, {"heads": 1}, r"heads 2 \(here 1\)"),
        ({"masked": False}, {}, r"masked False \(here True\)"),
        ({"temperature": 0.5}, {}, r"pooling_temperature 0.5 \(here 0.1\)"),
    ],
)
def test_a_head_that_would_read_otherwise_than_the_student_is_refused(
    tmp_path, student, head, message
):
    path = tmp_path / "student.ckpt"
    spec = StudentSpec(**{"layers": 1, "heads": 2, **student})
    trained(TeachCLIP(captioning_clip(), student=spec), path)
    sizes = {"layers": 1, "heads": 2, "positions": 8, "attentive": True}
    with pytest.raises(ConfigurationError, match=message):
        Taught(CLIP4ClipTeacher(16, **sizes | head), backbone=captioning_clip(), weights=path)


def test_a_student_without_a_vector_does_not_teach(tmp_path):
    path = tmp_path / "student.ckpt"
    spec = StudentSpec(kind="tightTransf", layers=1, heads=2)
    trained(TeachCLIP(captioning_clip(), student=spec), path)
    assert "reads every pair together does not teach" in refused(
        path, CLIP4ClipTeacher(16, header="meanP")
    )


def test_a_recogniser_does_not_teach(tmp_path):
    path = tmp_path / "other.ckpt"
    torch.save({"state_dict": {}, "video_adapt": {"method": "video_adapt.methods.DiST"}}, path)
    assert "a checkpoint of DiST does not teach" in refused(path, XPool(16))


def test_a_teacher_that_sees_other_pixels_is_refused():
    towers = captioning_clip()
    towers.pixels = towers.pixels._replace(mean=(0.5, 0.5, 0.5))
    with pytest.raises(ConfigurationError, match="teacher XPool sees"):
        TeachCLIP(
            captioning_clip(),
            student=StudentSpec(kind="meanP"),
            teachers=[Taught(XPool(16), backbone=towers)],
        )


def test_a_teacher_that_trained_whole_wants_nothing_of_its_backbone(tmp_path):
    path, batch = tmp_path / "teacher.ckpt", captions([0, 1, 2])
    started = captioning_clip()
    started.logit_scale.data.fill_(4.0)
    method = trained(TeacherRetriever(started, XPool(16)), path)
    mine = Taught(XPool(16), backbone=captioning_clip(seed=1), weights=path)
    told = mine(batch, batch.caption_video).similarity
    torch.testing.assert_close(told, scores(method, batch))
