"""What the data give cause to say before a model is fitted: one small function per matter."""

from collections import Counter
from collections.abc import Sequence
from math import prod

import numpy as np

from bayesmm.design.coding import INTERCEPT, Coding, Factor, Numbers, Values, matrix, matrix_names, term_fields
from bayesmm.design.dependence import dependent_columns, find_relation, near_dependence, relation_text, worth_trying
from bayesmm.errors import DataError, listing
from bayesmm.families.family import Family
from bayesmm.formula.formula import text_of
from bayesmm.runtime.messages import Message, Rows, count, label_text, note, warning
from bayesmm.runtime.threads import few_threads

MAX_COLUMNS = 20_000  # of X: more are a mistake, and a matrix of contrasts is as wide as high
MAX_BYTES = 4e9  # of X: half the memory of a laptop
SCALE_RATIO = 1e3  # lme4's check.scaleX: standard deviations that differ by more, or lie further from 1
OUTLIER_RATIO = 100  # times the 90 % quantile of distances from the median: a slipped decimal point or unit; ours
RELATION_LIMIT = 3  # linear relations written out in one message
MISSING_CODES = tuple(float(sign * (10**digits - 1)) for digits in range(1, 6) for sign in (1, -1))  # 9, -9, 99, ...
CODE_GAP = 0.5  # of the other values' range, by which a code lies beyond them (1 to 5 and 9 for "no answer"); ours
ROUNDING = 1e-14  # relative: some fifty rounding errors, what a difference may keep of two numbers that are equal
CELL_LIMIT = 5  # empty combinations of levels written out in one message


def checked_matrix(
    coding: Coding, values: Values, n: int, what: str, learning: bool = True
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return a coded matrix and the names of its columns, after the checks that come before it is made.

    A design that is repeated on other data (not `learning`) keeps its columns, also those that are constant there.
    """
    check_width(coding, values, n, what)
    check_names(coding, values, what)
    if learning:
        check_constant(coding, values)
    return matrix(coding, values, n), tuple(name for term in matrix_names(coding, values) for name in term)


def check_row_count(rows: Rows, total: int) -> None:
    """Raise a DataError if fewer than two rows are left."""
    if len(rows) < 2:
        left = "" if len(rows) == total else f" of {total:,}"
        raise DataError(f"{count(len(rows), 'row')}{left} can be used; a model needs at least two")


def check_offset(family: Family, y: np.ndarray, offset: np.ndarray, name: str) -> None:
    """Raise a DataError if nothing that varies is left of a response when its offset is taken out (identity link)."""
    if family.link != "identity":
        return
    left = y - offset
    if offset.any() and np.ptp(left) <= ROUNDING * (np.abs(y).max() + np.abs(offset).max()):
        raise DataError(
            f"the response '{name}' less its offset is constant ({left[0]:.4g}); a model needs one that varies"
        )


def check_width(coding: Coding, values: Values, n: int, what: str) -> None:
    """Raise a DataError if the coded terms have too many columns, before the matrix is made."""
    widths = {
        ":".join(text_of(expr) for expr in term): prod(len(part) for part in fields)
        for term, fields in zip(coding.terms, term_fields(coding, values), strict=True)
    }
    total = sum(widths.values()) + coding.intercept
    if total > MAX_COLUMNS or 8 * n * total > MAX_BYTES:
        widest = max(widths, key=widths.__getitem__)
        size = f"{total:,} columns for {n:,} rows ({8 * n * total / 1e9:.2g} GB)"
        raise DataError(
            f"{what} has {size}, {widths[widest]:,} of them for '{widest}'; at most {MAX_COLUMNS:,} columns and "
            f"{MAX_BYTES / 1e9:g} GB are possible, and a factor with many levels may be a grouping factor, "
            f"(1 | {widest})"
        )


def check_names(coding: Coding, values: Values, what: str) -> None:
    """Raise a DataError if two columns would have the same name."""
    names = [name for term in matrix_names(coding, values) for name in term]
    twice = [name for name, times in Counter(names).items() if times > 1]
    if (twice and twice[0] == INTERCEPT) or (not coding.intercept and INTERCEPT in names):
        raise DataError(
            f"a column is named '{INTERCEPT}', which in {what} is the name of the model's own intercept; rename it"
        )
    if twice:
        raise DataError(f"two terms of {what} are both named {label_text(twice[0])}; rename a column or a level")


def check_constant(coding: Coding, values: Values) -> None:
    """Raise a DataError for a numeric term that is 0 throughout, or that is constant beside an intercept."""
    for term in coding.terms:
        value = values[term[0]]
        if not (len(term) == 1 and isinstance(value, Numbers) and len(value.fields) == 1):
            continue
        if not coding.intercept and not value.values.any():
            raise DataError(f"'{text_of(term[0])}' is 0 in every row, so that it can have no effect; leave it out")
        if coding.intercept and np.ptp(value.values) == 0:
            constant = f"'{text_of(term[0])}' is constant ({value.values[0, 0]:g})"
            raise DataError(f"{constant}, so its effect cannot be told apart from the intercept's; leave it out")


@few_threads
def check_dependence(
    X: np.ndarray, without_margins: np.ndarray, coding: Coding, values: Values
) -> tuple[tuple[int, ...], list[Message]]:
    """Return the columns of X that depend on earlier ones, and what is to say about it.

    What is nearly dependent is looked for in X with the margins of its terms taken out, (n, p) as X is: that x and x:f
    are so where x lies far from 0 is of no consequence.
    Nothing is dropped: under proper priors the posterior is proper, and the message says what it rests on.
    """
    names = [name for term in matrix_names(coding, values) for name in term]
    return say_about_dependence(
        X, without_margins, names, 0 if coding.intercept else None, _empty_cells(coding, values)
    )


def say_about_dependence(
    X: np.ndarray,
    without_margins: np.ndarray,
    names: Sequence[str],
    intercept: int | None,
    said: Sequence[Message] = (),
) -> tuple[tuple[int, ...], list[Message]]:
    """Return what `check_dependence` does; `said` comes first, where there are more rows than columns."""
    said = list(said)
    if not worth_trying(X):
        return (), [note(f"X has {X.shape[1]:,} columns, too many to look for linear dependence among them")]
    aliased = dependent_columns(X, intercept)
    if X.shape[1] >= len(X):
        return aliased, [_more_columns_than_rows(X, len(aliased))]
    if aliased:
        said.append(_say_dependent(X, aliased, names, intercept))
    near = near_dependence(without_margins, intercept, aliased)
    if near is not None:
        involved = listing([names[j] for j in sorted(near.columns[: RELATION_LIMIT + 1])])
        how = f"r = {near.correlation:.6g}, " if len(near.columns) == 2 else ""
        said.append(
            warning(
                f"{involved} are nearly linearly dependent ({how}condition number {near.condition:.2g}), so their "
                "separate effects are uncertain and rest on the priors"
            )
        )
    return aliased, said


def _say_dependent(X: np.ndarray, aliased: Sequence[int], names: Sequence[str], intercept: int | None) -> Message:
    relations = [find_relation(X, j, aliased, intercept) for j in aliased[:RELATION_LIMIT]]
    more = f" and {len(aliased) - RELATION_LIMIT:,} more" if len(aliased) > RELATION_LIMIT else ""
    shown = ", ".join(relation_text(relation, names, intercept) for relation in relations) + more
    which = "is a combination" if len(aliased) == 1 else "are combinations"
    return warning(
        f"{len(aliased)} of the {X.shape[1]} columns of the fixed part {which} of others ({shown}); in the "
        "posterior none is left out, and the priors decide what the data cannot tell apart; REML and ML give NaN "
        "for them"
    )


def _more_columns_than_rows(X: np.ndarray, dependent: int) -> Message:
    counts = f"the fixed part has {count(X.shape[1], 'coefficient')} for {count(len(X), 'row')}"
    if dependent == 0:
        return warning(f"{counts}, which leaves no row to estimate the residual standard deviation from")
    return warning(f"{counts}: in at least {count(dependent, 'direction')} the posterior is the prior")


def _empty_cells(coding: Coding, values: Values) -> list[Message]:
    """Name the combinations of levels without a row, for each interaction of factors."""
    said = []
    for term in coding.terms:
        factors = [values[expr] for expr in term]
        if len(term) < 2 or not all(isinstance(factor, Factor) for factor in factors):
            continue
        empty, total = _cells_without_rows(factors)
        if total:
            cells = [
                " with ".join(f"{text_of(expr)} = {label_text(label)}" for expr, label in zip(term, cell, strict=True))
                for cell in empty
            ]
            more = f"; and {total - len(cells):,} more" if total > len(cells) else ""
            name = ":".join(text_of(expr) for expr in term)
            which = (
                f"no row has {cells[0]}"
                if total == 1
                else f"{total:,} combinations have no row ({'; '.join(cells)}{more})"
            )
            said.append(warning(f"{which}, so '{name}' has effects that the data say nothing about"))
    return said


def _cells_without_rows(factors: Sequence[Factor]) -> tuple[list[tuple[str, ...]], int]:
    sizes = [len(factor.levels.labels) for factor in factors]
    flat = np.ravel_multi_index([factor.codes for factor in factors], sizes)
    empty = np.flatnonzero(np.bincount(flat, minlength=int(np.prod(sizes))) == 0)
    cells = np.column_stack(np.unravel_index(empty[:CELL_LIMIT], sizes))
    return [tuple(f.levels.labels[k] for f, k in zip(factors, cell, strict=True)) for cell in cells], len(empty)


def say_about_scales(coding: Coding, values: Values) -> list[Message]:
    """Note numeric terms whose scales lie far apart."""
    sds = {}
    for term in coding.terms:
        value = values[term[0]]
        if len(term) == 1 and isinstance(value, Numbers) and value.values.shape[1] == 1:
            sds[text_of(term[0])] = float(value.values.std())
    varying = {name: sd for name, sd in sds.items() if sd > 0}
    far = [name for name, sd in varying.items() if not 1 / SCALE_RATIO <= sd <= SCALE_RATIO]
    apart = varying and max(varying.values()) > SCALE_RATIO * min(varying.values())
    if not far and not apart:
        return []
    shown = far or [max(varying, key=varying.__getitem__), min(varying, key=varying.__getitem__)]
    scales = listing([f"{name}: {varying[name]:.3g}" for name in shown], limit=4)
    return [
        note(
            f"the scales of the predictors lie far apart or far from 1 (standard deviations: {scales}); "
            "results stay on your scales"
        )
    ]


def missing_codes(values: np.ndarray) -> dict[float, float]:
    """Return the values that look like codes of missing ones, each with the nearest of the other values.

    Those are 9, 99, ... and their negatives, beyond all other values by at least half of the others' range. A single
    9 is no code: it may well be the largest count.
    """
    coded = np.isin(values, MISSING_CODES)
    others = values[~coded]
    if not coded.any() or len(others) == 0 or np.ptp(others) == 0:
        return {}
    low, high = others.min(), others.max()
    found = {}
    for code, times in zip(*np.unique(values[coded], return_counts=True), strict=True):
        nearest = high if code > high else low
        beyond = code - high if code > high else low - code
        if beyond >= CODE_GAP * (high - low) and times >= (2 if abs(code) < 10 else 1):
            found[float(code)] = float(nearest)
    return found


def say_about_codes(columns: Sequence[tuple[str, np.ndarray]]) -> list[Message]:
    """Note values that look like codes of missing ones."""
    said = []
    for name, values in columns:
        for code, nearest in missing_codes(values).items():
            times, which = int((values == code).sum()), "largest" if code > nearest else "smallest"
            said.append(
                note(
                    f"'{name}' is {code:g} in {times:,} of {count(len(values), 'row')} and its next {which} value is "
                    f"{nearest:.6g}; is {code:g} a code for a missing value?"
                )
            )
    return said


def say_about_outliers(columns: Sequence[tuple[str, np.ndarray]], rows: Rows) -> list[Message]:
    """Note values that lie so far out that a decimal point or a unit may have slipped."""
    said = []
    for name, values in columns:
        if missing_codes(values):  # has had its word
            continue
        distance = np.abs(values - np.median(values))
        usual = np.quantile(distance, 0.9)
        out = distance > OUTLIER_RATIO * usual
        if usual > 0 and out.any():
            furthest = int(np.argmax(distance))
            said.append(
                note(
                    f"'{name}' is {values[furthest]:.6g} in {rows.text(np.array([furthest]))}, "
                    f"{distance[furthest] / usual:,.0f} times further from the median than nine tenths of the values; "
                    "is it a typing or unit error?"
                )
            )
    return said
