"""Tests that run in several processes at once share the cores: one thread each."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # set before torch is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")
