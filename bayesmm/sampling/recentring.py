"""Which random effects and coefficients a joint sampler takes in other coordinates, and in which: `Recentred`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from bayesmm.design.predictors import MEAN
from bayesmm.design.records import Design
from bayesmm.design.relations import is_related
from bayesmm.design.residual.of_family import LOG as LOG_LINK
from bayesmm.design.residual.of_family import LOGIT, THRESHOLD, threshold_basis
from bayesmm.likelihood.coordinates import INTERVAL, LOG, REAL, SCALE, SIGNED, Coordinates
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.likelihood.own_parameters import own_parameters
from bayesmm.likelihood.recentred import NO_SMOOTHS, NONE, Recentred, Smooths, recentred_record, replaced
from bayesmm.likelihood.structured_blocks import Sampled
from bayesmm.likelihood.whitened import Whitened
from bayesmm.sampling.mode import FIRST_STEP, curvature

EXACT = 1e-10  # of a column's largest number: what rounding leaves of a sum of others, and what is no part of it


class Turn(NamedTuple):
    """How the columns of a smooth are turned into directions that the rows know apart, and what they know."""

    Q: Floats  # (q, q) orthogonal
    information: Floats  # (q,) of the effects in these directions, the coefficients beside them unknown
    beside: list[int]  # (B,) places of those coefficients
    slopes: Floats  # (B, q) of which the rows know beta + slopes b better than beta


NOTHING: Mapping[int, Turn] = MappingProxyType({})


def replaced_in(
    at: Whitened,
    own: Design,
    structure: Sampled,
    kept: Sequence[int],
    centred: Sequence[Sequence[bool]],
    powers: Sequence[Floats],
) -> tuple[dict[int, Turn], Floats, Whitened]:
    """Return how smooths are turned, the centre in x, and the posterior in its metric with all that is replaced.

    Parameters are as for `recentred_columns`; the posterior is still that of smooths which are not turned.
    """
    turns = turns_of(own, structure, at, kept, centred)
    at, own = turned_metric(at, own, kept, turns), turned(own, turns)
    return turns, at.centre, recentred(at, recentred_columns(own, structure, at, kept, centred, powers, turns))


def turns_of(
    own: Design, structure: Sampled, at: Whitened, kept: Sequence[int], centred: Sequence[Sequence[bool]]
) -> dict[int, Turn]:
    """Return how smooths are turned, by the number of the block: all that are in units of a sd that is sampled.

    The effects of a term of a smooth have one sd, so their prior is the same in every direction. Parameters as for
    `recentred_columns`.
    """
    c, found = at.posterior.coordinates, {}
    if is_related(own) or not structure.plain or not any(block.smooth for block in own.blocks):
        return found
    sds, known, terms = sds_at(at.centre, c), locations(own, c), np.cumsum([0, *(len(b.columns) for b in own.blocks)])
    for k, e in effects_in_x(own, c, kept).items():
        block, its = own.blocks[k], c.sd_of[terms[k] : terms[k + 1]]
        if not block.smooth or any(centred[k]) or not np.isin(c.kind[its], (LOG, SIGNED)).all():
            continue
        beside = sorted({place for of in block.predictors or (MEAN,) for places, _ in known[of] for place in places})
        P = precision(at, beside, e, sds[its])
        b = len(beside)
        slopes = np.linalg.solve(P[:b, :b], P[:b, b:])
        rows = P[b:, b:] - P[b:, :b] @ slopes - np.diag(1 / np.square(sds[its]))
        Q = np.zeros_like(rows)
        for part in block.parts:
            own_part = np.ix_(part.columns, part.columns)
            Q[own_part] = np.linalg.eigh(rows[own_part])[1]
        found[k] = Turn(Q, np.maximum(np.diag(Q.T @ rows @ Q), 0.0), beside, slopes @ Q)
    return found


def sds_at(x: Floats, c: Coordinates) -> Floats:
    """Return the sds at x, (K,), those with a sign as they are."""
    own = x[c.at[: len(np.unique(c.sd_of))]].copy()
    logarithms = c.kind[: len(own)] != SIGNED
    own[logarithms] = np.exp(own[logarithms])
    return own


def precision(at: Whitened, beside: Sequence[int], e: slice, sds: Floats) -> Floats:
    """Return the precision of coefficients, by place, and of effects b = s z, given all else: (B + q, B + q)."""
    places = [*beside, *range(e.start, e.stop)]
    sizes = np.linalg.norm(at.factor[places], axis=1)
    steps = np.eye(at.size)[:, places] * sizes
    units = sizes * np.concatenate([np.ones(len(beside)), sds])
    return curvature(at.posterior, at.centre, steps, FIRST_STEP) / np.outer(units, units)


def effects_in_x(own: Design, c: Coordinates, kept: Sequence[int]) -> dict[int, slice]:
    """Return where the effects of each of the blocks `kept` are among the coordinates."""
    sizes = [len(own.blocks[k].levels) * len(own.blocks[k].columns) for k in kept]
    ends = int(c.sizes[2]) - sum(sizes) + np.cumsum([0, *sizes])
    return {k: slice(*map(int, pair)) for k, pair in zip(kept, pairwise(ends), strict=True)}


def turned(own: Design, turns: Mapping[int, Turn]) -> Design:
    """Return the design with the columns of smooths turned."""
    blocks = [replace(b, Z=b.Z @ turns[k].Q) if k in turns else b for k, b in enumerate(own.blocks)]
    return replace(own, blocks=tuple(blocks)) if turns else own


def turned_metric(at: Whitened, own: Design, kept: Sequence[int], turns: Mapping[int, Turn]) -> Whitened:
    """Return the centre and the metric with the effects of smooths turned, for the posterior of the `turned` design."""
    centre, factor = at.centre.copy(), at.factor.copy()
    for k, e in effects_in_x(own, at.posterior.coordinates, kept).items():
        if k in turns:
            centre[e], factor[e] = turns[k].Q.T @ centre[e], turns[k].Q.T @ factor[e]
    return replace(at, centre=centre, factor=factor)


def smooths_of(own: Design, c: Coordinates, kept: Sequence[int], turns: Mapping[int, Turn]) -> Smooths:
    """Return what is replaced of the smooths that are turned."""
    terms = np.cumsum([0, *(len(block.columns) for block in own.blocks)])
    beside = sorted({place for turn in turns.values() for place in turn.beside})
    places, sds, slopes = [], [], []
    for k, e in effects_in_x(own, c, kept).items():
        if k in turns:
            places += range(e.start, e.stop)
            sds += c.sd_of[terms[k] : terms[k + 1]].tolist()
            whole = np.zeros((len(beside), e.stop - e.start))
            whole[np.searchsorted(beside, turns[k].beside)] = turns[k].slopes
            slopes.append(whole)
    if not places:
        return NO_SMOOTHS
    information = np.concatenate([turns[k].information for k in kept if k in turns])
    signed = (c.kind[sds] == SIGNED).astype(np.int64)
    return Smooths(np.array(places), c.at[sds], signed, information, np.array(beside, np.int64), np.hstack(slopes))


def recentred_columns(
    own: Design,
    structure: Sampled,
    at: Whitened,
    kept: Sequence[int],
    centred: Sequence[Sequence[bool]],
    powers: Sequence[Floats],
    turns: Mapping[int, Turn] = NOTHING,
) -> Recentred:
    """Return which columns of effects are taken in other coordinates than those of the joint density.

    Parameters
    ----------
    own : Design
        Of the prior.
    structure : Sampled
        What the coordinates have of the covariance matrices.
    at : Whitened
        The joint posterior in its metric.
    kept : sequence of int
        The blocks whose effects are coordinates.
    centred : sequence of sequences of bool
        Of each column of each block.
    powers : sequence of (q,) float64
        Of the sd of each column of each block, 0 to 1: see `likelihood.recentred`.
    turns : mapping of int to Turn
        Of the smooths among them.
    """
    c = at.posterior.coordinates
    if is_related(own) or not structure.plain:
        return NONE
    terms = np.cumsum([0, *(len(block.columns) for block in own.blocks)])
    known, scaled, shifts = locations(own, c), [], []
    for k, effects in effects_in_x(own, c, kept).items():
        if k in turns:
            continue
        block, q, G = own.blocks[k], len(own.blocks[k].columns), len(own.blocks[k].levels)
        for a, of in enumerate(block.predictors or (MEAN,) * q):
            sd, p, beside = c.sd_of[terms[k] + a], powers[k][a], beside_effects(known[of], block.Z[:, a])
            places, e = (c.at[sd], effects.start + a, q, G), slice(effects.start + a, effects.stop, q)
            if centred[k][a] and c.kind[sd] == LOG:
                beside = less_spread(at, beside, e, 1.0)
                scaled.append((*places, p, 1.0 if beside else p, at.centre[c.at[sd]]))
                shifts += [(*places, place, 0, at.centre[c.at[sd]], u) for place, u in beside]
            elif not centred[k][a] and c.kind[sd] in (LOG, SIGNED) and (a == 0 or not block.correlated):
                s = at.centre[c.at[sd]] if c.kind[sd] == SIGNED else np.exp(at.centre[c.at[sd]])
                beside = less_spread(at, beside, e, s)
                shifts += [(*places, place, c.kind[sd] == SIGNED, 0.0, u) for place, u in beside]
    return recentred_record(scaled, shifts, smooths_of(own, c, kept, turns))


def less_spread(at: Whitened, beside: list[tuple[int, float]], e: slice, size: float) -> list[tuple[int, float]]:
    """Return the coefficients, by place and u, of which the data know the sum with the mean of the effects better.

    Where they know neither, as the share of zeros of data without any, the coefficient is better left alone.
    """
    F, mean = at.factor, size * at.factor[e].mean(axis=0)
    return [(place, u) for place, u in beside if np.linalg.norm(F[place] + u * mean) < np.linalg.norm(F[place])]


def locations(own: Design, c: Coordinates) -> dict[str, list[tuple[tuple[int, ...], Floats]]]:
    """Return what is added to each predictor: the places in x of coordinates that move together, and a column, (n,)."""
    parameters, (auxiliaries, coefficients, _), one = own_parameters(own), c.sizes, np.ones(own.n)
    gamma, scalar = len(c.at) - coefficients, len(c.at) - coefficients - auxiliaries
    other = scalar + len(parameters.scalars)  # the thresholds and the coefficients of formulas
    found = {MEAN: [([gamma + j], x) for j, x in enumerate(own.X.T)]}
    for m, name in enumerate(own.family.auxiliaries):
        found[name] = [([other + j], x) for j, x in enumerate(parameters.V[m].T)] if parameters.by_row else []
    if own.family.ordered:
        found[MEAN].append(([other + j for j in moving_thresholds(own, parameters.ascending)], -one))
    found = {name: [at for at in columns if (c.kind[at[0]] == REAL).all()] for name, columns in found.items()}
    for m, name in enumerate(own.family.auxiliaries):
        at = scalar + parameters.place[m]
        if at >= scalar and is_link(c, at, int(parameters.code[m]), parameters.ends[m]):
            found[name].append(([at], one))
    return {name: [(tuple(c.at[at].tolist()), x) for at, x in columns if at] for name, columns in found.items()}


def is_link(c: Coordinates, i: int, code: int, ends: Floats) -> bool:
    """Return whether the coordinate of the i-th scalar is the link, with this code, of a parameter between the ends."""
    if code == LOG_LINK:
        return c.kind[i] in (LOG, SCALE) and ends[0] == 0
    return c.kind[i] == (INTERVAL if code == LOGIT else REAL) and (code != LOGIT or np.array_equal(c.ends[i], ends))


def moving_thresholds(own: Design, ascending: int) -> list[int]:
    """Return which of the thresholds' parameters move all thresholds: of those that ascend the first, above which."""
    basis = threshold_basis(next(part for part in own.residual.parts if part.of == THRESHOLD))
    together = np.linalg.lstsq(basis, np.ones(len(basis)))[0]
    if not np.allclose(basis @ together, 1.0) or not np.isin(together.round(12), (0.0, 1.0)).all():
        return []
    return [0] if ascending else np.flatnonzero(together > 0.5).tolist()


def beside_effects(known: Sequence[tuple[tuple[int, ...], Floats]], z: Floats) -> list[tuple[int, float]]:
    """Return places with their u where z is a sum of u times the columns, else none."""
    columns = [x for _, x in known if x.any()]
    if not columns or not z.any():
        return []
    X = np.column_stack(columns)
    u = np.linalg.lstsq(X, z)[0]
    if not np.allclose(X @ u, z, rtol=0.0, atol=EXACT * np.abs(z).max()):
        return []
    shares = zip((places for places, x in known if x.any()), u, np.abs(X).max(axis=0), strict=True)
    kept = [(places, own) for places, own, size in shares if abs(own) * size > EXACT * np.abs(z).max()]
    return [(place, float(own)) for places, own in kept for place in places]


def recentred(at: Whitened, r: Recentred) -> Whitened:
    """Return a posterior in its metric, the effects and coefficients replaced."""
    y, D = replaced(at.centre, r)
    factor = np.linalg.qr((D @ at.factor).T, mode="r").T  # of D F F' D', lower triangular
    return replace(at, centre=y, factor=np.ascontiguousarray(factor), recentred=r)
