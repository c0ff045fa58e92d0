"""-2 log-likelihood of a generalised model with one parameter held: the curves of `constrained` for other families.

The coordinates are those of `glmm`: y = (coefficients, free entries of T, logs of the family's parameters). Holding a
parameter at c leaves a linear map y = shift(c) + M(c) x to fewer coordinates x.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesmm.design.covariance.structures import check_free
from bayesmm.design.parameters import Parameter
from bayesmm.errors import DataError
from bayesmm.estimation.centred_formulas import centred
from bayesmm.estimation.estimates import Estimates
from bayesmm.estimation.glmm import GlmmProblem, Warm, criterion_of, make_problem
from bayesmm.estimation.separation import LOG_LIMIT
from bayesmm.inference.checks import estimated
from bayesmm.inference.curve import BOUNDS, Curve, capped, edge, reordered
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.likelihood.orthogonal import lower_factor, square_root
from bayesmm.likelihood.problem import orthonormal_columns
from bayesmm.posterior.own_values import own_in_rows
from bayesmm.posterior.point_estimates import estimate
from bayesmm.priors import formula_places

# The first step away from a positive parameter of the family, as a share of it.
SHARE = 0.1
# The criterion is computed up to 2 * LOG_LIMIT of a logarithm or a logit; from here on a search may be held up there.
FAR = 1.5

LEAST_ROOM = 1e-50  # between a parameter and its bounds: nearer, what is far from the data is looked at


@dataclass(frozen=True, eq=False)
class _Held:
    """y = shift(c) + M(c) x.

    Attributes
    ----------
    map : callable
        c -> (shift (d,), M (d, d - 1)).
    step : float
        A first step of c.
    unsigned : tuple of int
        Places in x whose sign does not count: of a correlation.
    """

    map: Callable[[float], tuple[Floats, Floats]]
    step: float
    unsigned: tuple[int, ...] = ()


def general_curve(point: Estimates, parameter: Parameter) -> Curve:
    """Return the curve of a parameter of a generalised model's ML fit."""
    check_free(point.design, "the profile of a generalised model", "use method='wald', or sample the posterior")
    of_block = parameter.kind in ("sd", "corr")
    design = reordered(point.design, parameter)[0] if of_block else point.design
    design = centred(design)
    problem = make_problem(design, orthonormal_columns(design, parameter.block if of_block else None))
    effects = sum(len(block.levels) * len(block.columns) for block in design.blocks)
    value = criterion_of(problem, point.nagq, Warm(np.zeros(effects)))
    make = {"coefficient": _coefficient, "sd": _sd, "corr": _corr, "residual": _of_formula}.get(
        parameter.kind, _auxiliary
    )
    held = make(point, parameter, problem)

    def deviance(c: float, x: Floats) -> tuple[float, Floats]:
        signs, (shift, M) = np.ones(len(x)), held.map(c)
        for i in held.unsigned:
            signs[i] = -1.0 if x[i] < 0 else 1.0
        total, gradient = value(shift + M @ (signs * x))
        return total, signs * (M.T @ gradient)

    def far(c: float, x: Floats) -> bool:
        shift, M = held.map(c)
        places = (shift + M @ x)[problem.parts[2]][: len(problem.own.scalars)]
        return bool(np.abs(places).max(initial=0.0) > FAR * LOG_LIMIT)

    best = estimate(point, parameter)
    shift, M = held.map(0.0 if math.isnan(best) else best)
    start = np.linalg.lstsq(M, _coordinates(problem, point, parameter) - shift)[0]
    if held.unsigned:
        deviance = capped(deviance, min(edge(deviance, start, i) for i in held.unsigned))
    diagonal = _diagonal(problem).astype(float) @ np.abs(M) > 0
    return Curve(
        deviance,
        best,
        start,
        point.criterion,
        parameter.support or BOUNDS[parameter.kind],
        of_block,
        held.step,
        diagonal,
        far,
    )


def _coordinates(problem: GlmmProblem, point: Estimates, parameter: Parameter) -> Floats:
    """Return y at the fit."""
    kept = estimated(point.design)
    coefficients = np.linalg.lstsq(problem.basis[kept], (point.beta - problem.origin)[kept])[0]
    factors = []
    for k in problem.order:
        L = point.scaled.bases[k] @ square_root(point.scaled.covariances[k])
        if k == parameter.block:
            L = L[reordered(point.design, parameter)[1]]
        factors.append(lower_factor(np.linalg.solve(problem.bases[k], L)).ravel() / problem.unit)
    T = np.concatenate([np.empty(0), *factors])[problem.free]
    own = own_in_rows(point.design, {**point.auxiliaries, **point.levels}, point.residual)[1]
    first = len(problem.own.scalars)
    own[first : first + problem.own.thresholds] -= problem.means @ point.beta
    return np.concatenate([coefficients, T, problem.moved(own)])


def _diagonal(problem: GlmmProblem) -> NDArray[np.bool_]:
    """Return which of y are diagonal entries of T."""
    _, free, logs = problem.parts
    eyes = np.concatenate([np.empty(0), *(np.eye(len(problem.bases[k])).ravel() for k in problem.order)])
    flags = np.zeros(logs.stop, dtype=bool)
    flags[free] = eyes[problem.free] == 1
    return flags


def _coefficient(point: Estimates, parameter: Parameter, problem: GlmmProblem) -> _Held:
    """beta_j = origin_j + basis_j y: the coefficients along basis_j are held, those across it are x."""
    j, (r, size) = parameter.terms[0], (problem.parts[0].stop, problem.parts[2].stop)
    row = problem.basis[j]
    M = np.zeros((size, size - 1))
    M[:r, : r - 1] = np.linalg.qr(row[:, None], mode="complete")[0][:, 1:]
    M[r:, r - 1 :] = np.eye(size - r)
    along = np.append(row / (row @ row), np.zeros(size - r))
    return _Held(lambda c: ((c - problem.origin[j]) * along, M), float(np.sqrt(point.beta_cov[j, j])))


def _one_entry(problem: GlmmProblem, at: int, transform: Callable[[float], float], step: float) -> _Held:
    unit = np.eye(problem.parts[2].stop)
    M = np.delete(unit, at, axis=1)
    return _Held(lambda c: (transform(c) * unit[at], M), step)


def _auxiliary(point: Estimates, parameter: Parameter, problem: GlmmProblem) -> _Held:
    own, best = list(point.auxiliaries).index(parameter.label), estimate(point, parameter)
    free, (low, high) = problem.own.scalars[own].free, problem.own.scalars[own].bounds
    room = max(abs(best), 1.0) if math.isinf(low) else min(best - low, high - best)
    if not LEAST_ROOM < room < 1 / LEAST_ROOM:
        raise DataError(
            f"the profile of {parameter.label} is not available, which is {best:.3g} where the columns of its formula "
            "are 0, far from the data; write center() around them"
        )
    return _one_own(point, problem, own, free, SHARE * room)


def _of_formula(point: Estimates, parameter: Parameter, problem: GlmmProblem) -> _Held:
    """A coefficient of a formula, or the first threshold; the others follow from it in no linear way."""
    at = problem.own.labels.index(parameter.label)
    first = len(problem.own.scalars)
    if first < at < first + problem.own.ascending:
        raise DataError(
            f"the profile of {parameter.label} is not available, only that of the first threshold; the print "
            "has its standard error, and a posterior its interval"
        )
    if at < first + problem.own.thresholds:  # at the means it is c less what the coefficients make of them
        place, d = problem.parts[2].start + at, problem.parts[2].stop
        M = np.delete(np.eye(d), place, axis=1)
        M[place, : problem.parts[0].stop] = -(problem.means @ problem.basis)
        return _Held(lambda c: ((c - problem.means @ problem.origin) * np.eye(d)[place], M), SHARE)
    return _one_own(point, problem, at, float, SHARE / float(problem.own.sizes[at - first]))


def _one_own(point: Estimates, problem: GlmmProblem, at: int, link: Callable[[float], float], step: float) -> _Held:
    """Hold one of the own parameters: where the columns of its formula are 0, of which others make a part in y."""
    sizes = np.concatenate([np.ones(len(problem.own.scalars)), problem.own.sizes])
    start, d = problem.parts[2].start, problem.parts[2].stop
    row = np.zeros(len(sizes))
    row[at] = 1.0
    for part in point.design.residual.formulas:
        places = [problem.own.labels.index(label) for label in formula_places(part)]
        if at in places:
            row[places] = part.basis.inverse[places.index(at)]
    M = np.delete(np.eye(d), start + at, axis=1)
    others = np.delete(np.arange(len(sizes)), at)
    M[start + at, start + np.arange(len(sizes) - 1)] = -row[others] / sizes[others] * sizes[at]
    return _Held(lambda c: (link(c) * sizes[at] * np.eye(d)[start + at], M), step)


def _first_entry(problem: GlmmProblem, k: int) -> int:
    """Return the place in y of T_11 of block k."""
    before = sum(len(problem.bases[i]) ** 2 for i in problem.order[: problem.order.index(k)])
    return problem.parts[1].start + int(np.flatnonzero(problem.free == before)[0])


def _sd(point: Estimates, parameter: Parameter, problem: GlmmProblem) -> _Held:
    k, unit = parameter.block, problem.unit * problem.bases[parameter.block][0, 0]
    groups = len(point.design.blocks[k].levels)
    step = max(estimate(point, parameter) / math.sqrt(2 * groups), SHARE * unit)
    return _one_entry(problem, _first_entry(problem, k), lambda c: c / unit, step)


def _corr(point: Estimates, parameter: Parameter, problem: GlmmProblem) -> _Held:
    """Hold L_21 and L_22 of L = B T at c and sqrt(1 - c^2) times the length of their row; T_21 follows T_11 in y."""
    first, size = _first_entry(problem, parameter.block), problem.parts[2].stop
    low, diagonal, B = first + 1, first + 2, problem.bases[parameter.block]

    def linear(c: float) -> tuple[Floats, Floats]:
        M = np.delete(np.eye(size), low, axis=1)
        M[low, diagonal - 1], M[diagonal, diagonal - 1] = c, math.sqrt(max(1 - c * c, 0.0))
        M[low, first] = -B[1, 0] / B[1, 1]
        return np.zeros(size), M

    return _Held(linear, SHARE, (first, diagonal - 1))
