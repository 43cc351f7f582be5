"""Warnings of Lightning that a toy run on one CPU causes and that say nothing about us."""

import warnings

import pytest
from jsonargparse._deprecated import JsonargparseDeprecationWarning


@pytest.fixture(autouse=True)
def _toy_warnings():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
        warnings.filterwarnings("ignore", category=JsonargparseDeprecationWarning)
        yield
