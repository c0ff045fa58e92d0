"""What is left of a Gaussian model's cross-products when its random effects are eliminated, as polynomials.

log|V|, with V = I + Z Lambda Lambda'Z' in units of sigma, and [X r]'V^-1[X r] are smooth functions of the few entries
of the relative factors alone: sigma, the prior of the coefficients and the coefficients that are sampled come in
afterwards. In a box around many draws of the factors polynomials take their place, from some hundred exact evaluations;
what they cost does not depend on the numbers of rows or levels.

The variables of the polynomials are log T_ii and T_ij / T_ii, on the principal axes of the draws.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bayesmm.likelihood.crossproducts import CrossProducts
from bayesmm.likelihood.gaussian_factorisation import FixedPrior
from bayesmm.likelihood.gaussian_likelihood import evaluation, room_for
from bayesmm.likelihood.packed import Floats, Ints
from bayesmm.likelihood.sparse_interpolation import Interpolant, interpolated
from bayesmm.likelihood.theta import Theta
from bayesmm.runtime.progress import working
from bayesmm.runtime.threads import in_threads

# An evaluation of so many multiply-adds takes a millisecond, and NUTS makes some ten thousands of them.
COSTLY = 1e6
# Of the entries of the factors: with more of them the polynomials have thousands of terms.
MOST_ENTRIES, MOST_TERMS = 6, 4000
# The log density is right to this, and to so many times n eps, which is of the size of its own rounding.
PRECISION, ROUNDING = 1e-7, 100.0
# How far the box reaches, in sds of the draws, and at most, of the log of an sd: where it would be wider the data
# hardly tell the sd, and no polynomial is near.
REACH, WIDEST, NARROWEST = 4.5, 2.0, 1e-6
# What a fixed column is divided by, in units of the square root of what is left of its sum of squares: its square is
# large beside the 1 that makes every matrix definite, and costs it no digits.
UNIT, LEAST_LEFT = 1 / 30, 1e-10


@dataclass(frozen=True)
class Box:
    """Where polynomials take the place of the likelihood.

    Attributes
    ----------
    entry, diagonal : (t,) int64
        As `InterpolatedData` has them.
    centre : (t,) float64
    axes : (t, t) float64
        u = axes (s - centre).
    length : int
        Of the packed T.
    """

    entry: Ints
    diagonal: Ints
    centre: Floats
    axes: Floats
    length: int

    def variables(self, T: Floats) -> Floats:
        """Return s, (n, t), at packed relative factors T, (n, length)."""
        own, of = T[:, self.entry], T[:, self.diagonal]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.entry == self.diagonal, np.log(of), own / of)

    def places(self, T: Floats) -> Floats:
        """Return u, (n, t), at packed relative factors T, (n, length)."""
        return (self.variables(T) - self.centre) @ self.axes.T

    def has(self, T: Floats) -> NDArray[np.bool_]:
        """Return which of many packed relative factors, (n, length), are in the box, (n,)."""
        return (np.abs(self.places(T)) <= 1).all(axis=1)

    def factors(self, u: Floats) -> Floats:
        """Return the packed relative factors T, (n, length), at u, (n, t)."""
        s, T = self.centre + np.linalg.solve(self.axes, u.T).T, np.zeros((len(u), self.length))
        first = self.entry == self.diagonal
        T[:, self.entry[first]] = np.exp(s[:, first])
        T[:, self.entry[~first]] = s[:, ~first] * T[:, self.diagonal[~first]]
        return T


def box_of(entry: Ints, q: Sequence[int], T: Floats) -> Box:
    """Return the box around draws of relative factors, (n, length), which are packed blocks of q_k coefficients.

    `entry` are the places of the entries that vary.
    """
    starts = np.cumsum([0, *np.square(q)])
    row = np.concatenate([at + np.repeat(np.arange(k) * (k + 1), k) for k, at in zip(q, starts[:-1], strict=True)])
    box = Box(entry, row[entry], np.zeros(len(entry)), np.eye(len(entry)), T.shape[1])
    s = box.variables(T)
    s = s[np.isfinite(s).all(axis=1)]
    squares, V = np.linalg.eigh(np.atleast_2d(np.cov(s.T)))
    logs = np.abs(V[box.entry == box.diagonal]).max(axis=0)
    reach = np.clip(REACH * np.sqrt(np.maximum(squares, 0.0)), NARROWEST, WIDEST / np.maximum(logs, NARROWEST))
    return replace(box, centre=s.mean(axis=0), axes=V.T / reach[:, None])


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
        return self.exact(self.box.factors(u))

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
        first = len(self.cp.rest.z) - p
        L, c = np.tril(solution.M[first:, first:]), solution.vectors[0, first:]
        own = L @ L.T - np.eye(p)
        triangle = (own / np.outer(self.unit, self.unit))[np.tril_indices(p)]
        found = np.concatenate([[logdet - 2 * np.log(np.diag(L)).sum(), quad + c @ c], L @ c / self.unit, triangle])
        return found if ok else np.full_like(found, np.nan)


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
        inside = box.has(T)
        out[inside] = self.found(box.places(T[inside]))
        out[~inside] = self.left.exact(T[~inside])
        return out


def is_costly(cp: CrossProducts, theta: Theta) -> bool:
    """Return whether an evaluation takes long enough for polynomials, and the factors are such as they are for."""
    return 0 < len(theta.free) <= MOST_ENTRIES and not theta.structured and work(cp) > COSTLY


def work(cp: CrossProducts) -> float:
    """Return about how many multiply-adds an evaluation takes."""
    widths = np.diff(cp.leading.start).astype(float)
    q, m = cp.leading.A.shape[1], float(len(cp.rest.z))
    return float((q * q * (q + widths) + q * widths**2 / 2).sum() + m**3 / 3)


def polynomials(cp: CrossProducts, entry: Ints, T: Floats, sigma: float, prior: FixedPrior) -> Polynomials | None:
    """Return the polynomials near draws of relative factors; None where too many terms would be needed.

    Parameters
    ----------
    cp : CrossProducts
    entry : (t,) int64
        The places of the entries that vary in the packed T.
    T : (n, length) float64
        The draws.
    sigma, prior
        In their middle: what makes terms matter to the log density.
    """
    with working("finding polynomials in place of the random effects"):
        left = eliminated(cp, box_of(entry, cp.q, T))
        found = interpolated(left, len(entry), weights(left, sigma, prior), tolerance_of(cp), MOST_TERMS)
    return None if found is None else Polynomials(left, found)


def tolerance_of(cp: CrossProducts) -> float:
    """Return how far the polynomials may be from the log density."""
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
