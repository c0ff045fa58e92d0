"""A marginal posterior for use near its mode: of a costly Gaussian model, with polynomials for the random effects.

See `eliminated` for what the polynomials are of, and `interpolated_gaussian` for the likelihood that is made of them.
"""

import numpy as np

from bayesmm.likelihood.coordinates import factors, sds_of_terms, values
from bayesmm.likelihood.eliminated import Polynomials, is_costly, polynomials, tolerance_of
from bayesmm.likelihood.gaussian import relative
from bayesmm.likelihood.gaussian_data import Terms, gaussian_words
from bayesmm.likelihood.gaussian_likelihood import gaussian_likelihood
from bayesmm.likelihood.interpolated_gaussian import InterpolatedData, interpolated_likelihood
from bayesmm.likelihood.marginal import Marginal, terms
from bayesmm.likelihood.packed import Floats, Ints, pack
from bayesmm.likelihood.posterior import LogPosterior, Parameters, log_posterior
from bayesmm.likelihood.sparse_interpolation import leja_points

# Draws of a normal distribution at the mode: with which the box is found; and of those in it at which the polynomials
# are looked at, where they may miss so many times what their terms are promised to.
SAMPLE, LOOKED_AT, MISSED = 2000, 24, 10.0
SEED = 20260501  # of these draws


def near_mode(model: Marginal, x: Floats, factor: Floats) -> LogPosterior:
    """Return a model's posterior for use near a mode x, (d,), where `factor` is that of its covariance, (d, d)."""
    if model.integrated is None:
        return model.posterior.settled(x)
    plain = model.integrated.varying is None and model.integrated.structure.plain
    problem = model.integrated.problem
    if not (plain and is_costly(problem.cp, problem.theta)):
        return model.posterior
    draws = np.random.default_rng(SEED).standard_normal((SAMPLE, len(x)))
    return _interpolated(model, np.vstack([x, x + draws @ factor.T])) or model.posterior


def _interpolated(model: Marginal, x: Floats) -> LogPosterior | None:
    """Return the posterior with polynomials near the mode x[0] and draws behind it; None where they do not serve."""
    problem, own, at = model.integrated.problem, terms(model.integrated), natural_parameters(model, x)
    T = at.L[:, own.take] * own.scale / at.positive[:, :1]
    _, sigma, prior = relative(own, Parameters(at.L[0], at.positive[0], at.coefficients[0]))
    found = polynomials(problem.cp, problem.theta.free, T, sigma, prior)
    if found is None:
        return None
    posterior = log_posterior(model.posterior.coordinates, interpolated_likelihood(), _words(own, found))
    looked_at = x[found.left.box.has(T)][:LOOKED_AT]
    missed = np.abs(posterior.many(looked_at) - model.posterior.many(looked_at))
    return posterior if missed.max(initial=0.0) <= MISSED * tolerance_of(problem.cp) else None


def natural_parameters(model: Marginal, x: Floats) -> Parameters:
    """Return the natural parameters at many x, (n, d): each with an axis of n before its own."""
    c = model.posterior.coordinates
    scalars, first = values(c, x), len(np.unique(c.sd_of))
    pairs = zip(sds_of_terms(c, scalars), factors(c, x), strict=True)
    L = [(sds[:, :, None] * C).reshape(len(x), -1) for sds, C in pairs]
    last = first + int(c.sizes[0])
    return Parameters(np.concatenate(L, axis=1), scalars[:, first:last], scalars[:, last:])


def _words(own: Terms, polynomials: Polynomials) -> Ints:
    """Return the words of `interpolated_likelihood`."""
    cp, box, found = polynomials.left.cp, polynomials.left.box, polynomials.found
    points, scales = (kept[: int(found.index.max()) + 1] for kept in leja_points())
    exact = gaussian_words(own, cp.n, cp.sum_log_weights, cp.words)
    shape = box.entry, box.diagonal, box.centre, box.axes, points, scales, found.index, found.terms
    nu, address = cp.n - np.isinf(own.sd).sum(), gaussian_likelihood().address
    return pack(InterpolatedData(own, nu, cp.sum_log_weights, address, exact, *shape))
