"""What an analysis of variance tests of each term: the hypotheses of types I, II and III.

Each is that some combinations of the coefficients are 0, and none depends on how the factors are coded:

- type I: the term after the terms before it in the formula;
- type II: the term after all terms that do not contain it (Fox & Weisberg 2019, *An R Companion to Applied Regression*,
  section 5.3.4: the principle of marginality), a term containing another if it has all its variables and more;
- type III: the term after all others, in the coding whose contrasts sum to 0 over the levels of each factor. So the
  hypothesis for a factor is that its means, averaged over the levels of the factors it interacts with, each with the
  same weight, are equal where numeric variables that it interacts with are 0.

"After" is in the metric of the estimated covariance of the response. For type III that makes no difference.
"""

from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from bayesmm.design.coding import RESPONSES, Levels
from bayesmm.design.design import encode
from bayesmm.design.records import Design
from bayesmm.design.summed import is_summed
from bayesmm.design.terms import FixedTerm, fixed_terms
from bayesmm.engines.recoded import recoded
from bayesmm.errors import DataError, listing
from bayesmm.estimation.estimates import Estimates
from bayesmm.formula.expressions import Call, Expr, Operation
from bayesmm.formula.formula import text_of
from bayesmm.inference.checks import estimated
from bayesmm.likelihood.crossproducts import Floats

# What a user may write -> the type.
TYPES = MappingProxyType(
    {"I": "I", "II": "II", "III": "III", "1": "I", "2": "II", "3": "III", 1: "I", 2: "II", 3: "III"}
)
TESTED = MappingProxyType(
    {
        "I": "each term after those before it",
        "II": "each term after all that do not contain it",
        "III": "each term after all others, averaged over the levels of other factors with equal weights",
    }
)
# Of the largest entry: what two codings of one model may differ by is rounding.
SAME_SPACE = 1e-6


def said(design: Design, kind: str) -> str:
    """Return in words what is tested of each term; of type III also where numbers have their zero."""
    if kind != "III":
        return TESTED[kind]
    terms, at = [term.factors for term in design.formula.terms], {}
    for factors in terms:
        beside: dict[Expr, None] = {}  # what it is multiplied by, or itself where a power of it stands there
        for other in terms:
            if set(factors) < set(other):
                beside |= dict.fromkeys(e for e in other if e not in factors)
            beside |= dict.fromkeys(e for e in factors if any(is_power(one, e) for one in other))
        numbers = [text_of(e) for e in beside if not isinstance(design.spec.states.get(e), Levels)]
        if numbers:
            verb = "is" if len(numbers) == 1 else "are"
            at.setdefault(f"{listing(numbers)} {verb} 0", []).append(":".join(map(text_of, factors)))
    where = [f"{listing(terms)} where {zero}" for zero, terms in at.items()]
    return "; ".join([TESTED[kind], *where])


def is_power(expr: Expr, of: Expr) -> bool:
    """Return whether an expression is a power of another, as I(x^2) is of x: the other's zero is then its own."""
    if isinstance(expr, Call) and expr.function == "I":
        expr = expr.arguments[0]
    return isinstance(expr, Operation) and expr.operator == "^" and expr.operands[0] == of


class Hypothesis(NamedTuple):
    """That ``rows @ beta`` is 0.

    Attributes
    ----------
    label : str
        The term.
    columns : tuple of int
        Its columns of X.
    rows : (q, r) float64
        Combinations of the r coefficients that can be estimated, which are independent with variance sigma^2.
    """

    label: str
    columns: tuple[int, ...]
    rows: Floats


def check_type(kind: object) -> str:
    """Return "I", "II" or "III" for what a user has written; raise a ValueError for anything else."""
    known = isinstance(kind, (str, int)) and not isinstance(kind, bool) and kind in TYPES
    if not known:
        raise ValueError(f"type must be one of 'I', 'II', 'III', 1, 2, 3, not {kind!r}")
    return TYPES[kind]


def hypotheses(point: Estimates, kind: str) -> list[Hypothesis]:
    """Return the hypothesis of each term but the intercept, in the order of the formula.

    Parameters
    ----------
    point : PointFit
        Of a Gaussian model by REML or ML.
    kind : {"I", "II", "III"}

    Raises
    ------
    DataError
        For type III, where coefficients cannot be estimated: it is then not one hypothesis but depends on the coding.
    """
    design, kept = point.design, estimated(point.design)
    terms = [term for term in fixed_terms(design)[int(design.has_intercept) :] if term.columns]
    if not terms:
        return []
    inverse = _inverse(point.scaled.root[kept]) * point.sigma
    if kind == "III":
        combinations = _sum_to_zero(design)
        found = [_independent(combinations[list(term.columns)], inverse) for term in terms]
    else:
        found = [_sequential(inverse, kept, term, _later(design, terms, t, kind)) for t, term in enumerate(terms)]
    return [Hypothesis(term.label, term.columns, rows) for term, rows in zip(terms, found, strict=True)]


def _inverse(root: Floats) -> Floats:
    """Return the inverse of a matrix whose rows are in different units; a DataError where it has none."""
    size = np.linalg.norm(root, axis=1)
    try:
        return np.linalg.inv(root / size[:, None]) / size
    except np.linalg.LinAlgError:
        raise DataError(
            "the covariance matrix of the coefficients is singular at these estimates, so that there are no tests of "
            "terms: a coefficient or a parameter goes to a limit, or the search has not converged, as print() says"
        ) from None


def _later(design: Design, terms: Sequence[FixedTerm], t: int, kind: str) -> list[int]:
    """Return the columns of the terms that are not held beside term t: those after it, or those that contain it."""
    if kind == "I":
        return [j for term in terms[t + 1 :] for j in term.columns]
    variables = {term.label: set(term.variables) for term in terms}
    own = variables[terms[t].label]
    return [j for term in terms if own < variables[term.label] for j in term.columns]


def _sequential(inverse: Floats, kept: list[int], term: FixedTerm, later: list[int]) -> Floats:
    """Return the rows of a term after all columns but its own and `later`.

    With C = R^-1 R^-T the coefficients' covariance over sigma^2 and R upper triangular in this order of the columns,
    the entries of R beta are independent with variance sigma^2, and those of the term do not depend on the later ones'
    place in it. R is from a QR factorisation of the inverse of a root of C, which the coefficients' origins do not
    condition badly.
    """
    first = [j for j in kept if j not in term.columns and j not in later]
    order = [kept.index(j) for j in [*first, *term.columns, *later]]
    R = np.linalg.qr(inverse[:, order], mode="r")
    rows = np.zeros((len(term.columns), len(kept)))
    rows[:, order] = R[len(first) : len(first) + len(term.columns)]
    return rows


def _independent(rows: Floats, inverse: Floats) -> Floats:
    """Return combinations of the same span as `rows`, (q, r), that are independent with variance sigma^2."""
    root = np.linalg.solve(inverse.T, rows.T)  # (r, q): C = inverse^-1 inverse^-T, so that rows C rows' = root' root
    R = np.linalg.qr(root, mode="r")
    return np.linalg.solve(R.T, rows)


def _sum_to_zero(design: Design) -> Floats:
    """Return A, (p, p), with A beta the coefficients in the coding whose contrasts sum to 0."""
    if design.aliased:
        names = listing([design.coefficients[j] for j in design.aliased])
        raise DataError(
            f"type III needs data in every combination of levels, and {names} cannot be estimated here; use type='II'"
        )
    states = {
        expr: replace(state, contrasts="Sum", base=None)
        if isinstance(state, Levels) and state.contrasts != RESPONSES
        else state
        for expr, state in design.spec.states.items()
    }
    if is_summed(design):
        other, X = recoded(design, states).rows, design.X.rows
    else:
        other, X = encode(replace(design.spec, states=states), design.frame, groups=False).X, design.X
    if design.family.ordered:  # the thresholds have the constant that X has not
        other = np.column_stack([other, np.ones(len(other))])
    sizes = np.linalg.norm(other, axis=0)
    A = np.linalg.lstsq(other / sizes, X)[0] / sizes[:, None]
    if not np.abs(other @ A - X).max() <= SAME_SPACE * np.abs(X).max():
        raise DataError(f"the terms of {design.formula.text!r} mean another model in another coding; use type='II'")
    return A[: X.shape[1]]
