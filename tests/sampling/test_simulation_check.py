"""Every family on data simulated from it: 90 % intervals cover, and posterior means are not biased.

A random intercept for 15 groups of 8 rows, 50 data sets a family, importance sampling of the integrated posterior.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

import bayesmm as bmm
from bayesmm.likelihood.coordinates import values
from bayesmm.likelihood.marginal import generalised
from bayesmm.sampling.marginal import centre

SETS, GROUPS, ROWS = 50, 15, 8
BETA, SD = (0.4, 0.5), 0.6
# Importance sampling of the integrated posterior: a t around the mode, a little wider than the curvature says.
PROPOSALS, DEGREES, WIDER, STEP, ROUNDS = 1000, 5.0, 1.2, 1e-3, 5
EFFECTIVE = 150  # draws at least: the share below the truth is then known to 0.02 where it is 0.05
# 90 % intervals: what the issue asks for, of parameters and data sets pooled, 150 to 250 intervals a family. Were they
# independent, the binomial error would be 1.9 to 2.4 %; those of a data set are not quite, so that it is more.
LOWEST, HIGHEST = 0.80, 0.98
# Bias in standard errors of the mean over the data sets: with 29 parameters, one in 50 runs of the suite beyond 3.4.
# It is asked of the fixed effects, whose posterior is nearly symmetric; posterior means of sds and shapes are above
# the truth by design, in 15 groups, and are judged by the rank of the truth among the draws instead.
ERRORS = 3.4


@dataclass(frozen=True)
class Case:
    """A family, its simulated response, and the true values of its auxiliary parameters.

    A few rows say next to nothing about nu, so that its posterior is near its prior: it is drawn from that.
    """

    family: str
    response: object
    auxiliaries: dict[str, object] = field(default_factory=dict)
    trials: int | None = None


def logistic(eta):
    return 1 / (1 + np.exp(-eta))


def default_nu(rng):
    """Draw from the default prior of nu, Gamma(2, 0.1)."""
    return rng.gamma(2.0, 10.0)


CASES = (
    Case("gaussian", lambda rng, eta, sigma: rng.normal(eta, sigma), {"sigma": 0.8}),
    Case(
        "student",
        lambda rng, eta, sigma, nu: eta + sigma * rng.standard_t(nu, len(eta)),
        {"sigma": 0.8, "nu": default_nu},
    ),
    Case("poisson", lambda rng, eta: rng.poisson(np.exp(eta))),
    Case(
        "negbinomial",
        lambda rng, eta, shape: rng.poisson(np.exp(eta) * rng.gamma(shape, 1 / shape, len(eta))),
        {"shape": 2.0},
    ),
    Case("bernoulli", lambda rng, eta: rng.binomial(1, logistic(eta))),
    Case("binomial", lambda rng, eta: rng.binomial(6, logistic(eta)), trials=6),
    Case("gamma", lambda rng, eta, shape: rng.gamma(shape, np.exp(eta) / shape), {"shape": 3.0}),
    Case("beta", lambda rng, eta, phi: rng.beta(phi * logistic(eta), phi * logistic(-eta)), {"phi": 10.0}),
)


def simulated(case, seed):
    """Return a data set of the model, and the true values of its parameters."""
    rng = np.random.default_rng([sum(map(ord, case.family)), seed])
    g = np.repeat(np.arange(GROUPS), ROWS)
    x = rng.normal(size=len(g))
    eta = BETA[0] + BETA[1] * x + SD * rng.normal(size=GROUPS)[g]
    own = {name: value(rng) if callable(value) else value for name, value in case.auxiliaries.items()}
    y = case.response(rng, eta, **own)
    data = pd.DataFrame({"y": np.clip(y, 1e-9, 1 - 1e-9) if case.family == "beta" else y, "x": x})
    return data.assign(g=[f"g{i:02d}" for i in g]), np.array([*BETA, SD, *own.values()])


def posterior_draws(model, case, seed):
    """Return the draws of every parameter by name, and their weights."""
    if model.family.gaussian:
        fit = model.sample(seed=seed, sampler="importance", draws=PROPOSALS // 2, chains=2, progress=False)
        posterior = fit.tree["posterior"].to_dataset()
        beta, sd = posterior["beta"].to_numpy().reshape(-1, 2), posterior["sd_g"].to_numpy().ravel()
        columns = [beta[:, 0], beta[:, 1], sd, posterior["sigma"].to_numpy().ravel()]
        weights = np.full(len(sd), 1 / len(sd))
    else:
        own = generalised(model.design, model.priors)
        x, weights = weighted(own.posterior, centre(own, model.priors), np.random.default_rng(seed))
        scalars = values(own.posterior.coordinates, x)
        beta = scalars[:, -2:] @ own.bases.fixed.inverse.T
        columns = [beta[:, 0], beta[:, 1], *scalars[:, :-2].T]
    return dict(zip(("Intercept", "x", "sd", *case.auxiliaries), columns, strict=True)), weights


def weighted(posterior, start, rng):
    """Return draws from a multivariate t and their importance weights.

    The t is around the mode of the log posterior, with the curvature there; where too few draws are worth anything, it
    is moved to the moments that they have.
    """
    at = minimize(lambda x: [-part for part in posterior(x)], start, jac=True, method="BFGS").x
    steps = STEP * np.eye(len(at))
    H = np.array([(posterior(at - s)[1] - posterior(at + s)[1]) / (2 * STEP) for s in steps])
    spread = np.linalg.inv((H + H.T) / 2)
    for _ in range(ROUNDS):
        t = rng.normal(size=(PROPOSALS, len(at))) * np.sqrt(DEGREES / rng.chisquare(DEGREES, (PROPOSALS, 1)))
        x = at + WIDER * t @ np.linalg.cholesky(spread).T
        log_weights = posterior.many(x) + (DEGREES + len(at)) / 2 * np.log1p((t**2).sum(axis=1) / DEGREES)
        weights = np.exp(log_weights - log_weights.max())
        weights /= weights.sum()
        if 1 / (weights**2).sum() > EFFECTIVE:
            return x, weights
        at, spread = weights @ x, np.cov(x.T, aweights=weights)
    raise AssertionError(f"{1 / (weights**2).sum():.0f} effective draws of {PROPOSALS}")


def checked(case):
    """Run a family: names, and for each data set the truth, the posterior means and the shares below the truth."""
    values, means, ranks = [], [], []
    for seed in range(SETS):
        data, truth = simulated(case, seed)
        model = bmm.Model("y ~ x + (1 | g)", data, family=case.family, trials=case.trials)
        found, weights = posterior_draws(model, case, seed)
        values.append(truth)
        means.append([weights @ draws for draws in found.values()])
        ranks.append([weights @ (draws < true) for draws, true in zip(found.values(), truth, strict=True)])
    return tuple(found), np.array(values), np.array(means), np.array(ranks)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=[case.family for case in CASES])
@pytest.mark.filterwarnings("ignore::bayesmm.errors.BayesmmWarning")
def test_intervals_cover_and_estimates_are_not_biased(case):
    names, truth, means, ranks = checked(case)
    covered = (ranks > 0.05) & (ranks < 0.95)
    share, error = covered.mean(), np.sqrt(0.9 * 0.1 / covered.size)
    print(f"\n{case.family}: {share:.3f} of {covered.size} intervals cover (binomial error {error:.3f})", end="")
    off = (means - truth).mean(axis=0) / ((means - truth).std(axis=0, ddof=1) / np.sqrt(SETS))
    # Ranks of the truth are uniform where it comes from the prior; here it is fixed, and they are nearly so.
    uniform = (ranks.mean(axis=0) - 0.5) / np.sqrt(1 / 12 / SETS)
    for name, z, r, part in zip(names, off, uniform, covered.mean(axis=0), strict=True):
        print(f"; {name}: bias {z:+.1f} se, rank {r:+.1f} se, covers {part:.2f}", end="")
    assert LOWEST < share < HIGHEST
    assert np.abs(off[:2]).max() < ERRORS, dict(zip(names, off, strict=True))
    assert np.abs(uniform).max() < ERRORS, dict(zip(names, uniform, strict=True))
