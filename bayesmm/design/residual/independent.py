"""Independent residuals, which need no structure, and how others are made independent: rows are whitened."""

from dataclasses import replace

import numpy as np

from bayesmm.design.residual.structure import NOTHING, Residuals, Values, residual_weights
from bayesmm.design.summed import is_summed
from bayesmm.design.summed_residual import at_values, divided, with_sums
from bayesmm.errors import DataError

INDEPENDENT = Residuals()


def whitened(design, values: Values = NOTHING):
    """Return the design without structures of the residual that has the likelihood of `design` at these values.

    Its weights are those over the squares of the rows' sds. The Jacobian is part of them: a linear model's log
    likelihood has half the sum of their logarithms. Correlations are known ones then, whose inverse the cross-products
    are taken with. Raises a DataError where the sds leave the doubles, as they may in a search gone astray.
    """
    if not design.residual.parts or design.residual.by_row:  # what is by row is no matter of weights
        return design
    if is_summed(design):
        return at_values(design, values)
    correlation = design.residual.correlation(design.residual.rows, values)
    weights = residual_weights(design, values)
    if weights is not None and not (np.isfinite(weights) & (weights > 0)).all():
        raise DataError(
            f"the sds that {design.residual.text} gives some rows are beyond the numbers that can be computed with"
        )
    return replace(design, weights=weights, residual=Residuals(known=correlation))


def whitened_to_one(design, values: Values):
    """Return the same where sigma is one of the values: weights over the squares of the sds themselves, sigma being 1.

    Where sigma is a scale this is `whitened`.
    """
    white = whitened(design, values)
    if design.residual.sigma != "joint":
        return white
    variance = float(values["sigma"][0]) ** 2
    if is_summed(white):
        return with_sums(white, divided(white.X.sums, variance))
    return replace(white, weights=white.weights / variance)


def is_by_rows(design) -> bool:
    """Return whether a linear model's density is a product over rows: they are independent, with one sigma for all."""
    return not is_summed(design) and not design.residual.parts and design.residual.known is None


def by_rows(design):
    """Return a linear design that `is_by_rows` as that of a generalised model, sigma being a parameter of its family.

    Such a model has weights that count rows, so rows are multiplied by the roots of those that divide variances; the
    log density lacks a constant, half the sum of their logs.
    """
    design = replace(design, spec=replace(design.spec, family=replace(design.family, varying=True)))
    if design.weights is None:
        return design
    root = np.sqrt(design.weights)
    blocks = tuple(replace(block, Z=block.Z * root[:, None]) for block in design.blocks)
    own = dict(y=design.y * root, X=design.X * root[:, None], offset=design.offset * root)
    return replace(design, blocks=blocks, weights=None, **own)
