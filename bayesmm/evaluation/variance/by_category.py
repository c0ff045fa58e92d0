"""Variances of categories without an order: of the log odds of each beside the first, which has a predictor of its own.

The utilities of two categories differ by a logistic variable, so that the residual of log odds has the variance
pi^2 / 3, as that of a binary response has (Hedeker 2003, Statistics in Medicine 22(9)).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bayesmm.design.predictors import columns_of
from bayesmm.evaluation.variance.variance_parts import row_shares
from bayesmm.posterior.draws import factor_draws, residual_draws

Array = np.ndarray

RESIDUAL = np.pi**2 / 3
SAID = (
    "Of the log odds of each category beside the first; the residual's variance is pi^2 / 3, that of the difference of "
    "two utilities (Hedeker 2003)."
)


@dataclass(frozen=True, eq=False)
class CategoryParts:
    """The variances of one category's log odds, (draws,) each.

    Attributes
    ----------
    fixed : (draws,) float64
    factors : mapping of str to (draws,) float64
        Of each grouping factor, by its name with that of the category before it.
    """

    fixed: Array
    factors: Mapping[str, Array]

    @property
    def random(self) -> Array:
        """Of all factors together."""
        return sum(self.factors.values(), start=np.zeros_like(self.fixed))


def parts_by_category(fitted) -> dict[str, CategoryParts]:
    """Return the variances of the log odds of each category but the first, of a fit or as of one draw of a point."""
    design, posterior = fitted.design, hasattr(fitted, "tree")
    own = residual_draws(fitted) if posterior else {name: values[None] for name, values in fitted.residual.items()}
    L = [factor_draws(fitted, block) for block in design.blocks] if posterior else ()
    covariances = [each @ each.transpose(0, 2, 1) for each in L] if posterior else [S[None] for S in fitted.covariances]
    part, names, share = design.residual.parts[0], design.family.auxiliaries, row_shares(design)
    found, draws = {}, len(own[part.parameters[0].name])
    for k, name in enumerate(names):
        factors = {}
        for block, Sigma in zip(design.blocks, covariances, strict=True):
            columns = np.flatnonzero(columns_of(block, name))
            if len(columns):
                Z, label = block.Z[:, columns], f"{name}_{':'.join(block.factors)}"
                factors[label] = np.einsum("nab,ab->n", Sigma[:, columns][:, :, columns], (Z * share[:, None]).T @ Z)
        fixed = np.zeros(draws)
        if part.rows is not None:
            eta = own[part.parameters[1].name][:, k :: len(names)] @ part.rows.T
            left = eta - (eta @ share)[:, None]
            fixed = np.square(left) @ share * design.n / (design.n - 1)
        found[name] = CategoryParts(fixed, factors)
    return found


def shares_by_category(parts: Mapping[str, CategoryParts], explained: bool) -> dict[str, Array]:
    """Return the shares of variance: R^2 of each category, or the intraclass correlation of each of its factors."""
    shares = {}
    for name, own in parts.items():
        total = own.fixed + own.random + RESIDUAL
        if explained and own.factors:
            shares[f"r2_marginal[{name}]"] = own.fixed / total
            shares[f"r2_conditional[{name}]"] = (own.fixed + own.random) / total
        elif explained:
            shares[f"r2[{name}]"] = own.fixed / total
        for factor, variance in () if explained else own.factors.items():
            shares[f"icc[{factor}]"] = variance / (own.random + RESIDUAL)
            shares[f"icc_unadjusted[{factor}]"] = variance / total
    return shares


def variances_by_category(parts: Mapping[str, CategoryParts]) -> dict[str, Array]:
    """Return what the shares are made of."""
    out = {}
    for name, own in parts.items():
        out |= {f"{name}, fixed part": own.fixed, **own.factors, f"{name}, residual": np.full_like(own.fixed, RESIDUAL)}
    return out
