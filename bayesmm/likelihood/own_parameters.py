"""A model's own parameters besides mean and effects, and those of each row of the family, which follow from them.

The family's parameters are two numbers or more for each row: the same in all rows, or by formulas and categories, see
`design.residual.of_family`. In row i and for the m-th of them, with the link by its bounds,

    link(a_im) = link(s_m) + o_im + v_im' g,

where s_m is a parameter of the model, if there is one, and g are the coefficients of all formulas, or the thresholds.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bayesmm.design.parameters import free_auxiliaries, residual_labels
from bayesmm.design.records import Design
from bayesmm.design.residual.of_family import IDENTITY, LOG, THRESHOLD, link_code, specific_sign, threshold_basis
from bayesmm.families.family import MOST_PARAMETERS, REAL_VALUES, Auxiliary
from bayesmm.likelihood.compiled import fused, inlined
from bayesmm.likelihood.packed import Cube, Floats, Integer, Integers, Ints, Matrix, pack, reader
from bayesmm.likelihood.response_kernels import MOST_BITS

BY = MOST_PARAMETERS  # numbers of a row at least: w of those below


@dataclass(frozen=True, eq=False)
class OwnParameters:
    """The parameters of a model besides coefficients, sds and correlations, and what the rows have of them.

    Attributes
    ----------
    scalars : tuple of Auxiliary
        The family's that are parameters of the model: the first of the model's.
    place : (w,) int64
        Of each of the family's parameters, its place among `scalars`; -1 without.
    code : (w,) int64
        The links.
    ends : (w, 2) float64
        The bounds, by parameter.
    offset : (w, n) float64
        o; n is 0 where all rows have the same.
    V : (w, n, r) float64
    sizes : (r,) float64
        Of the columns of V: the coefficients are searched for in units of their inverses.
    labels : tuple of str
        Of all of the model's parameters.
    thresholds : int
        How many of the r, the first of them, are thresholds.
    ascending : int
        How many of the r, the first of them, ascend: as many, or 0.
    number : int
        How many the family has in each row.
    """

    scalars: tuple[Auxiliary, ...]
    place: Ints
    code: Ints
    ends: Floats
    offset: Floats
    V: Floats
    sizes: Floats
    labels: tuple[str, ...]
    thresholds: int
    ascending: int
    number: int

    @property
    def by_row(self) -> bool:
        """Whether the rows have parameters of their own."""
        return self.V.shape[1] > 0

    @property
    def words(self) -> Ints:
        """What compiled code takes: see `Own`."""
        stride = len(self.place) if self.by_row else 0
        return pack(Own(self.number, stride, len(self.scalars), self.place, self.code, self.ends, self.offset, self.V))

    def sorted(self, order: Ints) -> "OwnParameters":
        """Return those of the rows in another order."""
        return OwnParameters(
            self.scalars, self.place, self.code, self.ends, np.ascontiguousarray(self.offset[:, order]),
            np.ascontiguousarray(self.V[:, order]), self.sizes, self.labels, self.thresholds, self.ascending,
            self.number,
        ) if self.by_row else self  # fmt: skip

    def natural(self, free: Floats) -> Floats:
        """Return the model's parameters, (a,), from their places on the real line."""
        s = len(self.scalars)
        first = [own.moved(at)[0] for own, at in zip(self.scalars, free[:s], strict=True)]
        rest, t = free[s:] / self.sizes, self.ascending
        if t:
            rest[:t] = np.cumsum(np.concatenate([rest[:1], np.exp(np.minimum(rest[1:t], 700.0))]))
        return np.concatenate([np.array(first, dtype=np.float64), rest])

    def free(self, natural: Floats) -> Floats:
        """Return the places of the parameters on the real line; of ordered ones the logs of their differences."""
        natural, s = np.asarray(natural, dtype=np.float64), len(self.scalars)
        first = [own.free(value) for own, value in zip(self.scalars, natural[:s], strict=True)]
        rest, t = natural[s:], self.ascending
        if t:
            with np.errstate(divide="ignore", invalid="ignore"):
                rest = np.concatenate([rest[:1], np.log(np.diff(rest[:t])), rest[t:]])
        return np.concatenate([np.array(first, dtype=np.float64), rest * self.sizes])

    def back(self, free: Floats, d_natural: Floats) -> Floats:
        """Return the derivatives in the places on the real line, (a,), from those in the parameters."""
        s, t, out = len(self.scalars), self.ascending, np.array(d_natural, dtype=np.float64)
        out[:s] *= self._rates(free)
        if t:
            above = np.cumsum(out[s : s + t][::-1])[::-1]
            out[s : s + t] = above * np.concatenate([np.ones(1), np.exp(np.minimum(free[s + 1 : s + t], 700.0))])
        out[s:] /= self.sizes
        return out

    def forth(self, free: Floats, d_free: Floats) -> Floats:
        """Return the derivatives in the parameters, (a,), from those in the places: the inverse of `back`."""
        s, t, out = len(self.scalars), self.ascending, np.array(d_free, dtype=np.float64)
        out[:s] /= self._rates(free)
        out[s:] *= self.sizes
        if t:
            above = out[s : s + t] / np.concatenate([np.ones(1), np.exp(np.minimum(free[s + 1 : s + t], 700.0))])
            out[s : s + t] = above - np.concatenate([above[1:], np.zeros(1)])
        return out

    def _rates(self, free: Floats) -> Floats:
        return np.array([own.moved(at)[1] for own, at in zip(self.scalars, free, strict=False)])

    def rows(self, natural: Floats) -> Floats:
        """Return the family's parameters as compiled code takes them: (3,), or (n, w)."""
        if not self.by_row:
            return padded(natural)
        return self._rows(natural)[0].T.copy()

    def pulled(self, natural: Floats, d_aux: Floats) -> Floats:
        """Return the derivatives in the model's parameters, (a,), from those in the rows', as `rows` gives them."""
        if not self.by_row:
            return d_aux[: len(natural)].copy()
        _, along, own = self._rows(natural)
        s, out, d = len(self.scalars), np.zeros(len(natural)), d_aux.T
        for m, k in enumerate(self.place):
            if k >= 0:
                out[k] = d[m] @ own[m]
            out[s:] += (d[m] * along[m]) @ self.V[m]
        return out

    def _rows(self, natural: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the rows' parameters, (w, n), and their derivatives in v' g and in the model's parameter."""
        at = self.offset + self.V @ natural[len(self.scalars) :]
        value, along, own = at.copy(), np.ones_like(at), np.ones_like(at)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for m, k in enumerate(self.place):
                s, (low, high) = (natural[k] if k >= 0 else np.nan), self.ends[m]
                if self.code[m] == IDENTITY:
                    value[m] += s if k >= 0 else 0.0
                elif self.code[m] == LOG:
                    along[m] = np.exp(at[m]) * ((s - low) if k >= 0 else 1.0)
                    value[m], own[m] = low + along[m], np.exp(at[m])
                else:
                    odds = (high - s) / (s - low) if k >= 0 else 1.0
                    value[m] = low + (high - low) / (1.0 + odds * np.exp(-at[m]))
                    along[m] = (value[m] - low) * (high - value[m]) / (high - low)
                    own[m] = along[m] * (high - low) / ((s - low) * (high - s))
        return value, along, own


def padded(aux) -> Floats:
    """Return the family's parameters as three numbers; those by row, (n, w), as they are."""
    aux = np.asarray(aux, dtype=np.float64)
    if aux.ndim > 1:
        return np.ascontiguousarray(aux)
    both = np.zeros(MOST_PARAMETERS)
    both[: len(aux)] = aux
    return both


def kind_of_own(design: Design) -> dict[str, int]:
    """Return what `quadrature.Grouped` says of a design's rows: `by` and `real`."""
    real = {min(m, MOST_BITS) for m, own in enumerate(design.family.parameters) if own.bounds == REAL_VALUES}
    by_row = design.family.every or design.residual.by_row
    return {"by": row_width(design) if by_row else 0, "real": sum(1 << m for m in real)}


def row_width(design: Design) -> int:
    """Return how many parameters a row has as compiled code takes them, w."""
    return max(BY, len(design.family.parameters))


def own_parameters(design: Design) -> OwnParameters:
    """Return the own parameters of a generalised model."""
    family, free, width = design.family, free_auxiliaries(design), row_width(design)
    place, code = np.full(width, -1), np.zeros(width, dtype=np.int64)
    ends = np.tile([-math.inf, math.inf], (width, 1))
    for m, own in enumerate(family.parameters):
        place[m], code[m], ends[m] = free.index(own) if own in free else -1, link_code(own), own.bounds
    known = [label for own in design.residual.parameters for label in residual_labels(own)]
    names = (*(own.name for own in free), *known)
    offset, V = _columns(design)
    sizes = [size for own in design.residual.parameters for size in own.sizes or (1.0,) * own.size]
    thresholds = sum(own.size for own in design.residual.parameters if own.at_means)
    ascending = sum(own.size for own in design.residual.parameters if own.ordered)
    number = width if family.every else len(family.parameters)
    return OwnParameters(
        free, place, code, ends, offset, V, np.array(sizes, dtype=np.float64), names, thresholds, ascending, number
    )


def _columns(design: Design) -> tuple[Floats, Floats]:
    """Return the offsets, (w, n), and the columns, (w, n, r), that the rows' parameters follow from."""
    residual, family, width = design.residual, design.family, row_width(design)
    n, r = (design.n if residual.by_row else 0), residual.size if residual.by_row else 0
    offset, V = np.zeros((width, n)), np.zeros((width, n, r))
    at, names = 0, family.auxiliaries
    for part in residual.parts if residual.by_row else ():
        if part.of == THRESHOLD:
            _set_thresholds(design, part, offset, V)
        else:
            V[names.index(part.of), :, at : at + part.size] = part.rows
        at += part.size
    return offset, V


def _set_thresholds(design: Design, part, offset: Floats, V: Floats) -> None:
    """Set what the rows know of the thresholds: all of them, or the two around the row's category."""
    basis, last = threshold_basis(part), len(design.categories) - 1  # (K - 1, t)
    rows, t = np.arange(design.n), basis.shape[1]
    category = design.y.astype(np.int64)
    ends = ((category - 2, -math.inf), (category - 1, math.inf))
    for m, (which, end) in enumerate([(rows * 0 + k, 0.0) for k in range(last)] if design.family.every else ends):
        inside = (which >= 0) & (which < last)
        own, k = rows[inside], which[inside]
        V[m, own, :t] = basis[k]
        offset[m, ~inside] = end
        for c in range(0 if part.rows is None else part.rows.shape[1]):
            V[m, own, t + c * last + k] = specific_sign(design.family) * part.rows[own, c]


# ----------------------------------------------------------------------------------------------------------------------
# compiled


class Own(NamedTuple):
    """The same as compiled code has it."""

    number: Integer  # of parameters that a row has
    stride: Integer  # w, or 0 as `Grouped.by`
    scalars: Integer  # how many there are
    place: Integers
    code: Integers
    ends: Matrix
    offset: Matrix
    V: Cube


read_own = reader(Own)


@inlined
def own_size(own, n):
    """Return how many numbers the parameters of all rows are."""
    return BY if own.stride == 0 else own.stride * n


@fused
def set_own(own, natural, aux):
    """Set the family's parameters, (3,) or (n, w); return whether they are numbers: exp(x) under- or overflows."""
    if own.stride == 0:
        for m in range(own.number):
            aux[m] = natural[m]
            if not (own.ends[m, 0] < aux[m] and aux[m] < own.ends[m, 1]):
                return False
        return True
    s, r = own.scalars, own.V.shape[2]
    for m in range(own.number):
        k, low, high = own.place[m], own.ends[m, 0], own.ends[m, 1]
        for i in range(own.V.shape[1]):
            at = own.offset[m, i]
            for j in range(r):
                at += own.V[m, i, j] * natural[s + j]
            if own.code[m] == IDENTITY:
                at += natural[k] if k >= 0 else 0.0
            elif own.code[m] == LOG:
                at = low + math.exp(at) * ((natural[k] - low) if k >= 0 else 1.0)
            else:
                odds = (high - natural[k]) / (natural[k] - low) if k >= 0 else 1.0
                at = low + (high - low) / (1.0 + odds * math.exp(-at))
            if math.isnan(at) or (own.code[m] != IDENTITY and not (low < at and at < high)):
                return False
            aux[own.stride * i + m] = at
    return True


@fused
def moved_own(own, shift):
    """Return the record with other offsets, (w, n): those of rows whose parameters have random effects."""
    return Own(own.number, own.stride, own.scalars, own.place, own.code, own.ends, shift, own.V)


@fused
def pull_link(own, m, aux, d_aux, d_link):
    """Set the derivatives in the link of the m-th parameter of each row, (n,), from those in the parameter."""
    low, high = own.ends[m, 0], own.ends[m, 1]
    for i in range(d_link.shape[0]):
        at, d_link[i] = aux[own.stride * i + m], d_aux[own.stride * i + m]
        if own.code[m] == LOG:
            d_link[i] *= at - low
        elif own.code[m] != IDENTITY:
            d_link[i] *= (at - low) * (high - at) / (high - low)


@fused
def pull_own(own, natural, aux, d_aux, d_natural):
    """Set the derivatives in the model's parameters from those in the family's, at what `set_own` has set."""
    if own.stride == 0:
        for m in range(own.number):
            d_natural[m] = d_aux[m]
        return
    s, r = own.scalars, own.V.shape[2]
    for j in range(s + r):
        d_natural[j] = 0.0
    for m in range(own.number):
        k, low, high = own.place[m], own.ends[m, 0], own.ends[m, 1]
        for i in range(own.V.shape[1]):
            d, at = d_aux[own.stride * i + m], aux[own.stride * i + m]
            along, rate = 1.0, 1.0
            if own.code[m] == LOG:
                along = at - low
                rate = along / (natural[k] - low) if k >= 0 else 0.0
            elif own.code[m] != IDENTITY:
                along = (at - low) * (high - at) / (high - low)
                rate = along * (high - low) / ((natural[k] - low) * (high - natural[k])) if k >= 0 else 0.0
            if k >= 0:
                d_natural[k] += d * rate
            for j in range(r):
                d_natural[s + j] += d * along * own.V[m, i, j]
