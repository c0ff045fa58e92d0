"""Cross-products of rows whose weights follow from few kinds of rows: sums over each kind, weighted."""

from dataclasses import dataclass, replace

import numpy as np

from bayesmm.likelihood.compiled import Ints
from bayesmm.likelihood.crossproducts import (
    CrossProducts,
    Floats,
    Leading,
)


@dataclass(frozen=True)
class StratumSums:
    """The cross-products of the rows of each of S strata, (S, ...).

    With a weight for each stratum beside those of the rows, the cross-products of all rows are weighted sums of these:
    nothing passes over the rows again.
    """

    whole: CrossProducts  # of all rows, with the weights of the rows alone
    stratum: Ints  # (n,); of sets of sums, whose rows are elsewhere, none
    count: Floats  # (S,) rows
    A: Floats  # (S, G, q, q) Z'WZ of each level of the leading factor
    z: Floats  # (S, G, q)
    start: Ints  # (G + 1,) as in `Leading`, but for levels in the place of patterns
    columns: Ints  # (nnz,)
    coupling: Floats  # (S, nnz, q)
    rest_A: Floats  # (S, m, m)
    rest_z: Floats  # (S, m)
    rWr: Floats  # (S,)


def weighted_sum(sums: StratumSums, weights: Floats, logarithms: float | None = None) -> CrossProducts:
    """Return the cross-products of all rows with a further weight for each stratum, (S,); levels are not merged.

    `logarithms` is what these weights add to log|W|, where they are of other sets of sums than strata.
    """
    whole, (A, z, coupling, rest_A, rest_z, rWr) = (
        sums.whole,
        (
            np.tensordot(weights, part, 1)
            for part in (sums.A, sums.z, sums.coupling, sums.rest_A, sums.rest_z, sums.rWr)
        ),
    )
    own = float(sums.count @ np.log(weights)) if logarithms is None else logarithms
    source = whole.source
    outer = z[:, :, None] * z[:, None, :]
    return replace(
        whole,
        leading=Leading(np.ones(len(z)), A, sums.start, sums.columns, coupling, z, outer),
        rest=whole.rest._replace(A=rest_A, z=rest_z),
        rWr=float(rWr),
        sum_log_weights=whole.sum_log_weights + own,
        pattern=np.arange(len(z)),
        z=z,
        source=None if source is None else source._replace(w=source.w * weights[sums.stratum]),
    )
