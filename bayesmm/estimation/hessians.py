"""The inverse of a Hessian by differences of a gradient, whose flat directions say nothing."""

import numpy as np

from bayesmm.likelihood.crossproducts import Floats

# A direction of the standardised Hessian with less curvature than this is flat: what differences of the gradient leave.
FLAT = 1e-7


def inverse(H: Floats) -> Floats:
    """Return H^-1, (d, d), flat directions left out: they add no information on the others."""
    root = np.sqrt(np.where(np.diag(H) > 0, np.diag(H), 1.0))
    curvature, directions = np.linalg.eigh(H / np.outer(root, root))
    inverses = np.where(curvature > FLAT, 1 / np.where(curvature > FLAT, curvature, 1.0), 0.0)
    return (directions * inverses) @ directions.T / np.outer(root, root)


def coefficient_block(H: Floats, r: int) -> Floats:
    """Return the first (r, r) block of H^-1."""
    return inverse(H)[:r, :r]


def own_errors(problem, x: Floats, H: Floats) -> dict[str, float]:
    """Return the standard errors of thresholds and coefficients of formulas, by label; of a GlmmProblem at x."""
    own, (beta, _, rest), s = problem.own, problem.parts, len(problem.own.scalars)
    covariance, out = 2 * inverse(H), {}
    for j, label in enumerate(own.labels[s:], start=s):
        slope = np.zeros(len(x))
        slope[rest] = own.back(x[rest], np.eye(len(own.labels))[j])
        if j < s + own.thresholds:
            slope[beta] = problem.means @ problem.basis
        out[label] = float(np.sqrt(slope @ covariance @ slope))
    return out
