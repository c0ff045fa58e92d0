"""The formula of sigma, ``sigma ~ f``: log sigma_i is linear in factors and numbers (nlme's varIdent and varExp).

With an intercept, `sigma` is the residual sd where the other columns are 0, and each coefficient is the logarithm of a
ratio of sds; without one, `sigma ~ 0 + f`, the coefficients are the logarithms of the sds. Default priors are at the
means of the columns, as those of the mean's coefficients are: see `bayesmm.design.term_basis`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np

from bayesmm.design.coding import Coding, Numbers, Values, matrix, matrix_names
from bayesmm.design.residual.structure import (
    Arguments,
    Array,
    ResidualParameter,
    Residuals,
    ResidualStructure,
    ResidualTerm,
)
from bayesmm.design.term_basis import TermBasis, learn_basis, untouched
from bayesmm.errors import DataError
from bayesmm.families.kernel import kernel
from bayesmm.formula.formula import Scale
from bayesmm.runtime.messages import Message, note

NAME = "log_sigma"
TWO_VALUED = 1e-9  # of the width of a column: values as near to one of its ends are that end but for rounding
FAR = 3.0  # sds of a number from its mean to 0, from which on a prior there is worth a word; ours


@dataclass(frozen=True, eq=False)
class FormulaColumns:
    """The columns of a parameter's formula.

    Attributes
    ----------
    X : (n, k) float64
        An intercept's first.
    names : tuple of str, length k
    basis : TermBasis
        Of X; nothing is taken out without an intercept, where all columns are indicators.
    sizes : tuple of float, length k
        What the scale of each coefficient's default prior is divided by: 1 for indicators of factors; of numbers, whose
        unit and origin it should not depend on, the sd of the column less its margins, or how far two values are apart.
    """

    X: Array
    names: tuple[str, ...]
    basis: TermBasis
    sizes: tuple[float, ...]


def formula_columns(
    scale: Scale, coding: Coding, values: Values, n: int, known: TermBasis | None = None, count: Array | None = None
) -> FormulaColumns:
    """Return the columns of a parameter's formula in n rows.

    Parameters
    ----------
    scale : Scale
    coding : Coding
    values : mapping of Expr to variable
    n : int
    known : TermBasis, optional
        The basis that the data of the model gave; learned here if there is none.
    count : (n,), optional
        How often each row counts.
    """
    X, named = matrix(coding, values, n), matrix_names(coding, values)
    if known is None:
        weighted = X if count is None else X * np.sqrt(count)[:, None]
        known = learn_basis(weighted, coding, values) if scale.intercept else untouched(X.shape[1])
    terms = [(), *coding.terms] if coding.intercept else coding.terms
    numbers = [
        any(isinstance(values[expr], Numbers) for expr in term)
        for term, names in zip(terms, named, strict=True)
        for _ in names
    ]
    count = np.ones(n) if count is None else count
    sizes = tuple(_size(*column, count) for column in zip(X.T, known.taken_out(X).T, numbers, strict=True))
    return FormulaColumns(X, tuple(name for names in named for name in names), known, sizes)


def _size(x: Array, taken_out: Array, number: bool, count: Array) -> float:
    if len(x) == 0:
        return 1.0
    if not number:
        return 1.0 if np.isin(x, (-1.0, 0.0, 1.0)).all() or x.std() == 0 else float(x.std())
    low, width = taken_out.min(), np.ptp(taken_out)
    share = (taken_out - low) / (width or 1.0)
    two = (np.minimum(share, 1.0 - share) < TWO_VALUED).all()  # true and false, however they are written
    mean = np.average(taken_out, weights=count)
    sd = np.sqrt(np.average(np.square(taken_out - mean), weights=count))
    return float(width if two else sd) or 1.0


def term(scale: Scale, columns: FormulaColumns, y: Array, learning: bool = True) -> ResidualTerm:
    """Return the structure of sigma's formula.

    Parameters
    ----------
    scale : Scale
    columns : FormulaColumns
    y : (n,)
        The response, on whose scale the sds are.
    learning : bool
        Whether no columns may depend on others; those of other data may, for the priors say what they leave open.

    Raises
    ------
    DataError
        There are no columns, some depend on others, or there are numbers without an intercept.
    """
    own, shown = checked_columns("sigma", scale, columns, learning)
    if scale.intercept:
        prior, structure, what = {"mu": 0.0, "sigma": 1.0}, STRUCTURE, "log ratio of residual sds"
    else:
        prior, structure = {"mu": float(np.log(np.std(y) or 1.0)), "sigma": 1.0}, ALONE
        what = "log of a residual sd"
    parameter = ResidualParameter(
        NAME, r"\eta", "Normal", prior, what, shown, start=prior["mu"], sizes=columns.sizes[scale.intercept :]
    )
    return ResidualTerm(structure, scale.text, (parameter,), own, formula="sigma", basis=columns.basis)


def checked_columns(
    name: str, scale: Scale, columns: FormulaColumns, learning: bool, random: bool = False
) -> tuple[Array, tuple[str, ...]]:
    """Return the columns of a parameter's formula besides an intercept, (n, k), and their names.

    There may be none where the formula has `random` effects.

    Raises
    ------
    DataError
        There are no columns, some depend on others, or there are numbers without an intercept.
    """
    X, names = columns.X, columns.names
    own, shown = without_intercept(X, scale.intercept), names[scale.intercept :]
    if not shown and not random:
        raise DataError(f"'{scale.text}' names no column; {name} is the same in all rows without it, so leave it out")
    if learning and dependent(X):
        raise DataError(f"'{scale.text}' has columns that depend on others ({', '.join(names)}); leave one out")
    if not scale.intercept and not np.isin(own, (0.0, 1.0)).all():
        raise DataError(f"'{scale.text}' has numbers and no intercept, so that {name} has no level; leave '0 +' out")
    return own, shown


def dependent(X: Array) -> bool:
    """Return whether some columns, (n, k), depend on others."""
    if X.shape[1] == 0:
        return False
    return bool(np.linalg.matrix_rank(X / np.maximum(np.abs(X).max(axis=0), np.finfo(float).tiny)) < X.shape[1])


def without_intercept(X: Array, intercept: bool) -> Array:
    """Return the columns besides the intercept, whose part sigma has."""
    return np.ascontiguousarray(X[:, int(intercept) :])


def parameters(arguments: Arguments) -> tuple[()]:
    """Return nothing: `term` knows them."""
    return ()


def rows(arguments: Arguments) -> None:
    """Return nothing: `term` knows them."""
    return


def relative_sd(library: ModuleType, rows: object, values: Mapping[str, object]) -> object:
    """Return exp(X gamma), (..., n)."""
    return library.exp(values[NAME] @ rows.T)


@kernel
def log_sd(backward, sigma, values, table, found, d_found, d_values):
    """Set X gamma, (S,), for the distinct rows X, (S, k)."""
    for s in range(table.shape[0]):
        found[s] = 0.0
        for j in range(table.shape[1]):
            found[s] += table[s, j] * values[j]
            if backward:
                d_values[j] += d_found[s] * table[s, j]
    return 0.0


def tex(arguments: Mapping[str, str]) -> str:
    """Return e^{2 x' eta}."""
    return r"e^{2 v_{i}' \eta}"


STRUCTURE = ResidualStructure(
    name="sigma", parameters=parameters, rows=rows, relative_sd=relative_sd, tex=tex, log_sd=log_sd
)
ALONE = replace(STRUCTURE, sigma="known")


def number_means(X: Array) -> Array:
    """Return the means of columns, (k,), 0 for indicators: their 0 is a level of a factor."""
    indicators = np.isin(X, (-1.0, 0.0, 1.0)).all(axis=0)
    return np.where(indicators, 0.0, X.mean(axis=0))


def say_about_origins(residuals: Residuals) -> list[Message]:
    """Return a note for a formula of numbers far from 0 whose parameter is 1 there: so its origin is in the model."""
    said = []
    for part in residuals.formulas:
        if part.has_level:  # whose prior is at the means; without one all columns are indicators
            continue
        (parameter,), means, sds = part.parameters, number_means(part.rows), part.rows.std(axis=0)
        far = [i for i in range(parameter.size) if abs(means[i]) > FAR * sds[i]]
        if far:
            i, name = far[0], parameter.terms[far[0]]
            said.append(
                note(
                    f"{part.text}: {name} has the mean {means[i]:.4g} and the sd {sds[i]:.2g}, and {part.formula} is 1 "
                    f"where it is 0, far from the data; so the priors of thresholds, coefficients and sds are of rows "
                    f"there; write center({name})"
                )
            )
    return said
