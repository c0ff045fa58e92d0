"""Bases of one numeric variable: orthogonal polynomials, B-splines and natural splines.

Each record keeps what it learned from the data of the fit and is evaluated at any later data with the same constants.
The columns are those of R's ``poly`` (package stats), ``bs`` and ``ns`` (package splines).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bayesmm.errors import DataError

if TYPE_CHECKING:
    from scipy.interpolate import BSpline

CUBIC = 3  # degree of natural splines: two continuous derivatives, the second zero at the boundary


@dataclass(frozen=True)
class Polynomial:
    """Orthonormal polynomials of one variable, by their three-term recurrence.

    With P_0 = 1: P_{k+1} = (x - centres[k]) P_k - (norms[k] / norms[k - 1]) P_{k-1}; column k of the basis is
    P_k / sqrt(norms[k]). This is the recurrence of R's ``poly`` (Kennedy & Gentle 1980, *Statistical Computing*,
    pp. 343-4).

    Attributes
    ----------
    centres : tuple of float, length degree
    norms : tuple of float, length degree + 1
        Sums of squares of P_0, P_1, ... over the data of the fit.
    """

    centres: tuple[float, ...]
    norms: tuple[float, ...]


@dataclass(frozen=True)
class RawPolynomial:
    """The powers x, x^2, ... up to `degree`."""

    degree: int


@dataclass(frozen=True)
class Spline:
    """A spline basis.

    Attributes
    ----------
    knots : tuple of float
        All knots, the boundary ones repeated degree + 1 times.
    degree : int
    intercept : bool
        Whether the first B-spline is kept.
    natural : bool
        Zero second derivative at the boundary and straight lines beyond it.
    """

    knots: tuple[float, ...]
    degree: int
    intercept: bool
    natural: bool

    @property
    def boundary(self) -> tuple[float, float]:
        """The outermost knots: between them the data of the fit lay."""
        return self.knots[0], self.knots[-1]


Basis = Polynomial | RawPolynomial | Spline


# ----------------------------------------------------------------------------------------------------------------------
# polynomials


def learn_polynomial(name: str, x: np.ndarray, degree: int) -> Polynomial:
    """Return the polynomials that are orthonormal on `x`.

    Parameters
    ----------
    name : str
        The call as the formula writes it, for messages.
    x : float64 array, shape (n,)
    degree : int

    Raises
    ------
    DataError
        `x` has no more than `degree` distinct values.
    """
    distinct = len(np.unique(x))
    if degree >= distinct:
        raise DataError(
            f"{name} has degree {degree}, which must be below the number of distinct values of its variable, {distinct}"
        )
    before, now, centres, norms = np.zeros_like(x), np.ones_like(x), [], [float(len(x))]
    for k in range(degree):
        square = now * now
        centres.append(float(x @ square / norms[k]))
        before, now = now, _next_polynomial(x, k, centres, norms, before, now)
        norms.append(float(now @ now))
    return Polynomial(tuple(centres), tuple(norms))


def _next_polynomial(
    x: np.ndarray, k: int, centres: Sequence[float], norms: Sequence[float], before: np.ndarray, now: np.ndarray
) -> np.ndarray:
    raised = (x - centres[k]) * now
    return raised - norms[k] / norms[k - 1] * before if k else raised


def _polynomial_columns(x: np.ndarray, basis: Polynomial) -> np.ndarray:
    columns, before, now = [], np.zeros_like(x), np.ones_like(x)
    for k in range(len(basis.centres)):
        before, now = now, _next_polynomial(x, k, basis.centres, basis.norms, before, now)
        columns.append(now / np.sqrt(basis.norms[k + 1]))
    return np.column_stack(columns)


# ----------------------------------------------------------------------------------------------------------------------
# splines


def learn_spline(
    name: str,
    x: np.ndarray,
    *,
    df: int | None = None,
    knots: Sequence[float] | None = None,
    degree: int = CUBIC,
    intercept: bool = False,
    boundary: Sequence[float] | None = None,
    natural: bool = False,
) -> Spline:
    """Return the spline basis with inner knots at quantiles of `x`, as R's ``bs`` and ``ns`` place them.

    Parameters
    ----------
    name : str
        The call as the formula writes it, for messages.
    x : float64 array, shape (n,)
    df : int, optional
        Number of columns; without it and without `knots` there is no inner knot.
    knots : sequence of float, optional
        The inner knots.
    degree, intercept, natural
        See `Spline`.
    boundary : two floats, optional
        The boundary knots; the range of `x` if not given.

    Raises
    ------
    DataError
        `df` is too small, both `df` and `knots` are given, a knot lies outside, or `x` is constant.
    """
    low, high = (float(x.min()), float(x.max())) if boundary is None else _two(name, boundary)
    if not low < high:
        raise DataError(f"{name} needs a variable that varies, and all its values are {low:g}")
    smallest = (1 if natural else degree) + intercept
    if df is not None and knots is not None:
        raise DataError(f"{name} has both df and knots; give one of them")
    if df is not None and df < smallest:
        raise DataError(f"{name} has df = {df}, which must be at least {smallest}")
    if knots is None:
        shares = np.linspace(0, 1, (df or smallest) - smallest + 2)[1:-1]
        inner = np.quantile(x[(x >= low) & (x <= high)], shares)
    else:
        inner = np.sort(np.asarray(knots, dtype=float))
        if len(inner) and not (low < inner[0] and inner[-1] < high):
            raise DataError(f"{name} has a knot outside the boundary, {low:g} to {high:g}")
    edge = degree + 1
    return Spline((low,) * edge + tuple(float(k) for k in inner) + (high,) * edge, degree, intercept, natural)


def _two(name: str, boundary: Sequence[float]) -> tuple[float, float]:
    if len(boundary) != 2:
        raise DataError(f"{name} has {len(boundary)} boundary knots; expected two, as in Boundary.knots = c(0, 10)")
    return min(boundary), max(boundary)


def _spline_columns(x: np.ndarray, basis: Spline) -> np.ndarray:
    if basis.natural:
        return _natural_columns(x, basis)
    return _bsplines(basis)(x)[:, 0 if basis.intercept else 1 :]


def _bsplines(basis: Spline) -> "BSpline":
    """Return all B-splines as one function of x with as many values; beyond the boundary the end polynomials go on."""
    from scipy.interpolate import BSpline  # here, because it takes a fifth of a second to import

    return BSpline(np.array(basis.knots), np.eye(len(basis.knots) - basis.degree - 1), basis.degree, extrapolate=True)


def _natural_columns(x: np.ndarray, basis: Spline) -> np.ndarray:
    """Return B-splines projected on those combinations whose second derivative is zero at both boundary knots."""
    splines, ends = _bsplines(basis), np.array(basis.boundary)
    inside = np.clip(x, *ends)
    columns = splines(inside) + (x - inside)[:, None] * splines(inside, nu=1)  # beyond the boundary: straight lines
    first = 0 if basis.intercept else 1
    curvature = splines(ends, nu=2)[:, first:]
    Q, _ = np.linalg.qr(curvature.T, mode="complete")
    return columns[:, first:] @ Q[:, 2:]


def columns_of_basis(x: np.ndarray, basis: Basis) -> np.ndarray:
    """Return the columns of a basis at `x`, shape (n, k)."""
    if isinstance(basis, Polynomial):
        return _polynomial_columns(x, basis)
    if isinstance(basis, RawPolynomial):
        return x[:, None] ** np.arange(1, basis.degree + 1)
    return _spline_columns(x, basis)
