"""REML and maximum likelihood: the marginal likelihood, maximised.

The criterion is a function of the relative factors T alone; sigma and the coefficients are profiled out (Bates et al.
2015, section 3). T is left unconstrained: changing the sign of one of its columns changes nothing, so a variance of 0
is an interior stationary point and needs no bound.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from bayesmm.arguments.checks import check_whole
from bayesmm.data.messages import count
from bayesmm.design import Design
from bayesmm.errors import DataError, listing, suggest
from bayesmm.marginal.crossproducts import Floats
from bayesmm.marginal.fitted import make_coordinates
from bayesmm.marginal.gaussian import FixedPrior, Value, conditional, evaluate, is_precise
from bayesmm.marginal.orthogonal import lower_factor, square_root
from bayesmm.pointfit import Optimum, PointFit
from bayesmm.reduction import Problem, orthogonal_problem
from bayesmm.runtime.threads import few_threads
from bayesmm.starts import check_start, start_factors

METHODS = ("REML", "ML", "MAP")
# lme4 calls a fit singular when a diagonal entry of theta is below 1e-4 (isSingular); ours are in units of the
# columns' rms.
SINGULAR = 1e-4
# Entries below this are tried at exactly 0, and kept there where the criterion does not get worse.
SNAP = 1e-3
# Largest gradient (criterion units per unit of relative standard deviation) at which a fit counts as converged; lme4's
# check.conv.grad is 2e-3 on a gradient scaled by the Hessian. Newton steps usually end near 1e-8.
GRADIENT_TOLERANCE = 1e-4
# A worse criterion by less than this fraction is rounding.
ROUNDING = 1e-12
NEWTON_STEPS = 8
# A residual sd below this share of the response's is rounding: sums of squares lose half of a double's 16 digits.
NO_RESIDUAL = 1e-7
# Relative standard deviations at which the search starts: lme4's 1; the others where the first optimum is suspicious.
START, OTHER_STARTS = 1.0, (0.1, 10.0)
# With a relative sd above LARGE the search goes on from these as well, in units that follow it at most UNITS times.
LARGE, FAR_STARTS, UNITS = 50.0, (1e2, 1e4, 1e6), 8


@dataclass
class Search:
    """A criterion with its gradient, that counts its evaluations."""

    function: Callable[[Floats], tuple[float, Floats]]
    evaluations: int = field(default=0)

    def __call__(self, x: Floats) -> tuple[float, Floats]:
        """Return the criterion and its gradient at x."""
        self.evaluations += 1
        return self.function(x)


@few_threads
def maximize(
    design: Design,
    method: str | None = None,
    priors=None,
    start: Mapping[str, float] | None = None,
    nagq: int = 1,
) -> PointFit:
    """Maximise the marginal likelihood, or the marginal posterior, of a mixed model.

    Parameters
    ----------
    design : Design
    method : {"REML", "ML", "MAP"}, optional
        REML if not given; ML for another family or link than the gaussian's identity, which has no REML. "MAP" is the
        mode of the marginal posterior of (sds, correlations, sigma) under `priors`, on their natural scales; of a
        generalised model, of these and the coefficients.
    priors : Priors, optional
        Needed by "MAP" only.
    start : mapping, optional
        Starting standard deviations and correlations by place, such as ``{"sd_Subject[Days]": 5.0, "sigma": 25.0,
        "corr_Subject[Intercept, Days]": 0.1}``, on the scale of the link.
    nagq : int
        Quadrature nodes for each random effect of a generalised model; 1 is Laplace's approximation.

    Returns
    -------
    PointFit

    Raises
    ------
    ValueError
        If the method or a place in `start` is unknown.
    DataError
        If the fixed effects, or the random ones, fit the response exactly.
    """
    method = check_method(design, method)
    check_whole("nagq", nagq, 1)
    began = time.perf_counter()
    if not design.family.gaussian:
        if method == "MAP":
            from bayesmm.glmm_mode import generalised_mode  # these two build on this file, as mode.py does

            return generalised_mode(design, priors, nagq, start).with_seconds(time.perf_counter() - began)
        from bayesmm.glmm import maximize_generalised

        return maximize_generalised(design, nagq, start).with_seconds(time.perf_counter() - began)
    if nagq != 1:
        raise ValueError(f"nagq must be 1 for the gaussian family, whose integral is exact, not {nagq!r}")
    if method == "MAP":
        from bayesmm.mode import marginal_mode  # mode.py builds on this file

        return marginal_mode(design, priors, start).with_seconds(time.perf_counter() - began)
    return _likelihood_optimum(design, method, start).with_seconds(time.perf_counter() - began)


def check_method(design: Design, method: str | None) -> str:
    """Return the method, the family's own if it is None; raise ValueError where the family has no such method."""
    if method is None:
        return "REML" if design.family.gaussian else "ML"
    if method not in METHODS:
        raise ValueError(f"method must be one of {listing(METHODS)}, not {method!r}{suggest(str(method), METHODS)}")
    if method == "REML" and not design.family.gaussian:
        family = f"the {design.family.name} family with the {design.family.link} link"
        raise ValueError(f"REML is defined for gaussian models with the identity link, not for {family}; use 'ML'")
    return method


def _likelihood_optimum(design: Design, method: str, start: Mapping[str, float] | None) -> PointFit:
    problem = orthogonal_problem(design)
    prior = flat(problem.cp.p)
    reml = method == "REML"

    def criterion(free: Floats) -> tuple[float, Floats]:
        value = evaluate(problem.cp, problem.packed(free), None, prior, integrate_flat=reml)
        return profiled_criterion(problem, value, reml), -2 * value.d_T[problem.free]

    search = Search(criterion)
    starts = [start_entries(problem, size) for size in (START, *OTHER_STARTS)]
    if start is not None:
        starts.insert(0, _user_start(problem, start))
    x, n_starts = best_of(search, starts, lambda x: np.abs(x).max() > LARGE or _is_singular(problem, x))
    if np.abs(x).max(initial=0.0) > LARGE:
        x, n_starts = _far_out(problem, search, x), n_starts + len(FAR_STARTS)
    x = snapped(search, x, SNAP)
    value, gradient = search(x)
    _check_residual(problem, x, reml)
    steepest = float(np.abs(gradient * _units(problem, x)).max(initial=0.0))
    return _point(problem, method, x, Optimum(x, steepest, search.evaluations, n_starts), value)


def _units(problem: Problem, x: Floats) -> Floats:
    """Return the relative sd that each entry is part of, (t,), at least 1: what its gradient is measured by."""
    sds = [np.repeat(np.linalg.norm(T, axis=1), len(T)) for T in relative_factors(problem, x)]
    return np.maximum(np.concatenate([np.empty(0), *sds])[problem.free], 1.0)


def _far_out(problem: Problem, search: Search, x: Floats) -> Floats:
    """Search once more where the sds are many times the residual's, in units of their size.

    There the criterion is about the logarithm of each, and falls as slowly.
    """
    best, value = x, search(x)[0]
    for start in (x, *(start_entries(problem, size) for size in FAR_STARTS)):
        found = start
        for _ in range(UNITS):
            units = _units(problem, found)
            inner = Search(lambda z, units=units: _in_units(search, z, units))
            found = units * minimum(inner, found / units)
            if (_units(problem, found) < 2 * units).all():
                break
        other = search(found)[0]
        if other < value - ROUNDING * abs(value):
            best, value = found, other
    return best


def _in_units(search: Search, z: Floats, units: Floats) -> tuple[float, Floats]:
    value, gradient = search(units * z)
    return value, units * gradient


def _check_residual(problem: Problem, x: Floats, reml: bool) -> None:
    """Raise a DataError if the random effects leave no residual: the likelihood then has no maximum."""
    cp = problem.cp
    found = evaluate(cp, problem.packed(x), None, flat(cp.p), integrate_flat=reml)
    sigma = found.sigma
    if sigma > 0 and not is_precise(cp, problem.packed(x), found.quad):
        raise DataError(
            f"the residual standard deviation of {problem.design.response!r} is only "
            f"{sigma / np.sqrt(cp.rWr / cp.n):.1g} of its spread, which cannot be told from rounding with so many "
            "groups; use fewer, or one row for each level where all its rows have nearly the same response"
        )
    if not sigma > NO_RESIDUAL * np.sqrt(cp.rWr / cp.n):
        raise DataError(
            f"the random effects fit the {cp.n:,} rows of {problem.design.response!r} exactly, so no residual variance "
            "is left to estimate; use fewer, or one row for each level where all its rows have the same response"
        )


def flat(p: int) -> FixedPrior:
    """Return the flat prior of p fixed columns."""
    return FixedPrior(np.zeros(p), np.ones(p), np.zeros(p))


def profiled_criterion(problem: Problem, value: Value, reml: bool) -> float:
    """Return the REML criterion or the ML deviance at the maximising sigma (Bates et al. 2015, eqs. 35 and 41)."""
    if not value.ok:
        return np.inf
    cp = problem.cp
    nu = cp.n - (cp.p if reml else 0)
    log_det = value.logdet + (problem.log_det if reml else 0.0)
    return nu * (np.log(2 * np.pi * value.sigma**2) + 1) + log_det - cp.sum_log_weights


def start_entries(problem: Problem, size: float) -> Floats:
    """Return the free entries of T = size I."""
    eye = np.concatenate([np.empty(0), *(np.eye(q).ravel() for q in problem.cp.q)])
    return size * eye[problem.free]


def _user_start(problem: Problem, start: Mapping[str, float]) -> Floats:
    """Return the free entries of T with the standard deviations and correlations that the user named."""
    design, cp = problem.design, problem.cp
    check_start(design, start)
    sigma = start.get("sigma", np.sqrt(cp.rWr / max(cp.n - cp.p, 1)))
    return start_factors(design, cp.order, problem.bases, sigma, start, START)[problem.free]


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
    """Minimise by L-BFGS with the analytic gradient, and end with Newton steps on the gradient's differences."""
    if len(start) == 0:
        return start
    from scipy.optimize import minimize  # here, because it takes a fifth of a second to import

    options = {"ftol": 1e-14, "gtol": 1e-6, "maxcor": 30}
    found = minimize(_walled(search, start), start, jac=True, method="L-BFGS-B", options=options)
    return newton(search, found.x)


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


def hessian(search: Search, x: Floats) -> Floats:
    """Return the Hessian by central differences of the gradient; the step balances rounding and curvature."""
    n = len(x)
    H = np.empty((n, n))
    for i in range(n):
        h = np.zeros(n)
        h[i] = 1e-5 * max(1.0, abs(x[i]))
        H[i] = (search(x + h)[1] - search(x - h)[1]) / (2 * h[i])
    return (H + H.T) / 2


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


def _is_singular(problem: Problem, free: Floats) -> bool:
    return factors_are_singular(relative_factors(problem, free), 1.0)


def factors_are_singular(factors: list[Floats], unit: float) -> bool:
    """Return whether a factor has a pivot of (nearly) 0, next to the unit of the standard deviations."""
    return any(np.diag(lower_factor(T)).min() < SINGULAR * unit for T in factors)


def relative_factors(problem: Problem, free: Floats) -> list[Floats]:
    """Return T_k in the problem's bases, in the order of the cross-products."""
    out, at, packed = [], 0, problem.packed(free)
    for q in problem.cp.q:
        out.append(packed[at : at + q * q].reshape(q, q))
        at += q * q
    return out


def _point(problem: Problem, method: str, x: Floats, optimum: Optimum, criterion: float) -> PointFit:
    prior, T = flat(problem.cp.p), problem.packed(x)
    reml = method == "REML"
    sigma = evaluate(problem.cp, T, None, prior, integrate_flat=reml).sigma
    ml = profiled_criterion(problem, evaluate(problem.cp, T, None, prior, integrate_flat=False), False)
    return assemble(problem, method, x, sigma, prior, optimum, criterion=criterion, loglik=-criterion / 2, deviance=ml)


def assemble(
    problem: Problem,
    method: str,
    free: Floats,
    sigma: float,
    prior: FixedPrior,
    optimum: Optimum,
    *,
    criterion: float,
    loglik: float,
    deviance: float,
    priors=None,
) -> PointFit:
    """Return the PointFit at the free entries of T and sigma, all on the user's scale."""
    design = problem.design
    at = conditional(problem.cp, problem.packed(free), sigma, prior)
    fixed, root = design.y - problem.response + problem.fixed @ at.fixed, problem.basis @ square_root(at.fixed_cov)
    indices, factors = [block.index for block in design.blocks], [sigma * T for T in relative_factors(problem, free)]
    own = make_coordinates(indices, problem.columns, problem.cp.order, factors, at.modes, at.covariances, fixed, root)
    beta, beta_cov = problem.origin + problem.basis @ at.fixed, own.root @ own.root.T
    dropped = list(design.aliased) if method != "MAP" else []
    beta[dropped], beta_cov[dropped], beta_cov[:, dropped] = np.nan, np.nan, np.nan
    singular = _is_singular(problem, free)
    converged = optimum.gradient < GRADIENT_TOLERANCE and np.isfinite(criterion)
    return PointFit(
        design, priors, method, beta, beta_cov, float(sigma), *own.reported(), float(criterion), float(loglik),
        float(deviance), singular, bool(converged), outcome(optimum, converged), 0.0, optimum, {"sigma": float(sigma)},
        coordinates=own,
    )  # fmt: skip


def outcome(optimum: Optimum, converged: bool) -> str:
    """Return how the optimiser ended, in a sentence."""
    if len(optimum.parameters) == 0:
        return "no variance ratio to optimise: least squares"
    outcome = "converged" if converged else "NOT converged: the gradient is too large for an optimum"
    effort = f"{count(optimum.evaluations, 'evaluation')}, {count(optimum.starts, 'start')}"
    return f"{outcome} (largest gradient {optimum.gradient:.1e}, {effort})"
