"""Classes given as text."""

import pytest

from video_adapt.errors import ConfigurationError
from video_adapt.vocabulary import Vocabulary


def test_an_entry_is_name_and_description():
    vocabulary = Vocabulary("base", ("pour", "kick"), ("A liquid moves.", ""))
    assert vocabulary.entries == ("pour: A liquid moves.", "kick")
    assert Vocabulary("base", ("pour", "kick")).entries == ("pour", "kick")
    assert len(vocabulary) == 2


@pytest.mark.parametrize(
    ("classes", "descriptions", "fault"),
    [
        ((), (), "there are none"),
        (("pour", " "), (), "class 1 has an empty name"),
        (("pour", "Pour "), (), "'pour' appears twice"),
        (("pour", "kick"), ("A liquid moves.",), "2 classes, 1 descriptions"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(classes, descriptions, fault):
    with pytest.raises(ConfigurationError, match=fault):
        Vocabulary("base", classes, descriptions)
