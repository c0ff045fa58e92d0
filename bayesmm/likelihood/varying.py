"""Cross-products as a function of the residual's parameters: sums that are made once, times weights that follow.

What `varying_likelihood` needs of the rows. Each entry (i, j) of the precision of the residuals is of a *class*: its
kind in C^-1, and the kinds of the two rows, where their sds differ. A cell of the cross-products is a sum over the
classes of the class's weight times the sum of products over its entries, of which those that are there are kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bayesmm.design.parameters import residual_labels
from bayesmm.design.records import Design
from bayesmm.design.residual.correlation import Entries
from bayesmm.design.residual.structure import ResidualTerm, Values, lies_within, values_by_label
from bayesmm.design.summed import is_summed, sd
from bayesmm.design.summed_residual import SetKinds, kinds_of_sets
from bayesmm.likelihood.crossproducts import CrossProducts, Factor, Rows, leading_products
from bayesmm.likelihood.gaussian_data import CrossProductsData, Leading, Rest, VaryingData
from bayesmm.likelihood.packed import Floats, Ints, pack
from bayesmm.likelihood.structure_functions import inverse_function, log_sd_function
from bayesmm.likelihood.summed import SetSums

FEW_ROWS = 20  # of which the two forms of a structure are compared


@dataclass(frozen=True, eq=False)
class Varying:
    """The cross-products of a design as a function of its residual's parameters.

    Attributes
    ----------
    words : (...,) int64
        What the compiled code takes. Addresses are among them: valid in this process only.
    n_levels : int
        G, of the leading factor.
    joint : bool
        Whether sigma is one of the parameters that the sds of the rows follow from; it is no scale then, but 1.
    """

    words: Ints
    n_levels: int
    joint: bool

    def sigma(self, positive: Floats) -> Floats:
        """Return what effects are relative to, (draws,), for draws of sigma and the parameters, (draws, s)."""
        return np.ones(len(positive)) if self.joint else np.ascontiguousarray(positive[:, 0])


def varies(design: Design) -> bool:
    """Return whether the residual of a Gaussian model has parameters that a compiled posterior knows.

    Each structure must have its kernels; and some grouping factor, if there is any, the series within its levels.
    """
    term = design.residual
    if not (design.family.gaussian and term.estimated):
        return False
    scattered = [part for part in term.parts if part.structure.relative_sd is not None]
    if len(scattered) > 1 or not all(_known_scatter(part) for part in scattered):
        return False
    if term.correlated is None:
        return True
    if term.correlated.structure.inverse is None:
        return False
    if is_summed(design):  # whose series were found to lie within the levels of all factors
        return True
    return not design.blocks or any(lies_within(term, block.index) for block in design.blocks)


def _known_scatter(part: ResidualTerm) -> bool:
    """Return whether a structure has a kernel of its sds that is its `relative_sd`: of some rows, at some values."""
    structure, rows = part.structure, part.rows[:FEW_ROWS]
    if structure.log_sd is None:
        return False
    values = {own.name: own.start + 0.1 * np.arange(1, own.size + 1) for own in part.parameters}
    flat, found, none = np.concatenate([np.empty(0), *values.values()]), np.zeros(len(rows)), np.zeros(len(rows))
    structure.log_sd(False, 1.0, flat, rows.reshape(len(rows), -1), found, none, flat.copy())
    with np.errstate(over="ignore"):  # of numbers far from 0
        try:
            theirs = np.asarray(structure.relative_sd(np, rows, {**values, "sigma": np.ones(1)}), dtype=float)
        except KeyError:  # of values that the kernel does not know
            return False
        return theirs.shape == found.shape and bool(np.allclose(np.exp(found), theirs, rtol=1e-8))


def varying_labels(design: Design) -> tuple[str, ...]:
    """Return the labels of the parameters that the compiled code has behind sigma: those of C first."""
    return tuple(label for part in varying_parts(design) for own in part.parameters for label in residual_labels(own))


def varying_parts(design: Design) -> list[ResidualTerm]:
    """Return the structures of the residual in the order of their parameters in the compiled code."""
    return [part for part in _structures(design) if part is not None]


def first_values(design: Design, given: Mapping[str, float] | None = None) -> Values:
    """Return the values of the residual's parameters where cross-products are made that stand for all."""
    return values_by_label(design.residual, {"sigma": sd(design.y, 0) or 1.0, **(given or {})})


def first_values_by_label(design: Design) -> dict[str, float]:
    """Return the same by label, without sigma."""
    return by_label(design, first_values(design))


def by_label(design: Design, values: Values) -> dict[str, float]:
    """Return values of the residual's parameters besides sigma by label."""
    return {
        label: float(value)
        for own in design.residual.parameters
        for label, value in zip(residual_labels(own), values[own.name], strict=True)
    }


def _structures(design: Design) -> tuple[ResidualTerm | None, ResidualTerm | None]:
    parts = design.residual.parts
    return design.residual.correlated, next((p for p in parts if p.structure.relative_sd is not None), None)


class Classes(NamedTuple):
    """The entries of the precision, and the classes that they are of."""

    row: Ints  # (e,)
    column: Ints  # (e,)
    of: Ints  # (e,)
    kind: Ints  # (C,) in C^-1
    left: Ints  # (C,) kind of the row, and
    right: Ints  # (C,) of the column
    table: Floats  # (K, c) of the kinds in C^-1
    sds: Floats  # (S, k) of the kinds of rows
    count: Floats  # (S,) rows


def classes_of(design: Design) -> Classes:
    """Return the entries of the precision of a design's residuals by their classes."""
    correlated, scattered = _structures(design)
    n = design.n
    if correlated is None:
        entries = Entries(np.arange(n), np.arange(n), np.zeros(n, np.int64), np.zeros((1, 1)))
    else:
        entries = correlated.structure.inverse.entries(correlated.rows)
    rows = np.zeros((n, 1)) if scattered is None else scattered.rows.reshape(n, -1)
    sds, of_row, count = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    of_row = of_row.ravel()
    left, right = of_row[entries.row], of_row[entries.column]
    key = np.column_stack([entries.kind, np.minimum(left, right), np.maximum(left, right)])
    found, of = np.unique(key, axis=0, return_inverse=True)
    kinds = (np.ascontiguousarray(part) for part in found.T)
    return Classes(entries.row, entries.column, of.ravel(), *kinds, entries.table, sds, count.astype(float))


def varying_products(design: Design, cp: CrossProducts) -> Varying:
    """Return the cross-products of a design whose residual `varies`.

    Parameters
    ----------
    design : Design
    cp : CrossProducts
        At any values of the parameters: they say which factor leads, and what the columns are.
    """
    classes, source = classes_of(design), cp.source
    factors = [source.factors[k] for k in cp.order]
    sums = _Sums(classes, factors, source.X, source.r, design.weights)
    return _varying(design, classes, sums.leading, cp.rest, sums.collected(), sums.ends)


def varying_of_sums(design: Design, sets: SetSums) -> Varying:
    """Return the same of a design of sums: a set is a class."""
    S, (G, q) = len(sets.rWr), sets.z.shape[1:]
    parts = sets.A, sets.coupling, sets.z, sets.rest_A, sets.rest_z, sets.rWr
    ends = np.cumsum([part[0].size for part in parts])
    numbers = np.concatenate([part.reshape(S, -1) for part in parts], axis=1).T
    cell, of = np.nonzero(numbers)
    distinct, count = np.unique(cell, return_counts=True)
    cells = distinct, np.concatenate([[0], np.cumsum(count)]), of, numbers[cell, of]
    empty = np.zeros_like(sets.coupling[0]), np.zeros((G, q)), np.zeros((G, q, q))
    lead = np.ones(G), np.zeros_like(sets.A[0]), sets.start, sets.columns.astype(np.int64), *empty
    return _varying(design, kinds_of_sets(design), lead, sets.whole.rest, cells, ends)


def _varying(design: Design, own: Classes | SetKinds, lead: tuple, rest: Rest, cells: tuple, ends: Ints) -> Varying:
    """Return what compiled code takes, of cells, where the sums of each begin, their classes and their values."""
    correlated, scattered = _structures(design)
    empty = rest._replace(A=np.zeros_like(rest.A), z=np.zeros_like(rest.z))
    of_C, of_sd = (0 if part is None else part.size for part in (correlated, scattered))
    data = VaryingData(
        of_C, of_sd, int(design.residual.sigma == "joint"),
        0 if correlated is None else inverse_function(correlated.structure.inverse.values).address,
        0 if scattered is None else log_sd_function(scattered.structure.log_sd).address,
        own.table, own.sds, own.count, own.kind, own.left, own.right, *cells,
        pack(CrossProductsData(Leading(*lead), empty, np.zeros(1), np.zeros((0, 0, 0)), (), ())), ends,
    )  # fmt: skip
    return Varying(pack(data), len(lead[0]), design.residual.sigma == "joint")


def sum_of_log_weights(design: Design) -> float:
    """Return the sum of the logarithms of the rows' own weights."""
    if is_summed(design):
        return float(design.X.sums.sum_log_weights)
    return 0.0 if design.weights is None else float(np.log(design.weights).sum())


class _Sums:
    """Collects the numbers of each cell by class, (cell, class, sum)."""

    def __init__(self, classes: Classes, factors: list[Factor], X: Floats, r: Floats, weights: Floats | None) -> None:
        n = len(r)
        self.C, self.classes = len(classes.kind), classes
        self.lead = factors[0] if factors else Factor(np.zeros(n, np.int64), np.empty((n, 0)), 0)
        self.others, self.X, self.r = factors[1:], X, r
        root = np.ones(n) if weights is None else np.sqrt(weights)
        self.w = root[classes.row] * root[classes.column]
        everywhere = Rows(classes.row, classes.column, np.ones(len(classes.row)))
        A, z, start, columns, values = leading_products(self.lead, self.others, X, r, everywhere)
        self.G, self.q = z.shape
        ones, squares = np.ones(self.G), np.zeros((self.G, self.q, self.q))
        empty = np.zeros_like(A), start, columns.astype(np.int64), np.zeros_like(values), np.zeros_like(z), squares
        self.leading = (ones, *empty)
        self.offsets = np.concatenate([[0], np.cumsum([f.size for f in self.others])]).astype(int)
        self.m = int(self.offsets[-1]) + X.shape[1]
        self.start, self.known = start, np.repeat(np.arange(self.G), np.diff(start)) * max(self.m, 1) + columns
        self.ends = np.cumsum([A.size, values.size, z.size, self.m**2, self.m, 1])
        self.found: list[tuple[Ints, Ints, Floats]] = []

    def _by(self, *keys: Ints) -> tuple[list[Ints], Ints, Ints]:
        """Return the distinct keys of the entries with their class: each key, the class, and which each entry has."""
        code = np.zeros(len(self.w), np.int64)
        sizes = [int(key.max(initial=0)) + 1 for key in keys]
        for key, size in zip(keys, sizes, strict=True):
            code = code * size + key
        distinct, inverse = np.unique(code * self.C + self.classes.of, return_inverse=True)
        left, parts = distinct // self.C, []
        for size in reversed(sizes):
            parts.insert(0, left % size)
            left = left // size
        return parts, distinct % self.C, inverse.ravel()

    def _add(self, cell: Ints, of: Ints, inverse: Ints, left: Floats, right: Floats) -> None:
        self.found.append((cell, of, np.bincount(inverse, left * right * self.w, len(of))))

    def collected(self) -> tuple[Ints, Ints, Ints, Floats]:
        """Return the cells that are not 0, where the sums of each begin, and their classes and values."""
        self._leading_cells()
        self._rest_cells()
        cell, of, value = (np.concatenate(part) for part in zip(*self.found, strict=True))
        kept = value != 0
        order = np.lexsort((of[kept], cell[kept]))
        cell, of, value = cell[kept][order], of[kept][order], value[kept][order]
        distinct, count = np.unique(cell, return_counts=True)
        return distinct, np.concatenate([[0], np.cumsum(count)]), of.astype(np.int64), value

    def _leading_cells(self) -> None:
        i, j, q, m, p = self.classes.row, self.classes.column, self.q, self.m, self.X.shape[1]
        if not self.G:
            return
        Z, g_of = self.lead.Z, self.lead.index[i]
        (g,), of, inverse = self._by(g_of)
        for a in range(q):
            self._add(self.ends[1] + g * q + a, of, inverse, Z[i, a], self.r[j])
            for b in range(q):
                self._add((g * q + a) * q + b, of, inverse, Z[i, a], Z[j, b])
            for c in range(p):
                place = self.start[g + 1] - p + c
                self._add(self.ends[0] + place * q + a, of, inverse, Z[i, a], self.X[j, c])
        for k, other in enumerate(self.others):
            (g, h), of, inverse = self._by(g_of, other.index[j])
            for b in range(other.Z.shape[1]):
                column = self.offsets[k] + h * other.Z.shape[1] + b
                place = np.searchsorted(self.known, g * m + column)
                for a in range(q):
                    self._add(self.ends[0] + place * q + a, of, inverse, Z[i, a], other.Z[j, b])

    def _rest_cells(self) -> None:
        i, j, first, at_z = self.classes.row, self.classes.column, self.ends[2], self.ends[3]
        own = [*self.others, Factor(np.zeros(len(self.r), np.int64), self.X, 1)]
        for k, left in enumerate(own):
            (h,), of, inverse = self._by(left.index[i])
            for a in range(left.Z.shape[1]):
                row = self.offsets[k] + h * left.Z.shape[1] + a
                self._add(at_z + row, of, inverse, left.Z[i, a], self.r[j])
            for o, right in enumerate(own):
                (h, h2), of, inverse = self._by(left.index[i], right.index[j])
                for a in range(left.Z.shape[1]):
                    for b in range(right.Z.shape[1]):
                        row = self.offsets[k] + h * left.Z.shape[1] + a
                        column = self.offsets[o] + h2 * right.Z.shape[1] + b
                        self._add(first + row * self.m + column, of, inverse, left.Z[i, a], right.Z[j, b])
        _, of, inverse = self._by(np.zeros(len(i), np.int64))
        self._add(np.full(len(of), self.ends[4]), of, inverse, self.r[i], self.r[j])
