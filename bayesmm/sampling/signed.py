"""Standard deviations that may be near 0 as coordinates of either sign, where the effects are in units of them.

With b = L e, e ~ N(0, I), the density of responses and effects is the same where an sd and its effects change their
signs together, as the correlations of that sd do; and that of the responses, the effects integrated out, where sd and
correlations do. In the logarithm of an sd the posterior of one that may be 0 has a long tail to minus infinity, in
which chains lose their time; with an sd x of either sign, whose |x| has the prior, it is smooth through 0, and chains
cross.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from bayesmm.design.parameters import sd_places
from bayesmm.likelihood.coordinates import LOG, SIGNED, Coordinates
from bayesmm.likelihood.structured_blocks import Sampled
from bayesmm.priors import Prior
from bayesmm.sampling.mode import Mode
from bayesmm.storage.runs import Run

# Priors of an sd that are smooth at 0 as functions of x of either sign.
SMOOTH = ("HalfNormal", "HalfStudentT", "HalfCauchy")
# The sd of log sd at the mode above which 0 is within reach: the likelihood of an sd of 1 +- 0.3 is small at 0.
NEAR_ZERO = 0.3


def crossing(
    structure: Sampled,
    priors: Mapping[str, Prior],
    c: Coordinates,
    mode: Mode,
    kept: Sequence[int],
    centred: Sequence[Sequence[bool]],
) -> list[int]:
    """Return which sds, places among the scalars of `c`, are sampled with either sign.

    Parameters
    ----------
    structure : Sampled
        What `c` has of the covariance matrices: not the sds of parts with a structure.
    priors : mapping of str to Prior
    c : Coordinates
    mode : Mode
        Of the parameters, by Laplace's approximation.
    kept : sequence of int
        The blocks whose effects are coordinates; those of others are integrated out.
    centred : sequence of sequences of bool
        Of each column of each of the design's blocks.
    """
    spread, found, at = np.sqrt(np.square(mode.factor).sum(axis=1)), [], 0
    for k, block in enumerate(structure.blocks):
        for place, columns in sd_places(block):
            prior = priors[place]
            smooth = prior.distribution in SMOOTH and prior.on != "variance"
            free = k not in kept or not any(centred[k][structure.kept[k][a]] for a in columns)
            if free and smooth and c.kind[at] == LOG and spread[c.at[at]] > NEAR_ZERO:
                found.append(at)
            at += 1
    return found


def with_signs(c: Coordinates, chosen: Sequence[int]) -> Coordinates:
    """Return the coordinates in which these sds have a sign."""
    kind = c.kind.copy()
    kind[list(chosen)] = SIGNED
    return c._replace(kind=kind)


def mode_with_signs(c: Coordinates, mode: Mode, chosen: Sequence[int]) -> Mode:
    """Return a mode in the logarithms of sds as one in the sds.

    What goes with an sd goes with the size of x, the other way round where x is below 0: the covariances are left out.
    """
    if not chosen:
        return mode
    x, covariance, at = mode.x.copy(), mode.factor @ mode.factor.T, c.at[list(chosen)]
    x[at] = np.exp(x[at])
    variances = np.diag(covariance)[at] * np.square(x[at])
    covariance[at], covariance[:, at] = 0.0, 0.0
    covariance[at, at] = variances
    return replace(mode, x=x, factor=np.linalg.cholesky(covariance))


def in_logarithms(run: Run, c: Coordinates, chosen: Sequence[int], structure: Sampled, levels: Sequence[int]) -> Run:
    """Return a run with the logarithms of these sds, all signs turned into those of the effects and correlations.

    Parameters
    ----------
    run : Run
    c : Coordinates
        In logarithms.
    chosen : sequence of int
    structure : Sampled
        What `c` has of the covariance matrices; effects of the other columns are among the coordinates too.
    levels : sequence of int
        How many levels each block has whose effects are coordinates; 0 of one whose effects are integrated out.
    """
    draws = run.posterior["x"]
    x = draws.to_numpy().copy()
    signs = np.ones((*x.shape[:2], len(c.sd_of)))
    for i in chosen:
        signs[..., c.sd_of == i] = np.where(x[..., c.at[i]] < 0, -1.0, 1.0)[..., None]
        x[..., c.at[i]] = np.log(np.maximum(np.abs(x[..., c.at[i]]), np.finfo(float).tiny))
    widths = [len(block.columns) for block in structure.design.blocks]
    effects, term, pair = x.shape[-1] - int(np.dot(widths, levels)), 0, 0
    for q, pairs, kept, width, G in zip(c.n_terms, c.n_pairs, structure.kept, widths, levels, strict=True):
        own, of_columns = signs[..., term : term + q], np.ones((*x.shape[:2], width))
        of_columns[..., kept] = own
        for p in range(pair, pair + pairs):
            x[..., c.pair_at[p]] *= own[..., c.row[p]] * own[..., c.column[p]]
        x[..., effects : effects + G * width] *= np.tile(of_columns, G)
        effects, term, pair = effects + G * width, term + q, pair + pairs
    return replace(run, posterior=run.posterior.assign(x=draws.copy(data=x)))
