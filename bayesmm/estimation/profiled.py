"""The REML criterion and the ML deviance of relative factors, sigma and the coefficients profiled out."""

from dataclasses import dataclass, field

import numpy as np

from bayesmm.estimation.optimizer import Search
from bayesmm.likelihood.average_information import average_information, rows_curvature
from bayesmm.likelihood.crossproducts import CrossProducts, Floats
from bayesmm.likelihood.gaussian import FixedPrior, Value, evaluate, rows_needed
from bayesmm.likelihood.gaussian_likelihood import Solution, room_for
from bayesmm.likelihood.problem import Problem

# Columns of the rest from which on the search has a curvature; with fewer, L-BFGS takes less than compiling the code.
CURVED_FROM = 40
# Entries of T up to which there is one: it is asked for each pair of them, and a related block has very many.
MOST_PACKED = 400


@dataclass(eq=False)
class Profiled:
    """The criterion of a problem as a function of theta; it remembers where it was evaluated last.

    Attributes
    ----------
    problem : Problem
    reml : bool
    solution : Solution
        Of the last evaluation; of no use where `rows_needed`.
    """

    problem: Problem
    reml: bool
    solution: Solution = field(init=False)
    last: tuple[Floats, Value] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.solution = room_for(self.problem.cp)

    def value(self, theta: Floats) -> Value:
        """Return the evaluation at theta, at the sigma that maximises the likelihood."""
        if self.last is None or not np.array_equal(self.last[0], theta):
            problem, self.last = self.problem, None
            options = dict(integrate_flat=self.reml, solution=self.solution)
            found = evaluate(problem.cp, problem.packed(theta), None, flat(problem.cp.p), **options)
            self.last = theta.copy(), found
        return self.last[1]

    def criterion(self, theta: Floats) -> tuple[float, Floats]:
        """Return the criterion and its gradient."""
        value = self.value(theta)
        return profiled_criterion(self.problem, value, self.reml), -2 * self.problem.gradient(value.d_T, theta)

    def curvature(self, theta: Floats) -> Floats | None:
        """Return the average information, with what V itself bends; None where the rows are needed."""
        problem, cp = self.problem, self.problem.cp
        T, value = problem.packed(theta), self.value(theta)
        if not value.ok or rows_needed(cp, T, value.quad):
            return None
        nu = cp.n - (cp.p if self.reml else 0)
        H = average_information(cp, T, flat(cp.p).lam, value.sigma, nu, self.solution)
        H += rows_curvature(T, -2 * value.d_T, cp.q)
        half = np.array([problem.gradient(row, theta) for row in H])
        return np.array([problem.gradient(row, theta) for row in half.T])

    def search(self) -> Search:
        """Return the search of theta, with the curvature where that is worth its code."""
        cp = self.problem.cp
        curved = len(cp.rest.z) >= CURVED_FROM and self.problem.n_packed <= MOST_PACKED and cp.kin is None
        return Search(self.criterion, self.curvature if curved else None)

    def solved(self, theta: Floats) -> tuple[Value, Solution] | None:
        """Return what is known at theta, the coefficients integrated out; None of ML, which does not invert them."""
        return (self.value(theta), self.solution) if self.reml else None


def ml_value(cp: CrossProducts, T: Floats, value: Value, solution: Solution) -> Value | None:
    """Return the value of ML at relative factors T, given that of REML and what its evaluation has left.

    log|M| without the fixed columns is that with them less the log determinant of what they have beside the others,
    whose inverse is a part of M^-1. None where the solution is of no use: `rows_needed`.
    """
    if not value.ok or rows_needed(cp, T, value.quad):
        return None
    first = len(solution.M) - cp.p
    _, log_det = np.linalg.slogdet(solution.M[first:, first:])
    return value._replace(logdet=value.logdet + log_det, sigma=float(np.sqrt(value.quad / cp.n)))


def flat(p: int) -> FixedPrior:
    """Return the flat prior of p fixed columns."""
    return FixedPrior(np.zeros(p), np.ones(p), np.zeros(p))


def profiled_criterion(problem: Problem, value: Value, reml: bool) -> float:
    """Return the REML criterion or the ML deviance at the maximising sigma (Bates et al. 2015, eqs. 35 and 41)."""
    if not value.ok:
        return np.inf
    cp = problem.cp
    nu = cp.n - (cp.p if reml else 0)
    log_det = value.logdet + (problem.log_det if reml else 0.0)
    return nu * (np.log(2 * np.pi * value.sigma**2) + 1) + log_det - cp.sum_log_weights


def criterion_at(problem: Problem, value: Value, reml: bool, known: float | None = None) -> float:
    """Return the same where sigma is `known`, or at the maximising sigma (Bates et al. 2015, eq. 30)."""
    if known is None or not value.ok:
        return profiled_criterion(problem, value, reml)
    cp = problem.cp
    log_det = value.logdet + (problem.log_det if reml else 0.0)
    nu = cp.n - (cp.p if reml else 0)
    return nu * np.log(2 * np.pi * known**2) + value.quad / known**2 + log_det - cp.sum_log_weights
