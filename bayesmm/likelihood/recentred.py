"""Random effects as a sampler takes them: differences in part of their sd's units, their mean apart from a coefficient.

The data know beta + b_g, the coefficient with each level's effect, and next to nothing of beta apart from the mean of
the b_g: given the data that is near N(0, s^2 / G), with s the sd of the effects and G the number of levels. Of few
levels s may be twice or half of what it is at the mode, and no fixed scale serves. With a typical sd s_0 and a power p
between 0, for effects that the data know, and 1, for those that they do not, e_g and m take the places of b_g and beta:

    b_g = (s / s_0)^p (e_g - mean(e)) + (s / s_0) mean(e),   beta = m - (s / s_0) mean(e).

Effects in units of s, b_g = s z_g, stay what they are, with beta = m - s mean(z). Where the effects' column is not that
of one coefficient but X u, all coefficients move, by u times as much. Powers of scales: Gorinova, Moore & Hoffman
(2020, Automatic reparameterisation of probabilistic programs, section 4).
"""

from typing import NamedTuple

import numpy as np

from bayesmm.likelihood.compiled import inner
from bayesmm.likelihood.packed import Floats, Integers, Vector


class Columns(NamedTuple):
    """The effects of S columns, by their places in x."""

    sd: Integers  # (S,) the logarithm of the effects' sd, or that itself where it has a sign
    first: Integers  # (S,) effect
    step: Integers  # (S,) from an effect to that of the next level
    levels: Integers  # (S,) G


class Recentred(NamedTuple):
    """Which coordinates are replaced. All of the arrays may be empty."""

    scaled: Columns
    power: Vector  # (S,) p
    power_of_mean: Vector  # (S,) 1, or p where no coefficient is beside the effects
    log_size: Vector  # (S,) log s_0
    shifting: Columns  # with the place of one coefficient each
    coefficient: Integers  # (P,)
    signed: Integers  # (P,) 1 where the sd has a sign
    log_unit: Vector  # (P,) log s_0; 0 of effects in units of s
    share: Vector  # (P,) u: the column that the effects are of is the sum of u times the coefficients'


def recentred_record(scaled: list[tuple], shifts: list[tuple]) -> Recentred:
    """Return the record of rows: (sd, first, step, levels, ...) and further numbers as `Recentred` has them."""
    S, P = np.array(scaled, dtype=float).reshape(-1, 7).T, np.array(shifts, dtype=float).reshape(-1, 8).T
    columns = [Columns(*own[:4].astype(np.int64)) for own in (S, P)]
    return Recentred(columns[0], *S[4:], columns[1], *P[4:6].astype(np.int64), *P[6:])


NONE = recentred_record([], [])


@inner
def mean_of(x, columns, i):
    """Return the mean of the effects of the i-th column."""
    total = 0.0
    for g in range(columns.levels[i]):
        total += x[columns.first[i] + g * columns.step[i]]
    return total / columns.levels[i]


@inner
def size_of(x, r, i):
    """Return what the i-th coefficient is moved by for a mean of the coordinates of 1."""
    sd = x[r.shifting.sd[i]]
    return (sd if r.signed[i] == 1 else np.exp(sd - r.log_unit[i])) * r.share[i]


@inner
def restore(y, r, x):
    """Set x, which is y, with coefficients and effects for what stands in their places; return the log Jacobian."""
    log_jacobian = 0.0
    for i in range(r.coefficient.shape[0]):
        x[r.coefficient[i]] -= size_of(y, r, i) * mean_of(y, r.shifting, i)
    for i in range(r.power.shape[0]):
        ratio, mean, G = y[r.scaled.sd[i]] - r.log_size[i], mean_of(y, r.scaled, i), r.scaled.levels[i]
        part, whole = np.exp(r.power[i] * ratio), np.exp(r.power_of_mean[i] * ratio)
        for g in range(G):
            at = r.scaled.first[i] + g * r.scaled.step[i]
            x[at] = part * (y[at] - mean) + whole * mean
        log_jacobian += (r.power[i] * (G - 1) + r.power_of_mean[i]) * ratio
    return log_jacobian


@inner
def pull_back_restored(y, r, gradient):
    """Turn the gradient in x into that in y, the Jacobian's included."""
    for i in range(r.power.shape[0]):
        sd, G, p, of_mean = r.scaled.sd[i], r.scaled.levels[i], r.power[i], r.power_of_mean[i]
        mean, average = mean_of(y, r.scaled, i), mean_of(gradient, r.scaled, i)
        part, whole = np.exp(p * (y[sd] - r.log_size[i])), np.exp(of_mean * (y[sd] - r.log_size[i]))
        gradient[sd] += p * (G - 1) + of_mean + G * average * of_mean * whole * mean
        for g in range(G):
            at = r.scaled.first[i] + g * r.scaled.step[i]
            gradient[sd] += gradient[at] * p * part * (y[at] - mean)
            gradient[at] = part * (gradient[at] - average) + whole * average
    for i in range(r.coefficient.shape[0]):
        size, sd, slope = size_of(y, r, i), r.shifting.sd[i], gradient[r.coefficient[i]]
        gradient[sd] -= slope * mean_of(y, r.shifting, i) * (r.share[i] if r.signed[i] == 1 else size)
        for g in range(r.shifting.levels[i]):
            gradient[r.shifting.first[i] + g * r.shifting.step[i]] -= slope * size / r.shifting.levels[i]


def replaced(x: Floats, r: Recentred) -> tuple[Floats, Floats]:
    """Return y at x, (d,), and dy / dx, (d, d)."""
    y, D = x.copy(), np.eye(len(x))
    for sd, first, step, G, p, of_mean, log_size in zip(*r.scaled, *r[1:4], strict=True):
        e, ratio = first + step * np.arange(G), log_size - x[sd]
        part, whole, mean = np.exp(p * ratio), np.exp(of_mean * ratio), x[e].mean()
        y[e] = part * (x[e] - mean) + whole * mean
        D[np.ix_(e, e)] = part * np.eye(G) + (whole - part) / G
        D[e, sd] = -p * part * (x[e] - mean) - of_mean * whole * mean
    for sd, first, step, G, beta, signed, log_unit, share in zip(*r.shifting, *r[5:], strict=True):
        e, size = first + step * np.arange(G), (x[sd] if signed else np.exp(x[sd] - log_unit)) * share
        y[beta] += size * y[e].mean()
        D[beta] += size * D[e].mean(axis=0)
        D[beta, sd] += y[e].mean() * (share if signed else size)
    return y, D
