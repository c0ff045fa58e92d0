"""A maximised model in the coordinates of its search, and what is reported of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bayesmm.design.predictors import linear_predictor
from bayesmm.design.summed import Elsewhere, SummedColumn
from bayesmm.likelihood.crossproducts import Floats, Ints
from bayesmm.likelihood.orthogonal import Columns, root_mean_square, square_root


@dataclass(frozen=True, eq=False)
class Coordinates:
    """A fit in the coordinates in which it was found, where the origin of a predictor costs no digits.

    Attributes
    ----------
    bases : tuple of (q_k, q_k) float64
        B_k of each block: b = B_k b_s, Z_s = Z B_k.
    covariances : tuple of (q_k, q_k) float64
        Of b_s.
    modes : tuple of (G_k, q_k) float64
    conditional : tuple of (G_k, q_k, q_k) float64
        Conditional covariances of b_s given beta.
    linear : (n,) float64, or Elsewhere
        Linear predictor.
    root : (p, r) float64
        root root' is the covariance of beta; rows of zeros where a column was left out.
    """

    bases: tuple[Floats, ...]
    covariances: tuple[Floats, ...]
    modes: tuple[Floats, ...]
    conditional: tuple[Floats, ...]
    linear: Floats
    root: Floats

    def reported(self) -> tuple[tuple[Floats, ...], tuple[Floats, ...], tuple[Floats, ...]]:
        """Return Sigma_k, the conditional modes and their covariances on the user's scale."""
        B = self.bases
        covariances = tuple(b @ Sigma @ b.T for b, Sigma in zip(B, self.covariances, strict=True))
        modes = tuple(u @ b.T for b, u in zip(B, self.modes, strict=True))
        return covariances, modes, tuple(b @ C @ b.T for b, C in zip(B, self.conditional, strict=True))


def make_coordinates(
    indices: Sequence[Ints],
    columns: Sequence[Columns],
    order: Sequence[int],
    factors: Sequence[Floats],
    modes: Sequence[Floats],
    conditional: Sequence[Floats],
    fixed: Floats,
    root: Floats,
) -> Coordinates:
    """Return the coordinates of a fit from factors L_k, modes and conditional covariances in an order of the blocks.

    `indices` are the rows' levels in each block, `fixed` is the linear predictor without random effects, (n,).
    """
    at, eta = [order.index(k) for k in range(len(columns))], fixed
    if isinstance(fixed, SummedColumn):
        eta = Elsewhere(fixed.sums)
    else:
        for index, own, i in zip(indices, columns, at, strict=True):
            eta = eta + np.einsum("ij,ij->i", own.Z, modes[i][index])
    covariances, modes, conditional = (
        tuple(parts[i] for i in at) for parts in ([L @ L.T for L in factors], modes, conditional)
    )
    return Coordinates(tuple(own.basis for own in columns), covariances, modes, conditional, eta, root)


def scaled_by_columns(point) -> Coordinates:
    """Return the coordinates in which each column is in units of its root mean square."""
    design, scales = point.design, [root_mean_square(block.Z) for block in point.design.blocks]
    return Coordinates(
        tuple(np.diag(1 / s) for s in scales),
        tuple(Sigma * np.outer(s, s) for s, Sigma in zip(scales, point.covariances, strict=True)),
        tuple(b * s for s, b in zip(scales, point.modes, strict=True)),
        tuple(C * np.outer(s, s) for s, C in zip(scales, point.conditional, strict=True)),
        linear_predictor(design, np.nan_to_num(point.beta), point.modes),
        square_root(np.nan_to_num(point.beta_cov)),
    )
