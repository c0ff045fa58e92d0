"""The inverse of a Hessian by differences of a gradient, and the covariance of all parameters that follows from it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bayesmm.design.relations import is_one_level
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.likelihood.orthogonal import square_root

# A direction of the standardised Hessian with less curvature than this is flat: what differences of the gradient leave.
FLAT = 1e-7
# A parameter with a larger share of its own in flat directions has no standard error.
SHARE = 1e-6
AT_LIMIT = 16.0  # of the logarithm, or logit, of a parameter: 1e7 times 1, where the other family fits as well
STEP = 1e-5  # of differences of reported parameters in coordinates of the search, which are of the size of 1


@dataclass(frozen=True, eq=False)
class Joint:
    """The covariance of all parameters of a generalised model but the random effects.

    Attributes
    ----------
    root : (p + a + s, d) float64
        root root' is the covariance of the coefficients, of the model's own parameters, and of the entries of the
        covariance matrix of each block in the fit's coordinates (`Coordinates.covariances`, row by row; s is 0 where a
        matrix is one among levels). Of the own parameters the family's are on the real line (`Auxiliary.free`), the
        others as they are.
    p : int
    labels : tuple of str, length a
        Of the own parameters.
    scalars : int
        How many of these are the family's, the first of them.
    unknown : (a,) bool
        Which of them the likelihood is flat in: they have no standard error.
    search : (d, d) float64
        Root of the covariance of the coordinates of the search, `Optimum.parameters`: root is J search.
    """

    root: Floats
    p: int
    labels: tuple[str, ...]
    scalars: int
    unknown: np.ndarray
    search: Floats

    @property
    def knows_variances(self) -> bool:
        """Whether it has the covariance matrices of the blocks."""
        return len(self.root) > self.p + len(self.labels)

    @property
    def errors(self) -> dict[str, float]:
        """The standard errors of the own parameters by label, on the scales of `root`; NaN where there is none."""
        sizes = np.linalg.norm(self.root[self.p : self.p + len(self.labels)], axis=1)
        return dict(zip(self.labels, np.where(self.unknown, np.nan, sizes).tolist(), strict=True))


def inverse(H: Floats) -> Floats:
    """Return H^-1, (d, d), flat directions left out: they add no information on the others."""
    unit, curvature, directions = _standardised(H)
    inverses = np.where(curvature > FLAT, 1 / np.where(curvature > FLAT, curvature, 1.0), 0.0)
    return (directions * inverses) @ directions.T / np.outer(unit, unit)


def _standardised(H: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the roots of the diagonal, and the eigenvalues and vectors of H in these units."""
    unit = np.sqrt(np.where(np.diag(H) > 0, np.diag(H), 1.0))
    return unit, *np.linalg.eigh(H / np.outer(unit, unit))


def coefficient_block(H: Floats, r: int) -> Floats:
    """Return the first (r, r) block of H^-1."""
    return inverse(H)[:r, :r]


def joint(J: Floats, H: Floats, p: int, labels: tuple[str, ...], scalars: int) -> Joint:
    """Return the covariance of parameters with the derivatives J, (p + a + s, d), in the coordinates of a search.

    H is the Hessian of -2 log-likelihood, or of -2 log density, in these coordinates.
    """
    unit, curvature, directions = _standardised(H)
    own = J[p : p + len(labels)] / unit
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.square(own @ directions[:, curvature <= FLAT]).sum(axis=1) / np.square(own).sum(axis=1)
    search = square_root(2 * inverse(H))
    return Joint(J @ search, p, labels, scalars, share > SHARE, search)


def joint_of_problem(problem, x: Floats, H: Floats) -> Joint:
    """Return the covariance of a `GlmmProblem`'s parameters at x, where its -2 log-likelihood has the Hessian H."""
    own, (beta, free, rest), p = problem.own, problem.parts, problem.design.p
    J = np.zeros((p + len(own.labels), len(x)))
    J[:p, beta] = problem.basis
    s = len(own.scalars)
    for j in range(len(own.labels)):
        J[p + j, rest] = np.eye(len(own.labels))[j] if j < s else own.back(x[rest], np.eye(len(own.labels))[j])
    J[p + s : p + s + own.thresholds, beta] += problem.means @ problem.basis

    def covariances(theta: Floats) -> Floats:
        return entries(design_order(problem, problem.factors(theta)))

    if not among_effects(problem.design):
        return joint(J, H, p, own.labels, s)
    moved = np.zeros((len(covariances(x[free])), len(x)))
    moved[:, free] = slopes(covariances, x[free])
    return joint(np.vstack([J, moved]), H, p, own.labels, s)


def without_limits(problem, x: Floats, H: Floats) -> Floats:
    """Return the Hessian of a `GlmmProblem` without the family's parameters that have gone to where it is another one.

    Such as the shape of a negative binomial of 1e9: what differences of the gradient say there is rounding, which would
    be taken for curvature. The parameter is one that the likelihood is flat in then.
    """
    out, first = H.copy(), problem.parts[2].start
    for j, own in enumerate(problem.own.scalars):
        at = x[first + j]
        if own.limit and (at > AT_LIMIT if own.limit_at == np.inf else at < -AT_LIMIT):
            out[first + j], out[:, first + j] = 0.0, 0.0
    return out


def among_effects(design) -> bool:
    """Return whether each covariance matrix is that of the effects of one level, and none is known among levels."""
    return not any(block.relation is not None or is_one_level(block) for block in design.blocks)


def design_order(problem, factors: list[Floats]) -> list[Floats]:
    """Return L L' of the factors of a problem's blocks in the order of the design."""
    return [factors[problem.order.index(k)] @ factors[problem.order.index(k)].T for k in range(len(factors))]


def entries(matrices: list[Floats]) -> Floats:
    """Return the entries of several matrices, row by row, as one vector."""
    return np.concatenate([np.empty(0), *(matrix.ravel() for matrix in matrices)])


def slopes(function: Callable[[Floats], Floats], x: Floats) -> Floats:
    """Return the derivatives of a smooth function of coordinates that are of the size of 1, (m, d), by differences."""
    columns = [(function(x + step) - function(x - step)) / (2 * STEP) for step in STEP * np.eye(len(x))]
    return np.column_stack(columns) if columns else np.empty((len(function(x)), 0))
