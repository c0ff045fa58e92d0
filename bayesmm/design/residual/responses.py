"""The residuals of several responses, ``mvbind(y1, y2)``: an sd of each, and correlations within a row of the table.

Correlations are `unstructured` ones of rows that are stacked. Each sd is a parameter of its own, with a prior on the
scale of its response, so that no prior depends on the unit of another response.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import ModuleType

import numpy as np

from bayesmm.design.parameters import RESIDUAL_CORRELATION, response_sds
from bayesmm.design.residual import unstructured
from bayesmm.design.residual.correlation import Layout
from bayesmm.design.residual.structure import Arguments, Array, ResidualParameter, ResidualStructure, ResidualTerm
from bayesmm.errors import DataError
from bayesmm.families.kernel import kernel

SD_DEGREES = 3.0  # degrees of freedom of the half-t, as of sigma
MAD_TO_SD = 1.4826  # of a normal sample
CODE = 1  # the column of `rows_of` that says which response a row is


def terms_of(text: str, names: Sequence[str], found: Array, scales: Sequence[float], rescor: bool):
    """Return the structures of the residuals of several responses: their sds, and their correlations if there are any.

    Parameters
    ----------
    text : str
        The left side of the formula.
    names : sequence of str
        The responses.
    found : (n, 3)
        What `rows_of` returns.
    scales : sequence of float
        The scale of each response, of the prior of its sd.
    rescor : bool
        Whether there are correlations.

    Returns
    -------
    tuple of ResidualTerm

    Raises
    ------
    DataError
        No row has two of the responses, so that the data say nothing about their correlation.
    """
    sds = response_sds(names)
    parameters = tuple(
        ResidualParameter(
            sd,
            r"\sigma",
            "HalfStudentT",
            {"nu": SD_DEGREES, "sigma": scale},
            f"units of {name}",
            support=(0.0, np.inf),
            start=scale,
        )
        for sd, name, scale in zip(sds, names, scales, strict=True)
    )
    scattered = replace(SDS, relative_sd=partial(relative_sd, sds))
    first = ResidualTerm(scattered, text, parameters, np.ascontiguousarray(found[:, CODE]))
    return (first, ResidualTerm(CORRELATIONS, "", (_correlations(names, found),), found)) if rescor else (first,)


def _correlations(names: Sequence[str], found: Array) -> ResidualParameter:
    together = np.zeros((len(names), len(names)), dtype=bool)
    entries = unstructured.layout(found)
    together[found[entries.row, CODE].astype(int), found[entries.column, CODE].astype(int)] = True
    pairs = [(i, j) for i in range(len(names)) for j in range(i + 1, len(names))]
    apart = [(i, j) for i, j in pairs if not (together[i, j] or together[j, i])]
    if apart:
        i, j = apart[0]
        raise DataError(
            f"no row has both {names[i]} and {names[j]}, so the data say nothing about the correlation of their "
            f"residuals; write mvbind({', '.join(names)}, rescor = FALSE)"
        )
    terms = tuple(f"{names[i]}, {names[j]}" for i, j in pairs)
    limits, what = {"lower": -1.0, "upper": 1.0}, "residual correlation of two responses"
    return ResidualParameter(
        RESIDUAL_CORRELATION, r"\rho", "Uniform", limits, what, terms, (-1.0, 1.0), visits=len(names)
    )


def spread(values: Array) -> float:
    """Return 1.4826 times the median absolute deviation of values, (n,), or their sd where that is 0: sigma's scale."""
    found = MAD_TO_SD * float(np.median(np.abs(values - np.median(values))))
    return found if found > 0 else float(np.std(values))


def rows_of(row: Array, code: Array, count: int) -> Array:
    """Return the row of the table, the response, and how many there are, (n, 3), from the first two, (n,) each."""
    return np.column_stack([row, code, np.full(len(row), count)]).astype(float)


def parameters(arguments: Arguments) -> tuple[()]:
    """Return nothing: `term` knows them."""
    return ()


def rows(arguments: Arguments) -> None:
    """Return nothing: `term` knows them."""
    return


def relative_sd(names: Sequence[str], library: ModuleType, rows: object, values: Mapping[str, object]) -> object:
    """Return the sd of each row's response, (..., n), for the numbers of the responses, (n,)."""
    sds = library.concatenate([values[name] for name in names], axis=-1)
    return sds[..., rows.astype("int64")]


@kernel
def log_sd(backward, sigma, values, table, found, d_found, d_values):
    """Set log sigma_k, (S,), for the numbers k of the responses, (S, 1)."""
    for s in range(table.shape[0]):
        k = int(table[s, 0])
        found[s] = math.log(values[k])
        if backward:
            d_values[k] += d_found[s] / values[k]
    return 0.0


def root(library: ModuleType, layout: Layout, values: Mapping[str, object]) -> object:
    """Return the entries of U, (..., nnz)."""
    return unstructured.root(library, layout, {unstructured.NAME: values[RESIDUAL_CORRELATION]})


def tex(arguments: Mapping[str, str]) -> str:
    """Return rho of two responses."""
    return r"\rho_{k_{i}, k_{j}}"


def sd_tex(arguments: Mapping[str, str]) -> str:
    """Return the variance of the row's response."""
    return r"\sigma_{k_{i}}^{2}"


SDS = ResidualStructure(
    name="sds of responses", parameters=parameters, rows=rows, tex=sd_tex, sigma="known", log_sd=log_sd
)
CORRELATIONS = replace(
    unstructured.STRUCTURE, name="responses", signature=None, parameters=parameters, rows=rows, tex=tex, root=root
)
