"""The ML deviance of a Gaussian model with one parameter held at a value: what a profile is made of.

Each `Curve` is a function of the held value c and of the other parameters x, with its gradient in x. Coefficients are
held through the core's own prior of width 0; sds and correlations by ordering the columns of their block so that they
are one or two entries of its triangular factor: with T the relative factor in a basis B that is lower triangular too,
sigma the residual sd and L = B T, the first sd is sigma B_11 T_11, and the first correlation is L_21 / sqrt(L_21^2 +
L_22^2) with L_21 = B_21 T_11 + B_22 T_21 and L_22 = B_22 T_22.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bayesmm.design.design import Block, Design
from bayesmm.estimation.estimates import Estimates
from bayesmm.estimation.optimizer import Search, minimum
from bayesmm.estimation.reml import flat, profiled_criterion, relative_factors
from bayesmm.inference.terms import estimated
from bayesmm.likelihood.crossproducts import Floats, Ints
from bayesmm.likelihood.gaussian import FixedPrior, evaluate
from bayesmm.likelihood.orthogonal import lower_factor, orthonormal
from bayesmm.likelihood.problem import Problem, orthogonal_problem, orthonormal_columns, reduced
from bayesmm.posterior.draws import Parameter
from bayesmm.posterior.point_estimates import estimate

Deviance = Callable[[float, Floats], tuple[float, Floats]]
# A variance can not fall below its bound of 0, and a correlation not outside -1 and 1.
_POSITIVE = (0.0, math.inf)
BOUNDS = {
    "beta": (-math.inf, math.inf), "sigma": _POSITIVE, "auxiliary": _POSITIVE, "sd": _POSITIVE, "corr": (-1.0, 1.0)
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Curve:
    """The deviance with one parameter held.

    Attributes
    ----------
    deviance : callable
        (c, x) -> (deviance, gradient in x, (d,)).
    estimate : float
        The ML estimate of the held parameter; NaN for a correlation with an sd of 0.
    start : (d,) float64
        x at the ML estimate.
    least : float
        The deviance there.
    bounds : tuple of float
    attained : bool
        Whether the deviance is finite at a finite bound.
    step : float
        A first step away from the estimate.
    diagonal : (d,) bool
        Which of x are diagonal entries of T: a variance of 0 is always stationary in them.
    """

    deviance: Deviance
    estimate: float
    start: Floats
    least: float
    bounds: tuple[float, float]
    attained: bool
    step: float
    diagonal: NDArray[np.bool_]


def curve(point: Estimates, parameter: Parameter) -> Curve:
    """Return the curve of a parameter of an ML fit."""
    if not point.design.family.gaussian:
        from bayesmm.inference.constrained_general import general_curve

        return general_curve(point, parameter)
    make = {"beta": _coefficient, "sigma": _sigma, "sd": _sd, "corr": _corr}[parameter.kind]
    deviance, start, step, diagonal = make(point, parameter)
    attained = parameter.kind != "sigma"
    value = estimate(point, parameter)
    return Curve(deviance, value, start, point.criterion, BOUNDS[parameter.kind], attained, step, diagonal)


def _coefficient(point: Estimates, parameter: Parameter):
    """Hold coefficient j: the last column of a QR factorisation of X that has column j last is beta_j R_pp."""
    design, j = point.design, parameter.terms[0]
    problem, w = orthogonal_problem(design), np.ones(design.n) if design.weights is None else design.weights
    order = [*(i for i in estimated(design) if i != j), j]
    V, R = orthonormal(design.X[:, order], w)
    first = np.ascontiguousarray(np.roll(V, 1, axis=1))  # flat columns come last
    held = reduced(design, first, problem.response, problem.basis, problem.origin, 0.0, problem.columns)
    p, scale, origin = held.cp.p, float(R[-1, -1]), float(problem.origin[j])
    lam, D = np.append(0.0, np.ones(p - 1)), np.append(1.0, np.zeros(p - 1))

    def deviance(c: float, x: Floats) -> tuple[float, Floats]:
        mean = np.append(scale * (c - origin), np.zeros(p - 1))
        value = evaluate(held.cp, held.packed(x), None, FixedPrior(mean, lam, D), integrate_flat=False)
        return profiled_criterion(held, value, False), -2 * value.d_T[held.free]

    step = float(np.sqrt(point.beta_cov[j, j]))
    return deviance, point.optimum.parameters, step, _is_diagonal(problem, problem.free)


def _sigma(point: Estimates, parameter: Parameter):
    problem = orthogonal_problem(point.design)

    def deviance(c: float, x: Floats) -> tuple[float, Floats]:
        value, total = _at_sigma(problem, problem.packed(x), c)
        return total, -2 * value.d_T[problem.free]

    step = point.sigma / math.sqrt(2 * point.design.n)
    return deviance, point.optimum.parameters, step, _is_diagonal(problem, problem.free)


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


def edge(deviance: Deviance, start: Floats, held: int) -> float:
    """Return the least deviance with entry `held` of x at 0."""
    kept = np.delete(np.arange(len(start)), held)

    def without(x: Floats) -> tuple[float, Floats]:
        value, gradient = deviance(0.0, np.insert(x, held, 0.0))
        return value, gradient[kept]

    search = Search(without)
    return search(minimum(search, start[kept]))[0]


def capped(deviance: Deviance, most: float) -> Deviance:
    """Return the deviance, and `most` where it is larger."""

    def capped(c: float, x: Floats) -> tuple[float, Floats]:
        value, gradient = deviance(c, x)
        return (value, gradient) if value < most else (most, np.zeros(len(x)))

    return capped


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


def reordered(design: Design, parameter: Parameter) -> tuple[Design, list[int]]:
    """Return the design with a parameter's columns first in their block, and the order of the columns."""
    k, block = parameter.block, design.blocks[parameter.block]
    order = [*parameter.terms, *(i for i in range(len(block.columns)) if i not in parameter.terms)]
    return replace(design, blocks=(*design.blocks[:k], _permuted(block, order), *design.blocks[k + 1 :])), order


def _permuted(block: Block, order: list[int]) -> Block:
    """Return the block with its columns in another order."""
    place = {old: new for new, old in enumerate(order)}
    return replace(
        block,
        columns=tuple(block.columns[i] for i in order),
        Z=np.ascontiguousarray(block.Z[:, order]),
        partition=tuple(tuple(sorted(place[i] for i in part)) for part in block.partition),
    )
