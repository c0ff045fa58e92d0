r"""Adaptive Gauss-Hermite quadrature where parameters of the family have random effects too, of one grouping factor.

The linear predictors are those of `likelihood.several_laplace`: eta_im = f_im + a_im' u_g, u_g ~ N(0, I) in level g.
With the mode u* of f(u) = sum_i w_i l_i(eta_i) - u'u / 2 in a level, H = I + sum_i A_i' D_i A_i = C C' there and the
nodes u_k = u* + C^-T x_k, as in `likelihood.quadrature`,

    log p(y_g) = -log|C| + log sum_k omega_k exp(|x_k|^2 / 2 + f(u_k)) - (q / 2) log 2 pi.

The gradient is taken by differences of sixth order: few parameters, each in units of about its standard error.
"""

from collections.abc import Callable

import numpy as np
from scipy.special import logsumexp

from bayesmm.design.predictors import random_parameters
from bayesmm.design.records import Design
from bayesmm.design.residual.of_family import IDENTITY, LOG
from bayesmm.errors import listing
from bayesmm.estimation.optimizer import differences
from bayesmm.estimation.together import laplace_of
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.likelihood.laplace_cholesky import scaled_columns
from bayesmm.likelihood.pointwise import log_densities
from bayesmm.likelihood.quadrature import MAX_COEFFICIENTS, rule
from bayesmm.likelihood.several_rows import set_rows

AT_ONCE = 2_000_000  # densities of rows: more are taken by some nodes at a time


def refusal(design: Design) -> str:
    """Return why this quadrature is not possible for a design, or an empty text."""
    names = random_parameters(design)
    have = f"{listing(names)} {'has' if len(names) == 1 else 'have'} random effects"
    first, *others = design.blocks
    one = not any(block.smooth or block.members or block.relation is not None for block in design.blocks)
    if not one or any(not np.array_equal(first.index, block.index) for block in others):
        return f"needs effects of one grouping factor, and there are others where {have}"
    q = sum(len(block.columns) for block in design.blocks)
    if q > MAX_COEFFICIENTS:
        factor = ":".join(first.factors)
        return f"needs at most {MAX_COEFFICIENTS} random effects for each level of {factor}, and the model has {q}"
    return ""


def several_criterion(problem, nagq: int, warm) -> Callable[[Floats], tuple[float, Floats]]:
    """Return the function x -> (-2 log-likelihood, gradient) of a `GlmmProblem` by `nagq` nodes for each effect."""
    approximation = laplace_of(problem)

    def value(x: Floats) -> float:
        beta, free, logs = (x[part] for part in problem.parts)
        with np.errstate(all="ignore"):  # a wild step of the search is refused, not an error
            fixed, aux = problem.offset + problem.fixed @ beta, problem.auxiliaries(logs)
            T = problem.packed(free)
            found = approximation(problem.response, fixed, T, aux, warm.u)
            warm.u = found.u if found.ok else warm.u
            return -2 * _log_likelihood(problem, fixed, T, aux, nagq, found.u) if found.ok else np.inf

    def criterion(x: Floats) -> tuple[float, Floats]:
        at = value(x) if np.isfinite(x).all() else np.inf
        gradient = differences(value, x) if np.isfinite(at) else np.zeros_like(x)
        return (at, gradient) if np.isfinite(gradient).all() else (np.inf, np.zeros_like(x))

    return criterion


def _log_likelihood(problem, fixed: Floats, T: Floats, aux: Floats, nagq: int, mode: Floats) -> float:
    """Return log p(y), the effects' mode given."""
    several, response = problem.several, problem.response
    n, M, level = len(fixed), several.M, several.layout.index[:: several.M, 0]
    f = np.column_stack([fixed, _linked(several.predictors, aux[:, : M - 1])])
    A = scaled_columns(several.layout, T).reshape(n, M, -1)
    modes = _by_level(several.layout, mode)
    C = _roots(several, response, f + np.einsum("imq,iq->im", A, modes[level]), A, level)
    nodes, log_weights = rule(nagq, A.shape[2])
    u = modes[:, None] + nodes @ np.linalg.inv(C)  # (G, nodes, q)
    whole = np.empty(u.shape[:2])
    size = max(1, AT_ONCE // (n * M))
    for at in range(0, len(nodes), size):
        part = slice(at, at + size)
        whole[:, part] = _of_levels(problem, f, A, u[:, part], aux, level)
    whole += log_weights - 0.5 * np.square(u).sum(axis=2)
    return float((logsumexp(whole, axis=1) - np.log(np.diagonal(C, axis1=1, axis2=2)).sum(axis=1)).sum())


def _by_level(layout, u: Floats) -> Floats:
    """Return the effects of all blocks by level, (G, q), from those of each after the other."""
    parts = zip(layout.base, layout.q, layout.n_levels, strict=True)
    return np.column_stack([u[base : base + G * q].reshape(G, q) for base, q, G in parts])


def _roots(several, response, eta: Floats, A: Floats, level: Floats) -> Floats:
    """Return the lower triangular C of each level, (G, q, q)."""
    n, M, q = A.shape
    D, third = np.zeros((n, M, M)), np.zeros((1, M, M, M))
    set_rows(several.predictors, response, np.ascontiguousarray(eta).ravel(), False, np.zeros(n * M), D, third)
    H = np.tile(np.eye(q), (int(several.layout.n_levels[0]), 1, 1))
    np.add.at(H, level, np.einsum("iaq,iab,ibr->iqr", A, D, A))
    return np.linalg.cholesky(H)


def _of_levels(problem, f: Floats, A: Floats, u: Floats, aux: Floats, level: Floats) -> Floats:
    """Return sum w l of each level at each of its nodes, (G, nodes)."""
    response = problem.response
    eta = f + np.einsum("imq,ikq->kim", A, u[level])
    own = np.broadcast_to(aux, (len(eta), *aux.shape)).copy()
    own[..., : f.shape[1] - 1] = _unlinked(problem.several.predictors, eta[..., 1:])
    given = response.family, response.link, response.y, response.size, response.weights
    rows = log_densities(*given, eta[..., 0], own)
    out = np.zeros(u.shape[:2])
    np.add.at(out, level, rows.T)
    return np.where(np.isfinite(out), out, -np.inf)


def _linked(predictors, aux: Floats) -> Floats:
    """Return the predictors of parameters, (n, M - 1), on their links."""
    out = aux.copy()
    for m, (low, high) in enumerate(predictors.ends):
        if predictors.code[m] != IDENTITY:
            above = 1.0 if predictors.code[m] == LOG else high - aux[:, m]
            out[:, m] = np.log((aux[:, m] - low) / above)
    return out


def _unlinked(predictors, eta: Floats) -> Floats:
    """Return the parameters, (..., M - 1), from their predictors."""
    out = eta.copy()
    for m, (low, high) in enumerate(predictors.ends):
        if predictors.code[m] == LOG:
            out[..., m] = low + np.exp(eta[..., m])
        elif predictors.code[m] != IDENTITY:
            out[..., m] = low + (high - low) / (1.0 + np.exp(-eta[..., m]))
    return out
