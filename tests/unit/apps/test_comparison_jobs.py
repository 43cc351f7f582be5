import subprocess

import yaml

from video_adapt.apps.comparison_file import Comparison
from video_adapt.apps.comparison_jobs import write_slurm, write_sweep


def comparison(tmp_path):
    folder = tmp_path / "a folder"
    folder.mkdir()
    return Comparison(folder / "cmp.yaml", "Title", tmp_path / "out", tmp_path, (), ())


def test_every_job_of_the_array_is_one_run(tmp_path):
    mine = comparison(tmp_path)
    script = write_slurm(mine, ["probe_0", "full_1"])
    text = script.read_text()
    assert "#SBATCH --array=0-1\n" in text
    (tmp_path / "video-adapt").write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    (tmp_path / "video-adapt").chmod(0o755)
    for task, name in enumerate(("probe_0", "full_1")):
        env = {"SLURM_ARRAY_TASK_ID": str(task), "PATH": f"{tmp_path}:/usr/bin:/bin"}
        said = subprocess.run([script], env=env, capture_output=True, text=True, check=True)
        assert said.stdout.splitlines() == ["compare", str(mine.path), "--run", name]


def test_the_sweep_is_a_grid_over_the_runs(tmp_path):
    mine = comparison(tmp_path)
    sweep = yaml.safe_load(write_sweep(mine, ["probe_0", "full_1"]).read_text())
    assert sweep["method"] == "grid"
    assert sweep["parameters"] == {"run": {"values": ["probe_0", "full_1"]}}
    assert sweep["command"] == ["${env}", "video-adapt", "compare", str(mine.path), "${args}"]
