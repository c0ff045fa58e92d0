"""The coding of model terms into columns, as R's ``model.matrix`` does it.

A term is a product of factors and numeric variables. Whether a factor in it is coded by contrasts or by an indicator
per level follows from the terms before it (`indicator_flags`); the columns of an interaction are all products, the
index of the leftmost factor running fastest. Names are those of the package formulaic: ``Sex[T.M]:Time``, ``f[S.a]``.
"""

from collections.abc import Hashable, Mapping, Sequence, Set
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from bayesmm.design.parameters import of_response
from bayesmm.formula.formula import Expr, Term, text_of

INTERCEPT = "Intercept"  # the name of the column of ones


@dataclass(frozen=True, eq=False)
class Numbers:
    """An evaluated numeric variable.

    Attributes
    ----------
    values : float64 array, shape (n, k)
    fields : tuple of str, length k
        What tells the columns apart (``("1", "2")`` for ``poly(x, 2)``); ``("",)`` for a plain variable.
    """

    values: np.ndarray
    fields: tuple[str, ...] = ("",)


@dataclass(frozen=True)
class Levels:
    """The levels of a factor and how contrasts compare them.

    Attributes
    ----------
    labels : tuple of str, length L
    contrasts : str
        A key of `CONTRASTS`.
    base : int or None
        The reference level of the treatment contrasts; None for the contrasts' own (the first, or the last for "SAS").
    matrix : tuple of tuples of float
        Of contrasts of one's own, "Own": a row for each level; empty for all others.
    names : tuple of str
        Of its columns.
    """

    labels: tuple[str, ...]
    contrasts: str = "Treatment"
    base: int | None = None
    matrix: tuple[tuple[float, ...], ...] = ()
    names: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Factor:
    """An evaluated factor: `codes` (int64, shape (n,)) are places in ``levels.labels``."""

    codes: np.ndarray
    levels: Levels


# ----------------------------------------------------------------------------------------------------------------------
# contrasts: number of levels -> matrix (L, L - 1). R's functions of the same names, stats package


def _treatment(n: int, base: int | None) -> np.ndarray:
    return np.delete(np.eye(n), 0 if base is None else base, axis=1)


def _sas(n: int, base: int | None) -> np.ndarray:
    return _treatment(n, n - 1 if base is None else base)


def _sum(n: int, base: int | None) -> np.ndarray:
    return np.vstack([np.eye(n - 1), -np.ones(n - 1)])


def _helmert(n: int, base: int | None) -> np.ndarray:
    return np.vstack([np.where(np.triu(np.ones((n - 1, n - 1))) > 0, -1.0, 0.0), np.zeros(n - 1)]) + np.vstack(
        [np.zeros(n - 1), np.diag(np.arange(1.0, n))]
    )


def _difference(n: int, base: int | None) -> np.ndarray:
    step = np.arange(1.0, n) / n
    return np.where(np.arange(n)[:, None] <= np.arange(n - 1)[None, :], step - 1, step)


def _polynomial(n: int, base: int | None) -> np.ndarray:
    """Orthonormal polynomials on equally spaced scores: each the last one times the score, made orthogonal to all."""
    scores = np.arange(n) - (n - 1) / 2
    Q = np.full((n, 1), n**-0.5)
    for _ in range(n - 1):
        raised = scores * Q[:, -1]
        for _ in range(2):  # twice is enough to be orthogonal to rounding (Giraud, Langou & Rozloznik 2005)
            raised = raised - Q @ (Q.T @ raised)
        Q = np.column_stack([Q, raised / np.linalg.norm(raised)])
    return Q[:, 1:]


OWN = "Own"  # contrasts that a user gives as a matrix
RESPONSES = "Responses"  # of the factor that says which of several responses a row is: always an indicator for each
CONTRASTS = MappingProxyType(
    {
        "Treatment": _treatment,
        "SAS": _sas,
        "Sum": _sum,
        "Helmert": _helmert,
        "Poly": _polynomial,
        "Diff": _difference,
    }
)
_PREFIX: Mapping[str, str] = MappingProxyType(
    {"Treatment": "T.", "SAS": "T.", "Sum": "S.", "Helmert": "H.", "Diff": "D."}
)
_DEGREES = (".L", ".Q", ".C")


def contrast_matrix(levels: Levels) -> np.ndarray:
    """Return the contrasts of a factor, shape (L, L - 1): row g is what a row of level g has in X."""
    if levels.contrasts == OWN:
        return np.array(levels.matrix)
    return CONTRASTS[levels.contrasts](len(levels.labels), levels.base)


def contrast_fields(levels: Levels) -> tuple[str, ...]:
    """Return what tells the columns of the contrasts apart: ``T.b``, ``S.a``, ``.L``."""
    labels, n = levels.labels, len(levels.labels)
    if levels.contrasts == OWN:
        return levels.names
    if levels.contrasts == "Poly":
        return tuple(_DEGREES[d] if d < len(_DEGREES) else f"^{d + 1}" for d in range(n - 1))
    if levels.contrasts in ("Treatment", "SAS"):
        base = levels.base if levels.base is not None else (0 if levels.contrasts == "Treatment" else n - 1)
        labels = labels[:base] + labels[base + 1 :]
    else:
        labels = labels[:-1] if levels.contrasts == "Sum" else labels[1:]
    return tuple(_PREFIX[levels.contrasts] + label for label in labels)


# ----------------------------------------------------------------------------------------------------------------------
# terms


def indicator_flags(
    terms: Sequence[Sequence[Hashable]], factors: Set[Hashable], intercept: bool
) -> tuple[tuple[bool, ...], ...]:
    """Return which factors of which terms are coded by an indicator for every level, by R's rule.

    In a term, factor f is coded by contrasts if the rest of the term (the term without f) is empty or is contained in
    an earlier term, and by indicators otherwise. Without an intercept the first factor of the first term that has one
    is coded by indicators all the same. This is what R does (``TermCode`` in its sources; Chambers & Hastie 1992,
    *Statistical Models in S*, chapter 2). On non-hierarchical formulas (``~ a:b``) the rule gives dependent columns, in
    R as here.

    Parameters
    ----------
    terms : sequence of sequences
        The terms in order, main effects first, each with its variables in order.
    factors : set
        Which variables are factors.
    intercept : bool

    Returns
    -------
    tuple of tuples of bool
        In the shape of `terms`.
    """
    flags = [
        [f in factors and not _contained(set(term) - {f}, terms[:t]) for f in term]
        for t, term in enumerate(terms)
    ]  # fmt: skip
    first = next(((t, i) for t, term in enumerate(terms) for i, f in enumerate(term) if f in factors), None)
    if first and not intercept:
        flags[first[0]][first[1]] = True
    return tuple(tuple(row) for row in flags)


def _contained(margin: set[Hashable], earlier: Sequence[Sequence[Hashable]]) -> bool:
    return not margin or any(margin <= set(term) for term in earlier)


def fields_of(variable: Numbers | Factor, indicators: bool) -> tuple[str, ...]:
    """Return what tells the columns of one variable apart: a factor's levels or contrasts, a basis's numbers."""
    if isinstance(variable, Numbers):
        return variable.fields
    return variable.levels.labels if indicators else contrast_fields(variable.levels)


def column_names(names: Sequence[str], fields: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return the names of a term's columns: ``a[T.v]:b[T.q]``, the leftmost field running fastest.

    Parameters
    ----------
    names : sequence of str
        The variables of the term as the formula writes them.
    fields : sequence of sequences of str
        The fields of each (`fields_of`).
    """
    columns = [""]
    for name, parts in zip(names, fields, strict=True):
        pieces = [f"{name}[{part}]" if part else name for part in parts]
        columns = [f"{left}:{piece}" if left else piece for piece in pieces for left in columns]
    return tuple(columns)


def term_columns(variables: Sequence[Numbers | Factor], indicators: Sequence[bool]) -> np.ndarray:
    """Return the columns of one term, shape (n, k), in the order of `column_names`."""
    parts = [_coded(v, full) for v, full in zip(variables, indicators, strict=True)]
    product = parts[0]
    for part in parts[1:]:
        product = (part[:, :, None] * product[:, None, :]).reshape(len(product), part.shape[1] * product.shape[1])
    return product


def _coded(variable: Numbers | Factor, indicators: bool) -> np.ndarray:
    if isinstance(variable, Numbers):
        return variable.values
    matrix = np.eye(len(variable.levels.labels)) if indicators else contrast_matrix(variable.levels)
    return matrix[variable.codes]


# ----------------------------------------------------------------------------------------------------------------------
# a whole matrix


@dataclass(frozen=True)
class Coding:
    """How the columns of one matrix are made: of X, or of what stands before a group term's bar.

    Attributes
    ----------
    intercept : bool
    terms : tuple of tuples of Expr
        The variables of each term.
    indicators : tuple of tuples of bool
        Which of them are coded by an indicator for every level (`indicator_flags`).
    """

    intercept: bool
    terms: tuple[tuple[Expr, ...], ...]
    indicators: tuple[tuple[bool, ...], ...]


Values = Mapping[Expr, Numbers | Factor]


def learn_coding(intercept: bool, terms: Sequence[Term], values: Values) -> Coding:
    """Return the coding of terms, given which of their variables are factors."""
    variables = tuple(term.factors for term in terms)
    factors = {expr for expr, value in values.items() if isinstance(value, Factor)}
    if not any(is_response(values[term[0]]) for term in variables):
        return Coding(intercept, variables, indicator_flags(variables, factors, intercept))
    inner = [term[1:] if is_response(values[term[0]]) else term for term in variables]  # as of one response
    own = [term for term in inner if term]
    flags = iter(indicator_flags(own, factors, len(own) < len(inner)))
    found = [next(flags) if term else () for term in inner]
    whole = [(True, *f) if len(f) < len(term) else f for f, term in zip(found, variables, strict=True)]
    return Coding(intercept, variables, tuple(whole))


def is_response(value: Numbers | Factor) -> bool:
    """Return whether a variable says which of several responses a row is."""
    return isinstance(value, Factor) and value.levels.contrasts == RESPONSES


def term_fields(coding: Coding, values: Values) -> list[list[tuple[str, ...]]]:
    """Return the fields of each variable of each term; the product of their lengths is the term's number of columns."""
    return [
        [fields_of(values[expr], full) for expr, full in zip(term, flags, strict=True)]
        for term, flags in zip(coding.terms, coding.indicators, strict=True)
    ]


def matrix_names(coding: Coding, values: Values) -> list[tuple[str, ...]]:
    """Return the names of the columns of each term, after ``("Intercept",)`` if there is one."""
    named = [
        _names_of(term, [text_of(expr) for expr in term], fields, values)
        for term, fields in zip(coding.terms, term_fields(coding, values), strict=True)
    ]
    return [(INTERCEPT,), *named] if coding.intercept else named


def _names_of(
    term: Sequence[Expr], names: Sequence[str], fields: Sequence[tuple[str, ...]], values: Values
) -> tuple[str, ...]:
    """Return the names of a term's columns; those of several responses begin with the name of their own."""
    if not is_response(values[term[0]]):
        return column_names(names, fields)
    inner = column_names(names[1:], fields[1:]) if len(names) > 1 else (INTERCEPT,)
    return tuple(of_response(response, name) for name in inner for response in fields[0])


def matrix(coding: Coding, values: Values, n: int) -> np.ndarray:
    """Return the coded matrix, float64, shape (n, p), C order."""
    parts = [np.ones((n, 1))] if coding.intercept else []
    for term, flags in zip(coding.terms, coding.indicators, strict=True):
        parts.append(term_columns([values[expr] for expr in term], flags))
    return np.ascontiguousarray(np.hstack(parts)) if parts else np.empty((n, 0))
