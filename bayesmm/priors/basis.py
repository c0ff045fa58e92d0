"""Where a model's priors are stated: the design whose coefficients and random effects they are of.

With X = X_o R and Z = Z_o T of `bayesmm.design.term_basis`, a prior at the means is of gamma = R beta, or of the
covariance matrix T Sigma T' of the effects T b. A prior of a parameter as it is reported keeps its row of R a unit row,
or its block as it is. So the prior of the coefficients beta is normal wherever the priors of gamma are, with a dense
covariance matrix, and everything that is integrated out stays so.

The same of the formula of another parameter, ``sigma ~ x``: its link is [1 V] [link(sigma), eta], the columns [1 V] are
V_o R, and R [link(sigma), eta] are the link of sigma at the means and the coefficients there.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import ModuleType

import numpy as np

from bayesmm.design.parameters import (
    INTERCEPT_AT_MEANS,
    INTERCEPT_NAMES,
    coefficient_label,
    level_name,
    residual_labels,
)
from bayesmm.design.records import Design
from bayesmm.design.residual.of_family import IDENTITY, LOG, link_code, moved
from bayesmm.design.residual.structure import Residuals, ResidualTerm
from bayesmm.design.term_basis import TermBases, TermBasis, untouched
from bayesmm.errors import DataError, listing
from bayesmm.families.auxiliary import Auxiliary
from bayesmm.priors.prior import Prior


def prior_bases(design: Design, priors: Mapping[str, Prior]) -> TermBases:
    """Return the bases in which the priors of a model are independent of one another."""
    bases = design.spec.bases
    moved = [_at_means(priors, place) for place in coefficient_places(priors, design)]
    blocks = [
        basis if _at_means(priors, block.names.corr) else untouched(len(block.columns))
        for block, basis in zip(design.blocks, bases.blocks, strict=True)
    ]
    parameters = {part.formula: _of_formula(part, priors) for part in design.residual.formulas}
    return TermBases(bases.fixed.restricted(moved), tuple(blocks), parameters)


def _of_formula(part: ResidualTerm, priors: Mapping[str, Prior]) -> TermBasis:
    """Return the basis of a parameter's formula in which its priors are independent."""
    return part.basis.restricted([_at_means(priors, place) for place in formula_places(part)])


def formula_bases(design: Design) -> TermBases:
    """Return bases in which nothing is taken out but of the columns of parameters' formulas: what default priors have.

    Of a design that `prior_design` has made there is nothing left to take out.
    """
    parameters = {part.formula: part.basis for part in design.residual.formulas}
    return TermBases(untouched(design.p), tuple(untouched(len(block.columns)) for block in design.blocks), parameters)


def formula_places(part: ResidualTerm) -> tuple[str, ...]:
    """Return the place of the prior of each column of a parameter's formula, first the parameter's if it has one."""
    return (part.formula,) * part.has_level + tuple(label for own in part.parameters for label in residual_labels(own))


def _at_means(priors: Mapping[str, Prior], place: str) -> bool:
    return place == INTERCEPT_AT_MEANS or (place in priors and priors[place].at == "means")


def prior_design(design: Design, priors: Mapping[str, Prior]) -> Design:
    """Return the design with X_o in the place of X and Z_o in that of each Z: the same model in other parameters.

    Its coefficients, and its random effects with their sds and correlations, are those that the priors are of; their
    names stay. Thresholds, and log odds of categories without an order, are at the means of its columns.
    """
    bases = prior_bases(design, priors)
    if bases.trivial and not design.family.ordered:
        return design
    blocks = tuple(
        block if basis.trivial else replace(block, Z=basis.taken_out(block.Z))
        for block, basis in zip(design.blocks, bases.blocks, strict=True)
    )
    X, residual = bases.fixed.taken_out(design.X), prior_residual(design, bases)
    if not design.family.ordered:
        return replace(design, X=X, blocks=blocks, residual=residual)
    return replace(design, X=X - X.mean(axis=0), blocks=blocks, residual=_around_means(design, residual))


def prior_residual(design: Design, bases: TermBases) -> Residuals:
    """Return the residuals of a design with the columns of the formulas of parameters in the bases of the priors."""
    parts = tuple(
        part if part.basis is None else part.taken_out(bases.parameters[part.formula]) for part in design.residual.parts
    )
    return replace(design.residual, parts=parts)


def own_at_zero(
    design: Design, bases: TermBases, own: Mapping[str, object], values: Mapping[str, object], library: ModuleType = np
) -> tuple[dict[str, object], dict[str, object]]:
    """Return parameters and the coefficients of their formulas as they are reported, from those that priors are of.

    Parameters
    ----------
    design : Design
    bases : TermBases
        `prior_bases`.
    own : mapping of str to number or (...,)
        The parameters besides the mean, by name; also others, which stay.
    values : mapping of str to (..., k)
        The parameters of the residual: the coefficients, and others, which stay.
    library : module
        numpy or pytensor.tensor.

    Returns
    -------
    dict, dict
        Of a generalised model the links of parameters too, by `parameters.level_name`: where the columns are 0, far
        from the rows, a probability may be 1 to all digits.

    Raises
    ------
    DataError
        Where the columns are 0 the residual sd of a Gaussian model is beyond the numbers that can be computed with.
    """
    own, values, known = dict(own), dict(values), {each.name: each for each in design.family.parameters}
    for part, coefficients, A in _moved_formulas(design, {k: basis.inverse for k, basis in bases.parameters.items()}):
        found, first, name = values[coefficients], int(part.has_level), part.formula
        if first:
            change, at = found @ A[0, 1:], own[name]
            with np.errstate(over="ignore"):
                own[name] = moved(library, known[name], at, change)
            if not design.family.gaussian:
                own |= _level(library, coefficients, known[name], at, change)
            elif library is np:
                _check_number(part, own[name])
        values[coefficients] = found @ A[first:, first:].T
    return own, values


def own_at_means(
    design: Design, bases: TermBases, own: Mapping[str, object], values: Mapping[str, object]
) -> tuple[dict[str, object], dict[str, object]]:
    """Return parameters and coefficients that priors are of from those reported: the inverse of `own_at_zero`."""
    own, values, known = dict(own), dict(values), {each.name: each for each in design.family.parameters}
    for part, coefficients, R in _moved_formulas(design, {k: basis.R for k, basis in bases.parameters.items()}):
        found, first, name = values[coefficients], int(part.has_level), part.formula
        if first:
            level = own.pop(level_name(coefficients), None)
            at, change = (own[name], 0.0) if level is None else (None, level)
            own[name] = moved(np, known[name], at, change + found @ R[0, 1:])
        values[coefficients] = found @ R[first:, first:].T
    return own, values


def _moved_formulas(design: Design, maps: Mapping[str, np.ndarray]) -> Iterator[tuple[ResidualTerm, str, np.ndarray]]:
    """Yield the formulas that a matrix changes something of, with the name of their coefficients and the matrix."""
    for part in design.residual.formulas:
        A, (coefficients,) = maps[part.formula], part.parameters
        if np.any(A - np.eye(len(A))):
            yield part, coefficients.name, A


def _level(library: ModuleType, coefficients: str, own: Auxiliary, at: object, change: object) -> dict[str, object]:
    """Return the link of a parameter at 0 by `level_name`; nothing where the parameter is its own link."""
    (low, high), code = own.bounds, link_code(own)
    if code == IDENTITY:
        return {}
    return {level_name(coefficients): library.log((at - low) if code == LOG else (at - low) / (high - at)) + change}


def _check_number(part: ResidualTerm, sigma: object) -> None:
    """Raise a DataError for a sigma that is 0 or infinite to a computer: of Gaussian models rows follow from it."""
    if not np.all((0 < sigma) & (sigma < np.inf)):
        (parameter,) = part.parameters
        parts = (part for term in parameter.terms for part in term.split(":"))
        names = list(dict.fromkeys(part for part in parts if "[" not in part))  # numbers, not indicators of factors
        raise DataError(
            f"{part.text}: the residual sd where {listing(names, limit=3)} would be 0, far from the data, is beyond "
            f"the numbers that can be computed with; write center() around {'it' if len(names) == 1 else 'them'}, "
            "which changes neither priors nor predictions"
        )


def _around_means(design: Design, residual: Residuals) -> Residuals:
    """Return the parts of the residual with the columns of categories without an order about their means."""
    means = category_means(design)
    if means is None:
        return residual
    first, *others = residual.parts
    return replace(residual, parts=(replace(first, rows=first.rows - means), *others))


def category_means(design: Design) -> np.ndarray | None:
    """Return the means of the columns that each category without an order has coefficients of, (c,); None of others."""
    rows = design.residual.parts[0].rows if design.family.nominal else None
    return None if rows is None else rows.mean(axis=0)


def threshold_means(design: Design, priors: Mapping[str, Prior]) -> np.ndarray:
    """Return m, (p,): the thresholds of an ordered response are those at the means plus m' gamma; 0 of all others.

    `prior_design` has them at the means of its columns, which is where their priors are.
    """
    if not design.family.ordered:
        return np.zeros(design.p)
    return prior_bases(design, priors).fixed.taken_out(design.X).mean(axis=0)


def shifts_of_thresholds(
    design: Design, means: np.ndarray, gamma: np.ndarray, values: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Return thresholds, or log odds, where all columns are 0 less those at the means, (..., 1 or t).

    Parameters
    ----------
    design : Design
    means : (p,)
        `threshold_means`.
    gamma : (..., p)
        The coefficients that the priors are of.
    values : mapping of str to (..., k)
        The parameters of the residual: of categories without an order their coefficients are used.
    """
    shift, centre = (gamma @ means)[..., None], category_means(design)
    if centre is None:
        return shift
    own = values[design.residual.parts[0].parameters[1].name]
    return shift - (own.reshape(*own.shape[:-1], len(centre), -1) * centre[:, None]).sum(axis=-2)


def coefficient_places(priors: Mapping[str, Prior], design: Design) -> tuple[str, ...]:
    """Return the place of each coefficient's prior, in the order of the columns of X (an intercept is the first)."""
    names = [coefficient_label(name) for name in design.coefficients]
    if design.has_intercept:
        names[0] = next(name for name in INTERCEPT_NAMES if name in priors)
    return tuple(names)
