"""Every fixture found is checked by the function registered for its name; an unknown one fails."""

import importlib
import pkgutil

import pytest
import torch

from tests.parity import checks
from tests.parity.cases import Case, discover, find_check

for _module in pkgutil.iter_modules(checks.__path__):
    importlib.import_module(f"{checks.__name__}.{_module.name}")

CASES = list(discover())


@pytest.fixture(autouse=True)
def _one_thread():
    """One order of summation on every machine: float32 gradients round differently in another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_fixtures_were_found():
    assert CASES, "no fixture: VIDEO_ADAPT_PARITY_DIR points at an empty or missing folder"


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.method}/{case.name}")
def test_parity(case: Case):
    find_check(case)(case)
