"""Parameters of a family that the responses bound: a sampler stays inside of what they leave, whatever the prior."""

import numpy as np
import pytest
from scipy import integrate, stats

import bayesmm as bmm

RNG = np.random.default_rng(5)
NDT, SIGMA = 0.2, 0.6
Y = NDT + np.exp(RNG.normal(-1.0, SIGMA, 12))
TIGHT = {"Intercept": bmm.Prior("Fixed", value=-1.0), "sigma": bmm.Prior("Fixed", value=SIGMA)}
PRIORS = {
    "uniform": bmm.Prior("Uniform", lower=0.0, upper=5.0),
    "half normal": bmm.Prior("HalfNormal", sigma=3.0),
    "below 0 too": bmm.Prior("Uniform", lower=0.05, upper=9.0),
}


def moments(prior) -> tuple[float, float]:
    """Return mean and sd of ndt given the rest, by SciPy's quadrature."""

    def density(ndt: float) -> float:
        return np.exp(prior.logpdf(ndt) + stats.lognorm.logpdf(Y, SIGMA, loc=ndt, scale=np.exp(-1.0)).sum() - shift)

    low, high, shift = 0.0, Y.min(), 0.0
    low = max(low, 0.05 if prior.parameters.get("lower") == 0.05 else 0.0)
    shift = np.log(density(0.2 * low + 0.8 * high))
    total, first, second = (
        integrate.quad(lambda t, k=k: t**k * density(t), low, high, limit=400)[0] for k in (0, 1, 2)
    )  # fmt: skip
    return first / total, np.sqrt(second / total - (first / total) ** 2)


@pytest.mark.parametrize("how", [{}, {"sampler": "pymc"}], ids=["compiled", "graph"])
@pytest.mark.parametrize("name", PRIORS)
def test_a_prior_beyond_the_smallest_response_is_sampled_without_meeting_the_wall(name, how):
    model = bmm.Model("y ~ 1", {"y": Y}, "shifted_lognormal", {**TIGHT, "ndt": PRIORS[name]})
    fit = model.sample(1000, 500, chains=2, seed=1, progress=False, cores=1, **how)
    draws = fit.tree["posterior"]["ndt"].to_numpy()
    ess = float(fit.summary().loc["ndt", "ess_bulk"])
    mean, sd = moments(PRIORS[name])
    assert draws.max() < Y.min()
    assert ess > 400
    assert abs(draws.mean() - mean) < 5 * sd / np.sqrt(ess)
    assert abs(draws.std() / sd - 1) < 5 * 1.2 / np.sqrt(ess)  # the sd of a skew distribution's sd
    if how:
        assert int(fit.tree["sample_stats"]["diverging"].sum()) == 0


def test_what_is_censored_or_does_not_count_does_not_bound():
    data = {"y": [0.9, 1.1, 1.4, 0.3, 0.1, 0.2, 0.05], "c": [0, 0, 0, 2, 1, -1, 0], "w": [1] * 6 + [0]}
    data["upper"] = [np.nan] * 3 + [0.8, np.nan, np.nan, np.nan]
    model = bmm.Model("y | cens(c, upper) ~ 1", data, "shifted_lognormal", weights="w")
    assert model.design.most.tolist() == [0.9, 1.1, 1.4, 0.8, 0.2]
    assert model.priors["ndt"].parameters == {"lower": 0.0, "upper": 0.2}


def test_leaving_out_the_smallest_response_lets_the_bound_go():
    """log p(y_min | the others) by quadrature over ndt: its draws given all rows never come above y_min."""
    y = np.append(0.25, 0.4 + np.exp(np.random.default_rng(4).normal(-1.0, SIGMA, 30)))
    prior = bmm.Prior("HalfNormal", sigma=3.0)
    fit = bmm.Model("y ~ 1", {"y": y}, "shifted_lognormal", {**TIGHT, "ndt": prior}).sample(
        1000, chains=2, seed=1, progress=False, cores=1
    )

    def evidence(y):
        def density(ndt):
            return np.exp(prior.logpdf(ndt) + stats.lognorm.logpdf(y, SIGMA, loc=ndt, scale=np.exp(-1.0)).sum())

        return np.log(integrate.quad(density, 0.0, y.min(), limit=400)[0])

    found = fit.loo().table["elpd"].to_numpy()[0]
    assert found == pytest.approx(evidence(y) - evidence(y[1:]), abs=0.05)  # the error of the integral that it takes


def test_a_parameter_with_a_formula_is_bounded_row_by_row_and_has_no_end_of_its_own():
    from bayesmm.design.parameters import ends_by_response

    data = {"y": Y, "x": np.arange(12.0)}
    assert ends_by_response(bmm.Model("y ~ x", data, "shifted_lognormal").design) == {"ndt": (0.0, Y.min())}
    assert ends_by_response(bmm.Model(("y ~ x", "ndt ~ x"), data, "shifted_lognormal").design) == {}
    assert ends_by_response(bmm.Model("y ~ x", data).design) == {}
