"""One module per family of fixtures; each registers its checks with :func:`tests.parity.cases.check`."""
