"""Penalised smooths of numeric variables: s(x), s(x, by = f), t2(x, z), as the R package mgcv makes them.

A curve is f(x) = sum_j B_j(x) a_j with the penalty a'Sa on its wiggliness. The columns are turned so that the penalty
is a sum of squares: some columns X are not penalised (straight lines), the others, Z, have effects u with the penalty
u'u / sd^2, which is the density of random effects u ~ N(0, sd^2 I) (Wood 2017, Generalized Additive Models, sections
5.3, 5.5 and 5.8). The curve has the mean 0 over the rows, and S the scale of mgcv, so that sd^2 is sigma^2 over mgcv's
smoothing parameter. What is learned from the data of the fit (knots, the turn) is kept and used again for other rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bayesmm.errors import DataError
from bayesmm.runtime.threads import one_thread

BASES = ("tp", "cr", "ps")  # thin plate, cubic and P-splines
USUAL_BASIS = {"s": "tp", "t2": "cr"}
USUAL_SIZE = {"s": 10, "t2": 5}  # k for each variable, mgcv's
LEAST_SIZE = {"tp": 3, "cr": 3, "ps": 4}
NULL = 2  # functions without a penalty: the constant and the straight line
MOST_CENTRES = (
    2000  # distinct values that a thin plate spline is built on (mgcv's max.knots); of more, so many quantiles
)
ALL_OF = 400  # rows of a matrix of which all eigenvectors are found at once: in some hundredths of a second
CHUNK = 2_000_000  # numbers of the radial functions that are made at a time
DEGREE, DIFFERENCE = 3, 2  # of P-splines: cubic, with second differences penalised
MARGIN = 0.001  # share of the range that P-splines' knots go beyond it
RADIAL = 1 / 12  # eta(r) = r^3 / 12, the thin plate spline's of one variable (Wood 2017, equation 5.12)

Array = np.ndarray
Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Margin:
    """The basis of one variable.

    Attributes
    ----------
    basis : str
        One of `BASES`.
    knots : tuple of float
        Of a thin plate spline the centres.
    weights : tuple of tuples of float
        Of a thin plate spline, (number of centres, k - 2): how the radial functions make its columns.
    shift : float
        What a thin plate spline subtracts from x.
    sizes : tuple of float
        What its columns are divided by.
    ends : tuple of float
        The least and the largest value in the data of the fit.
    """

    basis: str
    knots: tuple[float, ...]
    weights: Rows = ()
    shift: float = 0.0
    sizes: tuple[float, ...] = ()
    ends: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Smooth:
    """How rows become the columns of a smooth.

    Attributes
    ----------
    margins : tuple of Margin
        One for each variable; a surface has all products of their columns.
    turn : tuple of tuples of float
        (columns of the basis, columns used): first those without a penalty, then each penalised part's.
    parts : tuple of int
        Number of columns: without a penalty, then of each penalised part.
    names : tuple of str
        Of the penalised parts.
    levels : tuple of str
        Of the factor by whose levels there is a curve each; empty without.
    reach : tuple of tuples of float
        The least and the largest value of each variable in turn in the rows of each level; empty without.
    """

    margins: tuple[Margin, ...]
    turn: Rows
    parts: tuple[int, ...]
    names: tuple[str, ...]
    levels: tuple[str, ...] = ()
    reach: Rows = ()


@one_thread()
def learn_smooth(
    name: str, function: str, x: Sequence[Array], k: Sequence[int], basis: str, *, centred: bool = True
) -> Smooth:
    """Return the smooth of variables, (n,) each.

    Parameters
    ----------
    name : str
        As in the formula, for messages.
    function : {"s", "t2"}
    x : sequence of arrays
        One variable of "s", two of "t2".
    k : sequence of int
        Number of basis functions of each.
    basis : str
        One of `BASES`.
    centred : bool
        Whether the mean of the curve over the rows is 0; not so where a number multiplies it.

    Raises
    ------
    DataError
        Fewer distinct values, or pairs of them, than basis functions, or too few of these.
    """
    if function == "t2":
        _check_pairs(name, x, k)
    margins = tuple(_margin(name, values, size, basis) for values, size in zip(x, k, strict=True))
    built = [(margin_columns(m, values), _penalty(m, size)) for m, values, size in zip(margins, x, k, strict=True)]
    if function == "s":
        B, S = built[0]
        return Smooth(margins, *_turned(B, S, x[0], centred), ("smooth",))
    return Smooth(margins, *_surface(built), ("both", "first", "second"))


def _check_pairs(name: str, x: Sequence[Array], k: Sequence[int]) -> None:
    pairs, size = len(np.unique(np.column_stack(x), axis=0)), int(np.prod(k))
    if size > pairs:
        raise DataError(
            f"{name} has {' x '.join(map(str, k))} = {size:,} basis functions, which must not be more than the "
            f"distinct pairs of its variables, {pairs:,}; give a smaller k"
        )


def smooth_columns(smooth: Smooth, x: Sequence[Array]) -> tuple[Array, list[Array]]:
    """Return the columns of rows without a penalty, (n, p), and those of each penalised part, (n, q)."""
    B = margin_columns(smooth.margins[0], x[0])
    for margin, values in zip(smooth.margins[1:], x[1:], strict=True):
        B = _products(B, margin_columns(margin, values))
    columns = B @ np.array(smooth.turn)
    ends = np.cumsum(smooth.parts)
    fixed, *penalised = np.split(columns, ends[:-1], axis=1)
    return fixed, penalised


def beyond(smooth: Smooth, x: Sequence[Array], codes: Array | None = None) -> list[tuple[Array, Rows]]:
    """Return which rows are beyond the data of the fit, (n,) bool, with the ends of these.

    Of each level, as `codes` number them, where its own are known.
    """
    ends = tuple(margin.ends for margin in smooth.margins)
    if codes is None or not smooth.reach:
        return [(_outside(ends, x), ends)]
    own = [tuple(zip(level[::2], level[1::2], strict=True)) for level in smooth.reach]
    return [((codes == k) & _outside(ends, x), ends) for k, ends in enumerate(own)]


def _outside(ends: Rows, x: Sequence[Array]) -> Array:
    return np.logical_or.reduce([(v < low) | (v > high) for (low, high), v in zip(ends, x, strict=True)])


# ----------------------------------------------------------------------------------------------------------------------
# the basis of one variable


def _margin(name: str, x: Array, k: int, basis: str) -> Margin:
    distinct, ends = np.unique(x), (float(x.min()), float(x.max()))
    if k < LEAST_SIZE[basis]:
        most = f", and at most {len(distinct):,} here" if len(distinct) >= LEAST_SIZE[basis] else ""
        raise DataError(f'{name} has k = {k}, and bs = "{basis}" needs at least {LEAST_SIZE[basis]}{most}')
    if len(distinct) < LEAST_SIZE[basis]:
        number = "is constant" if len(distinct) == 1 else f"has {len(distinct)} distinct values"
        instead = "leave it out" if len(distinct) == 1 else "write it as it is, without a curve"
        raise DataError(f"the variable of {name} {number}, and a curve needs at least {LEAST_SIZE[basis]}; {instead}")
    if len(distinct) < k:
        raise DataError(
            f"{name} has k = {k}, which must not be above the number of distinct values of its variable, "
            f"{len(distinct)}; give a smaller k, or take its values as levels, C(x)"
        )
    if basis == "cr":
        return Margin(basis, _numbers(np.quantile(distinct, np.linspace(0, 1, k))), ends=ends)
    if basis == "ps":
        return Margin(basis, _numbers(_equal_knots(ends, k)), ends=ends)
    return _thin_plate(x, distinct, k, ends)


def _equal_knots(ends: tuple[float, float], k: int) -> Array:
    low, high = ends
    low, high = low - MARGIN * (high - low), high + MARGIN * (high - low)
    inner = k - DEGREE + 1
    step = (high - low) / (inner - 1)
    return np.linspace(low - DEGREE * step, high + DEGREE * step, inner + 2 * DEGREE)


def _thin_plate(x: Array, distinct: Array, k: int, ends: tuple[float, float]) -> Margin:
    """Return the thin plate regression spline of rank k: the largest eigenvalues of the radial functions' matrix."""
    if len(distinct) > MOST_CENTRES:
        distinct = np.quantile(distinct, np.linspace(0, 1, MOST_CENTRES))
    shift = float(x.mean())
    centres = distinct - shift
    U = _largest(RADIAL * np.abs(centres[:, None] - centres) ** 3, k)
    weights = U @ _without_lines(np.vstack([np.ones_like(centres), centres]) @ U)
    plain = Margin("tp", _numbers(centres), _matrix(weights), shift, (1.0,) * k, ends)
    sizes = np.sqrt(np.square(margin_columns(plain, x)).mean(axis=0))
    return Margin("tp", plain.knots, plain.weights, shift, _numbers(sizes), ends)


def _largest(A: Array, k: int) -> Array:
    """Return the eigenvectors of the k eigenvalues of A that are largest, as numbers without a sign, (m, k).

    In mgcv's order, on which its scale of S rests: the largest with its sign first. Of large matrices by Lanczos'
    method, as mgcv: all of 2,000 take seconds.
    """
    if len(A) <= max(ALL_OF, 4 * k):
        values, vectors = np.linalg.eigh(A)
    else:
        from scipy.sparse.linalg import eigsh  # here, because it takes a fifth of a second to import

        values, vectors = eigsh(A, k, v0=np.sqrt(np.arange(1.0, len(A) + 1)))  # a start that is neither even nor odd
        order = np.argsort(values)
        values, vectors = values[order], vectors[:, order]
    return vectors[:, np.sort(np.argsort(-np.abs(values), kind="stable")[:k])[::-1]]


def _without_lines(A: Array) -> Array:
    """Return the orthonormal columns, (k, k - 2), that the rows of A, (2, k), are orthogonal to.

    By reflections that turn each row into its last entries, as mgcv does it: the scale of S depends on the columns.
    """
    A, k = A.copy(), A.shape[1]
    Q = np.eye(k)
    for i in range(len(A)):
        v = np.where(np.arange(k) < k - i, A[i], 0.0)
        v[k - i - 1] += np.copysign(np.linalg.norm(v), v[k - i - 1])
        H = np.eye(k) - 2 * np.outer(v, v) / (v @ v)
        A, Q = A @ H, Q @ H
    return Q[:, : k - len(A)]


def margin_columns(margin: Margin, x: Array) -> Array:
    """Return the basis functions of one variable at x, (n, k)."""
    if margin.basis == "cr":
        return _cubic(np.array(margin.knots), x)
    if margin.basis == "ps":
        return _bsplines(np.array(margin.knots), x)
    centres, weights, at = np.array(margin.knots), np.array(margin.weights), x - margin.shift
    step = max(1, CHUNK // len(centres))
    radial = [RADIAL * np.abs(at[i : i + step, None] - centres) ** 3 @ weights for i in range(0, max(len(at), 1), step)]
    return np.column_stack([np.vstack(radial), np.ones_like(at), at]) / np.array(margin.sizes)


def _penalty(margin: Margin, k: int) -> Array:
    """Return S, (k, k)."""
    knots = np.array(margin.knots)
    if margin.basis == "ps":
        D = np.diff(np.eye(k), DIFFERENCE, axis=0)
        return D.T @ D
    if margin.basis == "cr":
        D, B = _second_derivatives(knots)
        return D.T @ np.linalg.solve(B, D)
    S, weights, sizes = np.zeros((k, k)), np.array(margin.weights), np.array(margin.sizes)
    radial = RADIAL * np.abs(knots[:, None] - knots) ** 3
    S[: k - NULL, : k - NULL] = weights.T @ radial @ weights
    S = S / np.outer(sizes, sizes)
    return (S + S.T) / 2


def _second_derivatives(knots: Array) -> tuple[Array, Array]:
    """Return D, (k - 2, k), and B, (k - 2, k - 2): second derivatives m at the inner knots solve B m = D a.

    a are the values at the knots (Wood 2017, table 5.1).
    """
    h, k = np.diff(knots), len(knots)
    D, B, inner = np.zeros((k - 2, k)), np.zeros((k - 2, k - 2)), np.arange(k - 2)
    D[inner, inner], D[inner, inner + 2] = 1 / h[:-1], 1 / h[1:]
    D[inner, inner + 1] = -1 / h[:-1] - 1 / h[1:]
    B[inner, inner] = (h[:-1] + h[1:]) / 3
    B[inner[:-1], inner[:-1] + 1] = B[inner[:-1] + 1, inner[:-1]] = h[1:-1] / 6
    return D, B


def _cubic(knots: Array, x: Array) -> Array:
    """Return the natural cubic splines that are 1 at one knot and 0 at the others; straight lines beyond the ends."""
    k, h = len(knots), np.diff(knots)
    D, B = _second_derivatives(knots)
    F = np.vstack([np.zeros(k), np.linalg.solve(B, D), np.zeros(k)])  # second derivatives at all knots
    inside = np.clip(x, knots[0], knots[-1])
    j = np.clip(np.searchsorted(knots, inside, side="right") - 1, 0, k - 2)
    left, right, eye = knots[j + 1] - inside, inside - knots[j], np.eye(k)
    hj = h[j]
    columns = (left / hj)[:, None] * eye[j] + (right / hj)[:, None] * eye[j + 1]
    columns += ((left**3 / hj - hj * left) / 6)[:, None] * F[j] + ((right**3 / hj - hj * right) / 6)[:, None] * F[j + 1]
    slope = (eye[j + 1] - eye[j]) / hj[:, None]
    slope += ((hj - 3 * left**2 / hj) / 6)[:, None] * F[j] + ((3 * right**2 / hj - hj) / 6)[:, None] * F[j + 1]
    return columns + (x - inside)[:, None] * slope


def _bsplines(knots: Array, x: Array) -> Array:
    """Return cubic B-splines; beyond the inner knots straight lines."""
    from scipy.interpolate import BSpline  # here, because it takes a fifth of a second to import

    splines = BSpline(knots, np.eye(len(knots) - DEGREE - 1), DEGREE)
    inside = np.clip(x, knots[DEGREE], knots[-DEGREE - 1])
    return splines(inside) + (x - inside)[:, None] * splines(inside, nu=1)


# ----------------------------------------------------------------------------------------------------------------------
# the turn


def _turned(B: Array, S: Array, x: Array, centred: bool) -> tuple[Rows, tuple[int, ...]]:
    """Return the turn of a curve's columns B, (n, k), with the penalty S, and the numbers of its columns."""
    S = S / _size(B, S)
    Q = _complement(B.mean(axis=0)) if centred else np.eye(len(S))
    values, vectors = np.linalg.eigh(Q.T @ S @ Q)
    values, vectors = values[::-1], vectors[:, ::-1]
    rank = len(S) - NULL
    free = Q @ vectors[:, rank:]
    free = free * np.sign((B @ free).T @ (x - x.mean())) if centred else _constant_first(B, free, x)
    wiggly = Q @ vectors[:, :rank] / np.sqrt(values[:rank])
    return _matrix(np.column_stack([free, _signed(wiggly)])), (free.shape[1], rank)


def _size(B: Array, S: Array) -> float:
    """Return what mgcv divides a penalty by: the size of S over that of B'B."""
    return float(np.abs(S).sum(axis=0).max() / np.abs(B).sum(axis=1).max() ** 2)


def _complement(c: Array) -> Array:
    """Return an orthonormal basis, (k, k - 1), of what is orthogonal to c."""
    return np.linalg.qr(c[:, None], mode="complete")[0][:, 1:]


def _constant_first(B: Array, free: Array, x: Array) -> Array:
    """Return the columns without a penalty, turned so that the first is constant."""
    a = np.linalg.lstsq(B @ free, np.ones(len(B)))[0]
    turned = free @ np.column_stack([a / np.linalg.norm(a), _complement(a)])
    turned[:, 1:] *= np.sign((B @ turned[:, 1:]).T @ (x - x.mean()))
    return turned


def _signed(columns: Array) -> Array:
    """Return columns whose largest entry is positive, so that they do not depend on the linear algebra's signs."""
    largest = columns[np.abs(columns).argmax(axis=0), range(columns.shape[1])]
    return columns * np.sign(largest)


def _products(A: Array, B: Array) -> Array:
    """Return all products of two bases' columns, (n, k_A k_B), the second's running fastest."""
    return (A[:, :, None] * B[:, None, :]).reshape(len(A), -1)


def _surface(built: Sequence[tuple[Array, Array]]) -> tuple[Rows, tuple[int, ...]]:
    """Return the turn of a surface: the products of penalised and of other columns (Wood, Scheipl & Faraway 2013).

    Three parts have a penalty: wiggly in both variables, in the first, in the second.
    """
    (A, ranged_A, null_A), (C, ranged_C, null_C) = (_natural(B, S) for B, S in built)
    pairs = ((null_A, null_C), (ranged_A, ranged_C), (ranged_A, null_C), (null_A, ranged_C))
    free, *penalised = (np.kron(one, other) for one, other in pairs)
    columns = _products(A, C)
    means = (columns @ free).mean(axis=0)
    free = free @ _complement(means)
    parts = [_signed(part / np.sqrt(_size(columns @ part, np.eye(part.shape[1]))) ** -1) for part in penalised]
    return _matrix(np.column_stack([_signed(free), *parts])), (free.shape[1], *(p.shape[1] for p in parts))


def _natural(B: Array, S: Array) -> tuple[Array, Array, Array]:
    """Return the basis, and what makes of it columns with the penalty I and columns without one, of mean square 1."""
    values, vectors = np.linalg.eigh(S)
    ranged, null = vectors[:, NULL:] / np.sqrt(values[NULL:]), vectors[:, :NULL]
    ranged, null = (T / np.sqrt(np.square(B @ T).mean()) for T in (ranged, null))
    return B, ranged, null


def _numbers(values: Array) -> tuple[float, ...]:
    return tuple(map(float, values))


def _matrix(values: Array) -> Rows:
    return tuple(map(_numbers, values))
