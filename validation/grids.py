"""Exact posteriors by quadrature: Gauss-Legendre points in every parameter that is not integrated in closed form.

Densities are SciPy's, covariance matrices are written out and factored by LAPACK: none of the package's code is used.
The range of each parameter is found from its prior: where the marginal density on a coarse grid is worth looking at.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import legendre
from scipy import optimize, special, stats

Array = np.ndarray
Values = dict[str, Array]  # (m,) each
CHUNK = 1500  # points at a time
COARSE, SEARCHES = 15, 4  # points in each parameter, and how often the range is narrowed
FAR = 1e-9  # of the density's top: farther out nothing is left
TAIL = 1e-9  # of the priors: where the search for the range begins
NODES = np.linspace(-7, 7, 85)  # of a random intercept, in its sds
LOG_WEIGHTS = -0.5 * NODES**2 - special.logsumexp(-0.5 * NODES**2)


@dataclass(frozen=True)
class Marginal:
    """What is exact of one parameter."""

    mean: float
    sd: float
    quantile: Callable[[float], float]


def scipy_prior(prior):
    """Return a prior as SciPy has it; of LKJ that of the correlation of a 2 x 2 matrix."""
    own = prior.parameters
    match prior.distribution:
        case "Normal":
            return stats.norm(own["mu"], own["sigma"])
        case "HalfNormal":
            return stats.halfnorm(0, own["sigma"])
        case "Gamma":
            return stats.gamma(own["alpha"], scale=1 / own["beta"])
        case "Uniform":
            return stats.uniform(own["lower"], own["upper"] - own["lower"])
        case "LKJ":
            return stats.beta(own["eta"], own["eta"], loc=-1, scale=2)
    raise ValueError(f"no density for {prior.distribution}")


def points(ranges: Sequence[tuple[float, float]], number: int) -> tuple[list[Array], list[Array]]:
    """Return the points and weights of each axis."""
    x, w = legendre.leggauss(number)
    axes = [(low + high) / 2 + (high - low) / 2 * x for low, high in ranges]
    return axes, [w * (high - low) / 2 for low, high in ranges]


def evaluated(log_p: Callable[[Values], object], labels: Sequence[str], axes: Sequence[Array]) -> list:
    """Return what `log_p` gives at every point of a grid, in parts of `CHUNK` points."""
    grid = [axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")]
    total = len(grid[0])
    return [
        log_p({label: own[at : at + CHUNK] for label, own in zip(labels, grid, strict=True)})
        for at in range(0, total, CHUNK)
    ]


def ranges_of(log_p: Callable, priors: Mapping[str, object]) -> list[tuple[float, float]]:
    """Return the interval of each parameter outside of which its marginal density is below `FAR` of its top."""
    found = [tuple(prior.ppf([TAIL, 1 - TAIL])) for prior in priors.values()]
    for _ in range(SEARCHES):
        axes, _ = points(found, COARSE)
        shape = [COARSE] * len(axes)
        value = np.concatenate([np.atleast_1d(first(part)) for part in evaluated(log_p, list(priors), axes)])
        value = np.nan_to_num(value, nan=-np.inf).reshape(shape)
        narrowed = []
        for k, (axis, (low, high)) in enumerate(zip(axes, found, strict=True)):
            own = value.max(axis=tuple(j for j in range(len(axes)) if j != k))
            inside = np.flatnonzero(own > own.max() + np.log(FAR))
            start = low if inside[0] == 0 else axis[inside[0] - 1]
            end = high if inside[-1] == COARSE - 1 else axis[inside[-1] + 1]
            narrowed.append((float(start), float(end)))
        if narrowed == found:
            break
        found = narrowed
    return found


def first(part: object) -> Array:
    """Return the log density of what an evaluation gives, which may have more behind it."""
    return part[0] if isinstance(part, tuple) else part


def exact(log_p: Callable, priors: Mapping[str, object], number: int, ranges, coefficients: Sequence[str] = ()):
    """Return the marginals of the grid's parameters and of coefficients that are normal given them.

    Parameters
    ----------
    log_p : callable
        Of a mapping of (m,) values: the log density, priors included; with coefficients a tuple, behind it their
        means and variances given the values, (m, p) each.
    priors : mapping of str to frozen SciPy distribution
    number : int
        Points in each parameter.
    ranges : list of (float, float)
    coefficients : sequence of str
    """
    labels = list(priors)
    axes, weights = points(ranges, number)
    parts = evaluated(log_p, labels, axes)
    value = np.nan_to_num(np.concatenate([first(part) for part in parts]), nan=-np.inf)
    shape = [number] * len(labels)
    p = np.exp(value - value.max()).reshape(shape)
    mass = p.copy()
    for k, w in enumerate(weights):
        mass = mass * w.reshape([-1 if j == k else 1 for j in range(len(labels))])
    total = mass.sum()
    found = {}
    for k, (label, w) in enumerate(zip(labels, weights, strict=True)):
        own = mass.sum(axis=tuple(j for j in range(len(labels)) if j != k)) / total
        found[label] = on_axis(axes[k], own / w, own, ranges[k])
    if coefficients:
        flat = mass.ravel() / total
        means, variances = (np.concatenate([part[i] for part in parts]) for i in (1, 2))
        keep = flat > flat.max() * 1e-12
        for j, label in enumerate(coefficients):
            found[label] = mixture(flat[keep] / flat[keep].sum(), means[keep, j], np.sqrt(variances[keep, j]))
    return found


def on_axis(x: Array, density: Array, mass: Array, between: tuple[float, float]) -> Marginal:
    """Return the marginal of a parameter by its density at Gauss-Legendre points."""
    mean = float(mass @ x)
    series = legendre.legfit(*unit(x, density, between), len(x) - 1)
    integral = legendre.legint(series, lbnd=-1)
    low, high = between
    half = (high - low) / 2

    def quantile(q: float) -> float:
        return low + half * (1 + optimize.brentq(lambda t: half * legendre.legval(t, integral) - q, -1, 1))

    return Marginal(mean, float(np.sqrt(mass @ (x - mean) ** 2)), quantile)


def unit(x: Array, density: Array, between: tuple[float, float]) -> tuple[Array, Array]:
    """Return the points on [-1, 1], with the density."""
    low, high = between
    return 2 * (x - low) / (high - low) - 1, density


def mixture(weights: Array, means: Array, sds: Array) -> Marginal:
    """Return the marginal of a mixture of normal distributions."""
    mean = float(weights @ means)
    sd = float(np.sqrt(weights @ (sds**2 + (means - mean) ** 2)))

    def quantile(q: float) -> float:
        return optimize.brentq(lambda t: weights @ special.ndtr((t - means) / sds) - q, mean - 20 * sd, mean + 20 * sd)

    return Marginal(mean, sd, quantile)


# ----------------------------------------------------------------------------------------------------------------------
# the two kinds of models


def normal_model(y: Array, X: Array, centre: Array, spread: Array, covariance: Callable[[Values], Array], priors):
    """Return the log density of the variance parameters of a normal model, coefficients integrated out.

    y ~ N(X beta, V(values)), beta ~ N(centre, diag(spread^2)); `covariance` gives V, (m, n, n).
    """

    def log_p(values: Values) -> tuple[Array, Array, Array]:
        V = covariance(values)
        L = np.linalg.cholesky(V)
        r = np.linalg.solve(L, np.broadcast_to(np.column_stack([X, y - X @ centre]), (len(V), len(y), X.shape[1] + 1)))
        A, z = r[..., :-1], r[..., -1]
        precision = np.swapaxes(A, 1, 2) @ A + np.diag(spread**-2.0)
        inverse = np.linalg.inv(precision)
        c = np.einsum("mnp,mn->mp", A, z)
        shift = np.einsum("mpq,mq->mp", inverse, c)
        log = -np.log(np.diagonal(L, axis1=1, axis2=2)).sum(axis=1) - 0.5 * np.linalg.slogdet(precision)[1]
        log = log - 0.5 * ((z**2).sum(axis=1) - (c * shift).sum(axis=1))
        log = log + sum(priors[label].logpdf(own) for label, own in values.items())
        return log, centre + shift, np.diagonal(inverse, axis1=1, axis2=2)

    return log_p


def grouped_model(rows: Sequence[tuple], group: Array, log_density: Callable, priors, sd: str):
    """Return the log density of a model with one random intercept, which is summed over `NODES`.

    Parameters
    ----------
    rows : sequence of tuple
        What the density of each row depends on; equal ones are computed once.
    group : (n,) int
        Level of each row; all -1 without random effects.
    log_density : callable
        ``log_density(row, b, values)``: of a row given its intercept's effect b, (m, nodes), and values (m, 1) each.
    priors : mapping of str to frozen SciPy distribution
    sd : str
        The label of the intercepts' sd; "" without random effects.
    """
    distinct, place = np.unique(np.array(rows, dtype=float), axis=0, return_inverse=True)
    levels = max(group.max() + 1, 1)
    times = np.zeros((levels, len(distinct)))
    np.add.at(times, (np.maximum(group, 0), place.ravel()), 1)

    def log_p(values: Values) -> Array:
        columns = {label: own[:, None] for label, own in values.items()}
        m = len(next(iter(values.values())))
        b = columns[sd] * NODES if sd else np.zeros((m, 1))
        each = np.zeros((levels, *b.shape))
        with np.errstate(all="ignore"):
            for u, row in enumerate(distinct):
                own = log_density(row, b, columns)
                for g in np.flatnonzero(times[:, u]):
                    each[g] += times[g, u] * own
        each = special.logsumexp(each + LOG_WEIGHTS, axis=-1) if sd else each[..., 0]
        return each.sum(axis=0) + sum(priors[label].logpdf(own) for label, own in values.items())

    return log_p
