"""A response of ordered categories, as the numbers 1 ... K, and the labels that they stand for."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from bayesmm.design.coding import Levels
from bayesmm.design.residual.structure import Residuals
from bayesmm.design.state import Scope
from bayesmm.design.transforms import numeric
from bayesmm.design.variables import KIND_NAMES, NUMERIC, Variable, observed_levels
from bayesmm.errors import DataError, listing
from bayesmm.families.auxiliary import REAL_VALUES, Auxiliary
from bayesmm.families.families import FAMILIES
from bayesmm.families.family import Family
from bayesmm.families.responses import is_whole
from bayesmm.formula.formula import Bar, Expr, Formula, Scale, column_nodes, quoted_name, text_of
from bayesmm.runtime.messages import label_text, note

MOST = 100  # categories: more are no ratings but counts or measurements
SHOWN = 6  # labels in a sentence
LABELLED = ("text", "category", "ordered")  # kinds of columns that categories without an order may be
CS = "cs"
SAME = 1e-9  # of its size: what is left of a column that follows from others


def categories(expr: Expr, name: str, variable: Variable | None, family: Family, scope: Scope) -> np.ndarray:
    """Return the category of each row, (n,) float64 of 1 ... K; the labels are learned as the response's state.

    Parameters
    ----------
    expr : Expr
        The response, and `name` its text.
    variable : Variable or None
        If it is a column.
    family : Family
    scope : Scope

    Raises
    ------
    DataError
        It is no ordered categorical and no whole numbers from 1 on without gaps, or has a level that is not known.
    """
    if family.nominal and variable is not None and variable.kind in LABELLED:
        return _labels(expr, name, variable, scope)
    if variable is None or variable.kind in NUMERIC:
        return _numbers(expr, name, variable, family, scope)
    if variable.kind != "ordered":
        seen = observed_levels(variable).labels
        example = listing([repr(label) for label in seen], limit=SHOWN)
        raise DataError(
            f"the response '{name}' holds {KIND_NAMES[variable.kind]}, whose order is not known, and the {family.name} "
            f"family needs ordered categories or whole numbers from 1 on; give the order of {example}, as in "
            f"pd.Categorical({quoted_name(variable.name)}, categories=[...], ordered=True)"
        )
    return _labels(expr, name, variable, scope)


def _kind(family: Family) -> str:
    return "categories" if family.nominal else "ordered categories"


def _labels(expr: Expr, name: str, variable: Variable, scope: Scope) -> np.ndarray:
    """Return the category of each row among the labels that occur, in the order of the levels."""
    seen = observed_levels(variable)
    if scope.learning and expr not in scope.states:
        levels = variable.levels or seen.labels
        order = [label for label in levels if label in set(seen.labels)]
        scope.state(expr, lambda: Levels(tuple(order)))
        unused = [label for label in levels if label not in set(seen.labels)]
        if unused:
            shown = listing(map(label_text, unused), limit=SHOWN)
            scope.say(note(f"no row of '{name}' is {shown}, so that it is none of the model's categories"))
    known = scope.states[expr].labels
    strange = [label for label in seen.labels if label not in known]
    if strange:
        shown = listing(map(label_text, known), limit=SHOWN)
        raise DataError(f"the response '{name}' has the category {label_text(strange[0])}, and the model has {shown}")
    return np.array([known.index(label) + 1.0 for label in seen.labels])[seen.codes]


def _numbers(expr: Expr, name: str, variable: Variable | None, family: Family, scope: Scope) -> np.ndarray:
    if variable is not None and variable.kind == "boolean":
        raise DataError(
            f"the response '{name}' holds true/false values, and the {family.name} family needs {_kind(family)} or "
            "whole numbers from 1 on; for two values there are families of 0 and 1"
        )
    y = variable.values.astype(np.float64) if variable is not None else numeric(expr, scope)
    wrong = ~is_whole(y) | (y < 1)
    if wrong.any():
        raise DataError(
            f"the response '{name}' is {y[wrong][0]:g} in {scope.rows.text(wrong)}, and the {family.name} family needs "
            f"{_kind(family)}, or whole numbers 1, 2, ... up to the number of categories"
        )
    y, most = np.rint(y), int(np.rint(y.max()))
    if most > MOST:
        raise DataError(
            f"the response '{name}' goes up to {most:,}, and an ordered response has at most {MOST} categories; for "
            "counts take a family of counts"
        )
    if scope.learning and expr not in scope.states:
        missing = sorted(set(range(1, most + 1)) - set(y.astype(int)))
        if missing:
            raise DataError(
                f"the response '{name}' goes from {y.min():g} to {most} and is never {listing(map(str, missing))}, so "
                "that the thresholds beside it are not known; number the categories without gaps, or give an ordered "
                "categorical, whose unused categories are left out"
            )
        scope.state(expr, lambda: Levels(tuple(str(k) for k in range(1, most + 1))))
    known = scope.states[expr].labels
    if most > len(known):
        raise DataError(f"the response '{name}' has the category {most}, and the model has {len(known)} categories")
    return y


def with_categories(family: Family, labels: Sequence[str]) -> Family:
    """Return a family whose rows depend on all thresholds with a parameter for each; what it has besides comes last.

    Of categories without an order these are the log odds of each but the first.
    """
    if family.nominal:
        own = (Auxiliary(f"mu{label}", rf"\mu^{{{k}}}", bounds=REAL_VALUES) for k, label in enumerate(labels) if k)
    else:
        own = (
            Auxiliary(f"{CS}[{low}|{high}]", rf"\tau_{{{k}}}", bounds=REAL_VALUES)
            for k, (low, high) in enumerate(pairwise(labels), start=1)
        )
    return replace(family, parameters=(*own, *(known for known in family.parameters if known.relative)))


def by_category(formula: Formula, family: Family) -> Formula:
    """Return a formula of categories without an order as one of the log odds of each: they have its terms and effects.

    Of others group terms with effects on each threshold, ``(cs(1) | g)``, become one for each of them; without any, and
    of what this has returned, it is the formula itself.

    Raises
    ------
    DataError
        The formula has what is not possible: cs(), a smooth, weighted memberships.
    """
    _check_specific_bars(formula, family)
    if not family.nominal and not any(bar.specific for bar in formula.bars):
        return formula
    if not family.nominal:
        return replace(formula, bars=tuple(one for bar in formula.bars for one in _for_thresholds(bar, family)))
    if not formula.terms and any(bar.of for bar in formula.bars):
        return formula
    given = next((own for own in formula.scales if own.name == CS), None)
    if given is not None and given.text.startswith(f"{CS}("):
        raise DataError(
            f"each category of the {family.name} family has effects of its own; write the columns of {given.text} "
            "without cs()"
        )
    if given is not None:
        return formula
    parts = [*formula.smooths, *(bar for bar in formula.bars if bar.weights)]
    if parts:
        what = text_of(parts[0]) if not hasattr(parts[0], "effects") else parts[0].label
        raise DataError(f"{what} is not possible with the {family.name} family, whose categories have a predictor each")
    text = " + ".join(term.label for term in formula.terms)
    scales = (Scale(text, CS, True, formula.terms), *formula.scales) if formula.terms else formula.scales
    bars = tuple(replace(bar, of=own.name) for own in family.parameters for bar in formula.bars)
    return replace(formula, terms=(), scales=scales, bars=bars)


def _for_thresholds(bar: Bar, family: Family) -> list[Bar]:
    """Return a group term, or one for each threshold."""
    if not bar.specific or bar.of:
        return [bar]
    return [replace(bar, of=own.name) for own in family.parameters if not own.relative]


def _check_specific_bars(formula: Formula, family: Family) -> None:
    """Raise a DataError where random effects of each threshold, ``(cs(1) | g)``, are of a family without such."""
    bar = next((bar for bar in formula.bars if bar.specific), None)
    if bar is None or (family.every and not family.nominal):
        return
    plain = replace(bar, specific=False, key="")
    if family.nominal:
        raise DataError(f"each category of the {family.name} family has effects of its own; write {plain} without cs()")
    having = listing([own.name for own in FAMILIES.values() if own.every and not own.nominal])
    if family.ordered:
        raise DataError(
            f"{bar} is not possible with the {family.label} family, whose thresholds have to ascend in every level; "
            f"families with effects on each threshold are {having}"
        )
    raise DataError(
        f"{bar} has effects on each threshold of an ordered response, and the {family.label} family has no thresholds; "
        f"write {plain} without cs()"
    )


def check_order(design, what: str, instead: str = "predict() has the probability of each") -> None:
    """Raise a DataError where categories have no order, so that there is no number of one."""
    if design.family.nominal:
        raise DataError(f"{what} is not defined for categories without an order; {instead}")


def check_common(design, names: Sequence[str] | None, instead: str) -> None:
    """Raise a DataError for linear predictors of the columns that cs() has an effect on each threshold of.

    `names` are the columns that move; None where any may. Categories without an order are `check_order`'s.
    """
    own = next((scale for scale in design.formula.scales if scale.name == CS), None)
    if own is None or not design.family.ordered:
        return
    found = {node.name: None for term in own.terms for factor in term.factors for node in column_nodes(factor)}
    moved = [name for name in found if names is None or name in names]
    if moved:
        raise DataError(
            f"{listing(moved)} {'has an effect' if len(moved) == 1 else 'have effects'} on each threshold, by "
            f"{own.text}, so that no one linear predictor has {'it' if len(moved) == 1 else 'them'}; use {instead}"
        )


def check_specific(formula: Formula, family: Family) -> None:
    """Raise a DataError where effects of each threshold, cs(x), are of a family without thresholds."""
    own = next((scale for scale in formula.scales if scale.name == CS), None)
    if own is not None and not family.ordered:
        raise DataError(
            f"{own.text} has an effect on each threshold of an ordered response, and the {family.label} family has no "
            f"thresholds; write its columns without cs()"
        )


def columns_around_zero(
    own: Scale, X: np.ndarray, names: list[str], learning: bool, nominal: bool
) -> tuple[np.ndarray, list[str]]:
    """Return the columns of cs(...) besides an intercept, (n, c), and their names.

    Raises
    ------
    DataError
        There are none, some depend on others, or one is never at or on both sides of 0, where thresholds are.
    """
    Z, shown = np.ascontiguousarray(X[:, 1:]), names[1:]
    if not learning:
        return Z, shown
    if not own.intercept:
        raise DataError(f"'{own.text}' has no intercept to leave out: the thresholds are one; leave '0 +' out")
    if not shown:
        raise DataError(f"'{own.text}' names no column, and each threshold has a level of its own anyway; leave it out")
    if np.linalg.matrix_rank(X / np.maximum(np.abs(X).max(axis=0), np.finfo(float).tiny)) < X.shape[1]:
        raise DataError(f"'{own.text}' has columns that depend on others ({', '.join(names)}); leave one out")
    for name, low, high in () if nominal else zip(shown, Z.min(axis=0), Z.max(axis=0), strict=True):
        if low > 0 or high < 0:
            raise DataError(
                f"{name} in '{own.text}' goes from {low:g} to {high:g}, and the thresholds are where it is 0; write "
                f"cs(center(...)) of it"
            )
    return Z, shown


def check_identified(X: np.ndarray, names: Sequence[str], residual: Residuals, learning: bool) -> None:
    """Raise a DataError where the columns of cs(...) make up a column of the fixed part, whose effect is then no other.

    `X` are the columns besides the intercept, (n, p), and `names` theirs; other data may have fewer values.
    """
    for part in residual.parts:
        if part.of != "threshold" or part.rows is None or not learning:
            continue
        Z = np.column_stack([np.ones(len(X)), part.rows])
        left = X - Z @ np.linalg.lstsq(Z, X)[0]
        for name, rest, whole in zip(names, left.T, X.T, strict=True):
            if np.abs(rest).max() <= SAME * max(float(np.abs(whole).max()), np.finfo(float).tiny):
                raise DataError(
                    f"{name} is a term of the fixed part and follows from the columns of {part.text}, whose effects on "
                    "the thresholds have a common one among them; leave it out in one of the two"
                )


def check_thresholds(formula: Formula, family: Family) -> None:
    """Raise a DataError where a formula without an intercept is of an ordered response, whose thresholds are one."""
    if family.nominal and not formula.intercept:
        raise DataError(
            f"each category of the {family.name} family but the first has a level of its own, so that the formula has "
            "no intercept to leave out; leave '0 +' out"
        )
    if family.ordered and not formula.intercept:
        raise DataError(
            f"the thresholds of the {family.name} family stand in the place of the intercept, so that the formula has "
            "none to leave out; leave '0 +' out"
        )
