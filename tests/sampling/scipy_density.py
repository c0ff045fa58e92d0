"""The density of a linear mixed model written with SciPy, on the coordinates of the explicit graph."""

import numpy as np
from scipy import special, stats


def half_t(sd, scale):
    return np.log(2) + stats.t.logpdf(sd, 3, 0, scale)


def positive(point, name, scale):
    """Return an sd from its logarithm, and its log density there with log d sd / d log sd."""
    sd = np.exp(point[f"{name}_log__"])
    return sd, np.sum(half_t(sd, scale) + np.log(sd))


def correlation(x, q, eta=2.0):
    """Return L, and the log density of x when R = L L' is LKJ(eta): row i of L is (x_i, 1) / |(x_i, 1)|.

    Lewandowski, Kurowicka & Joe 2009; dR / dL = prod_i L_ii^(q - i), dL_i / dx_i = |(x_i, 1)|^-(i + 1), i = 1..q.
    """
    rows = {2: [x[:1]], 3: [x[2:], x[1::-1]]}[q]  # PyMC fills the triangle from its end
    L, logp = np.eye(q), 0.0
    for i, row in enumerate(rows, start=1):
        length = np.sqrt(1 + row @ row)
        L[i, : i + 1] = np.append(row, 1) / length
        logp += -(i + 2) * np.log(length) + (q - 1 - i) * np.log(L[i, i])
    k = np.arange(1, q)
    logp += np.sum(special.gammaln(eta + (q - 1) / 2) - k / 2 * np.log(np.pi) - special.gammaln(eta + (q - 1 - k) / 2))
    return L, logp + 2 * (eta - 1) * np.log(np.diag(L)).sum()


def scales(design):
    """Return the default prior scales: (mean and 2.5 sd of y, MAD of y), written out once more."""
    y = design.y - design.offset
    return y.mean(), 2.5 * y.std(ddof=1), 1.4826 * np.median(np.abs(y - np.median(y)))


def reference(design, point, centred, fixed_sigma=None):
    """Return the log density of a point under the default priors, (beta, b and all) by SciPy."""
    mean, wide, mad = scales(design)
    logp, eta = 0.0, design.offset.copy()
    X = design.X
    if design.has_intercept and design.p > 1:
        slopes, alpha = point["_slopes"], point["_Intercept_centred"]
        sd_x = X[:, 1:].std(axis=0, ddof=1)
        logp += stats.norm.logpdf(alpha, mean, wide) + stats.norm.logpdf(slopes, 0, wide / sd_x).sum()
        eta += alpha + (X[:, 1:] - X[:, 1:].mean(axis=0)) @ slopes
    elif design.has_intercept:
        logp += stats.norm.logpdf(point["beta"], mean, wide).sum()
        eta += point["beta"][0]
    elif design.p:  # y ~ 0 + h: a mean for each level
        logp += stats.norm.logpdf(point["beta"], mean, wide).sum()
        eta += X @ point["beta"]
    for block in design.blocks:
        part, add = reference_block(block, point, centred, mad)
        logp, eta = logp + part, eta + add
    sigma, part = positive(point, "sigma", mad) if fixed_sigma is None else (fixed_sigma, 0.0)
    w = 1.0 if design.weights is None else design.weights
    return logp + part + stats.norm.logpdf(design.y, eta, sigma / np.sqrt(w)).sum()


def reference_block(block, point, centred, mad):
    q, name = len(block.columns), block.name
    size = np.array([1.0 if z.std() == 0 else z.std(ddof=1) for z in block.Z.T])
    Z, at_means = block.Z.copy(), False
    for part in block.partition:
        if len(part) > 1 and "Intercept" in (block.columns[j] for j in part):  # correlated: less the columns' means
            at_means, slopes = True, [j for j in part if block.columns[j] != "Intercept"]
            Z[:, slopes] -= Z[:, slopes].mean(axis=0)
    sd, logp = positive(point, f"sd_{name}_centred" if at_means else f"sd_{name}", mad / size)
    L = np.eye(q)
    for number, part in enumerate(block.partition):
        if len(part) > 1:
            key = f"_L_{name}" if len(part) == q else f"_L_{name}_{number}"
            inner, extra = correlation(point[f"{key}_cholesky_corr__"], len(part))
            L[np.ix_(part, part)] = inner
            logp += extra
    root = sd[:, None] * L
    if centred:
        b = point[f"_b_{name}" if at_means else f"b_{name}"]
        logp += stats.multivariate_normal.logpdf(b, np.zeros(q), root @ root.T).sum()
    else:
        z = point[f"_z_{name}"]
        logp += stats.norm.logpdf(z).sum()
        b = np.einsum("ij,gj->gi", root, z)
    return logp, np.einsum("ni,ni->n", Z, b[block.index])
