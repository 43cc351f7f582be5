import hashlib
from pathlib import Path

import pytest

from video_adapt.callbacks import provenance


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A program of two files in the place of this one."""
    root = tmp_path / "package"
    (root / "room").mkdir(parents=True)
    (root / "one.py").write_text("1")
    (root / "room/two.py").write_text("2")
    monkeypatch.setattr(provenance, "_SOURCES", (root,))
    provenance.code_digest.cache_clear()
    yield root
    provenance.code_digest.cache_clear()


def code():
    provenance.code_digest.cache_clear()
    return provenance.code_digest()


def test_the_code_s_digest_is_of_names_and_contents(sources):
    before = code()
    assert code() == before
    (sources / "room/two.py").write_text("3")
    changed = code()
    (sources / "room/two.py").rename(sources / "room/three.py")
    renamed = code()
    (sources / "notes.txt").write_text("no code")
    assert len({before, changed, renamed}) == 3
    assert code() == renamed


def test_the_code_s_digest_does_not_depend_on_where_it_lies(sources, tmp_path, monkeypatch):
    before = code()
    elsewhere = tmp_path / "elsewhere/package"
    elsewhere.parent.mkdir()
    sources.rename(elsewhere)
    monkeypatch.setattr(provenance, "_SOURCES", (elsewhere,))
    assert code() == before


def test_both_packages_are_the_code():
    assert {root.name for root in provenance._SOURCES} == {"video_adapt", "data_modules"}
    assert all((root / "__init__.py").is_file() for root in provenance._SOURCES)


def test_a_start_is_the_command_its_folder_and_the_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["/bin/video-adapt", "fit", "-c", "x.yaml"])
    Path("best.ckpt").write_bytes(b"weights")
    started = provenance.how_started("best.ckpt")
    assert started["words"] == ["video-adapt", "fit", "-c", "x.yaml"]
    assert started["folder"] == str(tmp_path)
    sha256 = hashlib.sha256(b"weights").hexdigest()
    assert started["checkpoint"] == {"path": "best.ckpt", "sha256": sha256}


def test_weights_that_are_no_file_have_no_digest():
    assert provenance.how_started()["checkpoint"] is None
    assert provenance.how_started("last")["checkpoint"] == {"path": "last", "sha256": None}
