"""The explicit graph of every family and link: densities against SciPy's, wild linear predictors, draws."""

import numpy as np
import pandas as pd
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from densities import CASES
from scipy import special, stats

import bayesmm as bmm
from bayesmm.families.families import FAMILIES, get_family
from bayesmm.families.links import LINKS
from bayesmm.sampling.graph.explicit import build_explicit
from bayesmm.sampling.graph.interpreted import PYTHON, without_compiler
from bayesmm.sampling.graph.responses import log_density

pytestmark = pytest.mark.filterwarnings("ignore::bayesmm.errors.BayesmmWarning")

EVERY = CASES  # those of other families: tests/families/test_other_families.py
AUXILIARIES = {"sigma": 0.7, "nu": 4.5, "shape": 1.8, "phi": 6.0}
GROUPS, EACH = 4, 6


def mean(link, eta):
    """Return the mean, written down a second time."""
    return {
        "identity": lambda: eta,
        "log": lambda: np.exp(eta),
        "logit": lambda: special.expit(eta),
        "probit": lambda: stats.norm.cdf(eta),
        "cloglog": lambda: -np.expm1(-np.exp(eta)),
        "inverse": lambda: 1 / eta,
    }[link]()


def distribution(family, mu, trials, sigma=0.0, nu=0.0, shape=0.0, phi=0.0):
    return {
        "gaussian": lambda: stats.norm(mu, sigma),
        "student": lambda: stats.t(nu, mu, sigma),
        "poisson": lambda: stats.poisson(mu),
        "negbinomial": lambda: stats.nbinom(shape, shape / (shape + mu)),
        "bernoulli": lambda: stats.bernoulli(mu),
        "binomial": lambda: stats.binom(trials, mu),
        "gamma": lambda: stats.gamma(shape, scale=mu / shape),
        "beta": lambda: stats.beta(mu * phi, (1 - mu) * phi),
    }[family]()


def scipy_density(family, y, mu, trials, **aux):
    found = distribution(family, mu, trials, **aux)
    return found.logpmf(y) if FAMILIES[family].discrete else found.logpdf(y)


def example(family, link, seed=3):
    """Return a table with a response that the family can have."""
    rng = np.random.default_rng(seed)
    n = GROUPS * EACH
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "o": rng.uniform(0, 0.3, n),
            "w": rng.uniform(0.5, 2, n),
            "n": rng.integers(2, 9, n),
            "g": np.repeat(list("abcd"), EACH),
        }
    )
    eta = 0.3 + 0.4 * frame["x"] if link != "inverse" else 1.5 + 0.1 * frame["x"]
    mu = mean(link, eta.to_numpy())
    used = {name: AUXILIARIES[name] for name in FAMILIES[family].auxiliaries}
    drawn = distribution(family, mu, frame["n"].to_numpy(), **used).rvs(random_state=seed)
    frame["y"] = np.clip(drawn, 0.001, 0.999) if family == "beta" else drawn
    return frame


def build(family, link, weights=None, **more):
    trials = "n" if family == "binomial" else None
    return bmm.Model(
        "y ~ x + offset(o) + (1 | g)", example(family, link), family, link=link, trials=trials, weights=weights, **more
    )


def compiled(family, link):
    """Return eta, y, trials, auxiliaries -> log density and its gradient in eta and the auxiliaries."""
    row = get_family(family, link)
    eta, y, trials = pt.dvector("eta"), pt.dvector("y"), pt.dvector("trials")
    aux = [pt.dscalar(name) for name in row.auxiliaries]
    value = log_density(row, y, eta, trials if family == "binomial" else 1.0, aux)
    gradients = pt.grad(value.sum(), [eta, *aux])
    return pytensor.function([eta, y, trials, *aux], [value, *gradients], mode=PYTHON, on_unused_input="ignore")


@pytest.mark.parametrize(("family", "link"), EVERY)
def test_log_densities_are_scipys(family, link):
    rng = np.random.default_rng(11)
    eta = rng.uniform(0.2, 3, 20) if link == "inverse" else rng.normal(0, 1.2, 20)
    aux = {name: float(rng.uniform(0.5, 6)) for name in FAMILIES[family].auxiliaries}
    trials = rng.integers(1, 12, 20).astype(float)
    y = distribution(family, mean(link, eta), trials, **aux).rvs(random_state=rng).astype(float)
    y = np.clip(y, 1e-6, 1 - 1e-6) if family == "beta" else y
    value, *gradients = compiled(family, link)(eta, y, trials, *aux.values())
    # two rounding paths through a few logarithms and gammas: some 1e-13 relative, 1e-10 near a density of 1
    np.testing.assert_allclose(value, scipy_density(family, y, mean(link, eta), trials, **aux), rtol=1e-10, atol=1e-13)
    step = 1e-6
    apart = [scipy_density(family, y, mean(link, eta + h), trials, **aux) for h in (step, -step)]
    # central differences: step^2 of curvature, and rounding of 1e-15 / step
    np.testing.assert_allclose(gradients[0], (apart[0] - apart[1]) / (2 * step), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("family", "link"), EVERY)
def test_wild_linear_predictors_give_no_nan(family, link):
    eta = np.array([-np.inf, -1e308, -1e101, -1e3, -50, -38.5, 0.0, 38.5, 50, 1e3, 1e101, 1e308, np.inf])
    aux = [AUXILIARIES[name] for name in FAMILIES[family].auxiliaries]
    evaluate = compiled(family, link)
    for y in {"beta": (0.3,), "gamma": (0.7,), "bernoulli": (0.0, 1.0)}.get(family, (0.0, 3.0)):
        with np.errstate(all="ignore"):
            value, *gradients = evaluate(eta, np.full(len(eta), y), np.full(len(eta), 3.0), *aux)
        assert not np.isnan(value).any()
        assert (value < np.inf).all()
        assert value[0] == value[-1] == -np.inf
        for gradient in gradients:
            assert np.isfinite(gradient).all()
        if link != "identity":
            assert np.isfinite(value[np.abs(eta) <= 30]).all() or link == "inverse"


@pytest.mark.parametrize(
    ("link", "eta", "y", "expected"),
    [
        ("logit", 800.0, 0.0, -800.0),
        ("logit", -800.0, 1.0, -800.0),
        ("probit", -40.0, 1.0, stats.norm.logcdf(-40.0)),
        ("probit", 40.0, 0.0, stats.norm.logcdf(-40.0)),
        ("cloglog", -700.0, 1.0, -700.0),
        ("cloglog", 5.0, 0.0, -np.exp(5.0)),
    ],
)
def test_tails_keep_their_digits(link, eta, y, expected):
    value, slope = compiled("bernoulli", link)(np.array([eta]), np.array([y]), np.ones(1))
    assert value[0] == pytest.approx(expected, rel=1e-13)  # naive formulas give -inf, or -36 from 1 - 1e-16
    assert slope[0] != 0


@pytest.mark.parametrize(
    ("family", "link", "weights"),
    [*((*pair, "w") for pair in EVERY), ("poisson", "log", None), ("binomial", "logit", None)],
)
def test_the_graph_has_the_density_of_its_design(family, link, weights):
    model = build(family, link, weights)
    design = model.design
    assert (design.weights is None) == (weights is None)
    graph = build_explicit(design, model.priors)
    names = ["beta", "b_g", *design.family.auxiliaries]
    with without_compiler():
        point = graph.initial_point(random_seed=1)
    rng = np.random.default_rng(5)
    point = {name: value + 0.05 * rng.normal(size=np.shape(value)) for name, value in point.items()}
    outputs = graph.replace_rvs_by_values([graph[name] for name in names]) + graph.logp(vars=[graph["y"]], sum=False)
    evaluate = graph.compile_fn(outputs, inputs=graph.value_vars, mode=PYTHON, on_unused_input="ignore")
    beta, b, *aux, rows = evaluate(point)
    eta = design.X @ beta + b[design.blocks[0].index, 0] + design.offset
    used = dict(zip(design.family.auxiliaries, aux, strict=True))
    w = np.ones(design.n) if weights is None else design.weights
    if design.family.gaussian:
        used["sigma"] = used["sigma"] / np.sqrt(w)
        w = 1.0
    expected = w * scipy_density(family, design.y, mean(link, eta), design.trials, **used)
    np.testing.assert_allclose(rows, expected, rtol=1e-10)  # as above
    assert [v for v in graph.named_vars if v in FAMILIES[family].auxiliaries] == list(FAMILIES[family].auxiliaries)


@pytest.mark.parametrize(("family", "link"), EVERY)
def test_draws_have_the_moments_of_the_family(family, link):
    rng = np.random.default_rng(8)
    eta, draws = (0.8 if link == "inverse" else 0.4), 40_000
    row = get_family(family, link)
    aux = tuple(AUXILIARIES[name] for name in row.auxiliaries)
    mu = np.full(draws, LINKS[link].inverse(np.array(eta)))
    y = row.draw(rng, mu, 5.0 if family == "binomial" else None, aux)
    used = {name: AUXILIARIES[name] for name in row.auxiliaries}
    law = distribution(family, mean(link, eta), 5, **used)
    assert abs(y.mean() - law.mean()) < 5 * law.std() / np.sqrt(draws)
    if family != "student":  # whose fourth moment, and so the error of the variance, is large
        error = np.sqrt(float(law.stats("k")) + 2) / np.sqrt(draws)
        assert abs(y.var() / law.var() - 1) < 5 * error
        variance = row.variance(np.array(mean(link, eta)), aux) * (5 if family == "binomial" else 1)
        assert variance == pytest.approx(law.var(), rel=1e-12)
    if row.discrete:
        assert (y == np.rint(y)).all()


@pytest.mark.parametrize("family", ["poisson", "negbinomial", "binomial", "bernoulli"])
def test_prior_predictive_counts_are_whole(family):
    tree = build(family, FAMILIES[family].link).prior_predictive(draws=20, seed=1)
    y = tree["prior_predictive"]["y"].values
    assert y.dtype == np.int64
    assert y.min() >= 0
    assert tree["observed_data"]["y"].dtype == np.int64


def test_a_mean_beyond_all_counts_is_cut_not_an_error():
    for family in ("poisson", "negbinomial"):
        row = get_family(family)
        y = row.draw(np.random.default_rng(1), np.array([np.inf, 1e300, 3.0]), None, (2.0,))
        assert np.isfinite(y).all()
        assert y[2] < 100


def test_a_mean_that_is_none_gives_nan():
    row = get_family("gamma", "inverse")
    mu = LINKS["inverse"].inverse(np.array([-1.0, 0.0, 2.0]))
    assert np.isnan(row.draw(np.random.default_rng(1), mu, None, (2.0,))).tolist() == [True, True, False]


def test_draws_through_y_ignore_the_weights():
    model = build("poisson", "log", weights="w")
    with without_compiler():
        y = pm.draw(model.graph("explicit", centred=False)["y"], draws=3, random_seed=1, mode=PYTHON)
    assert y.shape == (3, GROUPS * EACH)
