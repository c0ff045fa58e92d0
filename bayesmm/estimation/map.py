"""The marginal MAP: the mode of the marginal posterior of the variance parameters.

The same function as REML, with the priors added: coefficients with a normal or a flat prior are integrated out, the
others are taken at their joint mode, and the density is that of (sds, correlations, sigma) on their natural scales,
so that no Jacobian enters. It is sought in the coordinates of `likelihood.coordinates` without the Jacobian: a standard
deviation over the whole real line (its sign means nothing), a correlation matrix through the hyperbolic arc tangents of
its canonical partial correlations (Lewandowski, Kurowicka & Joe 2009), sigma by its logarithm. The sds and correlations
are those that the priors are of, so that the mode does not depend on where a predictor has its zero; it is reported as
every fit is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bayesmm.design.covariance.structure import coordinates_of, searched
from bayesmm.design.parameters import INTERCEPT_AT_MEANS, residual_labels, sd_places
from bayesmm.design.records import Design
from bayesmm.design.relations import collapsed, expanded, expanded_bases, is_related, is_sparse, is_turned
from bayesmm.design.residual.structure import values_by_label
from bayesmm.design.summed import sd
from bayesmm.design.term_basis import TermBases
from bayesmm.errors import PriorError
from bayesmm.estimation.estimates import Estimates, Optimum
from bayesmm.estimation.optimizer import ROUNDING, SNAP, Search, minimum, snapped
from bayesmm.estimation.reml import SINGULAR, assemble, maximize_gaussian
from bayesmm.likelihood.coordinates import (
    FIXED,
    SIGNED,
    Coordinates,
    arctanh_partial,
    coordinate,
    first_terms,
)
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.likelihood.gaussian import (
    FixedPrior,
    conditional,
    evaluate,
    log_likelihood,
    relative,
)
from bayesmm.likelihood.marginal import gaussian_coordinates, searched_likelihood, terms
from bayesmm.likelihood.orthogonal import lower_factor
from bayesmm.likelihood.posterior import Parameters, SearchedPosterior
from bayesmm.likelihood.problem import Integrated, Problem, at_values, integrate, packed_of_levels, reduced
from bayesmm.likelihood.structured_blocks import StructuredPart
from bayesmm.likelihood.varying import by_label
from bayesmm.priors import Prior, Priors, coefficient_places, own_at_zero, prior_design

# REML may sit at 0 or at a correlation of 1, from where no search moves; start at least this far inside.
START_SD, START_CORRELATION = 0.1, 0.9
FAR_FIXED = 1e6  # times or below an estimate: a value that is fixed there may make the density 0 to a computer
START_MARGIN = 0.1  # of the width of a uniform prior: how far from its ends the search starts at least


@dataclass(frozen=True)
class Goal:
    """What is minimised: -2 log density at x = `root` y, as a function of y.

    Attributes
    ----------
    posterior : SearchedPosterior
    places : tuple of str
        Of the priors of the scalar parameters.
    root : (d, d) float64
        Makes a step of 1 in each y about one of the search's size.
    """

    posterior: SearchedPosterior
    places: tuple[str, ...]
    root: Floats

    def __call__(self, y: Floats) -> tuple[float, Floats]:
        """Return -2 log density and its gradient; inf and zeros where there is none."""
        value, slope = self.posterior(self.root @ y)
        return -2 * value, -2 * (self.root.T @ slope)

    def y(self, x: Floats) -> Floats:
        """Return y for coordinates x."""
        return np.linalg.solve(self.root, x)


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
    check_closed_form(priors)
    reml = maximize_gaussian(prior_design(design, priors), "REML", start=start)
    integrated = integrate(design, priors)
    goal = gaussian_goal(integrated, priors, reml)
    search = Search(goal)
    own = goal.posterior.coordinates, goal.places, integrated, priors, reml
    starts = [goal.y(gaussian_start(*own, moved)) for moved in (False, True)]
    found = [minimum(search, y) for y in starts]
    values = [search(y)[0] for y in found]
    if not np.isfinite(min(values)):
        raise nowhere(priors, reml)
    better = values[1] < values[0] - ROUNDING * abs(values[0])
    y = snapped(search, found[int(better)], SNAP)
    value, gradient = search(y)
    optimum = Optimum(y, float(np.abs(gradient).max(initial=0.0)), search.evaluations, len(starts))
    point = _point(goal, integrated, priors, optimum, value)
    if not is_related(design):
        return reported(point, design, integrated.bases)
    if is_sparse(design):
        return replace(reported(point, design, integrated.bases), coordinates=None)
    return collapsed(reported(point, expanded(design), expanded_bases(design, integrated.bases)), design, SINGULAR)


def check_closed_form(priors: Mapping[str, Prior]) -> None:
    """Raise PriorError if a prior is a function."""
    custom = [place for place, prior in priors.items() if prior.distribution == "Custom"]
    if custom:
        raise PriorError(
            f"the marginal mode needs densities in closed form, and the prior of {custom[0]} is a function"
        )


def gaussian_goal(integrated: Integrated, priors: Priors, reml: Estimates) -> Goal:
    """Return what is minimised for a Gaussian model; REML's estimates, of the prior's design, serve as units."""
    c, places = gaussian_coordinates(integrated, priors, jacobian=False)
    likelihood = searched_likelihood(integrated)
    units, sds = np.ones(c.sizes[2]), np.concatenate([np.empty(0), *sd_units(integrated, reml)])[first_terms(c)]
    free = c.at[: len(sds)] >= 0
    units[c.at[: len(sds)][free]] = sds[free]
    if c.kind[len(sds)] == SIGNED:  # a sigma that may be 0
        units[c.at[len(sds)]] = sd(integrated.problem.design.y, 0) or 1.0
    set_formula_units(units, c, places, integrated.problem.design)
    return Goal(SearchedPosterior(c, likelihood), places, np.diag(units))


def set_formula_units(units: Floats, c: Coordinates, places: Sequence[str], design: Design) -> None:
    """Set the units, (d,), of the coefficients of parameters' formulas, which are those of their columns."""
    sizes = {
        label: size
        for own in design.residual.parameters
        for label, size in zip(residual_labels(own), own.sizes or (1.0,) * own.size, strict=True)
    }
    for i, place in enumerate(places):
        if place in sizes and c.at[i] >= 0:
            units[c.at[i]] = 1 / sizes[place]


def sd_units(integrated: Integrated, reml: Estimates) -> list[Floats]:
    """Return the unit of the sds of each block of the coordinates, (q_k,): sigma, in the units of the columns."""
    kept = zip(integrated.problem.scales, integrated.structure.kept, strict=True)
    found = [(reml.sigma or 1.0) / scale[own] for scale, own in kept]
    return found + [np.ones(len(block.columns)) for block in integrated.structure.blocks[len(found) :]]


def gaussian_start(
    c: Coordinates, places: Sequence[str], integrated: Integrated, priors: Priors, reml: Estimates, moved: bool
) -> Floats:
    """Return a start as `start_values` does, for coordinates of a Gaussian model."""
    estimated, structure = by_label(reml.design, reml.residual), integrated.structure
    for one in structure.parts:
        unit = reml.sigma / integrated.problem.scales[one.block][list(one.part.columns)]
        found = values_of_part(one, reml.covariances[one.block], unit)
        estimated |= dict(zip(one.labels, found, strict=True))
    covariances = [S[np.ix_(own, own)] for S, own in zip(reml.covariances, structure.kept, strict=True)]
    if structure.matrix is not None:
        covariances.append(structure.correlations(reml.residual))
    own = [estimated[label] for label in structure.names[1:]]
    others = [reml.sigma, *own, *integrated.at[list(integrated.sampled)]]
    return start_values(c, places, priors, sd_units(integrated, reml), covariances, others, moved)


def values_of_part(one: StructuredPart, covariance: Floats, unit: Floats) -> Sequence[float]:
    """Return what a part's parameters are for the covariance matrix of its block, its sds kept off 0 in their units."""
    columns = list(one.part.columns)
    Sigma = covariance[np.ix_(columns, columns)]
    found, sds = np.sqrt(np.diag(Sigma)), np.maximum(np.sqrt(np.diag(Sigma)), START_SD * unit)
    R = Sigma / np.where(found > 0, found, 1.0)[:, None] / np.where(found > 0, found, 1.0)
    values = [sds[e.places[0][0]] if e.kind == "sd" else START_CORRELATION * R[e.places[0]] for e in one.part.entries]
    return searched(one.part.covariance, values, len(columns))


def start_values(
    c: Coordinates,
    places: Sequence[str],
    priors: Priors,
    units: Sequence[Floats],
    covariances: Sequence[Floats],
    others: Sequence[float],
    moved: bool,
) -> Floats:
    """Return where a search starts: estimates kept off their boundaries and inside the supports of the priors.

    Parameters
    ----------
    c : Coordinates
    places : sequence of str
        Of the priors of its scalars.
    priors : Priors
    units : sequence of (q_k,) float64
        Of the sds of each block.
    covariances : sequence of (q_k, q_k) float64
    others : sequence of float
        Values of the scalars behind the sds.
    moved : bool
        Start with every sd at its unit and no correlation instead.

    Returns
    -------
    (d,) float64
    """
    x, scalars, pair = np.zeros(c.sizes[2]), [], 0
    for unit, Sigma, pairs in zip(units, covariances, c.n_pairs, strict=True):
        scalars += list(unit if moved else unit * np.maximum(np.sqrt(np.diag(Sigma)) / unit, START_SD))
        if pairs and not moved:
            own = slice(pair, pair + pairs)
            x[c.pair_at[own]] = _partial_of(Sigma, c, own)
        pair += pairs
    scalars, before = [scalars[j] for j in first_terms(c)], 0.0
    for i, (place, value) in enumerate(zip(places, [*scalars, *others], strict=True)):
        if c.kind[i] != FIXED:
            x[c.at[i]] = coordinate(c, i, inside(priors[place], value, c.ends[i]), before)
        before = value
    return x


def inside(prior: Prior, value: float, ends: Sequence[float]) -> float:
    """Return the value, or one near to it that is inside of the ends of the parameter."""
    low, high = ends
    if not np.isfinite(high - low):
        return (value if value > 0 else abs(value) or 1.0) if prior.support == "positive" else value
    margin = START_MARGIN * (high - low)
    return float(np.clip(value, low + margin, high - margin))


def _partial_of(Sigma: Floats, c: Coordinates, own: slice) -> Floats:
    """Return the arc tangents of the partial correlations of Sigma, kept off +-1."""
    sds = np.sqrt(np.diag(Sigma))
    R = Sigma / np.where(sds > 0, sds, 1.0)[:, None] / np.where(sds > 0, sds, 1.0)
    C = lower_factor(np.linalg.cholesky(START_CORRELATION * R + (1 - START_CORRELATION) * np.eye(len(R))))
    return arctanh_partial(C[None], c.row[own], c.column[own])[0]


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
        values |= {place: np.sqrt(Sigma[own[0], own[0]]) for place, own in sd_places(block)}
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


def _point(goal: Goal, integrated: Integrated, priors: Priors, optimum: Optimum, criterion: float) -> Estimates:
    problem, design = integrated.problem, integrated.problem.design
    outer, own = goal.posterior.parameters(goal.root @ optimum.parameters), {}
    at = integrated.structure.of_likelihood(outer)
    if integrated.varying is not None:
        found = dict(zip(integrated.structure.own, at.positive.tolist(), strict=True))
        own = values_by_label(design.residual, found | {"sigma": abs(found["sigma"])})
        problem = at_values(problem, own)
    scale = np.ones(1) if "sigma" in own else at.positive
    packed, sigma, prior = relative(terms(integrated), at._replace(positive=scale))
    whole, all_packed = problem, packed
    if is_turned(design):  # sought with turned levels, reported of the levels themselves
        given = problem.fixed, problem.response, problem.basis, problem.origin, problem.log_det
        whole = reduced(expanded(design), *given)
        all_packed, design = packed_of_levels(problem, packed, whole), whole.design
    none, theta = dict(loglik=np.nan, deviance=np.nan), _theta(whole, integrated, outer, all_packed, sigma)
    found = assemble(whole, "MAP", theta, sigma, prior, optimum, criterion=criterion, priors=priors, **none)
    # the log-likelihood, the coefficients held at their conditional mode
    p = problem.cp.p
    held = FixedPrior(conditional(problem.cp, packed, sigma, prior).fixed, np.zeros(p), np.ones(p))
    loglik = log_likelihood(problem.cp, evaluate(problem.cp, packed, sigma, held), 0)
    found = replace(found, design=design, residual=own, loglik=loglik, deviance=-2 * loglik)
    if "sigma" not in own:
        return found
    return replace(found, sigma=float(own["sigma"][0]), auxiliaries={"sigma": float(own["sigma"][0])})


def _theta(problem: Problem, integrated: Integrated, at: Parameters, packed: Floats, sigma: float) -> Floats:
    """Return theta, of the packed T, and of structured parts of their parameters."""
    values = {(one.block, one.part): one for one in integrated.structure.parts}

    def of_part(part) -> Floats:
        one = values.get((part.block, part.part))
        if one is None:
            return part.read(packed)
        found = one.values(at.positive[None])[:, 0] / np.where(one.is_sd, sigma, 1.0)
        return coordinates_of(part.part.entries, found) / part.units

    return problem.theta.from_packed(packed, of_part)


def reported(point: Estimates, design: Design, bases: TermBases) -> Estimates:
    """Return a fit of the prior's design, its coefficients excepted, as one of the design."""
    own = point.scaled
    mapped = [T.inverse @ B for T, B in zip(bases.blocks, own.bases, strict=True)]
    coordinates = replace(own, bases=tuple(mapped))
    covariances, modes, conditional = coordinates.reported()
    parts = dict(covariances=covariances, modes=modes, conditional=conditional, coordinates=coordinates)
    auxiliaries, residual = own_at_zero(design, bases, point.auxiliaries, point.residual)
    levels = {name: float(value) for name, value in auxiliaries.items() if name not in point.auxiliaries}
    auxiliaries = {name: float(auxiliaries[name]) for name in point.auxiliaries}
    parts |= dict(
        auxiliaries=auxiliaries, residual=residual, sigma=auxiliaries.get("sigma", point.sigma), levels=levels
    )
    return replace(point, design=design, **parts)
