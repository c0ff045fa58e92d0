"""How the modelled responses of a linear model spread, from sums over the rows: with so many draws, no row is taken.

With an identity link and a residual variance that is the same function of all draws, the responses' means X beta + Z b
have a mean and a variance over the rows that are linear and quadratic in beta and b: sums over the rows, and with one
grouping factor over those of each level, are all that is needed of the data.
"""

import numpy as np

from bayesmm.design.records import Block

Array = np.ndarray
NUMBERS = 4_000_000  # draws of effects that are taken together: 32 MB


def is_plain(block: Block) -> bool:
    """Return whether each row has the effects of one level, all of them effects on the mean."""
    return not (block.smooth or block.members or block.predictors or block.relation is not None)


def level_sums(block: Block, X: Array, share: Array) -> tuple[Array, Array, Array]:
    """Return the sums of share z, share z z' and share z x' over the rows of each level: (G, q), (G, q, q), (G, q, p).

    Parameters
    ----------
    block : Block
    X : (n, p) float64
    share : (n,) float64
        What each row counts.
    """
    G, q, p = len(block.levels), len(block.columns), X.shape[1]

    def summed(values: Array) -> Array:
        return np.bincount(block.index, share * values, minlength=G)

    Z = block.Z
    first = np.column_stack([summed(Z[:, a]) for a in range(q)])
    second = np.stack([summed(Z[:, a] * Z[:, b]) for a in range(q) for b in range(q)], axis=1)
    crossed = np.zeros((G, q, p))
    for a in range(q):
        for j in range(p):
            crossed[:, a, j] = summed(Z[:, a] * X[:, j])
    return first, second.reshape(G, q, q), crossed


def effect_moments(b: Array, beta: Array, sums: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    """Return the mean of Z b over the rows, and of (Z b)^2 + 2 (X beta) (Z b), (draws,) each.

    Parameters
    ----------
    b : (draws, G, q) float64
    beta : (draws, p) float64
    sums : tuple
        `level_sums` of the same columns.
    """
    draws, G, q = b.shape
    first, second, crossed = sums
    mean, square = np.empty(draws), np.empty(draws)
    step = max(1, NUMBERS // (G * q))
    for at in range(0, draws, step):
        part = slice(at, at + step)
        own = b[part]
        mean[part] = own.reshape(len(own), -1) @ first.ravel()
        moved = np.zeros_like(own)
        for a in range(q):
            for c in range(q):
                moved[:, :, a] += second[:, a, c] * own[:, :, c]
            moved[:, :, a] += 2.0 * (beta[part] @ crossed[:, a].T)
        square[part] = np.einsum("sga,sga->s", own, moved)
    return mean, square
