import pytest
import torch
from safetensors.torch import save_file

from tests.unit.methods.captioned_clips import captioning_clip, captions
from video_adapt.adapters import TokenShift
from video_adapt.errors import WeightsError
from video_adapt.methods.teachclip import StudentSpec, Taught
from video_adapt.methods.teachclip.convert import load_student, load_teacher
from video_adapt.retrieval.teachers import XCLIP, ScoreFile, TS2Net

MATRICES = {
    "video_sentence": "global_mat_weight",
    "frame_word": "local_mat_weight",
    "video_words": "word_logit_weight",
    "frames_sentence": "frame_logit_weight",
    "words_of_frame": "word_mat_weight",
    "frames_of_word": "frame_mat_weight",
    "frames_of_pair": "frame_mat_weight2",
    "words_of_pair": "word_mat_weight2",
}
PARTS = {
    "temporal.transformer.": "transformerClip.",
    "temporal.positions.": "frame_position_embeddings.",
    "temporal.lstm.": "lstm_visual.",
    "pooling.hidden.": "frameLinear.",
    "pooling.score.": "frameLinear2.",
    "cross.positions.": "cross.embeddings.position_embeddings.",
    "cross.transformer.": "cross.transformer.",
    "cross.norm.": "cross.pooler.ln_pool.",
    "cross.dense.": "cross.pooler.dense.",
    "cross.score.": "similarity_dense.",
    "logit_scale": "clip.logit_scale",
    **MATRICES,
}


def published(head, backbone):
    """State of a head and its towers under the names of the released files, in half precision."""
    state = {f"clip.{k.removeprefix('text.')}": v for k, v in backbone.towers.state_dict().items()}
    for name, tensor in head.state_dict().items():
        ours = next(start for start in PARTS if name.startswith(start))
        state[PARTS[ours] + name.removeprefix(ours)] = tensor
    return {name: tensor.half() for name, tensor in state.items()}


def xclip(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = XCLIP(16, words=6, frames=4, layers=1, heads=1, positions=8)
        for name in MATRICES:
            torch.nn.init.normal_(getattr(head, name))
    return head


def assert_same(module, other):
    for name, tensor in module.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor.half().float()), name


@pytest.mark.parametrize("kind", ["afa", "meanP", "seqTransf", "seqLSTM", "tightTransf"])
def test_a_published_student_becomes_ours(kind):
    spec = StudentSpec(kind=kind, layers=2)
    theirs, towers = spec.build(16, positions=8), captioning_clip(seed=1)
    state = published(theirs, towers) | {"frametransformer.resblocks.0.ln_1.weight": torch.ones(1)}
    mine, backbone = spec.build(16, positions=8), captioning_clip()
    report = load_student(mine, backbone, state)
    assert_same(theirs, mine)
    assert_same(towers, backbone)
    assert len(report.loaded) == len(state) - 1
    assert report.unused == ("frametransformer.resblocks.0.ln_1.weight",)


def test_a_student_of_another_kind_is_refused():
    state = published(StudentSpec(layers=2).build(16, positions=8), captioning_clip())
    with pytest.raises(WeightsError, match="pooling"):
        load_student(
            StudentSpec(kind="seqTransf", layers=2).build(16, positions=8), captioning_clip(), state
        )


def test_a_published_teacher_teaches_from_its_file(tmp_path):
    theirs, towers = xclip(3), captioning_clip(seed=3)
    theirs.logit_scale.data.copy_(towers.logit_scale.data)  # one tensor in the file
    path = tmp_path / "xclip.safetensors"
    save_file(published(theirs, towers), path)
    mine = Taught(xclip(0), backbone=captioning_clip(), weights=path)
    assert_same(theirs, mine.head)
    assert_same(towers, mine.backbone)


def test_files_of_unknown_teachers_are_refused(tmp_path):
    path = tmp_path / "scores.safetensors"
    save_file({"similarity": torch.ones(2, 2)}, path)
    with pytest.raises(WeightsError, match="files of ScoreFile are not known; known are"):
        load_teacher(ScoreFile(path), captioning_clip(), {})


def test_a_teacher_sees_through_the_adapter_it_was_trained_with():
    batch = captions([0, 1, 2])
    told = []
    for adapter in (None, TokenShift(last_blocks=1, divisor=2)):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            head = TS2Net(16, layers=1, heads=1)
        teacher = Taught(head, backbone=captioning_clip(), adapter=adapter)
        told.append(teacher(batch, batch.caption_video).similarity)
    assert not torch.allclose(told[0], told[1])
