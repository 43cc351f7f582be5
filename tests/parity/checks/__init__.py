"""One module per family of fixtures; each registers its checks in :mod:`tests.parity.cases`."""
