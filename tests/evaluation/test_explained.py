"""Intraclass correlations and R^2: against dense formulas, published values, simulation, and for every family."""

import numpy as np
import pytest
import xarray as xr
from other_densities import TYPICAL, example
from scipy import stats
from scipy.integrate import quad

import bayesmm as bmm
from bayesmm.errors import DataError
from bayesmm.evaluation.variance import variance_parts
from bayesmm.evaluation.variance.averages import averaged_twice
from bayesmm.evaluation.variance.variance_parts import (
    Values,
    over_rows,
    parts_of,
    population,
)
from bayesmm.families.families import FAMILIES
from bayesmm.families.family import MOST_PARAMETERS
from bayesmm.families.links import LINKS
from bayesmm.results import Fit

SLEEP = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def sleepstudy():
    return bmm.Model(SLEEP, bmm.load_dataset("sleepstudy"))


@pytest.fixture(scope="module")
def fit(sleepstudy):
    return sleepstudy.sample(draws=200, tune=300, chains=2, seed=1, progress=False)


# ----------------------------------------------------------------------------------------------------------------------
# maximised models


def test_published_values_of_the_sleep_study(sleepstudy):
    # the tests of the R package performance (test-bootstrapped_icc_ci.R and its snapshot, October 2024)
    point = sleepstudy.maximize()
    assert point.icc().table["estimate"]["icc[Subject]"] == pytest.approx(0.72166, abs=1e-5)  # lme4's own optimum
    assert point.icc().table["estimate"]["icc_unadjusted[Subject]"] == pytest.approx(0.521, abs=5e-4)  # as printed
    assert point.r2().table["estimate"]["r2_conditional"] == pytest.approx(0.799, abs=5e-4)
    assert point.r2().table["estimate"]["r2_marginal"] == pytest.approx(0.279, abs=5e-4)


def crossed_data(n=240):
    rng = np.random.default_rng(3)
    data = {"x": rng.normal(size=n), "z": rng.normal(3, 2, n), "g": np.arange(n) % 12, "h": np.arange(n) // 12 % 8}
    data["w"] = rng.uniform(0.5, 2, n)
    data["copy"] = 2 * data["x"]  # aliased
    b, c = rng.normal(size=(12, 2)), rng.normal(size=8)
    eta = 1 + data["x"] + b[data["g"], 0] + 0.7 * b[data["g"], 1] * data["x"] + 0.8 * c[data["h"]] + data["z"]
    return data | {"y": eta + rng.normal(size=n) / np.sqrt(data["w"])}


def test_shares_equal_a_dense_computation_with_weights_offset_slopes_and_an_aliased_column():
    data = crossed_data()
    formula = "y ~ x + copy + offset(z) + (x | g) + (1 | h)"
    point = bmm.Model(formula, data, weights="w").maximize()
    design = point.design
    Z = [np.zeros((design.n, len(block.levels), len(block.columns))) for block in design.blocks]
    for dense, block in zip(Z, design.blocks, strict=True):
        dense[np.arange(design.n), block.index] = block.Z
    marginal = [  # diagonals of Z Sigma Z' over all levels
        np.diag(dense.reshape(design.n, -1) @ np.kron(np.eye(dense.shape[1]), Sigma) @ dense.reshape(design.n, -1).T)
        for dense, Sigma in zip(Z, point.covariances, strict=True)
    ]
    names = [block.group for block in design.blocks]
    v = dict(zip(names, (m.mean() for m in marginal), strict=True))
    residual = np.mean(point.sigma**2 / data["w"])
    fixed = np.var(point.beta[0] + point.beta[1] * data["x"], ddof=1)
    icc, r2 = point.icc().table["estimate"], point.r2().table["estimate"]
    total = fixed + v["g"] + v["h"] + residual
    expected = {f"icc[{g}]": v[g] / (v["g"] + v["h"] + residual) for g in names}
    expected |= {f"icc_unadjusted[{g}]": v[g] / total for g in names}
    expected |= {"icc": (v["g"] + v["h"]) / (total - fixed), "icc_unadjusted": (v["g"] + v["h"]) / total}
    assert set(icc.index) == set(expected)
    for name, value in expected.items():
        assert icc[name] == pytest.approx(value, rel=1e-10), name  # the same sums in another order
    assert r2["r2_marginal"] == pytest.approx(fixed / total, rel=1e-10)
    assert r2["r2_conditional"] == pytest.approx(1 - residual / total, rel=1e-10)


def test_an_offset_is_the_same_as_taking_it_out_of_the_response():
    data = crossed_data()
    with_offset = bmm.Model("y ~ x + offset(z) + (1 | g)", data).maximize()
    without = bmm.Model("d ~ x + (1 | g)", data | {"d": data["y"] - data["z"]}).maximize()
    for method in ("icc", "r2"):
        one, other = (getattr(point, method)().table["estimate"] for point in (with_offset, without))
        np.testing.assert_allclose(one, other, rtol=1e-6)  # two optimisations of the same criterion


def test_variances_of_a_large_simulated_data_set_are_recovered():
    rng = np.random.default_rng(0)
    G, m = 1500, 8
    g, x = np.repeat(np.arange(G), m), rng.normal(size=G * m)
    y = 2 * x + 1.5 * rng.normal(size=G)[g] + 0.5 * x * rng.normal(size=G)[g] + rng.normal(size=G * m)
    point = bmm.Model("y ~ x + (x | g)", {"y": y, "x": x, "g": g}).maximize()
    # true: fixed 4, random 1.5^2 + 0.5^2 = 2.5, residual 1; an sd is known to 1 / sqrt(2 G) = 2 %, its variance to 4 %,
    # and shares s change by s (1 - s) times that: 0.007 at most; three of these
    icc, r2 = point.icc().table["estimate"], point.r2().table["estimate"]
    assert icc["icc[g]"] == pytest.approx(2.5 / 3.5, abs=0.021)
    assert icc["icc_unadjusted[g]"] == pytest.approx(2.5 / 7.5, abs=0.021)
    assert r2["r2_marginal"] == pytest.approx(4 / 7.5, abs=0.021)
    assert r2["r2_conditional"] == pytest.approx(6.5 / 7.5, abs=0.021)


def test_a_model_without_random_effects_has_one_r2_and_no_icc():
    data = crossed_data()
    point = bmm.Model("y ~ x", data).maximize()
    fixed = np.var(point.linear, ddof=1)
    assert list(point.r2().table.index) == ["r2"]
    assert point.r2().table["estimate"]["r2"] == pytest.approx(fixed / (fixed + point.sigma**2), rel=1e-10)
    with pytest.raises(ValueError, match="no grouping factor"):
        point.icc()


# ----------------------------------------------------------------------------------------------------------------------
# every family


def small_design(family, link, weights=None, n=60):
    rng = np.random.default_rng(1)
    x, g = (rng.uniform(size=n) if link == "inverse" else rng.normal(size=n)), np.arange(n) % 6
    trials = dict(trials=4) if FAMILIES[family].support.trials else {}
    y = example(FAMILIES[family], rng, n, 4)
    data = {"y": y, "x": x, "g": g, "o": rng.uniform(0, 0.5, n) * (link != "inverse")}
    return bmm.Model("y ~ x + offset(o) + (x | g)", data, family, link=link, weights=weights, **trials).design


BETA, SIGMA = np.array([0.4, 0.5]), np.array([[0.3, 0.05], [0.05, 0.1]])
AUXILIARIES = TYPICAL
EVERY = [(name, link) for name, family in FAMILIES.items() for link in family.links]
# Parameters that are numbers of the model; those of ordered categories follow from thresholds: test_ordered_response.py
SCALAR = [pair for pair in EVERY if not FAMILIES[pair[0]].ordered]
EXACT = [
    (name, "log") for name in ("gamma", "lognormal", "exponential", "weibull", "loglogistic")
] + [("beta", "logit")]  # fmt: skip
BEHIND = {"logit": stats.logistic.var(), "probit": stats.norm.var(), "cloglog": stats.gumbel_l.var()}


def values_for(design):
    own = [AUXILIARIES[name] for name in design.family.auxiliaries]
    return Values(BETA[None], (SIGMA[None],), np.array([[*own, 0.0, 0.0, 0.0][:MOST_PARAMETERS]]))


def responses(design, draws, seed=0):
    """Return responses of new groups, (draws, n), each row with effects of its own: shares of a binomial.

    With an identity link less the offset.
    """
    rng, block = np.random.default_rng(seed), design.blocks[0]
    b = rng.multivariate_normal(np.zeros(2), SIGMA, size=(draws, design.n))
    offset = 0 if design.family.link == "identity" else design.offset
    mu = LINKS[design.family.link].inverse(design.X @ BETA + offset + (b * block.Z).sum(axis=2))
    own = tuple(AUXILIARIES[name] for name in design.family.auxiliaries)
    if design.family.gaussian and design.weights is not None:
        own = (own[0] / np.sqrt(design.weights),)
    trials = np.ones(design.n) if design.trials is None else design.trials
    return design.family.draw(rng, mu, np.broadcast_to(trials, mu.shape), own) / trials


def test_every_family_and_link_has_a_residual_variance():
    assert {(family.name, link) for family in FAMILIES.values() for link in family.residuals} == set(EVERY)


@pytest.mark.parametrize(
    ("family", "link"),
    [
        pytest.param(*pair, marks=[pytest.mark.slow] * (pair[0] == "compois"))  # its draws take seconds
        for pair in SCALAR
        if pair[1] not in ("inverse", "tan_half")
    ],
)
def test_modelled_means_and_variances_are_those_of_simulated_responses(family, link):
    design = small_design(family, link, weights=np.linspace(0.5, 2, 60) if family == "gaussian" else None)
    if not design.family.gaussian and family == "gaussian":
        design = small_design(family, link)  # there a weight is a number of rows
    found, y = population(design, values_for(design)), responses(design, 3_000)
    means, within = y.mean(axis=0), y.var(axis=0)
    error = np.sqrt(within / len(y))  # of each mean
    assert found.mean[0] == pytest.approx(means.mean(), abs=5 * np.sqrt(np.mean(error**2) / design.n))
    spread = np.square(means - means.mean())
    explained = means.var(ddof=1) - np.mean(error**2)  # and five errors of a variance of 60 means
    assert found.explained[0] == pytest.approx(
        explained,
        abs=10 * np.sqrt(np.sum(spread * error**2)) / (design.n - 1) + 5 * np.mean(error**2) * np.sqrt(2 / 60),
    )
    mcse = np.sqrt(np.mean(np.square(y - means) ** 2) / y.size)
    assert found.residual[0] == pytest.approx(within.mean(), abs=5 * mcse)


@pytest.mark.parametrize(("family", "link"), SCALAR)
def test_residual_variances_on_the_scale_of_the_link(family, link):
    design = small_design(family, link)
    found, aux = parts_of(design, values_for(design)).residual[0], AUXILIARIES
    mean = None if link in ("identity", "inverse") else population(design, values_for(design)).mean[0]
    rng = np.random.default_rng(5)
    own = tuple(aux[name] for name in design.family.auxiliaries)
    if family.startswith(("hurdle", "truncated")) or (design.family.support.proportion and family != "beta"):
        assert np.isnan(found)  # the zeros, or the ends, have no place on the scale of the link
        return
    if design.family.support.successes:
        expected, tolerance = BEHIND[link], 1e-12
    elif link == "identity":
        sds = {"student": stats.t(6, scale=0.8).std(), "exgaussian": np.hypot(aux["sigma"], aux["tau"])}
        q = aux["quantile"]  # the skewed Laplace distribution of Koenker & Machado (1999, JASA 94(448))
        sds["asymmetric_laplace"] = aux["sigma"] * np.sqrt(1 - 2 * q + 2 * q**2) / (q * (1 - q))
        expected, tolerance = sds.get(family, aux["sigma"]) ** 2, 1e-12
    elif (family, link) in EXACT:  # of log y, of logit y
        drawn = design.family.draw(rng, np.full(400_000, mean), None, own)
        expected, tolerance = np.var(LINKS[link].function(drawn)), 0.02  # five MCSE: sqrt(2 / 400,000) and heavy tails
    elif family.startswith("shifted"):  # of the log of what is above the shift
        expected, tolerance = aux["sigma"] ** 2, 1e-12
    elif link == "log":  # of a log-normal variable with the mean and the variance of the response
        variance = design.family.variance(mean / design.family.expected(1.0, own), own)
        s = np.sqrt(np.log1p(variance / mean**2))
        assert stats.lognorm(s).var() / stats.lognorm(s).mean() ** 2 == pytest.approx(variance / mean**2)
        expected, tolerance = s**2, 1e-10
    else:  # the delta method: a difference quotient of the link
        if link == "inverse":
            mean = np.mean(1 / (design.X @ BETA))  # of typical groups
        h, g = 1e-5 * mean, LINKS[link].function if link != "inverse" else np.reciprocal
        expected = design.family.variance(mean, own) * ((g(mean + h) - g(mean - h)) / (2 * h)) ** 2
        tolerance = 1e-6
    assert found == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog"])
def test_two_moments_of_a_probability_equal_adaptive_quadrature(link):
    inverse = LINKS[link].inverse
    for eta, spread in ((-1.0, 0.0), (0.5, 0.4), (0.0, 0.7), (-2.0, 2.0), (1.0, 6.0)):
        found = averaged_twice(inverse, np.array([[eta]]), np.array([[spread]]))
        for power, value in enumerate(found, 1):
            exact = quad(lambda z: stats.norm.pdf(z) * inverse(eta + spread * z) ** power, -9, 9, limit=400)[0]  # noqa: B023
            assert value[0, 0] == pytest.approx(exact, abs=1e-5)  # measured: 4e-6


def test_doubled_rows_are_weights_of_two_where_a_weight_counts_rows():
    data = {"y": np.arange(40) % 7, "x": np.sin(np.arange(40.0)), "g": np.arange(40) % 5}
    twice = {name: np.concatenate([column, column]) for name, column in data.items()}
    formula = "y ~ x + offset(x) + (x | g)"
    one = bmm.Model(formula, data, "poisson", weights=np.full(40, 2.0)).design
    other = bmm.Model(formula, twice, "poisson").design
    pair = [parts_of(design, values_for(design)) for design in (one, other)]
    # all but the n - 1 of the fixed part's variance
    assert pair[0].fixed[0] * 39 / 40 == pytest.approx(pair[1].fixed[0] * 79 / 80, rel=1e-12)
    assert pair[0].random[0] == pytest.approx(pair[1].random[0], rel=1e-12)
    assert pair[0].residual == pytest.approx(pair[1].residual, rel=1e-12)
    skewed = bmm.Model(formula, data, "poisson", weights=np.linspace(1, 9, 40)).design
    assert parts_of(skewed, values_for(skewed)).fixed[0] != pytest.approx(pair[0].fixed[0], rel=1e-3)


def test_student_with_two_degrees_of_freedom_or_fewer_explains_nothing():
    design = small_design("student", "identity")
    values = Values(BETA[None], (SIGMA[None],), np.array([[0.8, 1.9]]))
    parts = parts_of(design, values)
    assert np.isinf(parts.residual[0])
    assert (parts.fixed / (parts.fixed + parts.residual))[0] == 0


# ----------------------------------------------------------------------------------------------------------------------
# posteriors


def test_draws_are_those_of_the_formulas(fit):
    design = fit.design
    posterior = fit.tree["posterior"]
    beta, b = posterior["beta"].values, posterior["b_Subject"].transpose("chain", "draw", "Subject", ...).values
    sds, corr = posterior["sd_Subject"].values, posterior["corr_Subject"].values[..., 0, 1]
    days = design.X[:, 1]
    random = sds[..., 0] ** 2 + 2 * corr * sds[..., 0] * sds[..., 1] * days.mean() + sds[..., 1] ** 2 * np.mean(days**2)
    residual, fixed = posterior["sigma"].values ** 2, beta[..., 1] ** 2 * days.var(ddof=1)
    icc, r2 = fit.icc(), fit.r2()
    np.testing.assert_allclose(icc.draws["icc[Subject]"], random / (random + residual), rtol=1e-9)  # ridge of 1e-12
    np.testing.assert_allclose(r2.draws["r2_marginal"], fixed / (fixed + random + residual), rtol=1e-9)
    np.testing.assert_allclose(r2.draws["bayes_r2_marginal"], r2.draws["r2_marginal"], rtol=1e-8)
    eta = beta @ design.X.T + (b[:, :, design.blocks[0].index] * design.blocks[0].Z).sum(axis=3)
    explained = eta.var(axis=2, ddof=1)
    np.testing.assert_allclose(r2.draws["bayes_r2_conditional"], explained / (explained + residual), rtol=1e-9)
    assert icc.table["mean"]["icc[Subject]"] == pytest.approx(icc.draws["icc[Subject]"].mean())
    assert list(icc.variances.index) == ["fixed part", "Subject", "residual"]
    assert icc.variances["mean"]["Subject"] == pytest.approx(random.mean(), rel=1e-9)


def test_an_offset_has_no_part_in_the_means_of_a_linear_posterior():
    data, rng, shape = crossed_data(), np.random.default_rng(0), (2, 10)
    posterior = {
        "beta": (("chain", "draw", "coef"), rng.normal(1, 0.1, (*shape, 2))),
        "sd_g": (("chain", "draw", "g_term"), rng.uniform(0.5, 1, (*shape, 1))),
        "sigma": (("chain", "draw"), rng.uniform(0.5, 1, shape)),
        "b_g": (("chain", "draw", "g", "g_term"), rng.normal(size=(*shape, 12, 1))),
    }
    tree = xr.DataTree.from_dict({"posterior": xr.Dataset(posterior)})
    one = Fit(bmm.Model("y ~ x + offset(z) + (1 | g)", data), tree).r2()
    other = Fit(bmm.Model("d ~ x + (1 | g)", data | {"d": data["y"] - data["z"]}), tree).r2()
    assert len(one.draws) == 4
    for name, draws in one.draws.items():
        np.testing.assert_allclose(draws, other.draws[name], rtol=1e-9, err_msg=name)
    assert "the offset is taken out" in str(one)


def test_the_print_says_what_the_numbers_mean(fit, sleepstudy):
    text = str(fit.r2())
    for word in ("r2_conditional", "squared units of Reaction", "new groups", "Nakagawa", "Gelman", "95 %"):
        assert word in text
    assert "sigma^2" in str(sleepstudy.maximize().icc())
    assert max(map(len, text.splitlines())) <= 100


def test_without_the_effects_what_needs_them_is_left_out_and_said(sleepstudy):
    few = sleepstudy.sample(draws=20, tune=100, chains=2, seed=1, keep_effects=False, progress=False)
    found = few.r2()
    assert list(found.draws) == ["r2_marginal", "r2_conditional", "bayes_r2_marginal"]
    assert "keep_effects=False" in str(found)
    assert np.isfinite(few.icc().table["mean"]).all()


def test_a_loaded_fit_gives_the_same(fit, tmp_path):
    fit.save(tmp_path / "fit.nc")
    again = bmm.load(tmp_path / "fit.nc")
    np.testing.assert_array_equal(again.r2().draws["bayes_r2_conditional"], fit.r2().draws["bayes_r2_conditional"])


def test_with_an_inverse_link_new_groups_have_no_mean():
    n = 60
    data = {"y": np.random.default_rng(1).gamma(2, size=n) + 0.1, "g": np.arange(n) % 6}
    model = bmm.Model("y ~ 1 + (1 | g)", data, "gamma", link="inverse")
    rng, shape = np.random.default_rng(0), (2, 10)
    posterior = {
        "beta": (("chain", "draw", "coef"), rng.uniform(0.8, 1, (*shape, 1))),
        "sd_g": (("chain", "draw", "g_term"), rng.uniform(0.05, 0.1, (*shape, 1))),
        "shape": (("chain", "draw"), rng.uniform(2, 3, shape)),
        "b_g": (("chain", "draw", "g", "g_term"), rng.normal(0, 0.1, (*shape, 6, 1))),
    }
    found = Fit(model, xr.DataTree.from_dict({"posterior": xr.Dataset(posterior)})).r2()
    assert list(found.draws) == ["r2_marginal", "r2_conditional", "bayes_r2_conditional"]
    assert "bayes_r2_marginal is left out" in str(found)
    mu = 1 / (posterior["beta"][1] + posterior["b_g"][1][..., 0])[:, :, model.design.blocks[0].index]
    explained, residual = mu.var(axis=2, ddof=1), (mu**2).mean(axis=2) / posterior["shape"][1]
    np.testing.assert_allclose(found.draws["bayes_r2_conditional"], explained / (explained + residual), rtol=1e-9)


def test_moments_that_are_known_give_the_variance_of_the_means():
    design = small_design("poisson", "log")
    mu = np.exp(design.X @ BETA)
    found = over_rows(design, values_for(design), lambda part: (mu[None, part], mu[None, part] ** 2, mu[None, part]))
    assert found.mean[0] == pytest.approx(mu.mean(), rel=1e-12)
    assert found.explained[0] == pytest.approx(mu.var(ddof=1), rel=1e-10)
    assert found.residual[0] == pytest.approx(mu.mean(), rel=1e-10)


def test_angles_have_no_share_of_a_variance():
    data = {"y": np.linspace(-3, 3, 24), "x": np.arange(24.0) % 5, "g": np.arange(24) % 6}
    point = bmm.Model("y ~ x + (1 | g)", data, "von_mises").maximize()
    with pytest.raises(DataError, match="that of angles, here y, depends on where the circle is cut"):
        point.r2()


def test_a_linear_model_takes_no_row_for_each_draw(monkeypatch):
    # the sums over levels beside the sums over rows and draws, with weights, an offset and slopes
    rng, g = np.random.default_rng(8), np.repeat(np.arange(9), 7)
    x, w = 50 + rng.normal(size=63), rng.uniform(0.5, 2, 63)
    y = 3 * x + 40 * rng.normal(size=9)[g] + rng.normal(size=9)[g] * x + rng.normal(size=63)
    data = {"y": y, "x": x, "g": g, "w": w, "o": rng.normal(size=63)}
    model = bmm.Model("y ~ x + offset(o) + (1 + x | g)", data, weights="w")
    fit = model.sample(draws=60, tune=200, chains=2, seed=3, progress=False)
    values = variance_parts.values_of_fit(fit)
    found = [population(fit.design, values), variance_parts.conditional(fit, values)]
    monkeypatch.setattr(variance_parts, "_is_linear", lambda design, values: False)
    expected = [population(fit.design, values), variance_parts.conditional(fit, values)]
    for ours, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.mean, other.mean, rtol=1e-10)
        np.testing.assert_allclose(ours.explained, other.explained, rtol=1e-9)
        np.testing.assert_allclose(ours.residual, other.residual, rtol=1e-9)
