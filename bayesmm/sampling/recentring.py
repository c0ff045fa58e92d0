"""Which random effects and coefficients a joint sampler takes in other coordinates, and in which: `Recentred`."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bayesmm.design.predictors import MEAN
from bayesmm.design.records import Design
from bayesmm.design.relations import is_related
from bayesmm.design.residual.of_family import LOG as LOG_LINK
from bayesmm.design.residual.of_family import LOGIT, THRESHOLD, threshold_basis
from bayesmm.likelihood.coordinates import INTERVAL, LOG, REAL, SCALE, SIGNED, Coordinates
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.likelihood.own_parameters import own_parameters
from bayesmm.likelihood.recentred import NONE, Recentred, recentred_record, replaced
from bayesmm.likelihood.structured_blocks import Sampled
from bayesmm.likelihood.whitened import Whitened

EXACT = 1e-10  # of a column's largest number: what rounding leaves of a sum of others, and what is no part of it


def recentred_columns(
    own: Design,
    structure: Sampled,
    at: Whitened,
    kept: Sequence[int],
    centred: Sequence[Sequence[bool]],
    powers: Sequence[Floats],
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
    """
    c = at.posterior.coordinates
    if is_related(own) or not structure.plain:
        return NONE
    sizes = {k: len(own.blocks[k].levels) * len(own.blocks[k].columns) for k in kept}
    terms = np.cumsum([0, *(len(block.columns) for block in own.blocks)])
    first, scaled, shifts = int(c.sizes[2]) - sum(sizes.values()), [], []
    known = locations(own, c)
    for k, size in sizes.items():
        block, q, G = own.blocks[k], len(own.blocks[k].columns), len(own.blocks[k].levels)
        for a, of in enumerate(block.predictors or (MEAN,) * q):
            sd, p, beside = c.sd_of[terms[k] + a], powers[k][a], beside_effects(known[of], block.Z[:, a])
            places, e = (c.at[sd], first + a, q, G), slice(first + a, first + size, q)
            if centred[k][a] and c.kind[sd] == LOG:
                beside = less_spread(at, beside, e, 1.0)
                scaled.append((*places, p, 1.0 if beside else p, at.centre[c.at[sd]]))
                shifts += [(*places, place, 0, at.centre[c.at[sd]], u) for place, u in beside]
            elif not centred[k][a] and c.kind[sd] in (LOG, SIGNED) and (a == 0 or not block.correlated):
                s = at.centre[c.at[sd]] if c.kind[sd] == SIGNED else np.exp(at.centre[c.at[sd]])
                beside = less_spread(at, beside, e, s)
                shifts += [(*places, place, c.kind[sd] == SIGNED, 0.0, u) for place, u in beside]
        first += size
    return recentred_record(scaled, shifts)


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
