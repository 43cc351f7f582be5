import itertools

import pytest
import torch

from tests.unit.methods.published import CASE, PREFIX, description, published
from video_adapt.backbones import CLIP
from video_adapt.errors import WeightsError
from video_adapt.methods import DiST
from video_adapt.methods.dual_encoder import BranchSpec
from video_adapt.methods.dual_encoder.convert import load_published, read_arguments, split
from video_adapt.methods.dual_encoder.units import hidden_width


def dist(state, *, towers=True, **settings):
    backbone = CLIP.from_config(description())
    if towers:
        backbone.load_weights(split(state).towers)
    arguments = read_arguments(state) | settings
    arguments["branch"] = BranchSpec(**arguments["branch"])
    return DiST(backbone, class_names=["a", "b"], **arguments)


def test_sizes_are_read_off_the_file():
    read = read_arguments(published())
    assert read["num_frames"] == CASE.config["num_frames_temporal"]
    assert read["frame_ratio"] == CASE.config["frame_ratio"]
    assert read["branch"]["pooling_layers"] == CASE.config["ada_pooling_layers"]
    assert read["branch"]["integration_temporal_ratio"] == 0.25


def test_a_hidden_width_survives_being_written_as_a_ratio():
    for width, hidden in itertools.product(range(1, 200), repeat=2):
        assert hidden_width(width, hidden / width) == hidden
    assert hidden_width(30, 0.25) == 7


def test_both_layouts_give_the_same_model():
    states = [published(), published(old=True)]
    assert not any(".dist_net." in key for key in states[1])
    models = [dist(state) for state in states]
    reports = [load_published(m, state) for m, state in zip(models, states, strict=True)]
    assert reports[0] == reports[1]
    for name, tensor in models[0].network.state_dict().items():
        assert torch.equal(tensor, models[1].network.state_dict()[name]), name


def test_the_exchange_that_nobody_reads_is_named_as_unused():
    state = published()
    report = load_published(dist(state), state)
    assert set(report.unused) == {f"integration_to_temporal.2.{x}" for x in ("weight", "bias")}
    assert not report.new


def test_another_number_of_frames_wants_permission():
    state = published()
    method = dist(state, num_frames=16)
    with pytest.raises(WeightsError, match=r"trained with 4 frames in the image tower.*has 8"):
        load_published(method, state)
    report = load_published(method, state, resize_time=True)
    assert len(report.converted) == 3 + CASE.config["ada_pooling_layers"]
    ours = method.network.temporal_to_integration[1].cls_token
    theirs = state[f"{PREFIX}dist_net.temporal2integration_nets.1.cls_token"][0, 0]
    # Twice the frames: new frame 2i + 1 lies a quarter of the way from old frame i to i + 1.
    torch.testing.assert_close(ours[1], 0.75 * theirs[0] + 0.25 * theirs[1])
    torch.testing.assert_close(ours[0], theirs[0])
    torch.testing.assert_close(ours[-1], theirs[-1])


def test_other_towers_are_refused():
    state = published()
    with pytest.raises(WeightsError, match="trained on other towers than custom"):
        load_published(dist(state, towers=False), state)


def test_a_file_without_towers_cannot_tell():
    state = {key: t for key, t in published().items() if ".dist_net." in key}
    report = load_published(dist(published(), towers=False), state)
    assert len(report.loaded) == len(state) - 2


def test_other_files_are_refused():
    state = {"module.fc.weight": torch.zeros(2, 2)}
    with pytest.raises(WeightsError, match="no dist_net"):
        read_arguments(state)


def test_a_damaged_file_is_refused():
    state = published()
    del state[f"{PREFIX}dist_net.temporal_stem.weight"]
    with pytest.raises(WeightsError, match=r"temporal_stem\.conv\.weight"):
        read_arguments(state)


def test_other_sizes_are_refused():
    state = published()
    branch = BranchSpec(**read_arguments(state)["branch"] | {"pooling_layers": 1})
    method = DiST(CLIP.from_config(description()), class_names=["a"], num_frames=8, branch=branch)
    method.backbone.load_weights(split(state).towers)
    with pytest.raises(WeightsError, match="unknown: poolings"):
        load_published(method, state)
