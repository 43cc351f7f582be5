import pytest

from video_adapt.apps.outputs import whole_file


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / "a.json"
    with whole_file(path) as file:
        file.write("1")
        assert not path.exists()
    assert path.read_text() == "1"
    assert list(path.parent.iterdir()) == [path]


def write_half(path):
    with whole_file(path) as file:
        file.write("ne")
        raise OSError("full")


def test_nothing_is_left_where_writing_fails_and_the_older_file_stays(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(OSError, match="full"):
        write_half(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
