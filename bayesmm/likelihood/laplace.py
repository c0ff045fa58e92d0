r"""Laplace's approximation of the marginal likelihood of a generalised mixed model, and its gradient.

The linear predictor is eta = f + Z Lambda u with u ~ N(0, I); f is the fixed part with its offset, given row by row.
With w the rows' prior weights and l_i their log densities,

    log p(y) ~ sum w l(eta) - u'u / 2 - log|H| / 2,    H = Lambda'Z'DZ Lambda + I,  D = diag(-w l''),

at the mode of u, with the OBSERVED curvature D, as in TMB (Kristensen et al. 2016, J. Stat. Softw. 70(5), eqs. 3-6);
``lme4`` has the expected one, which differs for other links than the canonical.

With s = w l', t_i = H^-1 Lambda'z_i, h_i = z_i'Lambda t_i, a = w l''' h / 2 and, through the mode, v = H^-1 Lambda'Z'a
and kappa = Z Lambda v, the derivatives are e = s + a - D kappa with respect to f, and

    Z'e u' + Z's v' - sum_i D_i z_i t_i'        with respect to Lambda, summed over the levels of a factor.

Nothing divides by Lambda: it may be singular. Those with respect to the families' auxiliary parameters need l' and l''
differentiated in them too: by a difference that leaves about 1e-12, or by the family (`Kernels.joint`).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bayesmm.likelihood.compiled import assign, compiled, inner, pointer
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.likelihood.laplace_cholesky import (
    Layout,
    factorise,
    inverse_times_row,
    rows_times,
    scaled_columns,
    selected_inverse,
    solve,
    times_rows,
)
from bayesmm.likelihood.response_kernels import add_score, derivatives, has_joint, is_real, set_joint

NEWTON_STEPS, HALVINGS = 100, 30
# A step that had to be shortened to this went nowhere.
STALLED = 2.0**-25
# The search for the mode ends with the step whose Newton decrement (twice the gain in log density that is still
# expected) is below this: Newton's method squares the error, so that what is left is rounding.
DECREMENT = 1e-12
# A step is taken if it gains this share of what the slope promises (Nocedal & Wright 2006, section 3.1).
ARMIJO = 1e-4
# Changes of a sum below this fraction of it are rounding.
ROUNDING = 1e-13
# Relative step of the fourth-order difference in an auxiliary parameter: error about (1e-3)^4 / 30.
AUXILIARY_STEP = 1e-3
# Of one that may be any number, which has no size: shorter than two thresholds are apart, unless a category has few of
# some ten thousand rows.
REAL_STEP = 1e-4


class Response(NamedTuple):
    """The rows' responses, as the compiled code takes them."""

    family: int
    link: int
    y: Floats  # (n,)
    size: Floats  # (n,) trials, 1 elsewhere
    weights: Floats  # (n,) prior weights, 1 without
    real: int = 0  # bit m is 1 where the m-th auxiliary parameter may be any number, so that it has no size of its own


class Laplace(NamedTuple):
    """What one evaluation gives; `ok` is False, the value -inf and the gradient 0 where there is no proper mode."""

    ok: bool
    value: float
    u: Floats  # (J,) the mode
    d_fixed: Floats  # (n,) derivative with respect to the fixed part of each row
    d_T: Floats  # as T is packed
    d_aux: Floats  # as `aux`


@dataclass(frozen=True)
class Modes:
    """Conditional modes and covariances of b = T u, factor by factor in the order of the layout.

    Attributes
    ----------
    modes : tuple of (G_k, q_k) float64
    covariances : tuple of (G_k, q_k, q_k) float64
        T H^-1 T' for each level, given the coefficients.
    """

    modes: tuple[Floats, ...]
    covariances: tuple[Floats, ...]


def laplace(layout: Layout | None, response: Response, fixed: Floats, T: Floats, aux: Floats, u: Floats) -> Laplace:
    """Evaluate the approximation and its gradient.

    Parameters
    ----------
    layout : Layout or None
        None: no random effects, so that the value is the log-likelihood.
    response : Response
    fixed : (n,) float64
        X beta + offset.
    T : (sum q_k^2,) float64
        Lower triangular factors of the covariances on the scale of the link, in the order of the layout, packed row by
        row; entries above the diagonal are not used.
    aux : (3,) or (n, by) float64
        Auxiliary parameters of the family, of all rows or of each.
    u : (J,) float64
        Where the search for the mode starts, such as the mode of an evaluation near by; zeros are always possible.

    Returns
    -------
    Laplace
    """
    own = np.atleast_2d(aux)
    if layout is None:
        ok, value, s, d_aux = _independent(response, fixed, own)
        return Laplace(ok, value, np.empty(0), s, np.empty(0), d_aux.reshape(aux.shape))
    try:
        found = Laplace(*_evaluate(layout, response, fixed, T, own, u)[0])
        return found._replace(d_aux=found.d_aux.reshape(aux.shape))
    except np.linalg.LinAlgError:  # from LAPACK, at curvatures whose sum with I has no digit left of the I
        return Laplace(False, -math.inf, u, np.zeros_like(fixed), np.zeros_like(T), np.zeros(aux.shape))


def conditional_modes(layout: Layout, response: Response, fixed: Floats, T: Floats, aux: Floats, u: Floats) -> Modes:
    """Return modes and conditional covariances of the random effects b; the arguments of `laplace`.

    The covariances are infinite where the observed curvature at the mode is not positive definite.
    """
    (ok, _, u, *_), lead, R = _evaluate(layout, response, fixed, T, np.atleast_2d(aux), u)
    return modes_of_blocks(layout, T, ok, u, lead, R)


def modes_of_blocks(layout: Layout, T: Floats, ok: bool, u: Floats, lead: Floats, R: Floats) -> Modes:
    """Return T u and T H^-1 T' of each level; the last arguments are blocks of H^-1, see `selected_inverse`."""
    modes, covariances, packed = [], [], 0
    first = layout.q[0] * layout.n_levels[0]
    for k, (q, G) in enumerate(zip(layout.q, layout.n_levels, strict=True)):
        factor = np.tril(T[packed : packed + q * q].reshape(q, q))
        packed += q * q
        at = layout.base[k] + np.arange(G * q).reshape(G, q)
        modes.append(u[at] @ factor.T)
        if not ok:
            covariances.append(np.full((G, q, q), np.inf))
            continue
        inverse = lead if k == 0 else R[at[:, :, None] - first, at[:, None, :] - first]
        covariances.append(factor @ inverse @ factor.T)
    return Modes(tuple(modes), tuple(covariances))


@inner
def _terms(response, eta, aux, s, D, third):
    """Set s = w l', D = -w l'' and w l''' of every row; return the sum of w l."""
    total = 0.0
    for i in range(eta.shape[0]):
        w = response.weights[i]
        y, size, own = response.y[i], response.size[i], aux[i if aux.shape[0] > 1 else 0]
        value, d1, d2, d3 = derivatives(response.family, response.link, y, size, eta[i], own)
        total += w * value
        s[i], D[i], third[i] = w * d1, -w * d2, w * d3
    return total


@inner
def _objective(layout, response, fixed, ZT, aux, u, eta, s, D, third):
    """Return sum w l - u'u / 2 at u, with the rows' terms."""
    assign(eta, fixed)
    rows_times(layout, ZT, u, eta)
    total = _terms(response, eta, aux, s, D, third)
    for j in range(u.shape[0]):
        total -= 0.5 * u[j] * u[j]
    return total if math.isfinite(total) else -math.inf


@inner
def _direction(layout, ZT, s, D, u):
    """Return (found, Newton step, decrement g'H^-1 g).

    Where the observed H is not positive definite, negative curvatures of rows count as 0, which leaves a direction in
    which the density rises.
    """
    step = times_rows(layout, ZT, s)
    for j in range(u.shape[0]):
        step[j] -= u[j]
    gradient = step.copy()
    ok, _, blocks = factorise(layout, ZT, D)
    if not ok:
        ok, _, blocks = factorise(layout, ZT, np.maximum(D, 0.0))
    if not ok:
        return False, step, 0.0
    solve(layout, blocks, step)
    decrement = 0.0
    for j in range(u.shape[0]):
        decrement += gradient[j] * step[j]
    return math.isfinite(decrement), step, decrement


@inner
def _find_mode(layout, response, fixed, ZT, aux, start, eta, s, D, third):
    """Return (converged, objective, mode) by Newton's method with step-halving, and leave the rows' terms there."""
    u = start.copy()
    value = _objective(layout, response, fixed, ZT, aux, u, eta, s, D, third)
    if value == -math.inf:
        u[:] = 0.0
        value = _objective(layout, response, fixed, ZT, aux, u, eta, s, D, third)
    if value == -math.inf:
        return False, value, u
    for _ in range(NEWTON_STEPS):
        ok, step, decrement = _direction(layout, ZT, s, D, u)
        if not ok:
            return False, value, u
        length, trial, new = 1.0, u.copy(), -math.inf
        for _ in range(HALVINGS):
            for j in range(u.shape[0]):
                trial[j] = u[j] + length * step[j]
            new = _objective(layout, response, fixed, ZT, aux, trial, eta, s, D, third)
            if new >= value + ARMIJO * length * decrement - ROUNDING * (1.0 + abs(value)):
                break
            length *= 0.5
        u, value = trial, new
        if decrement < DECREMENT or length < STALLED:
            return decrement < math.sqrt(DECREMENT), value, u
    return False, value, u


@compiled
def _evaluate(layout, response, fixed, T, aux, start):
    """Return the fields of Laplace, and of H^-1 the leading blocks and the rest's part."""
    n = fixed.shape[0]
    eta, s, D, third = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    ZT = scaled_columns(layout, T)
    ok, value, u = _find_mode(layout, response, fixed, ZT, aux, start, eta, s, D, third)
    if not ok and np.any(start != 0.0):  # the mode of a wild step may be too far from this one's
        ok, value, u = _find_mode(layout, response, fixed, ZT, aux, np.zeros_like(start), eta, s, D, third)
    if ok:
        ok, log_det, blocks = factorise(layout, ZT, D)
    if not ok:
        nothing = (False, -math.inf, u, np.zeros(n), np.zeros(T.shape[0]), np.zeros(aux.shape))
        return nothing, np.zeros((1, 1, 1)), np.zeros((1, 1))
    lead, coupling, R = selected_inverse(layout, blocks)
    leverage, d_T = _leverages(layout, ZT, D, lead, coupling, R, T.shape[0])
    for i in range(n):
        third[i] *= 0.5 * leverage[i]
    v = times_rows(layout, ZT, third)
    solve(layout, blocks, v)
    kappa = np.zeros(n)
    rows_times(layout, ZT, v, kappa)
    for i in range(n):
        third[i] += s[i] - D[i] * kappa[i]
        add_effects(layout, i, third[i], u, d_T)
        add_effects(layout, i, s[i], v, d_T)
    d_aux = _auxiliary_gradient(response, eta, aux, leverage, kappa)
    return (True, value - 0.5 * log_det, u, third, d_T, d_aux), lead, R


@inner
def _leverages(layout, ZT, D, lead, coupling, R, n_packed):
    """Return h (n,) and -sum D_i z_i t_i' as the factors are packed."""
    n = ZT.shape[0]
    leverage, t, d_T = np.zeros(n), np.zeros(ZT.shape[1]), np.zeros(n_packed)
    for i in range(n):
        inverse_times_row(layout, ZT, i, lead, coupling, R, t)
        at, packed = 0, 0
        for k in range(layout.q.shape[0]):
            q = layout.q[k]
            for a in range(q):
                leverage[i] += ZT[i, at + a] * t[at + a]
                for b in range(a + 1):
                    d_T[packed + a * q + b] -= D[i] * layout.Z[i, at + a] * t[at + b]
            at += q
            packed += q * q
    return leverage, d_T


@inner
def add_effects(layout, i, scale, u, d_T):
    """Add scale z_i u_g' to the lower triangles of the packed factors, u_g the effects of the row's levels."""
    at, packed = 0, 0
    for k in range(layout.q.shape[0]):
        q = layout.q[k]
        effect = layout.base[k] + layout.index[i, k] * q
        for a in range(q):
            for b in range(a + 1):
                d_T[packed + a * q + b] += scale * layout.Z[i, at + a] * u[effect + b]
        at += q
        packed += q * q


@inner
def _joint_gradient(response, eta, aux, leverage, kappa, d_aux):
    """Add the same to `d_aux` where a family gives the derivatives in all that a row depends on."""
    M = int(response.size[0]) + 1 if eta.shape[0] else 1
    out = np.zeros(M + M * M + M * M * M)
    for i in range(eta.shape[0]):
        set_joint(response.family, response.y[i], response.size[i], eta[i], aux[i], out)
        for j in range(1, M):
            found = out[j] + kappa[i] * out[M + j] + 0.5 * leverage[i] * out[M + M * M + j]
            d_aux[i, j - 1] += response.weights[i] * found


@inner
def _auxiliary_gradient(response, eta, aux, leverage, kappa):
    """Return sum w (dl + h dl'' / 2 + kappa dl'), d for the derivative in each auxiliary that the family has."""
    width = aux.shape[1]
    d_aux, moved, own = np.zeros(aux.shape), np.zeros(width), np.zeros(width)
    if has_joint(response.family):
        _joint_gradient(response, eta, aux, leverage, kappa, d_aux)
        return d_aux
    for i in range(eta.shape[0]):
        y, size, w, k = response.y[i], response.size[i], response.weights[i], i if aux.shape[0] > 1 else 0
        own[:] = 0.0
        add_score(response.family, response.link, y, size, eta[i], aux[k], w, width, pointer(own, 0))
        for j in range(width):
            h = REAL_STEP if is_real(response.real, j) else AUXILIARY_STEP * aux[k, j]
            if h == 0.0 or not math.isfinite(aux[k, j]):  # no parameter, or a threshold that is none
                continue
            d_aux[k, j] += own[j]
            assign(moved, aux[k])
            for point, weight in ((-2.0, 1.0 / 12.0), (-1.0, -8.0 / 12.0), (1.0, 8.0 / 12.0), (2.0, -1.0 / 12.0)):
                moved[j] = aux[k, j] + point * h
                _, d1, d2, _ = derivatives(response.family, response.link, y, size, eta[i], moved)
                d_aux[k, j] += weight / h * w * (0.5 * leverage[i] * d2 + kappa[i] * d1)
    return d_aux


@compiled
def _independent(response, eta, aux):
    """Return (finite, log-likelihood, its derivatives in eta and in the auxiliaries) of independent rows."""
    n = eta.shape[0]
    s, D, third, d_aux = np.empty(n), np.empty(n), np.empty(n), np.zeros(aux.shape)
    total = _terms(response, eta, aux, s, D, third)
    if not math.isfinite(total):
        return False, -math.inf, np.zeros(n), d_aux
    for i in range(n):
        k = i if aux.shape[0] > 1 else 0
        add_score(
            response.family, response.link, response.y[i], response.size[i], eta[i], aux[k], response.weights[i],
            aux.shape[1], pointer(d_aux, k * aux.shape[1]),
        )  # fmt: skip
    return True, total, s, d_aux
