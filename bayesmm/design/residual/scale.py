"""The formula of sigma, ``sigma ~ f``: log sigma_i is linear in factors and numbers (nlme's varIdent and varExp).

With an intercept, `sigma` is the residual sd where the other columns are 0, and each coefficient is the logarithm of a
ratio of sds; without one, `sigma ~ 0 + f`, the coefficients are the logarithms of the sds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import ModuleType

import numpy as np

from bayesmm.design.residual.structure import (
    Arguments,
    Array,
    ResidualParameter,
    Residuals,
    ResidualStructure,
    ResidualTerm,
)
from bayesmm.design.summed import is_summed
from bayesmm.errors import DataError
from bayesmm.families.kernel import kernel
from bayesmm.formula.formula import Scale
from bayesmm.runtime.messages import Message, note

NAME = "log_sigma"
FAR = 3.0  # sds of a number from its mean to 0, from which on a prior there is worth a word; ours


def term(scale: Scale, X: Array, names: Sequence[str], y: Array, learning: bool = True) -> ResidualTerm:
    """Return the structure of sigma's formula.

    Parameters
    ----------
    scale : Scale
    X : (n, k)
        Its columns, an intercept's first.
    names : sequence of str, length k
    y : (n,)
        The response, on whose scale the sds are.
    learning : bool
        Whether no columns may depend on others; those of other data may, for the priors say what they leave open.

    Raises
    ------
    DataError
        There are no columns, some depend on others, or there are numbers without an intercept.
    """
    own, shown = checked_columns("sigma", scale, X, names, learning)
    if scale.intercept:
        prior, structure, what = {"mu": 0.0, "sigma": 1.0}, STRUCTURE, "log ratio of residual sds"
    else:
        prior, structure = {"mu": float(np.log(np.std(y) or 1.0)), "sigma": 1.0}, ALONE
        what = "log of a residual sd"
    parameter = ResidualParameter(
        NAME, r"\eta", "Normal", prior, what, shown, start=prior["mu"], sizes=tuple(map(float, sizes(own)))
    )
    return ResidualTerm(structure, scale.text, (parameter,), own)


def checked_columns(
    name: str, scale: Scale, X: Array, names: Sequence[str], learning: bool, random: bool = False
) -> tuple[Array, tuple[str, ...]]:
    """Return the columns of a parameter's formula besides an intercept, (n, k), and their names.

    There may be none where the formula has `random` effects.

    Raises
    ------
    DataError
        There are no columns, some depend on others, or there are numbers without an intercept.
    """
    own, shown = columns(X, scale.intercept), tuple(names[scale.intercept :])
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


def sizes(X: Array) -> Array:
    """Return 1 for indicators and the sd of other columns, (k,): so a prior does not depend on the unit of a number."""
    indicators = np.isin(X, (-1.0, 0.0, 1.0)).all(axis=0)
    return np.where(indicators | (X.std(axis=0) == 0), 1.0, X.std(axis=0))


def columns(X: Array, intercept: bool) -> Array:
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


def centred_scale(design):
    """Return the design with the numbers in a formula of sigma less their means: its sigma is that at the means.

    So is the sigma of a model with a formula of numbers far from 0, as years, a number of the size of the data. Where
    the rows are with an engine the columns stay as they are.
    """
    part = _own_part(design)
    if part is None:
        return design
    centred = replace(part, rows=part.rows - number_means(part.rows))
    parts = tuple(centred if own is part else own for own in design.residual.parts)
    return replace(design, residual=replace(design.residual, parts=parts))


def scale_at_zero(design, values: Mapping[str, Array]) -> float | Array:
    """Return what the sigma of `centred_scale` is multiplied by to be that of the design, for values (k,) or (d, k)."""
    part = _own_part(design)
    return 1.0 if part is None else np.exp(-(values[NAME] @ number_means(part.rows)))


def say_about_origins(residuals: Residuals) -> list[Message]:
    """Return a note for a formula of a parameter whose numbers are far from 0, where the parameter's prior stands."""
    said = []
    for part in residuals.parts:
        if part.structure is not STRUCTURE and not (part.of and part.of not in part.given and not part.categories):
            continue
        shown = part.parameters[0].terms if part.parameters else ()
        means, sds = number_means(part.rows), part.rows.std(axis=0)
        far = [i for i in range(len(shown)) if abs(means[i]) > FAR * sds[i]]
        if far:
            name, i = part.of or "sigma", far[0]
            said.append(
                note(
                    f"{part.text}: {shown[i]} has the mean {means[i]:.4g} and the sd {sds[i]:.2g}, so that {name}, "
                    f"which is the value at 0, and its prior are far from the data; write center({shown[i]}) there"
                )
            )
    return said


def _own_part(design) -> ResidualTerm | None:
    if is_summed(design):
        return None
    return next((part for part in design.residual.parts if part.structure is STRUCTURE), None)
