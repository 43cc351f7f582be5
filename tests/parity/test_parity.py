"""Every fixture found is checked by the function registered for its name; an unknown one fails."""

import importlib
import pkgutil

import pytest

from tests.parity import checks
from tests.parity.cases import Case, discover, find_check

for _module in pkgutil.iter_modules(checks.__path__):
    importlib.import_module(f"{checks.__name__}.{_module.name}")

CASES = list(discover())


def test_fixtures_were_found():
    assert CASES, "no fixture: VIDEO_ADAPT_PARITY_DIR points at an empty or missing folder"


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.method}/{case.name}")
def test_parity(case: Case):
    find_check(case)(case)
