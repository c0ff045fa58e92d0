"""The posterior does not depend on where a predictor has its zero, nor on its unit: log densities, without sampling.

A model of x' = unit (x + shift) is the model of x in other coordinates. Coefficients and standard deviations at the
means change by the ratio of their columns' sizes alone, so that the log densities at the same point differ by one
constant, and both points give the same linear predictor and the same covariance of the rows.
"""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import bayesmm as bmm
from bayesmm.errors import BayesmmWarning, PriorError
from bayesmm.likelihood.marginal import generalised, marginal
from bayesmm.likelihood.problem import integrate
from bayesmm.priors import prior_bases, prior_design
from bayesmm.sampling.graph.interpreted import PYTHON, without_compiler
from bayesmm.sampling.marginal import as_tree, centre
from bayesmm.storage.runs import Run, no_stats

CLOSE = 1e-9  # relative to the log density
N = 120

FIXED_PARTS = (
    "x", "x * f", "x + I(x^2)", "I(x^2) + x", "x * z", "x * z * f", "f + x:f", "0 + f + x", "0 + f + x:f", "poly(x, 2)",
    "x * z + x:I(z^2) + I(z^2)", "center(x) * z", "f * h", "I(x * z) + x + z",
)  # fmt: skip
RANDOM_PARTS = ("(1 | g)", "(x | g)", "(x + z | g)", "(x * f | g)", "(0 + f | g)", "(x + I(x^2) | g)")
FAMILIES = ("gaussian", "poisson", "bernoulli", "negbinomial", "gamma", "beta", "binomial", "student")


def table(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    g = np.arange(N) % 12
    d = pd.DataFrame({"x": rng.normal(size=N), "z": rng.normal(size=N), "g": g.astype(str)})
    d["f"], d["h"] = rng.permutation(np.repeat(list("abc"), N // 3)), rng.permutation(np.tile(list("uv"), N // 2))
    eta = 0.4 * d.x - 0.3 * d.z + 0.3 * rng.normal(size=12)[g]
    d["gaussian"] = 10 + 3 * eta + rng.normal(size=N)
    d["student"] = d.gaussian
    d["poisson"] = rng.poisson(np.exp(1 + eta))
    d["negbinomial"] = rng.negative_binomial(3, 3 / (3 + np.exp(1 + eta)))
    d["bernoulli"] = rng.random(N) < 1 / (1 + np.exp(-eta))
    d["n"], d["gamma"] = 5, rng.gamma(2, np.exp(eta) / 2)
    d["binomial"] = rng.binomial(5, 1 / (1 + np.exp(-eta)))
    d["beta"] = np.clip(rng.beta(3, 3 * np.exp(-eta)), 0.01, 0.99)
    return d.astype({"bernoulli": int})


def model(formula: str, data: pd.DataFrame, family: str, **own) -> bmm.Model:
    trials = {"trials": "n"} if family == "binomial" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BayesmmWarning)
        return bmm.Model(f"{family} ~ {formula}", data, family, **trials, **own)


def moved(data: pd.DataFrame, shift: float, unit: float) -> pd.DataFrame:
    return data.assign(x=unit * (data.x + shift), z=(data.z - shift / 3) / unit)


def ratios(first: bmm.Model, second: bmm.Model) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return how many times as large the columns of the second prior's design are: of X, and of each Z."""
    a, b = (prior_design(m.design, m.priors) for m in (first, second))
    pairs = zip(matrices(a), matrices(b), strict=True)
    sizes = [np.linalg.norm(v, axis=0) / np.linalg.norm(u, axis=0) for u, v in pairs]
    return sizes[0], sizes[1:]


def matrices(design) -> list[np.ndarray]:
    return [design.X, *(block.Z for block in design.blocks)]


def rounding(m: bmm.Model) -> float:
    """Return how far log densities may be apart: CLOSE, or what the rounding of the columns themselves comes to.

    A column of I(x^2) at x = 1e4 sds is rounded to 1e-16 of 1e8, beside the 1 that is left without its margins.
    """
    own = matrices(prior_design(m.design, m.priors))
    pairs = zip(matrices(m.design), own, strict=True)
    sizes = [np.linalg.norm(whole, axis=0) / np.linalg.norm(rest, axis=0) for whole, rest in pairs]
    return max(CLOSE, 10 * np.finfo(float).eps * np.concatenate(sizes).max())


# ----------------------------------------------------------------------------------------------------------------------
# the compiled posterior


def compiled(m: bmm.Model):
    if m.family.gaussian:
        return marginal(m.design, m.priors, integrate(m.design, m.priors))
    return generalised(m.design, m.priors)


def at_second(x: np.ndarray, first, models) -> np.ndarray:
    """Return the coordinates of the same point in the second model."""
    c, (of_X, of_Z), y = first.posterior.coordinates, ratios(*models), x.copy()
    for i, ratio in enumerate(np.concatenate(of_Z)):
        y[..., c.at[i]] -= np.log(ratio)
    if not models[0].family.gaussian:
        for j, ratio in enumerate(of_X, len(c.kind) - len(of_X)):
            y[..., c.at[j]] /= ratio
    return y


def draws(posterior, x: np.ndarray):
    """Return points as the variables of a posterior, one chain."""
    import xarray as xr

    data = xr.Dataset({"x": (("chain", "draw", "coordinate"), x[None])}, {"chain": [0], "draw": np.arange(len(x))})
    return as_tree(posterior, Run(data, no_stats(), interrupted=False))["posterior"]


def row_covariances(m: bmm.Model, posterior) -> np.ndarray:
    """Return z_i' Sigma z_i of each point and row, from what is reported."""
    (block,) = [b for b in m.design.blocks if b.correlated] or [m.design.blocks[0]]
    sd = posterior[f"sd_{block.name}"].to_numpy()[0]
    R = posterior[f"corr_{block.name}"].to_numpy()[0] if block.correlated else np.eye(sd.shape[-1])
    return np.einsum("ni,si,sij,sj,nj->sn", block.Z, sd, R * np.ones((len(sd), 1, 1)), sd, block.Z)


@settings(max_examples=60, deadline=None)
@given(
    family=st.sampled_from(FAMILIES), fixed=st.sampled_from(FIXED_PARTS), random=st.sampled_from(RANDOM_PARTS),
    shift=st.floats(-1e4, 1e4), power=st.floats(-6, 6), seed=st.integers(0, 9),
)  # fmt: skip
@example("gaussian", "0 + f + x", "(1 | g)", 36.0, 6.0, 0)  # the indicators add up to 1 beside a column of 1e7
def test_the_log_posterior_of_a_moved_predictor_differs_by_a_constant(family, fixed, random, shift, power, seed):
    data = table(seed)
    formula = f"{fixed} + {random}"
    models = model(formula, data, family), model(formula, moved(data, shift, 10.0**power), family)
    if not (family == "gaussian" or len(models[0].design.blocks[0].columns) <= 3):
        return  # quadrature is for three coefficients at most
    first, second = map(compiled, models)
    x = centre(first, models[0].priors) + 0.3 * np.random.default_rng(seed).normal(size=(4, first.posterior.size))
    there = at_second(x, first, models)
    values = np.array([p.posterior.many(y) for p, y in ((first, x), (second, there))])
    assert np.isfinite(values).all()
    assert np.ptp(values[1] - values[0]) <= rounding(models[1]) * np.abs(values).max()
    # what is reported is the same model: the linear predictor, and the rows' covariance
    reported = [draws(p, y) for p, y in ((first, x), (second, there))]
    if "beta" in reported[0]:
        eta = [m.design.X @ r["beta"].to_numpy()[0].T for m, r in zip(models, reported, strict=True)]
        size = np.abs(models[1].design.X) @ np.abs(reported[1]["beta"].to_numpy()[0].T)
        assert (np.abs(eta[1] - eta[0]) <= 1e-13 * size + 1e-9).all()  # rounding of the sum that cancels
    if abs(shift) < 100:  # z' Sigma z far from 0 is a difference of numbers (shift / sd)^2 times as large
        found = [row_covariances(m, r) for m, r in zip(models, reported, strict=True)]
        np.testing.assert_allclose(found[1], found[0], rtol=1e-6, atol=1e-7 * np.abs(found[0]).max())


# ----------------------------------------------------------------------------------------------------------------------
# PyMC's graphs


GRAPHS = [
    ("gaussian", "x * f + (x | g)", "marginal"), ("gaussian", "x * f + (x | g)", "explicit"),
    ("gaussian", "0 + f + x + (x + z | g)", "explicit"), ("gaussian", "x + I(x^2) + (1 | g)", "explicit"),
    ("poisson", "x * z + (x | g)", "marginal"), ("poisson", "x * z + (x | g)", "explicit"),
    ("bernoulli", "x * f + (1 | g)", "explicit"), ("student", "x * f + (x | g)", "explicit"),
]  # fmt: skip


def with_centring():
    """Yield each graph; one with effects written out also centred; most of these, and later families, are slow."""
    for number, case in enumerate(GRAPHS):
        yield pytest.param(*case, False, marks=[pytest.mark.slow] if number > 4 else [])
        if case[-1] == "explicit":
            yield pytest.param(*case, True, marks=[pytest.mark.slow] if number > 1 else [])


@pytest.mark.parametrize(("family", "formula", "effects", "centred"), list(with_centring()))
def test_the_graphs_densities_differ_by_a_constant(family, formula, effects, centred):
    data = table(3)
    models = [model(formula, d, family) for d in (data, moved(data, 3000.0, 1e-3))]
    rng, found = np.random.default_rng(1), []
    with without_compiler():
        graphs = [m.graph(effects, centred=centred) for m in models]
        functions = [g.compile_fn(g.logp(), inputs=g.value_vars, mode=PYTHON) for g in graphs]
        start = graphs[0].initial_point()
        for _ in range(3):
            point = {name: value + 0.3 * rng.normal(size=np.shape(value)) for name, value in start.items()}
            if family == "bernoulli" or family == "poisson":
                point = {name: value / 5 for name, value in point.items()}
            values = functions[0](point), functions[1](of_second_graph(point, models, graphs[0]))
            found.append(values[1] - values[0])
            assert np.isfinite(values).all()
    assert np.ptp(found) <= CLOSE * max(1.0, np.abs(values).max())


def of_second_graph(point: dict, models, graph) -> dict:
    """Return the same point for the second graph: coefficients, sds, and effects sampled as they are, in its units."""
    of_X, of_Z = ratios(*models)
    out = dict(point)
    for name, ratio in (("_slopes", of_X[-len(point.get("_slopes", ())) :]), ("beta", of_X)):
        if name in out:
            out[name] = out[name] / ratio
    for block, ratio in zip(models[0].design.blocks, of_Z, strict=True):
        for name in (f"sd_{block.name}_log__", f"sd_{block.name}_centred_log__"):
            if name in out:
                out[name] = out[name] - np.log(ratio)
        for name in (f"b_{block.name}", f"_b_{block.name}"):
            if name in out:
                out[name] = out[name] / ratio
    return out


# ----------------------------------------------------------------------------------------------------------------------
# the mode, and a user's own priors


@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_the_mode_of_the_posterior_does_not_depend_on_the_origin(family):
    data = table(5)
    models = [model("x * f + (x | g)", d, family) for d in (data, data.assign(x=data.x + 2000))]
    points = [m.maximize("MAP") for m in models]
    assert points[1].criterion == pytest.approx(points[0].criterion, abs=1e-6)
    highest = [j for j, name in enumerate(models[0].design.coefficients) if name.startswith("x")]
    np.testing.assert_allclose(points[1].beta[highest], points[0].beta[highest], rtol=1e-5, atol=1e-6)
    A = np.array([[1.0, 2000.0], [0.0, 1.0]])  # effects at x = 0 from those at x + 2000 = 0
    Sigma = A @ points[1].covariances[0] @ A.T
    np.testing.assert_allclose(Sigma, points[0].covariances[0], rtol=1e-4, atol=1e-5)


def test_the_fault_that_was_found_is_mended():
    # an interaction of .8 with a calendar year: REML .7127; posterior mean .0009 when the priors were at year 0
    rng = np.random.default_rng(4)
    d = pd.DataFrame({"id": np.repeat(np.arange(40), 5).astype(str), "year": np.tile(np.arange(2015, 2020), 40)})
    d["arm"] = np.where(d.id.astype(int) % 2 == 0, "ctl", "trt")
    d["y"] = 10 + 0.5 * (d.year - 2017) + 0.8 * (d.year - 2017) * (d.arm == "trt")
    d["y"] += rng.normal(0, 1.5, 40).repeat(5) + rng.normal(0, 1, len(d))
    point = bmm.Model("y ~ year * arm + (1 | id)", d).maximize("MAP")
    assert point.fixef().estimate.iloc[-1] == pytest.approx(0.7117, abs=2e-3)


def test_a_users_own_prior_is_never_moved():
    own = bmm.Prior("Normal", mu=1, sigma=2)
    m = model("x * f + (x | g)", table(2).assign(x=lambda d: d.x + 50), "gaussian", priors={"beta[x]": own})
    bases = prior_bases(m.design, m.priors)
    at = list(m.design.coefficients).index("x")
    np.testing.assert_array_equal(bases.fixed.R[at], np.eye(m.design.p)[at])
    assert bases.fixed.moved[list(m.design.coefficients).index("f[T.b]")]
    assert not bases.blocks[0].trivial
    for key in ("sd", "sd_g", "sd_g[x]", "corr", "corr_g"):
        prior = bmm.Prior("LKJ", eta=1) if "corr" in key else bmm.Prior("HalfNormal", sigma=3)
        other = model("x + (x | g)", table(2), "gaussian", priors={key: prior})
        assert prior_bases(other.design, other.priors).blocks[0].trivial, key
        assert {p.at for place, p in other.priors.items() if place.startswith(("sd", "corr"))} == {"zero"}


def test_priors_at_the_means_go_round_and_do_not_mix():
    m = model("x * f + (x | g)", table(2), "gaussian")
    assert dict(m.with_priors(dict(m.priors)).priors) == dict(m.priors)
    changed = m.with_priors({**m.priors, "sd_g[x]": bmm.Prior("HalfNormal", sigma=3)}).priors
    assert changed["sd_g[Intercept]"].at == "zero"
    mine = bmm.Prior("HalfNormal", sigma=3, at="means")
    kept = m.with_priors({"sd_g": mine}).priors
    assert kept["sd_g[Intercept]"] == mine
    with pytest.raises(PriorError, match=r"'sd_g.Intercept.' is at the means and others of 'g' are not"):
        m.with_priors({"sd_g[Intercept]": mine, "sd_g[x]": bmm.Prior("HalfNormal", sigma=3)})
    with pytest.raises(PriorError, match="'sigma' has at='means'"):
        m.with_priors({"sigma": mine})
    with pytest.raises(PriorError, match="at should be 'zero' or 'means', not 'mean'; did you mean 'means'"):
        bmm.Prior("HalfNormal", sigma=3, at="mean")


def test_equivalent_formulas_have_the_same_priors():
    data = table(2).assign(x=lambda d: d.x + 9)
    first, second = model("I(x^2) + x + (1 | g)", data, "gaussian"), model("x + I(x^2) + (1 | g)", data, "gaussian")
    for place in first.priors:
        assert first.priors[place].parameters == pytest.approx(second.priors[place].parameters)
    assert compiled(first).posterior(np.zeros(2))[0] == pytest.approx(compiled(second).posterior(np.zeros(2))[0])


def test_uncorrelated_slopes_keep_their_meaning():
    m = model("x + (x || g)", table(2), "gaussian")
    assert {p.at for p in m.priors.values()} == {"zero"}


# ----------------------------------------------------------------------------------------------------------------------
# sampled


def three_way(shift: float) -> pd.DataFrame:
    rng = np.random.default_rng(8)
    g = np.repeat(np.arange(20), 12)
    d = pd.DataFrame({"g": g.astype(str), "x": rng.normal(size=240), "z": rng.normal(size=240)})
    d["f"] = rng.permutation(np.repeat(["a", "b"], 120))
    slope = 1 + 0.5 * d.z - 0.8 * (d.f == "b") + 0.6 * d.z * (d.f == "b")
    d["gaussian"] = slope * d.x + rng.normal(0, 0.7, 20)[g] + rng.normal(size=240)
    # both by 1e6: the products are 1e12, whose last digit is 1e-4, and a warning says that the columns are dependent
    return d.assign(x=d.x + shift, z=d.z - min(shift, 1000))


def sleep(shift: float) -> pd.DataFrame:
    return bmm.load_dataset("sleepstudy").assign(x=lambda d: d.Days + shift).rename(columns={"Reaction": "gaussian"})


STUDIES = {
    "sleepstudy": (sleep, "x + (x | Subject)", ["beta[x]", "sd_Subject[x]", "sigma"]),
    "three-way": (three_way, "x * z * f + (1 | g)", ["beta[x:z:f[T.b]]", "sd_g[Intercept]", "sigma"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("study", list(STUDIES))
def test_posteriors_of_moved_predictors_agree(study):
    made, formula, places = STUDIES[study]
    tables = []
    for seed, shift in enumerate((0, 10, 1000, 1e6)):
        fit = model(formula, made(shift), "gaussian").sample(seed=seed, progress=False)
        tables.append(fit.summary().loc[places])
        assert (tables[-1][["ess_bulk", "ess_tail"]] > 1000).all(axis=None)
    for other in tables[1:]:
        error = np.hypot(*(t["sd"] / np.sqrt(t["ess_bulk"]) for t in (tables[0], other)))
        assert (np.abs(other["mean"] - tables[0]["mean"]) < 5 * error).all()  # five Monte Carlo errors
        # of an sd, from draws that are not normal: sqrt(kurtosis - 1) / 2 of it, at most 1.5 here
        assert (np.abs(other["sd"] - tables[0]["sd"]) < 5 * 1.5 * error).all()
