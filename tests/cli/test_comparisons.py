"""Every comparison file can be read, and every run that it asks for has a whole configuration."""

import re
from pathlib import Path

import pytest
import yaml

from video_adapt.apps.comparison_config import ConfigReader, digest_of
from video_adapt.apps.comparison_file import PlannedRun, read_comparison

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "experiments/comparisons").glob("*.yaml"))


@pytest.fixture(scope="module")
def reader():
    """Reads settings from the repository's root; every folder that files ask for is set."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        for path in (ROOT / "experiments").rglob("*.yaml"):
            for name in re.findall(r"oc\.env:(\w+)}", path.read_text()):
                patch.setenv(name, "/videos")
        yield ConfigReader()


def test_there_are_comparisons():
    assert len(FILES) >= 7


def test_no_two_comparisons_write_to_one_folder():
    folders = [read_comparison(path).out for path in FILES]
    assert len(set(folders)) == len(folders)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_its_experiments_differ_and_are_complete(path, reader):
    comparison = read_comparison(path)
    configs = [reader(entry.runs[0]) for entry in comparison.entries]
    digests = {digest_of("fit", config) for config in configs}
    assert len(digests) == len(configs)
    for entry, config in zip(comparison.entries, configs, strict=True):
        run = entry.runs[0]
        assert config["run_dir"] == str(run.folder)
        assert config["seed_everything"] == run.seed
        trains = "ZeroShot" not in config["model"]["class_path"]
        assert trains == (run.command == "fit")


def test_the_seed_of_a_run_reaches_its_teachers(reader):
    comparison = read_comparison(ROOT / "experiments/comparisons/demo_retrieval.yaml")
    [taught] = [run for run in comparison.runs if run.name == "taught_by_one_2"]
    assert "xclip_2/checkpoints/last.ckpt" in yaml.safe_dump(reader(taught))


def test_a_changed_line_moves_the_demonstration_to_other_data(reader, tmp_path):
    """Of the part that is replaced nothing is said twice; the rest of the experiment stays."""
    original = ROOT / "experiments/comparisons/demo_recognition.yaml"
    before = read_comparison(original).runs[1]
    data = ROOT / "experiments/_base/own_clips.yaml"
    lines = tuple(f"--data={data}" if line.startswith("--data=") else line for line in before.lines)
    config = reader(before._replace(lines=lines))
    assert config["data"]["init_args"]["root"] == "my_videos"
    assert config["data"]["init_args"]["train"] is None
    assert config["data"]["init_args"]["sampler"]["init_args"]["num_frames"] == 8
    assert config["model"] == reader(before)["model"]


def test_a_wrong_line_is_found_before_anything_runs(reader, capsys):
    run = read_comparison(FILES[0]).runs[0]
    wrong = PlannedRun(run.command, run.file, ("--trainer.max_epochz=3",), 0, run.folder)
    with pytest.raises(SystemExit):
        reader(wrong)
    error = capsys.readouterr().err
    assert error.startswith("video-adapt: error: ")
    assert "max_epochs" in error
