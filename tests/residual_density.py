"""Dense normal densities of models whose residual has parameters, and small data for them.

Nothing of the product's likelihood is in here: V = Z Sigma Z' + D C D is written out, C by the definition of each kind.
"""

import numpy as np
import pandas as pd

import bayesmm as bmm
from bayesmm.likelihood.coordinates import values
from bayesmm.likelihood.posterior import Parameters

TERMS = {"": "", "ar": " + ar(t, g)", "car": " + car(time, g)", "cosy": " + cosy(g)", "unstr": " + unstr(t, g)"}
PRIORS = {"beta[x]": bmm.Prior("StudentT", nu=4, mu=0, sigma=2)}  # a coefficient that is sampled


def table(seed, groups=6):
    """Return series of at most four visits, some missing, the last of one row; h is crossed with them."""
    rng = np.random.default_rng(seed)
    g, t = np.repeat(np.arange(groups), 4), np.tile(np.arange(4), groups)
    kept = (rng.uniform(size=len(g)) > 0.3) | (g < 2)
    kept[g == groups - 1] = t[g == groups - 1] == 2
    order = rng.permutation(np.flatnonzero(kept))
    g, t, n = g[order], t[order], kept.sum()
    frame = {"t": t, "time": t + np.where(t > 1, 0.4, 0.0), "x": rng.normal(size=n), "w": rng.uniform(0.5, 2, size=n)}
    frame |= {"g": [f"g{i}" for i in g], "h": [f"h{i}" for i in rng.integers(3, size=n)]}
    frame |= {"f": np.array(["a", "b"])[rng.integers(2, size=n)], "se": rng.uniform(0.3, 1.5, size=n)}
    frame["v"] = pd.Categorical([f"v{i}" for i in t], [f"v{i}" for i in range(4)])
    frame["y"] = 1 + frame["x"] + rng.normal(size=groups)[g] + rng.normal(size=n)
    return pd.DataFrame(frame)


def correlation(frame, text, value):
    """Return C, (n, n), of a table's rows: 0 for rows of different series."""
    nothing, C = np.zeros(len(frame)), np.eye(len(frame))
    g, t, time = (frame[name].to_numpy() if name in frame else nothing for name in ("g", "t", "time"))
    if "unstr(" in text:
        R = np.eye(4)
        for i, j in zip(*np.triu_indices(4, 1), strict=True):
            R[i, j] = R[j, i] = value[f"unstr[{i}, {j}]"]
        C = R[t][:, t]
    elif "cosy(" in text:
        C = np.where(C == 1, 1.0, value["cosy"])
    elif "car(" in text:
        C = value["car"] ** np.abs(time[:, None] - time)
    elif "ar(" in text:
        C = value["ar"] ** np.abs(t[:, None] - t)
    return np.where(g[:, None] == g, C, 0.0)


def residual_covariance(design, positive, labels):
    """Return the covariance matrix of the residuals, (n, n), for sigma and the parameters that priors are of."""
    value, frame, text = dict(zip(labels, positive, strict=True)), design.frame, design.formula.text
    sd = np.full(design.n, value["sigma"])
    if "se(" in text:
        sd = np.hypot(frame["se"].to_numpy(), value["sigma"]) if "TRUE" in text else frame["se"].to_numpy()
    for label in labels[1:]:
        if label.startswith("log_sigma["):
            inside = label[len("log_sigma[") : -1]
            column = (frame["x"] if inside == "x" else frame["f"] == inside.rstrip("]")[-1]).to_numpy(float)
            beside_sigma = inside == "x" or "[T." in inside  # sigma is the sd at the column's mean
            sd = sd * np.exp(value[label] * (column - beside_sigma * column.mean()))
    sd = sd if design.weights is None else sd / np.sqrt(design.weights)
    return sd[:, None] * correlation(frame, text, value) * sd


def moments(integrated, labels, at):
    """Return r, V and the flat columns: r is N(0, V) but for these, all else integrated out."""
    problem, design = integrated.problem, integrated.problem.design
    V, end = residual_covariance(design, at.positive, labels), 0
    for block in design.blocks:
        q = len(block.columns)
        L = np.tril(at.L[end : end + q * q].reshape(q, q))
        V = V + (block.index[:, None] == block.index) * (block.Z @ L @ L.T @ block.Z.T)
        end += q * q
    flat, sampled = ~np.isfinite(integrated.sd), list(integrated.sampled)
    proper = problem.fixed[:, ~flat] * integrated.sd[~flat]
    r = problem.response - problem.fixed[:, sampled] @ (at.coefficients - integrated.at[sampled])
    return r, V + proper @ proper.T, problem.fixed[:, flat]


def density(r, V, X):
    """Return the log density of r, flat coefficients integrated out as REML does it."""
    inverse = np.linalg.inv(V)
    A = X.T @ inverse @ X
    e = r - X @ np.linalg.solve(A, X.T @ inverse @ r)
    logs = np.linalg.slogdet(V)[1] + np.linalg.slogdet(A)[1]
    return -0.5 * ((len(r) - X.shape[1]) * np.log(2 * np.pi) + logs + e @ inverse @ e)


def dense(integrated, labels, at):
    return density(*moments(integrated, labels, at))


def parameters_at(found, x):
    """Return what the likelihood is a function of at coordinates x of a posterior."""
    c, sampled = found.posterior.coordinates, len(found.integrated.sampled)
    scalars = values(c, x[None])
    blocks, own = found.integrated.structure.covariances(c, x[None], scalars)
    L = np.concatenate([np.empty(0), *((sd[0][:, None] * C[0]).ravel() for sd, C in blocks)])
    return Parameters(L, own[0], scalars[0, scalars.shape[1] - sampled :])
