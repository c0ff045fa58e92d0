"""The marginal MAP: the mode of the marginal posterior of the variance parameters.

The same function as REML, with the priors added: coefficients with a normal or a flat prior are integrated out, the
others are taken at their joint mode, and the density is that of (sds, correlations, sigma) on their natural scales,
so that no Jacobian enters. A standard deviation is searched over the whole real line (its sign means nothing), a
correlation matrix through the hyperbolic arc tangents of its canonical partial correlations (Lewandowski, Kurowicka &
Joe 2009), sigma by its logarithm. The sds and correlations are those that the priors are of, so that the mode does
not depend on where a predictor has its zero; it is reported as every fit is.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from bayesmm.design.parameters import INTERCEPT_AT_MEANS
from bayesmm.design.records import Block, Design
from bayesmm.design.term_basis import TermBases
from bayesmm.errors import PriorError
from bayesmm.estimation.estimates import Estimates, Optimum
from bayesmm.estimation.optimizer import ROUNDING, SNAP, Search, minimum, snapped
from bayesmm.estimation.reml import assemble, maximize_gaussian
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.likelihood.gaussian import FixedPrior, Value, conditional, evaluate, log_likelihood
from bayesmm.likelihood.orthogonal import lower_factor
from bayesmm.likelihood.problem import Integrated, Problem, integrate
from bayesmm.priors import Prior, Priors, coefficient_places, prior_design

# Imaginary step for derivatives of the analytic maps below: no subtraction, so it may be as small as this and is exact.
COMPLEX_STEP = 1e-30
# REML may sit at 0 or at a correlation of 1, from where no search moves; start at least this far inside.
START_SD, START_CORRELATION = 0.1, 0.9
FAR_FIXED = 1e6  # times or below an estimate: a value that is fixed there may make the density 0 to a computer
START_MARGIN = 0.1  # of the width of a uniform prior: how far from its ends the search starts at least


@dataclass(frozen=True)
class Shape:
    """Where one block is in x: its q sds (in units of sigma0 / scale), then its partial correlations."""

    block: Block
    unit: Floats  # (q,) sd = unit * x
    sds: slice
    corrs: slice
    pairs: tuple[tuple[int, int], ...]  # (row, column), row > column, of each partial correlation
    part: tuple[int, ...]  # part of each coefficient


@dataclass(frozen=True)
class Posterior:
    """The marginal posterior as a function of x = (blocks' parameters, log sigma, non-normal coefficients)."""

    integrated: Integrated
    priors: Priors
    shapes: tuple[Shape, ...]
    log_sigma: int

    @property
    def problem(self) -> Problem:
        """The cross-products and their scales."""
        return self.integrated.problem

    @property
    def sampled(self) -> tuple[int, ...]:
        """Fixed columns whose coefficient is part of x."""
        return self.integrated.sampled


def marginal_mode(design: Design, priors: Priors, start: Mapping[str, float] | None = None) -> Estimates:
    """Return the mode of the marginal posterior density of (sds, correlations, sigma) on their natural scales.

    Parameters
    ----------
    design : Design
    priors : Priors
    start : mapping, optional
        Starting standard deviations, as `maximize` takes them.

    Returns
    -------
    Estimates
        `beta` and `modes` are the conditional modes there; `criterion` is -2 log density up to the constants of the
        priors.

    Raises
    ------
    PriorError
        If a prior is a callable, whose density only PyMC knows.
    ValueError
        If the density is 0 wherever the search begins.
    """
    custom = [place for place, prior in priors.items() if prior.distribution == "Custom"]
    if custom:
        raise PriorError(
            f"the marginal mode needs densities in closed form, and the prior of {custom[0]} is a function"
        )
    reml = maximize_gaussian(prior_design(design, priors), "REML", start=start)
    posterior = build_posterior(design, priors, reml)
    search = Search(lambda x: criterion(posterior, x))
    free = varying(posterior)
    inner = Search(lambda y: _restricted(search, posterior, free, y))
    best, value = None, np.inf
    starts = [start_values(posterior, reml, move)[free] for move in (False, True)]
    for y in starts:
        found = minimum(inner, y)
        if inner(found)[0] < value - ROUNDING * abs(value) or best is None:
            best, value = found, inner(found)[0]
    if not np.isfinite(value):
        raise nowhere(priors, reml)
    best = snapped(inner, best, SNAP)
    x = values_of(posterior, free, best)
    gradient = float(np.abs(inner(best)[1]).max(initial=0.0))
    point = _point(posterior, x, Optimum(x, gradient, search.evaluations, len(starts)), value)
    return reported(point, design, posterior.integrated.bases)


def build_posterior(design: Design, priors: Priors, reml: Estimates) -> Posterior:
    """Return the marginal posterior for a design and its priors; REML's estimates, of its prior's, serve as units."""
    integrated = integrate(design, priors)
    shapes, end = [], 0
    for k, block in enumerate(design.blocks):
        shape = make_shape(block, reml.sigma / integrated.problem.scales[k], end)
        shapes.append(shape)
        end = shape.corrs.stop
    return Posterior(integrated, priors, tuple(shapes), end)


def make_shape(block: Block, unit: Floats, start: int) -> Shape:
    """Return where a block's parameters are in x, from `start` on."""
    q = len(block.columns)
    part = {column: number for number, columns in enumerate(block.partition) for column in columns}
    pairs = tuple((i, j) for i in range(q) for j in range(i) if part[i] == part[j])
    middle = start + q
    return Shape(
        block, unit, slice(start, middle), slice(middle, middle + len(pairs)), pairs, tuple(part[i] for i in range(q))
    )


def factor_of(shape: Shape, sds: np.ndarray, partial: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the factor diag(sds) C, (q, q), and log det of the correlation matrix C C'; analytic in both arguments."""
    q = len(sds)
    C, left = np.zeros((q, q), dtype=np.result_type(sds, partial)), np.ones(q, dtype=np.result_type(sds, partial))
    for (i, j), z in zip(shape.pairs, partial, strict=True):
        C[i, j] = np.tanh(z) * np.sqrt(left[i])
        left[i] = left[i] / np.cosh(z) ** 2
    C[range(q), range(q)] = np.sqrt(left)
    return sds[:, None] * C, np.log(left).sum()


def factor_derivatives(shape: Shape, sds: Floats, partial: Floats) -> tuple[Floats, Floats]:
    """Return the derivatives of the factor, (q + pairs, q, q), and of log det, (q + pairs,), by complex steps."""
    values = np.concatenate([sds, partial]).astype(complex)
    d_factor, d_logdet = [], []
    for i in range(len(values)):
        step = values.copy()
        step[i] += 1j * COMPLEX_STEP
        L, logdet = factor_of(shape, step[: len(sds)], step[len(sds) :])
        d_factor.append(L.imag / COMPLEX_STEP)
        d_logdet.append(logdet.imag / COMPLEX_STEP)
    return np.array(d_factor), np.array(d_logdet)


def _likelihood(posterior: Posterior, x: Floats) -> tuple[Value, float, FixedPrior, list[Floats]]:
    """Return the marginal likelihood at x, sigma, the prior of the fixed columns, and the relative factors."""
    sigma = np.exp(x[posterior.log_sigma])  # NumPy: its square may overflow to inf, which is no density, not an error
    mean = np.zeros(len(posterior.integrated.at))
    for place, j in enumerate(posterior.sampled):
        mean[j] = x[posterior.log_sigma + 1 + place] - posterior.integrated.at[j]
    flat_columns = ~np.isfinite(posterior.integrated.sd)
    prior = FixedPrior(
        mean, np.where(flat_columns, 1.0, posterior.integrated.sd / sigma), np.where(flat_columns, 0.0, 1.0)
    )
    factors = [
        posterior.problem.scales[k][:, None] * factor_of(shape, shape.unit * x[shape.sds], x[shape.corrs])[0] / sigma
        for k, shape in enumerate(posterior.shapes)
    ]
    cp = posterior.problem.cp
    packed = np.concatenate([np.empty(0), *(factors[k].ravel() for k in cp.order)])
    return evaluate(cp, packed, sigma, prior), sigma, prior, factors


def criterion(posterior: Posterior, x: Floats) -> tuple[float, Floats]:
    """Return -2 log density and its gradient at x."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        value, sigma, prior, factors = _likelihood(posterior, x)
        if not value.ok:
            return np.inf, np.zeros_like(x)
        n_flat = int((prior.D == 0).sum())
        cp = posterior.problem.cp
        gradient = np.zeros_like(x)
        # d / d log sigma: of the residual term, and through lam = s / sigma and T = L / sigma
        d_sigma = -(cp.n - n_flat) + value.quad / sigma**2 - value.d_lam @ (prior.lam * prior.D)
        log_prior, at = 0.0, 0
        for k in cp.order:
            q = len(factors[k])
            d_T = value.d_T[at : at + q * q].reshape(q, q)
            at += q * q
            d_sigma -= (d_T * factors[k]).sum()
            log_prior += _add_block(posterior, posterior.shapes[k], k, d_T / sigma, x, gradient)
        log_prior += _add_sigma(posterior, sigma, d_sigma, gradient)
        for place, j in enumerate(posterior.sampled):
            prior_j, i = posterior.priors[posterior.integrated.places[j]], posterior.log_sigma + 1 + place
            log_prior += float(prior_j.logpdf(x[i]))
            gradient[i] += value.d_mean[j] + float(prior_j.dlogpdf(x[i]))
        total = -2 * (log_likelihood(cp, value, n_flat) + log_prior)
    return (total, -2 * gradient) if np.isfinite(total) and np.isfinite(gradient).all() else (np.inf, np.zeros_like(x))


def _add_block(posterior: Posterior, shape: Shape, k: int, d_L: Floats, x: Floats, gradient: Floats) -> float:
    """Add a block's part to the gradient of the log density, and return its log prior."""
    sds, partial = shape.unit * x[shape.sds], x[shape.corrs]
    d_factor, d_logdet = factor_derivatives(shape, sds, partial)
    d_all = np.einsum("iab,ab->i", d_factor, posterior.problem.scales[k][:, None] * d_L)
    log_prior, names = 0.0, shape.block.names
    for i, place in enumerate(names.sd_labels):
        prior = posterior.priors[place]
        if prior.distribution != "Fixed":
            log_prior += float(prior.logpdf(abs(sds[i])))
            d_all[i] += np.sign(sds[i]) * float(prior.dlogpdf(abs(sds[i])))
    if shape.pairs:
        eta = posterior.priors[names.corr].parameters["eta"]
        log_prior += (eta - 1) * float(factor_of(shape, sds, partial)[1])
        d_all += (eta - 1) * d_logdet
    gradient[shape.sds] += d_all[: len(sds)] * shape.unit
    gradient[shape.corrs] += d_all[len(sds) :]
    return log_prior


def _add_sigma(posterior: Posterior, sigma: float, d_log_sigma: float, gradient: Floats) -> float:
    prior = posterior.priors["sigma"]
    gradient[posterior.log_sigma] += d_log_sigma
    if prior.distribution == "Fixed":
        return 0.0
    gradient[posterior.log_sigma] += sigma * float(prior.dlogpdf(sigma))
    return float(prior.logpdf(sigma))


def varying(posterior: Posterior) -> np.ndarray:
    """Return which parameters are not fixed by their prior."""
    free = np.ones(posterior.log_sigma + 1 + len(posterior.sampled), dtype=bool)
    for shape in posterior.shapes:
        for i, place in enumerate(shape.block.names.sd_labels):
            if posterior.priors[place].distribution == "Fixed":
                free[shape.sds.start + i] = False
    free[posterior.log_sigma] = posterior.priors["sigma"].distribution != "Fixed"
    return free


def values_of(posterior: Posterior, free: np.ndarray, y: Floats) -> Floats:
    """Return all parameters: the free ones y, and the fixed ones at their values."""
    x = np.zeros(len(free))
    for shape in posterior.shapes:
        for i, place in enumerate(shape.block.names.sd_labels):
            prior = posterior.priors[place]
            if prior.distribution == "Fixed":
                x[shape.sds.start + i] = prior.parameters["value"] / shape.unit[i]
    if posterior.priors["sigma"].distribution == "Fixed":
        x[posterior.log_sigma] = math.log(posterior.priors["sigma"].parameters["value"])
    x[free] = y
    return x


def nowhere(priors: Mapping[str, Prior], point: Estimates) -> ValueError:
    """Return the error for a density that is 0 wherever the search for its mode began, with the priors that say so.

    Parameters
    ----------
    priors : mapping of place to Prior
    point : Estimates
        The maximum of the likelihood, of the prior's design, near which the search began.
    """
    design = point.design
    values = dict(zip(coefficient_places(priors, design), point.beta, strict=True)) | dict(point.auxiliaries)
    values.pop(INTERCEPT_AT_MEANS, None)  # at the predictors' means: not what `beta` has
    for block, Sigma in zip(design.blocks, point.covariances, strict=True):
        values |= dict(zip(block.names.sd_labels, np.sqrt(np.diag(Sigma)), strict=True))
    excluded = [
        f"{place} is {priors[place]}, and its estimate is {value:.4g}"
        for place, value in values.items()
        if place in priors and np.isfinite(value) and _excludes(priors[place], value)
    ]
    cause = "; ".join(excluded) or "no single prior excludes the estimates"
    return ValueError(
        "the marginal posterior density is 0 or not finite wherever the search for its mode began, near the "
        f"{point.method} estimates ({cause}); give priors that allow values near them"
    )


def _excludes(prior: Prior, value: float) -> bool:
    """Return whether an estimate is where a prior has no density, or far from what the prior fixes."""
    if prior.support == "point":
        fixed = prior.parameters["value"]
        return fixed > 0 and not 1 / FAR_FIXED <= value / fixed <= FAR_FIXED
    return prior.logpdf(value) == -np.inf


def _restricted(search: Search, posterior: Posterior, free: np.ndarray, y: Floats) -> tuple[float, Floats]:
    value, gradient = search(values_of(posterior, free, y))
    return value, gradient[free]


def start_values(posterior: Posterior, reml: Estimates, moved: bool) -> Floats:
    """Return a start: REML, kept off its boundaries; or, `moved`, every sd at sigma's size and no correlation."""
    x = np.zeros(posterior.log_sigma + 1 + len(posterior.sampled))
    for shape, Sigma in zip(posterior.shapes, reml.covariances, strict=True):
        x[shape.sds] = 1.0 if moved else np.maximum(np.sqrt(np.diag(Sigma)) / shape.unit, START_SD)
        if shape.pairs and not moved:
            x[shape.corrs] = partial_of(shape, Sigma)
    x[posterior.log_sigma] = math.log(reml.sigma)
    x[posterior.log_sigma + 1 :] = posterior.integrated.at[list(posterior.sampled)]
    return _within_supports(posterior, x)


def _within_supports(posterior: Posterior, x: Floats) -> Floats:
    """Return x with every parameter moved into the support of its prior."""
    out, priors, end = x.copy(), posterior.priors, posterior.log_sigma
    for shape in posterior.shapes:
        for i, (place, unit) in enumerate(zip(shape.block.names.sd_labels, shape.unit, strict=True), shape.sds.start):
            out[i] = inside(priors[place], unit * x[i]) / unit
    out[end] = math.log(inside(priors["sigma"], math.exp(x[end])))
    for i, j in enumerate(posterior.sampled, end + 1):
        out[i] = inside(priors[posterior.integrated.places[j]], x[i])
    return out


def inside(prior: Prior, value: float) -> float:
    """Return the value, or one near to it that is inside the support of the prior."""
    if prior.support == "positive":
        return value if value > 0 else abs(value) or 1.0
    if prior.support != "interval":
        return value
    ends = np.array([prior.parameters["lower"], prior.parameters["upper"]])
    low, high = np.sqrt(ends) if prior.on == "variance" else ends
    margin = START_MARGIN * (high - low)
    return float(np.clip(value, low + margin, high - margin))


def partial_of(shape: Shape, Sigma: Floats) -> Floats:
    """Return the arc tangents of the partial correlations of Sigma, kept off +-1."""
    sds = np.sqrt(np.diag(Sigma))
    R = Sigma / np.where(sds > 0, sds, 1.0)[:, None] / np.where(sds > 0, sds, 1.0)
    C = lower_factor(np.linalg.cholesky(START_CORRELATION * R + (1 - START_CORRELATION) * np.eye(len(R))))
    left, out = np.ones(len(R)), []
    for i, j in shape.pairs:
        out.append(np.arctanh(C[i, j] / np.sqrt(left[i])))
        left[i] -= C[i, j] ** 2
    return np.array(out)


def _point(posterior: Posterior, x: Floats, optimum: Optimum, criterion: float) -> Estimates:
    problem = posterior.problem
    _, sigma, prior, factors = _likelihood(posterior, x)
    packed = np.concatenate([np.empty(0), *(factors[k].ravel() for k in problem.cp.order)])
    free = packed[problem.free]
    at_prior = assemble(
        problem,
        "MAP",
        free,
        sigma,
        prior,
        optimum,
        criterion=criterion,
        loglik=np.nan,
        deviance=np.nan,
        priors=posterior.priors,
    )
    # the log-likelihood, the coefficients held at their conditional mode
    p = problem.cp.p
    held = FixedPrior(conditional(problem.cp, packed, sigma, prior).fixed, np.zeros(p), np.ones(p))
    loglik = log_likelihood(problem.cp, evaluate(problem.cp, packed, sigma, held), 0)
    return replace(at_prior, loglik=loglik, deviance=-2 * loglik)


def reported(point: Estimates, design: Design, bases: TermBases) -> Estimates:
    """Return a fit of the prior's design, its coefficients excepted, as one of the design."""
    own = point.scaled
    mapped = [T.inverse @ B for T, B in zip(bases.blocks, own.bases, strict=True)]
    coordinates = replace(own, bases=tuple(mapped))
    covariances, modes, conditional = coordinates.reported()
    parts = dict(covariances=covariances, modes=modes, conditional=conditional, coordinates=coordinates)
    return replace(point, design=design, **parts)
