"""Counts that vary less or more than Poisson ones: Conway-Maxwell-Poisson ones about their mean, with a shape.

The probability of y is lambda^y / y!^shape / Z, where lambda is such that the mean is mu (Huang 2017, Statistical
Modelling 17(6)). A shape of 1 is the Poisson distribution, less of it more variance, about mu / shape. Sums over all
counts give Z, and Newton's method lambda, from a first value that is close; `theta` is log lambda.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from bayesmm.families.draws import LARGEST_COUNT, where_known
from bayesmm.families.family import SMALLEST_START, Auxiliary, Family
from bayesmm.families.kernel import Kernels, Tensor, kernel
from bayesmm.families.residuals import lognormal
from bayesmm.families.responses import Response, check_counts, check_places, says_little
from bayesmm.families.support import COUNTS
from bayesmm.runtime.messages import Message

Array = np.ndarray

LARGEST_ETA, SMALLEST_ETA = 14.0, -200.0
MOST_TERMS = 1e5  # of a sum: a millisecond; means of thousands that vary as geometric counts do have more
NEGLIGIBLE = 1e-18  # of a term beside the largest
FAR, PER_SD = 12.0, 4.0  # sds from 0, from which on so many terms for each sd are enough
STEPS, CLOSE = 60, 1e-14  # of Newton's method, and the distance of the logarithms of the means at which it ends
LARGEST_SHAPE = 20.0  # to start with
FEW = 0.2  # of a variance: with less of it a count is one of three
GEOMETRIC = 0.1  # of mean times shape, below which counts are nearly geometric
WIDE = 45.0  # sds on both sides of the mean: a log-concave probability beyond is below exp(1 - 45)
CELLS = 2_000_000  # of a table of probabilities on arrays
GRAPH_STEPS, GRAPH_CLOSE, MOST_COLUMNS = 8, 1e-9, 20_000


@kernel
def first_theta(eta, shape):
    """Return a first log lambda for a mean of exp eta.

    For a small variance that of a count which is the whole number k next to mu, or one of its neighbours: it solves a
    quadratic equation. That of a geometric one where it is nearly that. Otherwise by the asymptotic mean,
    lambda^(1 / shape) - (shape - 1) / (2 shape).
    """
    mu = math.exp(eta)
    if mu + 0.5 < FEW * shape:
        k = float(math.floor(mu + 0.5))
        d, q = mu - k, (k / (k + 1.0)) ** shape
        root = math.sqrt(d * d + 4.0 * (1.0 - d) * (1.0 + d) * q)
        r = (d + root) / (2.0 * (1.0 - d)) if d > 0.0 else 2.0 * (1.0 + d) * q / (root - d)
        return shape * math.log(k + 1.0) + math.log(r)
    low, high = theta_ends(eta, shape)
    if mu * shape < GEOMETRIC:  # from above the sums would have some 1 / shape terms
        return low
    if mu > 1.0:
        guess = shape * math.log(mu + max((shape - 1.0) / (2.0 * shape), -0.9 * mu))
    else:
        guess = eta if shape >= 1.0 else eta - (1.0 - shape) * math.log1p(mu)
    return min(max(guess, low), high)


@kernel
def theta_ends(eta, shape):
    """Return what log lambda is between: it grows with the shape, from the geometric to the Poisson distribution."""
    high = shape * math.log1p(math.exp(eta))
    return (eta - math.log1p(math.exp(eta)), min(high, eta)) if shape < 1.0 else (eta, max(high, eta))


@kernel
def possible(eta, shape):
    """Return whether the sums are of moderate length: of 40 means, or 20 sds, or of some for each sd."""
    if not (eta < LARGEST_ETA and eta > SMALLEST_ETA and shape > 0.0):
        return False
    mu = math.exp(eta)
    return mu * shape > 2.0 * FAR * FAR or min(40.0 * mu, 20.0 * math.sqrt(mu / shape)) < MOST_TERMS


@kernel
def log_factorials(m, i):
    """Return log((m + i)! / m!) - i log m, by Stirling's series: for large m."""
    a, b = 1.0 / m, 1.0 / (m + i)
    rest = (b - a) / 12.0 - (b**3 - a**3) / 360.0 + (b**5 - a**5) / 1260.0
    return (m + i + 0.5) * math.log1p(i * a) - i + rest


@kernel
def sums(theta, shape):
    """Return the largest term's place M, log Z less its logarithm, mean, three cumulants, E log Y!, and a covariance.

    The cumulants are those of second to fourth order; the logarithms of Y! are less that of M!; the covariance is that
    of Y and log Y!.

    Where 0 is far from a wide distribution every h-th term is enough, with the weight h: by Poisson's summation formula
    the error is about exp(-2 pi^2 sd^2 / h^2), here below 1e-100.
    """
    top = float(math.floor(math.exp(min(theta / shape, LARGEST_ETA + 1.0))))
    h = math.floor(math.sqrt(top / shape) / PER_SD) if top * shape > FAR * FAR else 1.0
    log_top = math.log(top) if h > 1.0 else 0.0
    s0, s1, s2, s3, s4, t1, t2 = 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for sign in (1.0, -1.0):
        term, own, i = 1.0, 0.0, 0.0
        while True:
            if sign < 0.0 and top + i < 0.5:
                break
            if h > 1.0:
                i += sign * h
                beside = log_factorials(top, i)
                own = i * log_top + beside
                term = math.exp(i * (theta - shape * log_top) - shape * beside)
            else:
                log_y = math.log(top + i + 1.0) if sign > 0.0 else math.log(top + i)
                i += sign
                own += sign * log_y
                term *= math.exp(sign * (theta - shape * log_y))
            s0 += term
            a = term * i
            s1 += a
            s2 += a * i
            s3 += a * i * i
            s4 += a * i * i * i
            t1 += term * own
            t2 += a * own
            if not term * (1.0 + i * i) >= NEGLIGIBLE * s0:  # also of what is no number
                break
    m, b2, b3, b4, own = s1 / s0, s2 / s0, s3 / s0, s4 / s0, t1 / s0
    v = b2 - m * m
    k3 = b3 - 3.0 * m * b2 + 2.0 * m * m * m
    k4 = b4 - 4.0 * m * b3 + 6.0 * m * m * b2 - 3.0 * m * m * m * m - 3.0 * v * v
    return top, math.log(s0 * max(h, 1.0)), top + m, v, k3, k4, own, t2 / s0 - m * own


@kernel
def solved(eta, shape):
    """Return log lambda for a mean of exp eta, and `sums` there; NaN where they do not come together."""
    low, high = theta_ends(eta, shape)
    theta = first_theta(eta, shape)
    found = sums(theta, shape)
    for _ in range(STEPS):
        off = math.log(found[2]) - eta
        if abs(off) < CLOSE:
            return theta, found
        if off > 0.0:
            high = min(high, theta)
        else:
            low = max(low, theta)
        new = theta - off * found[2] / found[3]
        if not (low <= new and new <= high):
            new = 0.5 * (low + high)
        if abs(new - theta) <= 1e-16 * abs(theta):
            return theta, found
        theta = new
        found = sums(theta, shape)
    return theta, found


@kernel
def density(link, y, size, eta, aux):
    """Return the log density and its derivatives: see `Kernels`; g is d theta / d eta."""
    if not possible(eta, aux[0]):
        return -math.inf, 0.0, 0.0, 0.0
    theta, (top, log_z, mu, v, k3, k4, _, _) = solved(eta, aux[0])
    value = (y - top) * theta - aux[0] * (math.lgamma(y + 1.0) - math.lgamma(top + 1.0)) - log_z
    g = mu / v
    e = k3 * g / v
    g1 = g * (1.0 - e)
    g2 = g1 * (1.0 - e) - g * (g * k4 * g / v + k3 * g1 / v - e * e)
    return value, (y - mu) * g, (y - mu) * g1 - mu * g, (y - mu) * g2 - 2.0 * mu * g1 - mu * g


@kernel
def score(link, y, size, eta, aux):
    """Return the derivative in the shape."""
    if not possible(eta, aux[0]):
        return 0.0, 0.0
    _, (top, _, mu, v, _, _, own, c) = solved(eta, aux[0])
    return (y - mu) * c / v - (math.lgamma(y + 1.0) - math.lgamma(top + 1.0)) + own, 0.0


# ----------------------------------------------------------------------------------------------------------------------
# in PyTensor


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there.

    log lambda is sought with what is constant to the derivatives; a last step of Newton's method gives it its own.
    """
    import pytensor.tensor as pt
    from pytensor.gradient import disconnected_grad

    shape = aux[0]
    at = pt.clip(eta, SMALLEST_ETA, LARGEST_ETA) + 0 * shape
    still, fixed = disconnected_grad(at), disconnected_grad(shape)
    spread = pt.sqrt(pt.minimum((pt.exp(still) + 1) / fixed, pt.exp(still) * (1 + pt.exp(still))) + 0.25)
    last = pt.minimum(pt.max(pt.exp(still) + WIDE * spread) + 10, MOST_COLUMNS)
    k = pt.arange(pt.cast(last, "int64")).astype("float64")
    own = pt.gammaln(k + 1)

    def moments(theta: Tensor, nu: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        terms = k * pt.shape_padright(theta) - pt.shape_padright(nu + 0 * theta) * own
        log_z = pt.logsumexp(terms, axis=-1)
        p = pt.exp(terms - pt.shape_padright(log_z))
        mean = (p * k).sum(axis=-1)
        return log_z, mean, (p * (k - pt.shape_padright(mean)) ** 2).sum(axis=-1)

    theta = _graph_first(still, fixed)
    for _ in range(GRAPH_STEPS):
        _, mean, v = moments(theta, fixed)
        theta = theta - (pt.log(mean) - still) * mean / v
    theta = disconnected_grad(theta)
    _, mean, v = moments(theta, shape)
    off = pt.log(mean) - at
    theta = theta - off * disconnected_grad(mean / v)
    value = y * theta - shape * pt.gammaln(y + 1) - moments(theta, shape)[0]
    inside = pt.and_(pt.and_(eta < LARGEST_ETA, eta > SMALLEST_ETA), abs(off) < GRAPH_CLOSE)
    return pt.and_(inside, last < MOST_COLUMNS), value


def _graph_first(eta: Tensor, shape: Tensor) -> Tensor:
    """Return what `first_theta` does."""
    import pytensor.tensor as pt

    mu = pt.exp(eta)
    k = pt.floor(mu + 0.5)
    d, q = mu - k, (k / (k + 1)) ** shape
    root = pt.sqrt(d**2 + 4 * (1 - d) * (1 + d) * q)
    r = pt.switch(d > 0, (d + root) / (2 * (1 - d)), 2 * (1 + d) * q / pt.switch(d > 0, 1.0, root - d))
    few = shape * pt.log(k + 1) + pt.log(r)
    large = shape * pt.log(mu + pt.maximum((shape - 1) / (2 * shape), -0.9 * mu))
    guess = pt.switch(mu > 1, large, pt.switch(shape >= 1, eta, eta - (1 - shape) * pt.log1p(mu)))
    top = shape * pt.log1p(mu)
    low = pt.switch(shape < 1, eta - pt.log1p(mu), eta)
    high = pt.switch(shape < 1, pt.minimum(top, eta), pt.maximum(top, eta))
    return pt.switch(mu + 0.5 < FEW * shape, few, pt.clip(guess, low, high))


# ----------------------------------------------------------------------------------------------------------------------
# on arrays


def _parts(mu: Array, shape: Array) -> Iterator[tuple[Array, Array, Array]]:
    """Yield, for parts of flat arrays: the places of the part, and for each the counts and their probabilities."""
    wide = np.sqrt(np.minimum((mu + 1) / shape, mu * (1 + mu)) + 0.25) * WIDE + 10
    first, order = np.floor(np.maximum(mu - wide, 0.0)), np.argsort(wide, kind="stable")
    numbers = np.ceil(mu + wide - first)
    at = 0
    while at < len(order):
        n = int(max(1, CELLS // numbers[order[at]]))
        rows = order[at : at + n]
        n = int(max(1, CELLS // numbers[rows[-1]]))
        rows = rows[:n]
        k = first[rows][:, None] + np.arange(numbers[rows].max())
        yield rows, k, _probabilities(k, mu[rows], shape[rows])
        at += len(rows)


def _probabilities(k: Array, mu: Array, shape: Array) -> Array:
    from scipy.special import gammaln

    own, eta = shape[:, None] * gammaln(k + 1), np.log(mu)
    ends = np.array([theta_ends(*row) for row in zip(eta, shape, strict=True)])
    theta = np.array([first_theta(*row) for row in zip(eta, shape, strict=True)])
    low, high = ends.T
    for _ in range(STEPS):
        terms = k * theta[:, None] - own
        p = np.exp(terms - terms.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        mean = (p * k).sum(axis=1)
        off = np.log(mean) - eta
        if np.all(np.abs(off) < CLOSE * 100):
            break
        high, low = np.where(off > 0, np.minimum(high, theta), high), np.where(off > 0, low, np.maximum(low, theta))
        new = theta - off * mean / (p * (k - mean[:, None]) ** 2).sum(axis=1)
        theta = np.where((low <= new) & (new <= high), new, 0.5 * (low + high))
    return p


def _flat(mu: Array, shape: Array, *more: Array) -> tuple:
    """Return the shape of all, each flat, and what is to be summed over: each pair of a mean and a shape once."""
    mu, shape, *more = np.broadcast_arrays(mu, shape, *more)
    pairs, place = np.unique(np.column_stack([mu.ravel(), shape.ravel()]), axis=0, return_inverse=True)
    return mu.shape, pairs[:, 0], pairs[:, 1], place.reshape(-1), [each.ravel() for each in more]


def _summed(mu: Array) -> Array:
    """Return where a mean is summed for; elsewhere a count is taken as normal, or 0."""
    return (mu > math.exp(SMALLEST_ETA)) & (mu < math.exp(LARGEST_ETA))


def variance(mu: Array, aux: tuple) -> Array:
    """Return the variance, about mu / shape."""
    size, means, shapes, place, _ = _flat(mu, aux[0])
    with np.errstate(invalid="ignore"):
        out, few = means / shapes, _summed(means)
    for rows, k, p in _parts(means[few], shapes[few]):
        out[np.flatnonzero(few)[rows]] = (p * (k - (p * k).sum(axis=1, keepdims=True)) ** 2).sum(axis=1)
    return out[place].reshape(size)


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random counts, by their distribution functions."""

    def known(mean: Array) -> Array:
        size, means, shapes, place, _ = _flat(mean, aux[0])
        few = _summed(means)
        out, u = np.zeros(len(place)), rng.uniform(size=len(place))
        by_pair = np.argsort(place, kind="stable")
        ends = np.searchsorted(place[by_pair], np.arange(len(means) + 1))
        for rows, k, p in _parts(means[few], shapes[few]):
            total = np.cumsum(p, axis=1)
            for one, cut, pair in zip(total, k[:, 0], np.flatnonzero(few)[rows], strict=True):
                where = by_pair[ends[pair] : ends[pair + 1]]
                out[where] = cut + np.searchsorted(one, np.minimum(u[where], one[-1] * (1 - 1e-16)))
        large = (means >= math.exp(LARGEST_ETA))[place]
        if large.any():
            m = np.minimum(means[place[large]], LARGEST_COUNT)
            normal = m + np.sqrt(m / shapes[place[large]]) * rng.standard_normal(len(m))
            out[large] = np.clip(np.rint(normal), 0.0, LARGEST_COUNT)
        return out.reshape(size)

    return where_known(mu, known)


def cdf(y: Array, mu: Array, trials: object, aux: tuple) -> Array:
    """Return P(Y <= y), a sum of the probabilities."""
    from scipy.special import ndtr

    size, means, shapes, place, (y,) = _flat(mu, aux[0], np.floor(y))
    with np.errstate(invalid="ignore"):
        out = ndtr((y + 0.5 - means[place]) / np.sqrt(means[place] / shapes[place]))
    few = _summed(means)
    by_pair = np.argsort(place, kind="stable")
    ends = np.searchsorted(place[by_pair], np.arange(len(means) + 1))
    for rows, k, p in _parts(means[few], shapes[few]):
        total = np.hstack([np.zeros((len(rows), 1)), np.minimum(np.cumsum(p, axis=1), 1.0)])
        for one, cut, pair in zip(total, k[:, 0], np.flatnonzero(few)[rows], strict=True):
            where = by_pair[ends[pair] : ends[pair + 1]]
            out[where] = one[np.clip(y[where] - cut + 1, 0, len(one) - 1).astype(np.int64)]
    return np.where(y < 0, 0.0, out).reshape(size)


def check(response: Response) -> list[Message]:
    """Check counts, which may not be so large that the sums over them are not taken.

    The likelihood of equal ones rises without end in the shape.
    """
    messages, most, y = check_counts(response), int(math.exp(LARGEST_ETA)), response.y.astype(np.float64)
    if y.any() and y.min() == y.max():
        messages.append(says_little(f"the response '{response.name}' is {y[0]:g} in every row", "no dispersion"))
    check_places(
        response,
        response.y > most,
        f"is above {most:,}",
        f"the family is for counts up to {most:,}, whose "
        "sums are taken one by one; take 'negbinomial', or a gaussian model of the logarithm",
    )
    return messages


def start(y: Array, mu: Array) -> Array:
    """Return a first shape, the mean over the variance."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.nanmean(mu) / np.nanmean(np.square(y - mu))
    return np.clip(np.nan_to_num(np.array([found]), nan=1.0), SMALLEST_START, LARGEST_SHAPE)


def _on_log(mean: Array, aux: Array) -> Array:
    return np.log1p(variance(mean, tuple(aux)) / np.square(mean))


SHAPE = Auxiliary("shape", r"\nu", "LogNormal", {"mu": 0.0, "sigma": 1.0}, "(variance: about mean / shape)")

family = Family(
    name="compois",
    aliases=("com_poisson", "com-poisson", "conway-maxwell-poisson", "conway_maxwell_poisson", "cmp", "cmpoisson"),
    links=("log",),
    link="log",
    support=COUNTS,
    parameters=(SHAPE,),
    check_response=check,
    variance=variance,
    quadratic=False,
    draw=draw,
    cdf=cdf,
    cdf_is_sum=True,
    kernels=Kernels(density, score),
    graph_density=graph_density,
    residuals={"log": lognormal(_on_log)},
    start=start,
    tex=r"\mathrm{ConwayMaxwellPoisson}(\text{mean } \mu_{i},\ \nu)",
    several_modes=("log",),
    cost=3_400.0,
)
