"""Quantile regression: a density with a corner, whose maximum a linear programme finds; with effects it is sampled."""

import itertools

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

import bayesmm as bmm
from bayesmm.errors import DataError
from bayesmm.families.families import FAMILIES
from bayesmm.likelihood.coordinates import values
from bayesmm.sampling import joint
from bayesmm.sampling.choose_graph import settled_effects

rng = np.random.default_rng(4)
GROUP = np.repeat(np.arange(8), 10)
X = rng.normal(size=80)
Y = 1 + 0.5 * X + 0.6 * rng.normal(size=8)[GROUP] + rng.standard_t(3, size=80)
DATA = {"y": Y, "x": X, "same": 2 * Y, "g": [f"g{i}" for i in GROUP]}


def model(formula="y ~ x + (1 | g)", quantile=0.9):
    return bmm.Model(formula, DATA, "asymmetric_laplace", {"quantile": quantile})


def test_mu_is_the_quantile():
    for q in (0.1, 0.5, 0.93):
        family, aux = FAMILIES["asymmetric_laplace"], (0.7, q)
        assert family.cdf(1.3, 1.3, None, aux) == pytest.approx(q, rel=1e-12)
        # of 200,000 draws a share has an sd of 0.001 at most
        assert (family.draw(rng, np.full(200_000, 1.3), None, aux) <= 1.3).mean() == pytest.approx(q, abs=5e-3)


def test_the_quantile_is_held_at_the_median_unless_another_is_asked_for():
    plain = bmm.Model("y ~ x", DATA, "asymmetric_laplace")
    assert plain.priors["quantile"].parameters == {"value": 0.5}
    assert model(quantile=0.9).priors["quantile"].parameters == {"value": 0.9}


@pytest.mark.parametrize("method", ["ML", "MAP"])
def test_with_random_effects_there_is_no_maximum_to_be_found(method):
    with pytest.raises(DataError, match=r"has a corner and no curvature.*sample\(\) draws from the posterior"):
        model().maximize(method)


def losses(q, r):
    return np.where(r >= 0, q * r, (q - 1) * r)


@pytest.mark.parametrize("q", [0.1, 0.5, 0.85])
def test_the_maximum_is_the_best_of_all_lines_through_two_rows(q):
    """Which it is by Koenker & Bassett (1978, theorem 3.1); the likelihood at it is SciPy's of the same density."""
    A = np.column_stack([np.ones(80), X])
    lines = [np.linalg.solve(A[[i, j]], Y[[i, j]]) for i, j in itertools.combinations(range(80), 2)]
    best = min(lines, key=lambda beta: losses(q, Y - A @ beta).sum())
    point = model("y ~ x", q).maximize()
    np.testing.assert_allclose(point.beta, best, atol=1e-10)
    assert point.sigma == pytest.approx(losses(q, Y - A @ best).mean(), rel=1e-10)
    kappa = np.sqrt(q / (1 - q))  # SciPy's scale is sigma / sqrt(q (1 - q)), its asymmetry sqrt(q / (1 - q))
    own = stats.laplace_asymmetric(kappa, A @ best, point.sigma / np.sqrt(q * (1 - q)))
    assert point.loglik == pytest.approx(own.logpdf(Y).sum(), abs=1e-8)
    assert point.npar == 3  # the quantile was chosen
    assert point.converged and point.parameters["quantile"] == q


def test_standard_errors_hold_for_errors_of_any_kind():
    """Of 400 regressions with skewed errors that scatter more with x: their sd beside the mean standard error.

    A kernel density of 200 rows smooths by some percent, and the sd of 400 estimates is good to 0.035 of it. Those by
    the curvature of this likelihood, sigma / sqrt(q (1 - q) n) about the mean of x, would be half of it.
    """
    own, found, ses = np.random.default_rng(1), [], []
    x, ones = np.linspace(0, 2, 200), np.ones(200)
    A = np.column_stack([ones, x - 1])
    for _ in range(400):
        y = 1 + x + (1 + 0.3 * x) * (own.exponential(size=200) - 1)
        best = FAMILIES["asymmetric_laplace"].maximum(y, A, ones, np.array([np.nan, 0.7]))
        found.append(best.beta)
        ses.append(np.sqrt(np.diag(best.beta_cov)))
    np.testing.assert_allclose(np.mean(ses, axis=0), np.std(found, axis=0), rtol=0.15)


def test_weights_count_rows_and_an_offset_is_taken_off():
    w, priors = np.random.default_rng(2).integers(1, 4, 80), {"quantile": 0.3}
    one = bmm.Model("y ~ x", DATA, "asymmetric_laplace", priors, weights=w).maximize()
    rows = np.repeat(np.arange(80), w)
    other = bmm.Model("y ~ x", {"y": Y[rows], "x": X[rows]}, "asymmetric_laplace", priors).maximize()
    np.testing.assert_allclose([*one.beta, one.sigma, one.loglik], [*other.beta, other.sigma, other.loglik], rtol=1e-9)
    moved = bmm.Model("y ~ x + offset(2 * x)", DATA, "asymmetric_laplace", priors).maximize()
    plain = bmm.Model("y ~ x", DATA, "asymmetric_laplace", priors).maximize()
    np.testing.assert_allclose(moved.beta, plain.beta - [0, 2], atol=1e-9)


def test_what_follows_from_the_maximum():
    point, null = (model(formula, 0.3).maximize() for formula in ("y ~ x", "y ~ 1"))
    assert bmm.lrt(null, point).table["Pr(>Chisq)"].iloc[1] < 0.01
    assert 0.2 < (point.predict(kind="linear")["estimate"].to_numpy() > Y).mean() < 0.4
    assert point.bootstrap(5, seed=1, progress=False).table.loc["quantile", "estimate"] == 0.3
    assert "quantile 0.3" in str(point) and np.isfinite(point.confint(method="wald").to_numpy()).all()
    with pytest.raises(DataError, match="goes by derivatives"):
        point.confint()
    even = bmm.Model("y ~ 1", {"y": [1.0, 2.0, 3.0, 4.0]}, "asymmetric_laplace").maximize()
    assert 2 <= even.beta[0] <= 3 and "other coefficients have the same likelihood" in even.message


@pytest.mark.parametrize(
    ("formula", "quantile", "said"),
    [
        ("y ~ x", bmm.Prior("Uniform", lower=0.1, upper=0.9), r"is chosen, not estimated.*priors=\{'quantile': 0.5\}"),
        (("y ~ x", "sigma ~ x"), 0.5, "not found with sigma ~ x"),
        ("y ~ same", 0.5, "fits the response exactly"),
    ],
)
def test_what_has_no_maximum(formula, quantile, said):
    with pytest.raises(DataError, match=said):
        model(formula, quantile).maximize()


def test_what_goes_by_derivatives_says_so():
    with pytest.raises(DataError, match="has a corner; use effects='explicit'"):
        model().sample(effects="marginal", progress=False)
    with pytest.raises(ValueError, match="has a corner; use sampler='nutpie'"):
        model().sample(sampler="importance", progress=False)
    for own in (model(), model("y ~ x")):
        assert settled_effects(own.design, own.priors, "auto") == "explicit"


def test_the_rounded_density_integrates_to_one_and_has_the_slopes_of_the_corner():
    """What the sampler's metric is made of: an extended log-F variable, its derivatives by differences."""
    kernels, h = FAMILIES["asymmetric_laplace"].rounded.kernels, 1e-5
    for q, sigma in ((0.5, 1.3), (0.9, 0.4)):
        y = np.linspace(-200, 200, 10_001) * sigma
        p = [np.exp(kernels.density(0, at, 1.0, 0.3, (sigma, q))[0]) for at in y]
        assert np.sum(p) * (y[1] - y[0]) == pytest.approx(1, abs=1e-8)
        for at in (-3.0, 0.2, 0.31, 4.0):
            found = np.array(kernels.density(0, at, 1.0, 0.3, (sigma, q)))
            up, down = (np.array(kernels.density(0, at, 1.0, 0.3 + e, (sigma, q))) for e in (h, -h))
            np.testing.assert_allclose(found[1:], ((up - down) / (2 * h))[:3], rtol=1e-6, atol=1e-6)
            for m, slope in enumerate(kernels.score(0, at, 1.0, 0.3, (sigma, q))):
                a, b = (kernels.density(0, at, 1.0, 0.3, np.array([sigma, q]) + s * h * np.eye(2)[m]) for s in (1, -1))
                assert slope == pytest.approx((a[0] - b[0]) / (2 * h), rel=1e-6, abs=1e-6)
        far = [kernels.density(0, at * sigma, 1.0, 0.0, (sigma, q))[1] for at in (60.0, -60.0)]
        np.testing.assert_allclose(far, [q / sigma, (q - 1) / sigma], rtol=1e-9)


def test_what_is_sampled_has_the_corner():
    """Between two points that differ in the effects alone: SciPy's density of the rows and the effects' prior."""
    own = model(quantile=0.8)
    ready = joint.ready(own.design, own.priors, lambda rule: [False], {})
    posterior, x = ready.at.posterior, ready.at.centre
    sd, sigma, q, *gamma = values(posterior.coordinates, x[None])[0][:5]
    fixed, kappa = gamma[0] + gamma[1] * (X - X.mean()), np.sqrt(q / (1 - q))

    def expected(u):
        rows = stats.laplace_asymmetric(kappa, fixed + sd * u[GROUP], sigma / np.sqrt(q * (1 - q))).logpdf(Y)
        return rows.sum() + stats.norm.logpdf(u).sum()

    y = x.copy()
    y[-8:] += np.random.default_rng(1).normal(size=8)
    assert posterior(x)[0] - posterior(y)[0] == pytest.approx(expected(x[-8:]) - expected(y[-8:]), rel=1e-9)
    assert ready.model.design is own.design


@pytest.mark.slow
def test_a_posterior_with_effects_mixes():
    """Without the metric and the choice of centring it was an ESS of 56 to 101 in 600 draws; with them 270 to 590."""
    rng = np.random.default_rng(3)
    g, x = np.arange(240) % 24, rng.normal(size=240)
    y = 1 + 0.5 * x + 0.6 * rng.normal(size=24)[g] + 0.7 * rng.standard_t(3, size=240)
    table = {"y": y, "x": x, "g": [f"g{i}" for i in g]}
    own = bmm.Model("y ~ x + (1 | g)", table, "asymmetric_laplace")
    found = own.sample(draws=300, chains=2, seed=1, progress=False).summary()["ess_bulk"].drop("quantile")
    assert found.min() > 200


@pytest.mark.slow
def test_the_posterior_is_that_of_a_grid():
    """Of the intercept and the scale at the 0.8 quantile, with priors of this test."""
    priors = {
        "quantile": 0.8,
        "Intercept": bmm.Prior("Normal", mu=0, sigma=5),
        "sigma": bmm.Prior("Exponential", lam=1),
    }
    fit = bmm.Model("y ~ 1", DATA, "asymmetric_laplace", priors).sample(
        draws=2000, tune=1000, chains=4, seed=2, progress=False
    )
    beta, sigma = np.linspace(1, 3.5, 400)[:, None], np.linspace(0.2, 0.8, 300)[None, :]
    z = (Y[:, None, None] - beta) / sigma
    log_p = (np.log(0.16 / sigma) - z * (0.8 - (z < 0))).sum(axis=0) + stats.norm.logpdf(beta, 0, 5) - sigma
    p = np.exp(log_p - logsumexp(log_p))
    means = {"beta": (p * beta).sum(), "sigma": (p * sigma).sum()}
    for name, mean in means.items():
        draws = fit.tree["posterior"][name].to_numpy().ravel()
        sd = np.sqrt((p * ({"beta": beta, "sigma": sigma}[name] - mean) ** 2).sum())
        # 8,000 draws that are worth a few thousand: a Monte Carlo error of 0.02 sds
        assert draws.mean() == pytest.approx(mean, abs=0.1 * sd)
        assert draws.std() == pytest.approx(sd, rel=0.1)


@pytest.mark.slow
def test_everything_is_done_with_its_posterior(tmp_path):
    fit = model().sample(draws=300, tune=300, chains=2, seed=1, progress=False)
    assert "quantile 0.900" in str(fit)
    assert np.isfinite(fit.loo().elpd)
    new = {"x": [0.0, 1.0], "g": ["g0", "new"]}
    assert np.isfinite(fit.predict(new, new_levels="sample").draws).all()
    # the 0.9 quantile: about that share of the responses is below the linear predictor
    share = (Y[None] <= fit.predict(kind="linear").draws.reshape(-1, 80)).mean()
    assert 0.8 < share < 0.97
    assert fit.r2().table.notna().any(axis=None)
    assert len(bmm.emmeans(fit, "x", at={"x": [0.0, 1.0]}).table) == 2
    beside = fit.compare()
    assert beside.point is None and not beside.agrees and beside.table["point"].isna().all()
    assert "The posterior stands alone" in str(beside) and "verdict" not in str(beside)
    assert beside.table.set_index("parameter").loc["quantile", "mode"] == 0.9
    page = fit.report(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "asymmetric_laplace" in page and page.count("The posterior stands alone") == 2
    with pytest.raises(ValueError, match="has a corner"):
        bmm.plots.plot_comparison(fit)
    with pytest.raises(ValueError, match="which no quadrature is for"):
        fit.evidence()
    assert all(np.isfinite(check.value) or check.message for check in fit.checks())
    fit.save(tmp_path / "fit.nc")
    assert bmm.load(tmp_path / "fit.nc").model.family == fit.model.family
