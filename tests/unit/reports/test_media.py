"""What W&B is shown of a finished run."""

from types import SimpleNamespace

import pytest

from tests.unit.reports.detection_run import make_detection_run
from tests.unit.reports.retrieval_run import make_retrieval_run
from tests.unit.reports.test_open_vocabulary_report import RIGHT, base_novel
from video_adapt.callbacks import WandbTracker
from video_adapt.reports.media import show_media


class Seen(WandbTracker):
    """A tracker that remembers what it was shown."""

    def __init__(self, folder):
        super().__init__(folder)
        self.keys = []

    def show(self, key, path, step):
        assert path.read_bytes().startswith(b"\x89PNG")
        assert step == 7
        self.keys.append(key)


@pytest.fixture
def trainer(tmp_path):
    return SimpleNamespace(loggers=[Seen(tmp_path)], global_step=7)


def keys(trainer):
    return trainer.loggers[0].keys


def test_timelines_of_the_examples(trainer, tmp_path):
    folder = make_detection_run(tmp_path / "run") / "test"
    show_media(trainer, folder, "test")
    assert keys(trainer) == ["test/example_1", "test/example_2", "test/example_3"]
    assert not list(folder.glob("example_*"))


def test_pictures_of_the_evaluation_are_not_shown_twice(trainer, tmp_path):
    folder = make_detection_run(tmp_path / "run") / "test"
    assert list(folder.glob("*.png"))
    show_media(trainer, folder, "test")
    assert not {path.stem for path in folder.glob("*.png")} & {
        key.partition("/")[2] for key in keys(trainer)
    }


def test_what_sentences_find(trainer, tmp_path):
    show_media(trainer, make_retrieval_run(tmp_path / "run") / "val", "val")
    assert keys(trainer) == ["val/examples"]


def test_accuracy_by_test_set(trainer, tmp_path):
    show_media(trainer, base_novel(tmp_path / "run", RIGHT) / "test", "test")
    assert keys(trainer) == ["test/sets"]


def test_nothing_is_drawn_that_nobody_sees(trainer, tmp_path, monkeypatch):
    folder = make_retrieval_run(tmp_path / "run") / "val"
    show_media(trainer, tmp_path / "nothing", "val")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    show_media(trainer, folder, "val")
    assert keys(trainer) == []
