"""Where chains start when a prior's median is far from the data."""

import numpy as np
import pytest
from references import frame

import bayesmm as bmm
from bayesmm.likelihood.coordinates import values
from bayesmm.likelihood.marginal import generalised, marginal
from bayesmm.sampling.graph.interpreted import without_compiler
from bayesmm.sampling.graph.start import start_near
from bayesmm.sampling.marginal import SPREAD, centre, units, whitened
from bayesmm.sampling.mode import NEAR
from bayesmm.sampling.vague_priors import likelihood_estimates, near_maximum

pytestmark = pytest.mark.filterwarnings("ignore::bayesmm.BayesmmWarning")

SLEEP = "Reaction ~ Days + (Days || Subject)"
# lme4's REML estimates of sleepstudy, published to these digits (Bates et al. 2015, J Stat Softw 67(1), section 4)
REML = {"sd_Subject[Intercept]": 25.05, "sd_Subject[Days]": 5.99, "sigma": 25.57}
SAME = 1e-3  # the digits of those
VAGUE = {
    "inverse gamma": bmm.Prior("InverseGamma", alpha=0.001, beta=0.001, on="variance"),  # median 1e149
    "infinite median": bmm.Prior("InverseGamma", alpha=1e-4, beta=1e-4),
    "tiny": bmm.Prior("Gamma", alpha=0.001, beta=0.001),  # median 1e-298
    "log normal": bmm.Prior("LogNormal", mu=200, sigma=300),
    "half normal": bmm.Prior("HalfNormal", sigma=1e6),
    "uniform": bmm.Prior("Uniform", lower=0, upper=1e6),
}


def sleep(prior, formula=SLEEP):
    return bmm.Model(formula, frame("sleepstudy"), priors={"sd": prior, "sigma": prior})


def initial(graph):
    with without_compiler():
        return graph.initial_point(0)


def near(model):
    return near_maximum(model.design, model.priors, lambda: likelihood_estimates(model))


@pytest.mark.parametrize("name", VAGUE)
def test_chains_start_near_the_maximum_where_a_prior_is_vague(name):
    model = sleep(VAGUE[name])
    found = near(model)
    assert found == pytest.approx(REML, rel=SAME)
    built = marginal(model.design, model.priors, model._integrated)
    x = centre(built, model.priors, found)
    at = dict(zip(built.places, values(built.posterior.coordinates, x[None])[0], strict=True))
    assert at == pytest.approx(REML, rel=SAME)
    assert np.isfinite(built.posterior(x)[0])


def test_a_prior_at_the_means_starts_there():
    """Days from 1e4 on: the sd of the intercept at the means is that in the middle of the study, day 4.5."""
    data = frame("sleepstudy").assign(Days=lambda d: d["Days"] + 1e4)
    vague = bmm.Prior("InverseGamma", alpha=0.001, beta=0.001, on="variance", at="means")
    priors = {"sd": vague, "sigma": VAGUE["inverse gamma"], "corr": bmm.Prior("LKJ", eta=2, at="means")}
    model = bmm.Model("Reaction ~ Days + (Days | Subject)", data, priors=priors)
    point = bmm.Model("Reaction ~ I(Days - 10004.5) + (I(Days - 10004.5) | Subject)", data).maximize()
    expected = [*np.sqrt(np.diag(point.covariances[0])), point.sigma]
    assert list(near(model).values()) == pytest.approx(expected, rel=1e-4)  # two searches for one maximum
    start_near(graph := model.graph("explicit"), model.design, model.priors, near(model))
    start = initial(graph)
    assert np.sqrt(np.exp(start["_sd_Subject_centred_squared_log__"])) == pytest.approx(expected[:2], rel=1e-4)


def test_starts_are_dispersed_and_those_of_their_seed():
    model = sleep(VAGUE["inverse gamma"])
    built = marginal(model.design, model.priors, model._integrated)
    at, start = whitened(built, centre(built, model.priors, near(model)), units(built, model.priors))
    drawn = np.array([start(seed) for seed in range(200)])
    np.testing.assert_array_equal(drawn[3], start(3))
    # uniform within SPREAD sds of the mode, sd SPREAD / sqrt(3); 5 standard errors of the sd of 200 are 0.15 of it
    np.testing.assert_allclose(drawn.std(axis=0), SPREAD / np.sqrt(3), rtol=0.15)
    assert np.abs(at.factor.T @ built.posterior(at.centre)[1]).max() < NEAR


def test_priors_near_the_data_ask_for_no_estimates_and_start_at_their_medians():
    def never():
        raise AssertionError("the estimates are not needed")

    narrow = {"sd_Subject[Days]": bmm.Prior("HalfNormal", sigma=8.0), "sigma": 25.0}
    for priors in ({}, narrow, {"sd": bmm.Prior("HalfFlat")}):
        model = bmm.Model(SLEEP, frame("sleepstudy"), priors=priors)
        assert near_maximum(model.design, model.priors, never) == {}


def test_a_narrow_prior_far_from_the_data_keeps_the_start():
    """Its upper tail of 1e-6 is at 4.89 sigma: at the estimate of 25 its density would be exp(-3e8)."""
    assert near(sleep(bmm.Prior("HalfNormal", sigma=1e-3)))["sigma"] == pytest.approx(4.8916e-3, rel=1e-4)


def test_where_the_maximum_is_singular_or_fails_chains_start_at_the_scale_of_the_data():
    model = sleep(VAGUE["inverse gamma"])
    scale = bmm.Model(SLEEP, frame("sleepstudy")).priors["sd_Subject[Days]"].quantile(0.5)
    for estimates in ({}, {"sd_Subject[Days]": 0.0}, {"sd_Subject[Days]": np.nan}):
        found = near_maximum(model.design, model.priors, lambda known=estimates: known)
        assert found["sd_Subject[Days]"] == pytest.approx(scale)


def counts():
    rng = np.random.default_rng(1)
    g = np.arange(60) % 12
    y = rng.poisson(np.exp(1 + 0.7 * rng.normal(size=12)[g]))
    return {"y": y, "g": [f"g{k}" for k in g]}


def test_generalised_models_start_near_laplace():
    priors = {"sd": VAGUE["inverse gamma"], "shape": bmm.Prior("InverseGamma", alpha=0.001, beta=0.001)}
    for family in ("poisson", "negbinomial"):
        own = {place: prior for place, prior in priors.items() if place == "sd" or family == "negbinomial"}
        model = bmm.Model("y ~ 1 + (1 | g)", counts(), family, priors=own)
        found = near(model)
        assert found["sd_g[Intercept]"] == pytest.approx(model.maximize().parameters["sd_g[Intercept]"])
        x = centre(generalised(model.design, model.priors), model.priors, found)
        assert np.abs(x).max() < 20 and np.isfinite(x).all()  # logarithms


@pytest.mark.parametrize("effects", ["marginal", "explicit"])
@pytest.mark.parametrize(
    "priors",
    [
        {"sd": VAGUE["log normal"], "sigma": VAGUE["log normal"]},  # one variable for both sds
        {"sd": VAGUE["inverse gamma"], "sigma": VAGUE["inverse gamma"]},  # of the variances
        # a variable for each sd, one of them of the variance
        {"sd_Subject[Intercept]": VAGUE["inverse gamma"], "sd_Subject[Days]": VAGUE["half normal"], "sigma": 25.0},
    ],
)
def test_graphs_start_near_the_maximum(effects, priors):
    model = bmm.Model(SLEEP, frame("sleepstudy"), priors=priors)
    found, graph = near(model), model.graph(effects)
    start_near(graph, model.design, model.priors, found)
    point = initial(graph)
    # a start is kept on the scale of the coordinates: the logarithm, of the square for a prior of the variance
    drawn = {name: np.exp(value) for name, value in point.items() if name.endswith("_log__")}
    drawn = {name: np.sqrt(value) if "squared" in name else value for name, value in drawn.items()}
    expected = [REML[place] for place in REML if place in found]
    scales = np.sort(np.concatenate([np.ravel(value) for value in drawn.values()]))
    np.testing.assert_allclose(scales, np.sort(expected), rtol=SAME)


@pytest.mark.slow
@pytest.mark.parametrize("effects", ["marginal", "explicit"])
@pytest.mark.parametrize("sampler", ["nutpie", "pymc"])
def test_chains_with_inverse_gamma_priors_agree(effects, sampler):
    fit = sleep(VAGUE["inverse gamma"]).sample(400, 400, 2, seed=1, sampler=sampler, effects=effects, progress=False)
    posterior = fit.tree["posterior"]
    # the posterior sds are 1.6 and 6: within 3 of them, where chains that never came down were at 1e149
    assert posterior["sigma"].values.mean(axis=1) == pytest.approx([25.7, 25.7], abs=5)
    assert posterior["sd_Subject"].values[..., 0].mean(axis=1) == pytest.approx([26, 26], abs=18)
