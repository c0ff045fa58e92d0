"""Maximum likelihood of generalised mixed models: coefficients, factors and auxiliary parameters together.

As glmer's second stage does: -2 log-likelihood, the random effects integrated out by Laplace's approximation or by
adaptive quadrature, is minimised over all parameters at once. The coefficients are searched in units of about their
standard errors, the factors T in units of the link, unconstrained as in `maximize`, and the auxiliaries by their
logarithms.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from bayesmm.design.covariance.structures import structured_terms
from bayesmm.design.predictors import random_parameters
from bayesmm.design.records import Design
from bayesmm.design.relations import collapsed, expanded, is_related
from bayesmm.errors import DataError, listing
from bayesmm.estimation.estimates import Estimates, Optimum
from bayesmm.estimation.glm import first_fit, own_start, own_values
from bayesmm.estimation.hessians import coefficient_block, joint_of_problem, without_limits
from bayesmm.estimation.optimizer import SNAP, Search, best_of, hessian, outcome, settled, snapped
from bayesmm.estimation.reml import SINGULAR, factors_are_singular
from bayesmm.estimation.separation import LOG_LIMIT, divergence
from bayesmm.estimation.several_quadrature import refusal, several_criterion
from bayesmm.estimation.start import check_start, start_theta, without_related
from bayesmm.estimation.together import laplace_of
from bayesmm.likelihood.crossproducts import Floats, Ints
from bayesmm.likelihood.fitted import Coordinates, make_coordinates
from bayesmm.likelihood.laplace import Response, conditional_modes
from bayesmm.likelihood.laplace_cholesky import Layout, analyse
from bayesmm.likelihood.orthogonal import Columns, square_root
from bayesmm.likelihood.own_parameters import OwnParameters, kind_of_own, own_parameters
from bayesmm.likelihood.problem import factors_of, orthonormal_columns, scaled_columns
from bayesmm.likelihood.quadrature import MAX_COEFFICIENTS, MOST_NODES, evaluate, grouped
from bayesmm.likelihood.row_functions import codes
from bayesmm.likelihood.several_laplace import Several, in_units, joint_modes, several_of
from bayesmm.likelihood.theta import Theta, make_theta
from bayesmm.runtime.arguments import check_whole

# Standard deviations at which the search starts, in units of the link; lme4's 1, the others where the first optimum is
# suspicious.
STARTS = (1.0, 0.2, 3.0)
# Standard deviations all below this share of the first start's are searched for from the other starts too.
NEAR_ZERO = 0.05


@dataclass(frozen=True)
class GlmmProblem:
    """A design in well-scaled coordinates x = (coefficients, theta, auxiliaries moved to the real line).

    Attributes
    ----------
    response : Response
    layout : Layout or None
        Of the random-effects columns Z_k B_k; None without random effects.
    order : tuple of int
        The design's blocks in the order of the layout.
    fixed : (n, r) float64
        X `basis`; beta = origin + basis x.
    offset : (n,) float64
        The design's offset and X `origin`.
    own : OwnParameters
        The auxiliary parameters and those of formulas or thresholds.
    aux : (a,) float64
        These at the start.
    means : (p,) float64
        What `fixed` has taken out of X, so that thresholds are at the means: 0 where there are none.
    columns : tuple of Columns
        The random-effects columns of each block and their basis B_k, in the design's order: b = B_k b_s.
    unit : float
        T = unit * (T of theta, a part of x), on the scale of the link.
    theta : Theta
        How T follows from it.
    several : Several or None
        The linear predictors of rows where parameters of the family have random effects; their layout is `layout`.
    """

    design: Design
    response: Response
    layout: Layout | None
    order: tuple[int, ...]
    fixed: Floats
    basis: Floats
    origin: Floats
    offset: Floats
    own: OwnParameters
    aux: Floats
    means: Floats
    columns: tuple[Columns, ...]
    unit: float
    theta: Theta
    several: Several | None = None

    @property
    def bases(self) -> tuple[Floats, ...]:
        """B_k of each block, (q_k, q_k)."""
        return tuple(columns.basis for columns in self.columns)

    @property
    def scales(self) -> tuple[Floats, ...]:
        """What the random-effects columns were divided by, where the bases are diagonal."""
        return tuple(1 / np.diag(basis) for basis in self.bases)

    @property
    def free(self) -> Ints:
        """Positions of the free entries in the packed T."""
        return self.theta.free

    @property
    def parts(self) -> tuple[slice, slice, slice]:
        """Where the coefficients, theta and the auxiliaries are in x."""
        r, t, a = self.fixed.shape[1], self.theta.size, len(self.aux)
        return slice(0, r), slice(r, r + t), slice(r + t, r + t + a)

    def packed(self, theta: Floats) -> Floats:
        """Return T packed in the order of the layout."""
        return self.unit * self.theta.packed(theta)

    def gradient(self, d_T: Floats, theta: Floats) -> Floats:
        """Return the derivatives in theta of what has the derivatives `d_T` in the packed T."""
        return self.unit * self.theta.gradient(d_T, theta)

    def factors(self, theta: Floats) -> list[Floats]:
        """Return the T_k of the problem's columns in the order of the layout."""
        out, at, packed = [], 0, self.packed(theta)
        for k in self.order:
            q = len(self.bases[k])
            out.append(packed[at : at + q * q].reshape(q, q))
            at += q * q
        return out

    def auxiliaries(self, free: Floats) -> Floats:
        """Return the auxiliary parameters as the compiled code takes them, from their places on the real line."""
        return self.own.rows(self.own.natural(free))

    def moved(self, aux: Iterable[float]) -> Floats:
        """Return the places of the own parameters on the real line."""
        return self.own.free(np.array(list(aux), dtype=np.float64))

    def own_gradient(self, free: Floats, d_aux: Floats) -> Floats:
        """Return the derivatives in these places from those in the auxiliary parameters, by row where they are."""
        return self.own.back(free, self.own.pulled(self.own.natural(free), d_aux))


@dataclass
class Warm:
    """The modes of the last evaluation that had some, where the search for the next ones starts."""

    u: Floats = field(default_factory=lambda: np.empty(0))


def maximize_generalised(design: Design, nagq: int = 1, start: Mapping[str, float] | None = None) -> Estimates:
    """Maximise the likelihood of a generalised linear mixed model, or of a model without random effects.

    Parameters
    ----------
    design : Design
    nagq : int
        1: Laplace's approximation. More: that many nodes of adaptive quadrature for each random effect of a level;
        for one grouping factor with at most three random effects for each level.
    start : mapping, optional
        Starting standard deviations, correlations and auxiliary parameters by place, on the scale of the link.

    Returns
    -------
    Estimates

    Raises
    ------
    ValueError
        If quadrature is not possible, or a place in `start` is unknown.
    DataError
        If no finite starting values are found.
    """
    check_nagq(design, nagq)
    if is_related(design):
        own = without_related(design, start)
        return collapsed(maximize_generalised(expanded(design), nagq, own), design, SINGULAR)
    if start is not None:
        check_start(design, start)
    problem = make_problem(design, orthonormal_columns(design))
    warm = Warm(np.zeros(0 if problem.layout is None else sum(b.Z.shape[1] * len(b.levels) for b in design.blocks)))
    search = Search(criterion_of(problem, nagq, warm))
    starts = [_start(problem, None, size) for size in (STARTS if design.blocks else STARTS[:1])]
    if start is not None:
        starts.insert(0, _start(problem, start, STARTS[0]))
    free = problem.parts[1]

    def suspicious(x: Floats) -> bool:
        small = len(x[free]) > 0 and np.abs(x[free]).max() < NEAR_ZERO * STARTS[0]
        return small or factors_are_singular(problem.factors(x[free]), problem.unit)

    x, n_starts = best_of(search, starts, suspicious)
    if not np.isfinite(search(x)[0]):
        raise DataError(
            f"no parameters were found at which the {design.family.name} likelihood of {design.response!r} is finite; "
            "check the response's range, or use another link"
        )
    x = snapped(search, x, SNAP, free)
    criterion, gradient = search(x)
    H = hessian(search, x)
    optimum = Optimum(x, float(np.abs(gradient).max(initial=0.0)), search.evaluations, n_starts)
    return _point(problem, optimum, criterion, H, nagq, warm, settled(gradient, H))


def check_nagq(design: Design, nagq: int) -> None:
    """Raise ValueError where adaptive quadrature with `nagq` nodes is not possible."""
    check_whole("nagq", nagq, 1)
    if nagq > MOST_NODES:
        raise ValueError(
            f"nagq should be at most {MOST_NODES}, and is {nagq}; 25 nodes are exact for practical purposes"
        )
    if nagq == 1:
        return
    if is_related(design):
        raise ValueError(
            f"nagq = {nagq} is not possible with {structured_terms(design)[0]}; use nagq=1, Laplace's method"
        )
    if random_parameters(design):
        said = refusal(design)
        if said:
            raise ValueError(f"nagq = {nagq} {said}; use nagq=1")
        return
    if len(design.blocks) != 1:
        names = listing(block.group for block in design.blocks) or "none"
        raise ValueError(f"nagq = {nagq} needs exactly one grouping factor, and the model has {names}; use nagq=1")
    q = len(design.blocks[0].columns)
    if q > MAX_COEFFICIENTS:
        raise ValueError(
            f"nagq = {nagq} needs at most {MAX_COEFFICIENTS} random effects for each level of "
            f"{design.blocks[0].group}, and the model has {q}; use nagq=1"
        )


def make_problem(design: Design, columns: tuple[Columns, ...] | None = None) -> GlmmProblem:
    """Return the problem, its coefficients in units of their standard errors in the model without random effects.

    The random-effects columns are divided by their root mean squares unless other `columns` are given.
    """
    n, family = design.n, design.family
    ones = np.ones(n)
    response = Response(
        *codes(family),
        design.y,
        ones if design.size is None else design.size,
        ones if design.weights is None else design.weights,
        kind_of_own(design)["real"],
    )
    own = own_parameters(design)
    kept = [j for j in range(design.p) if j not in design.aliased]
    means = design.X.mean(axis=0) if family.ordered else np.zeros(design.p)
    first = first_fit(family, response, (design.X - means)[:, kept], design.offset, own_start(design, own))
    basis, origin = np.zeros((design.p, len(kept))), np.zeros(design.p)
    basis[kept], origin[kept] = first.basis, first.beta
    columns, several = scaled_columns(design) if columns is None else columns, None
    if random_parameters(design):
        columns = in_units(design, columns, first.unit)
        several, order = several_of(design, columns)
        layout = several.layout
    else:
        layout, order = analyse(factors_of(design, columns)) if design.blocks else (None, ())
    scales = [1 / np.diag(own.basis) for own in columns]
    problem = GlmmProblem(
        design, response, layout, order, first.fixed, basis, origin, first.eta, own, first.aux, means, columns,
        first.unit, make_theta(design, order, scales), several,
    )  # fmt: skip
    return problem if layout is None or not kept else _rescaled(problem)


def _rescaled(problem: GlmmProblem) -> GlmmProblem:
    """Return the problem with coefficients in units of about their standard errors given random effects of unit sd.

    Without random effects they may be known a thousand times better, which is no scale to search on.
    """
    u = np.zeros(sum(block.Z.shape[1] * len(block.levels) for block in problem.design.blocks))
    value, r = _laplace(problem, Warm(u)), problem.fixed.shape[1]
    eye = np.concatenate([np.eye(len(problem.bases[k])).ravel() for k in problem.order])
    eye = problem.theta.from_packed(eye, lambda part: part.start(1.0))
    aux = problem.auxiliaries(problem.moved(problem.aux))
    found = np.array([value(-step, eye, aux)[1] - value(step, eye, aux)[1] for step in np.eye(r)]) / 2
    try:
        half = np.linalg.cholesky(np.linalg.inv((found + found.T) / 2))
    except np.linalg.LinAlgError:  # separated data, or a start far from the maximum
        return problem
    return replace(problem, fixed=np.ascontiguousarray(problem.fixed @ half), basis=problem.basis @ half)


def criterion_of(problem: GlmmProblem, nagq: int, warm: Warm) -> Callable[[Floats], tuple[float, Floats]]:
    """Return the function x -> (-2 log-likelihood, gradient); `nagq` may be a name of a lattice, see `evaluate`."""
    if nagq > 1 and problem.several is not None:
        return several_criterion(problem, nagq, warm)
    value = _laplace(problem, warm) if nagq == 1 else _quadrature(problem, nagq)
    return lambda x: _criterion(problem, value, x)


def _laplace(problem: GlmmProblem, warm: Warm) -> Callable:
    """Return the function (x's three parts) -> value and derivatives in them, by Laplace's approximation."""
    approximation = laplace_of(problem)

    def value(coefficients: Floats, free: Floats, aux: Floats) -> tuple[float, Floats, Floats, Floats]:
        fixed = problem.offset + problem.fixed @ coefficients
        given = problem.response, fixed, problem.packed(free), aux, warm.u
        found = approximation(*given)
        if found.ok:
            warm.u = found.u
        return found.value, problem.fixed.T @ found.d_fixed, problem.gradient(found.d_T, free), found.d_aux

    return value


def _quadrature(problem: GlmmProblem, nodes: int) -> Callable:
    """Return the same function by adaptive quadrature."""
    design, response, Z = problem.design, problem.response, problem.columns[0].Z
    block, r, q = design.blocks[0], problem.fixed.shape[1], Z.shape[1]
    data = grouped(
        response.family, response.link, response.y, problem.fixed, Z, block.index, len(block.levels),
        size=response.size, weights=response.weights, offset=problem.offset, **kind_of_own(design),
    )  # fmt: skip
    order = np.argsort(block.index, kind="stable")
    back = np.argsort(order, kind="stable")

    def value(coefficients: Floats, free: Floats, aux: Floats) -> tuple[float, Floats, Floats, Floats]:
        given = aux[order] if aux.ndim > 1 else aux[: len(problem.aux)]
        found = evaluate(data, coefficients, problem.packed(free).reshape(q, q), given, nodes)
        d_aux = found.d_aux[back] if aux.ndim > 1 else found.d_aux
        return found.value, found.d_beta[:r], problem.gradient(found.d_L.ravel(), free), d_aux

    return value


def _criterion(problem: GlmmProblem, function: Callable, x: Floats) -> tuple[float, Floats]:
    """Return -2 log-likelihood and its gradient at x; inf where it does not exist."""
    beta, free, logs = (x[part] for part in problem.parts)
    if not np.isfinite(x).all() or np.abs(logs[: len(problem.own.scalars)]).max(initial=0.0) > 2 * LOG_LIMIT:
        return np.inf, np.zeros_like(x)
    aux = problem.auxiliaries(logs)
    with np.errstate(over="ignore", invalid="ignore"):  # a wild step of the search is refused, not an error
        value, d_beta, d_free, d_aux = function(beta, free, aux)
        gradient = -2 * np.concatenate([d_beta, d_free, problem.own_gradient(logs, d_aux)])
    if not (np.isfinite(value) and np.isfinite(gradient).all()):
        return np.inf, np.zeros_like(x)
    return -2 * value, gradient


def _start(problem: GlmmProblem, start: Mapping[str, float] | None, size: float) -> Floats:
    """Return x for the model without random effects, T = size I, with what the user named in its place."""
    own = problem.design, problem.theta, problem.order, problem.bases, problem.unit
    theta = start_theta(*own, start or {}, size)
    aux = problem.aux.copy()
    for j, label in enumerate(problem.own.labels):
        aux[j] = (start or {}).get(label, aux[j])
    return np.concatenate([np.zeros(problem.fixed.shape[1]), theta, problem.moved(aux)])


def _point(
    problem: GlmmProblem, optimum: Optimum, criterion: float, H: Floats, nagq: int, warm: Warm, there: bool
) -> Estimates:
    design, (coefficients, free, logs) = problem.design, (optimum.parameters[part] for part in problem.parts)
    aux, scalars = problem.own.natural(logs), len(problem.own.scalars)
    H = without_limits(problem, optimum.parameters, H)
    root = problem.basis @ square_root(2 * coefficient_block(H, len(coefficients)))
    own = coordinates(problem, optimum.parameters, warm, root)
    beta, beta_cov = problem.origin + problem.basis @ coefficients, root @ root.T
    aux[scalars : scalars + problem.own.thresholds] += problem.means @ beta
    aliased = list(design.aliased)
    beta[aliased], beta_cov[aliased], beta_cov[:, aliased] = np.nan, np.nan, np.nan
    auxiliaries = dict(zip(problem.own.labels[:scalars], aux[:scalars].tolist(), strict=True))
    factors = problem.factors(free)
    wrong = divergence(problem, optimum.parameters)
    converged = there and np.isfinite(criterion) and not wrong
    return Estimates(
        design, None, "ML", beta, beta_cov, auxiliaries.get("sigma", 1.0), *own.reported(), criterion, -criterion / 2,
        criterion, factors_are_singular(factors, problem.unit), bool(converged),
        f"NOT converged: {wrong}" if wrong else outcome(optimum, converged), 0.0, optimum, auxiliaries, nagq, own,
        own_values(design, aux[scalars:]), joint_of_problem(problem, optimum.parameters, H),
    )  # fmt: skip


def effects(problem: GlmmProblem, x: Floats, warm: Warm) -> tuple[tuple, tuple, tuple]:
    """Return Sigma_k, the conditional modes and their covariances of each block of the design, on the user's scale."""
    return coordinates(problem, x, warm, np.empty((problem.design.p, 0))).reported()


def coordinates(problem: GlmmProblem, x: Floats, warm: Warm, root: Floats) -> Coordinates:
    """Return the fit at x in the problem's coordinates; `root` is that of the covariance of beta."""
    (beta, free, logs), modes, covariances = (x[part] for part in problem.parts), (), ()
    fixed = problem.offset + problem.fixed @ beta
    if problem.layout is not None:
        aux = problem.auxiliaries(logs)
        given = problem.response, fixed, problem.packed(free), aux, warm.u
        several = problem.several
        at = conditional_modes(problem.layout, *given) if several is None else joint_modes(several, *given)
        modes, covariances = at.modes, at.covariances
    indices, factors = [block.index for block in problem.design.blocks], problem.factors(free)
    linear = fixed + problem.means @ (problem.origin + problem.basis @ beta)
    columns = problem.columns
    if problem.several is not None:  # of whose rows the first of each M is the mean's
        columns = tuple(own._replace(Z=own.Z[:: problem.several.M]) for own in columns)
    return make_coordinates(indices, columns, problem.order, factors, modes, covariances, linear, root)
