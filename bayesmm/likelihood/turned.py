"""Levels with a known covariance as levels that are independent: the likelihood of one grouping factor, as any other.

The effects b ~ N(0, s^2 K) of a factor with one column enter the likelihood through N = diag(z_g'W z_g), the sums of
squares of the levels. With K = L L' and L'N L = V D^2 V' they are b = L V f with independent f ~ N(0, s^2): then
(Z b)'W(Z b) = f'D^2 f, so that the f have sums of squares D^2 and share no row either. An evaluation takes no longer
than with independent levels. For one variance and the residual's that is the spectral decomposition of Kang et al.
(2008, Genetics 178(3)); here any further factors and fixed columns stay what they are, coupled to every f. Nothing is
divided by N, which may be 0: (L V)(L V)' is K to rounding whatever the data are.
"""

import numpy as np

from bayesmm.likelihood.packed import Floats, Ints


def turn_of(root: Floats, squares: Floats) -> Floats:
    """Return L V, (G, G), for the factor L of the levels' covariance and their sums of squares N, (G,)."""
    return root @ np.linalg.eigh(root.T @ (squares[:, None] * root))[1]


def turned_products(turn: Floats, A: Floats, z: Floats, start: Ints, columns: Ints, values: Floats):
    """Return what `crossproducts.leading_products` gives for the levels as that of the f they are made of.

    Parameters
    ----------
    turn : (G, G) float64
    A, z : (G, 1, 1) and (G, 1) float64
    start, columns, values : (G + 1,) int64, (w,) int64 and (w, 1) float64
        The coupling of the levels, sparse; that of f has no zeros.
    """
    G, level = len(turn), np.repeat(np.arange(len(turn)), np.diff(start))
    own, place = np.unique(columns, return_inverse=True)
    dense = np.zeros((G, len(own)))
    dense[level, place] = values[:, 0]
    squares = np.einsum("gf,g,gf->f", turn, A[:, 0, 0], turn)
    coupling = np.ascontiguousarray((turn.T @ dense).reshape(-1, 1))
    starts = np.arange(G + 1, dtype=np.int64) * len(own)
    return squares[:, None, None], turn.T @ z, starts, np.tile(own, G), coupling


def of_levels(turn: Floats, effects: Floats) -> Floats:
    """Return the effects of the levels, (draws, G, 1), of those of f, (draws, G, 1)."""
    return np.einsum("gf,sfq->sgq", turn, effects, optimize=True)
