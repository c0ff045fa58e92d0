"""Shares of variance where the residual's is not defined on the scale of the link, and what loo() advises."""

import numpy as np
import pandas as pd
import pytest
from invented import invented

import bayesmm as bmm
from bayesmm.errors import DataError
from bayesmm.evaluation.loo import _remedy, loo
from bayesmm.reporting.tables import explained_table

N = 40


def table(y):
    return pd.DataFrame({"y": y, "x": np.linspace(-1, 1, N), "g": [f"g{i % 5}" for i in range(N)]})


@pytest.fixture(scope="module")
def hurdle():
    y = np.random.default_rng(1).gamma(2, 1, N) * (np.arange(N) % 3 > 0)
    return invented(bmm.Model("y ~ x + (1 | g)", table(y), "hurdle_gamma"))


def test_two_things_have_no_residual_variance_together(hurdle):
    with pytest.raises(DataError, match="its zeros and its other values are two things"):
        hurdle.icc()
    found = hurdle.r2()
    assert list(found.table.index) == ["bayes_r2_marginal", "bayes_r2_conditional"]
    assert np.isfinite(found.table[["mean", "sd"]].to_numpy()).all()
    assert list(found.variances.index) == ["fixed part", "g"]
    assert "r2_marginal and r2_conditional are left out" in str(found) and "in the manner of" not in str(found)
    rows, says = explained_table(hurdle)
    assert len(rows.rows) == 2 and any("The intraclass correlation needs" in text for text in says)


def test_adjacent_categories_have_no_latent_variable():
    fit = invented(bmm.Model("y ~ x + (1 | g)", table(1 + np.arange(N) % 3), "cumulative"))
    said = " ".join(str(fit.icc()).split())
    assert "behind the ordered categories, pi^2 / 3 (in the manner of" in said
    with pytest.raises(DataError, match="no latent variable is behind adjacent categories"):
        invented(bmm.Model("y ~ x + (1 | g)", table(1 + np.arange(N) % 3), "acat")).icc()


def test_loo_advises_what_is_possible(hurdle):
    assert "integrated=True" in _remedy(loo(hurdle, refit=False))
    y = hurdle.design.y
    formulas = ("y ~ x + (1 | p | g)", "hu ~ 1 + (1 | p | g)")
    together = invented(bmm.Model(formulas, table(y), "hurdle_gamma"))
    assert "integrated=True" not in _remedy(loo(together, refit=False))
    with pytest.raises(DataError, match="random effects"):
        loo(together, integrated=True)
    both = invented(bmm.Model("mvbind(y, y2) ~ x + (1 | p | g)", table(y).assign(y2=np.cos(np.arange(N)))))
    assert "integrated=True" not in _remedy(loo(both, refit=False))


def test_effects_of_parameters_that_the_mean_has_not_do_not_stand_in_its_way():
    """The mean of hurdle_gamma is (1 - hu) mu, whatever the shape."""
    data = table(np.random.default_rng(1).gamma(2, 1, N) * (np.arange(N) % 3 > 0))
    fit = invented(bmm.Model(("y ~ x + (1 | g)", "shape ~ 1 + (1 | g)"), data, "hurdle_gamma"))
    plain = fit.predict(groups="averaged").draws
    assert np.isfinite(plain).all()
    fit = invented(bmm.Model(("y ~ x", "hu ~ 1 + (1 | g)"), data, "hurdle_gamma"))
    with pytest.raises(ValueError, match="depends on hu, which has random effects"):
        fit.predict(groups="averaged")


def test_draws_without_a_mean_have_no_share_and_no_interval_below_infinity():
    """A log-logistic variable with a shape of 1 or less has none, and no warning comes from NumPy."""
    y = np.random.default_rng(3).gamma(2, 1, N)
    fit = invented(bmm.Model("y ~ x + (1 | g)", table(y), "loglogistic"))  # shapes from 0.5 to 2
    found = fit.predict().to_frame()
    assert np.isinf(found[["mean", "upper"]].to_numpy()).all() and np.isfinite(found["lower"]).all()
    assert np.isinf(bmm.predictions(fit, by=True).table["upper"]).all()
    fit.r2()
    along = fit.predict(pd.DataFrame({"x": np.linspace(-1, 1, 9), "g": "g1"})).plot()
    grid = bmm.predictions(fit, at={"x": [-1.0, 0.0, 1.0]}).plot()
    assert all(np.isfinite(axes[0].get_ylim()).all() for axes in (along, grid))
