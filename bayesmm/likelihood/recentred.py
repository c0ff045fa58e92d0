"""Random effects as a sampler takes them: differences in part of their sd's units, their mean apart from a coefficient.

The data know beta + b_g, the coefficient with each level's effect, and next to nothing of beta apart from the mean of
the b_g: given the data that is near N(0, s^2 / G), with s the sd of the effects and G the number of levels. Of few
levels s may be twice or half of what it is at the mode, and no fixed scale serves. With a typical sd s_0 and a power p
between 0, for effects that the data know, and 1, for those that they do not, e_g and m take the places of b_g and beta:

    b_g = (s / s_0)^p (e_g - mean(e)) + (s / s_0) mean(e),   beta = m - (s / s_0) mean(e).

Effects in units of s, b_g = s z_g, stay what they are, with beta = m - s mean(z). Where the effects' column is not that
of one coefficient but X u, all coefficients move, by u times as much. Powers of scales: Gorinova, Moore & Hoffman
(2020, Automatic reparameterisation of probabilistic programs, section 4).

Of the penalised coefficients of a smooth, each of its own direction, the data know some well and others not at all, and
all share one sd. With the information i that the rows have of b = s z, of which the conditional sd is
s / sqrt(1 + i s^2), e takes the place of z:

    z = e / sqrt(1 + i s^2),

z itself where s is small, and b in units of its error where it is large, whatever the sign of s is. The coefficients
beside the smooth, of which the rows know beta + U b better than beta, are beta = m - U s z.
"""

from typing import NamedTuple

import numpy as np

from bayesmm.likelihood.compiled import inner
from bayesmm.likelihood.packed import Floats, Integers, Matrix, Vector


class Columns(NamedTuple):
    """The effects of S columns, by their places in x."""

    sd: Integers  # (S,) the logarithm of the effects' sd, or that itself where it has a sign
    first: Integers  # (S,) effect
    step: Integers  # (S,) from an effect to that of the next level
    levels: Integers  # (S,) G


class Smooths(NamedTuple):
    """The z of smooths that are taken in units of their errors, and the coefficients beside them."""

    known: Integers  # (K,) places in x
    sd: Integers  # (K,) their sd, or its logarithm
    signed: Integers  # (K,) 1 where it has a sign
    information: Vector  # (K,) i
    beside: Integers  # (B,) the coefficients' places
    slopes: Matrix  # (B, K) U


NO_SMOOTHS = Smooths(*(np.zeros(0, np.int64),) * 3, np.zeros(0), np.zeros(0, np.int64), np.zeros((0, 0)))


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
    smooths: Smooths


def recentred_record(scaled: list[tuple], shifts: list[tuple], smooths: Smooths = NO_SMOOTHS) -> Recentred:
    """Return the record of rows: (sd, first, step, levels, ...) and further numbers as `Recentred` has them."""
    S, P = np.array(scaled, dtype=float).reshape(-1, 7).T, np.array(shifts, dtype=float).reshape(-1, 8).T
    columns = [Columns(*own[:4].astype(np.int64)) for own in (S, P)]
    shifting = columns[1], *P[4:6].astype(np.int64), *P[6:]
    return Recentred(columns[0], *S[4:], *shifting, smooths)


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
def sd_of(x, own, i):
    """Return the sd of the i-th z of smooths, with its sign where it has one."""
    return x[own.sd[i]] if own.signed[i] == 1 else np.exp(x[own.sd[i]])


@inner
def restore_smooths(y, own, x):
    """Set what x has of smooths and of the coefficients beside them; return the log Jacobian."""
    log_jacobian = 0.0
    for i in range(own.known.shape[0]):
        s = sd_of(y, own, i)
        precision = 1.0 + own.information[i] * s * s
        x[own.known[i]] = y[own.known[i]] / np.sqrt(precision)
        log_jacobian -= 0.5 * np.log(precision)
        for j in range(own.beside.shape[0]):
            x[own.beside[j]] -= own.slopes[j, i] * s * x[own.known[i]]
    return log_jacobian


@inner
def pull_back_smooths(y, own, gradient):
    """Turn the gradient in x into that in y, the Jacobian's included, of smooths."""
    for i in range(own.known.shape[0]):
        s, slope = sd_of(y, own, i), 0.0
        precision = 1.0 + own.information[i] * s * s
        z = y[own.known[i]] / np.sqrt(precision)
        for j in range(own.beside.shape[0]):
            slope -= own.slopes[j, i] * gradient[own.beside[j]]
        of_z = gradient[own.known[i]] + slope * s
        of_s = slope * z - own.information[i] * s / precision * (1.0 + of_z * z)
        gradient[own.sd[i]] += of_s if own.signed[i] == 1 else of_s * s
        gradient[own.known[i]] = of_z / np.sqrt(precision)


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
    return log_jacobian + restore_smooths(y, r.smooths, x)


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
    pull_back_smooths(y, r.smooths, gradient)
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
    for sd, first, step, G, beta, signed, log_unit, share in zip(*r.shifting, *r[5:9], strict=True):
        e, size = first + step * np.arange(G), (x[sd] if signed else np.exp(x[sd] - log_unit)) * share
        y[beta] += size * y[e].mean()
        D[beta] += size * D[e].mean(axis=0)
        D[beta, sd] += y[e].mean() * (share if signed else size)
    replace_smooths(x, r.smooths, y, D)
    return y, D


def replace_smooths(x: Floats, own: Smooths, y: Floats, D: Floats) -> None:
    """Set what y has in the places of smooths and of the coefficients beside them, and its derivatives in D."""
    for at, sd, signed, information, slopes in zip(*own[:4], own.slopes.T, strict=True):
        s = x[sd] if signed else np.exp(x[sd])
        of_s, root = (1.0 if signed else s), np.sqrt(1.0 + information * s * s)
        y[at], D[at, at], D[at, sd] = x[at] * root, root, x[at] * information * s * of_s / root
        y[own.beside] += slopes * s * x[at]
        D[own.beside, at] += slopes * s
        D[own.beside, sd] += slopes * of_s * x[at]
