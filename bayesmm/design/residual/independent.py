"""Independent residuals, which need no structure, and how others are made independent: rows are whitened."""

from dataclasses import replace

from bayesmm.design.residual.structure import NOTHING, Residuals, Values, residual_weights

INDEPENDENT = Residuals()


def whitened(design, values: Values = NOTHING):
    """Return the design without structures of the residual that has the likelihood of `design` at these values.

    Its weights are those over the squares of the rows' sds. The Jacobian is part of them: a linear model's log
    likelihood has half the sum of their logarithms. Correlations are known ones then, whose inverse the cross-products
    are taken with.
    """
    if not design.residual.parts:
        return design
    correlation = design.residual.correlation(design.residual.rows, values)
    return replace(design, weights=residual_weights(design, values), residual=Residuals(known=correlation))
