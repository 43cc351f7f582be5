import argparse
import json

import pytest
import torch

from tests.parity.checks.adatad_training import batch, build
from tests.unit.baselines.test_convert import published_evl, published_st_adapter
from tests.unit.methods import published_detectors as detectors
from tests.unit.methods.published import CASE, published, write_description
from video_adapt.apps import convert
from video_adapt.errors import AnnotationError, ConfigurationError, WeightsError
from video_adapt.tasks import load_method

# Lightning builds a method from its recorded arguments in a way that jsonargparse deprecates.
pytestmark = pytest.mark.filterwarnings(
    "ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"
)


@pytest.fixture
def files(tmp_path):
    """A published file, the description of its CLIP, and class names."""
    torch.save({"model_state": published()}, tmp_path / "dist.pyth")
    write_description(tmp_path / "clip.json")
    (tmp_path / "classes.txt").write_text("walking\nrunning\n")
    return tmp_path


def run(files, *words, method="dist", file="dist.pyth", classes="classes.txt"):
    parser = argparse.ArgumentParser()
    convert.add_arguments(parser)
    given = [str(files / file), "--method", method, "--backbone", str(files / "clip.json")]
    given += ["--classes", str(files / classes), "--out", str(files / "out.ckpt"), *words]
    return convert.run(parser.parse_args(given))


def test_a_published_file_becomes_a_checkpoint_that_loads_alone(files, capsys):
    assert run(files) == 0
    assert "unused 2 (integration_to_temporal.2.{" in capsys.readouterr().out
    method = load_method(files / "out.ckpt")
    assert method.class_names == ["walking", "running"]
    assert method.num_frames == CASE.config["num_frames_temporal"]
    weight = published()["backbone.base_encoder.dist_net.ln_post.weight"]
    assert torch.equal(method.network.norm.weight, weight)
    tower = published()["backbone.base_encoder.visual.proj"]
    assert torch.equal(method.backbone.visual.proj, tower)


def test_the_checkpoint_holds_the_trained_part_only(files):
    run(files)
    saved = torch.load(files / "out.ckpt", weights_only=True)
    assert {key.split(".")[0] for key in saved["state_dict"]} == {"network"}
    assert saved["video_adapt"]["method"].endswith("DiST")


def test_the_checkpoint_says_how_videos_are_prepared(files):
    run(files)
    given = torch.load(files / "out.ckpt", weights_only=True)["video_adapt"]["input"]
    frames = CASE.config["num_frames_temporal"]
    assert given["sampler"] == {"class": "SegmentSampler", "num_frames": frames}
    assert (given["transform"]["crops"], given["eval_views"]) == (1, 3)


def test_a_published_evl_can_look_densely(files):
    run(files)
    towers = str(files / "out.quickgelu_towers.safetensors")
    state = published_evl(frames=4, classes=2)
    torch.save({"model": {f"module.{k}": t for k, t in state.items()}}, files / "evl.pth")
    out = str(files / "evl.ckpt")
    words = ["--weights", towers, "--stride", "16", "--out", out]
    assert run(files, *words, method="evl", file="evl.pth") == 0
    assert load_method(out).network.num_frames == 4
    given = torch.load(out, weights_only=True)["video_adapt"]["input"]
    assert given["sampler"] == {"class": "DenseSampler", "num_frames": 4, "stride": 16}


def test_a_published_st_adapter_is_told_its_frames(files):
    run(files)
    towers = str(files / "out.quickgelu_towers.safetensors")
    torch.save({"model": published_st_adapter(classes=2)}, files / "st.pth")
    out = str(files / "st.ckpt")
    words = ["--weights", towers, "--out", out]
    with pytest.raises(ConfigurationError, match="give --num-frames"):
        run(files, *words, method="st_adapter", file="st.pth")
    assert run(files, *words, "--num-frames", "8", method="st_adapter", file="st.pth") == 0
    assert load_method(out).tuning == "adapter"
    given = torch.load(out, weights_only=True)["video_adapt"]["input"]
    assert given["sampler"] == {"class": "UniformSampler", "num_frames": 8}
    assert (given["transform"]["crops"], given["eval_views"]) == (3, 1)


def test_frames_that_contradict_the_file_are_refused(files):
    torch.save({"model": published_evl(frames=4)}, files / "evl.pth")
    with pytest.raises(ConfigurationError, match="trained with 4 frames: leave out --num-frames 8"):
        run(files, "--weights", "openai", "--num-frames", "8", method="evl", file="evl.pth")


def test_options_of_another_method_are_refused(files):
    with pytest.raises(ConfigurationError, match="--stride does not go with --method dist"):
        run(files, "--stride", "16")


def test_weights_of_the_towers_may_come_from_elsewhere(files):
    run(files)
    towers = files / "out.quickgelu_towers.safetensors"
    (files / "out.ckpt").rename(files / "first.ckpt")
    assert run(files, "--weights", str(towers)) == 0


def test_frames_can_be_added(files):
    run(files, "--num-frames", "16")
    assert load_method(files / "out.ckpt").network.poolings[0].positional_embedding.shape[0] == 8


def test_nothing_is_overwritten(files):
    (files / "out.ckpt").touch()
    with pytest.raises(ConfigurationError, match="exists already"):
        run(files)


def test_a_missing_folder_is_named(files):
    with pytest.raises(ConfigurationError, match="no folder"):
        run(files, "--out", str(files / "nowhere" / "out.ckpt"))


def test_a_file_of_another_method_is_refused(files):
    torch.save({"fc.weight": torch.zeros(2, 2)}, files / "other.pyth")
    with pytest.raises(WeightsError, match=r"other\.pyth: not a published file of DiST"):
        run(files, file="other.pyth")
    with pytest.raises(WeightsError, match="not a published file of EVL"):
        run(files, "--weights", "openai", method="evl")
    assert not (files / "out.ckpt").exists()


def test_nothing_is_left_of_a_conversion_that_fails(files):
    description = json.loads((files / "clip.json").read_text())
    description["embed_dim"] += 1
    (files / "clip.json").write_text(json.dumps(description))
    before = sorted(files.iterdir())
    with pytest.raises(WeightsError):
        run(files)
    assert sorted(files.iterdir()) == before


def test_baselines_want_the_weights_of_their_clip(files):
    with pytest.raises(ConfigurationError, match="--weights openai"):
        run(files, method="evl")


def test_a_missing_class_file_is_named(files):
    with pytest.raises(AnnotationError, match=r"nothing\.txt"):
        run(files, classes="nothing.txt")


@pytest.fixture
def classes(tmp_path):
    """Class names for a published file; returns the path."""

    def write(count):
        path = tmp_path / "names.txt"
        path.write_text("".join(f"class {number}\n" for number in range(count)))
        return path

    return write


def convert_detector(folder, state, *words, experiment=None):
    detectors.save(state, folder / "epoch_59.pth")
    parser = argparse.ArgumentParser()
    convert.add_arguments(parser)
    given = [folder / "epoch_59.pth", "--method", "adatad", "--out", folder / "out.ckpt"]
    given += ["--config", experiment or detectors.write_experiment(folder), *words]
    return convert.run(parser.parse_args([str(word) for word in given]))


def detected(method):
    given = batch(detectors.END_TO_END, 0, method)
    with torch.no_grad():
        return method.eval()(given.video, given.mask)


def test_a_published_adatad_becomes_a_checkpoint_that_loads_alone(tmp_path, classes, capsys):
    names = classes(detectors.END_TO_END.config["num_classes"])
    assert convert_detector(tmp_path, detectors.published(), "--classes", names) == 0
    assert "tensors loaded" in capsys.readouterr().out
    (tmp_path / "epoch_59.pth").unlink()
    method = load_method(tmp_path / "out.ckpt")
    assert method.class_names == ["class 0", "class 1", "class 2"]
    ours, theirs = detected(method), detected(build(detectors.END_TO_END))
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True) if torch.is_tensor(a))
    assert torch.equal(ours.logits, theirs.logits)


def test_its_checkpoint_holds_the_trained_part_and_how_windows_are_cut(tmp_path, classes):
    config = detectors.END_TO_END.config
    convert_detector(tmp_path, detectors.published(), "--classes", classes(config["num_classes"]))
    saved = torch.load(tmp_path / "out.ckpt", weights_only=True)
    parts = {name.split(".")[0] for name in saved["state_dict"]}
    assert parts == {"head", "backbone"}
    inside = {n for n in saved["state_dict"] if n.startswith("backbone.")}
    assert all(name.startswith("backbone.adapters.") for name in inside)
    given = saved["video_adapt"]["input"]
    assert given["sampler"]["positions"] == config["max_seq_len"]
    assert given["frames_per_chunk"] == config["num_frames"]
    assert given["class_names"] == saved["video_adapt"]["class_names"]


def test_adapters_beside_the_backbone_are_read(tmp_path, classes):
    names = classes(detectors.END_TO_END.config["num_classes"])
    experiment = detectors.write_experiment(tmp_path, tuning="side")
    state = detectors.published(side=True)
    assert convert_detector(tmp_path, state, "--classes", names, experiment=experiment) == 0
    assert load_method(tmp_path / "out.ckpt").tuning == "side"


@pytest.mark.parametrize("name", detectors.SETTINGS)
def test_detectors_on_features_become_checkpoints(tmp_path, classes, name):
    _, count = detectors.width_and_classes(name)
    _, state = detectors.on_features(name)
    experiment = detectors.write_experiment(tmp_path, features=name)
    words = ("--classes", classes(count))
    assert convert_detector(tmp_path, state, *words, experiment=experiment) == 0
    method = load_method(tmp_path / "out.ckpt")
    assert type(method).__name__ == "FeatureDetector"
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.ckpt"]


def test_class_names_come_from_the_data_of_the_experiment(tmp_path, classes):
    count = detectors.END_TO_END.config["num_classes"]
    classes(count).rename(tmp_path / "category_idx.txt")
    (tmp_path / "missing.txt").touch()
    experiment = detectors.write_experiment(tmp_path, root=str(tmp_path))
    assert convert_detector(tmp_path, detectors.published(), experiment=experiment) == 0
    assert len(load_method(tmp_path / "out.ckpt").class_names) == count


def test_a_detector_of_other_sizes_is_refused_and_leaves_nothing(tmp_path, classes):
    with pytest.raises(WeightsError, match=r"epoch_59\.pth: does not fit .*another shape: head"):
        convert_detector(tmp_path, detectors.published(), "--classes", classes(5))
    assert not list(tmp_path.glob("out*"))


def test_frames_and_features_are_not_confused(tmp_path, classes):
    words = ("--classes", classes(3))
    reader = detectors.write_experiment(tmp_path, features="tridet_eval")
    with pytest.raises(WeightsError, match=r"holds a backbone, .* reads features"):
        convert_detector(tmp_path, detectors.published(), *words, experiment=reader)
    _, state = detectors.on_features("actionformer_eval")
    with pytest.raises(WeightsError, match=r"holds no backbone, .* has one"):
        convert_detector(tmp_path, state, *words)


def test_detectors_want_their_experiment_and_no_clip(files):
    with pytest.raises(ConfigurationError, match="--backbone does not go with --method adatad"):
        run(files, method="adatad")
    with pytest.raises(ConfigurationError, match="--config does not go with --method dist"):
        run(files, "--config", "x.yaml")


@pytest.mark.parametrize("option", ["config", "classes"])
def test_a_missing_file_of_a_detector_is_named(tmp_path, option):
    with pytest.raises(ConfigurationError, match=rf"nothing\.x: no such file; check --{option}"):
        convert_detector(tmp_path, detectors.published(), f"--{option}", "nothing.x")


def test_what_is_no_experiment_is_named(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("model: {")
    with pytest.raises(
        ConfigurationError, match=r"broken\.yaml: no experiment file: while parsing"
    ):
        convert_detector(tmp_path, detectors.published(), experiment=path)
