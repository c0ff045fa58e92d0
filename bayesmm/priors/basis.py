"""Where a model's priors are stated: the design whose coefficients and random effects they are of.

With X = X_o R and Z = Z_o T of `bayesmm.design.term_basis`, a prior at the means is of gamma = R beta, or of the
covariance matrix T Sigma T' of the effects T b. A prior of a parameter as it is reported keeps its row of R a unit row,
or its block as it is. So the prior of the coefficients beta is normal wherever the priors of gamma are, with a dense
covariance matrix, and everything that is integrated out stays so.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from bayesmm.design.parameters import INTERCEPT_AT_MEANS, INTERCEPT_NAMES, coefficient_label
from bayesmm.design.records import Design
from bayesmm.design.residual.structure import Residuals
from bayesmm.design.term_basis import TermBases, untouched
from bayesmm.priors.prior import Prior


def prior_bases(design: Design, priors: Mapping[str, Prior]) -> TermBases:
    """Return the bases in which the priors of a model are independent of one another."""
    bases = design.spec.bases
    moved = [_at_means(priors, place) for place in coefficient_places(priors, design)]
    blocks = [
        basis if _at_means(priors, block.names.corr) else untouched(len(block.columns))
        for block, basis in zip(design.blocks, bases.blocks, strict=True)
    ]
    return TermBases(bases.fixed.restricted(moved), tuple(blocks))


def _at_means(priors: Mapping[str, Prior], place: str) -> bool:
    return place == INTERCEPT_AT_MEANS or (place in priors and priors[place].at == "means")


def prior_design(design: Design, priors: Mapping[str, Prior]) -> Design:
    """Return the design with X_o in the place of X and Z_o in that of each Z: the same model in other parameters.

    Its coefficients, and its random effects with their sds and correlations, are those that the priors are of; their
    names stay. Thresholds, and log odds of categories without an order, are at the means of its columns.
    """
    bases = prior_bases(design, priors)
    if bases.fixed.trivial and all(basis.trivial for basis in bases.blocks) and not design.family.ordered:
        return design
    blocks = tuple(
        block if basis.trivial else replace(block, Z=basis.taken_out(block.Z))
        for block, basis in zip(design.blocks, bases.blocks, strict=True)
    )
    X = bases.fixed.taken_out(design.X)
    if not design.family.ordered:
        return replace(design, X=X, blocks=blocks)
    return replace(design, X=X - X.mean(axis=0), blocks=blocks, residual=_around_means(design))


def _around_means(design: Design) -> Residuals:
    """Return the parts of the residual with the columns of categories without an order about their means."""
    means = category_means(design)
    if means is None:
        return design.residual
    first, *others = design.residual.parts
    return replace(design.residual, parts=(replace(first, rows=first.rows - means), *others))


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
