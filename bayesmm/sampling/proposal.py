"""A mixture of multivariate t distributions, and its adaptation to weighted draws."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import gammaln, logsumexp

from bayesmm.likelihood.crossproducts import Floats

# Heavier tails than any marginal posterior has in these coordinates (where they are exponential), so that weights stay
# bounded.
FREEDOM = 5.0
# Standard deviations of the components at first, in units of those that the curvature gives: the wide ones find the
# tails, such as that of a log sd whose data allow 0.
SPREADS = (1.1, 2.0, 4.0)
# No component may vanish: the wide one covers what the draws did not show.
LEAST_SHARE = 0.02
# Share and width, in standard deviations of the target, of a component that is not adapted, against tails that the
# others miss (a defensive mixture: Hesterberg 1995, Technometrics 37(2)). Without it one k in twelve was above 0.7.
DEFENCE, DEFENCE_SPREAD = 0.1, 3.0
# The covariance before counts as this many draws for each dimension beside the weighted draws.
OLD_DRAWS = 2.0
# Eigenvalues of the scaled curvature are raised to this: a ridge is no reason for steps of more than 10 times its
# conditional sd.
LEAST_CURVATURE = 0.01


@dataclass(frozen=True)
class Mixture:
    """A mixture of K multivariate t distributions with `FREEDOM` degrees of freedom in d dimensions.

    Attributes
    ----------
    shares : (K,) float64
        Their probabilities.
    centres : (K, d) float64
    factors : (K, d, d) float64
        Lower triangular factors of their scale matrices.
    """

    shares: Floats
    centres: Floats
    factors: Floats


def factor_of(curvature: Floats) -> Floats:
    """Return the lower triangular factor of the inverse of a negative Hessian, (d, d), raised along ridges.

    Where a coordinate curves upwards, far from a mode, it is as large as if it curved downwards as much.
    """
    diagonal = np.abs(np.diag(curvature))
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    values, vectors = np.linalg.eigh(curvature / np.outer(scale, scale))
    half = vectors / np.sqrt(np.maximum(values, LEAST_CURVATURE)) / scale[:, None]
    return np.linalg.cholesky(half @ half.T)


def around(centres: Floats, factors: Floats) -> Mixture:
    """Return the first mixture, from modes, (m, d), and the factors of the covariance matrices there, (m, d, d)."""
    K = len(SPREADS)
    spread = np.array(SPREADS)[None, :, None, None] * factors[:, None]
    shares = np.full(K * len(centres), 1 / (K * len(centres)))
    return Mixture(shares, np.repeat(centres, K, axis=0), spread.reshape(-1, *factors.shape[1:]))


def draw(mixture: Mixture, n: int, rng: np.random.Generator) -> Floats:
    """Return n independent draws, (n, d)."""
    component = rng.choice(len(mixture.shares), p=mixture.shares, size=n)
    normal = rng.standard_normal((n, mixture.centres.shape[1]))
    t = normal / np.sqrt(rng.chisquare(FREEDOM, n) / FREEDOM)[:, None]
    return mixture.centres[component] + np.einsum("nij,nj->ni", mixture.factors[component], t)


def distances(mixture: Mixture, x: Floats) -> Floats:
    """Return the squared Mahalanobis distances of x, (n, d), from every component, (K, n)."""
    pairs = zip(mixture.centres, mixture.factors, strict=True)
    return np.array([np.square(solve_triangular(L, (x - m).T, lower=True)).sum(axis=0) for m, L in pairs])


def component_densities(mixture: Mixture, x: Floats) -> Floats:
    """Return log (share times density) of every component at x, (n, d), as (K, n); their logsumexp is log density."""
    d = x.shape[1]
    constant = gammaln((FREEDOM + d) / 2) - gammaln(FREEDOM / 2) - d / 2 * np.log(FREEDOM * np.pi)
    log_det = np.log(np.diagonal(mixture.factors, axis1=1, axis2=2)).sum(axis=1)
    kernel = -(FREEDOM + d) / 2 * np.log1p(distances(mixture, x) / FREEDOM)
    return (np.log(mixture.shares) + constant - log_det)[:, None] + kernel


def adapted(mixture: Mixture, x: Floats, weights: Floats) -> Mixture:
    """Return the mixture brought nearer to the target, of which x, (n, d), with `weights`, (n,), of sum 1, are draws.

    One step of expectation-maximisation for the Kullback-Leibler divergence from the target (Cappé, Douc, Guillin,
    Marin & Robert 2008, Statistics and Computing 18(4)), the scale matrices shrunk towards the ones before.
    """
    d = x.shape[1]
    logs = component_densities(mixture, x)
    owned = weights * np.exp(logs - logsumexp(logs, axis=0))
    pulls = owned * (FREEDOM + d) / (FREEDOM + distances(mixture, x))
    shares, centres, factors = np.maximum(owned.sum(axis=1), LEAST_SHARE), [], []
    for own, pull, centre, factor in zip(owned, pulls, mixture.centres, mixture.factors, strict=True):
        effective, old = own.sum() ** 2 / max(np.square(own).sum(), np.finfo(float).tiny), OLD_DRAWS * d
        new = (effective * (pull @ x) / max(pull.sum(), np.finfo(float).tiny) + old * centre) / (effective + old)
        off = x - new
        scatter = (off * pull[:, None]).T @ off / max(own.sum(), np.finfo(float).tiny)
        centres.append(new)
        factors.append(np.linalg.cholesky((effective * scatter + old * factor @ factor.T) / (effective + old)))
    return Mixture(shares / shares.sum(), np.array(centres), np.array(factors))


def defended(mixture: Mixture, centre: Floats, factor: Floats) -> Mixture:
    """Return the mixture with one wide component more.

    Parameters
    ----------
    mixture : Mixture
    centre : (d,) float64
        Mean of the target.
    factor : (d, d) float64
        Lower triangular factor of its covariance, or scale, matrix.
    """
    return Mixture(
        np.append((1 - DEFENCE) * mixture.shares, DEFENCE),
        np.vstack([mixture.centres, centre]),
        np.concatenate([mixture.factors, DEFENCE_SPREAD * factor[None]]),
    )
