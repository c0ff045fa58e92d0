"""The marginal posterior over the whole real space: the density that independent draws are made from.

Coordinates x: log sds, the hyperbolic arc tangents of the canonical partial correlations (Lewandowski, Kurowicka & Joe
2009), log sigma, and the coefficients that are not integrated out; parameters fixed by their prior are left out. The
parameters are laid out as in ``estimation.map``, whose gradient serves here too.
"""

from dataclasses import dataclass

import numpy as np

from bayesmm.estimation.estimates import Estimates
from bayesmm.estimation.map import Posterior, Shape, criterion, start_values, values_of, varying
from bayesmm.estimation.optimizer import Search, minimum
from bayesmm.likelihood.batch import log_likelihoods
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.sampling.recovery import Draws, packed_factors

LOG_2 = np.log(2.0)


@dataclass(frozen=True)
class Natural:
    """Many values of the parameters on their natural scales.

    Attributes
    ----------
    draws : Draws
        Sds, factors of the correlation matrices, and sigma.
    partial : tuple of (draws, pairs) float64
        The coordinates of each block's correlations.
    sampled : (draws, l) float64
        The coefficients that are not integrated out.
    """

    draws: Draws
    partial: tuple[Floats, ...]
    sampled: Floats


@dataclass(frozen=True)
class Target:
    """The marginal posterior as a density of x, (d,).

    Attributes
    ----------
    posterior : Posterior
    free : (f,) bool
        Which of the model's f parameters vary.
    fixed : (f,) float64
        The coordinates of the others.
    """

    posterior: Posterior
    free: np.ndarray
    fixed: Floats

    @property
    def size(self) -> int:
        """Number of coordinates, d."""
        return int(self.free.sum())


def target(posterior: Posterior) -> Target:
    """Return the density of x for a posterior whose priors are all in closed form."""
    free = varying(posterior)
    return Target(posterior, free, _unconstrained(posterior, values_of(posterior, free, np.zeros(free.sum()))))


def natural(target: Target, x: Floats) -> Natural:
    """Return the parameters of coordinates x, (draws, d)."""
    full = np.tile(target.fixed, (len(x), 1))
    full[:, target.free] = x
    posterior = target.posterior
    with np.errstate(over="ignore", under="ignore"):  # far out in the tails: the density is 0 there
        sds = tuple(_sds(posterior, shape, full[:, shape.sds]) for shape in posterior.shapes)
        sigma = _natural(posterior, "sigma", full[:, posterior.log_sigma])
    partial = tuple(full[:, shape.corrs] for shape in posterior.shapes)
    factors = tuple(correlation_factors(shape, z) for shape, z in zip(posterior.shapes, partial, strict=True))
    return Natural(Draws(sds, factors, sigma), partial, full[:, posterior.log_sigma + 1 :])


def _sds(posterior: Posterior, shape: Shape, logs: Floats) -> Floats:
    places = zip(shape.block.names.sd_labels, logs.T, strict=True)
    return np.column_stack([_natural(posterior, place, log) for place, log in places])


def _natural(posterior: Posterior, place: str, log: Floats) -> Floats:
    """Return exp(log), and exactly the value of a parameter that is fixed."""
    prior = posterior.priors[place]
    return np.full(len(log), prior.parameters["value"]) if prior.distribution == "Fixed" else np.exp(log)


def correlation_factors(shape: Shape, partial: Floats) -> Floats:
    """Return the lower factors C of the correlation matrices, (draws, q, q), from (draws, pairs) coordinates.

    Row by row, c_ij = tanh(z_ij) times the root of what the earlier entries leave of 1.
    """
    q = len(shape.part)
    C, root = np.zeros((len(partial), q, q)), np.ones((len(partial), q))
    log_left = log_sech2(partial) / 2
    for at, (i, j) in enumerate(shape.pairs):
        C[:, i, j] = np.tanh(partial[:, at]) * root[:, i]
        root[:, i] *= np.exp(log_left[:, at])
    C[:, range(q), range(q)] = root
    return C


def log_sech2(z: Floats) -> Floats:
    """Return log(1 - tanh(z)^2), also where tanh(z) rounds to 1."""
    size = np.abs(z)
    return 2 * (LOG_2 - size - np.log1p(np.exp(-2 * size)))


def log_density(target: Target, x: Floats) -> Floats:
    """Return the log density of x, (draws,), up to a constant: log likelihood, log priors and log Jacobian."""
    at = natural(target, x)
    with np.errstate(all="ignore"):  # values that overflow have the density 0
        total = log_likelihood(target, at) + log_prior(target, at) + log_jacobian(target, at)
    return np.where(np.isnan(total), -np.inf, total)


def log_likelihood(target: Target, at: Natural) -> Floats:
    """Return the log marginal likelihood, (draws,)."""
    integrated = target.posterior.integrated
    mean, sampled = np.zeros((len(at.sampled), len(integrated.at))), list(integrated.sampled)
    mean[:, sampled] = at.sampled - integrated.at[sampled]
    T = packed_factors(integrated, at.draws)
    return log_likelihoods(integrated.problem.cp, T, at.draws.sigma, mean, integrated.sd)


def log_prior(target: Target, at: Natural) -> Floats:
    """Return the log prior density of sds, correlation matrices and sigma, (draws,), up to a constant."""
    posterior, total = target.posterior, np.zeros(len(at.sampled))
    for shape, sds, z in zip(posterior.shapes, at.draws.sds, at.partial, strict=True):
        for place, value in zip(shape.block.names.sd_labels, sds.T, strict=True):
            total += _log_prior(posterior, place, value)
        if shape.pairs:
            eta = posterior.priors[shape.block.names.corr].parameters["eta"]
            total += (eta - 1) * log_sech2(z).sum(axis=1)  # log det of the matrix
    total += _log_prior(posterior, "sigma", at.draws.sigma)
    for j, value in zip(posterior.sampled, at.sampled.T, strict=True):
        total += _log_prior(posterior, posterior.integrated.places[j], value)
    return total


def _log_prior(posterior: Posterior, place: str, value: Floats) -> Floats | float:
    prior = posterior.priors[place]
    return 0.0 if prior.distribution == "Fixed" else prior.logpdf(value)


def log_jacobian(target: Target, at: Natural) -> Floats:
    """Return log |d natural / d x|, (draws,): log sd, log sigma, and that of the partial correlations."""
    total = np.zeros(len(at.sampled))
    for shape, sds, z in zip(target.posterior.shapes, at.draws.sds, at.partial, strict=True):
        total += np.log(sds[:, target.free[shape.sds]]).sum(axis=1)
        total += log_sech2(z) @ jacobian_powers(shape)
    if target.free[target.posterior.log_sigma]:
        total += np.log(at.draws.sigma)
    return total


def jacobian_powers(shape: Shape) -> Floats:
    """Return the power of sech^2 z_ij in |dR / dz|, (pairs,): 1 + (q - 2 - j) / 2 for column j of a (q, q) part.

    1 from tanh; the rest from partial correlations to correlations (Lewandowski, Kurowicka & Joe 2009, theorem 1).
    """
    powers = []
    for _, j in shape.pairs:
        part = [column for column, number in enumerate(shape.part) if number == shape.part[j]]
        powers.append(1 + (len(part) - 2 - part.index(j)) / 2)
    return np.array(powers)


def mode(target: Target, reml: Estimates) -> tuple[Floats, Search]:
    """Return the mode of the density of x, (d,), and -2 log density with its gradient as a function."""
    search = Search(lambda x: _criterion(target, x))
    best, least = None, np.inf
    for moved in (False, True):
        start = _unconstrained(target.posterior, start_values(target.posterior, reml, moved))[target.free]
        x = minimum(search, start)
        value = search(x)[0]
        if best is None or value < least:
            best, least = x, value
    return best, search


def _unconstrained(posterior: Posterior, y: Floats) -> Floats:
    """Return the coordinates of all parameters for those of ``map``, where an sd is in units and has a sign."""
    full = y.copy()
    with np.errstate(divide="ignore"):  # an sd that is fixed at 0
        for shape in posterior.shapes:
            full[shape.sds] = np.log(np.abs(shape.unit * y[shape.sds]))
    return full


def _criterion(target: Target, x: Floats) -> tuple[float, Floats]:
    """Return -2 log density and its gradient: those of ``map``, and the Jacobian's."""
    posterior, free = target.posterior, target.free
    y = target.fixed.copy()
    y[free] = x
    with np.errstate(over="ignore", under="ignore"):
        for shape in posterior.shapes:
            y[shape.sds] = np.exp(y[shape.sds]) / shape.unit
    value, slope = criterion(posterior, y)
    log_jacobian_, gradient = 0.0, slope.copy()
    for shape in posterior.shapes:
        gradient[shape.sds] = slope[shape.sds] * y[shape.sds] - 2
        log_jacobian_ += np.log((shape.unit * y[shape.sds])[free[shape.sds]]).sum()
        gradient[shape.corrs] += 4 * np.tanh(y[shape.corrs]) * jacobian_powers(shape)
        log_jacobian_ += log_sech2(y[shape.corrs]) @ jacobian_powers(shape)
    if free[posterior.log_sigma]:
        gradient[posterior.log_sigma] -= 2
        log_jacobian_ += y[posterior.log_sigma]
    if not np.isfinite(value):
        return np.inf, np.zeros(len(x))
    return value - 2 * log_jacobian_, gradient[free]
