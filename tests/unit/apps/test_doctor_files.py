import pytest

from video_adapt.apps import doctor_weights
from video_adapt.apps.doctor_files import (
    count_videos,
    examine_experiment,
    examine_path,
    examine_variables,
    read_experiment_file,
)
from video_adapt.apps.doctor_findings import Finding
from video_adapt.apps.doctor_weights import examine_hub, examine_weights, hub_cache


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder to work in, without variables, hub and internet."""
    for name in ("DATA", "HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def fetched(place, repository, file="model.safetensors"):
    folder = place / f"cache/huggingface/hub/models--{repository.replace('/', '--')}"
    return write(folder / "snapshots/abc" / file, "weights")


def only(findings):
    (found,) = findings
    return found


def told(findings, status):
    return [found.text for found in findings if found.status == status]


def test_files_and_variables_are_filled_in(place, monkeypatch):
    write(place / "base/data.yaml", "root: ${oc.env:DATA}/x\nother: ${oc.env:NONE,5}\n")
    path = write(place / "exp/a.yaml", "data: ../base/data.yaml\nlist: ['${oc.env:DATA}', 1]\n")
    found = read_experiment_file(path)
    assert found.unset == ["DATA", "DATA"]
    assert found.content["data"]["root"] == "${oc.env:DATA}/x"
    monkeypatch.setenv("DATA", "/d")
    found = read_experiment_file(path)
    assert found.content == {"data": {"root": "/d/x", "other": "5"}, "list": ["/d", 1]}
    assert not found.unset
    assert not found.problems


def test_what_an_experiment_lacks_is_named_once(place):
    text = "a: ${oc.env:DATA}\nb: ${oc.env:DATA}\nc: gone.yaml\nd: broken.yaml\n"
    path = write(place / "a.yaml", text)
    write(place / "broken.yaml", "[")
    found = [*examine_experiment(path)]
    assert [finding.status for finding in found] == ["fail"] * 3
    assert found[0].text == f"{place}/gone.yaml: No such file or directory"
    assert found[1].text.startswith(f"{place}/broken.yaml: ")
    assert found[2].text == f"{path}: the variable DATA is not set"
    assert found[2].mend == "export DATA=/path/to/it"


def data(place, **arguments):
    lines = "".join(f"    {key}: {value}\n" for key, value in arguments.items())
    text = f"data:\n  class_path: KineticsDataModule\n  init_args:\n{lines}"
    return [*examine_experiment(write(place / "a.yaml", text))][1:]


def test_data_that_are_there(place):
    write(place / "clips/videos/a.MP4", "")
    write(place / "clips/videos/b.webm", "")
    write(place / "clips/train.csv", "")
    write(place / "val.csv", "")
    write(place / "lists/test_2.csv", "")
    found = data(place, root="clips", train="train.csv", val="val.csv", exclude="[a video]")
    assert found == [Finding("data", "ok", "clips: all lists, 2 videos")]
    novel = "{novel: {videos: 'test_{draw}.csv'}}"
    found = data(place, root="clips", lists="lists", draw=2, test_sets=novel)
    assert found == [Finding("data", "ok", "clips: all lists, 2 videos")]
    found = data(place, root="clips", lists="lists", draw=3, test_sets=novel)
    assert told(found, "fail") == ["test_3.csv is not in lists"]


def test_data_that_are_not_there(place):
    assert told(data(place, root="clips"), "fail") == ["clips is not a folder"]
    (place / "clips").mkdir()
    found = data(place, root="clips", train="train.csv", captions="[a.json, b.json]")
    assert told(found, "fail") == [
        *("train.csv is not in clips", "a.json is not in clips", "b.json is not in clips"),
    ]
    assert told(data(place, root="clips"), "warn") == ["clips: no videos below it"]
    found = data(place, root="clips", features="{path: x.npy}")
    assert told(found, "ok") == ["clips: all lists, 0 videos"]


def test_variables_of_experiments_lead_somewhere(place, monkeypatch):
    text = "a: ${oc.env:DATA}\nb: ${oc.env:MORE}\nc: ${oc.env:SEED,0}\nd: ${oc.env:WANDB_X}\n"
    write(place / "experiments/a/b.yaml", text)
    monkeypatch.setenv("DATA", str(place))
    monkeypatch.delenv("MORE", raising=False)
    assert [*examine_variables(place / "experiments")] == [
        Finding("data", "ok", f"DATA={place}"),
        Finding("data", "ok", "not set, each wanted by experiments of its own only: MORE"),
    ]
    monkeypatch.setenv("MORE", "s3cret")
    found = [*examine_variables(place / "experiments")][1]
    assert found.status == "fail"
    assert "s3cret" not in found.text + found.mend
    assert not [*examine_variables(place / "elsewhere")]


def test_paths_are_looked_at(place):
    assert examine_path(place / "x").status == "fail"
    (place / "x").mkdir()
    assert examine_path(place / "x").status == "warn"
    write(place / "x/y/a.mkv", "")
    assert examine_path(place / "x") == Finding("path", "ok", f"{place}/x: 1 videos")
    write(place / "w.pt", "x" * 2_000_000)
    assert examine_path(place / "w.pt") == Finding("path", "ok", f"{place}/w.pt: 2.0 MB")


def test_counting_ends_where_enough_is_known(place, monkeypatch):
    for number in range(5):
        write(place / f"{number}/a.mp4", "")
    monkeypatch.setattr("video_adapt.apps.doctor_files._MANY", 3)
    assert count_videos(place) == 3
    assert examine_path(place).text.endswith("3 or more videos")


def videomae(weights, name="small"):
    return {"class_path": "VideoMAE", "init_args": {"name": name, "weights": weights}}


def test_weights_of_the_hub_are_found_or_named(place):
    repository = "MCG-NJU/videomae-small-finetuned-kinetics"
    (found,) = examine_weights(videomae("hub"))
    assert found.status == "fail"
    assert found.mend.startswith(f"download https://huggingface.co/{repository} ")
    fetched(place, repository, "config.json")
    assert only(examine_weights(videomae("hub"))).status == "fail"
    fetched(place, repository)
    assert only(examine_weights(videomae("hub"))).status == "ok"
    fetched(place, "me/mine")
    assert only(examine_weights(videomae("hub", "me/mine"))).status == "ok"


def test_weights_that_can_be_fetched_are_a_warning(place, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(doctor_weights, "_answers", lambda server: True)
    (found,) = examine_weights(videomae("hub"))
    assert found.status == "warn"
    assert "fetched from https://huggingface.co/MCG-NJU" in found.mend


def test_a_tag_of_open_clip_is_looked_for_where_it_would_be_fetched_to(place, monkeypatch):
    node = {"class_path": "CLIP", "init_args": {"name": "ViT-B-16-quickgelu", "weights": "openai"}}
    entries = {("ViT-B-16", "openai"): {"hf_hub": "timm/vit.openai/"}}
    monkeypatch.setattr("open_clip.get_pretrained_cfg", lambda *words: entries.get(words))
    (found,) = examine_weights(node)
    assert found.status == "fail"
    assert "https://huggingface.co/timm/vit.openai " in found.mend
    fetched(place, "timm/vit.openai")
    assert only(examine_weights(node)).status == "ok"
    node["init_args"]["weights"] = "no-such-tag"
    assert told(examine_weights(node), "fail") == ["no-such-tag is not there"]


def test_files_of_weights_are_looked_for(place):
    node = {"class_path": "Taught", "init_args": {"weights": "runs/best.ckpt"}}
    assert told(examine_weights(node), "fail") == ["runs/best.ckpt is not there"]
    write(place / "runs/best.ckpt", "x" * 3_000_000)
    assert told(examine_weights(node), "ok") == ["runs/best.ckpt: 3.0 MB"]
    assert told(examine_weights({"ckpt_path": "runs/best.ckpt"}), "ok")
    assert told(examine_weights({"ckpt_path": "runs/last.ckpt"}), "fail")
    assert not [*examine_weights(videomae(None))]
    assert not [*examine_weights(videomae("${oc.env:GIANT}"))]
    assert not [*examine_weights({"init_args": {"weights": "no class"}})]


def test_weights_named_twice_are_told_once(place):
    part = "{class_path: VideoMAE, init_args: {name: small, weights: gone.pt}}"
    path = write(place / "a.yaml", f"model: [{part}, {part}]\n")
    found = [finding for finding in examine_experiment(path) if finding.subject == "weights"]
    assert len(found) == 1


def test_the_hub_s_cache_is_where_its_client_has_it(place, monkeypatch):
    assert hub_cache() == place / "cache/huggingface/hub"
    monkeypatch.setenv("HF_HOME", "/h")
    assert str(hub_cache()) == "/h/hub"
    monkeypatch.setenv("HF_HUB_CACHE", "/c")
    assert str(hub_cache()) == "/c"


def test_what_was_fetched_is_listed(place, monkeypatch):
    assert examine_hub().status == "warn"
    assert "TinyCLIP is shipped" in examine_hub().mend
    fetched(place, "me/mine")
    fetched(place, "me/half", "config.json")
    assert examine_hub() == Finding("weights", "ok", f"in {hub_cache()}: me/mine")
