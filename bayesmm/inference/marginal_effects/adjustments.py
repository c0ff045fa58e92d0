"""p-values and intervals of several tests at once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from bayesmm.inference.marginal_effects.uncertainty import Estimates, quantile, statistic
from bayesmm.inference.tails import f_tail, t_tail
from bayesmm.likelihood.crossproducts import Floats

# Directions over which the largest of several correlated t is averaged: errors of p are about 1e-3 of p.
DIRECTIONS = 2**14
RANK = 1e-9  # eigenvalues of a correlation matrix below this are 0


@dataclass(frozen=True, eq=False)
class Tests:
    """Tests that are made together.

    Attributes
    ----------
    found : Estimates
    correlation : (m, m) float64
        Of the estimates; NaN for those that are not defined.
    means : int
        Number of means of which these are all pairs; 0 where they are something else.
    """

    found: Estimates
    correlation: Floats
    means: int = 0

    @property
    def t(self) -> Floats:
        """The statistics, (m,)."""
        return statistic(self.found)

    @property
    def p(self) -> Floats:
        """The p-values, unadjusted, (m,)."""
        return t_tail(self.t, self.found.df)

    @property
    def size(self) -> int:
        """How many of the tests there are."""
        return max(1, int(np.isfinite(self.found.se).sum()))


@dataclass(frozen=True)
class Adjustment:
    """A way to adjust: its words, its p-values and how many standard errors its intervals are long on each side."""

    words: str
    p: Callable[[Tests], Floats]
    quantiles: Callable[[Tests, float], Floats]


def adjusted(tests: Tests, how: str, ci_prob: float) -> tuple[Floats, Floats]:
    """Return adjusted p-values and half the lengths of simultaneous intervals, (m,) each."""
    one = ADJUST[how]
    return one.p(tests), one.quantiles(tests, ci_prob) * tests.found.se


# ----------------------------------------------------------------------------------------------------------------------
# each alone, and by the number of tests


def _alone(tests: Tests, ci_prob: float) -> Floats:
    return quantile((1 + ci_prob) / 2, tests.found.df)


def _bonferroni(tests: Tests) -> Floats:
    return np.minimum(1.0, tests.p * tests.size)


def _divided(tests: Tests, ci_prob: float) -> Floats:
    """Return Bonferroni's quantiles, which stand for those of the methods that have none."""
    return quantile(1 - (1 - ci_prob) / 2 / tests.size, tests.found.df)


def _holm(tests: Tests) -> Floats:
    """Holm (1979, Scandinavian Journal of Statistics 6(2), 65-70)."""
    steps = tests.size - np.arange(len(tests.p))
    return _in_order(tests.p, steps, np.maximum)


def _fdr(tests: Tests) -> Floats:
    """Benjamini & Hochberg (1995, Journal of the Royal Statistical Society B 57, 289-300)."""
    steps = tests.size / np.arange(1, len(tests.p) + 1)
    return _in_order(tests.p, steps, np.minimum, backwards=True)


def _in_order(p: Floats, steps: Floats, accumulate: np.ufunc, backwards: bool = False) -> Floats:
    """Return the ordered p-values times their steps, made monotone from one end; NaN stays."""
    order = np.argsort(p)  # NaN last
    order = order[np.isfinite(p[order])]
    step = steps[: len(order)]
    if backwards:
        order, step = order[::-1], step[::-1]
    out = np.full(len(p), np.nan)
    out[order] = np.minimum(1.0, accumulate.accumulate(step * p[order]))
    return out


# ----------------------------------------------------------------------------------------------------------------------
# by the distribution of the largest


def _tukey(tests: Tests) -> Floats:
    """The largest of all differences of k means with one variance: the studentised range."""
    from scipy.stats import studentized_range

    if tests.means == 2:  # one difference: nothing to adjust
        return tests.p
    known = np.isfinite(tests.t)
    out = np.full(len(tests.t), np.nan)
    out[known] = studentized_range.sf(np.abs(tests.t[known]) * np.sqrt(2), tests.means, tests.found.df[known])
    return out


def _tukey_quantiles(tests: Tests, ci_prob: float) -> Floats:
    from scipy.stats import studentized_range

    if tests.means == 2:
        return _alone(tests, ci_prob)
    known, out = np.isfinite(tests.found.se), np.full(len(tests.found.se), np.nan)
    out[known] = studentized_range.ppf(ci_prob, tests.means, tests.found.df[known]) / np.sqrt(2)
    return out


def _largest(tests: Tests) -> Callable[[Floats | float], Floats]:
    """Return the upper tail of the largest absolute value of the correlated t of a family, a function of t (m,).

    Hothorn, Bretz & Westfall (2008, Biometrical Journal 50(3), 346-363). t = radius * (a_i' direction) with rank r
    uncorrelated coordinates: the direction is uniform and radius^2 / r is F with r and df degrees of freedom, so that
    the tail is exact along each direction and an average over directions. The smallest degrees of freedom are taken.
    """
    known = np.isfinite(tests.t)
    values, vectors = np.linalg.eigh(tests.correlation[np.ix_(known, known)])
    root = (vectors * np.sqrt(np.maximum(values, 0)))[:, values > RANK * values.max()]  # (m, r)
    rank, df = root.shape[1], float(tests.found.df[known].min())
    longest = np.abs(_directions(rank) @ root.T).max(axis=1)

    def tail(t: Floats | float) -> Floats:
        squares = np.square(np.atleast_1d(np.asarray(t, dtype=float))[:, None] / longest)
        return f_tail(squares / rank, rank, df).mean(axis=1)

    return tail


def _directions(rank: int) -> Floats:
    """Return unit vectors spread evenly over the sphere, (k, rank): always the same."""
    if rank == 1:
        return np.ones((1, 1))
    if rank == 2:
        angle = np.pi * (np.arange(DIRECTIONS) + 0.5) / DIRECTIONS  # t and -t are alike
        return np.column_stack([np.cos(angle), np.sin(angle)])
    from scipy.special import ndtri
    from scipy.stats import qmc

    points = ndtri(qmc.Sobol(rank, seed=1).random(DIRECTIONS))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def _mvt(tests: Tests) -> Floats:
    known = np.isfinite(tests.t)
    out = np.full(len(tests.t), np.nan)
    if known.any():
        out[known] = np.minimum(1.0, _largest(tests)(np.abs(tests.t[known])))
    return out


def _mvt_quantiles(tests: Tests, ci_prob: float) -> Floats:
    from scipy.optimize import brentq

    known = np.isfinite(tests.t)
    if not known.any():
        return np.full(len(known), np.nan)
    tail, df = _largest(tests), float(tests.found.df[known].min())
    low, high = (float(quantile(1 - (1 - ci_prob) / 2 / k, np.array(df))) for k in (1, tests.size))
    size = low if high <= low else brentq(lambda c: tail(c).item() - (1 - ci_prob), 0.99 * low, 1.01 * high)
    return np.where(known, size, np.nan)


ADJUST: Mapping[str, Adjustment] = MappingProxyType(
    {
        "none": Adjustment("", lambda tests: tests.p, _alone),
        "tukey": Adjustment("Tukey's method", _tukey, _tukey_quantiles),
        "mvt": Adjustment("the largest of correlated t (multivariate t)", _mvt, _mvt_quantiles),
        "holm": Adjustment("Holm's method, with Bonferroni's intervals", _holm, _divided),
        "fdr": Adjustment("Benjamini & Hochberg's false discovery rate, with Bonferroni's intervals", _fdr, _divided),
        "bonferroni": Adjustment("Bonferroni", _bonferroni, _divided),
    }
)
