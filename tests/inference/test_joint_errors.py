"""Standard errors of means that depend on all parameters of a family, beside the delta method for likelihoods by hand.

The likelihoods are integrated by the trapezoidal rule in steps that are short beside the posterior sd of an effect, and
their Hessians are by differences (error about 1e-5); the fits take 25 adaptive nodes.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, gammaln, logsumexp

import bayesmm as bmm

DATA = Path(__file__).parents[1] / "data"
NODES = np.arange(-7, 7, 0.1)
WEIGHTS = np.exp(-np.square(NODES) / 2)
HESSIAN = 5e-4  # relative error of a standard error by differences and by quadrature


def salamanders() -> pd.DataFrame:
    return pd.read_csv(DATA / "salamanders.csv")


def hessian(function, x, h=1e-3):
    found, steps = np.zeros((len(x), len(x))), np.eye(len(x)) * h
    for i, a in enumerate(steps):
        for j, b in enumerate(steps[: i + 1]):
            sides = function(x + a + b) - function(x + a - b) - function(x - a + b) + function(x - a - b)
            found[i, j] = found[j, i] = sides / (4 * h * h)
    return found


def gradient(function, x, h=1e-5):
    return np.array([(function(x + step) - function(x - step)) / (2 * h) for step in np.eye(len(x)) * h])


def delta(function, x, covariance):
    slope = gradient(function, x)
    return float(np.sqrt(slope @ covariance @ slope))


def minus_loglik(data, zeros, z):
    """-log likelihood of (intercept, mined, log sd of site, logit of zeros at 0, its slope in z) of Poisson counts.

    With an excess of zeros, or behind a hurdle; without z the last is left out.
    """
    y, mined = data["count"].to_numpy(dtype=float), (data["mined"] == "yes").to_numpy(dtype=float)
    sites, _ = pd.factorize(data["site"])

    def value(at):
        eta = (at[0] + at[1] * mined)[:, None] + np.exp(at[2]) * NODES
        logit = (at[3] + (0.0 if z is None else at[4] * z) + 0 * y)[:, None]
        yes, no = -np.logaddexp(0, -logit), -np.logaddexp(0, logit)
        counts = y[:, None] * eta - np.exp(eta) - gammaln(y + 1)[:, None]
        if zeros == "zi":
            rows = np.where(y[:, None] == 0, np.logaddexp(yes, no + counts), no + counts)
        else:
            rows = np.where(y[:, None] == 0, yes, no + counts - np.log(-np.expm1(-np.exp(eta))))
        total = np.zeros((sites.max() + 1, len(NODES)))
        np.add.at(total, sites, rows)
        return -logsumexp(total + np.log(WEIGHTS / WEIGHTS.sum()), axis=1).sum()

    return value


def known(point, formula):
    """The fit in the coordinates of `minus_loglik`."""
    zeros = next(name for name in point.auxiliaries)
    rate = point.auxiliaries[zeros]
    slope = [point.residual[f"logit_{zeros}"][0]] if formula else []
    return np.array([*point.beta, np.log(np.sqrt(point.covariances[0][0, 0])), np.log(rate / (1 - rate)), *slope])


def expected(at, mined, z, zeros, averaged=False):
    """The mean of the counts, by hand."""
    logit = at[3] + (at[4] * z if len(at) > 4 else 0.0)
    if zeros == "zi":
        return np.exp(at[0] + at[1] * mined + (np.exp(2 * at[2]) / 2 if averaged else 0)) * (1 - expit(logit))
    mu = np.exp(at[0] + at[1] * mined)
    return mu / -np.expm1(-mu) * (1 - expit(logit))


CASES = [
    ("zero_inflated_poisson", "zi", ()),
    ("zero_inflated_poisson", "zi", ("zi ~ mined",)),
    ("hurdle_poisson", "hu", ("hu ~ mined",)),
]


@pytest.mark.parametrize(("family", "zeros", "more"), CASES)
def test_means_know_of_the_parameters_that_they_are_made_of(family, zeros, more):
    data = salamanders()
    formulas = ("count ~ mined + (1 | site)", *more)
    point = bmm.Model(formulas if more else formulas[0], data, family=family).maximize(nagq=25)
    own = minus_loglik(data, zeros, (data["mined"] == "yes").to_numpy(dtype=float) if more else None)
    at = known(point, bool(more))
    np.testing.assert_allclose(own(at), -point.loglik, atol=1e-6)
    np.testing.assert_allclose(gradient(own, at), 0, atol=1e-3)
    covariance = np.linalg.inv(hessian(own, at))
    means = bmm.emmeans(point, "mined", kind="mean")
    ses = [delta(lambda x, m=m: expected(x, m, m, zeros), at, covariance) for m in (0.0, 1.0)]
    np.testing.assert_allclose(means.table["se"], ses, rtol=HESSIAN)
    assert "held" not in str(means)
    difference = delta(lambda x: expected(x, 0, 0, zeros) - expected(x, 1, 1, zeros), at, covariance)
    assert means.pairs().table["se"].iloc[0] == pytest.approx(difference, rel=HESSIAN)
    assert bmm.comparisons(point, {"mined": "pairwise"}).table["se"].iloc[0] == pytest.approx(difference, rel=HESSIAN)
    rows = point.predict({"mined": ["no", "yes"]}, groups="population", se=True)
    np.testing.assert_allclose(rows["se"], ses, rtol=HESSIAN)
    errors = [point.joint.errors[label] for label in point.joint.labels]
    np.testing.assert_allclose(errors, np.sqrt(np.diag(covariance))[3:], rtol=HESSIAN)
    if zeros == "zi":
        averaged = bmm.emmeans(point, "mined", kind="mean", groups="averaged").table["se"]
        ses = [delta(lambda x, m=m: expected(x, m, m, zeros, True), at, covariance) for m in (0.0, 1.0)]
        np.testing.assert_allclose(averaged, ses, rtol=HESSIAN)
        new = point.predict({"mined": ["no", "yes"]}, groups="averaged", se=True)
        np.testing.assert_allclose(new["se"], ses, rtol=HESSIAN)


def test_differences_in_a_variable_of_the_formula_alone():
    data = salamanders()
    cover = data["cover"].to_numpy()
    formulas = ("count ~ mined + (1 | site)", "zi ~ cover")
    point = bmm.Model(formulas, data, family="zero_inflated_poisson").maximize(nagq=25)
    at = known(point, True)
    covariance = np.linalg.inv(hessian(minus_loglik(data, "zi", cover), at))
    mined = (data["mined"] == "yes").to_numpy(dtype=float)

    def slope(x):
        p = expit(x[3] + x[4] * cover)
        return float(np.mean(-x[4] * p * (1 - p) * np.exp(x[0] + x[1] * mined)))

    found = bmm.slopes(point, "cover").table
    assert found["estimate"].iloc[0] == pytest.approx(slope(at), rel=1e-5)
    assert found["se"].iloc[0] == pytest.approx(delta(slope, at, covariance), rel=HESSIAN)
    grid = bmm.emmeans(point, "cover", at={"cover": [0, 1]}, kind="mean")
    chi2 = grid.joint().table["Chisq"].iloc[0]
    assert chi2 == pytest.approx(grid.pairs().table["z"].iloc[0] ** 2, rel=1e-9)


def test_means_with_the_effects_of_groups():
    """The modes follow the parameters: by searching for them anew, with a quadratic at the mode."""
    data = salamanders()
    formulas = ("count ~ mined + (1 | site)", "zi ~ mined")
    point = bmm.Model(formulas, data, family="zero_inflated_poisson").maximize(nagq=25)
    at, mined = known(point, True), (data["mined"] == "yes").to_numpy(dtype=float)
    covariance = np.linalg.inv(hessian(minus_loglik(data, "zi", mined), at))
    y, (codes, names) = data["count"].to_numpy(dtype=float), pd.factorize(data["site"])

    def joint(x, site, b):
        rows = codes == site
        eta, logit = x[0] + x[1] * mined[rows] + b, x[3] + x[4] * mined[rows]
        yes, no, counts = -np.logaddexp(0, -logit), -np.logaddexp(0, logit), y[rows] * eta - np.exp(eta)
        own = np.where(y[rows] == 0, np.logaddexp(yes, no + counts), no + counts)
        return own.sum() - b**2 * np.exp(-2 * x[2]) / 2

    def bend(x, site, b, h=1e-4):
        return (joint(x, site, b + h) - 2 * joint(x, site, b) + joint(x, site, b - h)) / h**2

    def mode(x, site, b=0.0):
        for _ in range(30):
            b -= (joint(x, site, b + 1e-5) - joint(x, site, b - 1e-5)) / 2e-5 / bend(x, site, b)
        return b

    for site in (0, 15):
        m = mined[codes == site][0]
        b = mode(at, site)
        mean = lambda x, s=site, m=m: np.exp(x[0] + x[1] * m + mode(x, s)) * (1 - expit(x[3] + x[4] * m))  # noqa: E731
        slope = gradient(mean, at, 1e-3)
        se = np.sqrt(slope @ covariance @ slope - mean(at) ** 2 / bend(at, site, b))
        found = point.predict({"mined": ["yes" if m else "no"], "site": [names[site]]}, se=True)
        assert found["estimate"].iloc[0] == pytest.approx(mean(at), rel=1e-4)
        assert found["se"].iloc[0] == pytest.approx(se, rel=2e-3)  # differences of what a search has found


def test_mean_categories_know_of_the_thresholds():
    wine = pd.read_csv(DATA / "wine.csv")
    point = bmm.Model("rating ~ temp", wine, "cumulative").maximize()
    y, warm = wine["rating"].to_numpy(dtype=int), (wine["temp"] == "warm").to_numpy(dtype=float)

    def below(at, x):
        return np.column_stack([np.zeros(len(x)), expit(at[1:] - at[0] * x[:, None]), np.ones(len(x))])

    def value(at):
        ends = below(at, warm)
        rows = np.arange(len(y))
        return -np.log(ends[rows, y] - ends[rows, y - 1]).sum()

    at = np.array([point.beta[0], *point.residual["threshold"]])
    covariance = np.linalg.inv(hessian(value, at))
    found = bmm.emmeans(point, "temp", kind="mean")
    means = [lambda x, w=w: float(np.diff(below(x, np.array([w]))[0]) @ np.arange(1, 6)) for w in (0.0, 1.0)]
    np.testing.assert_allclose(found.table["estimate"], [mean(at) for mean in means], rtol=1e-6)
    np.testing.assert_allclose(found.table["se"], [delta(mean, at, covariance) for mean in means], rtol=HESSIAN)


def test_a_mode_with_wide_priors_has_the_errors_of_the_likelihood():
    data = salamanders()
    wide = bmm.Prior("Normal", mu=0, sigma=100)
    priors = dict.fromkeys(("Intercept", "beta[mined[T.yes]]", "logit_zi[mined[T.yes]]"), wide)
    priors |= {"zi": bmm.Prior("Uniform", lower=0, upper=1), "sd_site[Intercept]": bmm.Prior("HalfNormal", sigma=100)}
    formulas = ("count ~ mined + (1 | site)", "zi ~ mined")
    model = bmm.Model(formulas, data, family="zero_inflated_poisson", priors=priors)
    mode, ml = model.maximize("MAP"), model.maximize(nagq=25)
    for groups in ("population", "averaged"):
        found, plain = (bmm.emmeans(p, "mined", kind="mean", groups=groups).table["se"] for p in (mode, ml))
        np.testing.assert_allclose(found, plain, rtol=2e-3)  # the priors are not quite flat


@pytest.mark.parametrize(
    ("family", "limit"),
    [("negbinomial", "poisson"), ("nbinom1", "poisson"), ("genpois", "poisson"), ("betabinomial", "binomial")],
)
def test_at_its_limit_a_family_has_the_errors_of_the_other(family, limit):
    """Responses that scatter less: the dispersion goes off, and differences of the gradient there are rounding."""
    rng = np.random.default_rng(3)
    data = {"x": rng.normal(size=150), "g": np.arange(150) % 10, "y": rng.binomial(40, 0.1, 150)}
    trials = {"trials": np.full(150, 40)} if limit == "binomial" else {}
    data["y"] = rng.integers(3, 6, 150) if trials else data["y"]
    point, other = (bmm.Model("y ~ x + (1 | g)", data, name, **trials).maximize() for name in (family, limit))
    np.testing.assert_allclose(point.fixef()["se"], other.fixef()["se"], rtol=1e-5)  # shapes of 1e10 stay 1e-7 from it
