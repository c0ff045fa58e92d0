"""A marginal posterior for use near its mode: of a costly model, with polynomials in the place of its likelihood.

Of a Gaussian model they are of what the random effects leave (`eliminated`), of others of the likelihood itself.
"""

from types import SimpleNamespace

import numpy as np

from bayesmm.likelihood.box import ALONE, Box, box_around, diagonals
from bayesmm.likelihood.coordinates import factors, sds_of_terms, values
from bayesmm.likelihood.costs import gradient_cost
from bayesmm.likelihood.eliminated import MOST_ENTRIES, is_costly, polynomials
from bayesmm.likelihood.gaussian import relative
from bayesmm.likelihood.gaussian_data import gaussian_words
from bayesmm.likelihood.gaussian_likelihood import gaussian_likelihood
from bayesmm.likelihood.interpolated_gaussian import InterpolatedData, interpolated_likelihood
from bayesmm.likelihood.interpolated_likelihood import WholeData, whole_likelihood
from bayesmm.likelihood.marginal import Marginal, terms
from bayesmm.likelihood.packed import Floats, pack, unpacked
from bayesmm.likelihood.polynomial_terms import terms_of
from bayesmm.likelihood.posterior import LogPosterior, Parameters, PosteriorData, evaluated, log_posterior
from bayesmm.likelihood.sparse_interpolation import interpolated
from bayesmm.runtime.progress import working
from bayesmm.runtime.streams import stream
from bayesmm.runtime.threads import in_threads

# Draws of a normal distribution at the mode, with which the box is found, and their seed.
SAMPLE, SEED = 2000, 20260501
# Of generalised models: a gradient that takes so many nanoseconds (NUTS makes some ten thousands of them), how far the
# log density may be missed at so many draws, less than what quadrature itself promises, 1e-5 for each level, how many
# times as far near the faces of the box, where the density is next to nothing, and by how many terms. What has fewer
# than a third of them is tried with more where it misses.
COSTLY_GRADIENT, PRECISION, LOOKED_AT, AT_EDGE, MOST_TERMS, MORE = 1e5, 1e-3, 48, 3.0, 4000, 3
# How far their box reaches, in sds, by the number of parameters: of few a wider one costs hardly more terms, and
# independent draws, whose tails are heavy, leave it seldom; of many it would cost thousands.
REACHES, FAR = {4: 4.5, 5: 3.3, 6: 3.0}, 6.0


def near_mode(model: Marginal, x: Floats, factor: Floats) -> LogPosterior:
    """Return a model's posterior for use near a mode x, (d,), where `factor` is that of its covariance, (d, d)."""
    settled = model.posterior.settled(x) if model.integrated is None else model.posterior
    if not _serves(model):
        return settled
    near = x + stream(SEED, "box").standard_normal((SAMPLE, len(x))) @ factor.T
    near = np.vstack([x, near])
    return (_of_rows if model.integrated is None else _of_products)(model, settled, near) or settled


def _serves(model: Marginal) -> bool:
    """Return whether a model is worth polynomials, and such as they are for."""
    if model.structure is not None:
        return False
    if model.integrated is None:
        few = 0 < model.posterior.size <= MOST_ENTRIES
        return few and gradient_cost(model.design) > COSTLY_GRADIENT
    problem = model.integrated.problem
    return model.integrated.varying is None and is_costly(problem.cp, problem.theta)


def _of_products(model: Marginal, exact: LogPosterior, x: Floats) -> LogPosterior | None:
    """Return a Gaussian posterior with polynomials near its mode x[0], draws behind it; None if they do not serve."""
    cp, theta, own = model.integrated.problem.cp, model.integrated.problem.theta, terms(model.integrated)
    at = natural_parameters(model, x)
    T = at.L[:, own.take] * own.scale / at.positive[:, :1]
    _, sigma, prior = relative(own, Parameters(at.L[0], at.positive[0], at.coefficients[0]))
    found = polynomials(cp, theta.free, T, sigma, prior)
    if found is None:
        return None
    likelihood, words = gaussian_likelihood().address, gaussian_words(own, cp.n, cp.sum_log_weights, cp.words)
    given = own, cp.n - np.isinf(own.sd).sum(), cp.sum_log_weights, likelihood, words
    data = InterpolatedData(*given, terms_of(found.left.box, found.found))
    return log_posterior(exact.coordinates, interpolated_likelihood(), pack(data))


def _of_rows(model: Marginal, exact: LogPosterior, x: Floats) -> LogPosterior | None:
    """Return a generalised posterior with a polynomial; as `_of_products`."""
    known, at = unpacked(exact.words, PosteriorData), natural_parameters(model, x)
    sizes, side_by_side = [part.shape[1] for part in at], np.concatenate(at, axis=1)
    box = _box(model, side_by_side, sizes[0])
    if len(box.entry) > model.posterior.size:  # some depend on others
        return None
    likelihood, ends = SimpleNamespace(address=int(known.likelihood[0])), np.cumsum(sizes)[:-1]

    def value(parameters: Floats) -> float:
        return evaluated(likelihood, known.words, Parameters(*np.split(parameters, ends)), gradient=False)[0]

    def function(u: Floats) -> Floats:
        return np.array(in_threads(value, box.parameters(u)))[:, None]

    near = x[box.has(side_by_side)]
    # draws are about sqrt(t) sds from the mode, and these as far as nine tenths of the way to the faces
    outwards = x[0] + 0.9 * _reach(len(box.entry)) / np.sqrt(len(box.entry)) * (x[1:] - x[0])
    edge = outwards[box.has(np.concatenate(natural_parameters(model, outwards), axis=1))]
    for tolerance in (PRECISION / 2, PRECISION / 8):  # what is left out is somewhat more than the last terms
        with working("finding a polynomial in place of the likelihood"):
            found = interpolated(function, len(box.entry), lambda terms: np.abs(terms[:, 0]), tolerance, MOST_TERMS)
        if found is None:
            break
        data = WholeData(likelihood.address, known.words, np.array(sizes), terms_of(box, found))
        made = log_posterior(exact.coordinates, whole_likelihood(), pack(data))
        if len(near) and _is_near(made, exact, near, PRECISION) and _is_near(made, exact, edge, AT_EDGE * PRECISION):
            return made
        if len(found.index) > MOST_TERMS / MORE:
            break
    return None


def _box(model: Marginal, draws: Floats, of_factors: int) -> Box:
    """Return the box around draws of parameters side by side, the entries of factors first."""
    entry = np.flatnonzero(np.ptp(draws, axis=0) > 0)
    diagonal = np.full(draws.shape[1], ALONE)
    diagonal[:of_factors] = diagonals(tuple(int(q) for q in model.posterior.coordinates.n_terms))
    scales = np.arange(of_factors, of_factors + int(model.posterior.coordinates.sizes[0]))
    scales = scales[(draws[:, scales] > 0).all(axis=0)]  # by their logs
    diagonal[scales] = scales
    return box_around(entry, diagonal[entry], draws, draws[0], _reach(len(entry)), of_factors)


def _reach(parameters: int) -> float:
    return REACHES.get(parameters, FAR)


def _is_near(made: LogPosterior, exact: LogPosterior, x: Floats, tolerance: float) -> bool:
    """Return whether two densities are the same at the first of many points."""
    looked_at = x[:LOOKED_AT]
    missed = np.abs(made.many(looked_at) - exact.many(looked_at))
    return bool((missed <= tolerance).all())


def natural_parameters(model: Marginal, x: Floats) -> Parameters:
    """Return the natural parameters at many x, (n, d): each with an axis of n before its own."""
    c = model.posterior.coordinates
    scalars, first = values(c, x), len(np.unique(c.sd_of))
    pairs = zip(sds_of_terms(c, scalars), factors(c, x), strict=True)
    L = [np.empty((len(x), 0)), *((sds[:, :, None] * C).reshape(len(x), -1) for sds, C in pairs)]
    last = first + int(c.sizes[0])
    return Parameters(np.concatenate(L, axis=1), scalars[:, first:last], scalars[:, last:])
