"""The marginal MAP of generalised models: the mode of the posterior of all parameters but the random effects.

The density is that of (coefficients, sds, correlations, auxiliaries) on their natural scales, the random effects
integrated out by adaptive quadrature where there is one factor with few of them, else by Laplace's approximation: the
function that `glmm` maximises, with the priors added. Standard deviations and correlations are searched as in `map`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from bayesmm.design.records import Design
from bayesmm.errors import PriorError
from bayesmm.estimation.estimates import Estimates, Optimum
from bayesmm.estimation.glmm import (
    GlmmProblem,
    Warm,
    coefficient_block,
    criterion_of,
    effects,
    make_problem,
    maximize_generalised,
)
from bayesmm.estimation.map import (
    START_SD,
    Shape,
    factor_derivatives,
    factor_of,
    inside,
    make_shape,
    nowhere,
    partial_of,
    reported,
)
from bayesmm.estimation.optimizer import GRADIENT_TOLERANCE, ROUNDING, SNAP, Search, hessian, minimum, outcome, snapped
from bayesmm.estimation.reml import factors_are_singular
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.likelihood.lattice import FINE
from bayesmm.likelihood.quadrature import fits
from bayesmm.priors import Priors, coefficient_places, coefficient_prior, prior_bases, prior_design

# Precision, in units of the data's, that a direction has at least which neither data nor normal priors know: for the
# scale of the search alone.
LEAST_PRECISION = 1e-6
START_NODES = 7  # of the likelihood that the search starts at the maximum of


@dataclass(frozen=True)
class Density:
    """The marginal posterior as a function of x = (coefficients, blocks' parameters, logs of the auxiliaries).

    Attributes
    ----------
    likelihood : function of the problem's coordinates
        -2 log-likelihood and its gradient.
    half : (p, r) float64
        gamma = held + half x for the coefficients gamma of the prior's design. Columns of about one posterior standard
        deviation; rows of 0 for coefficients that their prior fixes.
    held : (p,) float64
    to_problem : (c, p) float64
        The problem's coefficients are to_problem gamma - origin.
    places : tuple of str
        Of the priors of gamma.
    """

    problem: GlmmProblem
    priors: Priors
    likelihood: Callable[[Floats], tuple[float, Floats]]
    shapes: tuple[Shape, ...]
    half: Floats
    held: Floats
    to_problem: Floats
    origin: Floats
    places: tuple[str, ...]

    @property
    def logs(self) -> int:
        """Where the logs of the auxiliaries begin in x."""
        return self.shapes[-1].corrs.stop if self.shapes else self.half.shape[1]

    def gamma(self, x: Floats) -> Floats:
        """Return the coefficients that the priors are of."""
        return self.held + self.half @ x[: self.half.shape[1]]

    def at(self, x: Floats) -> Floats:
        """Return the problem's coordinates."""
        problem, parts = self.problem, []
        for k in problem.order:
            shape = self.shapes[k]
            L = factor_of(shape, shape.unit * x[shape.sds], x[shape.corrs])[0]
            parts.append((problem.scales[k][:, None] * L).ravel())
        free = np.concatenate([np.empty(0), *parts])[problem.free] / problem.unit
        return np.concatenate([self.to_problem @ self.gamma(x) - self.origin, free, x[self.logs :]])


def generalised_mode(
    design: Design, priors: Priors, nagq: int = 1, start: Mapping[str, float] | None = None
) -> Estimates:
    """Return the mode of the marginal posterior density of a generalised model, on the parameters' natural scales.

    Parameters
    ----------
    design : Design
    priors : Priors
    nagq : int
        Quadrature nodes for each random effect; 1: the lattice that sampling takes, where quadrature is possible.
    start : mapping, optional
        As `maximize_generalised` takes it.

    Returns
    -------
    Estimates
        `criterion` is -2 log density up to the constants of the correlations' priors; `beta_cov` is from its Hessian
        in all parameters.

    Raises
    ------
    PriorError
        If a prior is a callable, whose density only PyMC knows.
    ValueError
        If the density is 0 wherever the search begins, or quadrature with `nagq` nodes is not possible.
    """
    custom = [place for place, prior in priors.items() if prior.distribution == "Custom"]
    if custom:
        raise PriorError(
            f"the marginal mode needs densities in closed form, and the prior of {custom[0]} is a function"
        )
    own, bases = prior_design(design, priors), prior_bases(design, priors)
    nodes = FINE if nagq == 1 and fits(design) else nagq
    ml = maximize_generalised(own, START_NODES if nodes == FINE else nagq, start)
    problem = make_problem(own)
    warm = Warm(np.zeros(sum(block.Z.shape[1] * len(block.levels) for block in design.blocks)))
    density = build_density(problem, priors, criterion_of(problem, nodes, warm))
    free = varying(density)
    starts = [start_values(density, ml, moved) for moved in (False, True)[: 1 + bool(design.blocks)]]
    search = Search(lambda y: _restricted(density, starts[0], free, y))
    found = [minimum(search, x[free]) for x in starts]
    values = [search(y)[0] for y in found]
    if not np.isfinite(min(values)):
        raise nowhere(priors, ml)
    better = len(values) > 1 and values[1] < values[0] - ROUNDING * abs(values[0])
    y = snapped(search, found[int(better)], SNAP, slice(density.half.shape[1], None))
    x = _whole(starts[0], free, y)
    optimum = Optimum(x, float(np.abs(search(y)[1]).max(initial=0.0)), search.evaluations, len(starts))
    point = _point(density, optimum, search(y)[0], hessian(search, y), nodes, warm)
    point, to_beta = reported(point, design, bases), bases.fixed.inverse
    root = to_beta @ point.coordinates.root
    coordinates = replace(point.coordinates, root=root)
    return replace(point, beta=to_beta @ point.beta, beta_cov=root @ root.T, coordinates=coordinates)


def build_density(problem: GlmmProblem, priors: Priors, likelihood: Callable) -> Density:
    """Return the marginal posterior of a problem; linearly dependent columns have what their priors give them."""
    design, prior = problem.design, coefficient_prior(priors, problem.design)
    kept = [j for j in range(design.p) if j not in design.aliased]
    relations = np.linalg.lstsq(design.X[:, kept], design.X)[0] if kept else np.empty((0, design.p))
    inverse = np.linalg.inv(problem.basis[kept])
    to_problem = inverse @ relations
    sd = np.asarray(prior.sd)
    normal = np.isfinite(sd) & (sd > 0)
    free = np.flatnonzero(sd != 0)  # also those that are not normal, whose sd is NaN
    precision = to_problem.T @ to_problem + np.diag(np.where(normal, 1 / np.where(normal, sd, 1.0) ** 2, 0.0))
    precision += LEAST_PRECISION * np.diag(np.diag(precision))
    half = np.zeros((design.p, len(free)))
    if len(free):
        half[free] = np.linalg.cholesky(np.linalg.inv(precision[np.ix_(free, free)]))
    held = np.where(sd == 0, prior.mean, 0.0)
    shapes, end = [], len(free)
    for k, block in enumerate(design.blocks):
        shape = make_shape(block, problem.unit / problem.scales[k], end)
        shapes.append(shape)
        end = shape.corrs.stop
    places = coefficient_places(priors, design)
    return Density(
        problem, priors, likelihood, tuple(shapes), half, held, to_problem, inverse @ problem.origin[kept],
        places,
    )  # fmt: skip


def criterion(density: Density, x: Floats) -> tuple[float, Floats]:
    """Return -2 log density and its gradient at x; inf and zeros where there is none."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # a wild step is refused, not an error
        value, slope = density.likelihood(density.at(x))
        if not np.isfinite(value):
            return np.inf, np.zeros_like(x)
        coefficients, entries, logs = density.problem.parts
        gradient, r = np.zeros_like(x), density.half.shape[1]
        log_prior, d_gamma = _coefficients(density, density.gamma(x))
        gradient[:r] = density.half.T @ (density.to_problem.T @ slope[coefficients] - 2 * d_gamma)
        packed, at = np.zeros(sum(len(s) ** 2 for s in density.problem.scales)), 0
        packed[density.problem.free] = slope[entries] / density.problem.unit
        for k in density.problem.order:
            q = len(density.problem.scales[k])
            d_L = density.problem.scales[k][:, None] * packed[at : at + q * q].reshape(q, q)
            log_prior += _add_block(density, density.shapes[k], d_L, x, gradient)
            at += q * q
        gradient[density.logs :] = slope[logs]
        log_prior += _add_auxiliaries(density, x, gradient)
        total = value - 2 * log_prior
    return (total, gradient) if np.isfinite(total) and np.isfinite(gradient).all() else (np.inf, np.zeros_like(x))


def _coefficients(density: Density, gamma: Floats) -> tuple[float, Floats]:
    """Return the log prior of the coefficients and its derivatives; 0 where a prior fixes them."""
    total, slope = 0.0, np.zeros(len(gamma))
    for j, place in enumerate(density.places):
        prior = density.priors[place]
        if prior.distribution != "Fixed":
            total += float(prior.logpdf(gamma[j]))
            slope[j] = float(prior.dlogpdf(gamma[j]))
    return total, slope


def _add_block(density: Density, shape: Shape, d_L: Floats, x: Floats, gradient: Floats) -> float:
    """Add a block's part to the gradient, d_L being the criterion's in its factor, and return its log prior."""
    sds, partial = shape.unit * x[shape.sds], x[shape.corrs]
    d_factor, d_logdet = factor_derivatives(shape, sds, partial)
    slope, log_prior, names = np.einsum("iab,ab->i", d_factor, d_L), 0.0, shape.block.names
    for i, place in enumerate(names.sd_labels):
        prior = density.priors[place]
        if prior.distribution != "Fixed":
            log_prior += float(prior.logpdf(abs(sds[i])))
            slope[i] -= 2 * np.sign(sds[i]) * float(prior.dlogpdf(abs(sds[i])))
    if shape.pairs:
        eta = density.priors[names.corr].parameters["eta"]
        log_prior += (eta - 1) * float(factor_of(shape, sds, partial)[1])
        slope -= 2 * (eta - 1) * d_logdet
    gradient[shape.sds], gradient[shape.corrs] = slope[: len(sds)] * shape.unit, slope[len(sds) :]
    return log_prior


def _add_auxiliaries(density: Density, x: Floats, gradient: Floats) -> float:
    total = 0.0
    for i, name in enumerate(density.problem.design.family.auxiliaries, density.logs):
        prior, value = density.priors[name], np.exp(x[i])
        if prior.distribution != "Fixed":
            total += float(prior.logpdf(value))
            gradient[i] -= 2 * value * float(prior.dlogpdf(value))
    return total


def _scalars(density: Density) -> list[tuple[int, str, float]]:
    """Return (position in x, place, unit) of each sd; the others need no unit."""
    return [
        (shape.sds.start + i, place, float(shape.unit[i]))
        for shape in density.shapes
        for i, place in enumerate(shape.block.names.sd_labels)
    ]


def varying(density: Density) -> np.ndarray:
    """Return which entries of x are not fixed by a prior."""
    names = density.problem.design.family.auxiliaries
    free = np.ones(density.logs + len(names), dtype=bool)
    for i, place, _ in _scalars(density):
        free[i] = density.priors[place].distribution != "Fixed"
    for i, name in enumerate(names, density.logs):
        free[i] = density.priors[name].distribution != "Fixed"
    return free


def start_values(density: Density, ml: Estimates, moved: bool) -> Floats:
    """Return a start: ML kept off its boundaries; or, `moved`, sds of 1 and no correlation; fixed ones where they are.

    Coefficients start at ML's, or within the support of their prior.
    """
    names, priors = density.problem.design.family.auxiliaries, density.priors
    x = np.zeros(density.logs + len(names))
    beta = np.nan_to_num(ml.beta)
    gamma = np.array([inside(priors[place], g) for place, g in zip(density.places, beta, strict=True)])
    x[: density.half.shape[1]] = np.linalg.lstsq(density.half, gamma - density.held)[0]
    for shape, Sigma in zip(density.shapes, ml.covariances, strict=True):
        x[shape.sds] = 1.0 if moved else np.maximum(np.sqrt(np.diag(Sigma)) / shape.unit, START_SD)
        if shape.pairs and not moved:
            x[shape.corrs] = partial_of(shape, Sigma)
    for i, place, unit in _scalars(density):
        x[i] = _allowed(priors[place], unit * x[i]) / unit
    for i, name in enumerate(names, density.logs):
        x[i] = np.log(_allowed(priors[name], ml.auxiliaries[name]))
    return x


def _allowed(prior, value: float) -> float:
    """Return the value at which a prior fixes a parameter, else `value` moved into the support."""
    return prior.parameters["value"] if prior.distribution == "Fixed" else inside(prior, value)


def _whole(x: Floats, free: np.ndarray, y: Floats) -> Floats:
    out = x.copy()
    out[free] = y
    return out


def _restricted(density: Density, x: Floats, free: np.ndarray, y: Floats) -> tuple[float, Floats]:
    value, gradient = criterion(density, _whole(x, free, y))
    return value, gradient[free]


def _point(density: Density, optimum: Optimum, value: float, H: Floats, nodes: int, warm: Warm) -> Estimates:
    problem, x = density.problem, optimum.parameters
    at = density.at(x)
    covariances, modes, conditional = effects(problem, at, warm)
    r = density.half.shape[1]
    auxiliaries = dict(zip(problem.design.family.auxiliaries, np.exp(x[density.logs :]).tolist(), strict=True))
    deviance = density.likelihood(at)[0]
    converged = bool(optimum.gradient < GRADIENT_TOLERANCE and np.isfinite(value))
    return Estimates(
        problem.design, density.priors, "MAP", density.gamma(x),
        density.half @ (2 * coefficient_block(H, r)) @ density.half.T, auxiliaries.get("sigma", 1.0), covariances,
        modes, conditional, value, -deviance / 2, deviance, factors_are_singular(problem.factors(at[problem.parts[1]]),
        problem.unit), converged, outcome(optimum, converged), 0.0, optimum, auxiliaries, max(nodes, 0),
    )  # fmt: skip
