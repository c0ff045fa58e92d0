"""The search for a minimum by gradients: from several starts, Newton steps at its end, entries tried at exactly 0."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from bayesmm.estimation.estimates import Optimum
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.runtime.messages import count

# Entries below this are tried at exactly 0, and kept there where the criterion does not get worse.
SNAP = 1e-3
# Largest gradient (criterion units per unit of relative standard deviation) at which a fit counts as converged; lme4's
# check.conv.grad is 2e-3 on a gradient scaled by the Hessian. Newton steps usually end near 1e-8.
GRADIENT_TOLERANCE = 1e-4
# With many rows rounding leaves larger gradients. A fit has converged too if Newton's step is this short, in standard
# errors times the root of 2.
SHORT = 1e-3
# A worse criterion by less than this fraction is rounding.
ROUNDING = 1e-12
NEWTON_STEPS = 8
# Of steps with a curvature that is known: how many, and how often one is shortened, by which factor; the change of an
# entry that ends them, where the gradient is below STILL; and the gain in the criterion from which on the steps teach
# what the curvature leaves out.
CURVED_STEPS, SHORTENINGS, SHORTER = 40, 12, 0.3
LAST_STEP, STILL, NEAR = 1e-9, 1e-5, 1.0
LEAST_CURVATURE = 1e-4  # of a direction, next to 1 for each entry on its own
RECENT = 4  # points whose values a search remembers
WIDE = 0.02  # step of the differences of sixth order


@dataclass
class Search:
    """A criterion with its gradient, that counts its evaluations and remembers the last of them.

    `curvature` gives about the Hessian at a point, or None where it is not known.
    """

    function: Callable[[Floats], tuple[float, Floats]]
    curvature: Callable[[Floats], Floats | None] | None = None
    evaluations: int = field(default=0)
    recent: dict[bytes, tuple[float, Floats]] = field(default_factory=dict)

    def __call__(self, x: Floats) -> tuple[float, Floats]:
        """Return the criterion and its gradient at x."""
        key = np.ascontiguousarray(x, dtype=float).tobytes()
        if key not in self.recent:
            self.evaluations += 1
            found = self.function(x)
            if len(self.recent) >= RECENT:
                del self.recent[next(iter(self.recent))]
            self.recent[key] = found
        value, gradient = self.recent[key]
        return value, gradient.copy()


def best_of(search: Search, starts: list[Floats], suspicious: Callable[[Floats], bool]) -> tuple[Floats, int]:
    """Minimise from the first start, and from the others too where the result is singular or has not converged."""
    best = minimum(search, starts[0])
    if len(best) == 0:
        return best, 0
    value, gradient = search(best)
    if np.isfinite(value) and np.abs(gradient).max() < GRADIENT_TOLERANCE and not suspicious(best):
        return best, 1
    for start in starts[1:]:
        x = minimum(search, start)
        other = search(x)[0]
        if other < value - (ROUNDING * abs(value) if np.isfinite(value) else 0.0):
            best, value = x, other
    return best, len(starts)


def minimum(search: Search, start: Floats) -> Floats:
    """Minimise by the curvature that the search knows; without one, or where that ends at no optimum, by L-BFGS.

    L-BFGS has the analytic gradient, and ends with Newton steps on the gradient's differences.
    """
    if len(start) == 0:
        return start
    if search.curvature is not None:
        start, converged = curved_minimum(search, start)
        if converged:
            return start
    from scipy.optimize import minimize  # here, because it takes a fifth of a second to import

    options = {"ftol": 1e-14, "gtol": 1e-6, "maxcor": 30}
    found = minimize(_walled(search, start), start, jac=True, method="L-BFGS-B", options=options)
    return newton(search, found.x)


def curved_minimum(search: Search, x: Floats) -> tuple[Floats, bool]:
    """Return where steps with the search's curvature end, and whether at an optimum.

    What the curvature leaves out is learned from the gradients on the way, as in NL2SOL (Dennis, Gay & Welsch 1981, ACM
    TOMS 7: 348-368, section 3).
    """
    value, gradient = search(x)
    known, learned = search.curvature(x), np.zeros((len(x), len(x)))
    for _ in range(CURVED_STEPS):
        if known is None or not np.isfinite(value):
            return x, False
        step = _descent(known + learned, gradient)
        if _is_last(step, x, gradient):
            return x, True
        new, length = search(x + step)[0], 1.0
        for _ in range(SHORTENINGS):
            if new <= value + ROUNDING * abs(value):
                break
            length *= SHORTER
            new = search(x + length * step)[0]
        if not new <= value + ROUNDING * abs(value):
            return x, False
        moved = x + length * step
        new_gradient = search(moved)[1]
        if _is_last(_descent(known + learned, new_gradient), moved, new_gradient):  # without another curvature
            return moved, True
        known = search.curvature(moved)
        if known is not None and value - new < NEAR:
            learned = _learned(learned, known, moved - x, new_gradient - gradient)
        x, value, gradient = moved, new, new_gradient
    return x, False


def _is_last(step: Floats, x: Floats, gradient: Floats) -> bool:
    """Return whether nothing would be gained by the next step."""
    return bool(np.abs(step).max() < LAST_STEP * max(1.0, np.abs(x).max()) and np.abs(gradient).max() < STILL)


def _descent(H: Floats, gradient: Floats) -> Floats:
    """Return Newton's step with the signs of H's curvatures, each entry in its own unit, turned to positive ones."""
    root = np.sqrt(np.maximum(np.abs(np.diag(H)), np.finfo(float).tiny))
    curvature, directions = np.linalg.eigh(H / np.outer(root, root))
    bounded = np.maximum(np.abs(curvature), LEAST_CURVATURE)
    return -directions @ ((directions.T @ (gradient / root)) / bounded) / root


def _learned(learned: Floats, known: Floats, step: Floats, change: Floats) -> Floats:
    """Return what is to be added to the known curvature, sized and updated so that the last step's change is met."""
    along = step @ change
    if not along > 0:
        return learned
    rest = change - known @ step
    size = abs(step @ learned @ step)
    learned = learned * min(1.0, abs(step @ rest) / size) if size > 0 else learned
    missed = rest - learned @ step
    both = np.outer(missed, change) + np.outer(change, missed)
    return learned + both / along - (missed @ step) / along**2 * np.outer(change, change)


def _walled(search: Search, start: Floats) -> Callable[[Floats], tuple[float, Floats]]:
    """Return the search with a wall above the start's value where the criterion does not exist.

    The line search interpolates between values: an infinite one would send it back to where it stands, for good.
    """
    height, flat = search(start)[0] + 1.0, np.zeros_like(start)

    def function(x: Floats) -> tuple[float, Floats]:
        value, gradient = search(x)
        return (value, gradient) if np.isfinite(value) else (height, flat)

    return function


def newton(search: Search, x: Floats) -> Floats:
    """Take Newton steps (Hessian by central differences of the gradient) for as long as they improve the criterion."""
    value, gradient = search(x)
    for _ in range(NEWTON_STEPS):
        H = hessian(search, x)
        if not np.isfinite(H).all():  # at an edge of where the criterion exists
            break
        root = np.sqrt(np.where(np.diag(H) > 0, np.diag(H), 1.0))
        curvature, directions = np.linalg.eigh(H / np.outer(root, root))
        # a flat or falling direction (an unidentified ridge, a saddle) takes no step of its own
        safe = np.where(curvature > 1e-7 * max(curvature.max(), 1e-300), curvature, np.inf)
        step = -directions @ ((directions.T @ (gradient / root)) / safe) / root
        new_value, new_gradient = search(x + step)
        better = new_value < value or (
            new_value <= value + ROUNDING * abs(value) and np.abs(new_gradient).max() < np.abs(gradient).max()
        )
        if not better:
            break
        x, value, gradient = x + step, new_value, new_gradient
        if np.abs(step).max() < 1e-10 * max(1.0, np.abs(x).max()):
            break
    return x


def differences(function: Callable[[Floats], float], x: Floats) -> Floats:
    """Return the gradient of a function, (n,), by central differences of sixth order, of entries that are about 1.

    With steps of `WIDE` the next term of the series and the rounding of a criterion of 1e3 both leave about 1e-8.
    """
    out = np.empty(len(x))
    for i, step in enumerate(WIDE * np.eye(len(x))):
        sides = [function(x + k * step) - function(x - k * step) for k in (1, 2, 3)]
        out[i] = (45 * sides[0] - 9 * sides[1] + sides[2]) / (60 * WIDE)
    return out


def hessian(search: Search, x: Floats) -> Floats:
    """Return the Hessian by central differences of the gradient; the step balances rounding and curvature."""
    n = len(x)
    H = np.empty((n, n))
    for i in range(n):
        h = np.zeros(n)
        h[i] = 1e-5 * max(1.0, abs(x[i]))
        H[i] = (search(x + h)[1] - search(x - h)[1]) / (2 * h[i])
    return (H + H.T) / 2


def settled(gradient: Floats, H: Floats) -> bool:
    """Return whether an optimum has been reached, by its gradient, or by the length of Newton's step there."""
    if np.abs(gradient).max(initial=0.0) < GRADIENT_TOLERANCE:
        return True
    try:
        return bool(np.linalg.norm(np.linalg.solve(np.linalg.cholesky(H), gradient)) < SHORT)
    except np.linalg.LinAlgError:  # it bends down somewhere
        return False


def snapped(search: Search, x: Floats, below: float, part: slice = slice(None)) -> Floats:
    """Set entries of a part of x nearer to 0 than `below` to exactly 0, one by one, where nothing gets worse."""
    value, within = search(x)[0], np.arange(len(x))[part]
    for i in np.argsort(np.abs(x)):
        if i in within and x[i] != 0 and abs(x[i]) < below:
            trial = x.copy()
            trial[i] = 0.0
            trial_value = search(trial)[0]
            if trial_value <= value + ROUNDING * abs(value):
                x, value = trial, trial_value
    return x


def outcome(optimum: Optimum, converged: bool) -> str:
    """Return how the optimiser ended, in a sentence."""
    if len(optimum.parameters) == 0:
        return "no variance ratio to optimise: least squares"
    outcome = "converged" if converged else "NOT converged: the gradient is too large for an optimum"
    effort = f"{count(optimum.evaluations, 'evaluation')}, {count(optimum.starts, 'start')}"
    return f"{outcome} (largest gradient {optimum.gradient:.1e}, {effort})"
