"""The weights of contrasts: of all pairs, against a reference, trends, and those that a user gives."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from math import gcd, lcm
from types import MappingProxyType

import numpy as np

from bayesmm.display.text_tables import value_text
from bayesmm.errors import listing, suggest
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.runtime.arguments import is_real

HIGHEST = 6  # degree of a trend, as in emmeans
DEGREES = ("linear", "quadratic", "cubic", "quartic")
NO_SUM = 1e-8  # weights whose sum is more, relative to the largest, are no difference


@dataclass(frozen=True, eq=False)
class Members:
    """What is compared: the rows of one group of a result.

    Attributes
    ----------
    names : tuple of str, length k
    scores : (k,) float64
        The values of a single variable that holds numbers; else 0, 1, 2, ...
    ratio : bool
        Whether their differences are logarithms of ratios.
    reference : int
        The place of the one that others are compared with.
    """

    names: tuple[str, ...]
    scores: Floats
    ratio: bool = False
    reference: int = 0

    def versus(self, a: str, b: str) -> str:
        """Return the name of a difference, "a - b", or of a ratio, "a / b"."""
        return f"{a} {'/' if self.ratio else '-'} {b}"


Contrasts = tuple[list[str], Floats]  # names, and weights (m, k)


def _pairwise(members: Members) -> Contrasts:
    """All pairs, the first less the second."""
    places = list(combinations(range(len(members.names)), 2))
    return _between(members, places)


def _reference(members: Members) -> Contrasts:
    """Each of the others less the reference: Dunnett's comparisons with a control."""
    others = [k for k in range(len(members.names)) if k != members.reference]
    return _between(members, [(k, members.reference) for k in others])


def _consecutive(members: Members) -> Contrasts:
    """Each less the one before."""
    return _between(members, [(k + 1, k) for k in range(len(members.names) - 1)])


def _between(members: Members, places: Sequence[tuple[int, int]]) -> Contrasts:
    weights = np.zeros((len(places), len(members.names)))
    for row, (high, low) in enumerate(places):
        weights[row, high], weights[row, low] = 1.0, -1.0
    return [members.versus(members.names[high], members.names[low]) for high, low in places], weights


def _effects(members: Members) -> Contrasts:
    """Each less the mean of all."""
    k = len(members.names)
    return [f"{name} effect" for name in members.names], np.eye(k) - 1 / k


def _helmert(members: Members) -> Contrasts:
    """Each less the mean of those before it."""
    k, names = len(members.names), members.names
    weights = np.array([np.r_[np.full(j, -1 / j), 1.0, np.zeros(k - j - 1)] for j in range(1, k)]).reshape(-1, k)
    before = [names[0], *(f"mean({', '.join(names[:j])})" for j in range(2, k))]
    return [members.versus(name, other) for name, other in zip(names[1:], before, strict=True)], weights


def _trend(members: Members) -> Contrasts:
    """Linear, quadratic, ... : orthogonal polynomials of the scores; in small whole numbers where these are even.

    Those of the tables of Fisher & Yates, as in emmeans: (-1, 0, 1) and (1, -2, 1) for three levels. For scores that
    are not evenly spaced the linear weights are the scores less their mean, and the others have squares of the same
    sum.
    """
    scores, k = members.scores, len(members.names)
    gaps, degrees = np.diff(scores), range(1, min(HIGHEST, k - 1) + 1)
    even = k > 1 and np.allclose(gaps, gaps[0], rtol=1e-9)
    rows = _whole_polynomials(k, len(degrees)) if even else _polynomials(scores, len(degrees))
    rows = rows * np.sign(gaps[0]) ** np.arange(1, len(rows) + 1)[:, None] if even else rows
    names = [DEGREES[d - 1] if d <= len(DEGREES) else f"degree {d}" for d in degrees]
    return names, np.reshape(rows, (-1, k))


def _whole_polynomials(k: int, highest: int) -> Floats:
    """Return orthogonal polynomials on 0, 1, ..., k - 1 in the smallest whole numbers, (highest, k)."""
    basis: list[list[Fraction]] = [[Fraction(1)] * k]
    for _ in range(highest):
        row = [Fraction(j) * value for j, value in enumerate(basis[-1])]
        for other in basis:
            share = sum(a * b for a, b in zip(row, other, strict=True)) / sum(b * b for b in other)
            row = [a - share * b for a, b in zip(row, other, strict=True)]
        scale = lcm(*(value.denominator for value in row))
        whole = [int(value * scale) for value in row]
        basis.append([Fraction(value, gcd(*whole)) for value in whole])
    return np.array([[float(value) for value in row] for row in basis[1:]])


def _polynomials(scores: Floats, highest: int) -> Floats:
    centred = scores - scores.mean()
    Q = np.linalg.qr(np.vander(centred / np.abs(centred).max(), highest + 1, increasing=True))[0][:, 1:]
    signs = np.sign(Q[np.argmax(scores)])  # the highest score has a weight above 0
    return (Q * signs * np.linalg.norm(centred)).T


@dataclass(frozen=True)
class Method:
    """A set of contrasts: its weights, and how its p-values are adjusted unless something else is asked for."""

    weights: Callable[[Members], Contrasts]
    adjust: str
    says: str


# The defaults of the adjustment are those of emmeans.
METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "pairwise": Method(_pairwise, "tukey", ""),
        "reference": Method(_reference, "mvt", ""),
        "consecutive": Method(_consecutive, "mvt", ""),
        "eff": Method(_effects, "fdr", "Effects: each less the mean of all."),
        "helmert": Method(_helmert, "none", "Helmert: each less the mean of those before it."),
        "trend": Method(_trend, "none", "Trends: orthogonal polynomials over the order of the levels."),
    }
)


def own_contrasts(members: Members, given: Mapping[object, object]) -> Contrasts:
    """Return contrasts that a user gives: names with weights by level, or in the order of the levels.

    Raises
    ------
    ValueError
        A level is not there, a weight is no finite number, or there are not as many weights as levels.
    """
    if given and all(is_real(value) for value in given.values()):
        given = {own_name(given): given}
    if not given:
        raise ValueError("no contrast is given; write {'a v b': {'a': 1, 'b': -1}}")
    weights = [_own(members, str(name), value) for name, value in given.items()]
    return [str(name) for name in given], np.array(weights)


def own_name(weights: Mapping[object, object]) -> str:
    """Return weights as a sum: "a - 0.5 b - 0.5 c"."""
    text = ""
    for level, weight in weights.items():
        size = "" if abs(weight) == 1 else f"{abs(weight):.6g} "
        sign = "-" if weight < 0 else "+"
        text += f" {sign} {size}{label(level)}" if text else f"{'-' * (weight < 0)}{size}{label(level)}"
    return text


def label(level: object) -> str:
    """Return the name of a row for the levels that a user writes, one or a tuple."""
    return " ".join(map(value_text, level)) if isinstance(level, tuple) else value_text(level)


def place(members: Members, level: object, what: str) -> int:
    """Return the place of a level; a ValueError in one sentence where it is not there."""
    name = label(level)
    if name not in members.names:
        raise ValueError(
            f"{what} names {name!r}, and the levels are {listing(members.names)}{suggest(name, members.names)}"
        )
    return members.names.index(name)


def _own(members: Members, name: str, given: object) -> Floats:
    k, weights = len(members.names), np.zeros(len(members.names))
    if isinstance(given, Mapping):
        for level, weight in given.items():
            weights[place(members, level, f"the contrast {name!r}")] = _weight(name, weight)
        return weights
    values = list(given) if isinstance(given, list | tuple | np.ndarray) else []
    if len(values) != k:
        raise ValueError(
            f"the contrast {name!r} should have a weight for some levels, {{'{members.names[0]}': 1, ...}}, or {k} "
            f"weights in the order {listing(members.names)}, not {given!r}"
        )
    return np.array([_weight(name, value) for value in values])


def _weight(name: str, value: object) -> float:
    if not is_real(value) or not np.isfinite(value):
        raise ValueError(f"the weights of the contrast {name!r} should be finite numbers, not {value!r}")
    return float(value)


def no_differences(names: Sequence[str], weights: Floats) -> list[str]:
    """Return the names of the contrasts whose weights do not sum to 0."""
    off = np.abs(weights.sum(axis=1)) > NO_SUM * np.abs(weights).max(axis=1, initial=1.0)
    return [name for name, wrong in zip(names, off, strict=True) if wrong]
