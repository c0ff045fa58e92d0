"""What is left of a Gaussian model's cross-products when its random effects are eliminated, as polynomials.

log|V|, with V = I + Z Lambda Lambda'Z' in units of sigma, and [X r]'V^-1[X r] are smooth functions of the few entries
of the relative factors alone: sigma, the prior of the coefficients and the coefficients that are sampled come in
afterwards. In a box around many draws of the factors polynomials take their place, from some hundred exact evaluations;
what they cost does not depend on the numbers of rows or levels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bayesmm.likelihood.box import Box, box_around, diagonals
from bayesmm.likelihood.crossproducts import CrossProducts
from bayesmm.likelihood.dense_matrices import LAPACK_FROM
from bayesmm.likelihood.gaussian_factorisation import FixedPrior
from bayesmm.likelihood.gaussian_likelihood import evaluation, room_for
from bayesmm.likelihood.packed import Floats, Ints
from bayesmm.likelihood.sparse_interpolation import Interpolant, interpolated
from bayesmm.likelihood.theta import Theta
from bayesmm.runtime.progress import working
from bayesmm.runtime.threads import in_threads

# A value that takes so many nanoseconds is worth polynomials: NUTS makes some ten thousands of gradients.
COSTLY = 1e5
BLAS_COST = 0.05  # nanoseconds of a multiply-add of LAPACK and BLAS, measured at 1,158 and 2,002 columns
# Of the entries of the factors: with more of them the polynomials have thousands of terms.
MOST_ENTRIES, MOST_TERMS, LEAST_TERMS = 6, 4000, 100
MOST_NUMBERS = 1e7  # of all terms together: 80 MB
TERM_COST = 1.0  # nanoseconds of a value of a term, which is read for the value and for the gradient
# The log density is right to this, and to so many times n eps, which is of the size of its own rounding.
PRECISION, ROUNDING = 1e-7, 100.0
# That is what the terms promise; at so many of the draws it is looked at, where it may be so many times as much.
LOOKED_AT, MISSED = 24, 10.0
CHUNK = 8_000_000  # numbers of terms at many draws that are held at a time: 64 MB
# What a fixed column is divided by, in units of the square root of what is left of its sum of squares: its square is
# large beside the 1 that makes every matrix definite, and costs it no digits.
UNIT, LEAST_LEFT = 1 / 30, 1e-10


@dataclass(frozen=True)
class Eliminated:
    """What is left of cross-products without the random effects, as a function of u in a box.

    Attributes
    ----------
    cp : CrossProducts
    box : Box
    unit : (p,) float64
        What the fixed columns are multiplied by while they are eliminated.
    """

    cp: CrossProducts
    box: Box
    unit: Floats

    def __call__(self, u: Floats) -> Floats:
        """Return what `exact` does at u, (k, t)."""
        return self.exact(self.box.parameters(u))

    def exact(self, T: Floats) -> Floats:
        """Return log|V|, r'V^-1r, X'V^-1r and the triangle of X'V^-1X, (k, o), at T, (k, length); NaN without any."""
        p = self.cp.p
        return np.array(in_threads(self._one, T)).reshape(len(T), 2 + p + p * (p + 1) // 2)

    def vector(self, values: Floats) -> Floats:
        """Return X'V^-1r, (k, p), of such values."""
        return values[:, 2 : 2 + self.cp.p]

    def matrix(self, values: Floats) -> Floats:
        """Return X'V^-1X, (k, p, p), of such values."""
        i, j = np.tril_indices(self.cp.p)
        out = np.empty((len(values), self.cp.p, self.cp.p))
        out[:, i, j] = out[:, j, i] = values[:, 2 + self.cp.p :]
        return out

    def _one(self, T: Floats) -> Floats:
        p, solution = self.cp.p, room_for(self.cp)
        prior = FixedPrior(np.zeros(p), self.unit, np.ones(p))  # which makes it definite, and is taken out again
        ok, logdet, quad, *_ = evaluation(
            self.cp, T, 1.0, 1.0, prior, integrate_flat=True, gradient=False, solution=solution
        )
        if not ok:
            return np.full(2 + p + p * (p + 1) // 2, np.nan)
        first = len(self.cp.rest.z) - p
        L, c = np.tril(solution.M[first:, first:]), solution.vectors[0, first:]
        own = L @ L.T - np.eye(p)
        triangle = (own / np.outer(self.unit, self.unit))[np.tril_indices(p)]
        return np.concatenate([[logdet - 2 * np.log(np.diag(L)).sum(), quad + c @ c], L @ c / self.unit, triangle])


def eliminated(cp: CrossProducts, box: Box) -> Eliminated:
    """Return what is left of cross-products in a box, with units for the fixed columns."""
    squares = np.diag(cp.rest.A)[len(cp.rest.z) - cp.p :]
    squares = np.where(squares > 0, squares, 1.0)
    first = Eliminated(cp, box, 1 / np.sqrt(squares))
    left = np.diag(first.matrix(first(np.zeros((1, len(box.entry)))))[0])
    return Eliminated(cp, box, 1 / (UNIT * np.sqrt(np.maximum(left, LEAST_LEFT * squares))))


@dataclass(frozen=True)
class Polynomials:
    """Polynomials in the place of `Eliminated`.

    Attributes
    ----------
    left : Eliminated
    found : Interpolant
    """

    left: Eliminated
    found: Interpolant

    def at(self, T: Floats) -> Floats:
        """Return what `Eliminated` does at packed relative factors, (n, length); outside of the box exactly."""
        box, out = self.left.box, np.empty((len(T), self.found.terms.shape[1]))
        inside, step = box.has(T), max(1, CHUNK // self.found.index.size)
        for at in np.split(np.flatnonzero(inside), range(step, len(T), step)):
            out[at] = self.found(box.places(T[at]))
        out[~inside] = self.left.exact(T[~inside])
        return out


def is_costly(cp: CrossProducts, theta: Theta) -> bool:
    """Return whether an evaluation takes long enough for polynomials, and the factors are such as they are for."""
    few = 0 < len(theta.free) <= MOST_ENTRIES and not theta.structured
    return few and saved(cp) > COSTLY and most_terms(cp) >= LEAST_TERMS


def saved(cp: CrossProducts) -> float:
    """Return how much of `work` the random effects take, which polynomials save, in nanoseconds."""
    return work(cp) - (BLAS_COST if cp.p >= LAPACK_FROM else 1.0) * cp.p**3 / 3


def most_terms(cp: CrossProducts) -> int:
    """Return how many terms polynomials may have: they take less time than what they save, and little memory."""
    outputs = 2 + cp.p + cp.p * (cp.p + 1) // 2
    return int(min(MOST_TERMS, saved(cp) / (TERM_COST * outputs), MOST_NUMBERS / outputs))


def work(cp: CrossProducts) -> float:
    """Return about how long a value takes, in nanoseconds: a multiply-add takes one, or a twentieth by LAPACK."""
    widths, q, m = np.diff(cp.leading.start).astype(float), cp.leading.A.shape[1], len(cp.rest.z)
    scatter = float((q * q * (q + widths) + q * widths**2 / 2).sum())
    by_blas = BLAS_COST if cp.densely_coupled else 1.0
    return by_blas * scatter + (BLAS_COST if m >= LAPACK_FROM else 1.0) * m**3 / 3


def polynomials(cp: CrossProducts, entry: Ints, T: Floats, sigma: float, prior: FixedPrior) -> Polynomials | None:
    """Return the polynomials near draws of relative factors; None where too many terms would be needed, or they miss.

    Parameters
    ----------
    cp : CrossProducts
    entry : (t,) int64
        The places of the entries that vary in the packed T.
    T : (n, length) float64
        The draws.
    sigma : float
        Residual sd in their middle.
    prior : FixedPrior
        There; both say how much terms matter to the log density.
    """
    with working("finding polynomials in place of the random effects"):
        left = eliminated(cp, box_around(entry, diagonals(cp.q)[entry], T, np.zeros(T.shape[1])))
        size, tolerance = weights(left, sigma, prior), tolerance_of(cp)
        found = interpolated(left, len(entry), size, tolerance, most_terms(cp))
        inside = T[left.box.has(T)][:LOOKED_AT]
        if found is None or len(inside) == 0:
            return None
        missed = size(found(left.box.places(inside)) - left.exact(inside))
    return Polynomials(left, found) if (missed <= MISSED * tolerance).all() else None


def tolerance_of(cp: CrossProducts) -> float:
    """Return how far the log density may be missed."""
    return PRECISION + ROUNDING * cp.n * np.finfo(float).eps


def weights(left: Eliminated, sigma: float, prior: FixedPrior) -> Callable[[Floats], Floats]:
    """Return the function that says how much terms of the polynomials, (k, o), matter to the log density, (k,).

    That is at the coefficients v and M^-1 in the middle of the box.
    """
    centre = left(np.zeros((1, len(left.box.entry))))
    S, z = left.matrix(centre)[0], left.vector(centre)[0]
    M = prior.lam[:, None] * S * prior.lam + np.diag(prior.D)
    R = prior.lam[:, None] * np.linalg.pinv(M, hermitian=True) * prior.lam
    v = prior.mean + R @ (z - S @ prior.mean)
    i, j = np.tril_indices(left.cp.p)
    twice = np.where(i == j, 1.0, 2.0)
    of_det = np.concatenate([np.zeros(2 + left.cp.p), twice * R[i, j]]) / 2
    of_quad = np.concatenate([[0.0, 1.0], -2 * v, twice * v[i] * v[j]]) / (2 * sigma**2)
    return lambda terms: np.abs(terms[:, 0]) / 2 + np.abs(terms @ of_det) + np.abs(terms @ of_quad)
