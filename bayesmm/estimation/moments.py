"""Where a search of variance components starts: what the moments of the levels' sums say of them.

With r the response less its least-squares fit, the square of z = Z_j'W r of one column of Z has about the mean sigma^2
Z_j'W Z_j + sum over all columns k of sigma_k^2 (Z_j'W Z_k)^2, as if the fixed columns were not there. Summed over the
levels, each divided by Z_j'W Z_j, these are as many linear equations as there are sds, and r'Wr gives one for sigma^2:
Henderson's method of moments (1953, Biometrics 9: 226-252, method 1), taken column by column.
"""

import numpy as np

from bayesmm.likelihood.crossproducts import CrossProducts, Floats

LEAST, MOST = 0.1, 10.0  # relative sds at which a search starts: at 0 the criterion is level


def relative_sds(cp: CrossProducts) -> Floats | None:
    """Return about the relative sd of each column of the random effects, in the order of `cp`, (sum q_k,).

    None where the moments do not say: a pedigree relates the levels, or the residual has no variance left.
    """
    if not cp.order or cp.kin is not None:
        return None
    of_rest, q, K = _columns_of_rest(cp), cp.q[0], sum(cp.q)
    shares, observed, levels = np.zeros((K, K)), np.zeros(K), np.zeros(K)
    _leading_moments(cp, of_rest, shares, observed, levels)
    m = len(of_rest)
    squares = np.diag(cp.rest.A)[:m]
    inverse = np.divide(1.0, squares, out=np.zeros(m), where=squares > 0)
    for j in range(q, K):
        own = of_rest == j
        observed[j], levels[j] = inverse[own] @ cp.rest.z[:m][own] ** 2, np.count_nonzero(inverse[own])
        A = cp.rest.A[:m, :m]
        sums = np.einsum("i,ij,ij->j", inverse * own, A, A)  # without a copy of A
        shares[j] += np.bincount(of_rest, sums, K)
    total = np.bincount(of_rest, squares, K).astype(float)  # whole numbers where there are none
    total[:q] = np.einsum("gaa,g->a", cp.leading.A, cp.leading.count)
    # sigma^2 = (r'Wr - total' s) / n
    left = shares - np.outer(levels, total) / cp.n
    found = np.linalg.lstsq(left, observed - levels * cp.rWr / cp.n)[0]
    variance = (cp.rWr - total @ np.maximum(found, 0.0)) / cp.n
    if not (np.isfinite(found).all() and variance > 0):
        return None
    return np.clip(np.sqrt(np.maximum(found, 0.0) / variance), LEAST, MOST)


def _columns_of_rest(cp: CrossProducts):
    """Return which column each entry of the rest, the fixed columns left out, belongs to, counted as in `cp.q`."""
    own, first = [np.empty(0, np.int64)], cp.q[0]
    for q, G in zip(cp.q[1:], cp.n_levels[1:], strict=True):
        own.append(np.tile(first + np.arange(q), G))
        first += q
    return np.concatenate(own)


def _leading_moments(cp: CrossProducts, of_rest, shares: Floats, observed: Floats, levels: Floats) -> None:
    """Add what the levels of the leading factor say, and what it says of the rest."""
    lead, q, K = cp.leading, cp.q[0], len(levels)
    pattern = np.repeat(np.arange(len(lead.count)), np.diff(lead.start))
    kept = lead.columns < len(of_rest)  # not the fixed columns
    columns, pattern, coupling = lead.columns[kept], pattern[kept], lead.coupling[kept]
    rest_squares = np.diag(cp.rest.A)
    for a in range(q):
        squares = lead.A[:, a, a]
        weight = np.divide(lead.count, squares, out=np.zeros(len(squares)), where=squares > 0)
        observed[a] = np.divide(weight, lead.count) @ lead.sum_zz[:, a, a]
        levels[a] = lead.count[squares > 0].sum()
        shares[a, :q] = weight @ lead.A[:, a] ** 2
        shares[a] += np.bincount(of_rest[columns], weight[pattern] * coupling[:, a] ** 2, K)
        with np.errstate(divide="ignore", invalid="ignore"):
            back = lead.count[pattern] * coupling[:, a] ** 2 / rest_squares[columns]
        shares[:, a] += np.bincount(of_rest[columns], np.nan_to_num(back), K)
