"""Posteriors of further families against an exact grid, the intercepts of the groups integrated out."""

import numpy as np
import pytest
from other_densities import LOG_DENSITIES
from scipy.special import logsumexp

import bayesmm as bmm
from bayesmm.families.families import FAMILIES

pytestmark = pytest.mark.slow

GROUPS, EACH = 9, 8
POINTS = 41  # of each parameter's grid
NODES = np.linspace(-6.5, 6.5, 53)  # of an intercept, in its sds


def grids(draws):
    """Return points over what the posterior has, generously, within the bounds of each parameter."""
    found = []
    for name, values in draws.items():
        pad = 0.25 * np.ptp(values)
        low = -np.inf if name == "beta" else 1e-4
        high = 1 - 1e-4 if name in ("zi", "hu") else np.inf
        found.append(np.linspace(max(values.min() - pad, low), min(values.max() + pad, high), POINTS))
    return found


def log_likelihoods(name, y, beta, sd, aux):
    """Return log p(y | beta, sd, aux) on the grid of the intercept and sd, the groups' intercepts integrated out."""
    values, place = np.unique(y, return_inverse=True)
    eta = beta[:, None, None] + sd[None, :, None] * NODES
    own = np.array([*aux, 0.0, 0.0][:2])
    with np.errstate(all="ignore"):
        each = np.array([LOG_DENSITIES[name](np.full_like(eta, v), 1.0, np.exp(eta), own) for v in values])
    weight = -0.5 * NODES**2 - logsumexp(-0.5 * NODES**2)
    total = 0.0
    for rows in place.reshape(GROUPS, EACH):
        total = total + logsumexp(each[rows].sum(axis=0) + weight, axis=-1)
    return total


@pytest.mark.parametrize(
    ("name", "aux"), [("zero_inflated_poisson", (0.35,)), ("weibull", (1.7,)), ("hurdle_poisson", (0.4,))]
)
def test_the_posterior_is_that_of_a_grid(name, aux):
    rng = np.random.default_rng(6)
    family = FAMILIES[name]
    g = np.repeat(np.arange(GROUPS), EACH)
    y = family.draw(rng, np.exp(0.9 + 0.5 * rng.normal(size=GROUPS)[g]), None, aux)
    model = bmm.Model("y ~ 1 + (1 | g)", {"y": y, "g": g}, name)
    fit = model.sample(draws=2500, tune=1000, chains=4, seed=3, progress=False)
    own = family.auxiliaries[0]
    draws = {
        "beta": fit.tree["posterior"]["beta"].to_numpy().ravel(),
        "sd_g": fit.tree["posterior"]["sd_g"].to_numpy().ravel(),
        own: fit.tree["posterior"][own].to_numpy().ravel(),
    }
    beta, sd, parameter = grids(draws)
    priors = model.priors
    log_p = np.array([log_likelihoods(name, y, beta, sd, (value,)) for value in parameter])
    log_p = log_p + np.array([priors[own].logpdf(value) for value in parameter])[:, None, None]
    log_p += np.array([priors["Intercept_centred"].logpdf(value) for value in beta])[None, :, None]
    log_p += np.array([priors["sd_g[Intercept]"].logpdf(value) for value in sd])[None, None, :]
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    for axis, (label, points) in zip((1, 2, 0), (("beta", beta), ("sd_g", sd), (own, parameter)), strict=True):
        marginal = p.sum(axis=tuple({0, 1, 2} - {axis}))
        mean = (marginal * points).sum()
        spread = np.sqrt((marginal * (points - mean) ** 2).sum())
        # 10,000 draws, at least 1,500 of them effective: 4 standard errors are 0.1 sds, of an sd 8 %
        assert draws[label].mean() == pytest.approx(mean, abs=0.1 * spread)
        assert draws[label].std() == pytest.approx(spread, rel=0.08)
