"""Profile likelihoods: the deviance as a function of one parameter, all others at their best, and its intervals.

As in lme4, the deviance is the ML one for REML fits too, and zeta is the signed square root of its increase over the
minimum; an interval is where |zeta| stays below the normal quantile (Bates et al. 2015, J Stat Softw 67(1), section
5.1). A parameter whose zeta does not reach the quantile before its bound has the bound as its limit, with a warning
where the bound is at infinity or is itself no value.
"""

import math
import warnings
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import ndtri

from bayesmm.design.parameters import Parameter, coefficients, residual_owner, variance_parameters
from bayesmm.display.frames import Tabled
from bayesmm.errors import BayesmmWarning, DataError, listing, suggest
from bayesmm.estimation.estimates import Estimates
from bayesmm.estimation.maximize import maximize
from bayesmm.estimation.optimizer import Search, hessian, minimum, newton
from bayesmm.estimation.weight_units import about_1
from bayesmm.inference.checks import check_likelihood
from bayesmm.inference.constrained import curve
from bayesmm.inference.curve import Curve
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.runtime.arguments import check_probability
from bayesmm.runtime.threads import few_threads

# Points between the estimate and an end of the interval: a curve through four is smooth to the eye.
POINTS_TO_END = 4
# The next step is at most this many times the last: zeta of a variance flattens only slowly.
GROWTH = 3.0
# After so many steps (the last of 3^60 times the first) the likelihood has no end on this side.
MOST_STEPS = 60
# Of a step whose end has no deviance: where the likelihood is flat, steps are long. Six times reach a millionth.
CLOSER, CLOSER_STEPS = 0.1, 6
# Of the size of an end: how near to it zeta is looked at once more.
NEAR = 1e-7
# Gradient beyond which Newton's steps have not arrived, and a search from scratch is made.
ARRIVED = 1e-4
# Beside a bound, a gradient by which the search was held up there.
HELD_UP = 1e-2
LEFT = 0.05  # share of z from which on a walk has left the plateau that its estimate may be on
JUMP = 0.9  # share of z below which zeta, a hair before it is z, has jumped
HAIR = 0.005  # of its distance from the estimate, at most
# The walk ends where zeta has risen by less than this share of z over so many steps: it has come to its limit.
RISE, FLAT_STEPS = 1e-3, 8
# Diagonal entries of the relative factors nearer to 0 are moved away from it before a search: 0 is always stationary.
NUDGE = 0.05
# Curvature of a saddle, relative to the largest: differences of the gradient leave about 1e-9.
FLAT = 1e-6
# A deviance lower than the minimum by more is no rounding: the fit was not at its maximum.
LOWER = 1e-4


@dataclass(frozen=True, eq=False)
class Profile(Tabled):
    """The profile of one parameter.

    Attributes
    ----------
    parameter : str
        Its label, such as ``sd_Subject[Days]``.
    estimate : float
        The ML estimate.
    lower, upper : float
        The ends of the interval of probability `level`.
    level : float
    table : pandas.DataFrame
        Columns value (increasing) and zeta, from `lower` to `upper`.
    """

    parameter: str
    estimate: float
    lower: float
    upper: float
    level: float
    table: pd.DataFrame


def parameters_of(point: Estimates) -> list[Parameter]:
    """Return the parameters that have an interval: sds, correlations, sigma, coefficients, in lme4's order."""
    return [parameter for parameter in _every(point) if not is_later_threshold(point.design, parameter)]


def _every(point: Estimates) -> list[Parameter]:
    kept = [p for p in coefficients(point.design) if p.terms[0] not in point.design.aliased]
    return [*variance_parameters(point.design), *kept]


def is_later_threshold(design, parameter: Parameter) -> bool:
    """Return whether a parameter is a threshold above the first, which no curve is known of."""
    return parameter.kind == "residual" and residual_owner(design, parameter).ordered and parameter.terms != (0,)


@few_threads
def profile(point: Estimates, place: str, level: float = 0.99) -> Profile:
    """Return the profile of one parameter, from end to end of its interval.

    Parameters
    ----------
    point : PointFit
        Of a mixed model by REML or ML.
    place : str
        ``sd_Subject[Days]``, ``corr_Subject[Intercept, Days]``, ``sigma`` or ``beta[Days]``.
    level : float
        Probability of the interval.

    Returns
    -------
    Profile

    Raises
    ------
    ValueError
        For a place that is not in the model, or a level that is no probability.
    DataError
        For the mode of a posterior.
    """
    places = {parameter.label: parameter for parameter in _every(point)}
    if place not in places:
        raise ValueError(f"{place!r} is no parameter of the model ({listing(places)}){suggest(str(place), places)}")
    return profiles(point, [places[place]], level)[0]


def profiles(point: Estimates, parameters: list[Parameter], level: float) -> list[Profile]:
    """Return the profiles of several parameters of one fit."""
    fit, found = _checked(point, level), []
    about = about_1(fit)
    for parameter in parameters:
        try:
            found.append(_profile_of(fit, about, parameter, level))
        except DataError as error:
            raise DataError(f"{parameter.label} has no profile: {error}") from error
    return found


def ends(point: Estimates, parameters: list[Parameter], level: float) -> list[tuple[float, float]]:
    """Return the ends of the profiles; NaN, with a warning, of a parameter that has none where others have."""
    fit, found, failed = _checked(point, level), [], {}
    about = about_1(fit)
    for parameter in parameters:
        try:
            own = _profile_of(fit, about, parameter, level)
            found.append((own.lower, own.upper))
        except DataError as error:
            failed[parameter.label] = error
            found.append((math.nan, math.nan))
    if failed and len(failed) == len(parameters):
        label, error = next(iter(failed.items()))
        raise DataError(f"{label} has no interval: {error}") from error
    for label, error in failed.items():
        warnings.warn(f"{label} has no interval: {error}", BayesmmWarning, stacklevel=4)
    return found


def _checked(point: Estimates, level: float) -> Estimates:
    """Return the fit by ML; a ValueError for a level that is none, a DataError for a fit without a likelihood."""
    check_probability("level", level)
    check_likelihood(point, "a profile likelihood")
    return maximize(point.design, "ML") if point.method == "REML" else point


def _profile_of(point: Estimates, about: Estimates, parameter: Parameter, level: float) -> Profile:
    """Return the profile of a parameter, found in the fit `about_1`: steps are for sds relative to sigma."""
    found, by = _profile(curve(about, parameter), parameter.label, level), point.sigma / about.sigma
    if about is point or parameter.kind != "sigma":
        return found
    return replace(
        found, estimate=by * found.estimate, lower=by * found.lower, upper=by * found.upper,
        table=found.table.assign(value=by * found.table["value"]),
    )  # fmt: skip


def _profile(held: Curve, label: str, level: float) -> Profile:
    z = float(ndtri((1 + level) / 2))
    if math.isnan(held.estimate):  # a correlation with an sd of 0: the deviance does not depend on it
        return Profile(label, math.nan, *held.bounds, level, pd.DataFrame({"value": held.bounds, "zeta": [0.0, 0.0]}))
    sides = [_side(held, sign, z) for sign in (-1, 1)]
    for side, name in zip(sides, ("lower", "upper"), strict=True):
        if side.open:
            warnings.warn(BayesmmWarning(_open_words(label, name, level, side)), stacklevel=2)
    if max(side.lower_by for side in sides) > LOWER:
        warnings.warn(
            BayesmmWarning(f"the profile of {label} finds a higher likelihood than the fit, which has not converged"),
            stacklevel=2,
        )
    values = np.array([*sides[0].values[::-1], *sides[1].values[1:]])
    zeta = np.array([*(-x for x in sides[0].zeta[::-1]), *sides[1].zeta[1:]])
    table = pd.DataFrame({"value": values, "zeta": zeta})
    return Profile(label, held.estimate, sides[0].end, sides[1].end, level, table)


def _open_words(label: str, name: str, level: float, side: "_Walk") -> str:
    where = f"rises to {side.zeta[-1]:.3g} there and no farther" if side.zeta[-1] > 0 else "stays at 0"
    return (
        f"the likelihood gives {label} no {name} limit at {100 * level:.4g} %: zeta, the signed root of the deviance, "
        f"{where} towards {side.end:g}, which is given"
    )


class _Walk:
    """The points of one side of a profile, outwards; `zeta` is not negative."""

    def __init__(self, held: Curve) -> None:
        self.held = held
        self.values, self.zeta, self.xs = [held.estimate], [0.0], [held.start]
        self.lower_by = 0.0
        self.end = math.nan
        self.open = False  # whether zeta comes to no end on this side

    def at(self, c: float, thorough: bool = False) -> float:
        """Minimise over the other parameters at c, keep the point, and return its zeta; NaN where it is not found.

        From the best of several starts, so that the deviance is no higher than with the others as at the next point;
        `thorough`: from all of them.
        """
        held = self.held
        search = Search(lambda x: held.deviance(c, x))
        starts = sorted(self._starts(c), key=lambda x: search(x)[0])
        found = [minimise(search, x, held.diagonal) for x in starts[: len(starts) if thorough else 1]]
        value, x = min(found, key=lambda each: each[0])
        if not math.isfinite(value) or (held.far(c, x) and np.abs(search(x)[1]).max(initial=0.0) > HELD_UP):
            return math.nan
        self.lower_by = max(self.lower_by, held.least - value)
        zeta = math.sqrt(max(value - held.least, 0.0))
        place = int(np.searchsorted(np.abs(np.array(self.values) - held.estimate), abs(c - held.estimate)))
        for kept, new in ((self.values, c), (self.zeta, zeta), (self.xs, x)):
            kept.insert(place, new)
        return zeta

    def forget(self, c: float) -> None:
        """Drop the point at c."""
        place = self.values.index(c)
        for kept in (self.values, self.zeta, self.xs):
            kept.pop(place)

    def is_flat(self, z: float) -> bool:
        """Return whether zeta has come to its limit: not where the estimate itself is on a plateau.

        A parameter with a finite bound may have its estimate on a plateau beside it, a dispersion of 1e-12 say, which
        the first steps do not leave. One without any is flat only where it goes to infinity, as the coefficient of a
        column that separates the responses does.
        """
        left = self.zeta[-1] > LEFT * z or not any(map(math.isfinite, self.held.bounds))
        flat = len(self.zeta) > FLAT_STEPS and self.zeta[-1] - self.zeta[-1 - FLAT_STEPS] < RISE * z
        return left and flat

    def _starts(self, c: float) -> list[Floats]:
        """Return the other parameters along the line through the two nearest points, at these, and at the estimate."""
        near = np.argsort(np.abs(np.array(self.values) - c))[:2]
        if len(near) < 2:
            return [self.xs[near[0]]]
        (c0, c1), (x0, x1) = ([kept[i] for i in near] for kept in (self.values, self.xs))
        between = [x0 + (x1 - x0) * (c - c0) / (c1 - c0)] if c1 != c0 else []  # equal at the ends of the range
        return [*between, x0, x1, self.held.start]


def minimise(search: Search, start: Floats, diagonal: np.ndarray) -> tuple[float, Floats]:
    """Return the minimum near `start`: Newton's steps, and a search from scratch where they do not arrive."""
    if len(start) == 0:
        return search(start)[0], start
    x = newton(search, start)
    value, gradient = search(x)
    if np.abs(gradient).max() < ARRIVED and not ((np.abs(x[diagonal]) < NUDGE).any() and _is_saddle(search, x)):
        return value, x
    moved = np.where(diagonal & (np.abs(start) < NUDGE), np.where(start < 0, -NUDGE, NUDGE), start)
    other = minimum(search, moved)
    again = search(other)[0]
    return (again, other) if again < value or not math.isfinite(value) else (value, x)


def _is_saddle(search: Search, x: Floats) -> bool:
    """Return whether the deviance falls in some direction, to second order."""
    curvature = np.linalg.eigvalsh(hessian(search, x))
    return bool(curvature[0] < -FLAT * max(curvature[-1], 1.0))


def _side(held: Curve, sign: int, z: float) -> _Walk:
    """Walk from the estimate to where zeta is z, or to the bound."""
    walk, bound = _Walk(held), held.bounds[(sign + 1) // 2]
    step, walk.end = held.step, bound
    for _ in range(MOST_STEPS):
        c, zeta = walk.values[-1], walk.zeta[-1]
        if c == bound:
            return walk
        following = c + sign * step
        if sign * (following - bound) >= 0:
            following = bound if held.attained else (c + bound) / 2
            if following == c or (following == bound and not held.attained):  # no number lies between them
                break
        new = walk.at(following)
        for _ in range(CLOSER_STEPS):
            if not math.isnan(new):
                break
            following = c + (following - c) * CLOSER  # beyond what can be computed: nearer there may be an end
            new = walk.at(following)
        if new >= z:
            walk.forget(following)
            new = walk.at(following, thorough=True)
        if new >= z:
            if _has_end(walk, c, following, z):
                return walk
            break
        if math.isnan(new) or (walk.is_flat(z) and not (held.attained and math.isfinite(bound))):
            break
        step = _next_step(abs(following - c), new - zeta, z)
    else:
        if walk.zeta[-1] > LEFT * z:  # it rises on, many powers of ten away
            raise DataError(f"its profile was followed to {walk.values[-1]:.3g}, where it has no end yet")
    walk.open = True
    return walk


def _next_step(step: float, gained: float, z: float) -> float:
    """Return the step that raises zeta by a share of z, if it goes on as it did."""
    return step * min(GROWTH, z / POINTS_TO_END / gained) if gained > 0 else step * GROWTH


def _has_end(walk: _Walk, inside: float, outside: float, z: float) -> bool:
    """End the walk where zeta is z, and return True; False where it jumps there: a search has fallen short outside."""
    known = dict(zip(walk.values, walk.zeta, strict=True))

    def excess(c: float) -> float:
        zeta = known[c] if c in known else walk.at(c)
        if math.isnan(zeta):
            raise DataError(f"no maximum was found with it held at {c:.5g}, beside the end of its interval")
        return zeta - z

    # to rounding: of an intercept of 1e6, or a correlation of nearly 1, the distance from the estimate is what counts
    size, precision = max(abs(inside - outside), abs(inside), abs(outside)), 4 * np.finfo(float).eps
    end = float(brentq(excess, inside, outside, xtol=precision * size, rtol=precision, maxiter=200, disp=False))
    hair, sign = min(NEAR * size, HAIR * abs(end - walk.held.estimate)), math.copysign(1.0, outside - inside)
    before, after = end - sign * min(hair, abs(end - inside) / 2), end + sign * min(hair, abs(outside - end) / 2)
    jumps = walk.at(before) < JUMP * z and walk.at(after, thorough=True) < z
    within = sum(abs(c - walk.held.estimate) < abs(before - walk.held.estimate) for c in walk.values)
    del walk.values[within:], walk.zeta[within:], walk.xs[within:]
    if not jumps:
        walk.end = end
        walk.values.append(end)
        walk.zeta.append(z)
    return not jumps
