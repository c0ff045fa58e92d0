"""Beta regressions with two crossed factors of correlated slopes and prior weights: the search ends at the maximum."""

import numpy as np
import pandas as pd
import pytest
from scipy import special

import bayesmm as bmm

FORMULA = "y ~ x + (x | a) + (x | b)"
# The largest entry of the gradient where nothing but rounding is left, of criteria of 1e3 to 1e4.
GRADIENT = 1e-6


def simulated(seed, n=150, levels=(14, 6)):
    """Return data whose dispersion is far below the spread of the effects, and uneven prior weights."""
    rng = np.random.default_rng(seed)
    x, sds = rng.normal(size=n), rng.choice([0.0, 0.1, 0.7, 2.0], 2)
    data, eta = pd.DataFrame({"x": x}), 0.3 + 0.5 * x
    for name, G in zip("ab", levels, strict=True):
        g, r = rng.choice(G, n, p=rng.dirichlet(np.full(G, 0.5))), rng.uniform(-0.8, 0.8)
        effects = rng.normal(size=(G, 2)) @ np.array([[1, r], [0, np.sqrt(1 - r * r)]]) * sds
        eta += effects[g, 0] + effects[g, 1] * x
        data[name] = g.astype(str)
    mean = special.expit(eta)
    data["y"] = np.clip(rng.beta(1e4 * mean, 1e4 * (1 - mean)), 1e-3, 1 - 1e-3)
    return data, np.exp(2 * rng.normal(size=n))


def dense_laplace(fit, beta, covariances, phi):
    """Return -2 times Laplace's approximation with the observed curvature, all random effects one vector.

    Newton's method for their mode starts from the linear predictor of the fit, since it has no way back from a
    wild step.
    """
    design, n, parts = fit.design, fit.design.n, []
    for block, S in zip(design.blocks, covariances, strict=True):
        Z = np.zeros((n, len(block.levels), 2))
        Z[np.arange(n), block.index] = block.Z
        U, s, _ = np.linalg.svd(S)
        parts.append((Z @ (U * np.sqrt(s))).reshape(n, -1))
    A = np.column_stack(parts)
    u = np.linalg.lstsq(A, fit.linear - design.X @ beta)[0]
    logit, w = special.logit(design.y), design.weights

    def terms(u):
        mu = special.expit(design.X @ beta + A @ u)
        value = special.xlogy(mu * phi - 1, design.y) + special.xlog1py((1 - mu) * phi - 1, -design.y)
        value -= special.betaln(mu * phi, (1 - mu) * phi)
        slope = phi * (logit - special.digamma(mu * phi) + special.digamma((1 - mu) * phi))
        curve = -(phi**2) * (special.polygamma(1, mu * phi) + special.polygamma(1, (1 - mu) * phi))
        m = mu * (1 - mu)
        return w @ value - u @ u / 2, w * slope * m, -w * (curve * m**2 + slope * m * (1 - 2 * mu))

    for _ in range(100):
        _, s, D = terms(u)
        step = np.linalg.solve(A.T @ (A * np.maximum(D, 0)[:, None]) + np.eye(len(u)), A.T @ s - u)
        u = u + step
        if np.abs(step).max() < 1e-8:
            break
    assert np.abs(step).max() < 1e-5
    value, _, D = terms(u)
    return -2 * value + np.linalg.slogdet(A.T @ (A * D[:, None]) + np.eye(len(u)))[1]


@pytest.mark.filterwarnings("ignore::bayesmm.errors.BayesmmWarning")  # of weights far from one
@pytest.mark.parametrize("seed", range(6))
def test_the_search_ends_at_the_maximum(seed):
    data, weights = simulated(seed)
    fit = bmm.Model(FORMULA, data, "beta", weights=weights).maximize()
    assert fit.converged and fit.optimum.gradient < GRADIENT
    phi, rng = fit.auxiliaries["phi"], np.random.default_rng(seed)
    best = dense_laplace(fit, fit.beta, fit.covariances, phi)
    assert best == pytest.approx(fit.criterion, rel=1e-9)  # SciPy's terms are of order 1e8 and cancel
    for size in (0.003, 0.03, 0.3):
        beta = fit.beta + size * np.sqrt(np.diag(fit.beta_cov)) * rng.normal(size=2)
        scale = [np.exp(size * rng.normal(size=2)) for _ in fit.covariances]
        covariances = [S * np.outer(s, s) for S, s in zip(fit.covariances, scale, strict=True)]
        assert dense_laplace(fit, beta, covariances, phi * np.exp(size * rng.normal())) > best
