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
    names stay. Thresholds are at the means of its columns.
    """
    bases = prior_bases(design, priors)
    if bases.fixed.trivial and all(basis.trivial for basis in bases.blocks) and not design.family.ordered:
        return design
    blocks = tuple(
        block if basis.trivial else replace(block, Z=basis.taken_out(block.Z))
        for block, basis in zip(design.blocks, bases.blocks, strict=True)
    )
    X = bases.fixed.taken_out(design.X)
    return replace(design, X=X - X.mean(axis=0) if design.family.ordered else X, blocks=blocks)


def threshold_means(design: Design, priors: Mapping[str, Prior]) -> np.ndarray:
    """Return m, (p,): the thresholds of an ordered response are those at the means plus m' gamma; 0 of all others.

    `prior_design` has them at the means of its columns, which is where their priors are.
    """
    if not design.family.ordered:
        return np.zeros(design.p)
    return prior_bases(design, priors).fixed.taken_out(design.X).mean(axis=0)


def coefficient_places(priors: Mapping[str, Prior], design: Design) -> tuple[str, ...]:
    """Return the place of each coefficient's prior, in the order of the columns of X (an intercept is the first)."""
    names = [coefficient_label(name) for name in design.coefficients]
    if design.has_intercept:
        names[0] = next(name for name in INTERCEPT_NAMES if name in priors)
    return tuple(names)
