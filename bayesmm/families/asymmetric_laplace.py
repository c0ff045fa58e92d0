"""Quantiles of a response: asymmetric Laplace variables, of which mu is the quantile `quantile`, the median by default.

The log density falls by quantile / sigma above mu and by (1 - quantile) / sigma below it, for each unit (Yu & Moyeed
2001, Statistics & Probability Letters 54(4)). It has a corner at mu and no curvature elsewhere: there is nothing that
Newton's method and Laplace's approximation could go by. Posteriors are sampled, with the random effects written out, in
the metric of a density whose corner is rounded off (`rounded`).
Without random effects the coefficients of maximum likelihood are those of quantile regression, which a linear programme
finds (Koenker & Bassett 1978, Econometrica 46(1)).
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bayesmm.errors import DataError
from bayesmm.families.family import SHARES, SIGMA, Auxiliary, Family
from bayesmm.families.kernel import Kernels, Tensor, kernel
from bayesmm.families.maximum import Maximum
from bayesmm.families.residuals import Residual
from bayesmm.families.responses import Response, check_varies
from bayesmm.families.special import log1pexp, polygamma, sigmoid
from bayesmm.families.support import REAL
from bayesmm.runtime.messages import Message, note

Array = np.ndarray

MEDIAN = 0.5
START = (0.05, 0.95)  # what a first quantile is kept within
AT_END = 1e-7  # of a weight: HiGHS's tolerance for what is at a bound
EXACT = 1e-12  # of the spread of y: residuals that are all smaller are rounding
LEVEL = 0.05  # of the intervals that the bandwidth is best for
WIDTH = 1.0  # of the rounded corner, in units of sigma
NORMAL_QUARTILES = 1.34  # the distance of a normal variable's quartiles, in sds


def mean(mu: Array, aux: tuple) -> Array:
    """Return mu + sigma (1 - 2 quantile) / (quantile (1 - quantile))."""
    sigma, q = aux
    return mu + sigma * (1 - 2 * q) / (q * (1 - q))


def variance(mu: Array, aux: tuple) -> Array:
    """Return sigma^2 (1 - 2 q + 2 q^2) / (q (1 - q))^2, q being the quantile."""
    sigma, q = aux
    return np.square(sigma / (q * (1 - q))) * (1 - 2 * q + 2 * q**2) * np.ones_like(mu)


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random responses: the difference of two exponential variables."""
    sigma, q = aux
    shape = np.broadcast_shapes(np.shape(mu), np.shape(sigma), np.shape(q))
    above, below = rng.standard_exponential(shape), rng.standard_exponential(shape)
    return mu + sigma * (above / q - below / (1 - q))


def cdf(y: Array, mu: Array, trials: object, aux: tuple) -> Array:
    """Return P(Y <= y)."""
    sigma, q = aux
    z = (y - mu) / sigma
    below, above = np.exp(np.minimum((1 - q) * z, 0.0)), np.exp(-np.maximum(q * z, 0.0))
    return np.where(z < 0, q * below, 1 - (1 - q) * above)


def check(response: Response) -> list[Message]:
    """Check a response, which varies; of one with two values a quantile is one of them in all of a range of levels."""
    check_varies(response.y.astype(np.float64), response.name)
    distinct = np.unique(response.y)
    if response.y.dtype == bool or len(distinct) > 2:
        return []
    values = " and ".join(f"{value:g}" for value in distinct)
    said = f"the response '{response.name}' has only two values ({values}), of which each quantile is one"
    return [note(f"{said}; a bernoulli model is of the share of one of them")]


def start(y: Array, mu: Array) -> Array:
    """Return a first sigma, the mean of the absolute residuals over 2, and the share of residuals below 0."""
    r = y - mu
    return np.array([float(np.nanmean(np.abs(r))) / 2 or 1.0, float(np.clip(np.mean(r < 0), *START))])


def _on_identity(mean: None, aux: Array) -> Array:
    return variance(np.ones(()), (aux[0], aux[1]))


# ----------------------------------------------------------------------------------------------------------------------
# maximum likelihood without random effects


def maximum(y: Array, X: Array, weights: Array, aux: Array) -> Maximum:
    """Return quantile regression; the covariance is Powell's, right for any errors: see `sandwich`.

    Raises
    ------
    DataError
        All residuals are 0.
    """
    q, p = float(aux[1]), X.shape[1]
    beta, a, steps = np.zeros(0), np.zeros(0), 0
    unique = True
    if p:
        beta, a, steps = _programme(y, X, weights, q)
        inside = (a > AT_END * weights) & (a < (1 - AT_END) * weights)
        unique = int(inside.sum()) == p
        if unique:  # the hyperplane goes through these rows, to all digits
            beta = np.linalg.solve(X[inside], y[inside])
    r = y - X @ beta
    if np.abs(r).max() <= EXACT * max(np.ptp(y), np.abs(y).max()):
        raise DataError("the model fits the response exactly, so that the scale is 0 and the likelihood has no maximum")
    total = weights.sum()
    sigma = float(weights @ np.where(r >= 0, q * r, (q - 1) * r)) / total
    loglik = total * (math.log(q * (1 - q) / sigma) - 1)
    return Maximum(beta, sandwich(r, X, weights, q), np.array([sigma, q]), loglik, unique, steps)


def _programme(y: Array, X: Array, weights: Array, q: float) -> tuple[Array, Array, int]:
    """Return the coefficients, the solution a of the dual programme, and the number of steps.

    max y'a subject to X'a = (1 - q) X'w, 0 <= a <= w; the coefficients are its shadow prices.
    """
    from scipy.optimize import linprog  # here, because few models come this far, and it takes a tenth of a second

    bounds = np.column_stack([np.zeros(len(y)), weights])
    scale = max(float(np.abs(y).max()), np.finfo(float).tiny)
    found = linprog(-y / scale, A_eq=X.T, b_eq=(1 - q) * (X.T @ weights), bounds=bounds, method="highs")
    if found.x is None:
        raise DataError(f"the linear programme of quantile regression was not solved: {found.message}")
    return -found.eqlin.marginals * scale, found.x, int(found.nit)


def sandwich(r: Array, X: Array, weights: Array, q: float) -> Array:
    """Return the covariance of the coefficients, (p, p): q (1 - q) H^-1 X'WX H^-1, H = X'W f X.

    f is the density of each row's error at 0 by a normal kernel with the bandwidth of Hall & Sheather (1988): Powell
    (1991), as R's quantreg with se = "ker" (Koenker 2005, Quantile Regression, section 3.4.2). Not a number where
    nothing is near 0.
    """
    from scipy.special import ndtri

    n, z = weights.sum(), ndtri(q)
    share = 1.5 * math.exp(-z * z) / (2 * math.pi * (2 * z * z + 1))
    h = n ** (-1 / 3) * ndtri(1 - LEVEL / 2) ** (2 / 3) * share ** (1 / 3)
    while q - h < 0 or q + h > 1:
        h /= 2
    low, high = np.quantile(r, [0.25, 0.75])
    h = (ndtri(q + h) - ndtri(q - h)) * min(float(np.std(r, ddof=1)), float(high - low) / NORMAL_QUARTILES)
    with np.errstate(divide="ignore", invalid="ignore"):
        f = weights * np.exp(-np.square(r / h) / 2) / (h * math.sqrt(2 * math.pi))
        H = X.T @ (f[:, None] * X)
    if not np.isfinite(H).all() or np.linalg.matrix_rank(H) < X.shape[1]:
        return np.full(H.shape, np.nan)
    inverse = np.linalg.inv(H)
    return q * (1 - q) * inverse @ (X.T @ (weights[:, None] * X)) @ inverse


# ----------------------------------------------------------------------------------------------------------------------
# the log density of a row, compiled and in PyTensor


@kernel
def density(link, y, size, eta, aux):
    """Return the log density and its derivatives, those at the corner as from below: see `Kernels`."""
    sigma, q = aux[0], aux[1]
    z = (y - eta) / sigma
    rate = q if z >= 0.0 else q - 1.0
    return math.log(q * (1.0 - q) / sigma) - rate * z, rate / sigma, 0.0, 0.0


@kernel
def score(link, y, size, eta, aux):
    """Return the derivatives in sigma and the quantile."""
    sigma, q = aux[0], aux[1]
    z = (y - eta) / sigma
    rate = q if z >= 0.0 else q - 1.0
    return (rate * z - 1.0) / sigma, (1.0 - 2.0 * q) / (q * (1.0 - q)) - z


@kernel
def rounded_density(link, y, size, eta, aux):
    """Return the log density of an extended log-F variable and its derivatives: see `Kernels`.

    The slope goes from quantile - 1 to quantile over some WIDTH sigma about the corner, -z quantile - WIDTH log(1 +
    exp(-z / WIDTH)), z = (y - eta) / sigma (Fasiolo et al. 2021, J. Am. Stat. Assoc. 116(535)).
    """
    sigma, q = aux[0], aux[1]
    z = (y - eta) / sigma
    share = sigmoid(-z / WIDTH)
    constant = math.lgamma(WIDTH) - math.lgamma(WIDTH * q) - math.lgamma(WIDTH * (1.0 - q)) - math.log(WIDTH * sigma)
    curve = share * (1.0 - share) / (WIDTH * sigma * sigma)
    value = constant - q * z - WIDTH * log1pexp(-z / WIDTH)
    return value, (q - share) / sigma, -curve, -curve * (1.0 - 2.0 * share) / (WIDTH * sigma)


@kernel
def rounded_score(link, y, size, eta, aux):
    """Return the derivatives of the same in sigma and the quantile."""
    sigma, q = aux[0], aux[1]
    z = (y - eta) / sigma
    share = sigmoid(-z / WIDTH)
    of_quantile = WIDTH * (polygamma(WIDTH * (1.0 - q))[0] - polygamma(WIDTH * q)[0]) - z
    return ((q - share) * z - 1.0) / sigma, of_quantile


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there."""
    import pytensor.tensor as pt

    sigma, q = aux
    z = (y - eta) / sigma
    return pt.ones_like(eta, dtype=bool), pt.log(q * (1 - q) / sigma) - z * (q - pt.lt(z, 0))


QUANTILE = Auxiliary("quantile", "q", "Fixed", {"value": MEDIAN}, "(which quantile mu is)", bounds=SHARES, chosen=True)

family = Family(
    name="asymmetric_laplace",
    aliases=("asym_laplace", "asymmetriclaplace", "asymmetric-laplace", "ald", "quantile"),
    links=("identity",),
    link="identity",
    support=REAL,
    check_response=check,
    parameters=(replace(SIGMA, label="scale (sigma)"), QUANTILE),
    smooth=False,
    maximum=maximum,
    mean=mean,
    variance=variance,
    proportional=False,
    draw=draw,
    cdf=cdf,
    kernels=Kernels(density, score),
    graph_density=graph_density,
    residuals={"identity": Residual(_on_identity, "sigma^2 (1 - 2 q + 2 q^2) / (q (1 - q))^2", published=False)},
    start=start,
    tex=r"\mathrm{AsymmetricLaplace}(\text{quantile } q = \mu_{i},\ \sigma)",
    several_modes=("identity",),
)
family = replace(
    family,
    rounded=replace(
        family,
        name="rounded_asymmetric_laplace",
        aliases=(),
        smooth=True,
        maximum=None,
        concave_links=("identity",),
        several_modes=(),
        kernels=Kernels(rounded_density, rounded_score),
    ),
)
