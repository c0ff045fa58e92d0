"""The scales of the default priors of each family."""

import math

import numpy as np
import pytest
from family_data import N, coin, counts, make, table
from scipy import stats

import bayesmm as bmm
from bayesmm.errors import PriorError
from bayesmm.families.families import FAMILIES


def prior(model, place):
    return model.priors[place].parameters


def test_the_intercept_is_centred_at_the_link_of_the_mean():
    y, e = counts(), np.linspace(1, 9, N)
    model = make(y, "poisson", "y ~ x + offset(log(e)) + (1 | g)", e=e)
    assert prior(model, "Intercept_centred")["mu"] == pytest.approx(math.log(y.sum() / e.sum()), rel=1e-12)
    share = (np.minimum(y, 8).sum() + 0.5) / (8 * N + 1)
    for link, function in (("logit", stats.logistic.ppf), ("probit", stats.norm.ppf)):
        model = make(np.minimum(y, 8), "binomial", trials="n", link=link)
        assert prior(model, "Intercept_centred")["mu"] == pytest.approx(function(share), rel=1e-12)
    model = make(y + 1.0, "gamma", link="inverse")
    assert prior(model, "Intercept_centred")["mu"] == pytest.approx(1 / (y + 1).mean(), rel=1e-12)


def test_means_at_the_end_of_their_range_have_finite_priors():
    for y, family, more in (
        (np.zeros(N), "poisson", {}),
        (np.zeros(N), "bernoulli", {}),
        (np.ones(N), "bernoulli", {}),
        (np.full(N, 8), "binomial", {"trials": "n"}),
    ):
        assert math.isfinite(prior(make(y, family, **more), "Intercept_centred")["mu"])
    minus = make(np.linspace(-3, 1, N), "gaussian", link="log")  # a mean below 0 has no logarithm
    assert math.isfinite(prior(minus, "Intercept_centred")["mu"])


def test_scales_are_those_of_the_link():
    frame = table()
    model = make(counts(), "poisson", "y ~ x + (x | g)")
    assert prior(model, "Intercept_centred")["sigma"] == 2.5
    assert prior(model, "beta[x]")["sigma"] == pytest.approx(1 / frame["x"].std(), rel=1e-12)
    assert prior(model, "sd_g[Intercept]") == {"nu": 3.0, "sigma": 1.0}
    assert prior(model, "sd_g[x]")["sigma"] == pytest.approx(0.4 / frame["x"].std(), rel=1e-12)
    coins = make(coin(), "bernoulli", "y ~ x + (x | g)")
    assert prior(coins, "beta[x]")["sigma"] == pytest.approx(2.5 / frame["x"].std(), rel=1e-12)
    assert "on the log scale of y" in str(model.priors)
    # 2.5 probits are beyond any probability that 2.5 logits reach
    probit = make(coin(), "bernoulli", link="probit")
    assert prior(probit, "sd_g[Intercept]")["sigma"] == pytest.approx(stats.logistic.pdf(0) / stats.norm.pdf(0))
    student = make(counts() + 0.5, "student")
    assert prior(student, "sigma") == prior(make(counts() + 0.5, "gaussian"), "sigma")


def test_units_of_the_response_do_not_matter_to_a_gamma_model():
    y = np.random.default_rng(1).gamma(2, size=N)
    one, other = make(y, "gamma"), make(1000 * y, "gamma")
    moved = prior(other, "Intercept_centred")["mu"] - prior(one, "Intercept_centred")["mu"]
    assert moved == pytest.approx(math.log(1000), rel=1e-12)
    assert prior(other, "beta[x]") == pytest.approx(prior(one, "beta[x]"))
    assert prior(one, "beta[x]")["sigma"] == pytest.approx(np.log(y).std(ddof=1) / table()["x"].std(), rel=1e-12)


@pytest.mark.parametrize(
    ("family", "names"), [(row.name, row.auxiliaries) for row in FAMILIES.values() if not row.ordered]
)  # thresholds: tests/model/test_ordered_response.py
def test_auxiliaries_have_places_at_the_end(family, names):
    support = FAMILIES[family].support
    y = np.random.default_rng(1).beta(2, 3, N) if support.proportion or support.angle else np.minimum(counts(), 8) + 1
    y = coin() if family == "bernoulli" else y
    more = {"trials": 20} if FAMILIES[family].support.trials else {}
    model = make(y, family, **more)
    places = list(model.priors)
    assert places[len(places) - len(names) :] == list(names)
    assert not {"sigma", "nu", "shape", "phi"} - set(names) & set(places)
    bounds = {parameter.name: parameter.bounds for parameter in FAMILIES[family].parameters}
    for name in names:
        inside = 1.4 if bounds[name] == (1.0, 2.0) else 0.4
        assert prior(make(y, family, priors={name: inside}, **more), name) == {"value": inside}
        if np.isinf(bounds[name][0]):
            assert make(y, family, priors={name: bmm.Prior("Normal", mu=0, sigma=1)}, **more)
            continue
        said = "is above 0" if np.isinf(bounds[name][1]) else "its values are from {:g} to {:g}".format(*bounds[name])
        for wrong in (bmm.Prior("Normal", mu=0, sigma=1), -1.0):
            with pytest.raises(PriorError, match=said):
                make(y, family, priors={name: wrong}, **more)
    if not names:
        with pytest.raises(PriorError, match="no parameter 'sigma'"):
            make(y, family, priors={"sigma": 2.0}, **more)


def test_the_variance_of_a_shape_has_no_prior():
    with pytest.raises(PriorError, match="a parameter of the family, not a standard deviation"):
        make(counts(), "negbinomial", priors={"shape": bmm.Prior("HalfNormal", sigma=1, on="variance")})


# Of the draws of a response, 95 % within this many times the largest value (or its inverse); ours is generous: the
# priors allow an effect of e^2.5 for each sd of a predictor. Measured: esoph 28, gamma 19. A prior sd of 50 on the log
# scale gives 1e30 and more.
ABSURD = 300.0


def test_prior_predictive_draws_stay_on_the_scale_of_the_data():
    esoph = bmm.load_dataset("esoph")
    model = bmm.Model("ncases ~ ncontrols + (1 + ncontrols | agegp)", esoph, "poisson")
    y = model.prior_predictive(draws=200, seed=1)["prior_predictive"]["y"].values
    assert np.quantile(y, 0.95) < ABSURD * esoph["ncases"].max()
    data = 1.3 + np.random.default_rng(1).gamma(2, size=N)
    drawn = make(data, "gamma").prior_predictive(draws=200, seed=1)["prior_predictive"]["y"].values
    assert np.quantile(drawn, 0.95) < ABSURD * data.max()
    assert np.quantile(drawn, 0.05) > data.min() / ABSURD
    # of a coin neither side is certain beforehand: both are drawn in most prior draws
    coins = make(coin(), "bernoulli").prior_predictive(draws=200, seed=1)["prior_predictive"]["y"].values[0]
    assert ((coins.mean(axis=1) > 0) & (coins.mean(axis=1) < 1)).mean() > 0.6
    assert 0.35 < coins.mean() < 0.65
