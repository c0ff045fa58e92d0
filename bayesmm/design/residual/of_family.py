"""Parameters of a family that differ from row to row: by a formula of their own, ``zi ~ z``, or by its category.

With the link that follows from the parameter's bounds (log above 0, logit between two numbers, none elsewhere),

    link(parameter_i) = link(parameter) + v_i' eta + z_i' b,

with random effects b where the formula has some, so that the parameter itself is what it is where all columns are 0,
with the prior that it has anyway. Without an intercept, ``zi ~ 0 + f``, there is no such parameter, and eta are the
links of its values.

Of an ordered response the K - 1 thresholds are the parameters; what the likelihood of a row knows of them are the two
around its category, or all. They may be further apart in some rows than in others, by effects of their own:

    threshold_ik = threshold_k - z_i' g_k,

the columns z being those of `cs()` in the formula.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType, ModuleType

import numpy as np

from bayesmm.design.parameters import free_auxiliaries, level_name, of_category
from bayesmm.design.residual.scale import ALONE, FormulaColumns, checked_columns, dependent
from bayesmm.design.residual.scale import STRUCTURE as OF_SIGMA
from bayesmm.design.residual.structure import (
    Arguments,
    Array,
    ResidualParameter,
    Residuals,
    ResidualStructure,
    ResidualTerm,
)
from bayesmm.design.term_basis import untouched
from bayesmm.errors import DataError, listing
from bayesmm.families.family import EQUIDISTANT, MOST_PARAMETERS, SYMMETRIC, Auxiliary, Family
from bayesmm.formula.formula import Scale

IDENTITY, LOG, LOGIT = range(3)  # what the links are called in compiled code
PREFIX = ("linear_", "log_", "logit_")  # of the coefficients' name, by link
UNITS = ("change of {}", "log ratio of {}", "log odds ratio of {}")
LEVELS = ("{}", "log of {}", "logit of {}")
SDS = (1.0, 1.0, 2.5)  # of the coefficients' default priors, of the last as of other coefficients with a logit link
THRESHOLD, SPECIFIC = "threshold", "cs"
LOG_ODDS, LOG_ODDS_RATIO = "mu", "beta_mu"  # what they are called where categories have no order
LEAST_GAP = 0.1  # between neighbouring thresholds where a search starts
FAMILYS = "Family's parameters"  # the title of those without a formula


def link_code(own: Auxiliary) -> int:
    """Return the link of a parameter's formula, by its bounds."""
    low, high = own.bounds
    return LOGIT if np.isfinite(high) else LOG if np.isfinite(low) else IDENTITY


def term(
    own: Auxiliary, scale: Scale, columns: FormulaColumns, start: float, learning: bool = True, random: bool = False
) -> ResidualTerm:
    """Return what a formula of a family's parameter is.

    Parameters
    ----------
    own : Auxiliary
    scale : Scale
    columns : FormulaColumns
    start : float
        A moment estimate of the parameter.
    learning : bool
        Whether no columns may depend on others; those of other data may, for the priors say what they leave open.
    random : bool
        Whether the parameter has random effects too, beside which there need be no columns.

    Raises
    ------
    DataError
        There are no columns, some depend on others, or there are numbers without an intercept.
    """
    if own.relative and not scale.intercept:
        raise DataError(f"{own.name} is 1 where the columns of '{scale.text}' are 0; leave '0 +' out")
    (V, shown), code = checked_columns(own.name, scale, columns, learning, random), link_code(own)
    given = () if scale.intercept and not own.relative else (own.name,)
    if not shown:
        return ResidualTerm(STRUCTURE, scale.text, (), V, of=own.name, given=given)
    level = 0.0 if scale.intercept else own.free(start)
    what = (UNITS if scale.intercept else LEVELS)[code].format(own.name)
    parameter = ResidualParameter(
        f"{PREFIX[code]}{own.name}", rf"\eta^{{{own.symbol}}}", "Normal", {"mu": level, "sigma": SDS[code]}, what,
        shown, start=level, sizes=columns.sizes[scale.intercept :],
    )  # fmt: skip
    basis = untouched(len(shown)) if own.relative else columns.basis
    return ResidualTerm(STRUCTURE, scale.text, (parameter,), V, of=own.name, given=given, formula=own.name, basis=basis)


def threshold_term(
    family: Family, categories: Sequence[str], text: str = "", Z: Array | None = None, columns: Sequence[str] = ()
) -> ResidualTerm:
    """Return the thresholds between neighbouring categories; with `text`, cs(...), of columns Z that move each of them.

    Parameters
    ----------
    family : Family
    categories : sequence of str, length K
    text : str
    Z : (n, c), optional
    columns : sequence of str, length c
    """
    names = tuple(f"{low}|{high}" for low, high in pairwise(categories))
    shown = names[: free_thresholds(family.spacing, len(names))]
    own = {"mu": 0.0, "sigma": 1.0}
    (first, tex), other = (THRESHOLD, r"\tau"), SPECIFIC
    if family.nominal:
        (first, tex), other = (LOG_ODDS, r"\mu"), LOG_ODDS_RATIO
        names = shown = tuple(categories[1:])
    parameters = (
        ResidualParameter(
            first, tex, "Normal", own, f"on the {family.link} scale", shown, ordered=family.ascending, at_means=True
        ),
    )  # fmt: skip
    if Z is not None:
        terms = tuple(of_category(column, name) for column in columns for name in names)
        sizes = tuple(float(size) for size in np.repeat(np.std(Z, axis=0), len(names)))
        parameters += (
            ResidualParameter(
                other, r"\delta", "Normal", own, f"on the {family.link} scale", terms, sizes=sizes, slopes=True
            ),
        )
    given = tuple(name for name in family.auxiliaries if name not in family.formulas)
    return ResidualTerm(
        STRUCTURE, text, parameters, Z, of=THRESHOLD, given=given, categories=tuple(categories), spacing=family.spacing
    )


def free_thresholds(spacing: str, number: int) -> int:
    """Return how many of so many thresholds are parameters, the first of them."""
    free = {EQUIDISTANT: 2, SYMMETRIC: number // 2 + 1}
    return min(free.get(spacing, number), number)


def threshold_basis(part: ResidualTerm) -> Array:
    """Return B, (K - 1, t): the thresholds are B times the parameters of that name, which are they, or the first t.

    Equidistant ones are on a line through the first two. Of symmetric ones each two that are as far from the ends have
    the same middle, by which the upper ones follow from the lower: ordinal's `clm(threshold = "symmetric")`.
    """
    t, k = part.parameters[0].size, np.arange(len(part.categories) - 1.0)
    if t == len(k):
        return np.eye(t)
    if part.spacing == EQUIDISTANT:
        return np.column_stack([1.0 - k, k])
    middle = np.zeros(t)
    middle[t - 1] += 1.0
    middle[len(k) - t] += 1.0  # the same one where the number is odd
    return np.vstack([np.eye(t), middle - np.eye(t)[: len(k) - t][::-1]])


def specific_sign(family: Family) -> float:
    """Return what effects of each threshold are multiplied by: a threshold is lower where a category is likelier."""
    return 1.0 if family.nominal else -1.0


def fitted_thresholds(part: ResidualTerm, whole: Array) -> Array:
    """Return the parameters, (t,), that give these thresholds, (K - 1,), or those nearest to them that ascend."""
    found = np.linalg.lstsq(threshold_basis(part), whole)[0]
    if part.parameters[0].ordered and (np.diff(found) <= 0).any():
        found = found[0] + np.arange(len(found)) * LEAST_GAP
    return found


def _nothing(arguments: Arguments) -> tuple[()]:
    return ()


def _no_rows(arguments: Arguments) -> None:
    return None


def _no_tex(arguments: Mapping[str, str]) -> str:
    return ""


STRUCTURE = ResidualStructure(name="parameter", parameters=_nothing, rows=_no_rows, tex=_no_tex)


def of_rows(
    library: ModuleType, family: Family, residual: Residuals, rows: object, own: Mapping[str, object],
    values: Mapping[str, object], effects: Mapping[str, object] = MappingProxyType({}),
) -> tuple:  # fmt: skip
    """Return the family's parameters besides the mean in its order, or its thresholds and what it has besides them.

    Parameters
    ----------
    library : module
        numpy or pytensor.tensor.
    family : Family
    residual : Residuals
    rows : (n, k) or None
        What the formulas read of each row.
    own : mapping of str to number or (draws, 1)
        Those that are free, by name; also links by `parameters.level_name`, which are taken where they are given.
    values : mapping of str to (k,) or (draws, k)
        The coefficients of the formulas, and the thresholds.
    effects : mapping of str to (n,) or (draws, n)
        What random effects add to the link of each parameter that has some; 0 if not given.

    Returns
    -------
    tuple
        Each as it was given, or (n,) or (draws, n) where it has a formula; of thresholds numbers or (draws, 1).
    """
    parts = {part.of: part for part in residual.parts if part.of}
    first = _thresholds(family, residual, parts[THRESHOLD], rows, values, effects) if family.ordered else ()
    return first + tuple(
        _by_formula(library, parameter, residual, parts[parameter.name], rows, own, values, effects)
        if parameter.name in parts
        else own[parameter.name]
        for parameter in family.parameters
        if not family.ordered or parameter.name in family.formulas
    )


def _thresholds(family: Family, residual: Residuals, part: ResidualTerm, rows, values: Mapping, effects) -> tuple:
    """Return each threshold, or each log odds, of one draw or of several, of all rows or of each."""
    found, basis, Z = values[part.parameters[0].name], threshold_basis(part), None
    names, sign = family.auxiliaries if family.every else (), specific_sign(family)
    if part.rows is not None:
        Z = residual.of_part(part, rows)
    out, several = [], found.ndim > 1
    for k, weights in enumerate(basis):
        own = [j for j in range(len(weights)) if weights[j]]
        parts = [weights[j] * (found[..., j : j + 1] if several else found[j]) for j in own]
        at = sum(parts[1:], start=parts[0])
        if Z is not None:
            at = at + sign * (values[part.parameters[1].name][..., k :: len(basis)] @ Z.T)
        out.append(at + effects[names[k]] if k < len(names) and names[k] in effects else at)
    return tuple(out)


def _by_formula(library, parameter: Auxiliary, residual: Residuals, part: ResidualTerm, rows, own, values, effects):
    """Return a parameter of each row."""
    change, at = effects.get(parameter.name, 0.0), own.get(parameter.name)  # None without an intercept
    for coefficients in part.parameters:
        change = change + values[coefficients.name] @ residual.of_part(part, rows).T
        if (level := own.get(level_name(coefficients.name))) is not None:
            change, at = change + level, None
    return moved(library, parameter, at, change)


def moved(library: ModuleType, parameter: Auxiliary, at: object, change: object) -> object:
    """Return the value of a parameter whose link is `change` more than at the value `at`, or than 0 where it is None.

    Parameters
    ----------
    library : module
        numpy or pytensor.tensor.
    parameter : Auxiliary
    at, change : number or array, of any shapes that go together
    """
    (low, high), code = parameter.bounds, link_code(parameter)
    if code == IDENTITY:
        return change if at is None else at + change
    if code == LOG:
        return low + library.exp(change) * (1.0 if at is None else at - low)
    odds = 1.0 if at is None else (high - at) / (at - low)
    return low + (high - low) / (1.0 + odds * library.exp(-change))


def own_of_rows(
    design, own: Mapping[str, object], values: Mapping[str, Array], rows: object = None,
    effects: Mapping[str, Array] = MappingProxyType({}),
) -> tuple:  # fmt: skip
    """Return `of_rows` in NumPy for a design, of its own rows if none are given; `own` may have more than is free."""
    free = {parameter.name for parameter in free_auxiliaries(design)}
    free |= set(design.residual.levels.values())
    read = design.residual.rows if rows is None else rows
    known = {name: value for name, value in own.items() if name in free}
    return of_rows(np, design.family, design.residual, read, known, values, effects)


def check_same_in_rows(design, what: str) -> None:
    """Raise a DataError where a parameter of the family has a formula, with which `what` is not defined."""
    if any(part.rows is not None for part in design.residual.parts if part.of):
        raise DataError(
            f"{what} is not defined where a parameter differs from row to row, as by {design.residual.text}"
        )
    random = {name: None for block in design.blocks for name in block.predictors if name}
    if design.family.ordered and random:
        raise DataError(
            f"{what} is not defined where {listing(random)} {'has' if len(random) == 1 else 'have'} random effects"
        )


def check_determined(design) -> None:
    """Raise a DataError where the rows leave a coefficient of a parameter's formula open, as of a level that none has.

    A prior says what it is then, a likelihood does not.
    """
    for part in design.residual.parts:
        if part.rows is None or not (part.of or part.structure is OF_SIGMA or part.structure is ALONE):
            continue
        whole = part.given or part.structure is ALONE  # without an intercept
        if dependent(part.rows if whole else np.column_stack([np.ones(len(part.rows)), part.rows])):
            shown = ", ".join(part.parameters[0].terms)
            raise DataError(
                f"'{part.text}' has columns that depend on others in these data ({shown}), so that a "
                "likelihood does not say what their coefficients are; use sample(), whose priors do"
            )


def row_thresholds(library: ModuleType, family: Family, found: Sequence, y: Array) -> object:
    """Return what a row's density has of what `of_rows` gives, (n, w) or (draws, n, w).

    All thresholds; or the two around its category, infinite beyond the ends, and what the family has besides.

    Parameters
    ----------
    library : module
        numpy or pytensor.tensor.
    family : Family
    found : sequence of number, (n,), (draws, 1) or (draws, n)
        From `of_rows`.
    y : (n,)
    """
    k, n = np.asarray(y).astype(np.int64), len(y)
    whole = [library.zeros(n) + own for own in found]  # (n,) or (draws, n)
    if family.every:
        none = [library.zeros(n) + whole[0] * 0.0] * (MOST_PARAMETERS - len(whole))
        return library.stack([*whole, *none], axis=-1)
    last = len(found) - (len(family.parameters) - 2)
    end = library.zeros(n) + whole[0] * 0.0 + np.inf
    padded, rows = library.stack([-end, *whole[:last], end], axis=-1), np.arange(n)
    around = [padded[..., rows, k - 1], padded[..., rows, k]]
    none = [library.zeros(n) + whole[0] * 0.0] * (MOST_PARAMETERS - len(family.parameters))
    return library.stack([*around, *whole[last:], *none], axis=-1)


def residual_title(design) -> str:
    """Return what stands over the parameters of the family, of the residual, of formulas and over thresholds."""
    if not design.residual.parameters:
        return FAMILYS
    if design.family.gaussian:
        return f"Residual, {design.residual.text}"
    if design.family.nominal:
        return f"Log odds beside {design.categories[0]}"
    parts = (["Thresholds"] if design.family.ordered else []) + [p.text for p in design.residual.parts if p.text]
    return ", ".join(parts)
