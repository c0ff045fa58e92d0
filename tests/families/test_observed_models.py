"""Models of censored and truncated responses: compiled against PyTensor, integrals, and all that is done with them."""

import pickle

import numpy as np
import pandas as pd
import pytest
from observed_densities import CASES, MEAN, distribution, log_probability, parameters, predictor, value
from scipy.special import gamma, logsumexp, ndtr, ndtri
from scipy.stats import kstest

import bayesmm as bmm
from bayesmm.errors import DataError
from bayesmm.families.families import get_family
from bayesmm.families.limits import Limits
from bayesmm.families.observed import as_observed
from bayesmm.likelihood import response_kernels as response
from bayesmm.likelihood.row_functions import codes
from bayesmm.sampling.graph.interpreted import PYTHON

KINDS = ("none", "left", "right", "interval")
AUX = {"gaussian": (0.8,), "student": (0.8, 6.0), "lognormal": (0.7,), "weibull": (1.6,), "exponential": (),
       "gamma": (2.0,), "inverse_gaussian": (3.0,), "poisson": (), "negbinomial": (2.0,)}  # fmt: skip


def rows(name, link, rng, n, truncated):
    """Return a family as it is observed, responses, limits, predictors and parameters."""
    base, aux = get_family(name, link), parameters(name, rng)
    eta = np.array([predictor(link, rng) for _ in range(n)])
    ends = np.sort([[value(name, link, rng, at, aux, rng.uniform(-1, 2)) for _ in range(2)] for at in eta], axis=1)
    y, end = ends[:, 0], np.maximum(ends[:, 1], ends[:, 0] + (1.0 if base.discrete else 0.3))
    low, high = (np.floor(y - 1.0), np.ceil(end + rng.uniform(0, 3, n))) if truncated else (-np.inf, np.inf)
    low = np.where(np.less_equal(low, 0) & (base.support.positive or base.discrete), -np.inf, low) * np.ones(n)
    kind = np.arange(n) % 4
    other = np.select([kind == 1, kind == 2, kind == 3], [low, high * np.ones(n), end], np.nan)
    limits = Limits(other, low, high * np.ones(n)) if truncated else Limits(other)
    return as_observed(base, True, truncated), y, limits, eta, aux


# each compiles some seconds
FAST = (("gaussian", "identity", True), ("weibull", "log", False), ("poisson", "log", False))
GRAPHS = [
    pytest.param(*case, truncated, marks=[] if (*case, truncated) in FAST else pytest.mark.slow)
    for case in CASES
    for truncated in (False, True)
]


@pytest.mark.parametrize(("name", "link", "truncated"), GRAPHS)
def test_pytensor_has_the_compiled_density_and_its_slopes(name, link, truncated):
    import pytensor
    import pytensor.tensor as pt

    family, y, limits, eta, aux = rows(name, link, np.random.default_rng(8), 40, truncated)
    at, own = pt.dvector("eta"), [pt.dscalar(parameter) for parameter in family.auxiliaries]
    beside = [pt.as_tensor_variable(column) for column in limits.in_graph(y)]
    inside, value = family.graph_density(link, pt.as_tensor_variable(y), at, beside, own)
    slopes = [pytensor.grad(value.sum(), at), *(pytensor.grad(value.sum(), parameter) for parameter in own)]
    found = pytensor.function([at, *own], [inside, value, *slopes], mode=PYTHON)(eta, *aux[: len(own)])
    assert np.all(found[0])
    each = list(zip(y, limits.size, eta, strict=True))
    compiled = np.array([response.derivatives(*codes(family), *row, aux) for row in each])
    scores = np.array([response.score_auxiliary(*codes(family), *row, aux) for row in each])
    np.testing.assert_allclose(found[1], compiled[:, 0], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found[2], compiled[:, 1], rtol=1e-8, atol=1e-9)
    for m in range(len(own)):  # differences on one side, or on both, where a slope is no known function
        assert found[3 + m] == pytest.approx(scores[:, m].sum(), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("truncated", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize(("name", "link"), CASES)
def test_wild_predictors_give_a_density_or_none(name, link, truncated):
    """Compiled, a density far out is -inf with slopes of 0, or finite: never NaN."""
    family, y, limits, _, aux = rows(name, link, np.random.default_rng(3), 8, truncated)
    size = limits.size
    for eta in (-1e308, -800.0, -240.0, -40.0, 40.0, 240.0, 800.0, 1e308, np.nan, np.inf, -np.inf):
        for row in zip(y, size, strict=True):
            found = response.derivatives(*codes(family), *row, eta, aux)
            assert np.isfinite(found).all() or found == (-np.inf, 0.0, 0.0, 0.0)
            assert np.isfinite(response.score_auxiliary(*codes(family), *row, eta, aux)).all()


def table(name, seed=4, groups=12, each=8):
    """Return data of a family: y, known in one of four ways, inside (low, high], with intercepts of groups."""
    base, rng = get_family(name), np.random.default_rng(seed)
    g, x = np.repeat(np.arange(groups), each), rng.normal(size=groups * each)
    eta = 0.8 + 0.3 * x + 0.4 * rng.normal(size=groups)[g]
    mu = MEAN[base.link](eta)
    y = base.draw(rng, mu, None, AUX[name])
    at = np.quantile(y, [0.2, 0.5, 0.8])
    if base.discrete:
        at = np.array([1.0, 2.0, 4.0])
    way = np.array(["none", "none", "left", "right", "interval"])[rng.integers(0, 5, len(y))]
    known = np.where((way == "left") & (y <= at[0]), at[0], y)
    known = np.where((way == "right") & (y > at[2]), at[2], known)
    inside = (way == "interval") & (y > at[0]) & (y <= at[1])
    known = np.where(inside, at[0], known)
    true_way = np.select([(way == "left") & (y <= at[0]), (way == "right") & (y > at[2]), inside], ["left", "right",
                         "interval"], "none")  # fmt: skip
    return pd.DataFrame({"y": known, "c": true_way, "y2": np.where(inside, at[1], np.nan), "x": x,
                         "g": [f"g{i:02d}" for i in g]})  # fmt: skip


NAMES = list(AUX)


@pytest.mark.parametrize("name", NAMES)
def test_the_marginal_likelihood_is_the_integral(name):
    """Of the intercepts, by the trapezoidal rule over 12 sds with SciPy's probabilities; quadrature with 25 nodes."""
    frame = table(name)
    top = float(np.ceil(frame[["y", "y2"]].max(axis=None)) + 1)
    point = bmm.Model(f"y | cens(c, y2) + trunc(ub = {top}) ~ x + (1 | g)", frame, name).maximize(nagq=25)
    sd, step = float(np.sqrt(point.covariances[0][0, 0])), 0.02
    z = np.arange(-12, 12 + step / 2, step)
    aux = [point.auxiliaries[own] for own in point.design.family.auxiliaries]
    total = {level: -0.5 * z**2 - 0.5 * np.log(2 * np.pi) for level in point.design.blocks[0].levels}
    for i, row in frame.iterrows():
        mu = MEAN[point.design.family.link]((point.design.X[i] @ point.beta) + sd * z)
        known = distribution(name, mu, aux)
        ends = {"left": (-np.inf, row["y"]), "right": (row["y"], top), "interval": (row["y"], row["y2"])}
        with np.errstate(all="ignore"):
            if row["c"] == "none":
                part = known.logpmf(row["y"]) if point.design.family.discrete else known.logpdf(row["y"])
            else:
                low, high = ends[row["c"]]
                below = known.cdf(high) - (known.cdf(low) if low > -np.inf else 0.0)
                above = (known.sf(low) if low > -np.inf else 1.0) - known.sf(high)
                part = np.log(np.where(known.cdf(high) < 0.5, below, above))
            total[row["g"]] = total[row["g"]] + np.nan_to_num(part - known.logcdf(top), nan=-np.inf, neginf=-np.inf)
    exact = sum(logsumexp(each) + np.log(step) for each in total.values())
    assert point.loglik == pytest.approx(exact, abs=5e-5)
    assert np.abs(point.optimum.gradient) < 2e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_everything_is_done_with_it(name, tmp_path):
    frame = table(name)
    model = bmm.Model("y | cens(c, y2) ~ x + (1 | g)", frame, name)
    point = model.maximize()
    assert point.converged and f"Family: censored {name}" in str(point)
    assert "Randomised quantile residuals" in str(point)
    fit = model.sample(draws=300, tune=300, chains=2, seed=1, progress=False)
    assert f"censored {name}" in str(fit)
    assert fit.compare(point, consistency=False).table["mean"].notna().all()
    assert np.isfinite(fit.loo().elpd)
    new = pd.DataFrame({"x": [0.0, 1.0], "g": ["g00", "new"]})
    for kind in ("mean", "response"):
        assert np.isfinite(fit.predict(new, kind=kind, new_levels="sample", seed=1).draws).all()
    assert np.isfinite(model.simulate(point, draws=3, seed=1).to_numpy(dtype=float)).all()
    assert np.isfinite(point.scaled_residuals).all() and 0.5 < point.scaled_residuals.std() < 1.5
    assert fit.r2().table.notna().any(axis=None)
    assert np.isfinite(bmm.emmeans(fit, "x", at={"x": [0.0, 1.0]}).table["mean"]).all()
    page = fit.report(tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"censored {name}" in page and "Kaplan-Meier" in page
    fit.save(tmp_path / "fit.nc")
    again = bmm.load(tmp_path / "fit.nc")
    np.testing.assert_array_equal(again.predict().draws, fit.predict().draws)
    np.testing.assert_array_equal(again.design.limits.other, model.design.limits.other)
    assert np.isfinite(again.loo().elpd)
    with pytest.raises(DataError, match="the bootstrap simulates responses, and of a censored one"):
        point.bootstrap(samples=2, seed=1, progress=False)


def test_a_model_is_copied_to_another_process():
    model = bmm.Model("y | cens(c, y2) + trunc(ub = 1e6) ~ x", table("weibull"), "weibull")
    copy = pickle.loads(pickle.dumps(model))
    assert copy.family == model.family
    assert copy.maximize().loglik == model.maximize().loglik


def test_draws_of_truncated_responses_are_inside_the_limits_and_from_the_distribution():
    base, rng = get_family("gaussian"), np.random.default_rng(2)
    family = as_observed(base, False, True)
    for low, high in ((-0.5, 0.7), (4.0, np.inf), (-np.inf, -9.0), (11.0, 11.5)):
        limits = Limits(np.full(1000, np.nan), np.full(1000, low), np.full(1000, high))
        drawn = family.draw(rng, np.zeros(1000), limits, (1.0,))
        assert drawn.min() >= low and drawn.max() <= high
        known = distribution("gaussian", 0.0, (1.0,))
        whole = log_probability(known, low, high)
        at = np.quantile(drawn, [0.25, 0.5, 0.75])
        share = np.exp([log_probability(known, low, y) - whole for y in at])
        np.testing.assert_allclose(share, [0.25, 0.5, 0.75], atol=0.07)  # 4.5 standard errors of 1,000 draws


@pytest.mark.parametrize("name", ["lognormal", "weibull", "exponential", "gamma", "inverse_gaussian", "negbinomial"])
@pytest.mark.parametrize("above", [-np.inf, 0.5])
def test_draws_below_a_limit_that_few_pass_are_from_the_distribution(name, above):
    base, aux, rng = get_family(name), AUX[name], np.random.default_rng(2)
    known, n = distribution(name, 500.0, aux), 400
    low, high = (above, 4.0) if base.discrete else (0.0 if above > 0 else above, known.ppf(1e-4))
    limits = Limits(np.full(n, np.nan), np.full(n, low), np.full(n, high))
    drawn = as_observed(base, False, True).draw(rng, np.full(n, 500.0), limits, aux)
    assert (drawn > low).all() and (drawn <= high).all() and (drawn >= 0).all()
    start = known.cdf(low) if low > -np.inf else 0.0
    share = (known.cdf(drawn) - start) / (known.cdf(high) - start)
    if not base.discrete:
        assert kstest(share, "uniform").statistic < 1.95 / np.sqrt(n)  # one set of draws in a thousand
    else:
        values = np.arange(np.floor(low) + 1 if low > 0 else 0, 5)
        expected = known.pmf(values) / known.pmf(values).sum()
        np.testing.assert_allclose((drawn == values[:, None]).mean(axis=1), expected, atol=0.09)  # 3.5 of 400


def test_quantile_residuals_of_censored_rows_are_normal():
    """Of the right model, whatever is known of the rows: Kolmogorov and Smirnov's distance is 1.6 / sqrt(n) at most."""
    rng, n = np.random.default_rng(5), 4000
    x = rng.normal(size=n)
    y = rng.normal(1 + 0.5 * x, 0.8)
    c = np.select([y < 0, y > 2], ["left", "right"], "none")
    frame = pd.DataFrame({"y": np.clip(y, 0, 2), "c": c, "x": x})
    residuals = np.sort(bmm.Model("y | cens(c) ~ x", frame).maximize().scaled_residuals)
    wanted = ndtri((np.arange(n) + 0.5) / n)
    assert np.abs(ndtr(residuals) - ndtr(wanted)).max() < 1.6 / np.sqrt(n)


def test_late_entry_is_a_limit_of_each_row():
    """Weibull times of people who are seen only from an age on."""
    rng, n = np.random.default_rng(9), 3000
    time, entry, end = 2.0 * rng.weibull(1.5, n), rng.uniform(0, 1.5, n), rng.uniform(1, 4, n)
    seen = (time > entry) & (end > entry)
    frame = pd.DataFrame({"t": np.minimum(time, end), "c": (time > end) * 1, "entry": entry, "x": 0.0})[seen]
    late = bmm.Model("t | cens(c) + trunc(lb = entry) ~ 1", frame, "weibull").maximize()
    shape = late.auxiliaries["shape"]
    assert shape == pytest.approx(1.5, abs=0.12)  # 4 standard errors, and so is the next one
    assert np.exp(late.beta[0]) / gamma(1 + 1 / shape) == pytest.approx(2.0, abs=0.15)
    early = bmm.Model("t | cens(c) ~ 1", frame, "weibull").maximize()  # which takes survivors for everybody
    assert early.beta[0] > late.beta[0] + 0.05
