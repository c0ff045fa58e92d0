"""Fixtures that several files share, and how Hypothesis searches."""

import pytest
from hypothesis import settings

# What helpers assert is shown as in a test: both sides, where they differ.
pytest.register_assert_rewrite("bad_data", "family_data", "saved_fits", "stores")

# The fast tests are the same in every run; `make test-all` looks for new examples each time.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("random", deadline=None)
settings.load_profile("same")


@pytest.fixture
def headless():
    """Draw without a screen, and end with no figure open."""
    import matplotlib
    import matplotlib.pyplot as plt

    matplotlib.use("Agg", force=True)
    yield
    plt.close("all")
