"""A column read as a factor: its levels and contrasts, learned once and then matched by label, never by code."""

import numpy as np

from bayesmm.design.coding import Factor, Levels
from bayesmm.design.contrasts import levels_with
from bayesmm.design.few_values import few_whole_numbers
from bayesmm.design.state import Scope
from bayesmm.design.variables import KIND_NAMES, Variable, observed_levels, value_label
from bayesmm.errors import DataError, listing, suggest
from bayesmm.formula.formula import Call, Column, Expr, arguments_of, contrast_of
from bayesmm.runtime.messages import are, count, have, label_text, note, warning

MANY_LEVELS = 50  # a fixed factor with more levels gives more coefficients than a person reads; ours
MOSTLY_NUMBERS = 0.5  # share of levels that are no numbers below which text was probably meant as a number; ours
# texts that pandas.read_csv takes for a missing value (its documented default na_values); as a level they are suspect
MISSING_TEXTS = frozenset(
    "|#N/A|#N/A N/A|#NA|-1.#IND|-1.#QNAN|-NaN|-nan|1.#IND|1.#QNAN|<NA>|N/A|NA|NULL|NaN|None|n/a|nan|null".split("|")
)


def factor_value(expr: Expr, variable: Variable, scope: Scope) -> Factor:
    """Return a factor with its levels as in the data of the fit."""
    if variable.kind in ("date", "duration", "complex") and isinstance(expr, Column):
        holds = f"'{variable.name}' holds {KIND_NAMES[variable.kind]}"
        raise DataError(f"{holds} where numbers or levels are expected{remedy(variable)}")
    seen = observed_levels(variable)
    levels = scope.state(expr, lambda: _learn_levels(expr, variable, seen.labels, scope))
    if not isinstance(levels, Levels):
        held = f"'{variable.name}' held {KIND_NAMES[levels]} in the data of the fit"
        raise DataError(f"{held} and holds {KIND_NAMES[variable.kind]} now; expected the same kind")
    if scope.learning:
        say_about_levels(variable.name, seen.labels, seen.unused, scope)
        return Factor(seen.codes, levels)
    place = {label: k for k, label in enumerate(levels.labels)}
    unseen = [label for label in seen.labels if label not in place]
    if unseen:
        raise DataError(
            f"factor '{variable.name}' has {count(len(unseen), 'level')} that the data of the fit do not have "
            f"({listing(map(label_text, unseen))}); allowed are {listing(map(label_text, levels.labels))}"
        )
    codes = np.array([place[label] for label in seen.labels], dtype=np.int64)
    return Factor(codes[seen.codes], levels)


def _learn_levels(expr: Expr, variable: Variable, labels: tuple[str, ...], scope: Scope) -> Levels:
    name = variable.name
    if len(labels) < 2:
        raise DataError(f"factor '{name}' has one level ({label_text(labels[0])}); at least two are needed to compare")
    wanted = contrast_of(expr) if isinstance(expr, Call) else None
    asked = isinstance(expr, Call) and "contr" in arguments_of(expr)
    if name in scope.contrasts and isinstance(expr, Column):
        return levels_with(name, labels, scope.contrasts[name])
    if variable.kind == "ordered" and not asked:
        scope.say(
            note(
                f"'{name}' is ordered, so it is coded by polynomial contrasts over its {len(labels)} levels "
                f"({name}[.L], ...) as in R; C({name}, Treatment) compares each level with the first"
            )
        )
        return Levels(labels, "Poly")
    _say_about_size(expr, variable, labels, scope)
    if wanted is None:
        return Levels(labels)
    return Levels(labels, wanted.kind, _reference(name, labels, wanted.reference))


def _reference(name: str, labels: tuple[str, ...], reference: str | float | None) -> int | None:
    if reference is None:
        return None
    label = value_label(reference)
    if label not in labels:
        levels = listing(map(label_text, labels))
        wrong = f"the reference level {label_text(label)} is no level of '{name}'"
        raise DataError(f"{wrong}{suggest(label, labels)} (levels: {levels})")
    return labels.index(label)


def _say_about_size(expr: Expr, variable: Variable, labels: tuple[str, ...], scope: Scope) -> None:
    name, columns = variable.name, count(len(labels) - 1, "column")
    others = [label for label in labels if not _reads_as_number(label)]
    if isinstance(expr, Column) and variable.kind == "text" and len(others) < MOSTLY_NUMBERS * len(labels):
        some = f"{len(labels) - len(others):,} of its {len(labels):,} levels read as numbers"
        which = (
            f"{some} (not {listing(map(label_text, others), limit=3)})" if others else "all its levels read as numbers"
        )
        enters = f"it enters as a factor with {columns}, and pandas.to_numeric makes it a number"
        # "1" to "4", as R's factor() has them
        meant = all(map(str.isdecimal, labels)) and few_whole_numbers(map(float, labels))
        scope.say((note if meant else warning)(f"'{name}' is text, but {which}; {enters}"))
    elif len(labels) > MANY_LEVELS:
        advice = f"a grouping factor is written (1 | {name})"
        scope.say(warning(f"factor '{name}' has {len(labels):,} levels and enters with {columns}; {advice}"))


def say_about_levels(name: str, labels: tuple[str, ...], unused: tuple[str, ...], scope: Scope) -> None:
    """Note levels that look like missing values and levels that no row has."""
    suspect = [label for label in labels if label.strip() in MISSING_TEXTS]
    if suspect:
        shown = listing(map(label_text, suspect))
        scope.say(
            note(f"'{name}' has a level {shown}, which looks like a missing value; it is treated as any other level")
        )
    if unused:
        shown = listing(map(label_text, unused))
        number = len(unused)
        levels = count(number, "level")
        scope.say(note(f"{levels} of '{name}' {have(number)} no row ({shown}) and {are(number)} left out"))


def remedy(variable: Variable) -> str:
    """Return what to do with a column that is no number."""
    if variable.kind == "text" and all(map(_reads_as_number, variable.levels)):
        return f"; the texts read as numbers, so convert them with pandas.to_numeric(data['{variable.name}'])"
    if variable.kind == "date":
        return "; convert them, for instance to days since the first date"
    if variable.kind == "duration":
        return "; convert them, for instance to hours"
    return ""


def _reads_as_number(label: str) -> bool:
    """Whether a text is a number, written with a decimal point or a decimal comma."""
    try:
        return bool(np.isfinite(float(label.replace(",", "."))))
    except ValueError:
        return False
