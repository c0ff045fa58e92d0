"""Known covariances of levels, gr(g, cov = A), in what sums variances up; A = 2 I is a plain model."""

import numpy as np
import pandas as pd
import pytest
from invented import draws, invented

import bayesmm as bmm
from bayesmm.evaluation.variance.explained import icc, r2
from bayesmm.evaluation.variance.heterogeneity import draw_variances, heterogeneity
from bayesmm.posterior.predict import spreads

G, EACH = 12, 5
LEVELS = [f"g{i:02d}" for i in range(G)]


def table():
    rng = np.random.default_rng(3)
    index = np.repeat(np.arange(G), EACH)
    x = rng.normal(size=G * EACH)
    y = 1 + 0.5 * x + 1.5 * rng.normal(size=G)[index] + rng.normal(size=len(x))
    return pd.DataFrame({"y": y, "x": x, "g": np.array(LEVELS)[index], "se": rng.uniform(0.5, 1.0, len(x))})


def related(A, formula="y ~ x + (1 | gr(g, cov = A))"):
    return bmm.Model(formula, table(), matrices={"A": pd.DataFrame(A, LEVELS, LEVELS)})


@pytest.fixture(scope="module")
def points():
    return related(2.0 * np.eye(G)).maximize(), bmm.Model("y ~ x + (1 | g)", table()).maximize()


def test_a_matrix_of_another_size_is_the_same_model(points):
    """The sd times sqrt(2) is the effects' own, whatever the size of A; searches end to 1e-5."""
    twice, plain = points
    assert twice.loglik == pytest.approx(plain.loglik, abs=1e-8)
    for found in (icc, r2):
        np.testing.assert_allclose(found(twice).table, found(plain).table, rtol=1e-3)
    own, other = (point.predict(groups="population", se=True)["sd"] for point in points)
    np.testing.assert_allclose(own, other, rtol=1e-3)
    rows = table().head(3).drop(columns="g")
    own, other = (point.predict(rows, groups="population", se=True)["sd"] for point in points)
    np.testing.assert_allclose(own, other, rtol=1e-3)


def test_the_variance_of_each_row_is_that_of_its_level():
    """The mean over rows of A_gg s^2, of draws and at an estimate; levels of few rows count for few."""
    d = np.linspace(0.5, 3.0, G)
    model = related(np.diag(d) + 0.1)
    fit, frame = invented(model), table()
    mean = (d + 0.1)[[LEVELS.index(g) for g in frame["g"]]].mean()
    s2, sigma2 = draws(fit, "sd_g")[:, 0] ** 2 * mean, draws(fit, "sigma") ** 2
    np.testing.assert_allclose(fit.icc().draws["icc[g]"].ravel(), s2 / (s2 + sigma2))
    explained = draws(fit, "beta")[:, 1] ** 2 * frame["x"].var()
    np.testing.assert_allclose(
        fit.r2().draws["bayes_r2_marginal"].ravel(), explained / (explained + s2 + sigma2), rtol=1e-10
    )
    np.testing.assert_allclose(spreads(fit, None)(slice(0, 2)), np.sqrt(s2)[:, None] * np.ones((1, 2)))


def test_heterogeneity_has_the_matrix():
    fit = invented(related(2.0 * np.eye(G), "y | se(se) ~ x + (1 | gr(g, cov = A))"))
    np.testing.assert_allclose(draw_variances(fit)[0], 2.0 * draws(fit, "sd_g")[:, 0] ** 2)
    point = related(2.0 * np.eye(G), "y | se(se) ~ x + (1 | gr(g, cov = A))").maximize()
    plain = bmm.Model("y | se(se) ~ x + (1 | g)", table()).maximize()
    np.testing.assert_allclose(heterogeneity(point).table["REML"], heterogeneity(plain).table["REML"], rtol=1e-3)


def test_knapp_and_hartungs_standard_errors_are_those_of_the_dense_matrix():
    A = 0.5 * np.eye(G) + 0.5
    point = related(A, "y | se(se) ~ x + (1 | gr(g, cov = A))").maximize()
    frame, index = table(), np.repeat(np.arange(G), EACH)
    V = np.diag(frame["se"] ** 2) + point.covariances[0][0, 0] * A[np.ix_(index, index)]
    X = np.column_stack([np.ones(len(frame)), frame["x"]])
    cov = np.linalg.inv(X.T @ np.linalg.solve(V, X))
    r = frame["y"] - X @ cov @ X.T @ np.linalg.solve(V, frame["y"])
    scale = r @ np.linalg.solve(V, r) / (len(r) - 2)
    np.testing.assert_allclose(point.fixef(ddf="knapp-hartung")["se"], np.sqrt(scale * np.diag(cov)), rtol=1e-6)
