import pytest

from video_adapt.apps.comparison_config import folders_read


@pytest.mark.parametrize(
    ("config", "reads"),
    [
        ({"model": {"weights": "runs/teacher_1/checkpoints/last.ckpt"}}, True),
        ({"model": {"teachers": [{"seed": 1}, {"cache": "runs/teacher_1/cache"}]}}, True),
        ({"weights": "runs/other/../teacher_1/last.ckpt"}, True),
        ({"weights": "runs/teacher_10/checkpoints/last.ckpt"}, False),
        ({"weights": "elsewhere/runs/teacher_1/checkpoints/last.ckpt"}, False),
        ({"root": "runs", "epochs": 3, "weights": None, "why": "teacher_1"}, False),
    ],
)
def test_a_run_reads_from_a_folder_if_a_setting_names_a_file_in_it(
    config, reads, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert (tmp_path.resolve() / "runs/teacher_1" in folders_read(config)) is reads
