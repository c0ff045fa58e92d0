"""Models of the families beside those of `densities`: compiled against PyTensor, and all that is done with them."""

import numpy as np
import pandas as pd
import pytest
from densities import CASES as FIRST
from other_densities import CASES, LOG_DENSITIES, SMOOTH, data, predictors
from scipy import optimize, special

import bayesmm as bmm
from bayesmm.families.families import FAMILIES, get_family
from bayesmm.families.family import MOST_PARAMETERS
from bayesmm.families.links import LINKS
from bayesmm.likelihood import response_kernels as response
from bayesmm.likelihood.row_functions import codes
from bayesmm.sampling.graph.interpreted import PYTHON

G, EACH = 12, 8


def test_every_family_and_link_is_in_one_of_the_two_lists():
    ordered = {name for name, family in FAMILIES.items() if family.ordered}  # in test_cumulative.py
    listed = {(name, link) for name, family in FAMILIES.items() for link in family.links if name not in ordered}
    assert {*FIRST, *CASES} == listed


def table(name, link, seed=4, aux=None):
    """Return random data of a family with an intercept of each group, and the parameters besides mu."""
    family, rng = get_family(name, link), np.random.default_rng(seed)
    g, x = np.repeat(np.arange(G), EACH), rng.normal(size=G * EACH)
    eta = 0.8 + 0.3 * x + 0.4 * rng.normal(size=G)[g]
    if link == "inverse":
        eta = 1.0 + 0.1 * np.tanh(x) + 0.1 * np.tanh(rng.normal(size=G))[g]
    if aux is None:
        own = {
            "ndt": 1.5,
            "kappa": 3.0,
            "zoi": 0.3,
            "coi": 0.4,
            "cutzero": -1.0,
            "width": 3.0,
            "zi": 0.3,
            "hu": 0.35,
            "alpha": 3.0,
            "sigma": 0.7,
            "tau": 1.2,
            "phi": 4.0,
            "shape": 2.5,
            "power": 1.5,
        }
        aux = np.array([own[name] for name in family.auxiliaries] + [0.0] * (MOST_PARAMETERS - len(family.auxiliaries)))
    y, size, _, _ = data(name, link, rng, G * EACH, eta, aux)
    frame = pd.DataFrame({"y": y, "x": x, "g": [f"g{i:02d}" for i in g], "n": size})
    return frame, aux


def formula(name):
    return "y | trials(n) ~ x + (1 | g)" if FAMILIES[name].support.trials else "y ~ x + (1 | g)"


# each takes half a second: the other links of a family, whose inverses are the same in all, are in the slow tests
EACH_LINK = ("betabinomial", "exponential")
GRAPHS = [
    pytest.param(name, link, marks=[pytest.mark.slow] * (name not in EACH_LINK and link != FAMILIES[name].links[0]))
    for name, link in CASES
]


@pytest.mark.parametrize(("name", "link"), GRAPHS)
def test_pytensor_has_the_compiled_density_and_its_slopes(name, link):
    import pytensor
    import pytensor.tensor as pt

    family, rng = get_family(name, link), np.random.default_rng(8)
    y, size, eta, aux = data(name, link, rng, 40)
    at, own = pt.dvector("eta"), [pt.dscalar(parameter) for parameter in family.auxiliaries]
    trials = pt.as_tensor_variable(size) if family.support.trials else 1.0
    inside, value = family.graph_density(link, pt.as_tensor_variable(y), at, trials, own)
    slopes = [pytensor.grad(value.sum(), at), *(pytensor.grad(value.sum(), parameter) for parameter in own)]
    found = pytensor.function([at, *own], [inside, value, *slopes], mode=PYTHON)(eta, *aux[: len(own)])
    assert np.all(found[0])
    numbers, rows = codes(family), list(zip(y, size, eta, strict=True))
    compiled = np.array([response.derivatives(*numbers, *row, aux) for row in rows])
    scores = np.array([response.score_auxiliary(*numbers, *row, aux) for row in rows])
    np.testing.assert_allclose(found[1], compiled[:, 0], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found[2], compiled[:, 1], rtol=1e-9, atol=1e-10)
    for m in range(len(own)):
        assert found[3 + m] == pytest.approx(scores[:, m].sum(), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("name", "link"), CASES)
def test_wild_predictors_give_a_density_or_none(name, link):
    """Compiled, a density far out is -inf with slopes of 0, or finite: never NaN."""
    family, rng = get_family(name, link), np.random.default_rng(3)
    y, size, _, aux = data(name, link, rng, 6, predictors(link, rng, 6))
    for eta in (-1e308, -800.0, -240.0, -40.0, 40.0, 240.0, 800.0, 1e308, np.nan, np.inf, -np.inf):
        for row in zip(y, size, strict=True):
            found = response.derivatives(*codes(family), *row, eta, aux)
            assert np.isfinite(found).all() or found == (-np.inf, 0.0, 0.0, 0.0)
            assert np.isfinite(response.score_auxiliary(*codes(family), *row, eta, aux)).all()


# The sums of compois are sought for each mean in turn here, so that an integral would take an hour.
QUICK = [
    case
    for case in CASES
    if case[1] not in ("probit", "cloglog") and case[0] in SMOOTH and case[0] not in ("tweedie", "compois")
]
SLOW = pytest.param("tweedie", "log", marks=pytest.mark.slow)  # its series, at every node of every row


@pytest.mark.parametrize(("name", "link"), [*QUICK, SLOW])
def test_the_marginal_likelihood_is_the_integral(name, link):
    """Of the intercepts, by the trapezoidal rule over 12 sds with SciPy's densities; quadrature with 25 nodes."""
    frame, _ = table(name, link)
    point = bmm.Model(formula(name), frame, name, link=link).maximize(nagq=25)
    sd = float(np.sqrt(point.covariances[0][0, 0]))
    fixed = point.design.X @ point.beta
    step = 0.02
    z = np.arange(-12, 12 + step / 2, step)
    eta = fixed[:, None] + sd * z
    mu = LINKS[link].inverse(eta)
    own = [point.auxiliaries[parameter] for parameter in FAMILIES[name].auxiliaries] + [0.0, 0.0, 0.0]
    columns = [np.asarray(frame[c], dtype=float)[:, None] * np.ones_like(mu) for c in ("y", "n")]
    with np.errstate(all="ignore"):
        rows = LOG_DENSITIES[name](*columns, mu, np.array(own[:3]))
    rows = np.where(np.isnan(rows), -np.inf, rows)
    of_group = np.array([rows[frame["g"] == level].sum(axis=0) for level in sorted(set(frame["g"]))])
    total = of_group - 0.5 * z**2 - 0.5 * np.log(2 * np.pi)
    top = total.max(axis=1)
    exact = float((top + np.log(np.exp(total - top[:, None]).sum(axis=1) * step)).sum())
    # 25 nodes leave less than 1e-6 of the logarithm of each of the 12 integrals
    assert point.loglik == pytest.approx(exact, abs=2e-5)
    assert np.abs(point.optimum.gradient) < 1e-3


NAMES = SMOOTH  # the other one is in test_asymmetric_laplace.py


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_everything_is_done_with_it(name, tmp_path):
    link = FAMILIES[name].link
    frame, _ = table(name, link)
    model = bmm.Model(formula(name), frame, name)
    point = model.maximize()
    assert point.converged and f"Family: {name}" in str(point)
    fit = model.sample(draws=300, tune=300, chains=2, seed=1, progress=False)
    assert fit.compare(point, consistency=False).table["mean"].notna().all()
    assert f"family={name}" in str(model) or name in str(model)
    assert np.isfinite(fit.loo().elpd)
    new = pd.DataFrame({"x": [0.0, 1.0], "g": ["g00", "new"], "n": [5, 5]})
    means = fit.predict(new, new_levels="sample").draws.reshape(-1, 2)
    assert np.isfinite(means).all()
    averaged = fit.predict(new, groups="averaged").draws.reshape(-1, 2)
    assert np.isfinite(averaged).all()
    drawn = fit.predict(kind="response", seed=1).draws.reshape(-1, len(frame))
    # means of replicated responses are those predicted, to 6 of their Monte Carlo errors, which are at most 0.1 here
    shares = drawn / (frame["n"].to_numpy() if FAMILIES[name].support.trials else 1.0)
    expected = fit.predict().draws.reshape(shares.shape)
    if FAMILIES[name].support.angle:  # the shorter way round
        shares = expected + (shares - expected + np.pi) % (2 * np.pi) - np.pi
    error = shares.std() / np.sqrt(shares.size)
    assert abs(shares.mean() - expected.mean()) < 6 * error + 1e-12
    simulated = model.simulate(point, draws=3, seed=1)
    assert np.isfinite(simulated.to_numpy(dtype=float)).all()
    assert np.isfinite(point.scaled_residuals).all() and 0.5 < point.scaled_residuals.std() < 2.0
    table_of_r2 = fit.r2().table
    assert table_of_r2.notna().any(axis=None)
    for fitted in (fit, point):
        for record in (bmm.emmeans(fitted, "x", at={"x": [0.0, 1.0]}), bmm.slopes(fitted, "x")):
            assert np.isfinite(record.table.filter(["estimate", "mean"]).to_numpy()).all() and len(record.table)
    page = fit.report(tmp_path / "page.html")
    assert name in page.read_text(encoding="utf-8")
    fit.save(tmp_path / "fit.nc")
    assert bmm.load(tmp_path / "fit.nc").model.family == fit.model.family


@pytest.mark.parametrize("shape", [0.05, 0.3, 1.0, 1.4, 8.0])
@pytest.mark.parametrize("eta", [4.9, 5.5, 7.0, 8.5])
def test_conway_maxwell_counts_by_every_hth_term_are_those_of_all(eta, shape):
    """All terms added up by SciPy, where the kernel takes some for each sd; 1e-8 is the rounding of 1e5 logarithms."""
    mu, sd = np.exp(eta), np.exp(eta / 2) / np.sqrt(shape)
    k = np.arange(np.ceil(mu + 60 * sd + 60))

    def log_p(theta):
        terms = k * theta - shape * special.gammaln(k + 1)
        return terms - special.logsumexp(terms)

    ends = (eta, shape * np.log1p(mu)) if shape >= 1 else (eta - np.log1p(mu), eta)
    ends = (ends[0] - 1e-9, ends[1] + 1e-9)
    theta = optimize.brentq(lambda t: np.exp(log_p(t)) @ k / mu - 1, *ends, xtol=1e-13)
    family = get_family("compois")
    for y in np.floor(np.maximum(mu + sd * np.array([-3, 0, 3]), 0)):
        found = response.log_density(*codes(family), y, 1.0, eta, np.array([shape, 0.0, 0.0]))
        assert found == pytest.approx(log_p(theta)[int(y)], abs=1e-8)


def test_conway_maxwell_counts_that_take_too_many_terms_have_no_density_and_end():
    family = get_family("compois")
    for eta, shape in ((13.0, 1e-6), (0.0, 1100.0)):  # nearly geometric about 400,000; all but certainly 1
        assert not response.log_density(*codes(family), 3.0, 1.0, eta, np.array([shape, 0.0, 0.0])) > -1000
