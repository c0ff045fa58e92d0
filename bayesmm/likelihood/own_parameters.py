"""A model's own parameters besides mean and effects, and those of each row of the family, which follow from them.

The family's parameters are two numbers for each row: the same in all rows, or by formulas and categories, see
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
from bayesmm.design.residual.of_family import IDENTITY, LOG, link_code
from bayesmm.families.family import MOST_PARAMETERS, REAL_VALUES, Auxiliary
from bayesmm.likelihood.compiled import cube, fused, inlined, integers, matrix, pack
from bayesmm.likelihood.crossproducts import Floats, Ints

BY = MOST_PARAMETERS  # numbers of a row
NUMBER, STRIDE, SCALARS = range(3)  # places in `Own.facts`


@dataclass(frozen=True, eq=False)
class OwnParameters:
    """The parameters of a model besides coefficients, sds and correlations, and what the rows have of them.

    Attributes
    ----------
    scalars : tuple of Auxiliary
        The family's that are parameters of the model: the first of the model's.
    place : (2,) int64
        Of each of the family's parameters, its place among `scalars`; -1 without.
    code : (2,) int64
        The links.
    ends : (2, 2) float64
        The bounds, by parameter.
    offset : (2, n) float64
        o; n is 0 where all rows have the same.
    V : (2, n, r) float64
    sizes : (r,) float64
        Of the columns of V: the coefficients are searched for in units of their inverses.
    labels : tuple of str
        Of all of the model's parameters.
    ordered : bool
        Whether the last r ascend.
    number : int
        How many the family has.
    """

    scalars: tuple[Auxiliary, ...]
    place: Ints
    code: Ints
    ends: Floats
    offset: Floats
    V: Floats
    sizes: Floats
    labels: tuple[str, ...]
    ordered: bool
    number: int

    @property
    def by_row(self) -> bool:
        """Whether the rows have parameters of their own."""
        return self.V.shape[1] > 0

    @property
    def words(self) -> Ints:
        """What compiled code takes: see `Own`."""
        facts = np.array([self.number, BY if self.by_row else 0, len(self.scalars)])
        return pack(facts, self.place, self.code, self.ends, self.offset, self.V)

    def sorted(self, order: Ints) -> "OwnParameters":
        """Return those of the rows in another order."""
        return OwnParameters(
            self.scalars, self.place, self.code, self.ends, np.ascontiguousarray(self.offset[:, order]),
            np.ascontiguousarray(self.V[:, order]), self.sizes, self.labels, self.ordered, self.number,
        ) if self.by_row else self  # fmt: skip

    def natural(self, free: Floats) -> Floats:
        """Return the model's parameters, (a,), from their places on the real line."""
        s = len(self.scalars)
        first = [own.moved(at)[0] for own, at in zip(self.scalars, free[:s], strict=True)]
        rest = free[s:] / self.sizes
        if self.ordered:
            rest = np.cumsum(np.concatenate([rest[:1], np.exp(np.minimum(rest[1:], 700.0))]))
        return np.concatenate([np.array(first, dtype=np.float64), rest])

    def free(self, natural: Floats) -> Floats:
        """Return the places of the parameters on the real line; of ordered ones the logs of their differences."""
        natural, s = np.asarray(natural, dtype=np.float64), len(self.scalars)
        first = [own.free(value) for own, value in zip(self.scalars, natural[:s], strict=True)]
        rest = natural[s:]
        if self.ordered:
            with np.errstate(divide="ignore", invalid="ignore"):
                rest = np.concatenate([rest[:1], np.log(np.diff(rest))])
        return np.concatenate([np.array(first, dtype=np.float64), rest * self.sizes])

    def back(self, free: Floats, d_natural: Floats) -> Floats:
        """Return the derivatives in the places on the real line, (a,), from those in the parameters."""
        s, out = len(self.scalars), np.array(d_natural, dtype=np.float64)
        out[:s] *= self._rates(free)
        if self.ordered:
            above = np.cumsum(out[s:][::-1])[::-1]
            out[s:] = above * np.concatenate([np.ones(1), np.exp(np.minimum(free[s + 1 :], 700.0))])
        out[s:] /= self.sizes
        return out

    def forth(self, free: Floats, d_free: Floats) -> Floats:
        """Return the derivatives in the parameters, (a,), from those in the places: the inverse of `back`."""
        s, out = len(self.scalars), np.array(d_free, dtype=np.float64)
        out[:s] /= self._rates(free)
        out[s:] *= self.sizes
        if self.ordered:
            above = out[s:] / np.concatenate([np.ones(1), np.exp(np.minimum(free[s + 1 :], 700.0))])
            out[s:] = above - np.concatenate([above[1:], np.zeros(1)])
        return out

    def _rates(self, free: Floats) -> Floats:
        return np.array([own.moved(at)[1] for own, at in zip(self.scalars, free, strict=False)])

    def rows(self, natural: Floats) -> Floats:
        """Return the family's parameters as compiled code takes them: (2,), or (n, 2)."""
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
        """Return the rows' parameters, (2, n), and their derivatives in v' g and in the model's parameter."""
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
    """Return the family's parameters as two numbers; those by row, (n, 2), as they are."""
    aux = np.asarray(aux, dtype=np.float64)
    if aux.ndim > 1:
        return np.ascontiguousarray(aux)
    both = np.zeros(MOST_PARAMETERS)
    both[: len(aux)] = aux
    return both


def kind_of_own(design: Design) -> dict[str, int]:
    """Return what `quadrature.Grouped` says of a design's rows: `by` and `real`."""
    real = sum(1 << m for m, own in enumerate(design.family.parameters) if own.bounds == REAL_VALUES)
    return {"by": BY if design.residual.by_row else 0, "real": real}


def own_parameters(design: Design) -> OwnParameters:
    """Return the own parameters of a generalised model."""
    family, free = design.family, free_auxiliaries(design)
    place, code = np.full(BY, -1), np.zeros(BY, dtype=np.int64)
    ends = np.tile([-math.inf, math.inf], (BY, 1))
    for m, own in enumerate(family.parameters):
        place[m], code[m], ends[m] = free.index(own) if own in free else -1, link_code(own), own.bounds
    known = [label for own in design.residual.parameters for label in residual_labels(own)]
    names = (*(own.name for own in free), *known)
    offset, V = _columns(design)
    sizes = [size for own in design.residual.parameters for size in own.sizes or (1.0,) * own.size]
    return OwnParameters(
        free, place, code, ends, offset, V, np.array(sizes, dtype=np.float64), names, family.ordered,
        len(family.parameters),
    )  # fmt: skip


def _columns(design: Design) -> tuple[Floats, Floats]:
    """Return the offsets, (2, n), and the columns, (2, n, r), that the rows' parameters follow from."""
    residual, family = design.residual, design.family
    n, r = (design.n if residual.by_row else 0), residual.size if residual.by_row else 0
    offset, V = np.zeros((BY, n)), np.zeros((BY, n, r))
    if family.ordered:
        category, rows = design.y.astype(np.int64), np.arange(n)
        for m, (above, end) in enumerate(((category - 2, -math.inf), (category - 1, math.inf))):
            inside = (above >= 0) & (above < r)
            V[m, rows[inside], above[inside]] = 1.0
            offset[m, ~inside] = end
        return offset, V
    at, names = 0, family.auxiliaries
    for part in residual.parts if residual.by_row else ():
        V[names.index(part.of), :, at : at + part.size] = part.rows
        at += part.size
    return offset, V


# ----------------------------------------------------------------------------------------------------------------------
# compiled


class Own(NamedTuple):
    """The same as compiled code has it."""

    facts: Ints  # (3,) how many parameters the family has, 2 or 0 as `Grouped.by`, and how many scalars there are
    place: Ints
    code: Ints
    ends: Floats
    offset: Floats
    V: Floats


@inlined
def unpacked_own(w):
    """Return the record of its words."""
    return Own(integers(w, 0), integers(w, 1), integers(w, 2), matrix(w, 3), matrix(w, 4), cube(w, 5))


@inlined
def own_size(own, n):
    """Return how many numbers the parameters of all rows are."""
    return 2 if own.facts[STRIDE] == 0 else own.facts[STRIDE] * n


@fused
def set_own(own, natural, aux):
    """Set the family's parameters, (2,) or (n, 2); return whether they are numbers: exp(x) under- or overflows."""
    if own.facts[STRIDE] == 0:
        for m in range(own.facts[NUMBER]):
            aux[m] = natural[m]
            if not (own.ends[m, 0] < aux[m] and aux[m] < own.ends[m, 1]):
                return False
        return True
    s, r = own.facts[SCALARS], own.V.shape[2]
    for m in range(own.facts[NUMBER]):
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
            aux[2 * i + m] = at
    return True


@fused
def moved_own(own, shift):
    """Return the record with other offsets, (2, n): those of rows whose parameters have random effects."""
    return Own(own.facts, own.place, own.code, own.ends, shift, own.V)


@fused
def pull_link(own, m, aux, d_aux, d_link):
    """Set the derivatives in the link of the m-th parameter of each row, (n,), from those in the parameter."""
    low, high = own.ends[m, 0], own.ends[m, 1]
    for i in range(d_link.shape[0]):
        at, d_link[i] = aux[2 * i + m], d_aux[2 * i + m]
        if own.code[m] == LOG:
            d_link[i] *= at - low
        elif own.code[m] != IDENTITY:
            d_link[i] *= (at - low) * (high - at) / (high - low)


@fused
def pull_own(own, natural, aux, d_aux, d_natural):
    """Set the derivatives in the model's parameters from those in the family's, at what `set_own` has set."""
    if own.facts[STRIDE] == 0:
        for m in range(own.facts[NUMBER]):
            d_natural[m] = d_aux[m]
        return
    s, r = own.facts[SCALARS], own.V.shape[2]
    for j in range(s + r):
        d_natural[j] = 0.0
    for m in range(own.facts[NUMBER]):
        k, low, high = own.place[m], own.ends[m, 0], own.ends[m, 1]
        for i in range(own.V.shape[1]):
            d, at, along, rate = d_aux[2 * i + m], aux[2 * i + m], 1.0, 1.0
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
