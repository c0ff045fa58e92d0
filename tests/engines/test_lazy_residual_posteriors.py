"""The posterior of a model with estimated residual structures, from sums: that of the same table in memory."""

import numpy as np
import pytest

import bayesmm as bmm
from bayesmm.likelihood.marginal import marginal
from bayesmm.likelihood.problem import integrate
from tests.engines.test_lazy_residuals import FORMULAS, table  # noqa: F401  a fixture
from tests.lazy_frames import lazy

NUMBERS = ["point", "mean", "sd", "lower", "upper"]  # effective sizes have fewer digits
ESTIMATED = [kind for kind in FORMULAS if kind != "se"]


def models(kind, data):
    """Return the model of a table in memory, and that of the table as a lazy frame."""
    formula, weights = FORMULAS[kind]
    return [bmm.Model(formula, own, weights=weights) for own in (data, lazy("polars", data))]


def relative(found, expected) -> float:
    """Return the largest difference, relative to the largest number."""
    found, expected = np.asarray(found, dtype=float), np.asarray(expected, dtype=float)
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def posteriors(fits) -> list:
    return [fit.tree["posterior"].to_dataset() for fit in fits]


@pytest.mark.parametrize("kind", ESTIMATED)
def test_value_and_gradient(kind, table):  # noqa: F811
    rng = np.random.default_rng(1)
    whole, own = (marginal(m.design, m.priors, integrate(m.design, m.priors)).posterior for m in models(kind, table))
    for _ in range(5):
        x = 0.3 * rng.normal(size=whole.size)
        (value, gradient), (other, slope) = whole(x), own(x)
        assert np.isfinite(value) and other == pytest.approx(value, rel=1e-12)  # 1e-15 is usual
        assert relative(slope, gradient) < 1e-10


# A search for the mode amplifies the last digit of a sum: 1e-13 is usual here, 1e-6 is promised.
@pytest.mark.parametrize("kind", ["strata and weights", "cosy", "se and sigma"])
def test_independent_draws_are_the_same(kind, table):  # noqa: F811
    given = dict(draws=100, chains=2, seed=1, sampler="importance", progress=False)
    whole, own = posteriors(model.sample(**given) for model in models(kind, table))
    assert set(own.data_vars) == set(whole.data_vars)
    for name in whole.data_vars:
        assert relative(own[name], whole[name]) < 1e-6, name


@pytest.mark.parametrize("kind", ["strata", "ar", "ar and weights"])
def test_the_first_draws_of_nuts_are_the_same(kind, table):  # noqa: F811
    whole, own = posteriors(
        model.sample(draws=10, tune=20, chains=2, seed=1, progress=False, sampler="nutpie")
        for model in models(kind, table)
    )
    assert set(own.data_vars) == set(whole.data_vars)
    for name in whole.data_vars:
        assert relative(own[name], whole[name]) < 1e-6, name


@pytest.mark.parametrize("kind", ["strata and weights", "ar and weights", "cosy", "se and sigma"])
def test_the_mode_of_the_marginal_posterior(kind, table):  # noqa: F811
    whole, own = (model.maximize("MAP") for model in models(kind, table))
    assert own.loglik == pytest.approx(whole.loglik, rel=1e-10)
    assert relative(own.fixef().estimate, whole.fixef().estimate) < 1e-8
    assert relative(own.varcorr().sdcor, whole.varcorr().sdcor) < 1e-6
    for name, values in whole.residual.items():
        assert relative(own.residual[name], values) < 1e-6


@pytest.mark.parametrize("kind", ["strata and weights", "cosy"])
def test_tables_files_and_predictions(kind, table, tmp_path):  # noqa: F811
    given = dict(draws=100, chains=2, seed=2, progress=False, sampler="importance")
    (whole, own), new = (model.sample(**given) for model in models(kind, table)), table.dropna().head(5)
    for use in (
        lambda fit: fit.fixef(),
        lambda fit: fit.varcorr(),
        lambda fit: fit.ranef(),
        lambda fit: fit.predict(new).to_frame(),
        lambda fit: fit.predict(new, kind="response", seed=1).to_frame(),
        lambda fit: fit.icc().table,
        lambda fit: fit.compare().table,
    ):
        first, second = (use(fit).filter(NUMBERS).fillna(0.0) for fit in (own, whole))
        assert list(first.index) == list(second.index) and relative(first, second) < 1e-6
    assert own.model.equation() == whole.model.equation() and "sums by Polars" in str(own)
    own.save(tmp_path / "fit.nc")
    again = bmm.load(tmp_path / "fit.nc")
    assert str(again) == str(own) and again.model.equation() == own.model.equation()
    first, second = (
        marginal(m.design, m.priors, integrate(m.design, m.priors)).posterior for m in (again.model, own.model)
    )
    x = np.full(first.size, 0.1)
    assert first(x)[0] == second(x)[0]
