import pytest

from video_adapt.apps.search_where import where_all
from video_adapt.errors import ConfigurationError
from video_adapt.retrieval import Entry

ENTRIES = [
    Entry("/home/kitchen/a.mp4", 0, 30),
    Entry("/home/kitchen/a.mp4", 30, 60),
    Entry("/home/garden/b.mp4", 30, 60),
]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (["path=*/kitchen/*"], [0, 1]),
        (["path != */kitchen/*"], [2]),
        (["path=/home/garden/b.mp4"], [2]),
        (["path=kitchen"], []),
        (["start_s>=30"], [1, 2]),
        (["start_s > 29.5", "path=*/a.mp4"], [1]),
        (["end_s<=30"], [0]),
        (["end_s<30"], []),
    ],
)
def test_all_conditions_must_be_met(conditions, expected):
    passes = where_all(conditions)
    assert [number for number, entry in enumerate(ENTRIES) if passes(entry)] == expected


def test_no_condition_is_no_filter():
    assert where_all([]) is None


@pytest.mark.parametrize(
    "condition", ["", "path", "path>3", "start_s=3", "name=x", "path=", "start_s>=two"]
)
def test_an_unknown_condition_is_refused(condition):
    with pytest.raises(ConfigurationError, match=r"condition '.*'( is unknown; use path=|: 'two')"):
        where_all([condition])
