"""REML and maximum likelihood of linear models: the marginal likelihood, maximised.

The criterion is a function of the relative factors T alone; sigma and the coefficients are profiled out (Bates et al.
2015, section 3). T is left unconstrained: changing the sign of one of its columns changes nothing, so a variance of 0
is an interior stationary point and needs no bound.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from bayesmm.design.parameters import residual_parameters
from bayesmm.design.records import Design
from bayesmm.design.relations import collapsed, expanded, is_related, is_sparse, is_turned
from bayesmm.design.summed import is_summed
from bayesmm.errors import DataError, listing
from bayesmm.estimation.estimates import Estimates, Optimum
from bayesmm.estimation.moments import relative_sds
from bayesmm.estimation.optimizer import (
    GRADIENT_TOLERANCE,
    ROUNDING,
    SNAP,
    Search,
    best_of,
    differences,
    hessian,
    minimum,
    outcome,
    snapped,
)
from bayesmm.estimation.profiled import Profiled, criterion_at, flat, ml_value
from bayesmm.estimation.residual_search import ResidualSearch, at_bound
from bayesmm.estimation.start import check_start, start_theta, without_related
from bayesmm.estimation.weight_units import at_weights, start_about_1, weight_size, with_weights_about_1
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.likelihood.fitted import make_coordinates
from bayesmm.likelihood.gaussian import FixedPrior, Value, conditional, evaluate, is_fine, is_precise
from bayesmm.likelihood.gaussian_likelihood import Solution, room_for
from bayesmm.likelihood.orthogonal import lower_factor, square_root
from bayesmm.likelihood.problem import Problem, in_levels, orthogonal_problem

SINGULAR = 1e-4  # a diagonal entry of theta below is 0, as in lme4's isSingular(); ours are in units of columns' rms
KNOWN = 1.0  # sigma, where the residual structure gives the sds of the rows
# A residual sd below this share of the response's is rounding: sums of squares lose half of a double's 16 digits.
NO_RESIDUAL = 1e-7
# -2 log likelihood bends by about twice the number of rows in the logarithm of their residual sd; by less than this
# there are none that say anything.
LEAST_BEND = 1e-3
# Residual sds of rows that are further apart are those of rows that are fitted exactly: half of a double's digits, and
# more than any measurement's.
LEAST_SHARE = 1e-6
# Relative standard deviations at which a search starts that has no moments: lme4's 1; with the others where the first
# optimum is suspicious.
START, OTHER_STARTS = 1.0, (0.1, 10.0)
# With a relative sd above LARGE the search goes on from these as well, in units that follow it at most UNITS times.
LARGE, FAR_STARTS, UNITS = 50.0, (1e2, 1e4, 1e6), 8


def maximize_gaussian(design: Design, method: str = "REML", start: Mapping[str, float] | None = None) -> Estimates:
    """Return the maximum of the REML or ML likelihood of a model with the gaussian family and the identity link."""
    known = design.residual.sigma == "known"  # where it is, the search below whitens the rows
    turned, sparse = is_turned(design) and not known, is_sparse(design) and not known
    if is_related(design) and not (turned or sparse):
        return collapsed(maximize_gaussian(expanded(design), method, without_related(design, start)), design, SINGULAR)
    if weight_size(design) != 1.0:
        return at_weights(maximize_gaussian(with_weights_about_1(design), method, start_about_1(design, start)), design)
    if design.residual.estimated or known:
        return _with_residual(design, method, start)
    problem, reml = orthogonal_problem(design), method == "REML"
    profiled = Profiled(problem, reml)
    search = profiled.search()
    starts = [_first_start(problem), *(start_entries(problem, size) for size in (START, *OTHER_STARTS))]
    starts[1:] = [other for other in starts[1:] if not np.array_equal(other, starts[0])]
    if start is not None:
        check_start(design, start)
        starts.insert(0, _user_start(problem, start))
    x, n_starts = best_of(search, starts, lambda x: np.abs(x).max() > LARGE or _is_singular(problem, x))
    if np.abs(x).max(initial=0.0) > LARGE:
        x, n_starts = _far_out(problem, search, x), n_starts + len(FAR_STARTS)
    x = snapped(search, x, SNAP)
    value, gradient = search(x)
    optimum = Optimum(x, _steepest(search, x, gradient, _units(problem, x)), search.evaluations, n_starts)
    found, solved = profiled.value(x), profiled.solved(x)
    _check_residual(problem, x, found)
    if turned:
        problem, x = in_levels(problem, x, orthogonal_problem(expanded(design)))
        optimum, solved = replace(optimum, parameters=x), None
    point = _point(problem, method, x, found.sigma, optimum, value, solved=solved)
    if sparse:  # in the coordinates of the search levels would be independent
        return replace(point, coordinates=None)
    return collapsed(point, design, SINGULAR) if turned else point


def _with_residual(design: Design, method: str, start: Mapping[str, float] | None) -> Estimates:
    """Return the maximum over theta and the parameters of the residual together.

    At each value of these the rows are whitened, and the criterion is that of independent residuals.
    """
    term, reml = design.residual, method == "REML"
    if start is not None:
        check_start(design, start)
    own = ResidualSearch(design, start or {})
    first, known = own.first, None if term.sigma == "scale" else KNOWN
    t = len(start_entries(first, START))
    search = Search(with_slopes(own, t, reml, known))
    scales = own.scales
    inner = Search(lambda z: _in_units(search, z, scales))
    behind = own.start / scales[t:]
    starts = [np.concatenate([start_entries(first, size), behind]) for size in (START, *OTHER_STARTS)]
    if start is not None:
        starts.insert(0, np.concatenate([_user_start(first, start) / scales[:t], behind]))
    z, n_starts = best_of(inner, starts, lambda z: _is_singular(first, z[:t]))
    z = snapped(inner, z, SNAP, slice(0, t))
    x = scales * z
    (value, gradient), values = search(x), own.values(x[t:])
    with np.errstate(over="ignore"):  # the weights of a stratum that is fitted exactly
        problem = own.exact(values)
    sigma = known
    if known is None:
        options = dict(integrate_flat=reml, gradient=False)
        found = evaluate(problem.cp, problem.packed(x[:t]), None, flat(problem.cp.p), **options)
        _check_residual(problem, x[:t], found)
        sigma = found.sigma
    _check_scattered(design, values)
    bound = at_bound(term, values)
    _check_determined(design, inner, z, bound)
    units = scales * np.concatenate([_units(problem, z[:t]), np.ones(len(x) - t)])
    optimum = Optimum(x, _steepest(search, x, gradient, units), search.evaluations, n_starts)
    point = _point(problem, method, x[:t], sigma, optimum, value, known)
    singular = _is_singular(problem, z[:t]) or bool(bound)
    point = replace(point, design=design, residual=values, singular=singular)
    sigma = float(values["sigma"][0]) if term.sigma == "joint" else sigma
    return replace(point, sigma=sigma, auxiliaries={"sigma": sigma})


def _check_scattered(design: Design, values: Mapping[str, Floats]) -> None:
    """Raise a DataError where the sds of rows, by parameters, are so far apart that some rows are fitted exactly.

    The columns of sigma's formula are about their means (`centred_formulas`), so that the sds are numbers.
    """
    own = [part for part in design.residual.parts if part.parameters and part.structure.relative_sd is not None]
    if is_summed(design) or not own:
        return
    sds, of = design.residual.relative_sd(np, design.residual.rows, values), design.response_codes
    if of is not None:  # each response has a unit of its own
        sds = sds / np.array([design.y[of == k].std() for k in range(of.max() + 1)])[of]
    exact = ~(sds > LEAST_SHARE * sds.max())
    if exact.any():
        raise DataError(
            f"the likelihood has no maximum: by '{own[0].text}' the residual sd goes to 0 in {exact.sum():,} of the "
            f"{design.n:,} rows, which the model fits exactly; a residual sd of their own needs more rows"
        )


def _check_determined(design: Design, search: Search, x: Floats, bound: frozenset[str]) -> None:
    """Raise a DataError where the likelihood does not bend in a parameter of the residual, which come last in x.

    It does not where a parameter has gone to a `bound` of its interval, as a correlation of 0 that cannot be below.
    """
    parameters = residual_parameters(design)
    if not parameters:
        return
    bends = np.diag(hessian(search, x))[-len(parameters) :]
    flat_ones = [p.label for p, bend in zip(parameters, bends, strict=True) if not bend > LEAST_BEND]
    flat_ones = [label for label in flat_ones if label not in bound]
    if flat_ones:
        raise DataError(
            f"the data do not determine {listing(flat_ones)} of {design.residual.text}: the likelihood has no maximum "
            "there, or does not change; each needs rows enough of its own"
        )


def with_slopes(own: ResidualSearch, t: int, reml: bool, known: float | None) -> Callable:
    """Return the criterion and its gradient in theta, (t,), and in the residual's coordinates behind it.

    Where the weights of rows leave the doubles, or a stratum is fitted exactly, the criterion is infinite. Where the
    cross-products of a known structure have too few digits, those of the rows take their place.
    """

    def value_at(x: Floats, gradient: bool = True) -> tuple[float, Problem | None, Value | None, Callable | None]:
        try:
            (problem, at), slopes = own.problem(x[t:]), None
            options = dict(integrate_flat=reml, gradient=gradient, solution=room_for(problem.cp))
            value = evaluate(problem.cp, problem.packed(x[:t]), known, flat(problem.cp.p), **options)
            if at is not None and not is_fine(problem.cp, problem.packed(x[:t]), value.quad):
                problem = own.exact(own.values(x[t:]))
                value = evaluate(problem.cp, problem.packed(x[:t]), known, flat(problem.cp.p), integrate_flat=reml)
            elif at is not None:
                slopes = partial(own.slopes, x[t:], at, problem.packed(x[:t]), value.sigma, options["solution"])
            return criterion_at(problem, value, reml, known), problem, value, slopes
        except (DataError, np.linalg.LinAlgError):
            return np.inf, None, None, None

    def criterion(x: Floats) -> tuple[float, Floats]:
        with np.errstate(all="ignore"):
            here, problem, value, slopes = value_at(x)
            if not np.isfinite(here):
                return np.inf, np.zeros_like(x)
            if slopes is not None:
                others = -2 * slopes()
            else:
                others = differences(lambda own: value_at(np.concatenate([x[:t], own]), False)[0], x[t:])
        return here, np.concatenate([-2 * problem.gradient(value.d_T, x[:t]), others])

    return criterion


def _units(problem: Problem, x: Floats) -> Floats:
    """Return the relative sd that each entry is part of, (t,), at least 1: what its gradient is measured by."""
    sds = [np.repeat(np.linalg.norm(T, axis=1), len(T)) for T in relative_factors(problem, x)]
    own = problem.theta.from_packed(np.concatenate([np.empty(0), *sds]), lambda part: np.abs(x[part.at]))
    return np.maximum(own, 1.0)


def _steepest(search: Search, x: Floats, gradient: Floats, units: Floats) -> float:
    """Return the largest entry of the gradient per unit; where the criterion bends faster, per 1 / sqrt(curvature).

    That is about a standard error of the entry, as in lme4's check.conv.grad. The curvature is asked for only where the
    gradient per unit says that there is no optimum.
    """
    slopes = np.abs(gradient * units)
    if slopes.max(initial=0.0) < GRADIENT_TOLERANCE:
        return float(slopes.max(initial=0.0))
    curvature = np.diag(hessian(search, x)) * units**2
    return float((slopes / np.sqrt(np.maximum(curvature, 1.0))).max())


def _far_out(problem: Problem, search: Search, x: Floats) -> Floats:
    """Search once more where the sds are many times the residual's, in units of their size.

    There the criterion is about the logarithm of each, and falls as slowly.
    """
    best, value = x, search(x)[0]
    for start in (x, *(start_entries(problem, size) for size in FAR_STARTS)):
        found = start
        for _ in range(UNITS):
            units = _units(problem, found)
            inner = Search(lambda z, units=units: _in_units(search, z, units))
            found = units * minimum(inner, found / units)
            slopes = search(found)[1] * _units(problem, found)
            if (_units(problem, found) < 2 * units).all() and np.abs(slopes).max() < GRADIENT_TOLERANCE:
                break
        other = search(found)[0]
        if other < value - ROUNDING * abs(value):
            best, value = found, other
    return best


def _in_units(search: Search, z: Floats, units: Floats) -> tuple[float, Floats]:
    value, gradient = search(units * z)
    return value, units * gradient


def _check_residual(problem: Problem, x: Floats, found: Value) -> None:
    """Raise a DataError if the random effects leave no residual: the likelihood then has no maximum."""
    cp, sigma = problem.cp, found.sigma
    if sigma > 0 and not is_precise(cp, problem.packed(x), found.quad):
        raise DataError(
            f"the residual standard deviation of {problem.design.response!r} is only "
            f"{sigma / np.sqrt(cp.rWr / cp.n):.1g} of its spread, which cannot be told from rounding with so many "
            "groups; use fewer, or one row for each level where all its rows have nearly the same response"
        )
    if not sigma > NO_RESIDUAL * np.sqrt(cp.rWr / cp.n):
        raise DataError(
            f"the random effects fit the {cp.n:,} rows of {problem.design.response!r} exactly, so no residual variance "
            "is left to estimate; use fewer, or one row for each level where all its rows have the same response"
        )


def _first_start(problem: Problem) -> Floats:
    """Return theta where moments put it; where they say nothing, and of structures, sds of `START`."""
    sizes = relative_sds(problem.cp)
    if sizes is None:
        return start_entries(problem, START)
    ends = np.cumsum(problem.cp.q)
    own = [np.diag(sizes[end - q : end]).ravel() for q, end in zip(problem.cp.q, ends, strict=True)]
    return problem.theta.from_packed(np.concatenate([np.empty(0), *own]), lambda part: part.start(START))


def start_entries(problem: Problem, size: float) -> Floats:
    """Return theta of T = size I, of a structure its parameters of about that size."""
    eye = np.concatenate([np.empty(0), *(np.eye(q).ravel() for q in problem.cp.q)])
    return problem.theta.from_packed(size * eye, lambda part: part.start(size))


def _user_start(problem: Problem, start: Mapping[str, float]) -> Floats:
    """Return theta with the standard deviations and correlations that the user named."""
    design, cp = problem.design, problem.cp
    sigma = start.get("sigma", np.sqrt(cp.rWr / max(cp.n - cp.p, 1)))
    return start_theta(design, problem.theta, cp.order, problem.bases, sigma, start, START)


def _is_singular(problem: Problem, free: Floats) -> bool:
    return factors_are_singular(relative_factors(problem, free), 1.0)


def factors_are_singular(factors: list[Floats], unit: float) -> bool:
    """Return whether a factor has a pivot of (nearly) 0, next to the unit of the standard deviations."""
    return any(np.diag(lower_factor(T)).min() < SINGULAR * unit for T in factors)


def relative_factors(problem: Problem, free: Floats) -> list[Floats]:
    """Return T_k in the problem's bases, in the order of the cross-products."""
    out, at, packed = [], 0, problem.packed(free)
    for q in problem.cp.q:
        out.append(packed[at : at + q * q].reshape(q, q))
        at += q * q
    return out


def _point(
    problem: Problem,
    method: str,
    x: Floats,
    sigma: float,
    optimum: Optimum,
    criterion: float,
    known: float | None = None,
    solved: tuple[Value, Solution] | None = None,
) -> Estimates:
    """Return the estimates; `solved` is what an evaluation there, the coefficients integrated out, has left."""
    prior, T, ml = flat(problem.cp.p), problem.packed(x), criterion
    if method == "REML":
        at_ml = None if solved is None else ml_value(problem.cp, T, *solved)
        value = at_ml or evaluate(problem.cp, T, known, prior, integrate_flat=False, gradient=False)
        ml = criterion_at(problem, value, False, known)
    return assemble(
        problem, method, x, sigma, prior, optimum, criterion=criterion, loglik=-criterion / 2, deviance=ml,
        solved=solved,
    )  # fmt: skip


def assemble(
    problem: Problem,
    method: str,
    free: Floats,
    sigma: float,
    prior: FixedPrior,
    optimum: Optimum,
    *,
    criterion: float,
    loglik: float,
    deviance: float,
    priors=None,
    solved: tuple[Value, Solution] | None = None,
) -> Estimates:
    """Return the Estimates at the free entries of T and sigma, all on the user's scale."""
    design = problem.design
    at = conditional(problem.cp, problem.packed(free), sigma, prior, solved=solved)
    fixed, root = design.y - problem.response + problem.fixed @ at.fixed, problem.basis @ square_root(at.fixed_cov)
    indices, factors = [block.index for block in design.blocks], [sigma * T for T in relative_factors(problem, free)]
    own = make_coordinates(indices, problem.columns, problem.cp.order, factors, at.modes, at.covariances, fixed, root)
    beta, beta_cov = problem.origin + problem.basis @ at.fixed, own.root @ own.root.T
    dropped = list(design.aliased) if method != "MAP" else []
    beta[dropped], beta_cov[dropped], beta_cov[:, dropped] = np.nan, np.nan, np.nan
    singular = _is_singular(problem, free)
    converged = optimum.gradient < GRADIENT_TOLERANCE and np.isfinite(criterion)
    return Estimates(
        design, priors, method, beta, beta_cov, float(sigma), *own.reported(), float(criterion), float(loglik),
        float(deviance), singular, bool(converged), outcome(optimum, converged), 0.0, optimum, {"sigma": float(sigma)},
        coordinates=own,
    )  # fmt: skip
