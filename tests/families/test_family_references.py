"""Fits of other packages: glmmTMB 1.1.5 (Laplace's approximation, polished by Newton's method), on data in tests/data.

cbpp is lme4's (contagious bovine pleuropneumonia); salamanders are those of glmmTMB (Price et al. 2016), with rounded
columns; tweedie.csv was simulated. A log likelihood agrees to 1e-4, a coefficient to 1e-3 of its standard error, an sd
and a parameter to 1e-3.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.families.families import FAMILIES

DATA = Path(__file__).parents[1] / "data"


def salamanders():
    frame = pd.read_csv(DATA / "salamanders.csv")
    return frame.assign(mined=pd.Categorical(frame["mined"], ["yes", "no"]))


def cbpp():
    return pd.read_csv(DATA / "cbpp.csv", dtype={"herd": str, "period": str})


def holds(point, deviance, coefficients, errors, sds, **parameters):
    assert point.converged
    assert point.criterion == pytest.approx(deviance, abs=2e-4)
    assert (np.abs(point.beta - coefficients) < 1e-3 * np.array(errors)).all()
    np.testing.assert_allclose(np.sqrt(np.diag(point.beta_cov)), errors, rtol=1e-3)
    found = [np.sqrt(np.diag(Sigma)) for Sigma in point.covariances]
    np.testing.assert_allclose(np.concatenate([[], *found]), sds, rtol=1e-3, atol=1e-4)
    assert {name: point.auxiliaries[name] for name in parameters} == pytest.approx(parameters, rel=1e-3)


def test_a_beta_binomial_model():
    """Of herds, which have no variance beside that of the rows: glmmTMB's sd is 3e-6."""
    point = bmm.Model("incidence | trials(size) ~ period + (1 | herd)", cbpp(), "betabinomial").maximize()
    coefficients = [-1.31877315662388, -0.96888531923525, -1.25092924788824, -1.47252066070741]
    errors = [0.232612358407284, 0.406448102153528, 0.456832039807831, 0.510861127916806]
    holds(point, 176.08329363042, coefficients, errors, [0.0], phi=10.8426588061026)


def test_counts_with_a_variance_proportional_to_the_mean():
    point = bmm.Model("count ~ mined + cover + (1 | site)", salamanders(), "nbinom1").maximize()
    coefficients = [-1.18542335605463, 1.95863769176582, -0.0791149879797405]
    errors = [0.226579663390385, 0.292137507331808, 0.141149945012229]
    holds(point, 1724.29679313002, coefficients, errors, [0.428718692455057], phi=2.78687417145862)


def test_generalised_poisson_counts():
    """There the variance is phi times the mean, here 1 + phi times."""
    point = bmm.Model("count ~ mined + (1 | site)", salamanders(), "genpois").maximize()
    coefficients, errors = [-1.16874734558299, 1.89710295827184], [0.217762172964776, 0.254415295237948]
    holds(point, 1725.60769986355, coefficients, errors, [0.455614836191089], phi=3.13051503630502)


def test_zero_inflated_counts():
    point = bmm.Model("count ~ mined + (1 | site)", salamanders(), "zero_inflated_poisson").maximize()
    coefficients, errors = [-0.935604958375199, 2.16152511781156], [0.225550880276865, 0.27464275305876]
    zi = 1 / (1 + np.exp(0.468178497234357))  # given on the logit scale
    holds(point, 1922.70230746006, coefficients, errors, [0.533257210342459], zi=zi)


def test_tweedie_amounts():
    """Simulated; the power is 1 + plogis(psi) there."""
    point = bmm.Model("y ~ x + (1 | g)", pd.read_csv(DATA / "tweedie.csv"), "tweedie").maximize()
    coefficients, errors = [0.519454116929584, 0.413759612989329], [0.133497605559065, 0.0835470170192085]
    parameters = {"phi": 1.77589860371722, "power": 1.2634405276993}
    holds(point, 753.536569526174, coefficients, errors, [0.464430755407673], **parameters)


def test_counts_above_zero_of_a_hurdle_with_two_parts():
    """Parts without common parameters: the log likelihoods of zeros and of counts above them add up."""
    data = salamanders()
    above = bmm.Model("count ~ mined + (1 | site)", data[data["count"] > 0], "truncated_poisson").maximize()
    zeros = bmm.Model("zero ~ mined + (1 | site)", data.assign(zero=data["count"] == 0), "bernoulli").maximize()
    assert above.criterion + zeros.criterion == pytest.approx(1883.99416985928, abs=2e-4)
    coefficients, errors = [0.279327870362235, 0.959713211652848], [0.167165430639756, 0.181568437562983]
    holds(above, above.criterion, coefficients, errors, [0.212648523781882])
    coefficients, errors = [1.83393388229291, -2.35124046076166], [0.261682306274128, 0.34139303630911]
    holds(zeros, zeros.criterion, coefficients, errors, [0.635052455100609])


def test_negative_binomial_counts_above_zero_of_a_hurdle():
    data = salamanders()
    data["spp"] = pd.Categorical(data["spp"], ["GP", "PR", "DM", "EC-A", "EC-L", "DES-L", "DF"])
    above = bmm.Model("count ~ spp + mined + (1 | site)", data[data["count"] > 0], "truncated_negbinomial").maximize()
    zeros = bmm.Model("zero ~ mined", data.assign(zero=data["count"] == 0), "bernoulli").maximize()
    assert above.criterion + zeros.criterion == pytest.approx(1709.34699642843, abs=2e-4)
    coefficients = [
        -0.336163391023264, -0.510150653971086, 0.232746830517576, -0.212007143421243, 0.662100709003103,
        0.705606548183388, 0.0727904401407211, 1.0854035468399,
    ]  # fmt: skip
    errors = [
        0.292473637034389, 0.408564745873432, 0.246901406781651, 0.320055841380875, 0.240022198937733,
        0.235656816724222, 0.259612831725032, 0.218938238250075,
    ]  # fmt: skip
    holds(above, above.criterion, coefficients, errors, [0.0744961326130654], shape=1.51334466233923)


def test_a_hurdle_with_one_probability_is_its_two_parts():
    """hu is then the share of zeros, and the counts above them are a model of their own."""
    data = salamanders()
    whole = bmm.Model("count ~ mined + (1 | site)", data, "hurdle_poisson").maximize()
    above = bmm.Model("count ~ mined + (1 | site)", data[data["count"] > 0], "truncated_poisson").maximize()
    share = (data["count"] == 0).mean()
    zeros = len(data) * (share * np.log(share) + (1 - share) * np.log1p(-share))
    assert whole.auxiliaries["hu"] == pytest.approx(share, rel=1e-6)
    assert whole.criterion == pytest.approx(above.criterion - 2 * zeros, abs=1e-6)
    np.testing.assert_allclose(whole.beta, above.beta, atol=1e-5)


def test_without_random_effects_the_lognormal_is_least_squares_of_the_logarithm():
    rng = np.random.default_rng(1)
    x = rng.normal(size=50)
    y = np.exp(1 + 0.5 * x + 0.3 * rng.normal(size=50))
    point = bmm.Model("y ~ x", {"y": y, "x": x}, "lognormal").maximize()
    X = np.column_stack([np.ones(50), x])
    beta, rss = np.linalg.lstsq(X, np.log(y))[:2]
    np.testing.assert_allclose(point.beta, beta, rtol=1e-6)
    assert point.auxiliaries["sigma"] == pytest.approx(float(np.sqrt(rss[0] / 50)), rel=1e-5)
    loglik = -25 * (np.log(2 * np.pi * rss[0] / 50) + 1) - np.log(y).sum()
    assert point.loglik == pytest.approx(loglik, abs=1e-8)


def test_an_inverse_gaussian_mean_has_its_closed_form():
    y = np.random.default_rng(2).wald(2.0, 3.0, 60)
    point = bmm.Model("y ~ 1", {"y": y}, "inverse_gaussian").maximize()
    assert np.exp(point.beta[0]) == pytest.approx(y.mean(), rel=1e-6)  # Tweedie 1957
    assert point.auxiliaries["shape"] == pytest.approx(1 / np.mean(1 / y - 1 / y.mean()), rel=1e-5)


def families():
    return pd.read_csv(DATA / "families.csv")


def test_ordered_beta_shares():
    """Its cuts, -1.928 and 2.147, are cutzero and cutzero + width."""
    point = bmm.Model("yord ~ x + (1 | g)", families(), "ordered_beta").maximize()
    coefficients, errors = [-0.291604678479189, 0.395239696052818], [0.108867328463394, 0.0742826503061433]
    low, high = -1.9284640819416, 2.14731688712362
    parameters = {"phi": 5.79420776900422, "cutzero": low, "width": high - low}
    holds(point, 226.462500666177, coefficients, errors, [0.390959569436241], **parameters)


ZEROS_BY_X = {
    "at": 1 / (1 + np.exp(1.51321066392742)),
    "slope": 0.553338267882908,
}  # of both, which have the same zeros


def test_gamma_amounts_beside_zeros():
    point = bmm.Model("ygz ~ x + (1 | g); hu ~ x", families(), "hurdle_gamma").maximize()
    coefficients, errors = [0.698178301785518, 0.469541016224461], [0.117348954458638, 0.0539006436723033]
    parameters = {"shape": np.exp(1.09155808925459), "hu": ZEROS_BY_X["at"]}
    holds(point, 671.008425985142, coefficients, errors, [0.48071179058866], **parameters)
    assert point.residual["logit_hu"] == pytest.approx([ZEROS_BY_X["slope"]], rel=1e-5)


def test_beta_shares_beside_zeros():
    point = bmm.Model("ybz ~ x + (1 | g); zi ~ x", families(), "zero_inflated_beta").maximize()
    coefficients, errors = [-0.240981948365761, 0.590588246941001], [0.116650786077692, 0.072262002983321]
    parameters = {"phi": 6.54274009511687, "zi": ZEROS_BY_X["at"]}
    holds(point, 74.0844388946424, coefficients, errors, [0.444848413700224], **parameters)
    assert point.residual["logit_zi"] == pytest.approx([ZEROS_BY_X["slope"]], rel=1e-5)


def test_conway_maxwell_poisson_counts():
    """Of two species; the shape is one over glmmTMB's sigma."""
    two = pd.read_csv(DATA / "salamanders_two.csv")
    two = two.assign(mined=pd.Categorical(two["mined"], ["yes", "no"]))
    point = bmm.Model("count ~ mined + (1 | site)", two, "compois").maximize()
    coefficients, errors = [-1.91872176737157, 2.60805968389859], [0.401471123343806, 0.461273498831381]
    holds(point, 477.491368919742, coefficients, errors, [0.767433599841938], shape=np.exp(-1.23383062643088))


def test_log_logistic_times():
    """survival 3.5-3: survreg(dist = "loglogistic"); the shape is one over its scale."""
    kidney = pd.read_csv(DATA / "kidney.csv")
    formula = "time | cens(1 - status) ~ age + C(sex, Treatment('m')) + C(disease, Treatment('Other'))"
    point = bmm.Model(formula, kidney, "loglogistic").maximize()
    coefficients = [
        3.4127114382533, -0.00337414393318772, 1.63597504743796, -0.586672667167818, -0.392034649799261,
        0.62182647040519,
    ]  # fmt: skip
    errors = [
        0.45837917520289, 0.0106538954913774, 0.313659927588514, 0.393887675909798, 0.398455435761825,
        0.618472454428983,
    ]  # fmt: skip
    holds(point, 659.706929878492, coefficients, errors, [], shape=1 / 0.646583729568991)


def test_the_two_parts_of_a_hurdle_have_a_likelihood_each():
    """Where they share no effects: a gamma or log-normal model of what is above 0, and a logistic one of the zeros."""
    data = families()
    zeros = bmm.Model("zero ~ x", data.assign(zero=data["ygz"] == 0), "bernoulli").maximize()
    for family in ("gamma", "lognormal"):
        whole = bmm.Model("ygz ~ x + (1 | g); hu ~ x", data, f"hurdle_{family}").maximize()
        above = bmm.Model("ygz ~ x + (1 | g)", data[data["ygz"] > 0], family).maximize()
        assert whole.criterion == pytest.approx(above.criterion + zeros.criterion, abs=1e-5)
        np.testing.assert_allclose(whole.beta, above.beta, atol=1e-5)


def test_zero_one_inflated_shares_are_three_likelihoods():
    """Beta shares between the ends, and two binomial probabilities, whose estimates are the shares seen."""
    data = families()
    y = data["yord"]
    whole = bmm.Model("yord ~ x + (1 | g)", data, "zero_one_inflated_beta").maximize()
    inside = bmm.Model("yord ~ x + (1 | g)", data[(y > 0) & (y < 1)], "beta").maximize()
    ends = int(((y == 0) | (y == 1)).sum())
    zoi, coi = ends / len(y), float((y == 1).sum() / ends)
    rest = len(y) * (zoi * np.log(zoi) + (1 - zoi) * np.log1p(-zoi))
    rest += ends * (coi * np.log(coi) + (1 - coi) * np.log1p(-coi))
    assert whole.criterion == pytest.approx(inside.criterion - 2 * rest, abs=1e-5)
    np.testing.assert_allclose(whole.beta, inside.beta, atol=1e-5)
    assert whole.auxiliaries == pytest.approx({"phi": inside.auxiliaries["phi"], "zoi": zoi, "coi": coi}, rel=1e-4)


def test_conway_maxwell_poisson_counts_with_a_shape_of_1_are_poisson():
    """At the Poisson estimates both likelihoods are the same number; the estimated shape can only be more likely."""
    two = pd.read_csv(DATA / "salamanders_two.csv")
    poisson, free = (bmm.Model("count ~ mined", two, family).maximize() for family in ("poisson", "compois"))
    density = FAMILIES["compois"].kernels.density
    value = sum(density(1, float(y), 1.0, eta, (1.0,))[0] for y, eta in zip(two["count"], poisson.linear, strict=True))
    assert value == pytest.approx(poisson.loglik, abs=1e-9)
    assert free.loglik > poisson.loglik
    assert free.auxiliaries["shape"] < 1  # they scatter more


def test_angles_have_their_closed_form():
    """Without predictors: the direction of the mean vector, and kappa where I1 / I0 is its length."""
    from scipy.special import ive

    y = np.random.default_rng(3).vonmises(2.9, 2.0, 80)
    point = bmm.Model("y ~ 1", {"y": y}, "von_mises").maximize()
    total = np.exp(1j * y).mean()
    assert 2 * np.arctan(point.beta[0]) == pytest.approx(np.angle(total), abs=1e-5)
    kappa = point.auxiliaries["kappa"]
    assert ive(1, kappa) / ive(0, kappa) == pytest.approx(abs(total), abs=1e-6)


def test_shifted_lognormal_times_have_a_maximum_away_from_the_smallest():
    """Given ndt the rest is least squares of log(y - ndt): the profile has a maximum where the model has."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=150)
    y = 0.25 + np.exp(-0.8 + 0.2 * x + 0.35 * rng.normal(size=150))
    point = bmm.Model("y ~ x", {"y": y, "x": x}, "shifted_lognormal").maximize()
    X = np.column_stack([np.ones(150), x])

    def profile(ndt):
        z = np.log(y - ndt)
        rss = np.linalg.lstsq(X, z)[1][0]
        return -75 * (np.log(2 * np.pi * rss / 150) + 1) - z.sum()

    ndt = point.auxiliaries["ndt"]
    assert point.converged and 0.1 < ndt < 0.35
    assert point.loglik == pytest.approx(profile(ndt), abs=1e-6)
    assert all(profile(ndt) > profile(ndt + step) for step in (-0.01, 0.01))
