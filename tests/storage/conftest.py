"""A fit, and its file."""

import pytest
from saved_fits import fit_of


@pytest.fixture(scope="module")
def fit():
    return fit_of()


@pytest.fixture(scope="module")
def written(fit, tmp_path_factory):
    path = tmp_path_factory.mktemp("fit") / "fit.nc"
    fit.save(path)
    return path.read_bytes()


@pytest.fixture
def saved(written, tmp_path):
    """Return the file of the fit, for a test to do with as it likes."""
    path = tmp_path / "fit.nc"
    path.write_bytes(written)
    return path
