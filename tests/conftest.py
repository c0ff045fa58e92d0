"""Fixtures that several files share."""

import pytest


@pytest.fixture
def headless():
    """Draw without a screen, and end with no figure open."""
    import matplotlib
    import matplotlib.pyplot as plt

    matplotlib.use("Agg", force=True)
    yield
    plt.close("all")
