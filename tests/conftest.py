"""Fixtures that several files share, and how Hypothesis searches."""

import gc
import os

import pytest
from hypothesis import settings

# PyTensor notes for each node of a graph where it was made: a fifth of the time of a graph, and for messages only.
os.environ["PYTENSOR_FLAGS"] = ",".join(filter(None, (os.environ.get("PYTENSOR_FLAGS"), "traceback__limit=0")))

# What helpers assert is shown as in a test: both sides, where they differ.
pytest.register_assert_rewrite("bad_data", "family_data", "saved_fits", "stores")

# The fast tests are the same in every run; `make test-all` looks for new examples each time.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("random", deadline=None)
settings.load_profile("same")


def pytest_configure():
    """Collect the tests without looking for garbage: there is little, and thousands of tests to look through."""
    gc.disable()


def pytest_collection_finish():
    """Look for garbage among what the tests make, not among the tests: they all stay."""
    gc.freeze()
    gc.enable()


@pytest.fixture
def unrendered(monkeypatch):
    """Draw the figures of a report, but make no pictures of them, which takes most of its time."""
    monkeypatch.setattr("bayesmm.reporting.figures.encoded", lambda figure: ("webp", b"none"))


@pytest.fixture
def headless():
    """Draw without a screen, and end with no figure open."""
    import matplotlib
    import matplotlib.pyplot as plt

    matplotlib.use("Agg", force=True)
    yield
    plt.close("all")
