"""The rows that averages are taken over: the variables of a model, their levels and typical values, grids of them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import pandas as pd

from bayesmm.design.coding import Levels
from bayesmm.design.frames import open_table
from bayesmm.design.records import Design
from bayesmm.design.responses import stacked_again
from bayesmm.design.series import as_numbers
from bayesmm.design.summed import is_summed
from bayesmm.design.variables import NUMERIC, Variable, observed_levels, read_variable, value_label
from bayesmm.errors import listing, suggest
from bayesmm.formula.formula import Call, Column, Expr, arguments_of, column_nodes, scale_factors
from bayesmm.formula.roles import variables_of
from bayesmm.runtime.arguments import is_real
from bayesmm.runtime.memory import BYTES, too_much
from bayesmm.runtime.messages import count, label_text


@dataclass(frozen=True, eq=False)
class Predictor:
    """A variable of the right side in the data of the fit.

    Attributes
    ----------
    name : str
    factor : bool
        It has levels: text, categories, true and false, or numbers inside ``C()``.
    values : array
        The levels in their order, or the values of all rows.
    typical : object
        The mean of the numbers; the most frequent level, the first of several.
    """

    name: str
    factor: bool
    values: np.ndarray
    typical: object


def predictors(design: Design, strata: bool = True) -> Mapping[str, Predictor]:
    """Return the variables of the terms, of the offset and of formulas of parameters, by name; not what only groups.

    With `strata` also what ``gr(g, by = f)`` has other sds by, on which means over new groups depend.
    """
    formula, own = design.formula, scale_factors(design.formula) if design.residual.by_row else []
    if not strata:
        formula = replace(formula, bars=tuple(replace(bar, by=None) for bar in formula.bars))
    names = column_names([*variables_of(formula), *formula.offsets, *own])
    coded = {name for expr, state in design.spec.states.items() if isinstance(state, Levels) for name in _of(expr)}
    if is_summed(design):
        return MappingProxyType({name: _known_predictor(design, name) for name in names})
    return MappingProxyType({name: _predictor(name, design.frame[name], name in coded) for name in names})


def _known_predictor(design: Design, name: str) -> Predictor:
    """Return a variable whose rows stay with an engine: its levels, or its mean."""
    levels, typical = design.X.sums.facts[name]
    if levels is None:
        return Predictor(name, False, design.frame, typical)
    return Predictor(name, True, np.array(levels, dtype=object if isinstance(levels[0], str) else None), typical)


def column_names(exprs: Iterable[Expr]) -> list[str]:
    """Return the columns that expressions name, each once."""
    return list(dict.fromkeys(node.name for expr in exprs for node in column_nodes(expr)))


def _of(expr: Expr) -> list[str]:
    """Return the column that an expression with levels codes; none for the levels of a calculation."""
    if isinstance(expr, Call):
        given = arguments_of(expr)
        expr = given.get("x", given.get("f"))
    return [expr.name] if isinstance(expr, Column) else []


def _predictor(name: str, series: pd.Series, coded: bool) -> Predictor:
    variable = read_variable(name, series)[0]
    if not coded and variable.kind == "number":
        return Predictor(name, False, variable.values, float(variable.values.mean()))
    codes, levels = level_codes(variable)
    return Predictor(name, True, levels, levels[np.bincount(codes).argmax()])


def level_codes(variable: Variable) -> tuple[np.ndarray, np.ndarray]:
    """Return every row's place among the distinct values of a column, and those values in their order."""
    if variable.kind in NUMERIC:
        levels, codes = np.unique(variable.values, return_inverse=True)
        return codes, levels
    seen = observed_levels(variable)
    return seen.codes, np.array(seen.labels, dtype=object)


# ----------------------------------------------------------------------------------------------------------------------
# what a user asks for


def check_variable(design: Design, known: Mapping[str, Predictor], name: object) -> Predictor:
    """Return a variable of the model; a ValueError in one sentence for any other name."""
    if isinstance(name, str) and name in known:
        return known[name]
    groups = column_names(column for bar in design.formula.bars for column in bar.group)
    if name in groups:
        raise ValueError(
            f"{name!r} is a grouping factor without a fixed effect; ranef() and coef() have its levels, and "
            f"the variables to ask for are {listing(known) or 'none'}"
        )
    if name in column_names([design.formula.response]):
        raise ValueError(f"{name!r} is the response; the variables to ask for are {listing(known) or 'none'}")
    if name in column_names(scale_factors(design.formula)):
        raise ValueError(f"{name!r} is in {design.residual.text} only, and no mean depends on it")
    if not known:
        raise ValueError(f"{name!r} is no variable of the model, which has none besides its grouping factors")
    if isinstance(name, str) and (said := specification(name)):
        raise ValueError(f"{name!r} is how R's emmeans writes what is wanted; here it is {said}")
    near = suggest(name, known) if isinstance(name, str) else ""
    raise ValueError(f"{name!r} is no variable of the model; they are {listing(known)}{near}")


def specification(text: str) -> str:
    """Return what to write for a specification of R's emmeans, such as "pairwise ~ a | b"; "" for any other text."""
    left, tilde, right = text.rpartition("~")
    asked, _, within = right.partition("|")
    parts = [re.findall(r"[^\s:*+]+", part) for part in (asked, within)]
    if not parts[0] or not (tilde or "|" in text or len(parts[0]) > 1):
        return ""
    given = [repr(names[0]) if len(names) == 1 else repr(names) for names in parts if names]
    return f"emmeans(fit, {', by='.join(given)})" + (".pairs()" if left.strip() else "")


def checked_values(predictor: Predictor, given: object) -> np.ndarray:
    """Return the values that are asked for a variable, each once.

    Raises
    ------
    ValueError
        There is none, a level is not among those of the fit, or a value is no finite number where numbers are expected.
    """
    single = isinstance(given, str | bytes) or not (hasattr(given, "__len__") or isinstance(given, range))
    values = [given] if single else given
    if not len(values):
        raise ValueError(f"no value is given for {predictor.name!r}; expected one at least")
    if predictor.factor:
        places = {value_label(level): level for level in predictor.values}
        return _array([_level(predictor, places, value) for value in dict.fromkeys(map(value_label, values))])
    values = as_numbers(values) if isinstance(values, np.ma.MaskedArray) else values
    if isinstance(values, np.ndarray) and values.dtype.kind in "iuf" and np.isfinite(values).all():
        return pd.unique(values.ravel().astype(float))
    wrong = [v for v in values if not is_real(v) or not np.isfinite(v)]
    if wrong:
        raise ValueError(f"{predictor.name!r} holds numbers, and {wrong[0]!r} is no finite number")
    return np.array(list(dict.fromkeys(float(value) for value in values)))


def _level(predictor: Predictor, places: Mapping[str, object], label: str) -> object:
    if label not in places:
        levels = listing(map(label_text, places))
        raise ValueError(f"{label_text(label)} is no level of {predictor.name!r} ({levels}){suggest(label, places)}")
    return places[label]


def _array(values: Sequence[object]) -> np.ndarray:
    """Return values as a column: text as Python objects, all else by its own type."""
    return np.array(values, dtype=object) if isinstance(values[0], str) else np.array(values)


def label_count(table: pd.DataFrame) -> int:
    """Return the number of columns of labels in a result's table: the statistics follow, from mean or estimate on."""
    return max(k for k, name in enumerate(table.columns) if name in ("mean", "estimate"))


# ----------------------------------------------------------------------------------------------------------------------
# tables of rows


def grid(columns: Mapping[str, np.ndarray], p: int) -> pd.DataFrame:
    """Return all combinations of the values of some columns, the first varying slowest; one empty row for no column.

    Raises
    ------
    ValueError
        The rows, with `p` numbers each of the model's columns, would not fit in memory.
    """
    sizes = [len(values) for values in columns.values()]
    check_memory(float(np.prod(sizes, dtype=float)), p + len(sizes))
    total = int(np.prod(sizes, dtype=np.int64))
    places = np.unravel_index(np.arange(total), sizes) if sizes else ()
    named = zip(columns, places, strict=True)
    return pd.DataFrame({name: columns[name][at] for name, at in named}, index=pd.RangeIndex(total))


def check_memory(rows: float, numbers: int) -> None:
    """Refuse a table of numbers that would not fit in half of the free memory."""
    need = too_much(BYTES * rows * numbers)
    if need:
        raise ValueError(f"{rows:,.0f} rows or results of {numbers:,} numbers each need {need}; ask for fewer values")


def data_rows(design: Design, newdata: object) -> pd.DataFrame:
    """Return the rows of a table as pandas columns; those of the fit for None."""
    if newdata is None:
        return design.frame
    table = stacked_again(open_table(newdata), design.formula)
    columns = {str(name): table.read(j).array for j, name in enumerate(table.names)}
    return pd.DataFrame(columns, index=pd.RangeIndex(table.n) if table.labels is None else pd.Index(table.labels))


def with_values(frame: pd.DataFrame, values: Mapping[str, object]) -> pd.DataFrame:
    """Return the rows with some columns replaced, by one value or by one for each row."""
    return frame.assign(**{name: _column(value, len(frame)) for name, value in values.items()})


def _column(value: object, n: int) -> np.ndarray:
    return value if isinstance(value, np.ndarray) else _array([value]).repeat(n)


@dataclass(frozen=True, eq=False)
class Groups:
    """Which of some groups each row is in.

    Attributes
    ----------
    codes : int array, shape (n,)
    keys : pandas.DataFrame
        A row for each group, a column for each variable that makes the groups; one row without columns for a single
        group.
    """

    codes: np.ndarray
    keys: pd.DataFrame


def names_of(given: object, what: str) -> list[str]:
    """Return a name or a list of names as a list; a ValueError for anything else."""
    names = [given] if isinstance(given, str) else list(given) if isinstance(given, list | tuple) else [None]
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{what} must be a name or a list of names, not {given!r}")
    return list(dict.fromkeys(names))


def groups_of(frame: pd.DataFrame, by: Sequence[str]) -> Groups:
    """Return the combinations of the columns `by` that occur in some rows.

    Raises
    ------
    ValueError
        There are no rows, a column is not there, or it has missing values.
    """
    if not len(frame):
        raise ValueError("there are no rows to average over")
    if not by:
        return Groups(np.zeros(len(frame), dtype=np.int64), pd.DataFrame(index=pd.RangeIndex(1)))
    parts = [level_codes(_complete(frame, name)) for name in by]
    found, codes = np.unique(np.column_stack([part[0] for part in parts]), axis=0, return_inverse=True)
    keys = {name: levels[found[:, j]] for j, (name, (_, levels)) in enumerate(zip(by, parts, strict=True))}
    return Groups(codes.ravel(), pd.DataFrame(keys))


def _complete(frame: pd.DataFrame, name: str) -> Variable:
    if name not in frame:
        near = suggest(name, frame.columns)
        raise ValueError(f"by names {name!r}, which is no column of the rows ({listing(frame.columns)}){near}")
    variable = read_variable(name, frame[name])[0]
    if variable.missing.any():
        gaps = count(int(variable.missing.sum()), "missing value")
        raise ValueError(f"the column {name!r}, which makes the groups, has {gaps}")
    return variable
