"""What the columns of X say about each other: which are linear combinations of others, and which nearly so."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RANK_TOLERANCE = (
    1e-7  # lme4's check.rankX: a column is dependent if less than this share of it is left beside the others
)
ROUNDING = 100 * np.finfo(float).eps  # what is left of a column by rounding alone, relative to its largest value
CLEARLY = (
    1e-5  # what is left of a column, by way of cross-products, is known to some 1e-8 (the root of the rounding unit)
)
RANK_WORK = 5e10  # rows x columns^2 of a QR factorisation that is still worth its time: some five seconds
CONDITION_LIMIT = (
    1e3  # ratio of eigenvalues of the correlations: a condition index of 30 (Belsley, Kuh & Welsch 1980, 3.2)
)
NEAR_COLUMNS = 500  # beyond, the indicators of many rare levels alone reach the limit
LOADING = 0.3  # smallest part in a near dependence that is named; below it a column hardly takes part
NEGLIGIBLE = 1e-6  # smallest coefficient of a linear relation that is more than rounding, on standardised columns


@dataclass(frozen=True)
class Relation:
    """A column of X that is a linear combination of earlier ones.

    Attributes
    ----------
    column : int
    coefficients : tuple of (int, float)
        The other columns and what each is multiplied by, on the scale of X.
    """

    column: int
    coefficients: tuple[tuple[int, float], ...]


@dataclass(frozen=True, eq=False)
class _Standardised:
    """Columns of X, centred if X has a column of ones, over their length: ``X = centre + values * length``."""

    values: np.ndarray
    centre: np.ndarray
    length: np.ndarray
    slack: np.ndarray  # what rounding can leave of each column


def dependent_columns(X: np.ndarray, intercept: int | None) -> tuple[int, ...]:
    """Return the columns of X that are linear combinations of earlier ones.

    They are found as by R's QR with limited pivoting (LINPACK's dqrdc2): a column of which nothing is left beside the
    earlier ones goes last. If X has a column of ones the columns are centred first, so that a variable far from zero
    (a year, a time stamp) is not taken for a constant.

    Parameters
    ----------
    X : float64 array, shape (n, p)
    intercept : int or None
        The column of ones.

    Returns
    -------
    tuple of int
        In order; empty if X has full rank or is too large to try (`RANK_WORK`).
    """
    if not worth_trying(X):
        return ()
    scaled = _standardise(X, intercept)
    columns = [j for j in range(X.shape[1]) if j != intercept]
    limits = np.maximum(RANK_TOLERANCE, scaled.slack)
    if _clearly_independent(scaled.values[:, columns], limits[columns]):
        return ()
    R = np.linalg.qr(scaled.values[:, columns], mode="r")
    basis, dependent, most = np.empty((len(R), 0)), [], len(X) - (intercept is not None)
    for place, j in enumerate(columns):
        left = R[:, place] - basis @ (basis.T @ R[:, place])
        size = float(np.linalg.norm(left))
        if size > limits[j] and basis.shape[1] < most:
            left = left - basis @ (basis.T @ left)  # once more: rounding has left a part of the earlier ones
            basis = np.column_stack([basis, left / np.linalg.norm(left)])
        else:
            dependent.append(j)
    return tuple(dependent)


def _clearly_independent(values: np.ndarray, limits: np.ndarray) -> bool:
    """Whether much is left of every column of length 1 beside the earlier ones: quicker than QR, and cruder."""
    if len(values) <= values.shape[1]:
        return False
    try:
        left = np.diag(np.linalg.cholesky(values.T @ values))
    except np.linalg.LinAlgError:
        return False
    return bool((left > np.maximum(CLEARLY, limits)).all())


def worth_trying(X: np.ndarray) -> bool:
    """Whether the columns of X are few enough to look for dependence among them."""
    return len(X) * X.shape[1] ** 2 <= RANK_WORK


def _standardise(X: np.ndarray, intercept: int | None) -> _Standardised:
    centre = np.zeros(X.shape[1]) if intercept is None else X.mean(axis=0)
    values = X - centre
    length = np.sqrt((values**2).sum(axis=0))
    largest = np.abs(X).max(axis=0, initial=0.0) * np.sqrt(len(X))
    length = np.where(length > ROUNDING * largest, length, 0.0)
    safe = np.where(length > 0, length, 1.0)
    return _Standardised(np.where(length > 0, values / safe, 0.0), centre, length, ROUNDING * largest / safe)


def find_relation(X: np.ndarray, column: int, dependent: Sequence[int], intercept: int | None) -> Relation:
    """Return what a dependent column is made of, on the scale of X.

    Parameters
    ----------
    X : float64 array, shape (n, p)
    column : int
        One of `dependent`.
    dependent : sequence of int
        What `dependent_columns` found.
    intercept : int or None
    """
    scaled = _standardise(X, intercept)
    earlier = [k for k in range(column) if k != intercept and k not in set(dependent)]
    R = np.linalg.qr(scaled.values[:, [*earlier, column]], mode="r")
    count = len(earlier)
    solution = np.linalg.solve(R[:count, :count], R[:count, count])
    length, centre = scaled.length, scaled.centre
    parts = [
        (k, float(c * length[column] / length[k]))
        for k, c in zip(earlier, solution, strict=True)
        if abs(c) > NEGLIGIBLE and length[column] > 0
    ]
    constant = centre[column] - sum(c * centre[k] for k, c in parts)
    size = abs(centre[column]) + sum(abs(c * centre[k]) for k, c in parts)
    if intercept is not None and abs(constant) > NEGLIGIBLE * size:
        parts.insert(0, (intercept, float(constant)))
    return Relation(column, tuple(parts))


def relation_text(relation: Relation, names: Sequence[str], intercept: int | None, limit: int = 6) -> str:
    """Return ``c = a + b``, with at most `limit` terms."""
    terms = []
    for place, (k, coefficient) in enumerate(relation.coefficients[:limit]):
        size = f"{abs(coefficient):.4g}"
        term = size if k == intercept else names[k] if size == "1" else f"{size} {names[k]}"
        sign = "-" if coefficient < 0 else "+"
        terms.append((f"-{term}" if sign == "-" else term) if place == 0 else f" {sign} {term}")
    more = len(relation.coefficients) - limit
    return f"{names[relation.column]} = {''.join(terms) or '0'}" + (f" + {more:,} more terms" if more > 0 else "")


@dataclass(frozen=True)
class NearDependence:
    """Columns of X that are nearly linearly dependent.

    Attributes
    ----------
    condition : float
        Largest over smallest eigenvalue of their correlation matrix.
    columns : tuple of int
        Those that take part in the combination with the smallest variance, the strongest first.
    correlation : float
        Of the first two.
    """

    condition: float
    columns: tuple[int, ...]
    correlation: float


def near_dependence(X: np.ndarray, intercept: int | None, left_out: Sequence[int]) -> NearDependence | None:
    """Return the columns of X that are nearly dependent, or None where none are.

    Parameters
    ----------
    X : float64 array, shape (n, p)
    intercept : int or None
        The column of ones; the others are centred if there is one.
    left_out : sequence of int
        Columns that are exactly dependent.
    """
    kept = [j for j in range(X.shape[1]) if j != intercept and j not in set(left_out)]
    if not 2 <= len(kept) <= NEAR_COLUMNS:
        return None
    values = _standardise(X, intercept).values[:, kept]
    correlation = values.T @ values
    sizes, vectors = np.linalg.eigh(correlation)
    if sizes[-1] <= CONDITION_LIMIT * sizes[0]:
        return None
    weight = np.abs(vectors[:, 0])
    order = np.argsort(-weight, kind="stable")
    order = order[: max(2, int((weight > LOADING).sum()))]
    return NearDependence(
        float(sizes[-1] / max(sizes[0], np.finfo(float).tiny)),
        tuple(kept[k] for k in order),
        float(correlation[order[0], order[1]]),
    )


def spans(wide: np.ndarray, columns: np.ndarray) -> bool:
    """Return whether all `columns` (n, k) are linear combinations of those of `wide` (n, m)."""
    if columns.shape[1] == 0:
        return True
    scale = np.linalg.norm(columns, axis=0)
    columns = columns / np.where(scale > 0, scale, 1.0)
    norms = np.linalg.norm(wide, axis=0)
    Q, R = np.linalg.qr(wide / np.where(norms > 0, norms, 1.0))
    Q = Q[:, np.abs(np.diag(R)) > RANK_TOLERANCE]
    return bool((np.linalg.norm(columns - Q @ (Q.T @ columns), axis=0) < RANK_TOLERANCE).all())
