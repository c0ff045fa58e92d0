"""A fit, and its file."""

import pytest
from saved_fits import fit_of


@pytest.fixture(scope="module")
def fit():
    return fit_of()


@pytest.fixture
def saved(fit, tmp_path):
    fit.save(tmp_path / "fit.nc")
    return tmp_path / "fit.nc"
