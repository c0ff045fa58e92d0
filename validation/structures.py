"""Structures of random effects and of residuals, terms of the response, formulas of parameters: how to draw them.

Each takes parameters to be drawn and a table, and returns the table with its response.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.special import expit

import bayesmm as bmm
from validation.simulated import (
    CORRELATION,
    COUNTS,
    GROUPS,
    HALF,
    LKJ,
    LOCATION,
    RESPONSES,
    ROWS,
    SCALE,
    SD,
    Truth,
    codes,
    fixed_part,
    intercepts,
    response,
)

# Of each of two crossed factors, and rows: from 190 levels on polynomials are taken; so are they of as many groups of
# a few yes/no answers.
MANY_LEVELS, MANY_ROWS, FEW_ROWS = 240, 1800, 6
ALIKE = bmm.Prior("HalfNormal", sigma=0.15)


def by_level(truth: Truth, data: pd.DataFrame, root: np.ndarray, place: np.ndarray, name: str = "g") -> np.ndarray:
    """Return the effects of the rows: of each level of g a vector with the covariance root root', taken at `place`."""
    b = truth.rng.normal(size=(GROUPS, len(root))) @ root.T
    truth.values[f"b_{name}"] = b[0, 0]
    return b[codes(data["g"]), place]


def gaussian(truth: Truth, data: pd.DataFrame, *effects: np.ndarray, sd: object = 1.0) -> pd.DataFrame:
    """Return the table with a normal response about the fixed part and these effects, its sd in units of sigma."""
    eta = fixed_part(truth, data) + sum(effects, np.zeros(len(data)))
    return data.assign(y=eta + truth.take("sigma", SCALE) * sd * truth.rng.normal(size=len(data)))


def diagonal(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    slope = truth.take("sd_g[x]", SD) * truth.rng.normal(size=GROUPS)
    return gaussian(truth, data, intercepts(truth, data["g"], "g"), slope[codes(data["g"])] * data["x"].to_numpy())


def compound_symmetry(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    sds = np.array([truth.take(f"sd_g[f[{k}]]", SD) for k in "abc"])
    r = truth.take("corr_g[cs(0 + f)]", CS)
    root = np.linalg.cholesky(np.outer(sds, sds) * (r + (1 - r) * np.eye(3)))
    return gaussian(truth, data, by_level(truth, data, root, codes(data["f"])))


def autoregressive(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    sd = truth.take("sd_g[ar1(0 + factor(t))]", SD)
    r = truth.take("corr_g[ar1(0 + factor(t)), lag 1]", CORRELATION)
    root = sd * np.linalg.cholesky(r ** np.abs(np.subtract.outer(np.arange(ROWS), np.arange(ROWS))))
    return gaussian(truth, data, by_level(truth, data, root, data["t"].to_numpy()))


def toeplitz(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    """Correlations by distance: the priors are of the partial autocorrelations, of which all belong to a matrix."""
    sds = np.array([truth.take(f"sd_g[factor(t)[{k}]]", SD) for k in range(ROWS)])
    labels = [f"corr_g[toep(0 + factor(t)), lag {k}]" for k in range(1, ROWS - 1)]
    labels.append(f"corr_g[factor(t)[0], factor(t)[{ROWS - 1}]]")
    r = np.eye(1)[0]
    for label in labels:
        r = np.append(r, further(r, truth.take(label, WHOLE)))
    truth.values.update(zip(labels, r[1:], strict=True))
    root = np.linalg.cholesky(np.outer(sds, sds) * by_distance(r))
    return gaussian(truth, data, by_level(truth, data, root, data["t"].to_numpy()))


def by_distance(r: np.ndarray) -> np.ndarray:
    """Return the matrix of these correlations, that of distance 0 first."""
    return r[np.abs(np.subtract.outer(np.arange(len(r)), np.arange(len(r))))]


def further(r: np.ndarray, partial: float) -> float:
    """Return the correlation of one distance more, of which `partial` is left given what is between the two."""
    if len(r) == 1:
        return partial
    between, one = by_distance(r[:-1]), r[1:]  # of the k between with each other, and with one of the two ends
    weights = np.linalg.solve(between, one)
    return float(weights @ one[::-1] + partial * (1 - weights @ one))


def identity(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    root = truth.take("sd_g[ident(0 + f)]", SD) * np.eye(3)
    return gaussian(truth, data, by_level(truth, data, root, codes(data["f"])))


def by_factor(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    sds = np.array([truth.take(f"sd_g[Intercept:s[{k}]]", SD) for k in "pq"])
    return gaussian(truth, data, (sds[np.arange(GROUPS) % 2] * truth.rng.normal(size=GROUPS))[codes(data["g"])])


def related(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    b = truth.take("sd_g[Intercept]", SD) * RELATED @ truth.rng.normal(size=GROUPS)
    truth.values["b_g"] = b[0]
    return gaussian(truth, data, b[codes(data["g"])])


def members(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    one = truth.rng.integers(0, GROUPS, len(data))
    other = (one + 1 + truth.rng.integers(0, GROUPS - 1, len(data))) % GROUPS
    one[:GROUPS] = np.arange(GROUPS)
    other[:GROUPS] = (one[:GROUPS] + 1) % GROUPS
    u = truth.take("sd_mm(m1, m2)[Intercept]", SD) * truth.rng.normal(size=GROUPS)
    data = data.assign(m1=[f"m{i}" for i in one], m2=[f"m{i}" for i in other])
    return gaussian(truth, data, (u[one] + u[other]) / 2)


def known_errors(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    se = truth.rng.uniform(0.3, 1.0, len(data))
    eta = fixed_part(truth, data) + intercepts(truth, data["g"], "g")
    return data.assign(se=se, y=eta + se * truth.rng.normal(size=len(data)))


def errors_and_sigma(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    se = truth.rng.uniform(0.3, 1.0, len(data))
    data = gaussian(truth, data, intercepts(truth, data["g"], "g"))
    return data.assign(se=se, y=data["y"] + se * truth.rng.normal(size=len(data)))


def many_levels(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    """Draw crossed factors with so many levels that polynomials take the place of the random effects."""
    g, h = truth.rng.integers(MANY_LEVELS, size=(2, MANY_ROWS))
    g[:MANY_LEVELS] = h[:MANY_LEVELS] = np.arange(MANY_LEVELS)
    x = truth.rng.normal(size=MANY_ROWS)
    data = pd.DataFrame({"x": x - x.mean(), "g": [f"g{i:03}" for i in g], "h": [f"h{i:03}" for i in h]})
    return gaussian(truth, data, intercepts(truth, data["g"], "g") + intercepts(truth, data["h"], "h"))


def many_groups_alike(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    """Draw the same of groups that differ so little that the posterior of their sd goes down to 0."""
    return many_groups(truth, data, ALIKE)


def many_groups(truth: Truth, data: pd.DataFrame, prior: bmm.Prior = SD) -> pd.DataFrame:
    """Draw yes/no responses of so many groups that a polynomial takes the place of the likelihood."""
    g = np.repeat(np.arange(MANY_LEVELS), FEW_ROWS)
    x = truth.rng.normal(size=len(g))
    data = pd.DataFrame({"x": x - x.mean(), "g": [f"g{i:03}" for i in g]})
    eta = fixed_part(truth, data, RESPONSES["bernoulli"].centre) + intercepts(truth, data["g"], "g", prior)
    return response(truth, data, eta, "bernoulli")


def weights(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    w = truth.rng.uniform(0.5, 2.0, len(data))
    return gaussian(truth, data.assign(w=w), intercepts(truth, data["g"], "g"), sd=1 / np.sqrt(w))


def in_series(name: str, correlations: Callable[[float, np.ndarray], np.ndarray], prior: object, times: object):
    """Return a generator of residuals correlated within the series of g."""

    def make(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
        when = np.tile(times, GROUPS)
        rho = truth.take(name, prior)
        root = np.linalg.cholesky(correlations(rho, np.abs(np.subtract.outer(times, times))))
        e = (truth.rng.normal(size=(GROUPS, ROWS)) @ root.T).ravel()
        eta = fixed_part(truth, data)
        return data.assign(t=when, y=eta + truth.take("sigma", SCALE) * e)

    return make


def unstructured(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    """Residuals of three visits: uniform on the correlation matrices, which drawing again gives."""
    pairs, R = [(0, 1), (0, 2), (1, 2)], np.eye(3)
    while True:
        for i, j in pairs:
            R[i, j] = R[j, i] = truth.take(f"unstr[{i}, {j}]", WHOLE)
        if np.linalg.eigvalsh(R)[0] > 0:
            break
    e = (truth.rng.normal(size=(2 * GROUPS, 3)) @ np.linalg.cholesky(R).T).ravel()
    visit, series = np.tile(np.arange(3), 2 * GROUPS), np.repeat(np.arange(2 * GROUPS), 3)
    eta = fixed_part(truth, data)
    return data.assign(visit=visit, series=series, y=eta + truth.take("sigma", SCALE) * e)


def by_stratum(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    log = np.array([0.0, *(truth.take(f"log_sigma[f[T.{k}]]", HALF) for k in "bc")])
    return gaussian(truth, data, intercepts(truth, data["g"], "g"), sd=np.exp(log[codes(data["f"])]))


def smooth(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    eta = curve(truth, data, LOCATION)
    return data.assign(y=eta + truth.take("sigma", SCALE) * truth.rng.normal(size=len(data)))


def smooth_of_counts(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    return response(truth, data, curve(truth, data, COUNTS) + intercepts(truth, data["g"], "g"), "poisson")


def curve(truth: Truth, data: pd.DataFrame, centre: bmm.Prior) -> np.ndarray:
    """Draw a curve in the package's basis, which is compared with R's on the same page; all else is drawn here."""
    design = bmm.Model("y ~ s(x, k = 6)", data.assign(y=truth.rng.normal(size=len(data)))).design
    u = truth.take("sd_s(x)[smooth]", SD) * truth.rng.normal(size=design.blocks[0].Z.shape[1])
    line = truth.take("beta[Intercept]", centre, "Intercept") + truth.take("beta[s(x)]", HALF) * design.X[:, 1]
    return line + design.blocks[0].Z @ u


def known_residuals(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    """Residuals with the covariance sigma^2 RESIDUAL_V."""
    e = np.linalg.cholesky(RESIDUAL_V) @ truth.rng.normal(size=len(data))
    return data.assign(y=fixed_part(truth, data) + truth.take("sigma", SCALE) * e)


def by_covariate(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    slope = truth.take("log_sigma[x]", HALF)
    return gaussian(truth, data, intercepts(truth, data["g"], "g"), sd=np.exp(slope * data["x"].to_numpy()))


def censored(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    data = gaussian(truth, data, intercepts(truth, data["g"], "g"))
    return data.assign(c=np.where(data["y"] > 0.8, 1, 0), y=np.minimum(data["y"], 0.8))


def truncated(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    """Counts above 0 by `trunc(lb = 1)`."""
    eta = fixed_part(truth, data, COUNTS) + intercepts(truth, data["g"], "g")
    y = truth.rng.poisson(np.exp(eta))
    while (y == 0).any():
        y[y == 0] = truth.rng.poisson(np.exp(eta[y == 0]))
    return data.assign(y=y)


def effects_of_sigma(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    """Intercepts of the groups in the mean and in the log of sigma."""
    log = intercepts(truth, data["g"], "sigma_g")
    return gaussian(truth, data, intercepts(truth, data["g"], "g"), sd=np.exp(log))


def two_responses(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    """Two responses, whose intercepts of the groups are correlated, and whose residuals are."""
    names, x = ("y1", "y2"), data["x"].to_numpy()
    sds = [truth.take(f"sd_g[{name}_Intercept]", SD) for name in names]
    b = truth.rng.normal(size=(GROUPS, 2)) @ correlated(truth.take("corr_g[y1_Intercept, y2_Intercept]", LKJ, "corr_g"))
    b = b * sds
    truth.values["b_g"] = b[0, 0]
    sigmas = [truth.take(f"sigma_{name}", SCALE) for name in names]
    e = truth.rng.normal(size=(len(data), 2)) @ correlated(truth.take("rescor[y1, y2]", CORRELATION)) * sigmas
    for own, name in enumerate(names):
        at = truth.take(f"beta[{name}_Intercept]", LOCATION) + truth.take(f"beta[{name}_x]", HALF) * x
        data[name] = at + b[codes(data["g"]), own] + e[:, own]
    return data


def correlated(r: float) -> np.ndarray:
    """Return the matrix that makes pairs of normal variables correlated by r."""
    return np.array([[1.0, r], [0.0, np.sqrt(1 - r**2)]])


def formula_of_zi(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    eta = fixed_part(truth, data, COUNTS) + intercepts(truth, data["g"], "g")
    zi = truth.take("zi", ZI)
    share = expit(np.log(zi / (1 - zi)) + truth.take("logit_zi[x]", HALF) * data["x"].to_numpy())
    return data.assign(y=np.where(truth.rng.uniform(size=len(data)) < share, 0, truth.rng.poisson(np.exp(eta))))


# the priors of what the structures have besides sds
CS, WHOLE = (type(SD)("Uniform", lower=low, upper=1) for low in (-0.5, -1))
POSITIVE = type(SD)("Uniform", lower=0.05, upper=0.95)
COSY = type(SD)("Uniform", lower=-0.15, upper=0.9)
ZI = type(SD)("Uniform", lower=0.1, upper=0.6)
TIMES, UNEVEN = np.arange(6.0), np.array([0.0, 0.4, 1.0, 2.5, 3.0, 4.2])
# a known covariance of the 8 levels, two families of 4 with a correlation of a half, and its factor
KNOWN = np.kron(np.eye(2), 0.5 + 0.5 * np.eye(4))
RELATED = np.linalg.cholesky(KNOWN)
# a known covariance of the residuals of all rows: those of a group fall off with their distance
RESIDUAL_V = np.kron(np.eye(GROUPS), 0.5 ** np.abs(np.subtract.outer(np.arange(ROWS), np.arange(ROWS))))
LEVELS = [f"g{i}" for i in range(GROUPS)]


def power_of(rho: float, distance: np.ndarray) -> np.ndarray:
    return rho**distance


def same_for_all(rho: float, distance: np.ndarray) -> np.ndarray:
    return np.where(distance == 0, 1.0, rho)
