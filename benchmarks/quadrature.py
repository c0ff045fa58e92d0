"""How right the integrals over the random effects are: posteriors of sd_g beside dense grids, without any sampling.

Run with ``python -m benchmarks.quadrature``. Bernoulli rows with a logit link, a random intercept or an intercept and a
slope, sd_g ~ HalfNormal(10) on a grid, the coefficients held at 0. A level's rows have two values of x at most, so that
its likelihood depends on two counts, and the dense rule takes all pairs of counts at once: it shares no code with the
package. "old" is the Gauss-Hermite rule with 15 nodes, or 7 for each of two effects, that posteriors once went by.
"""

import time
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bayesmm.families.families import FAMILIES
from bayesmm.likelihood.lattice import FINE, LATTICE
from bayesmm.likelihood.quadrature import Grouped, evaluate, grouped
from bayesmm.likelihood.row_functions import codes

Floats = NDArray[np.float64]
SDS, GROUPS, ROWS, EFFECTS = (0.5, 2.0, 8.0, 16.0), (26, 100, 300), (3, 7, 20), (1, 2)
PRIOR_SD, POINTS, MASS = 10.0, 48, 1e-5  # of the grid of sd_g, and the share of the highest density where it ends
NODES, REACH = 1601, 9.0  # of the dense rule along an axis, out to so many sds
CORRELATION = 0.3
OLD = {1: 15, 2: 7}


class Case(NamedTuple):
    """Simulated rows; the counts of successes at the two values of x tell levels apart."""

    q: int
    n: tuple[int, int]  # rows of a level at x = -1/2 and at x = 1/2
    counts: NDArray[np.int64]  # (G, 2)
    data: Grouped


class Row(NamedTuple):
    """A row of the table: the posterior of sd_g by a rule beside the exact one."""

    error: float  # of log p, the largest within the posterior
    varying: float  # how much that differs, largest less smallest
    shift: float  # of the mean, in posterior sds
    ratio: float  # of the sds


def simulated(sd: float, groups: int, rows: int, q: int, seed: int = 0) -> Case:
    """Return a case with the given sd of each random effect."""
    rng, n = np.random.default_rng([seed, groups, rows, q, int(10 * sd)]), (rows // 2, rows - rows // 2)
    x = np.repeat([-0.5, 0.5], n)
    b = rng.normal(size=(groups, q)) @ np.linalg.cholesky(covariance(sd, q)).T
    Z = np.column_stack([np.ones(rows), x])[:, :q]
    y = (rng.random((groups, rows)) < 1 / (1 + np.exp(-(b @ Z.T)))).astype(float)
    counts = np.column_stack([y[:, : n[0]].sum(axis=1), y[:, n[0] :].sum(axis=1)]).astype(int)
    index, size = np.repeat(np.arange(groups), rows), groups * rows
    numbers = codes(FAMILIES["bernoulli"])
    return Case(q, n, counts, grouped(*numbers, y.ravel(), np.zeros((size, 0)), np.tile(Z, (groups, 1)), index, groups))


def covariance(sd: float, q: int) -> Floats:
    """Return the covariance matrix of the random effects."""
    return sd**2 * (np.eye(q) + CORRELATION * (np.ones((q, q)) - np.eye(q)))


def dense(case: Case, sd: float) -> float:
    """Return log p by the trapezoidal rule over the linear predictors at the values of x."""
    if case.q == 1:
        eta = np.linspace(-REACH * sd, REACH * sd, NODES)
        weight = np.exp(-0.5 * (eta / sd) ** 2) / (sd * np.sqrt(2 * np.pi)) * (eta[1] - eta[0])
        total = case.counts.sum(axis=1)
        return float(np.log(kernel(sum(case.n), eta) @ weight)[total].sum())
    Z = np.array([[1.0, -0.5], [1.0, 0.5]])
    S = Z @ covariance(sd, 2) @ Z.T
    axes = [np.linspace(-REACH * s, REACH * s, NODES) for s in np.sqrt(np.diag(S))]
    P = np.linalg.inv(S)
    log_weight = -0.5 * (P[0, 0] * axes[0][:, None] ** 2 + P[1, 1] * axes[1] ** 2) - P[0, 1] * np.outer(*axes)
    cell = np.prod([axis[1] - axis[0] for axis in axes]) / (2 * np.pi * np.sqrt(np.linalg.det(S)))
    table = kernel(case.n[0], axes[0]) @ np.exp(log_weight) @ kernel(case.n[1], axes[1]).T * cell
    return float(np.log(table)[case.counts[:, 0], case.counts[:, 1]].sum())


def kernel(n: int, eta: Floats) -> Floats:
    """Return p^k (1 - p)^(n - k) for every k, (n + 1, nodes)."""
    k = np.arange(n + 1)[:, None]
    return np.exp(k * eta - n * np.logaddexp(0, eta))


def by_rule(case: Case, sd: float, rule: int) -> float:
    """Return log p by one of the package's rules."""
    return evaluate(case.data, np.zeros(0), np.linalg.cholesky(covariance(sd, case.q)), np.zeros(0), rule).value


def grid(case: Case) -> tuple[Floats, Floats]:
    """Return a grid of sd_g over its posterior, and the exact log p there."""
    sds = np.exp(np.linspace(np.log(0.02), np.log(60.0), 2 * POINTS))
    log_p = np.array([dense(case, sd) for sd in sds]) - 0.5 * (sds / PRIOR_SD) ** 2 + np.log(sds)
    inside = np.flatnonzero(log_p > log_p.max() + np.log(MASS))
    fine = np.exp(
        np.linspace(np.log(sds[max(inside[0] - 1, 0)]), np.log(sds[min(inside[-1] + 1, len(sds) - 1)]), POINTS)
    )
    return fine, np.array([dense(case, sd) for sd in fine])


def compared(sds: Floats, exact: Floats, other: Floats) -> Row:
    """Return what a rule makes of the posterior of sd_g."""
    moments = []
    for log_p in (exact, other):
        weight = np.exp(log_p - exact.max() - 0.5 * (sds / PRIOR_SD) ** 2) * sds  # the grid is even in log sd
        mean = weight @ sds / weight.sum()
        moments.append((mean, np.sqrt(weight @ (sds - mean) ** 2 / weight.sum())))
    (mean, sd), (mean_other, sd_other) = moments
    error = other - exact
    return Row(np.abs(error).max(), np.ptp(error), (mean_other - mean) / sd, sd_other / sd)


def main() -> None:
    """Print the table."""
    print(
        "sd_g   G   n  q |   exact |       old: log p   mean  sd ratio |    now: log p     mean  sd ratio   check |  ms"
    )
    for q in EFFECTS:
        for sd in SDS:
            for groups in GROUPS:
                for rows in ROWS:
                    case = simulated(sd, groups, rows, q)
                    sds, exact = grid(case)
                    old = compared(sds, exact, np.array([by_rule(case, s, OLD[q]) for s in sds]))
                    began = time.perf_counter()
                    values = np.array([by_rule(case, s, LATTICE) for s in sds])
                    seconds = (time.perf_counter() - began) / len(sds)
                    now = compared(sds, exact, values)
                    check = np.ptp(values - np.array([by_rule(case, s, FINE) for s in sds]))
                    print(
                        f"{sd:4.1f} {groups:4d} {rows:3d} {q:2d} | {sds[exact.argmax()]:7.2f} | {old.error:16.2g} "
                        f"{old.shift:6.3f} {old.ratio:9.3f} | {now.error:13.1e} {now.shift:8.5f} {now.ratio:9.5f} "
                        f"{check:7.0e} | {1e3 * seconds:5.1f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
