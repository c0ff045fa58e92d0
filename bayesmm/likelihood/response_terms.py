"""One row as `lines` sums it: what depends on the linear predictor apart from what does not.

See `bayesmm.families.kernel.Kernels`. Families without such kernels have no constant, and their density is that of
`response_kernels`.
"""

from bayesmm.families.families import CANONICAL
from bayesmm.families.links import LOGIT as LOGIT_LINK
from bayesmm.likelihood.compiled import compiled, fused, inner, reordered
from bayesmm.likelihood.response_kernels import (
    LINE,
    ROWS,
    SMOOTH_FAMILIES,
    finite,
    finite_score,
    of_families,
    of_smooth,
    row_at,
    row_constant_at,
    row_score_at,
)

# Kinds of rows, see `kind_of`; from LOGIT on they are canonical
GENERAL, SMOOTH, LOGIT, COUNTS = range(4)
smooth_line = of_smooth("line", LINE, fused, "0")
smooth_rows = of_smooth("rows", ROWS, reordered, "0.0, 0.0, 0.0")


@inner
def _row_at(family, link, y, size, eta, aux):
    return finite(row_at(family, link, y, size, eta, aux))


@inner
def _row_score_at(family, link, y, size, eta, aux):
    return finite_score(row_score_at(family, link, y, size, eta, aux))


@inner
def _no_constant(family, link, y, size, eta, aux):
    return 0.0


# (family, link, y, size, eta, aux) -> the log density of a row and three derivatives in eta, less the constants below
row_derivatives = of_families("row", _row_at)
# -> the derivatives in the family's parameters of what `row_derivatives` returns, where that is finite
row_score = of_families("row_score", _row_score_at)
_row_constant = of_families("row_constant", row_constant_at)
_constant = of_families("constant", _no_constant)


@compiled
def row_constant(family, link, y, aux):
    """Return what `row_derivatives` leaves out and depends on the parameters, and its derivatives in them."""
    return _row_constant(family, link, y, 1.0, 0.0, aux)


@compiled
def constant(family, link, y, size, weight, aux):
    """Return what `row_derivatives` leaves out and depends on nothing, summed over the rows: -log y! of counts, ..."""
    total = 0.0
    for i in range(y.shape[0]):
        total += weight[i] * _constant(family, link, y[i], size[i], 0.0, aux)
    return total


@inner
def kind_of(family, link):
    """Return what is known of the log density of a row.

    LOGIT: it is weight (y eta - log(1 + exp eta)), COUNTS: weight (y eta - exp eta), see `Family.canonical`, with the y
    and weights of `quadrature.merged`. SMOOTH: `smooth_line` gives it for many nodes at once. GENERAL: it is known by
    `row_derivatives` alone.
    """
    for canonical in CANONICAL:
        if family == canonical[0] and link == canonical[1]:
            return LOGIT if link == LOGIT_LINK else COUNTS
    for number in SMOOTH_FAMILIES:
        if family == number:
            return SMOOTH
    return GENERAL
