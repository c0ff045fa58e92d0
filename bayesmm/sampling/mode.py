"""The mode of a marginal posterior in the sampler's coordinates, and its shape there: where every sampler starts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bayesmm.likelihood.crossproducts import Floats
from bayesmm.sampling.proposal import factor_of

# The search ends where the gradient is this small in units of the posterior's sd: a hundredth of an sd from the mode.
NEAR = 0.01
ROUNDS, STEPS = 6, 60  # of a new metric, and of a search in one
LEAST_GAIN = 1e-6  # of the log density in a round: with less the search has ended, on a ridge
# Of differences, in the first units and in sds: a posterior may be 1e4 times narrower than its prior, and quadrature
# leaves errors of 1e-5 in a gradient.
FIRST_STEP, STEP = 1e-4, 1e-2
# Sds of a step from which on differences are no derivatives; a curvature after such ones, in the metric that they have
# given, that shows it as far too narrow; and how often a Hessian is taken again for that.
SHORT, NARROW, AGAIN = 0.1, 0.1, 3
APART = 3.0  # sds between two points that are two modes
BITS = 17  # of the smallest part of an sd that coordinates are rounded to

Density = Callable[[Floats], tuple[float, Floats]]  # a log density and its gradient; -inf where there is none


@dataclass(frozen=True)
class Mode:
    """A mode of a log density.

    Attributes
    ----------
    x : (d,) float64
    factor : (d, d) float64
        Lower triangular; factor factor' is the inverse of the negative Hessian there, raised along a ridge.
    value : float
        The log density.
    """

    x: Floats
    factor: Floats
    value: float

    def distance(self, x: Floats) -> float:
        """Return how many sds a point is away."""
        return float(np.linalg.norm(np.linalg.solve(self.factor, x - self.x)))


def find_modes(posterior: Density, starts: Sequence[Floats], units: Floats) -> tuple[Mode, ...]:
    """Return the modes that a search finds from each of the starts, the highest first; none where it finds none.

    Each mode once: those that are less than `APART` sds from a higher one are the same to a sampler.
    """
    found = [mode for start in starts if (mode := find_mode(posterior, start, units)) is not None]
    modes: list[Mode] = []
    for mode in sorted(found, key=lambda one: -one.value):
        if all(other.distance(mode.x) > APART for other in modes):
            modes.append(mode)
    return tuple(modes)


def find_mode(posterior: Density, start: Floats, units: Floats) -> Mode | None:
    """Return the mode that a search by gradients finds from a start, (d,); None where the density is 0 there.

    Quasi-Newton steps in the metric of the Hessian, which is taken again, by differences, as long as they lead on, and
    where the differences were over many sds: far from the mode a Hessian may be indefinite, and its metric too wide.
    `units`, (d,), are sizes of the coordinates that a first Hessian can be taken in: no more than 1e4 sds.
    """
    from scipy.optimize import minimize  # here, because it takes a fifth of a second to import

    x, (value, gradient) = start, posterior(start)
    if not np.isfinite(value):
        return None
    metric, step, far, again = np.diag(units), FIRST_STEP, False, AGAIN
    for _ in range(ROUNDS):
        H = curvature(posterior, x, metric, step)
        curved, before = np.linalg.eigvalsh(H), far
        far = step * np.sqrt(max(curved.max(initial=0.0), 0.0)) > SHORT
        settled = again == 0 or not (far or (before and curved.min(initial=1.0) < NARROW))
        metric, step = metric @ factor_of(H), STEP
        if settled and np.abs(metric.T @ gradient).max(initial=0.0) < NEAR:
            break
        criterion = _criterion(posterior, x, metric, value)
        options = {"gtol": NEAR / 10, "ftol": 0.0, "maxiter": STEPS, "maxcor": 20}
        found = minimize(criterion, np.zeros_like(x), jac=True, method="L-BFGS-B", options=options)
        if not -found.fun > value + LEAST_GAIN:
            if settled:
                break
            again -= 1
            continue  # the Hessian is taken again at the same point, in a better metric
        x = x + metric @ found.x
        value, gradient = posterior(x)
    return Mode(x, metric, value)


def _criterion(posterior: Density, at: Floats, metric: Floats, value: float) -> Callable:
    """Return minus the log density at `at` + metric z, as a function of z with its gradient."""

    def function(z: Floats) -> tuple[float, Floats]:
        found, slope = posterior(at + metric @ z)  # a line search cannot take an infinite value
        return (-found, -(metric.T @ slope)) if np.isfinite(found) else (1.0 - value, np.zeros_like(z))

    return function


def curvature(posterior: Density, x: Floats, metric: Floats, step: float) -> Floats:
    """Return the negative Hessian of the log density at x in the metric's columns, (d, k), by central differences."""
    rises = [(posterior(x + step * a)[1] - posterior(x - step * a)[1]) @ metric / (2 * step) for a in metric.T]
    H = -np.array(rises).reshape(metric.shape[1], metric.shape[1])
    return (H + H.T) / 2


def coarse(mode: Mode) -> tuple[Floats, Floats]:
    """Return centre, (d,), and factor, (d, d), of the coordinates at a mode, rounded to a hundred thousandth of an sd.

    Any will do for the sampler, and those of the same data whose sums differ in their last digits, rows in another
    order or read by another engine, are then the same, so that chains part later.
    """
    grid = np.exp2(np.floor(np.log2(np.diag(mode.factor))) - BITS)
    return np.round(mode.x / grid) * grid, np.round(mode.factor / grid[:, None]) * grid[:, None]
