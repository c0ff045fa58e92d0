"""How a response is known, row by row: ``y | cens(c, y2)`` and ``y | trunc(lb, ub)``."""

from dataclasses import replace

import numpy as np

from bayesmm.design.state import Scope
from bayesmm.design.transforms import numeric
from bayesmm.design.variables import KIND_NAMES
from bayesmm.errors import DataError, listing, suggest
from bayesmm.families.families import FAMILIES
from bayesmm.families.family import Family
from bayesmm.families.limits import Limits, whole_ends
from bayesmm.families.observed import as_observed
from bayesmm.families.responses import is_whole
from bayesmm.formula.formula import Column, Expr, Formula, arguments_of, column_nodes, text_of
from bayesmm.runtime.messages import count, label_text, note

Array = np.ndarray

WORDS = {"none": 0, "left": -1, "right": 1, "interval": 2}
CODES = {code: word for word, code in WORDS.items()}
EXPECTED = "expected none, left, right or interval, or 0, -1, 1 or 2"
EVENTS = ("status", "event", "events", "dead", "died", "death", "delta", "failed", "failure")  # names of columns


def observe(formula: Formula, family: Family, scope: Scope, y: Array, name: str) -> tuple[Family, Array, Limits | None]:
    """Return the family of the response as it is known, the response, and what is known of it.

    Parameters
    ----------
    formula : Formula
    family : Family
        Of the response before that.
    scope : Scope
    y : (n,) float64
    name : str
        The response, as a sentence calls it.

    Raises
    ------
    DataError
        The family's probabilities of what is censored are not known, a row is censored in no known way, an interval
        has no end, or no value lies inside the limits.
    """
    if not formula.limits:
        return family, y, None
    _check_family(family, text_of(formula.limits[0]))
    low, high = _limits(formula, family, scope, y)
    codes = np.zeros(len(y)) if formula.cens is None else _codes(formula, scope, name)
    y, codes, end = _ends(formula, family, scope, y, codes, name)
    shut = np.isfinite(low).any() or np.isfinite(high).any()
    if formula.trunc is not None:
        _check_inside(formula, family, scope, (y, codes, end), (low, high))
        if not shut:
            said = f"{text_of(formula.trunc)} shuts out no value that a {family.name} response can have"
            scope.say(note(f"{said}, so the response is not truncated"))
    other = np.select([codes == 1, codes == -1, codes == 2], [high, low, end], np.nan)
    limits = Limits(other, low, high) if shut else Limits(other)
    if not (shut or limits.censored.any()):
        return family, y, None
    return as_observed(family, bool(limits.censored.any()), bool(shut)), y, limits


def _check_family(family: Family, text: str) -> None:
    if family.tails is not None:
        return
    having = [name for name, each in FAMILIES.items() if each.tails is not None]
    which = "a family of your own has none" if family.own else f"the {family.name} family has none"
    raise DataError(
        f"{text} needs a family whose probabilities below and above a value are known "
        f"({listing(having, len(having))}), and {which}; take one of these, or leave it out"
    )


# ----------------------------------------------------------------------------------------------------------------------
# censoring


def _codes(formula: Formula, scope: Scope, name: str) -> Array:
    """Return how each row is censored, (n,): -1, 0, 1 or 2."""
    expr = arguments_of(formula.cens)["c"]
    variable = scope.variables[expr.name] if isinstance(expr, Column) else None
    what = f"the censoring column '{text_of(expr)}'"
    if variable is not None and variable.levels and variable.kind in ("text", "category", "ordered"):
        codes = _from_words(variable, what, scope)
    elif variable is not None and variable.kind == "boolean":
        raise DataError(
            f"{what} holds true/false values, which do not say whether true is an event or a censored row; {EXPECTED}, "
            f"as cens(1 - {expr.name}) gives where true is an event"
        )
    elif variable is not None and variable.kind != "number":
        raise DataError(f"{what} holds {KIND_NAMES[variable.kind]}; {EXPECTED}")
    else:
        codes = numeric(expr, scope)
        bad = ~np.isin(codes, list(CODES))
        if bad.any():
            raise DataError(f"{what} is {codes[bad][0]:g} in {scope.rows.text(bad)}; {EXPECTED}")
        _say_about_events(expr, codes, scope)
    if not codes.any():
        scope.say(note(f"no row of '{name}' is censored by {text_of(formula.cens)}"))
    for code, side in ((1, "above"), (-1, "below")):
        if (codes == code).all():
            raise DataError(
                f"the response '{name}' is {CODES[code]}-censored in every row, so that every mean far {side} fits "
                f"equally well; a model needs rows that are not censored, or not all on one side ({what} says how)"
            )
    return codes


def _from_words(variable, what: str, scope: Scope) -> Array:
    known = np.array([WORDS.get(level, np.nan) for level in variable.levels])
    codes = known[variable.values]
    bad = np.isnan(codes)
    if bad.any():
        first = variable.levels[variable.values[bad][0]]
        plain = first.strip().lower()
        near = f"; did you mean '{plain}'?" if plain in WORDS else suggest(plain, WORDS)
        raise DataError(f"{what} is {label_text(first)} in {scope.rows.text(bad)}; {EXPECTED}{near}")
    return codes


def _say_about_events(expr: Expr, codes: Array, scope: Scope) -> None:
    if isinstance(expr, Column) and expr.name.casefold() in EVENTS and np.isin(codes, (0.0, 1.0)).all():
        said = f"cens({expr.name}) takes 1 as right-censored and 0 as an event"
        scope.say(note(f"{said}; where 1 is the event write cens(1 - {expr.name})"))


def _ends(
    formula: Formula, family: Family, scope: Scope, y: Array, codes: Array, name: str
) -> tuple[Array, Array, Array]:
    """Return response, codes and the upper ends of intervals, (n,) each, NaN elsewhere.

    An interval from the lowest possible value on is a response that is left-censored at its upper end.
    """
    end, intervals = np.full(len(y), np.nan), codes == 2
    given = {} if formula.cens is None else arguments_of(formula.cens)
    if not intervals.any():
        if "y2" in given:
            scope.say(note(f"no row of '{name}' is interval-censored, so '{text_of(given['y2'])}' has no part"))
        return y, codes, end
    if "y2" not in given:
        raise DataError(
            f"the response '{name}' is interval-censored in {scope.rows.text(intervals)}, and its second end is not "
            "given; write y | cens(c, y2) ~ ..., where the response is between y and y2"
        )
    end[intervals] = _second(given["y2"], scope, intervals)
    what = f"the second end '{text_of(given['y2'])}'"
    below = intervals & (end < y)
    if below.any():
        raise DataError(
            f"{what} is below the response '{name}' in {scope.rows.text(below)}; an interval is from y to y2, y < y2"
        )
    if family.discrete and (intervals & ~is_whole(np.where(intervals, end, 0.0))).any():
        bad = intervals & ~is_whole(np.where(intervals, end, 0.0))
        raise DataError(f"{what} is no whole number in {scope.rows.text(bad)}; the {family.name} family has counts")
    equal = intervals & (end == y)
    if equal.any():
        lost = int(equal.sum())
        scope.say(note(f"{count(lost, 'interval')} of '{name}' with two equal ends: the response is taken as known"))
    first = intervals & (y <= 0) & family.support.positive
    none = first & ~(end > 0)
    if none.any():
        raise DataError(
            f"{what} is 0 or less in {scope.rows.text(none)}; the {family.name} family needs values above 0"
        )
    codes = np.where(equal, 0.0, np.where(first, -1.0, codes))
    return np.where(first, end, y), codes, np.where(codes == 2, end, np.nan)


def _second(expr: Expr, scope: Scope, rows: Array) -> Array:
    """Return the second ends of these rows: in others they may be missing."""
    columns = {node: variable.take(rows) for node, variable in scope.variables.items()}
    part = replace(scope, variables=columns, rows=scope.rows.take(rows))
    gaps = next((v for v in (columns[node.name] for node in column_nodes(expr)) if v.missing.any()), None)
    if gaps is not None:
        where = part.rows.text(gaps.missing)
        raise DataError(f"the second end '{gaps.name}' is missing in {where}, interval-censored; expected a number")
    return numeric(expr, part)


# ----------------------------------------------------------------------------------------------------------------------
# truncation


def _limits(formula: Formula, family: Family, scope: Scope, y: Array) -> tuple[Array, Array]:
    """Return what a response is between, (low, high], (n,) each."""
    given = {} if formula.trunc is None else arguments_of(formula.trunc)
    found = {"lb": np.full(len(y), -np.inf), "ub": np.full(len(y), np.inf)}
    found |= {name: numeric(expr, scope) for name, expr in given.items()}
    low, high = whole_ends(family.support, found["lb"], found["ub"])
    crossed = low >= high
    if crossed.any():
        raise DataError(f"{text_of(formula.trunc)} leaves no value in {scope.rows.text(crossed)}; lb is below ub")
    return low, high


def _check_inside(
    formula: Formula, family: Family, scope: Scope, known: tuple[Array, Array, Array], limits: tuple[Array, Array]
) -> None:
    """Raise a DataError for rows that are not inside the limits."""
    (y, codes, end), (low, high) = known, limits
    text, name = text_of(formula.trunc), text_of(formula.response)
    first = low + 1.0 if family.discrete else low  # the least of what may be seen
    under = (codes == 0) & (y < first) | (codes == 2) & (y < low) | (codes == -1) & (y <= low)
    over = (codes == 0) & (y > high) | (codes == 2) & (end > high) | (codes == 1) & (y >= high)
    for bad, word in ((under, "below lb"), (over, "above ub")):
        if bad.any():
            raise DataError(
                f"the response '{name}' is {word} of {text} in {scope.rows.text(bad)}; a truncated response is only "
                "seen inside its limits (one that is seen, but not exactly, is censored: y | cens(c) ~ ...)"
            )
