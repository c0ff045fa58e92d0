"""From rows to cross-products: all that a Gaussian mixed model needs of its data.

The log marginal likelihood depends on the rows only through [Z X r]'W[Z X r] (Bates et al. 2015, section 3). They are
formed in one pass, in the blocks that the Cholesky factorisation of ``gaussian`` wants: the factor with the most
random effects leads and is block-diagonal; what it is coupled to (the other factors and the fixed effects, together
*the rest*) is kept sparse.

Levels of the leading factor that have equal cross-products share one *pattern*. A pattern keeps their number, the sum
of their Z'Wr and the sum of its outer products, which is all that the likelihood asks of them; a balanced design has
one pattern.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from bayesmm.design.residual.correlation import Correlation
from bayesmm.errors import DataError
from bayesmm.likelihood.compiled import made_once
from bayesmm.likelihood.dense_coupling import LEAST_DENSITY, LEAST_WORK, dense_derivatives, dense_elimination
from bayesmm.likelihood.gaussian_data import CrossProductsData, Leading, Rest
from bayesmm.likelihood.gaussian_lanes import MANY, MOST_COUPLED, in_lanes, lanes_derivatives, lanes_elimination
from bayesmm.likelihood.packed import Floats, Ints, pack
from bayesmm.likelihood.patterns import patterns
from bayesmm.likelihood.sparse_levels import SPARSE, Kin
from bayesmm.likelihood.turned import turned_products

# Pairs of columns in one level from which on a product of matrices takes their place: 400 columns one by one took 1 s.
# Below it the order of the sums, and so the last digits, are as they were.
MANY_PAIRS = 2500


@dataclass(frozen=True)
class Factor:
    """The random effects of one grouping factor, row by row.

    Attributes
    ----------
    index : (n,) int64
        Level of each row, from 0.
    Z : (n, q) float64
        Values of the q coefficients' columns in each row.
    n_levels : int
        G; every level from 0 to G - 1 occurs.
    turn : (G, G) float64 or None
        Where the levels are not independent: their effects are turn f with f that are. See ``turned``.
    kin : Kin or None
        Where they are not, and lead with the sparse inverse of their covariance. See ``sparse_levels``.
    """

    index: Ints
    Z: Floats
    n_levels: int
    turn: Floats | None = None
    kin: Kin | None = None

    @property
    def size(self) -> int:
        """Number of random effects, G q."""
        return self.n_levels * self.Z.shape[1]


class Source(NamedTuple):
    """What cross-products were made of."""

    factors: tuple[Factor, ...]
    X: Floats  # (n, p)
    r: Floats  # (n,)
    w: Floats  # (n,)
    correlation: Correlation | None = None  # of the residuals


@dataclass(frozen=True)
class CrossProducts:
    """The blocks of [Z X r]'W[Z X r].

    Attributes
    ----------
    leading, rest : Leading, Rest
        See there.
    rWr : float
        Weighted sum of squares of r.
    n : int
        Number of rows.
    sum_log_weights : float
        Sum of log w; 0 without weights.
    p : int
        Number of fixed columns: the last p of the rest.
    order : tuple of int
        The factors as given, in the order used here: ``order[0]`` leads.
    pattern : (G,) int64
        Pattern of each level of the leading factor.
    z : (G, q) float64
        Z'Wr of each level of the leading factor.
    source : Source or None
        The rows, to which ``triangular`` goes back where cross-products have too few digits; None where they stay with
        the engine that holds them.
    kin : Kin or None
        What relates the levels of the leading factor, which are then all animals that it has.
    """

    leading: Leading
    rest: Rest
    rWr: float
    n: int
    sum_log_weights: float
    p: int
    order: tuple[int, ...]
    pattern: Ints
    z: Floats
    source: Source | None
    kin: Kin | None = None

    @cached_property
    def largest(self) -> float:
        """The largest sum of squares of a random effect's column within a level."""
        rest = np.diag(self.rest.A)[: len(self.rest.z) - self.p]
        lead = np.diagonal(self.leading.A, axis1=1, axis2=2)
        return float(max(lead.max(initial=0.0), rest.max(initial=0.0)))

    @cached_property
    def triangle(self) -> Floats:
        """W^1/2 [Z X r], random effects level by level in this order, reduced to a triangle by QR: dense."""
        dense = []
        for k in self.order:
            f = self.source.factors[k]
            own = np.zeros((self.n, f.n_levels, f.Z.shape[1]))
            own[np.arange(self.n), f.index] = f.Z
            own = own.reshape(self.n, -1)
            dense.append(own if f.turn is None else own @ f.turn)
        rows = np.column_stack([*dense, self.source.X, self.source.r]) * np.sqrt(self.source.w)[:, None]
        rows = rows if self.source.correlation is None else self.source.correlation.times(rows)
        return np.linalg.qr(rows, mode="r") if len(rows) > rows.shape[1] else rows

    @made_once
    def words(self) -> Ints:
        """The leading factor, the rest and r'Wr as one vector of words: `gaussian_likelihood.relative` reads it."""
        lead, lanes, functions, kin = self.leading, np.zeros((0, 0, 0)), (), ()
        if self.side_by_side:
            lanes = in_lanes(lead.count, lead.A, lead.coupling, lead.sum_z, lead.sum_zz)
            functions = lanes_elimination().address, lanes_derivatives().address
        elif self.densely_coupled:
            functions = dense_elimination().address, dense_derivatives().address
        elif self.kin is not None:
            functions, kin = tuple(made().address for made in SPARSE), pack(self.kin.data)
        return pack(CrossProductsData(lead, self.rest, [self.rWr], lanes, functions, kin))

    def __getstate__(self) -> dict:
        """Leave out the words, whose addresses are those of one process."""
        return {name: value for name, value in vars(self).items() if name != "words"}

    @property
    def side_by_side(self) -> bool:
        """Whether the patterns are those of the only factor, and so many that it pays to compile code for that."""
        P, q = self.leading.sum_z.shape
        return len(self.order) == 1 and P >= MANY and 0 < self.p * q <= MOST_COUPLED and self.kin is None

    @property
    def densely_coupled(self) -> bool:
        """Whether the patterns are coupled to so much of the rest that products of dense matrices serve."""
        widths, m = np.diff(self.leading.start).astype(float), len(self.rest.z)
        wide = (
            widths.sum() > LEAST_DENSITY * m * len(widths) and self.leading.A.shape[1] * (widths @ widths) > LEAST_WORK
        )
        return len(self.order) > 1 and self.kin is None and bool(wide)

    @property
    def q(self) -> tuple[int, ...]:
        """Coefficients of each factor, the leading one first; empty without random effects."""
        return tuple(int(q) for q in (self.leading.A.shape[1], *self.rest.q)) if self.order else ()

    @property
    def n_levels(self) -> tuple[int, ...]:
        """Levels of each factor, the leading one first."""
        return (len(self.pattern), *(int(g) for g in self.rest.n_levels)) if self.order else ()


def cross_products(
    factors: list[Factor],
    X: Floats,
    r: Floats,
    weights: Floats | None = None,
    correlation: Correlation | None = None,
) -> CrossProducts:
    """Reduce n rows to the cross-products of the random effects, the fixed columns and the response.

    Parameters
    ----------
    factors : list of Factor
        One for each grouping factor, in any order; may be empty.
    X : (n, p) float64
        Fixed columns, in the basis in which they are wanted.
    r : (n,) float64
        Response, less its offset and whatever else is known of it.
    weights : (n,) float64, optional
        Positive prior weights: the residual variance of row i is sigma^2 / w_i.
    correlation : Correlation, optional
        Of the residuals; W is then W^1/2 C^-1 W^1/2.

    Returns
    -------
    CrossProducts

    Raises
    ------
    DataError
        No factor has the rows of each series in one level.
    """
    w = np.ones(len(r)) if weights is None else weights
    rows = Rows(None, None, w) if correlation is None else Rows(*correlation.precision(w))
    order, lead, others = ordered(factors, len(r), rows)
    rest_A, rest_z = rest_products(others, X, r, rows)
    found = leading_products(lead, others, X, r, rows)
    found = found if lead.turn is None else turned_products(lead.turn, *found)
    leading, pattern, z = merged(*found) if lead.kin is None else apart(*found)
    rest = Rest(
        rest_A,
        rest_z,
        np.array([f.Z.shape[1] for f in others], dtype=np.int64),
        np.array([f.n_levels for f in others], dtype=np.int64),
    )
    sum_log = 0.0 if weights is None else float(np.log(weights).sum())
    sum_log -= 0.0 if correlation is None else float(correlation.logdet)
    source = Source(tuple(factors), X, r, w, correlation)
    rWr = float(rows.left(r) @ (rows.w * rows.right(r)))
    own = tuple(order), pattern, z, source, lead.kin
    return CrossProducts(leading, rest, rWr, len(r), sum_log, X.shape[1], *own)


class Rows(NamedTuple):
    """The entries of W: rows i and j with the value w; without i and j it is diagonal."""

    i: Ints | None
    j: Ints | None
    w: Floats

    def left(self, values):
        """Return what belongs to the rows i of an array or a factor of all rows."""
        return _taken(values, self.i)

    def right(self, values):
        """Return what belongs to the rows j."""
        return _taken(values, self.j)


def _taken(values, rows: Ints | None):
    if rows is None:
        return values
    if isinstance(values, Factor):
        return Factor(values.index[rows], values.Z[rows], values.n_levels)
    return values[rows]


def ordered(factors: list[Factor], n: int, rows: Rows) -> tuple[list[int], Factor, list[Factor]]:
    """Return the order of the factors, the leading one (of no level where there is none), and the others.

    One leads whose levels share no entry of W, so that it is block-diagonal; one of related levels always does.
    """
    alone = [factor.turn is None and factor.kin is None for factor in factors]
    order = sorted(range(len(factors)), key=lambda k: (alone[k], -factors[k].size))
    if rows.i is not None and order:
        within = [k for k in order if np.array_equal(factors[k].index[rows.i], factors[k].index[rows.j])]
        if not within:
            raise DataError(
                "the series of the correlated residuals do not lie within the levels of any grouping factor, so that "
                "the likelihood has no sparse form; add a group term of the series, such as (1 | gr), or sample()"
            )
        order.sort(key=lambda k: k != within[0])
    ordered = [factors[k] for k in order]
    lead = ordered[0] if ordered else Factor(np.zeros(n, np.int64), np.empty((n, 0)), 0)
    return order, lead, ordered[1:]


def _by_level(index: Ints, n_levels: int, left: Floats, right: Floats) -> Floats:
    """Return the (n_levels, a, b) sums over the rows of each level of left_i right_i', for (n, a) and (n, b) arrays."""
    if n_levels == 1 and left.shape[1] * right.shape[1] > MANY_PAIRS:
        return (left.T @ right)[None]
    out = np.empty((n_levels, left.shape[1], right.shape[1]))
    for a in range(left.shape[1]):
        for b in range(right.shape[1]):
            out[:, a, b] = np.bincount(index, left[:, a] * right[:, b], n_levels)
    return out


def _pairs(left: Factor, right: Factor, wZ: Floats) -> tuple[Ints, Ints, Floats]:
    """Return the observed pairs of levels (of left, of right), sorted, and their (pairs, q_left, q_right) products."""
    key, inverse = np.unique(left.index * right.n_levels + right.index, return_inverse=True)
    return key // right.n_levels, key % right.n_levels, _by_level(inverse, len(key), wZ, right.Z)


def rest_products(others: list[Factor], X: Floats, r: Floats, rows: Rows) -> tuple[Floats, Floats]:
    """Return the dense (m, m) cross-products of the rest and its (m,) products with r."""
    sizes = [f.size for f in others]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(int)
    m, fixed = offsets[-1] + X.shape[1], slice(offsets[-1], None)
    A, z = np.zeros((m, m)), np.zeros(m)
    right_X, right_r, right = rows.right(X), rows.right(r), [rows.right(f) for f in others]
    for k, f in enumerate(map(rows.left, others)):
        wZ, own = f.Z * rows.w[:, None], slice(offsets[k], offsets[k + 1])
        z[own] = _by_level(f.index, f.n_levels, wZ, right_r[:, None]).ravel()
        A[own, fixed] = _by_level(f.index, f.n_levels, wZ, right_X).reshape(f.size, -1)
        for j in range(k, len(others)):
            g, h, values = _pairs(f, right[j], wZ)
            q, qj = values.shape[1:]
            for a in range(q):
                for b in range(qj):
                    A[offsets[k] + g * q + a, offsets[j] + h * qj + b] = values[:, a, b]
    left_X = rows.left(X)
    A[fixed, fixed], z[fixed] = left_X.T @ (right_X * rows.w[:, None]), left_X.T @ (rows.w * right_r)
    upper = np.triu(A)
    return upper + np.triu(upper, 1).T, z


def leading_products(whole: Factor, others: list[Factor], X: Floats, r: Floats, W: Rows):
    """Return A (G, q, q), z (G, q) and the coupling of each level as (start, columns, values), levels unmerged."""
    G, q, lead = whole.n_levels, whole.Z.shape[1], W.left(whole)
    wZ = lead.Z * W.w[:, None]
    parts = [(*_pairs(lead, W.right(f), wZ), f.size) for f in others]
    coupling = coupled(G, q, parts, _by_level(lead.index, G, wZ, W.right(X)))
    A = _by_level(lead.index, G, wZ, W.right(whole).Z)
    z = _by_level(lead.index, G, wZ, W.right(r)[:, None])[:, :, 0]
    return A, z, *coupling


def coupled(G: int, q: int, parts: Sequence[tuple[Ints, Ints, Floats, int]], with_X: Floats):
    """Return the coupling of each level of the leading factor as (start, columns, values).

    Parameters
    ----------
    G, q : int
        Its levels, and the coefficients of each.
    parts : sequence of (levels, levels of the other, (pairs, q, q_other) products, its random effects)
        For each other factor.
    with_X : (G, q, p) float64
        The products with the fixed columns.
    """
    rows, columns, values, offset = [], [], [], 0
    for g, h, pair_values, size in parts:
        width = pair_values.shape[2]
        for b in range(width):
            rows.append(g)
            columns.append(offset + h * width + b)
            values.append(pair_values[:, :, b])
        offset += size
    for j in range(with_X.shape[2]):
        rows.append(np.arange(G))
        columns.append(np.full(G, offset + j))
        values.append(with_X[:, :, j])
    rows, columns = (np.concatenate([np.empty(0, np.int64), *part]) for part in (rows, columns))
    values = np.concatenate([np.empty((0, q)), *values])
    by_level = np.lexsort((columns, rows))
    start = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=G))]).astype(np.int64)
    return start, columns[by_level], np.ascontiguousarray(values[by_level])


def apart(A: Floats, z: Floats, start: Ints, columns: Ints, values: Floats) -> tuple[Leading, Ints, Floats]:
    """Return what `merged` does with a pattern for each level."""
    G = len(A)
    leading = Leading(
        np.ones(G), np.ascontiguousarray(A), start, columns.astype(np.int64), values, z, z[:, :, None] * z[:, None, :]
    )
    return leading, np.arange(G), z


def merged(A: Floats, z: Floats, start: Ints, columns: Ints, values: Floats) -> tuple[Leading, Ints, Floats]:
    """Give levels with equal cross-products one pattern; return the patterns, the pattern of each level, and z."""
    pattern, first = patterns(A, start, columns, values)
    P, q = len(first), A.shape[1]
    sum_z = np.zeros((P, q))
    np.add.at(sum_z, pattern, z)
    sum_zz = _by_level(pattern, P, z, z)
    width = np.diff(start)[first]
    take = np.repeat(start[first] - np.concatenate([[0], np.cumsum(width)[:-1]]), width) + np.arange(width.sum())
    leading = Leading(
        np.bincount(pattern, minlength=P).astype(np.float64),
        np.ascontiguousarray(A[first]),
        np.concatenate([[0], np.cumsum(width)]).astype(np.int64),
        columns[take].astype(np.int64),
        np.ascontiguousarray(values[take]),
        sum_z,
        sum_zz,
    )
    return leading, pattern, z
