"""The ML deviance of a Gaussian model with one parameter held at a value: what a profile is made of.

Each `Curve` is a function of the held value c and of the other parameters x, with its gradient in x. Coefficients are
held through the core's own prior of width 0; sds and correlations by ordering the columns of their block so that they
are one or two entries of its triangular factor: with T the relative factor in a basis B that is lower triangular too,
sigma the residual sd and L = B T, the first sd is sigma B_11 T_11, and the first correlation is L_21 / sqrt(L_21^2 +
L_22^2) with L_21 = B_21 T_11 + B_22 T_21 and L_22 = B_22 T_22.
"""

import math

import numpy as np
from numpy.typing import NDArray

from bayesmm.design.covariance import identity
from bayesmm.design.covariance.structure import Entry, Part, coordinates_of
from bayesmm.design.covariance.structures import structured_terms
from bayesmm.design.parameters import Parameter, part_parameters
from bayesmm.design.summed import is_summed
from bayesmm.errors import DataError
from bayesmm.estimation.estimates import Estimates
from bayesmm.estimation.profiled import flat, profiled_criterion
from bayesmm.estimation.reml import relative_factors
from bayesmm.inference.checks import estimated
from bayesmm.inference.constrained_general import general_curve
from bayesmm.inference.curve import BOUNDS, Curve, capped, edge, reordered
from bayesmm.likelihood.crossproducts import Floats, Ints
from bayesmm.likelihood.gaussian import FixedPrior, evaluate
from bayesmm.likelihood.orthogonal import lower_factor, orthonormal
from bayesmm.likelihood.problem import Problem, orthogonal_problem, orthonormal_columns, reduced
from bayesmm.likelihood.summed import orthonormal_of_sums
from bayesmm.likelihood.theta import StructuredPart
from bayesmm.posterior.point_estimates import estimate


def curve(point: Estimates, parameter: Parameter) -> Curve:
    """Return the curve of a parameter of an ML fit."""
    if not point.design.family.gaussian:
        return general_curve(point, parameter)
    make, bounds = {"coefficient": _coefficient, "sigma": _sigma, "sd": _sd, "corr": _corr}[parameter.kind], None
    if parameter.block >= 0 and structured_terms(point.design):
        make, bounds = _of_structure, _entry_of(orthogonal_problem(point.design), parameter)[1].bounds
        bounds = bounds if parameter.kind == "corr" else None
    deviance, start, step, diagonal = make(point, parameter)
    attained = parameter.kind != "sigma"
    value = estimate(point, parameter)
    bounds = BOUNDS[parameter.kind] if bounds is None else bounds
    return Curve(deviance, value, start, point.criterion, bounds, attained, step, diagonal)


def _coefficient(point: Estimates, parameter: Parameter):
    """Hold coefficient j: the last column of a QR factorisation of X that has column j last is beta_j R_pp."""
    design, j = point.design, parameter.terms[0]
    problem = orthogonal_problem(design)
    order = [*(i for i in estimated(design) if i != j), j]
    if is_summed(design):
        V, R, _, _ = orthonormal_of_sums(design.X[:, order], design.y - design.offset)
        first = V[:, np.roll(np.arange(len(order)), 1)]
    else:
        V, R = orthonormal(design.X[:, order], np.ones(design.n) if design.weights is None else design.weights)
        first = np.ascontiguousarray(np.roll(V, 1, axis=1))  # flat columns come last
    held = reduced(design, first, problem.response, problem.basis, problem.origin, 0.0, problem.columns)
    p, scale, origin = held.cp.p, float(R[-1, -1]), float(problem.origin[j])
    lam, D = np.append(0.0, np.ones(p - 1)), np.append(1.0, np.zeros(p - 1))

    def deviance(c: float, x: Floats) -> tuple[float, Floats]:
        mean = np.append(scale * (c - origin), np.zeros(p - 1))
        value = evaluate(held.cp, held.packed(x), None, FixedPrior(mean, lam, D), integrate_flat=False)
        return profiled_criterion(held, value, False), -2 * held.gradient(value.d_T, x)

    step = float(np.sqrt(point.beta_cov[j, j]))
    return deviance, point.optimum.parameters, step, _diagonal_of_theta(problem)


def _sigma(point: Estimates, parameter: Parameter):
    problem = orthogonal_problem(point.design)

    def deviance(c: float, x: Floats) -> tuple[float, Floats]:
        value, total = _at_sigma(problem, problem.packed(x), c)
        return total, -2 * problem.gradient(value.d_T, x)

    step = point.sigma / math.sqrt(2 * point.design.n)
    return deviance, point.optimum.parameters, step, _diagonal_of_theta(problem)


def _diagonal_of_theta(problem: Problem) -> NDArray[np.bool_]:
    """Return which of theta are diagonal entries of T."""
    flags = _is_diagonal(problem, problem.free)
    return np.append(flags, np.zeros(problem.theta.size - len(flags), dtype=bool))


def _is_diagonal(problem: Problem, positions: Ints) -> NDArray[np.bool_]:
    """Return which positions of the packed T are diagonal entries."""
    diagonal = np.concatenate([np.empty(0), *(np.eye(q).ravel() for q in problem.cp.q)])
    return diagonal[positions] == 1


def _at_sigma(problem: Problem, T: Floats, sigma: float):
    """Return the evaluation and the ML deviance at T and sigma."""
    cp = problem.cp
    value = evaluate(cp, T, sigma, flat(cp.p), integrate_flat=False)
    if not value.ok:
        return value, math.inf
    scale = cp.n * math.log(2 * math.pi * sigma**2) - cp.sum_log_weights
    return value, scale + value.logdet + value.quad / sigma**2


def _sd(point: Estimates, parameter: Parameter):
    """Hold an sd; x is the other entries of T, and log sigma less its estimate."""
    problem, T, at = _reordered(point, parameter)
    (k, a), n = (parameter.block, parameter.terms[0]), problem.cp.n
    unit, others = problem.bases[k][0, 0], problem.free[problem.free != at]

    def deviance(c: float, x: Floats) -> tuple[float, Floats]:
        sigma, packed = point.sigma * math.exp(x[-1]), np.zeros(problem.n_packed)
        packed[others], packed[at] = x[:-1], c / (unit * sigma)
        value, total = _at_sigma(problem, packed, sigma)
        d_log_sigma = 2 * (n - value.quad / sigma**2) + 2 * value.d_T[at] * packed[at]
        return total, np.append(-2 * value.d_T[others], d_log_sigma)

    size = math.sqrt(point.covariances[k][a, a])
    step = _variance_step(point, parameter.block, size, point.sigma * unit)
    return deviance, np.append(T[others], 0.0), step, np.append(_is_diagonal(problem, others), False)


def _variance_step(point: Estimates, k: int, size: float, unit: float) -> float:
    """Return about one standard error of an sd with G levels, or a tenth of a residual sd for one of 0."""
    return max(size / math.sqrt(2 * len(point.design.blocks[k].levels)), 0.1 * unit)


def _corr(point: Estimates, parameter: Parameter):
    """Hold a correlation; x has the length of the second row of L, over B_22, in place of two entries of T.

    The signs of T_11 and of that length would turn the correlation's, and do not count. With either at 0 the deviance
    does not depend on the correlation: that minimum, on the edge of x, is found beforehand and caps the curve.
    """
    problem, T, at = _reordered(point, parameter)
    q = len(point.design.blocks[parameter.block].columns)
    low, diagonal = at + q, at + q + 1
    others = problem.free[(problem.free != low) & (problem.free != diagonal)]
    first, B = int(np.flatnonzero(others == at)[0]), problem.bases[parameter.block]
    slant = B[1, 0] / B[1, 1]

    def deviance(c: float, x: Floats) -> tuple[float, Floats]:
        signs = np.ones(len(x))
        signs[[first, -1]] = np.where(x[[first, -1]] < 0, -1.0, 1.0)
        size, rest = signs * x, math.sqrt(max(1 - c * c, 0.0))
        packed = np.zeros(problem.n_packed)
        packed[others], packed[diagonal] = size[:-1], rest * size[-1]
        packed[low] = c * size[-1] - slant * packed[at]
        value = evaluate(problem.cp, packed, None, flat(problem.cp.p), integrate_flat=False)
        gradient = np.append(value.d_T[others], c * value.d_T[low] + rest * value.d_T[diagonal])
        gradient[first] -= slant * value.d_T[low]
        return profiled_criterion(problem, value, False), -2 * signs * gradient

    start = np.append(T[others], math.hypot(slant * T[at] + T[low], T[diagonal]))
    edges = [edge(deviance, start, i) for i in (first, len(start) - 1)]
    return capped(deviance, min(edges)), start, 0.1, np.append(_is_diagonal(problem, others), True)


def _reordered(point: Estimates, parameter: Parameter) -> tuple[Problem, Floats, int]:
    """Return the problem with the parameter's columns first in their block, T at the estimate, and T_11's position."""
    design, order = reordered(point.design, parameter)
    k, before = parameter.block, orthogonal_problem(point.design)
    problem = orthogonal_problem(design, orthonormal_columns(design, backwards=k))
    factors = relative_factors(before, point.optimum.parameters)
    place = problem.cp.order.index(k)
    factors[place] = lower_factor(np.linalg.solve(problem.bases[k], (before.bases[k] @ factors[place])[order]))
    T = np.concatenate([factor.ravel() for factor in factors])
    return problem, T, sum(q * q for q in problem.cp.q[:place])


def _entry_of(problem: Problem, parameter: Parameter) -> tuple[StructuredPart, Entry, int]:
    """Return the structure that a parameter is of, what it is there, and its place in theta.

    Raises
    ------
    DataError
        It is an sd or a correlation beside a structure.
    """
    for own in problem.theta.structured:
        parameters = part_parameters(own.block, problem.design.blocks[own.block], own.part)
        if parameter in parameters:
            i = parameters.index(parameter)
            return own, own.part.entries[i], own.at.start + i
    alone = _alone(problem, parameter)
    if alone is not None:
        return alone, alone.part.entries[0], alone.at.start
    raise DataError(
        f"the profile of {parameter.label} is not available beside a covariance with a structure, here "
        f"{structured_terms(problem.design)[0]}; use method='wald' for the coefficients, or sample the posterior"
    )


def _alone(problem: Problem, parameter: Parameter) -> StructuredPart | None:
    """Return a part of one column with any variance as a structure: its entry of T is its sd over sigma, scaled."""
    block, (i, *more) = problem.design.blocks[parameter.block], parameter.terms
    if more or (i,) not in [part.columns for part in block.parts if part.covariance.free]:
        return None
    before = problem.cp.order[: problem.cp.order.index(parameter.block)]
    at = sum(len(problem.bases[k]) ** 2 for k in before) + i * (len(block.columns) + 1)
    place, scale = int(np.flatnonzero(problem.free == at)[0]), 1 / problem.bases[parameter.block][i, i]
    part, positions = Part((i,), identity.covariance, ""), np.array([[at]])
    units = np.array([1 / scale])
    return StructuredPart(parameter.block, part, positions, np.array([[scale]]), units, slice(place, place + 1))


def _of_structure(point: Estimates, parameter: Parameter):
    """Hold a parameter of a structure, which is one coordinate of theta; x is the others, and log sigma for an sd."""
    problem = orthogonal_problem(point.design)
    own, entry, at = _entry_of(problem, parameter)
    if parameter.kind == "corr" and own.part.covariance.partials is not None:
        raise DataError(
            f"the profile of {parameter.label} is not available, since the search moves partial autocorrelations; use "
            "method='wald' for the coefficients, or sample the posterior"
        )
    unit, n, start = own.units[at - own.at.start], problem.cp.n, point.optimum.parameters
    diagonal = np.delete(_diagonal_of_theta(problem), at)

    def correlation(c: float, x: Floats) -> tuple[float, Floats]:
        theta = np.insert(x, at, coordinates_of([entry], [c])[0])
        value = evaluate(problem.cp, problem.packed(theta), None, flat(problem.cp.p), integrate_flat=False)
        gradient = np.delete(problem.gradient(value.d_T, theta), at)
        return profiled_criterion(problem, value, False), -2 * gradient

    def sd(c: float, x: Floats) -> tuple[float, Floats]:
        sigma = point.sigma * math.exp(x[-1])
        theta = np.insert(x[:-1], at, c / (unit * sigma))
        value, total = _at_sigma(problem, problem.packed(theta), sigma)
        gradient = problem.gradient(value.d_T, theta)
        d_log_sigma = 2 * (n - value.quad / sigma**2) + 2 * gradient[at] * theta[at]
        return total, np.append(-2 * np.delete(gradient, at), d_log_sigma)

    others = np.delete(start, at)
    if parameter.kind == "corr":
        return correlation, others, 0.1 * (entry.bounds[1] - entry.bounds[0]) / 2, diagonal
    step = _variance_step(point, own.block, estimate(point, parameter), point.sigma * unit)
    return sd, np.append(others, 0.0), step, np.append(diagonal, False)
