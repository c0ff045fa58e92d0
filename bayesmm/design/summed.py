"""Matrices whose rows stay with the engine that holds them: columns known by their sums and cross-products alone.

An engine sums products of m *base columns*: the column of ones, the columns that the terms are made of less their
means, the response and the offset. X, each Z and y are combinations of these, C A, of which only A is here: their
cross-products are A'(C'C)A. What asks for a row raises a `DataError`, so that no number can rest on rows that are not
there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bayesmm.design.sum_sets import ResidualSums
from bayesmm.errors import DataError

# Relative variance of a direction of the base columns below which it is rounding: sums are right to some 1e-13.
ROUNDING = 1e-11
# A column that varies by no more than this share of its size is constant, but for rounding.
CONSTANT = 1e-8
SAME = 1e-9  # relative: a mean of squares that is this near to what an indicator has
MORE_ROWS = 5  # equivalent rows beside the number of columns: a matrix has more rows than columns


@dataclass(frozen=True, eq=False)
class LevelSums:
    """The sums over the rows of each level of one grouping factor.

    Attributes
    ----------
    left : (l,) int64
        The base columns that its Z is made of; the first is the column of ones.
    count : (G,) int64
        Rows of each level.
    products : (G, l, m) float64
        Of those with all base columns, weighted.
    """

    left: np.ndarray
    count: np.ndarray
    products: np.ndarray


@dataclass(frozen=True, eq=False)
class PairSums:
    """The sums over the rows of each pair of levels of two grouping factors that occurs.

    Attributes
    ----------
    blocks : (int, int)
        The factors' places in the design, the smaller one first.
    first, second : (pairs,) int64
        The levels, sorted by the first.
    products : (pairs, l_first, l_second) float64
        Of the `left` columns of the two, weighted.
    """

    blocks: tuple[int, int]
    first: np.ndarray
    second: np.ndarray
    products: np.ndarray


@dataclass(frozen=True, eq=False)
class Sums:
    """All that an engine has told of the rows of a linear model.

    Attributes
    ----------
    engine : str
        Whose sums they are, as a sentence names it.
    n : int
        Number of rows.
    names : tuple of str, length m
        Of the base columns; the first is the column of ones.
    shift : (m,) float64
        What was taken from each base column: its mean, and 0 for the column of ones.
    low, high : (m,) float64
        The least and the greatest value of each, before that.
    plain, weighted : (m, m) float64
        Sums of the products of base columns, the second with the prior weights.
    sum_log_weights : float
    has_weights : bool
    levels : tuple of LevelSums
        One for each block of the design.
    pairs : tuple of PairSums
        For each two of them.
    robust_scale : float
        1.4826 times the median absolute deviation of the response less its offset, or their sd where that is 0.
    facts : mapping
        Of the table's columns, for predictions at typical values: name -> (levels or None, mean or most frequent).
    mean_inverse_weight : float
        Mean over the rows of 1 / w.
    sample : pandas.DataFrame
        A few rows, of which the coding of terms can be read off; levels of factors are none that go together.
    residual : ResidualSums or None
        Of residuals with a structure whose parameters are estimated: see `bayesmm.design.summed_residual`.
    """

    engine: str
    n: int
    names: tuple[str, ...]
    shift: np.ndarray
    low: np.ndarray
    high: np.ndarray
    plain: np.ndarray
    weighted: np.ndarray
    sum_log_weights: float
    has_weights: bool
    levels: tuple[LevelSums, ...]
    pairs: tuple[PairSums, ...]
    robust_scale: float
    facts: dict
    sample: object
    mean_inverse_weight: float = 1.0
    residual: ResidualSums | None = None

    @cached_property
    def rows(self) -> np.ndarray:
        """As many rows as there are columns and a few more, (N, m), with the same means and mean products as all n."""
        return equivalent_rows(self.plain / self.n)

    @cached_property
    def weighted_rows(self) -> np.ndarray:
        """Rows, (N, m), whose products are the weighted ones: rows'rows = C'WC."""
        total = self.weighted[0, 0]
        found = equivalent_rows(self.weighted / total)
        return found * np.sqrt(total / len(found))

    def pair(self, first: int, second: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the observed pairs of levels of two blocks, and their products, (pairs, l_first, l_second)."""
        for found in self.pairs:
            if found.blocks == (first, second):
                return found.first, found.second, found.products
            if found.blocks == (second, first):
                return found.second, found.first, found.products.transpose(0, 2, 1)
        raise KeyError((first, second))


def equivalent_rows(means: np.ndarray) -> np.ndarray:
    """Return N rows, (N, m), whose mean products are `means`, (m, m), and whose first column is 1 in all of them.

    They serve in the place of all rows where only first and second moments count. What a direction has by rounding
    alone becomes 0, so that columns which depend on one another do so here too.
    """
    mean = means[0]
    covariance = (means - np.outer(mean, mean))[1:, 1:]
    sizes = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    safe = np.where(sizes > 0, sizes, 1.0)
    values, vectors = np.linalg.eigh(covariance / np.outer(safe, safe))
    values = np.where(values > ROUNDING * max(values.max(initial=0.0), 0.0), values, 0.0)
    root = np.sqrt(values)[:, None] * vectors.T * sizes
    N = len(means) + MORE_ROWS
    across = np.linalg.qr(np.column_stack([np.ones(N), np.eye(N)[:, : len(root)]]))[0][:, 1:] * np.sqrt(N)
    return np.column_stack([np.ones(N), mean[1:] + across @ root])


def absent_rows(engine: str) -> DataError:
    """Return what is said where the rows themselves are asked for."""
    return DataError(
        f"this needs the rows of the data, of which {engine} gave sums alone; predict_to() writes predictions and "
        "residuals of all rows, and for all else make the model of a frame in memory, such as a sample of the rows"
    )


class Elsewhere:
    """What is in the place of an array of rows: whatever is done with it raises a `DataError`.

    `source` is the lazy frame of the rows, where it is at hand: it is of this session, and stored nowhere.
    """

    def __init__(self, sums: Sums, source: object = None) -> None:
        self.sums, self.source = sums, source

    def __getstate__(self) -> dict:
        return vars(self) | {"source": None}

    def __len__(self) -> int:
        return self.sums.n

    def _refuse(self, *args: object, **kwargs: object):
        raise absent_rows(self.sums.engine)

    __array__ = __array_ufunc__ = __array_function__ = __getitem__ = __iter__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = __neg__ = __matmul__ = __rmatmul__ = _refuse

    def __getattr__(self, name: str):
        if name.startswith("_") or name in ("sums", "source"):
            raise AttributeError(name)
        raise absent_rows(self.sums.engine)


class RowLevels(Elsewhere):
    """The level of each row in one grouping factor; known is how many rows each level has."""

    def __init__(self, sums: Sums, block: int) -> None:
        super().__init__(sums)
        self.block = block

    @property
    def counts(self) -> np.ndarray:
        """Rows of each level, (G,)."""
        return self.sums.levels[self.block].count


class SummedMatrix(Elsewhere):
    """C A: columns that are combinations of the base columns.

    Attributes
    ----------
    sums : Sums
    A : (m, p) float64
    """

    def __init__(self, sums: Sums, A: np.ndarray) -> None:
        super().__init__(sums)
        self.A = A

    @property
    def shape(self) -> tuple[int, int]:
        """(n, p)."""
        return self.sums.n, self.A.shape[1]

    def __getitem__(self, key: object):
        if not (isinstance(key, tuple) and len(key) == 2 and key[0] == slice(None)):
            raise absent_rows(self.sums.engine)
        A = self.A[:, key[1]]
        return SummedColumn(self.sums, A) if A.ndim == 1 else SummedMatrix(self.sums, A)

    def __matmul__(self, other: np.ndarray):
        A = self.A @ np.asarray(other)
        return SummedColumn(self.sums, A) if A.ndim == 1 else SummedMatrix(self.sums, A)

    def mapped(self, columns: Callable[[np.ndarray], np.ndarray]) -> "SummedMatrix":
        """Return the matrix after operations on columns, which A takes as the rows would."""
        return SummedMatrix(self.sums, columns(self.A))

    @property
    def rows(self) -> np.ndarray:
        """Equivalent rows, (N, p): see `equivalent_rows`."""
        return self.sums.rows @ self.A

    @property
    def weighted_rows(self) -> np.ndarray:
        """Rows, (N, p), whose products are the weighted ones of all n."""
        return self.sums.weighted_rows @ self.A


class SummedColumn(Elsewhere):
    """C a: one column, a combination of the base columns; `a` has shape (m,)."""

    def __init__(self, sums: Sums, a: np.ndarray) -> None:
        super().__init__(sums)
        self.a = a

    @property
    def shape(self) -> tuple[int]:
        """(n,)."""
        return (self.sums.n,)

    def __add__(self, other: "SummedColumn") -> "SummedColumn":
        if not isinstance(other, SummedColumn):
            raise absent_rows(self.sums.engine)
        return SummedColumn(self.sums, self.a + other.a)

    def __sub__(self, other: "SummedColumn") -> "SummedColumn":
        if not isinstance(other, SummedColumn):
            raise absent_rows(self.sums.engine)
        return SummedColumn(self.sums, self.a - other.a)

    def any(self) -> bool:
        """Return whether a row has another value than 0."""
        return bool(self.a.any())

    def mean(self) -> float:
        """Return the mean over the rows, each counted once."""
        return float(self.sums.plain[0] @ self.a / self.sums.n)

    def std(self, ddof: int = 0) -> float:
        """Return the standard deviation over the rows."""
        own = self.a.copy()
        own[0] = 0.0  # a constant adds nothing but rounding
        squares = own @ self.sums.plain @ own - (self.sums.plain[0] @ own) ** 2 / self.sums.n
        return float(np.sqrt(max(squares, 0.0) / (self.sums.n - ddof)))

    @property
    def rows(self) -> np.ndarray:
        """Equivalent rows, (N,)."""
        return self.sums.rows @ self.a

    @property
    def weighted_rows(self) -> np.ndarray:
        """Rows, (N,), whose products are the weighted ones of all n."""
        return self.sums.weighted_rows @ self.a

    @property
    def range(self) -> tuple[float, float] | None:
        """The least and the greatest value where one base column alone makes it; None of others."""
        used = np.flatnonzero(self.a[1:]) + 1
        if len(used) != 1:
            return None
        k, s = used[0], self.sums
        ends = sorted(self.a[k] * (end - s.shift[k]) + self.a[0] for end in (s.low[k], s.high[k]))
        return ends[0], ends[1]


def same_column(one: SummedColumn, other: SummedColumn) -> bool:
    """Return whether two columns of two designs have the same number of rows, the same ends, mean and spread."""
    moments = [(column.mean(), column.std(), *(column.range or (0.0, 0.0))) for column in (one, other)]
    scale = one.std() or abs(one.mean()) or 1.0
    return len(one) == len(other) and bool(np.allclose(*moments, rtol=SAME, atol=SAME * scale))


def in_terms_of(matrix: SummedMatrix, sums: Sums) -> SummedMatrix | None:
    """Return a matrix of one design as combinations of the base columns of another; None where one is not there."""
    own = matrix.sums
    used = [k for k in range(len(own.names)) if k == 0 or matrix.A[k].any()]
    if own is sums:
        return matrix
    if any(own.names[k] not in sums.names for k in used):
        return None
    A, natural = np.zeros((len(sums.names), matrix.A.shape[1])), matrix.A[0] - own.shift @ matrix.A
    for k in used[1:]:
        A[sums.names.index(own.names[k])] = matrix.A[k]
    A[0] = natural + sums.shift @ A
    return SummedMatrix(sums, A)


def is_summed(design) -> bool:
    """Return whether a design has sums in the place of rows."""
    return isinstance(design.X, SummedMatrix)


# ----------------------------------------------------------------------------------------------------------------------
# what both kinds of columns are asked


def rows_of(values):
    """Return the rows of a matrix or a column; equivalent ones where the rows are elsewhere."""
    return values.rows if isinstance(values, SummedMatrix | SummedColumn) else values


def weighted_rows(values, root: np.ndarray | None):
    """Return the rows times the roots of their weights, (n,); equivalent ones where the rows are elsewhere."""
    if isinstance(values, SummedMatrix | SummedColumn):
        return values.weighted_rows
    if root is None:
        return values
    return values * (root if values.ndim == 1 else root[:, None])


def mean(column) -> float:
    """Return the mean of a column, (n,)."""
    return float(column.mean())


def sd(column, ddof: int = 1) -> float:
    """Return the standard deviation of a column, (n,)."""
    return column.std(ddof) if isinstance(column, SummedColumn) else float(np.std(column, ddof=ddof))


def is_constant(column) -> bool:
    """Return whether all rows of a column, (n,), have the same value."""
    if not isinstance(column, SummedColumn):
        return bool(np.ptp(column) == 0)
    return column.std() <= CONSTANT * float(np.sqrt(np.mean(column.rows**2)))


def largest(column) -> float:
    """Return the largest size of an entry of a column, (n,); of others than one base column's, about that."""
    if not isinstance(column, SummedColumn):
        return float(np.abs(column).max())
    ends = column.range
    return float(np.sqrt(np.mean(column.rows**2))) if ends is None else max(abs(ends[0]), abs(ends[1]))


def is_indicator(column, value: float) -> bool:
    """Return whether a column, (n,), is 0 or `value` in every row.

    Of values between 0 and v the sum of x (v - x) is 0 where all are at the ends.
    """
    if not isinstance(column, SummedColumn):
        return bool(np.isin(column, (0, value)).all())
    ends, low, high = column.range, min(0.0, value), max(0.0, value)
    if ends is None or ends[0] < low - SAME * abs(value) or ends[1] > high + SAME * abs(value):
        return False
    x = column.rows
    return bool(abs(np.mean(x * (value - x))) <= SAME * value**2)
