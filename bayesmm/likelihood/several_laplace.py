r"""Laplace's approximation where parameters of the family have random effects too, and its gradient.

A row i has M linear predictors: eta_i0 of the mean, eta_im of the family's m-th parameter a on the link that its bounds
give it. All are f_im + z_im' Lambda u with u ~ N(0, I): the layout has M rows for each row of the data, of which each
has the columns of its predictor and zeros elsewhere. With l_i(eta_i0, ..) the log density of a row,

    log p(y) ~ sum w l - u'u / 2 - log|H| / 2,    H = sum_i Lambda'Z_i' D_i Z_i Lambda + I,  D_i = -w l_i'' (M, M),

at the mode of u, as in `likelihood.laplace`, which is this for M = 1. D_i = V_i' diag(d_i) V_i, by D_i = L d L' or by
its eigenvalues where that has no positive pivots, makes H a sum over rows V_i Z_i Lambda with the weights d_i, which
`laplace_cholesky` factorises. With s = w l', t_im = H^-1 Lambda'z_im,
h_iab = z_ia'Lambda t_ib, a_ic = sum_ab w l_abc h_iab / 2, v = H^-1 Lambda'Z'a and kappa = Z Lambda v, the derivatives
are e = s + a - D kappa with respect to f, and Z'e u' + Z's v' - sum_i sum_ab D_iab z_ia t_ib' with respect to Lambda.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bayesmm.design.predictors import MEAN, random_parameters
from bayesmm.design.records import Design
from bayesmm.design.residual.of_family import IDENTITY, LOG, link_code
from bayesmm.families.family import MOST_PARAMETERS
from bayesmm.likelihood.compiled import assign, compiled, inner
from bayesmm.likelihood.crossproducts import Factor, Floats
from bayesmm.likelihood.laplace import (
    ARMIJO,
    DECREMENT,
    HALVINGS,
    NEWTON_STEPS,
    ROUNDING,
    STALLED,
    Laplace,
    Modes,
    Response,
    add_effects,
    modes_of_blocks,
)
from bayesmm.likelihood.laplace_cholesky import (
    Layout,
    analyse,
    factorise,
    inverse_times_row,
    rows_times,
    scaled_columns,
    selected_inverse,
    solve,
    times_rows,
)
from bayesmm.likelihood.orthogonal import Columns
from bayesmm.likelihood.response_kernels import derivatives
from bayesmm.likelihood.several_rows import Predictors, set_natural, set_rows

SMALL_PIVOT = 1e-10  # of its entry, which a pivot has to be above


@dataclass(frozen=True, eq=False)
class Several:
    """The linear predictors of a design with random effects of parameters, and the layout of their rows."""

    layout: Layout
    predictors: Predictors

    @property
    def M(self) -> int:
        """How many predictors a row has."""
        return len(self.predictors.active)


def in_units(design: Design, columns: Sequence[Columns], unit: float) -> tuple[Columns, ...]:
    """Return the columns of an expanded design for effects of which those of parameters are not in units of the mean's.

    The sds of all are unit times what is searched for; a parameter's are on its own link, whatever the response's unit.
    """
    M, found = len(design.family.parameters) + 1, []
    for block, own in zip(design.blocks, columns, strict=True):
        size = np.where([bool(name) for name in block.predictors or ("",) * len(block.columns)], 1 / unit, 1.0)
        Z = own.Z.copy().reshape(-1, M, own.Z.shape[1])
        Z[:, 1:] /= unit
        found.append(Columns(Z.reshape(own.Z.shape), size[:, None] * own.basis))
    return tuple(found)


def several_of(design: Design, columns: Sequence[Columns]) -> tuple[Several, tuple[int, ...]]:
    """Return the predictors of a design and the order of its blocks in their layout; `columns` are in M n rows."""
    own = design.family.parameters
    if any(len(c.Z) != design.n * (len(own) + 1) for c in columns):  # compiled code does not look
        raise ValueError("the columns of random effects have not a row for each predictor of a row")
    factors = [
        Factor(np.repeat(block.index, len(own) + 1), c.Z, len(block.levels))
        for block, c in zip(design.blocks, columns, strict=True)
    ]
    layout, order = analyse(factors)
    names = random_parameters(design)
    active = [any(not b.predictors or MEAN in b.predictors for b in design.blocks), *(p.name in names for p in own)]
    predictors = Predictors(
        np.array([link_code(p) for p in own], np.int64),
        np.array([p.bounds for p in own], np.float64),
        np.array(active, np.int64),
    )
    return Several(layout, predictors), order


def joint_laplace(several: Several, response: Response, fixed: Floats, T: Floats, aux: Floats, u: Floats) -> Laplace:
    """Evaluate the approximation and its gradient: the arguments of `laplace.laplace`, `aux` (n, w).

    The parameters are those of each row where all random effects are 0.
    """
    n, M = len(fixed), several.M
    all_fixed, rate = _of_all(several, fixed, aux)
    try:
        ok, value, u, e, d_T, _, _ = _evaluate(several.layout, several.predictors, response, all_fixed, T, u)
    except np.linalg.LinAlgError:
        ok, value, e, d_T = False, -math.inf, np.zeros(n * M), np.zeros_like(T)
    d_aux, e = np.zeros(aux.shape), e.reshape(n, M)
    d_aux[:, : M - 1] = e[:, 1:] / rate
    return Laplace(ok, value, u, e[:, 0].copy(), d_T, d_aux)


def joint_modes(several: Several, response: Response, fixed: Floats, T: Floats, aux: Floats, u: Floats) -> Modes:
    """Return modes and conditional covariances of the random effects, as `laplace.conditional_modes`."""
    all_fixed, _ = _of_all(several, fixed, aux)
    ok, _, u, _, _, lead, R = _evaluate(several.layout, several.predictors, response, all_fixed, T, u)
    return modes_of_blocks(several.layout, T, ok, u, lead, R)


def _of_all(several: Several, fixed: Floats, aux: Floats) -> tuple[Floats, Floats]:
    """Return the fixed parts of all predictors, (n M,), and d parameter / d predictor there, (n, M - 1)."""
    code, ends, _ = several.predictors
    out, rate = np.empty((len(fixed), several.M)), np.ones((len(fixed), several.M - 1))
    out[:, 0] = fixed
    with np.errstate(divide="ignore", invalid="ignore"):
        for m, (low, high) in enumerate(ends):
            at = aux[:, m]
            if code[m] == IDENTITY:
                out[:, m + 1] = at
            elif code[m] == LOG:
                out[:, m + 1], rate[:, m] = np.log(at - low), at - low
            else:
                out[:, m + 1] = np.log((at - low) / (high - at))
                rate[:, m] = (at - low) * (high - at) / (high - low)
    return out.ravel(), rate


@inner
def _total(layout, predictors, response, fixed, ZT, u, eta):
    """Return sum w l - u'u / 2 at u, and leave the linear predictors there."""
    M, total, width = predictors.active.shape[0], 0.0, max(predictors.code.shape[0], MOST_PARAMETERS)
    natural, rates = np.zeros(width), np.zeros(width)
    assign(eta, fixed)
    rows_times(layout, ZT, u, eta)
    for i in range(response.y.shape[0]):
        if not set_natural(predictors, eta, i * M, natural, rates):
            return -math.inf
        y, size = response.y[i], response.size[i]
        total += response.weights[i] * derivatives(response.family, response.link, y, size, eta[i * M], natural)[0]
    for j in range(u.shape[0]):
        total -= 0.5 * u[j] * u[j]
    return total if math.isfinite(total) else -math.inf


@inner
def _split(active, own, V, values):
    """Set V and d, (M, M) and (M,), of V' diag(d) V without pivoting; return whether pivots are clearly positive."""
    M = own.shape[0]
    for k in range(M):
        values[k] = 0.0
        for j in range(M):
            V[k, j] = 0.0
        if active[k] == 0:
            continue
        pivot = own[k, k]
        for m in range(k):
            pivot -= values[m] * V[m, k] * V[m, k]
        if not pivot > SMALL_PIVOT * own[k, k]:
            return False
        values[k], V[k, k] = pivot, 1.0
        for j in range(k + 1, M):
            if active[j] == 0:
                continue
            V[k, j] = own[k, j]
            for m in range(k):
                V[k, j] -= values[m] * V[m, k] * V[m, j]
            V[k, j] /= pivot
    return True


@inner
def _curved(predictors, ZT, D, rotated, weights):
    """Set the rows V Z Lambda, (n M, sum q), and their weights d of D = V' diag(d) V among what has random effects."""
    M, active = predictors.active.shape[0], predictors.active
    V, own, values = np.zeros((M, M)), np.zeros((M, M)), np.zeros(M)
    for i in range(D.shape[0]):
        if not _split(active, D[i], V, values):
            for a in range(M):
                for b in range(M):
                    own[a, b] = D[i, a, b] if active[a] != 0 and active[b] != 0 else 0.0
            found, vectors = np.linalg.eigh(own)
            assign(values, found)
            for k in range(M):
                assign(V[k], vectors[:, k])
        for k in range(M):
            weights[i * M + k] = values[k]
            for j in range(ZT.shape[1]):
                rotated[i * M + k, j] = 0.0
                for a in range(M):
                    rotated[i * M + k, j] += V[k, a] * ZT[i * M + a, j]


@inner
def _find_mode(layout, predictors, response, fixed, ZT, start, eta):
    """Return (converged, objective, mode) by Newton's method with step-halving, and leave the predictors there."""
    n, M, u = response.y.shape[0], predictors.active.shape[0], start.copy()
    s, D, third = np.zeros(n * M), np.zeros((n, M, M)), np.zeros((1, M, M, M))
    rotated, weights = np.zeros_like(ZT), np.zeros(n * M)
    value = _total(layout, predictors, response, fixed, ZT, u, eta)
    if value == -math.inf:
        u[:] = 0.0
        value = _total(layout, predictors, response, fixed, ZT, u, eta)
    if value == -math.inf:
        return False, value, u
    for _ in range(NEWTON_STEPS):
        set_rows(predictors, response, eta, False, s, D, third)
        if not np.isfinite(D).all():
            return False, value, u
        step = times_rows(layout, ZT, s) - u
        gradient = step.copy()
        _curved(predictors, ZT, D, rotated, weights)
        ok, _, blocks = factorise(layout, rotated, weights)
        if not ok:  # negative curvatures count as 0, which leaves a direction in which the density rises
            ok, _, blocks = factorise(layout, rotated, np.maximum(weights, 0.0))
        if not ok:
            return False, value, u
        solve(layout, blocks, step)
        decrement = (gradient * step).sum()
        if not math.isfinite(decrement):
            return False, value, u
        length, trial, new = 1.0, u, -math.inf
        for _ in range(HALVINGS):
            trial = u + length * step
            new = _total(layout, predictors, response, fixed, ZT, trial, eta)
            if new >= value + ARMIJO * length * decrement - ROUNDING * (1.0 + abs(value)):
                break
            length *= 0.5
        u, value = trial, new
        if decrement < DECREMENT or length < STALLED:
            return decrement < math.sqrt(DECREMENT), value, u
    return False, value, u


@compiled
def _evaluate(layout, predictors, response, fixed, T, start):
    """Return (ok, value, mode, derivatives in the fixed parts, in T), and of H^-1 leading blocks and the rest's."""
    n, M = response.y.shape[0], predictors.active.shape[0]
    eta, ZT = np.empty(n * M), scaled_columns(layout, T)
    ok, value, u = _find_mode(layout, predictors, response, fixed, ZT, start, eta)
    if not ok and np.any(start != 0.0):
        ok, value, u = _find_mode(layout, predictors, response, fixed, ZT, np.zeros_like(start), eta)
    s, D, third = np.zeros(n * M), np.zeros((n, M, M)), np.zeros((n, M, M, M))
    rotated, weights = np.zeros_like(ZT), np.zeros(n * M)
    log_det, blocks = 0.0, factorise(layout, rotated, weights)[2]
    if ok:
        _total(layout, predictors, response, fixed, ZT, u, eta)
        set_rows(predictors, response, eta, True, s, D, third)
        ok = np.isfinite(D).all() and np.isfinite(third).all()
    if ok:
        _curved(predictors, ZT, D, rotated, weights)
        ok, log_det, blocks = factorise(layout, rotated, weights)
    if not ok:
        return False, -math.inf, u, np.zeros(n * M), np.zeros(T.shape[0]), np.zeros((1, 1, 1)), np.zeros((1, 1))
    lead, coupling, R = selected_inverse(layout, blocks)
    a, d_T = _leverages(layout, ZT, D, third, lead, coupling, R, T.shape[0])
    v = times_rows(layout, ZT, a)
    solve(layout, blocks, v)
    kappa = np.zeros(n * M)
    rows_times(layout, ZT, v, kappa)
    for i in range(n):
        for b in range(M):
            a[i * M + b] += s[i * M + b]
            for c in range(M):
                a[i * M + b] -= D[i, b, c] * kappa[i * M + c]
    for r in range(n * M):
        add_effects(layout, r, a[r], u, d_T)
        add_effects(layout, r, s[r], v, d_T)
    return True, value - 0.5 * log_det, u, a, d_T, lead, R


@inner
def _leverages(layout, ZT, D, third, lead, coupling, R, n_packed):
    """Return a (n M,), see above, and -sum D_ab z_a t_b' as the factors are packed."""
    n, M = D.shape[0], D.shape[1]
    a, t, d_T = np.zeros(n * M), np.zeros((M, ZT.shape[1])), np.zeros(n_packed)
    for i in range(n):
        for b in range(M):
            inverse_times_row(layout, ZT, i * M + b, lead, coupling, R, t[b])
        for b in range(M):
            for c in range(M):
                h = 0.0
                for j in range(ZT.shape[1]):
                    h += ZT[i * M + b, j] * t[c, j]
                for k in range(M):
                    a[i * M + k] += 0.5 * third[i, b, c, k] * h
                at, packed = 0, 0
                for k in range(layout.q.shape[0]):
                    q = layout.q[k]
                    for j in range(q):
                        for other in range(j + 1):
                            d_T[packed + j * q + other] -= D[i, b, c] * layout.Z[i * M + b, at + j] * t[c, at + other]
                    at += q
                    packed += q * q
    return a, d_T
