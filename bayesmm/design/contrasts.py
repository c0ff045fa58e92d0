"""The contrasts of a factor that are given beside the formula: one of R's by name, or a matrix of one's own."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayesmm.design.coding import CONTRASTS, OWN, Levels
from bayesmm.errors import DataError, listing, suggest
from bayesmm.runtime.messages import label_text

NAMES = {name.lower(): name for name in CONTRASTS if name != OWN}
FULL_RANK = 1e-8  # smallest singular value over the largest, of the matrix beside a column of ones


@dataclass(frozen=True)
class GivenContrasts:
    """What was asked for a factor.

    Attributes
    ----------
    kind : str
        A key of `coding.CONTRASTS`.
    matrix : tuple of tuples of float
        The rows of a matrix of one's own, a row for each level; empty for the others.
    names : tuple of str
        Of its columns.
    labels : tuple of str
        The levels of its rows, where it was a DataFrame; empty where the rows are in the order of the levels.
    """

    kind: str
    matrix: tuple[tuple[float, ...], ...] = ()
    names: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


def given_contrasts(given: object) -> dict[str, GivenContrasts]:
    """Return what a user gives as ``contrasts={"f": "sum"}``, checked as far as it can be without data.

    Raises
    ------
    ValueError
        It is no mapping of names to names of contrasts or matrices of finite numbers.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ValueError(f"contrasts should be a dict of factors, such as {{'f': 'sum'}}, not {given!r}")
    return {str(name): _one(str(name), value) for name, value in given.items()}


def _one(name: str, value: object) -> GivenContrasts:
    if isinstance(value, str):
        plain = value.lower().removeprefix("contr.").removeprefix("contr_")
        if plain not in NAMES:
            raise ValueError(
                f"contrasts[{name!r}] should be one of {listing(NAMES)}, or a matrix, not {value!r}"
                f"{suggest(plain, NAMES)}"
            )
        return GivenContrasts(NAMES[plain])
    try:
        matrix = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        matrix = np.empty(0)
    if matrix.ndim != 2 or not np.isfinite(matrix).all() or not matrix.size:
        raise ValueError(
            f"contrasts[{name!r}] should be one of {listing(NAMES)}, or a matrix of finite numbers with a row for each "
            "level and one column fewer"
        )
    frame = value if isinstance(value, pd.DataFrame) else None
    names = range(1, matrix.shape[1] + 1) if frame is None else frame.columns
    labelled = frame is not None and not isinstance(frame.index, pd.RangeIndex)
    labels = tuple(map(str, frame.index)) if labelled else ()
    return GivenContrasts(OWN, tuple(map(tuple, matrix.tolist())), tuple(map(str, names)), labels)


def levels_with(name: str, labels: tuple[str, ...], given: GivenContrasts) -> Levels:
    """Return the levels of a factor with the contrasts that were given for it.

    Raises
    ------
    DataError
        A matrix has not a row for each level and one column fewer, or does not tell the levels apart.
    """
    if given.kind != OWN:
        return Levels(labels, given.kind)
    rows, L = np.array(given.matrix), len(labels)
    if rows.shape != (L, L - 1):
        raise DataError(
            f"the contrasts of '{name}' have {rows.shape[0]} rows and {rows.shape[1]} columns, and its {L} levels "
            f"({listing(map(label_text, labels))}) need {L} and {L - 1}"
        )
    if given.labels:
        if set(given.labels) != set(labels):
            raise DataError(
                f"the rows of the contrasts of '{name}' are {listing(map(label_text, given.labels))}, and its levels "
                f"are {listing(map(label_text, labels))}"
            )
        rows = rows[[given.labels.index(label) for label in labels]]
    sizes = np.linalg.svd(np.column_stack([np.ones(L), rows]), compute_uv=False)
    if sizes[-1] < FULL_RANK * sizes[0]:
        raise DataError(
            f"the contrasts of '{name}' do not tell its levels apart: beside a column of ones they are dependent"
        )
    return Levels(labels, OWN, None, tuple(map(tuple, rows.tolist())), given.names)


def check_used(given: Mapping[str, GivenContrasts], coded: list[str]) -> None:
    """Raise a DataError for contrasts of what is no factor of the formula."""
    for name in given:
        if name not in coded:
            known = listing(coded) or "none"
            raise DataError(
                f"contrasts names {name!r}, which is no factor among the terms of the model{suggest(name, coded)} "
                f"(factors: {known}); one inside C() has its contrasts there"
            )
