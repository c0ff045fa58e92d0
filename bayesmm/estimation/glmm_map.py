"""The marginal MAP of generalised models: the mode of the posterior of all parameters but the random effects.

The density is that of (coefficients, sds, correlations, auxiliaries) on their natural scales, the random effects
integrated out by adaptive quadrature where there is one factor with few of them, else by Laplace's approximation: the
function that `glmm` maximises, with the priors added. It is sought as in `map`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from bayesmm.design.records import Design
from bayesmm.estimation.estimates import Estimates, Optimum
from bayesmm.estimation.glm import own_values
from bayesmm.estimation.glmm import (
    GlmmProblem,
    Warm,
    criterion_of,
    effects,
    make_problem,
    maximize_generalised,
)
from bayesmm.estimation.hessians import coefficient_block
from bayesmm.estimation.map import Goal, check_closed_form, nowhere, reported, start_values
from bayesmm.estimation.optimizer import GRADIENT_TOLERANCE, ROUNDING, SNAP, Search, hessian, minimum, outcome, snapped
from bayesmm.estimation.reml import factors_are_singular
from bayesmm.likelihood.crossproducts import Floats, Ints
from bayesmm.likelihood.lattice import FINE
from bayesmm.likelihood.marginal import generalised_coordinates, packing
from bayesmm.likelihood.posterior import Parameters, SearchedPosterior
from bayesmm.likelihood.quadrature import fits
from bayesmm.priors import (
    Priors,
    coefficient_prior,
    prior_bases,
    prior_design,
    shifts_of_thresholds,
    threshold_means,
)

# Precision, in units of the data's, that a direction has at least which neither data nor normal priors know: for the
# scale of the search alone.
LEAST_PRECISION = 1e-6
START_NODES = 7  # of the likelihood that the search starts at the maximum of


@dataclass(frozen=True)
class Likelihood:
    """The likelihood that `glmm` maximises, as a function of the natural parameters.

    Attributes
    ----------
    problem : GlmmProblem
        Of the prior's design.
    criterion : function of the problem's coordinates
        -2 log-likelihood and its gradient.
    relations : (c, p) float64
        The problem's coefficients are relations gamma - origin.
    origin : (c,) float64
    take, scale
        L[take] scale are the factors, packed in the problem's order.
    """

    problem: GlmmProblem
    criterion: Callable[[Floats], tuple[float, Floats]]
    relations: Floats
    origin: Floats
    take: Ints
    scale: Floats

    def at(self, at: Parameters) -> Floats:
        """Return the problem's coordinates."""
        free = (at.L[self.take] * self.scale)[self.problem.free] / self.problem.unit
        return np.concatenate([self.relations @ at.coefficients - self.origin, free, self.problem.moved(at.positive)])

    def __call__(self, at: Parameters) -> tuple[float, Parameters]:
        """Return the log-likelihood and its derivatives."""
        x = self.at(at)
        value, slope = self.criterion(x)
        coefficients, entries, moved = (-slope[part] / 2 for part in self.problem.parts)
        packed, d_L = np.zeros(len(self.take)), np.zeros(len(self.take))
        packed[self.problem.free] = entries / self.problem.unit
        d_L[self.take] = packed * self.scale
        return -value / 2, Parameters(
            d_L, self.problem.own.forth(x[self.problem.parts[2]], moved), self.relations.T @ coefficients
        )


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
    check_closed_form(priors)
    own, bases = prior_design(design, priors), prior_bases(design, priors)
    nodes = FINE if nagq == 1 and fits(design) else nagq
    ml = maximize_generalised(own, START_NODES if nodes == FINE else nagq, start)
    problem = make_problem(own)
    warm = Warm(np.zeros(sum(block.Z.shape[1] * len(block.levels) for block in design.blocks)))
    likelihood = likelihood_of(problem, criterion_of(problem, nodes, warm))
    half = coefficient_units(likelihood, priors)
    goal, r = generalised_goal(likelihood, priors, half), half.shape[1]
    starts = [goal.y(_start(goal, problem, priors, ml, moved)) for moved in (False, True)[: 1 + bool(design.blocks)]]
    search = Search(goal)
    found = [minimum(search, y) for y in starts]
    values = [search(y)[0] for y in found]
    if not np.isfinite(min(values)):
        raise nowhere(priors, ml)
    better = len(values) > 1 and values[1] < values[0] - ROUNDING * abs(values[0])
    y = snapped(search, found[int(better)], SNAP, slice(r, None))
    optimum = Optimum(y, float(np.abs(search(y)[1]).max(initial=0.0)), search.evaluations, len(starts))
    covariance = half @ (2 * coefficient_block(hessian(search, y), r)) @ half.T
    point = reported(_point(goal, likelihood, priors, optimum, search(y)[0], covariance, nodes, warm), design, bases)
    to_beta = bases.fixed.inverse
    root = to_beta @ point.coordinates.root
    means = threshold_means(design, priors)
    coordinates = replace(point.coordinates, root=root, linear=point.coordinates.linear + means @ point.beta)
    shift = shifts_of_thresholds(design, means, point.beta, point.residual)
    shifted = {own.name for own in design.residual.parameters if own.at_means}
    residual = {name: values + shift * (name in shifted) for name, values in point.residual.items()}
    own = dict(beta=to_beta @ point.beta, beta_cov=root @ root.T, coordinates=coordinates, residual=residual)
    return replace(point, **own)


def likelihood_of(problem: GlmmProblem, criterion: Callable[[Floats], tuple[float, Floats]]) -> Likelihood:
    """Return the likelihood of a problem's prior's design, linearly dependent columns included."""
    design = problem.design
    kept = [j for j in range(design.p) if j not in design.aliased]
    relations = np.linalg.lstsq(design.X[:, kept], design.X)[0] if kept else np.empty((0, design.p))
    inverse = np.linalg.inv(problem.basis[kept])
    take, scale = packing(design.blocks, problem.scales, problem.order)
    return Likelihood(problem, criterion, inverse @ relations, inverse @ problem.origin[kept], take, scale)


def coefficient_units(likelihood: Likelihood, priors: Priors) -> Floats:
    """Return the matrix, (p, r), whose columns are steps of about one posterior sd of the coefficients.

    Rows of coefficients that their prior fixes are 0; linearly dependent columns have what their priors give them.
    """
    prior, relations = coefficient_prior(priors, likelihood.problem.design), likelihood.relations
    sd = np.asarray(prior.sd)
    normal = np.isfinite(sd) & (sd > 0)
    free = np.flatnonzero(sd != 0)  # also those that are not normal, whose sd is NaN
    precision = relations.T @ relations + np.diag(np.where(normal, 1 / np.where(normal, sd, 1.0) ** 2, 0.0))
    precision += LEAST_PRECISION * np.diag(np.diag(precision))
    half = np.zeros((len(sd), len(free)))
    if len(free):
        half[free] = np.linalg.cholesky(np.linalg.inv(precision[np.ix_(free, free)]))
    return half


def generalised_goal(likelihood: Likelihood, priors: Priors, half: Floats) -> Goal:
    """Return what is minimised: y has the coefficients first, in the units `half`."""
    design, r = likelihood.problem.design, half.shape[1]
    c, places = generalised_coordinates(design, priors, jacobian=False)
    d, units = int(c.sizes[2]), np.concatenate([np.empty(0), *sd_units(likelihood.problem)])
    size = np.ones(d)
    free = c.at[: len(units)] >= 0
    size[c.at[: len(units)][free]] = units[free]
    root = np.zeros((d, d))
    root[d - r :, :r] = half[c.at[len(c.at) - design.p :] >= 0]
    root[: d - r, r:] = np.diag(size[: d - r])
    return Goal(SearchedPosterior(c, likelihood), places, root)


def sd_units(problem: GlmmProblem) -> list[Floats]:
    """Return the unit of each block's sds, (q_k,): that of the link, in the units of the columns."""
    return [problem.unit / scale for scale in problem.scales]


def _start(goal: Goal, problem: GlmmProblem, priors: Priors, ml: Estimates, moved: bool) -> Floats:
    """Return a start as `start_values` does; coefficients start at ML's, or within the support of their prior."""
    values = [*ml.auxiliaries.values(), *(value for part in ml.residual.values() for value in part)]
    others = [*values, *np.nan_to_num(ml.beta)]
    c = goal.posterior.coordinates
    return start_values(c, goal.places, priors, sd_units(problem), ml.covariances, others, moved)


def _point(
    goal: Goal, likelihood: Likelihood, priors: Priors, optimum: Optimum, value: float, covariance: Floats,
    nodes: int, warm: Warm,
) -> Estimates:  # fmt: skip
    problem, natural = likelihood.problem, goal.posterior.parameters(goal.root @ optimum.parameters)
    at = likelihood.at(natural)
    covariances, modes, conditional = effects(problem, at, warm)
    scalars = len(problem.own.scalars)
    auxiliaries = dict(zip(problem.own.labels[:scalars], natural.positive[:scalars].tolist(), strict=True))
    deviance = likelihood.criterion(at)[0]
    converged = bool(optimum.gradient < GRADIENT_TOLERANCE and np.isfinite(value))
    singular = factors_are_singular(problem.factors(at[problem.parts[1]]), problem.unit)
    return Estimates(
        problem.design, priors, "MAP", natural.coefficients, covariance, auxiliaries.get("sigma", 1.0), covariances,
        modes, conditional, value, -deviance / 2, deviance, singular, converged, outcome(optimum, converged), 0.0,
        optimum, auxiliaries, max(nodes, 0), residual=own_values(problem.design, natural.positive[scalars:]),
    )  # fmt: skip
