"""The marginal MAP of generalised models: the mode of the posterior of all parameters but the random effects.

The density is that of (coefficients, sds, correlations, auxiliaries) on their natural scales, the random effects
integrated out by adaptive quadrature where there is one factor with few of them, else by Laplace's approximation: the
function that `glmm` maximises, with the priors added. It is sought as in `map`.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from bayesmm.design.records import Design
from bayesmm.design.relations import collapsed, expanded, expanded_bases, is_related
from bayesmm.estimation.estimates import Estimates, Optimum
from bayesmm.estimation.glm import own_values
from bayesmm.estimation.glmm import Warm, criterion_of, effects, maximize_generalised
from bayesmm.estimation.hessians import Joint, among_effects, coefficient_block, design_order, entries, joint, slopes
from bayesmm.estimation.map import (
    Goal,
    check_closed_form,
    nowhere,
    reported,
    set_formula_units,
    start_values,
    values_of_part,
)
from bayesmm.estimation.natural_likelihood import Likelihood, likelihood_of, natural_problem
from bayesmm.estimation.optimizer import GRADIENT_TOLERANCE, ROUNDING, SNAP, Search, hessian, minimum, outcome, snapped
from bayesmm.estimation.reml import SINGULAR, factors_are_singular
from bayesmm.likelihood.coordinates import first_terms
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.likelihood.lattice import FINE
from bayesmm.likelihood.marginal import generalised_coordinates
from bayesmm.likelihood.orthogonal import root_mean_square
from bayesmm.likelihood.posterior import SearchedPosterior
from bayesmm.likelihood.quadrature import fits
from bayesmm.likelihood.structured_blocks import StructuredPart
from bayesmm.priors import (
    Priors,
    coefficient_prior,
    own_at_zero,
    prior_bases,
    prior_design,
    shifts_of_thresholds,
    threshold_means,
)

# Precision, in units of the data's, that a direction has at least which neither data nor normal priors know: for the
# scale of the search alone.
LEAST_PRECISION = 1e-6
START_NODES = 7  # of the likelihood that the search starts at the maximum of


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
    problem = natural_problem(own)
    warm = Warm(np.zeros(sum(block.Z.shape[1] * len(block.levels) for block in design.blocks)))
    likelihood = likelihood_of(problem, criterion_of(problem, nodes, warm), own)
    half = coefficient_units(likelihood, priors)
    goal, r = generalised_goal(likelihood, priors, half), half.shape[1]
    moves = (False, True)[: 1 + bool(design.blocks)]
    starts = [goal.y(_start(goal, likelihood, priors, ml, moved)) for moved in moves]
    search = Search(goal)
    found = [minimum(search, y) for y in starts]
    values = [search(y)[0] for y in found]
    if not np.isfinite(min(values)):
        raise nowhere(priors, ml)
    better = len(values) > 1 and values[1] < values[0] - ROUNDING * abs(values[0])
    y = snapped(search, found[int(better)], SNAP, slice(r, None))
    optimum = Optimum(y, float(np.abs(search(y)[1]).max(initial=0.0)), search.evaluations, len(starts))
    H = hessian(search, y)
    covariance = half @ (2 * coefficient_block(H, r)) @ half.T
    point = _point(goal, likelihood, priors, optimum, search(y)[0], covariance, nodes, warm)
    point = reported(point, expanded(design), expanded_bases(design, bases))
    to_beta = bases.fixed.inverse
    root = to_beta @ point.coordinates.root
    means = threshold_means(design, priors)
    coordinates = replace(point.coordinates, root=root, linear=point.coordinates.linear + means @ point.beta)
    shift = shifts_of_thresholds(design, means, point.beta, point.residual)
    shifted = {own.name for own in design.residual.parameters if own.at_means}
    residual = {name: values + shift if name in shifted else values for name, values in point.residual.items()}
    own = dict(beta=to_beta @ point.beta, beta_cov=root @ root.T, coordinates=coordinates, residual=residual)
    at_zero = partial(own_at_zero, design, bases)
    own["joint"] = _joint_of(goal, likelihood, (y, H), to_beta, partial(shifts_of_thresholds, design, means), at_zero)
    point = replace(point, **own)
    return collapsed(point, design, SINGULAR) if is_related(design) else point


def _joint_of(
    goal: Goal, likelihood: Likelihood, found: tuple[Floats, Floats], to_beta: Floats, shifts: Callable,
    at_zero: Callable,
) -> Joint:  # fmt: skip
    """Return the covariance of all parameters at y with the Hessian H; thresholds are at 0, `shifts` from the means.

    So are parameters with a formula, by `at_zero`.
    """
    problem, (y, H) = likelihood.problem, found
    own, sizes = problem.own, [root_mean_square(block.Z) for block in problem.design.blocks]
    s = len(own.scalars)

    def reported_at(y: Floats) -> Floats:
        natural = goal.posterior.parameters(goal.root @ y)
        beta, rest = to_beta @ natural.coefficients, natural.positive[s : likelihood.own].copy()
        rest[: own.thresholds] += shifts(natural.coefficients, own_values(problem.design, rest))
        scalars = dict(zip(own.labels[:s], natural.positive[:s].tolist(), strict=True))
        scalars, values = at_zero(scalars, own_values(problem.design, rest))
        rest = np.concatenate([np.empty(0), *values.values()])
        levels = {name: scalars.get(level) for name, level in problem.design.residual.levels.items()}
        known = [(each, levels.get(each.name)) for each in own.scalars]
        free = [each.free(float(scalars[each.name])) if link is None else float(link) for each, link in known]
        if not among_effects(problem.design):
            return np.concatenate([beta, free, rest])
        Sigma = design_order(problem, problem.factors(likelihood.at(natural)[problem.parts[1]]))
        scaled = [s[:, None] * (B @ C @ B.T) * s for s, B, C in zip(sizes, problem.bases, Sigma, strict=True)]
        return np.concatenate([beta, free, rest, entries(scaled)])

    return joint(slopes(reported_at, y), H, len(to_beta), own.labels, s)


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
    design, structure, r = likelihood.problem.design, likelihood.structure, half.shape[1]
    c, places = generalised_coordinates(structure.design, priors, jacobian=False)
    d, units = int(c.sizes[2]), np.concatenate([np.empty(0), *sd_units(likelihood)])[first_terms(c)]
    size, at = np.ones(d), c.at[: len(units)]
    size[at[at >= 0]] = units[at >= 0]
    set_formula_units(size, c, places, design)
    for one in structure.parts:
        for i, entry in enumerate(one.part.entries):
            at = c.at[len(units) + one.first + i]
            if entry.kind == "sd" and at >= 0:
                size[at] = part_units(likelihood, one).min()
    root = np.zeros((d, d))
    root[d - r :, :r] = half[c.at[len(c.at) - design.p :] >= 0]
    root[: d - r, r:] = np.diag(size[: d - r])
    return Goal(SearchedPosterior(c, likelihood), places, root)


def sd_units(likelihood: Likelihood) -> list[Floats]:
    """Return the unit of the sds of each block of the coordinates, (q_k,): the link's, in the units of the columns."""
    problem, structure, found = likelihood.problem, likelihood.structure, []
    for block, scale, kept in zip(structure.design.blocks, problem.scales, structure.kept, strict=True):
        own = scale[kept] if block.relation is None else np.array([np.linalg.norm(scale)])  # one of all columns
        found.append(problem.unit / own)
    return found


def part_units(likelihood: Likelihood, one: StructuredPart) -> Floats:
    """Return the unit of the sd of each column of a part with a structure."""
    return likelihood.problem.unit / likelihood.problem.scales[one.block][list(one.part.columns)]


def _start(goal: Goal, likelihood: Likelihood, priors: Priors, ml: Estimates, moved: bool) -> Floats:
    """Return a start as `start_values` does; coefficients start at ML's, or within the support of their prior."""
    structure = likelihood.structure
    values = [*ml.auxiliaries.values(), *(value for part in ml.residual.values() for value in part)]
    for one in structure.parts:
        values += [*values_of_part(one, ml.covariances[one.block], part_units(likelihood, one))]
    others = [*values, *np.nan_to_num(ml.beta)]
    c = goal.posterior.coordinates
    covariances = [S[np.ix_(own, own)] for S, own in zip(ml.covariances, structure.kept, strict=True)]
    return start_values(c, goal.places, priors, sd_units(likelihood), covariances, others, moved)


def _point(
    goal: Goal, likelihood: Likelihood, priors: Priors, optimum: Optimum, value: float, covariance: Floats,
    nodes: int, warm: Warm,
) -> Estimates:  # fmt: skip
    problem, natural = likelihood.problem, goal.posterior.parameters(goal.root @ optimum.parameters)
    at = likelihood.at(natural)
    covariances, modes, conditional = effects(problem, at, warm)
    scalars, own = len(problem.own.scalars), natural.positive[: likelihood.own]
    auxiliaries = dict(zip(problem.own.labels[:scalars], own[:scalars].tolist(), strict=True))
    deviance = likelihood.criterion(at)[0]
    converged = bool(optimum.gradient < GRADIENT_TOLERANCE and np.isfinite(value))
    singular = factors_are_singular(problem.factors(at[problem.parts[1]]), problem.unit)
    return Estimates(
        problem.design, priors, "MAP", natural.coefficients, covariance, auxiliaries.get("sigma", 1.0), covariances,
        modes, conditional, value, -deviance / 2, deviance, singular, converged, outcome(optimum, converged), 0.0,
        optimum, auxiliaries, max(nodes, 0), residual=own_values(problem.design, own[scalars:]),
    )  # fmt: skip
