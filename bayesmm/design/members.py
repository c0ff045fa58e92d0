"""Several memberships, ``(1 | mm(s1, s2, weights = cbind(w1, w2)))``: a row has a weighted sum of levels' effects.

Of pupils who changed school, of papers with several authors (Browne, Goldstein & Rasbash 2001, Statistical Modelling
1(2)). The labels of all columns are those of one factor; the weights of a row sum to 1, as in the R package brms. The
design has these effects as the columns of one level, with one sd.
"""

from collections.abc import Sequence

import numpy as np

from bayesmm.design.coding import Coding, Values, learn_coding, matrix, matrix_names
from bayesmm.design.covariance import identity
from bayesmm.design.covariance.structure import Part
from bayesmm.design.records import Block
from bayesmm.design.spec import Grouping
from bayesmm.design.state import Scope
from bayesmm.design.transforms import numeric
from bayesmm.design.variables import observed_levels
from bayesmm.errors import DataError
from bayesmm.formula.formula import Bar
from bayesmm.formula.parser import BARS
from bayesmm.runtime.messages import label_text, note, warning

Array = np.ndarray
LEVEL = "members"  # the one level of such a block
WHOLE = 1e-6  # by which the weights of a row may miss 1: those in a table are rounded


def learn_members(bar: Bar, scope: Scope) -> Grouping:
    """Return the labels of all columns as the levels of one factor.

    Raises
    ------
    DataError
        There is one label only.
    """
    seen = [observed_levels(scope.variables[name]).labels for name in _names(bar)]
    labels = sorted(set().union(*map(set, seen)), key=_order)
    if len(labels) < 2:
        alone = f"{bar.label} has one label ({label_text(labels[0])})"
        raise DataError(f"{alone}; its standard deviation cannot be estimated from fewer than two")
    if not set(seen[0]).intersection(*seen[1:]):
        scope.say(
            warning(f"the columns of {bar.label} have no label in common; expected the same kind of label in each")
        )
    cells = np.arange(len(labels))[:, None]
    return Grouping((bar.label,), (tuple(labels),), cells, tuple(labels), members=_names(bar))


def _names(bar: Bar) -> tuple[str, ...]:
    return tuple(column.name for column in bar.group)


def _order(label: str) -> tuple:
    try:
        return 0, float(label), label
    except ValueError:
        return 1, 0.0, label


def member_weights(bar: Bar, grouping: Grouping, scope: Scope) -> tuple[Array, Array]:
    """Return the weight of each level in each row, (m, G), and a label that is no level, (m,), "" where there is none.

    Raises
    ------
    DataError
        A weight is negative, or all of a row are 0.
    """
    given = np.column_stack([numeric(weight, scope) for weight in bar.weights])
    if (given < 0).any():
        rows = scope.rows.text((given < 0).any(axis=1))
        raise DataError(f"the weights of {bar.label} are negative in {rows}; expected 0 or more")
    total = given.sum(axis=1)
    if (total == 0).any():
        raise DataError(f"the weights of {bar.label} are all 0 in {scope.rows.text(total == 0)}; one has to be above 0")
    if bar.scaled:
        equal = all(np.ptp(column) == 0 for column in given.T)
        if scope.learning and not equal and np.abs(total - 1).max() > WHOLE:
            sums = f"{total.min():.4g} to {total.max():.4g}"
            scope.say(
                note(
                    f"the weights of {bar.label} sum to {sums}, and are divided by their sum; scale = FALSE keeps them"
                )
            )
        given = given / total[:, None]
    place, G = {label: g for g, label in enumerate(grouping.levels)}, len(grouping.levels)
    found = [observed_levels(scope.variables[name]) for name in _names(bar)]
    for label in (label for column in found for label in column.labels):
        place.setdefault(label, len(place))
    W, rows = np.zeros((len(given), len(place))), np.arange(len(given))
    unseen = np.full(len(given), "", dtype=object)
    for column, weight in zip(found, given.T, strict=True):
        codes = np.array([place[label] for label in column.labels], dtype=np.int64)[column.codes]
        np.add.at(W, (rows, codes), weight)
        new = (codes >= G) & (weight > 0)
        unseen[new] = np.array(column.labels, dtype=object)[column.codes][new]
    new = unseen != ""
    W[new, 0], W[new, 1:] = np.linalg.norm(W[new], axis=1), 0.0  # independent effects with one sd: the same variance
    return W[:, :G], unseen


def members_block(name: str, bars: Sequence[Bar], values: Values, scope: Scope) -> tuple[Block, Grouping]:
    """Return the block of a factor with several memberships.

    Raises
    ------
    DataError
        See `learn_members`, `member_weights`; or several effects of a member are correlated, which is not possible.
    """
    bar = bars[0]
    if any(other.weights != bar.weights or other.scaled != bar.scaled for other in bars[1:]):
        raise DataError(f"two group terms of {bar.label} have other weights; give them the same")
    grouping = learn_members(bar, scope)
    W, _ = member_weights(bar, grouping, scope)
    codings = [learn_coding(own.intercept, own.terms, values) for own in bars]
    terms = [term for coding in codings for names in matrix_names(coding, values) for term in names]
    for own, coding in zip(bars, codings, strict=True):
        wide = sum(map(len, matrix_names(coding, values)))
        if (wide > 1 and own.covariance != BARS["||"]) or own.covariance not in (*BARS.values(), "ident"):
            raise DataError(
                f"{own} has effects that are correlated; of {bar.label} they are independent, (x || {bar.label})"
            )
    G = len(grouping.levels)
    columns = (
        grouping.levels if len(terms) == 1 else [f"{label}, {term}" for term in terms for label in grouping.levels]
    )
    parts = tuple(Part(tuple(range(t * G, t * G + G)), identity.covariance, term) for t, term in enumerate(terms))
    Z, index = expanded_columns(codings, values, W), np.zeros(len(W), dtype=np.int64)
    return Block(
        bar.label, name, (bar.label,), index, (LEVEL,), tuple(columns), Z, parts, members=grouping.levels
    ), grouping


def expanded_columns(codings: Sequence[Coding], values: Values, W: Array) -> Array:
    """Return the columns of the effects, (m, terms x G): each term's times the weights of the levels."""
    terms = np.hstack([matrix(coding, values, len(W)) for coding in codings])
    return np.ascontiguousarray((terms[:, :, None] * W[:, None, :]).reshape(len(W), -1))
