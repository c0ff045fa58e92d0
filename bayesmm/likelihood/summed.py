"""Cross-products of a design whose rows stay with an engine: those of its base columns, in other bases.

With X = C A and Z_k = C A_k, the products of V = X M and of Z_k B_k are M'A'(C'C)A M and so on: all that the likelihood
asks for follows from what `bayesmm.design.summed.Sums` has, by level and by pair of levels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import solve_triangular

from bayesmm.design.summed import LevelSums, SummedColumn, SummedMatrix, Sums
from bayesmm.likelihood.crossproducts import CrossProducts, Floats, Ints, coupled, merged
from bayesmm.likelihood.gaussian_data import Rest
from bayesmm.likelihood.orthogonal import Columns, orthonormal, residual

# Sums of squares are known to some 1e-13 of themselves; of a response that its columns explain but for this share, what
# is left has fewer than four digits.
EXPLAINED = 1e-9


def orthonormal_of_sums(X: SummedMatrix, y: SummedColumn) -> tuple[SummedMatrix, Floats, SummedColumn, Floats]:
    """Return what `orthonormal` and `residual` return of rows: V, R, what V leaves of y, and V'Wy."""
    rows = X.weighted_rows
    ones = np.ones(len(rows))
    V, R = orthonormal(rows, ones)
    _, coefficients = residual(V, y.weighted_rows, ones)
    own = X @ solve_triangular(R, np.eye(len(R))) if len(R) else X
    return own, R, y - own @ coefficients, coefficients


def is_exact(r: SummedColumn, y: SummedColumn) -> bool:
    """Return whether so little of a response is left that its sum of squares has no digits."""
    sums, own = r.sums, y.a.copy()
    own[0] = 0.0
    return float(r.a @ sums.weighted @ r.a) <= EXPLAINED * float(own @ sums.weighted @ own)


def in_other_basis(Z: SummedMatrix, made: Columns) -> Columns:
    """Return the columns Z B for the basis that was made of equivalent rows."""
    return Columns(Z @ made.basis, made.basis)


def cross_products_of_sums(columns: Sequence[Columns], fixed: SummedMatrix, r: SummedColumn) -> CrossProducts:
    """Return the cross-products of the random-effects columns of each block, of fixed columns (n, p) and of r, (n,)."""
    sums = r.sums
    size = [len(own.count) * one.basis.shape[1] for own, one in zip(sums.levels, columns, strict=True)]
    order = sorted(range(len(columns)), key=lambda k: -size[k])
    own = [_Block(sums, k, columns[k]) for k in order]
    A, z = _rest(sums, own[1:], fixed, r)
    leading, pattern, own_z = merged(*_leading(own, fixed, r))
    q, G = (np.array([getattr(one, name) for one in own[1:]], dtype=np.int64) for name in ("q", "G"))
    rWr = float(r.a @ sums.weighted @ r.a)
    n, log_weights, p = sums.n, sums.sum_log_weights, fixed.shape[1]
    return CrossProducts(leading, Rest(A, z, q, G), rWr, n, log_weights, p, tuple(order), pattern, own_z, None)


@dataclass(frozen=True)
class SetSums:
    """The cross-products of each of the S sets of sums of residuals with a structure, (S, ...).

    Those of all rows are these times weights that follow from the residual's parameters.
    """

    whole: CrossProducts  # of all rows, with the weights of the rows alone
    A: Floats  # (S, G, q, q) Z'WZ of each level of the leading factor
    z: Floats  # (S, G, q)
    start: Ints  # (G + 1,) as in `Leading`, but for levels in the place of patterns
    columns: Ints  # (nnz,)
    coupling: Floats  # (S, nnz, q)
    rest_A: Floats  # (S, m, m)
    rest_z: Floats  # (S, m)
    rWr: Floats  # (S,)


def sets_of_sums(columns: Sequence[Columns], fixed: SummedMatrix, r: SummedColumn) -> SetSums:
    """Return the cross-products of each set of sums of residuals with a structure."""
    sums = r.sums
    own, whole = sums.residual, cross_products_of_sums(columns, fixed, r)
    leading, rest, squares = [], [], []
    for s in range(len(own.weighted)):
        levels = tuple(replace(one, products=sets[s]) for one, sets in zip(sums.levels, own.levels, strict=True))
        pairs = tuple(replace(one, products=sets[s]) for one, sets in zip(sums.pairs, own.pairs, strict=True))
        part = replace(sums, weighted=own.weighted[s], levels=levels, pairs=pairs)
        blocks = [_Block(part, k, columns[k]) for k in whole.order]
        V, left = SummedMatrix(part, fixed.A), SummedColumn(part, r.a)
        leading.append(_leading(blocks, V, left))
        rest.append(_rest(part, blocks[1:], V, left))
        squares.append(r.a @ part.weighted @ r.a)
    A, z, starts, coupled_to, coupling = zip(*leading, strict=True)
    rest_A, rest_z = zip(*rest, strict=True)
    arrays = (np.stack(part) for part in (coupling, rest_A, rest_z, squares))
    return SetSums(whole, np.stack(A), np.stack(z), starts[0], coupled_to[0], *arrays)


class _Block:
    """One grouping factor's sums, and its columns as combinations of them."""

    def __init__(self, sums: Sums, k: int, columns: Columns) -> None:
        self.k, self.sums, self.own = k, sums, sums.levels[k]
        self.A = columns.Z.A[self.own.left]
        self.G, self.q = len(self.own.count), self.A.shape[1]

    def with_columns(self, A: Floats) -> Floats:
        """Return the products of the effects' columns with C A, (G, q, columns)."""
        return np.einsum("la,glj->gaj", self.A, _times(self.own, A), optimize=True)

    def own_products(self) -> Floats:
        """Return Z'WZ of each level, (G, q, q)."""
        within = self.own.products[:, :, self.own.left]
        return np.einsum("la,glj,jb->gab", self.A, within, self.A, optimize=True)

    def with_block(self, other: "_Block") -> tuple[Ints, Ints, Floats]:
        """Return the pairs of levels that occur, and their products, (pairs, q, q_other)."""
        first, second, products = self.sums.pair(self.k, other.k)
        return first, second, np.einsum("la,glj,jb->gab", self.A, products, other.A, optimize=True)


def _times(own: LevelSums, A: Floats) -> Floats:
    G, left, m = own.products.shape
    return (own.products.reshape(G * left, m) @ A).reshape(G, left, A.shape[1])


def _rest(sums: Sums, others: Sequence[_Block], fixed: SummedMatrix, r: SummedColumn) -> tuple[Floats, Floats]:
    """Return the dense (m, m) cross-products of the rest and its (m,) products with r."""
    offsets = np.concatenate([[0], np.cumsum([one.G * one.q for one in others])]).astype(int)
    m, last = offsets[-1] + fixed.shape[1], slice(offsets[-1], None)
    A, z = np.zeros((m, m)), np.zeros(m)
    for k, one in enumerate(others):
        part = slice(offsets[k], offsets[k + 1])
        z[part] = one.with_columns(r.a[:, None])[:, :, 0].ravel()
        A[part, last] = one.with_columns(fixed.A).reshape(one.G * one.q, -1)
        own, rows = one.own_products(), offsets[k] + np.arange(one.G) * one.q
        for a, b in np.ndindex(one.q, one.q):
            A[rows + a, rows + b] = own[:, a, b]
        for j in range(k + 1, len(others)):
            g, h, values = one.with_block(others[j])
            for a, b in np.ndindex(one.q, others[j].q):
                A[offsets[k] + g * one.q + a, offsets[j] + h * others[j].q + b] = values[:, a, b]
    A[last, last], z[last] = fixed.A.T @ sums.weighted @ fixed.A, fixed.A.T @ sums.weighted @ r.a
    upper = np.triu(A)
    return upper + np.triu(upper, 1).T, z


def _leading(own: Sequence[_Block], fixed: SummedMatrix, r: SummedColumn):
    """Return what `leading_products` returns."""
    if not own:
        none = np.empty((0, 0))
        return none.reshape(0, 0, 0), none, np.zeros(1, np.int64), np.empty(0, np.int64), none
    lead, others = own[0], own[1:]
    parts = [(*lead.with_block(other), other.G * other.q) for other in others]
    coupling = coupled(lead.G, lead.q, parts, lead.with_columns(fixed.A))
    return lead.own_products(), np.ascontiguousarray(lead.with_columns(r.a[:, None])[:, :, 0]), *coupling
