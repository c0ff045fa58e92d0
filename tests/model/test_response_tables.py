"""Tables of several responses: no statistic of both together, and no response that nobody chose."""

import numpy as np
import pandas as pd
import pytest
from invented import invented

import bayesmm as bmm
from bayesmm.errors import DataError, PriorError


def table():
    rng, n = np.random.default_rng(1), 60
    data = pd.DataFrame({"x": rng.normal(10, 1, n), "g": [f"g{i % 6}" for i in range(n)]})
    return data.assign(y=rng.normal(size=n), y2=100 + 50 * rng.normal(size=n))


@pytest.fixture(scope="module")
def model():
    return bmm.Model("mvbind(y, y2) ~ x + (1 | p | g)", table())


def test_no_sigma_is_that_of_both(model):
    """It was 1.0, which is no parameter of the model."""
    assert np.isnan(model.maximize().glance()["sigma"].item())
    assert np.isnan(invented(model).glance()["sigma"].item())


def test_the_prior_check_is_of_each_response(model):
    """Statistics of both together have no unit: their sd was that between the responses."""
    found = bmm.prior_check(model, draws=40, seed=1).table
    assert list(found.index) == [f"{what} of {y}" for y in ("y", "y2") for what in ("mean", "sd", "min", "max")]
    for name in ("y", "y2"):
        assert found.loc[f"mean of {name}", "observed"] == pytest.approx(table()[name].mean())
        assert found.loc[f"sd of {name}", "observed"] == pytest.approx(table()[name].std())
    drawn = model.prior_predictive(40, 1)["prior_predictive"]["y"].values[0][:, model.design.response_codes == 1]
    assert found.loc["sd of y2", "median"] == pytest.approx(np.median(drawn.std(axis=1, ddof=1)))


def test_no_response_is_the_typical_one(model):
    point = model.maximize()
    with pytest.raises(DataError, match="no typical one of the responses y, y2; name 'response'"):
        bmm.predictions(point, at={"x": [9, 10]})
    found = bmm.predictions(point, at={"x": [9, 10], "response": ["y2"]}).table
    beta = point.fixef()["estimate"]
    np.testing.assert_allclose(found["estimate"], beta["y2_Intercept"] + beta["y2_x"] * np.array([9, 10]))


def test_priors_are_per_unit_of_the_predictor(model):
    assert "units of y2 per unit of x" in str(model.priors) and "per unit of y2_x" not in str(model.priors)


@pytest.mark.parametrize("prior", [bmm.Prior("LKJ", eta=2), bmm.Prior("Normal", mu=0, sigma=1)])
def test_a_prior_of_residual_correlations_that_cannot_be_says_which_can(model, prior):
    with pytest.raises(PriorError, match=r"use a number, or Prior\('Uniform', lower=..., upper=...\) from -1 to 1"):
        model.with_priors({"rescor": prior})


def test_one_response_and_two_are_not_the_same_data(model):
    one = bmm.Model("y ~ x", table()).maximize("ML")
    for compare in (lambda: bmm.lrt(one, model.maximize("ML")), lambda: bmm.anova(one, model.maximize("ML"))):
        with pytest.raises(DataError, match=r"different responses \(y and mvbind\(y, y2\)\)"):
            compare()
