"""The mode of a marginal posterior in the sampler's coordinates, and its shape there: where every sampler starts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bayesmm.estimation.optimizer import Search, hessian
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.likelihood.posterior import LogPosterior
from bayesmm.sampling.proposal import factor_of

# The search ends where the gradient is this small in units of the posterior's sd: a hundredth of an sd from the mode.
NEAR = 0.01
ROUNDS, STEPS = 6, 60  # of a new metric, and of a search in one
LEAST_DROP = 1e-6  # of -2 log density in a round: with less the search has ended, on a ridge
APART = 3.0  # sds between two points that are two modes


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


def find_modes(posterior: LogPosterior, starts: Sequence[Floats]) -> tuple[Mode, ...]:
    """Return the modes that a search finds from each of the starts, the highest first; none where it finds none.

    Each mode once: those that are less than `APART` sds from a higher one are the same to a sampler.
    """
    found = [mode for start in starts if (mode := find_mode(posterior, start)) is not None]
    modes: list[Mode] = []
    for mode in sorted(found, key=lambda one: -one.value):
        if all(other.distance(mode.x) > APART for other in modes):
            modes.append(mode)
    return tuple(modes)


def find_mode(posterior: LogPosterior, start: Floats) -> Mode | None:
    """Return the mode that a search by gradients finds from a start, (d,); None where the density is 0 there.

    Quasi-Newton steps in the metric of the Hessian, which is taken again, by differences, as long as they lead on.
    """
    from scipy.optimize import minimize  # here, because it takes a fifth of a second to import

    def criterion(x: Floats) -> tuple[float, Floats]:
        value, slope = posterior(x)
        return -2 * value, -2 * slope

    search = Search(criterion)
    x, (value, gradient) = start, search(start)
    if not np.isfinite(value):
        return None
    for _ in range(ROUNDS):
        factor, at, wall = factor_of(hessian(search, x) / 2), x, value + 1.0

        def moved(z: Floats, factor=factor, at=at, wall=wall) -> tuple[float, Floats]:
            found, slope = search(at + factor @ z)  # a line search cannot take an infinite value
            return (found, factor.T @ slope) if np.isfinite(found) else (wall, np.zeros_like(z))

        if np.abs(factor.T @ gradient).max(initial=0.0) < NEAR:
            break
        options = {"gtol": NEAR / 10, "ftol": 0.0, "maxiter": STEPS, "maxcor": 20}
        found = minimize(moved, np.zeros_like(x), jac=True, method="L-BFGS-B", options=options)
        if not found.fun < value - LEAST_DROP:
            break
        x = at + factor @ found.x
        value, gradient = search(x)
    return Mode(x, factor, -value / 2)
