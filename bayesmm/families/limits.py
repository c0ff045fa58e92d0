"""What is known of responses that are censored or truncated, row by row, and draws inside limits."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bayesmm.families.family import MOST_PARAMETERS
from bayesmm.families.links import LINKS
from bayesmm.families.support import Support

Array = np.ndarray

ROUNDS = 30  # of drawing again what fell outside the limits, before the distribution function is inverted
LEAST_SHARE, MOST_SHARE = 1e-300, float(np.finfo(float).eps)  # a residual stays within -37 and 8.1
HALVINGS = 80  # of a bracket about a quantile
LARGEST_STEP = 1e300  # of its search
KEPT: dict[bytes, Array] = {}  # tables whose addresses are in use: never given back


# What an infinite end is in a graph, where arithmetic with it must not give NaN; of double precision, which a plain
# number has not there.
FARTHEST = np.float64(1e300)


@dataclass(frozen=True, eq=False)
class Limits:
    """The other ends of censored responses and the limits of truncated ones.

    Attributes
    ----------
    other : (n,) float64
        NaN where the response is known; otherwise the response is between y and this, the lower of the two excluded:
        infinity (or the upper limit) where it is above y, minus infinity (or the lower limit) where it is at or below.
    low, high : (n,) float64, or None
        A response is only seen in (low, high]; infinite where it has no limit there. None: it is not truncated.
    """

    other: Array
    low: Array | None = None
    high: Array | None = None

    @property
    def censored(self) -> Array:
        """Whether each row is, (n,)."""
        return ~np.isnan(self.other)

    def upper(self, y: Array) -> Array:
        """Return the largest value that each response may have, (n,): itself where it is known."""
        return np.where(self.censored, np.fmax(y, self.other), y)

    @property
    def truncated(self) -> bool:
        """Whether there are limits."""
        return self.low is not None

    @property
    def columns(self) -> tuple[Array, ...]:
        """The other ends, and the limits if there are any, (n,) each."""
        return (self.other,) if self.low is None else (self.other, self.low, self.high)

    @property
    def size(self) -> Array:
        """What stands in compiled code where a binomial has its trials, (n,): the other end, or the address of all.

        An address is valid in this process only.
        """
        if self.low is None:
            return self.other
        table = np.ascontiguousarray(np.column_stack(self.columns))
        table = KEPT.setdefault(hashlib.sha256(table.tobytes()).digest(), table)
        return float(table.ctypes.data) + 8.0 * table.shape[1] * np.arange(len(table))

    def in_graph(self, y: Array) -> tuple[Array, ...]:
        """Return the columns as a graph has them: of a response that is known the other end is the response."""
        other, *limits = self.columns
        ends = (np.where(self.censored, other, y), *limits)
        return tuple(np.clip(end, -FARTHEST, FARTHEST) for end in ends)

    @staticmethod
    def from_graph(columns: Sequence[Array]) -> "Limits":
        """Return limits from what a graph has, without what is known of the rows."""
        other, *limits = columns
        ends = [np.where(np.abs(end) >= FARTHEST, np.sign(end) * np.inf, end) for end in limits]
        return Limits(np.full(np.shape(other), np.nan), *ends)

    def __getitem__(self, rows: object) -> "Limits":
        """Return those of some rows."""
        return Limits(*(column[rows] for column in self.columns))

    def known(self, y: Array) -> tuple[Array, Array]:
        """Return the interval that each response, (n,), is known to lie in: low and high, equal where it is known."""
        other = np.where(self.censored, self.other, y)
        return np.minimum(y, other), np.maximum(y, other)


def same_limits(a: Limits | None, b: Limits | None) -> bool:
    """Return whether the same is known of two responses, or nothing to be said of both."""
    if a is None or b is None:
        return a is b
    return all(
        np.array_equal(one, other, equal_nan=True) for one, other in zip(a.columns, b.columns, strict=False)
    ) and (a.truncated == b.truncated)


def shares_below(family, y: Array, mu: Array, aux: tuple, trials: Array | None, limits: Limits | None) -> tuple:
    """Return what is known of the place of each response among those that the model gives: the ends of an interval.

    They are P(Y < y) and P(Y <= y), equal for a continuous response that is known; of a truncated one given that it is
    inside its limits. The shape of mu, (n,) or (draws, n).
    """
    low, high = (y, y) if limits is None else limits.known(y)
    exact = np.ones(len(y), dtype=bool) if limits is None else ~limits.censored
    size = np.ones(len(y)) if trials is None else trials
    start = np.where(exact & family.discrete, low - 1.0, low)
    if family.support.atoms:  # what has a probability of its own begins just below it
        start = np.where(exact & np.isin(low, family.support.atoms), np.nextafter(low, -np.inf), start)

    def below(at: Array) -> Array:
        inside = np.where(np.isfinite(at), at, y)
        with np.errstate(all="ignore"):
            found = family.cdf(inside, mu, size, aux)
        return np.where(at == np.inf, 1.0, np.where(at == -np.inf, 0.0, found))

    first, last = below(start), below(high)
    if limits is None or not limits.truncated:
        return first, last
    base, top = below(limits.low), below(limits.high)
    with np.errstate(all="ignore"):
        return tuple(np.clip((place - base) / (top - base), 0.0, 1.0) for place in (first, last))


def scores_between(first: Array, last: Array, rng: np.random.Generator) -> Array:
    """Return normal scores of places drawn between the ends of intervals, (n,): finite ones."""
    from scipy.special import ndtri

    return ndtri(np.clip(first + rng.uniform(size=len(first)) * (last - first), LEAST_SHARE, 1 - MOST_SHARE))


def draw_inside(family, rng: np.random.Generator, mu: Array, limits: object, aux: tuple) -> Array:
    """Return random responses of a family, inside the limits if there are any: drawn again where they are outside.

    `limits` is a `Limits`, or anything else where there are none; of the shape that mu and aux broadcast to.
    """
    if not isinstance(limits, Limits) or not limits.truncated:
        return family.draw(rng, mu, None, aux)
    shape = np.broadcast_shapes(np.shape(mu), *map(np.shape, aux), limits.low.shape)
    mu, low, high, *own = (np.broadcast_to(each, shape) for each in (mu, limits.low, limits.high, *aux))
    y = np.array(family.draw(rng, mu, None, tuple(own)), dtype=np.float64)
    for _ in range(ROUNDS):
        bad = (y <= low) | (y > high)
        if not bad.any():
            return y
        y[bad] = family.draw(rng, mu[bad], None, tuple(each[bad] for each in own))
    for place in zip(*np.nonzero((y <= low) | (y > high)), strict=True):
        given = [float(each[place]) for each in own] + [0.0] * (MOST_PARAMETERS - len(own))
        y[place] = _quantile(family, float(mu[place]), float(low[place]), float(high[place]), given, rng.uniform())
    return y


def _quantile(family, mu: float, low: float, high: float, aux: list[float], u: float) -> float:
    """Return the value below which a share u of (low, high] lies, by halving an interval.

    In logarithms of the probability above or below, whichever is the smaller: the other one may be 1.
    """
    link = LINKS[family.link]
    eta, code = float(link.function(np.array(mu))), link.code

    def tails(y: float) -> tuple[float, float]:
        if not np.isfinite(y):
            return (0.0, -np.inf) if y > 0 else (-np.inf, 0.0)
        if y <= 0 and _is_below(family.support, y):  # where the kernels are not defined
            return -np.inf, 0.0
        below, above = family.tails.values(code, y, eta, aux)
        return below[0], above[0]

    side = 1 if tails(low)[1] < tails(high)[0] else 0
    first, last = tails(low)[side], tails(high)[side]
    near, far = (first, last) if side else (last, first)  # the larger and the smaller of the two
    share = u if side else 1.0 - u
    target = near + np.log1p(-share * -np.expm1(far - near)) if far < near else near
    step = 1.0
    a, b = (low, high) if side else (high, low)  # from the larger to the smaller
    if not np.isfinite(b):
        b = a + step if side else a - step
        while tails(b)[side] > target and step < LARGEST_STEP:
            step *= 2.0
            b = a + step if side else a - step
    for _ in range(HALVINGS):
        middle = 0.5 * (a + b)
        a, b = (middle, b) if tails(middle)[side] > target else (a, middle)
    found = 0.5 * (a + b)
    return float(np.clip(np.ceil(found) if family.discrete else found, np.nextafter(low, np.inf), high))


def _is_below(support: Support, y: float) -> bool:
    """Return whether a number of 0 or less is below all possible responses."""
    return support.positive or support.proportion or (y < 0 and (support.counts or support.nonnegative))


def whole_ends(support: Support, low: Array, high: Array) -> tuple[Array, Array]:
    """Return limits, both of which belong to what is seen, as the ends of (low, high].

    Of whole numbers the lower one is that of the number before; one at or below the support's own end is none.
    """
    if support.discrete:
        low, high = np.ceil(low) - 1.0, np.floor(high)
    if support.counts:
        low = np.where(low < 0, -np.inf, low)
    if support.positive:
        low = np.where(low <= 0, -np.inf, low)
    return low, high
