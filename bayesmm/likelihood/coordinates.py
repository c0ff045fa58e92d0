"""The change of variables between a sampler's coordinates and the parameters, with the priors, in compiled code.

Coordinates x, (d,): block by block the log sds and the hyperbolic arc tangents of the canonical partial correlations
(Lewandowski, Kurowicka & Joe 2009), then the logs of the positive auxiliaries (sigma, ...), then the coefficients that
are sampled. Parameters that their prior fixes are left out; one with a uniform prior is moved to the real line by the
logit of its place between the ends.

A mode is sought on the natural scales, where the density has no Jacobian: in the same coordinates, but that an sd is
its own coordinate, whose sign means nothing, so that 0 can be reached; and that no interval is stretched but those of
correlations, whose density may be highest at an end.

The likelihood is not in here: `natural` gives the parameters that it is a function of, and `pull_back` takes its
derivatives with respect to them.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from bayesmm.design.parameters import sd_places
from bayesmm.design.records import Block
from bayesmm.likelihood.compiled import inner, zeros
from bayesmm.likelihood.packed import Floats, Integers, Ints, Matrix, Vector
from bayesmm.likelihood.prior_kernels import log_prior, prior_row
from bayesmm.priors import Prior
from bayesmm.priors.distributions import lkj_log_density

# How a scalar parameter is moved to the real line; SIGNED, SCALE, RISE and STRETCHED, as REAL, without a Jacobian.
# ABOVE and RISE are above the parameter before, by the exponential of their coordinate.
FIXED, REAL, LOG, INTERVAL, SIGNED, SCALE, ABOVE, RISE, STRETCHED = -1, 0, 1, 2, 3, 4, 5, 6, 7
LOGARITHMIC = (LOG, SCALE)
ASCENDING = (ABOVE, RISE)
LOGISTIC = (INTERVAL, STRETCHED)
LOG_2 = math.log(2.0)
LEAST_RISE = 1e-6  # of a start: ascending parameters are apart
NOTHING: Mapping[str, tuple[float, float]] = MappingProxyType({})
AT_END = 1e-12  # share of an interval that a start keeps away from its ends, where the coordinate is infinite
# A correlation of 1 - 1e-15 is a coordinate of 17: the arc tangent of what rounds to 1 is cut there.
LARGEST_CORRELATION = 1 - 1e-15
LARGEST_COSH = 700.0  # its cosh is finite; 1 / cosh is 0 to all digits long before


class Coordinates(NamedTuple):
    """What x means, for K blocks of q_k terms: the arrays that the compiled code takes.

    The s scalar parameters are the sds block by block, one for each term or for several, the positive auxiliaries, and
    the coefficients. The pairs are the partial correlations block by block, row by row, the columns of a row ascending.
    """

    n_terms: Integers  # (K,)
    sd_of: Integers  # (sum q_k,) the scalar that is the sd of each term; the terms of one are side by side
    n_pairs: Integers  # (K,)
    row: Integers  # (pairs,) of the block's correlation factor
    column: Integers  # (pairs,) below the row
    power: Vector  # (pairs,) of sech^2 x in the density: the LKJ prior and the Jacobian
    pair_at: Integers  # (pairs,) place in x
    kind: Integers  # (s,) FIXED, REAL, LOG, INTERVAL, SIGNED, SCALE, ABOVE, RISE or STRETCHED
    at: Integers  # (s,) place in x; -1 for FIXED
    ends: Matrix  # (s, 2) of the prior's support; the value, twice, of FIXED
    code: Integers  # (s,) of the prior
    on_variance: Integers  # (s,) 1 where the prior is that of the square
    numbers: Matrix  # (s, 3) of the prior
    sizes: Integers  # (3,) number of auxiliaries, of coefficients, and of coordinates d
    constant: Vector  # (1,) sum of the logs of the priors' normalising constants


class Natural(NamedTuple):
    """The parameters at x, and what `pull_back` needs.

    `L` holds the lower triangular factors of the covariance matrices, L_k L_k' = Sigma_k, row by row and block by
    block, zeros above the diagonals; `C` those of the correlation matrices.
    """

    log_density: float  # log priors and log Jacobian, normalised
    L: Floats  # (sum q_k^2,)
    positive: Floats  # (number of auxiliaries,)
    coefficients: Floats  # (number of sampled coefficients,)
    C: Floats  # (sum q_k^2,)
    value: Floats  # (s,) the scalar parameters
    rate: Floats  # (s,) d value / d x
    slope: Floats  # (s,) d (log prior + log Jacobian) / d x
    root: Floats  # (pairs,) what a row of a correlation factor has left of 1 before the pair


def coordinates(
    blocks: Sequence[Block],
    priors: Mapping[str, Prior],
    positive: Sequence[str],
    coefficients: Sequence[str],
    *,
    jacobian: bool = True,
    effects: int = 0,
    ascending: Collection[str] = (),
    signed: Collection[str] = (),
    stretched: Collection[str] = (),
    within: Mapping[str, tuple[float, float]] = NOTHING,
) -> Coordinates:
    """Return the coordinates of a model.

    Parameters
    ----------
    blocks : sequence of Block
        Whose parts have any covariance matrix or a diagonal one.
    priors : mapping of place to Prior
        All in closed form: "Custom" has no density here.
    positive, coefficients : sequences of str
        Places of the positive auxiliaries, ("sigma",) of a Gaussian model, and of the coefficients that are sampled.
    jacobian : bool
        True: the density is that of x. False: that of sds, correlations, auxiliaries and coefficients, up to the
        constants of the correlations' priors.
    effects : int
        Random effects that follow the coefficients, as coefficients whose density the likelihood has.
    ascending : collection of str
        Places of those of `positive` that are above the one before.
    signed : collection of str
        Places of those of `positive` that are their own coordinate where there is no Jacobian, since they may be 0.
    stretched : collection of str
        Places of those with a uniform prior that are moved by the logit there too.
    within : mapping of place to (float, float)
        The ends outside of which the likelihood of a parameter is 0, whatever its prior: between two of them it is
        moved to the real line, so that a sampler never meets the wall.

    Raises
    ------
    KeyError
        For a prior without a density in closed form.
    """
    pairs, scalars, sd_of, end, constant = [], [], [], 0, 0.0
    for block in blocks:
        for place, columns in sd_places(block):
            sd_of += [len(scalars)] * len(columns)
            scalars.append(_scalar(priors[place], end, None if jacobian else SIGNED))
            end += scalars[-1][1] >= 0
        if block.correlated:
            eta = priors[block.names.corr].parameters["eta"]
            parts = [part for part in block.partition if len(part) > 1 and jacobian]
            constant += sum(lkj_log_density(np.eye(len(part)), eta) for part in parts)
            for i, j, power in partial_correlations(block):
                pairs.append((i, j, end, power * jacobian + eta - 1))  # log det of the matrix: the sum of log sech^2
                end += 1
    below = [priors[place].distribution != "Fixed" and support_ends(priors[place])[0] < 0 for place in positive]
    kinds = [REAL if any_sign else SCALE for any_sign in below] + [REAL] * len(coefficients)
    for place, kind in zip((*positive, *coefficients), kinds, strict=True):
        if place in ascending:
            chosen = ABOVE if jacobian else RISE
        else:
            chosen = None if jacobian else SIGNED if place in signed else STRETCHED if place in stretched else kind
        scalars.append(_scalar(priors[place], end, chosen, within.get(place)))
        end += scalars[-1][1] >= 0
    scalars += [_scalar(Prior("Flat"), end + k, REAL) for k in range(effects)]
    end += effects
    i, j, pair_at, power = np.array(pairs, dtype=float).reshape(-1, 4).T
    kind, at, code, on_variance = np.array([s[:4] for s in scalars], dtype=np.int64).reshape(-1, 4).T.copy()
    ends, numbers = np.array([s[4] for s in scalars]), np.array([s[5] for s in scalars])
    return Coordinates(
        np.array([len(block.columns) for block in blocks], dtype=np.int64),
        np.array(sd_of, dtype=np.int64),
        np.array([len(partial_correlations(block)) for block in blocks], dtype=np.int64),
        i.astype(np.int64), j.astype(np.int64), power.copy(), pair_at.astype(np.int64),
        kind, at, ends.reshape(-1, 2), code, on_variance, numbers.reshape(-1, 3),
        np.array([len(positive), len(coefficients) + effects, end], dtype=np.int64),
        np.array([constant + sum(s[6] for s in scalars)]),
    )  # fmt: skip


def partial_correlations(block: Block) -> list[tuple[int, int, float]]:
    """Return (row, column, power of sech^2 in the Jacobian |dR / dx|) of each partial correlation of a block.

    The power is 1 from tanh, and (r - 2 - j) / 2 from partial correlations to correlations for column j of a part of
    r terms (Lewandowski, Kurowicka & Joe 2009, theorem 1).
    """
    part = {column: sorted(columns) for columns in block.partition for column in columns}
    return [
        (i, j, 1 + (len(part[j]) - 2 - part[j].index(j)) / 2)
        for i in range(len(block.columns))
        for j in range(i)
        if j in part[i]
    ]


def _scalar(prior: Prior, end: int, kind: int | None, within: tuple[float, float] | None = None) -> tuple:
    """Return kind, place in x, code, on_variance, ends, numbers and log constant of one parameter."""
    if prior.distribution == "Fixed":
        return FIXED, -1, 0, 0, (prior.parameters["value"],) * 2, (0.0,) * 3, 0.0
    code, numbers, constant = prior_row(prior)
    ends = ends_within(prior, within)
    if kind is None:
        kind = INTERVAL if math.isfinite(ends[1] - ends[0]) else LOG if prior.support == "positive" else REAL
    return kind, end, code, int(prior.on == "variance"), ends, (*numbers, 0.0, 0.0, 0.0)[:3], constant


def ends_within(prior: Prior, within: tuple[float, float] | None) -> tuple[float, float]:
    """Return the ends of a prior's support inside of others, if any; of the prior alone where nothing is in both."""
    low, high = support_ends(prior)
    if within is None:
        return low, high
    narrower = max(low, within[0]), min(high, within[1])
    return narrower if narrower[0] < narrower[1] else (low, high)


def support_ends(prior: Prior) -> tuple[float, float]:
    """Return the ends of a prior's support, of the sd also where the distribution is of the variance."""
    if prior.support != "interval":
        return (0.0 if prior.support == "positive" else -math.inf), math.inf
    low, high = prior.ends
    return (math.sqrt(low), math.sqrt(high)) if prior.on == "variance" else (low, high)


@inner
def log_sech2(z):
    """Return log(1 - tanh(z)^2), also where tanh(z) rounds to 1."""
    size = abs(z)
    return 2.0 * (LOG_2 - size - math.log1p(math.exp(-2.0 * size)))


@inner
def moved(kind, low, high, x):
    """Return the parameter at the coordinate x, its derivative, the log of that, and the derivative of that log."""
    if kind == LOG or kind == SCALE or kind == ABOVE or kind == RISE:
        value = math.exp(x)
        return (value, value, x, 1.0) if kind == LOG or kind == ABOVE else (value, value, 0.0, 0.0)
    if kind == INTERVAL or kind == STRETCHED:
        share = 1.0 / (1.0 + math.exp(-x))
        width = high - low
        log_rate = math.log(width) - abs(x) - 2.0 * math.log1p(math.exp(-abs(x)))
        value, rate = low + width * share, math.exp(log_rate)
        return (value, rate, log_rate, 1.0 - 2.0 * share) if kind == INTERVAL else (value, rate, 0.0, 0.0)
    return x, 1.0, 0.0, 0.0


@inner
def natural(x, c):
    """Return the parameters at x, a Natural, for Coordinates `c`; its log density is not finite where there is none."""
    s, n_sampled = c.kind.shape[0], c.sizes[1]
    value, rate, slope, total = zeros(s), zeros(s), zeros(s), c.constant[0]
    for i in range(s):
        if c.kind[i] == FIXED:
            value[i] = c.ends[i, 0]
            continue
        value[i], rate[i], log_rate, d_log_rate = moved(c.kind[i], c.ends[i, 0], c.ends[i, 1], x[c.at[i]])
        if c.kind[i] == ABOVE or c.kind[i] == RISE:
            value[i] += value[i - 1]
        size, sign = value[i], 1.0
        if c.kind[i] == SIGNED:
            size, sign = abs(size), np.sign(size)
        log_p, d_log_p = log_prior(c.code[i], c.on_variance[i], c.numbers[i], size)
        slope[i] = sign * d_log_p * rate[i] + d_log_rate
        total += log_p + log_rate
        if c.kind[i] != INTERVAL and not (c.ends[i, 0] <= size and size <= c.ends[i, 1]):
            total = -np.inf
    length = 0
    for k in range(c.n_terms.shape[0]):
        length += c.n_terms[k] * c.n_terms[k]
    L, C, root = zeros(length), zeros(length), zeros(c.row.shape[0])
    start, pair, term = 0, 0, 0
    for k in range(c.n_terms.shape[0]):
        q = c.n_terms[k]
        for i in range(q):
            C[start + i * q + i] = 1.0
        for p in range(pair, pair + c.n_pairs[k]):
            z, diagonal = x[c.pair_at[p]], start + c.row[p] * (q + 1)
            log_left = log_sech2(z)
            total += c.power[p] * log_left
            root[p] = C[diagonal]
            C[start + c.row[p] * q + c.column[p]] = math.tanh(z) * root[p]
            C[diagonal] *= math.exp(0.5 * log_left)
        for i in range(q):
            for j in range(i + 1):
                L[start + i * q + j] = value[c.sd_of[term + i]] * C[start + i * q + j]
        start, pair, term = start + q * q, pair + c.n_pairs[k], term + q
    first = s - n_sampled - c.sizes[0]
    return Natural(total, L, value[first : s - n_sampled], value[s - n_sampled :], C, value, rate, slope, root)


@inner
def pull_back(x, c, at, d_L, d_positive, d_coefficients, gradient):
    """Set gradient, (d,): that of log prior, log Jacobian and a log likelihood with these derivatives at `at`.

    `d_L` is packed as `L` is, and read at and below the diagonals only.
    """
    start, pair, term = 0, 0, 0
    for k in range(c.n_terms.shape[0]):
        q = c.n_terms[k]
        carried = zeros(q)  # derivative with respect to what each row has left of 1
        for i in range(q):
            total, here, sd = 0.0, start + i * q, c.sd_of[term + i]
            for j in range(i + 1):
                total += d_L[here + j] * at.C[here + j]
            if c.kind[sd] != FIXED:
                if term + i > 0 and c.sd_of[term + i - 1] == sd:
                    gradient[c.at[sd]] += total * at.rate[sd]
                else:
                    gradient[c.at[sd]] = total * at.rate[sd] + at.slope[sd]
            carried[i] = at.value[sd] * d_L[here + i]
        for p in range(pair + c.n_pairs[k] - 1, pair - 1, -1):
            i, z = c.row[p], x[c.pair_at[p]]
            t, sech, d_C = (
                math.tanh(z),
                math.exp(0.5 * log_sech2(z)),
                at.value[c.sd_of[term + i]] * d_L[start + i * q + c.column[p]],
            )
            gradient[c.pair_at[p]] = sech * at.root[p] * (d_C * sech - carried[i] * t) - 2.0 * c.power[p] * t
            carried[i] = d_C * t + carried[i] * sech
        start, pair, term = start + q * q, pair + c.n_pairs[k], term + q
    n_positive, n_sampled = c.sizes[0], c.sizes[1]
    first = c.kind.shape[0] - n_positive - n_sampled
    carry = 0.0  # what is above moves with it
    for i in range(n_positive + n_sampled - 1, -1, -1):
        k, d_value = first + i, d_positive[i] if i < n_positive else d_coefficients[i - n_positive]
        if c.kind[k] != FIXED:
            gradient[c.at[k]] = (d_value + carry) * at.rate[k] + at.slope[k]
        if c.kind[k] == ABOVE or c.kind[k] == RISE:
            carry += d_value + (at.slope[k] - (1.0 if c.kind[k] == ABOVE else 0.0)) / at.rate[k]
        else:
            carry = 0.0


def values(c: Coordinates, x: Floats) -> Floats:
    """Return the scalar parameters of many x, (n, d), as (n, s): those of `natural`."""
    out = np.empty((len(x), len(c.kind)))
    with np.errstate(over="ignore", under="ignore"):  # far out in the tails
        for i, kind in enumerate(c.kind):
            low, high = c.ends[i]
            column = x[:, c.at[i]] if kind != FIXED else low
            if kind in LOGISTIC:
                column = low + (high - low) * 0.5 * (1.0 + np.tanh(0.5 * column))
            out[:, i] = np.exp(column) if kind in LOGARITHMIC else column
            if kind in ASCENDING:
                out[:, i] = out[:, i - 1] + np.exp(column)
    return out


def coordinate(c: Coordinates, i: int, value: float, before: float = 0.0) -> float:
    """Return the coordinate of a value of the i-th scalar parameter, which is not fixed: the inverse of `values`.

    `before` is the value of the one before.
    """
    if c.kind[i] in ASCENDING:
        return math.log(max(value - before, LEAST_RISE))
    if c.kind[i] in LOGARITHMIC:
        return math.log(value)
    if c.kind[i] in LOGISTIC:
        low, high = c.ends[i]
        share = min(max((value - low) / (high - low), AT_END), 1 - AT_END)
        return math.log(share / (1 - share))
    return value


def sds_of_terms(c: Coordinates, scalars: Floats) -> list[Floats]:
    """Return the sds of each block's terms, (n, q_k), among many scalar parameters, (n, s)."""
    return np.split(scalars[:, c.sd_of], np.cumsum(c.n_terms)[:-1], axis=1) if len(c.n_terms) else []


def first_terms(c: Coordinates) -> Ints:
    """Return for each sd the first of the terms that have it, a place among those of all blocks."""
    return np.unique(c.sd_of, return_index=True)[1]


def factors(c: Coordinates, x: Floats) -> list[Floats]:
    """Return the factors of the correlation matrices of many x, (n, d), as (n, q_k, q_k): those of `natural`."""
    out, ends = [], np.cumsum([0, *c.n_pairs])
    for q, start, end in zip(c.n_terms, ends[:-1], ends[1:], strict=True):
        C = np.tile(np.eye(q), (len(x), 1, 1))
        for p in range(start, end):
            i, z = c.row[p], x[:, c.pair_at[p]]
            C[:, i, c.column[p]] = np.tanh(z) * C[:, i, i]
            C[:, i, i] /= np.cosh(np.minimum(np.abs(z), LARGEST_COSH))
        out.append(C)
    return out


def arctanh_partial(C: Floats, rows: Ints, columns: Ints) -> Floats:
    """Return the coordinates of the correlations (rows, columns) of factors C, (n, q, q), as (n, pairs)."""
    left, out = np.ones(C.shape[:2]), np.empty((len(C), len(rows)))
    for at, (i, j) in enumerate(zip(rows, columns, strict=True)):
        partial = C[:, i, j] / np.sqrt(left[:, i])
        out[:, at] = np.arctanh(np.clip(partial, -LARGEST_CORRELATION, LARGEST_CORRELATION))
        left[:, i] = np.maximum(left[:, i] - np.square(C[:, i, j]), np.finfo(float).tiny)
    return out
