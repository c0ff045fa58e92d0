"""From a design to the well-scaled problem that the marginal likelihood is evaluated on.

Two bases of the fixed columns are used: an orthonormal one, under which flat priors (REML, ML) are exact and no digit
is lost; and that of the prior's design, for the posterior.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from bayesmm.data.term_basis import TermBases
from bayesmm.design import Design
from bayesmm.errors import DataError, PriorError, listing
from bayesmm.marginal.crossproducts import CrossProducts, Factor, Floats, Ints, cross_products
from bayesmm.priors import Prior, coefficient_places, coefficient_prior, prior_bases, prior_design


@dataclass(frozen=True)
class Problem:
    """A design reduced to what the marginal likelihood needs, in well-scaled coordinates.

    Attributes
    ----------
    cp : CrossProducts
        Of the random-effects columns divided by `scales`, the fixed columns X `basis`, and y - offset - X `origin`.
    basis : (p, r) float64
        beta = origin + basis gamma for the r fixed columns of `cp`.
    origin : (p,) float64
    scales : tuple of (q_k,) float64
        Root mean squares of the random-effects columns, in the design's order of blocks.
    free : (t,) int64
        Positions of the free entries in the packed T (rows i >= j within one part of a block's partition).
    log_det : float
        What the basis takes from log|X'V^-1X|, -2 log|det basis|.
    """

    design: Design
    cp: CrossProducts
    basis: Floats
    origin: Floats
    scales: tuple[Floats, ...]
    free: Ints
    log_det: float

    @property
    def n_packed(self) -> int:
        """Length of the packed T."""
        return sum(q * q for q in self.cp.q)

    def packed(self, free: Floats) -> Floats:
        """Return the packed T with the given free entries."""
        T = np.zeros(self.n_packed)
        T[self.free] = free
        return T


def orthogonal_problem(design: Design) -> Problem:
    """Reduce a design with its fixed columns orthonormalised, which is exact under a flat prior.

    W^1/2 X = Q R; the columns used are X R^-1, and the response has its weighted least-squares fit taken out, so that
    neither near-collinear nor badly scaled columns, nor a large mean, cost digits.
    """
    w = np.ones(design.n) if design.weights is None else design.weights
    kept = [j for j in range(design.p) if j not in design.aliased]
    root = np.sqrt(w)
    Q, R = np.linalg.qr(design.X[:, kept] * root[:, None])
    inverse = solve_triangular(R, np.eye(len(kept))) if kept else np.empty((0, 0))
    target = design.y - design.offset
    basis, origin = np.zeros((design.p, len(kept))), np.zeros(design.p)
    basis[kept], origin[kept] = inverse, inverse @ (Q.T @ (root * target))
    r = target - design.X @ origin
    if design.n <= len(kept) or r @ (w * r) <= np.finfo(float).eps ** 2 * (target @ (w * target)):
        raise DataError(
            f"the {len(kept)} coefficients fit the {design.n} rows of {design.response!r} exactly, so no residual "
            "variance is left to estimate; use fewer fixed effects"
        )
    log_det = 2 * np.log(np.abs(np.diag(R))).sum()
    return reduced(design, Q / root[:, None], r, basis, origin, log_det)


def reduced(design: Design, fixed: Floats, r: Floats, basis: Floats, origin: Floats, log_det: float) -> Problem:
    """Return the problem for the given fixed columns (n, r) and response r, with the random-effects columns scaled."""
    scales = column_scales(design)
    factors = [
        Factor(block.index, np.ascontiguousarray(block.Z / scale), len(block.levels))
        for block, scale in zip(design.blocks, scales, strict=True)
    ]
    cp = cross_products(factors, fixed, r, design.weights)
    return Problem(design, cp, basis, origin, scales, free_entries(design, cp.order), log_det)


def column_scales(design: Design) -> tuple[Floats, ...]:
    """Return the root mean squares of each block's columns, which they are divided by."""
    return tuple(_scale(block.Z) for block in design.blocks)


def free_entries(design: Design, order: tuple[int, ...]) -> Ints:
    """Return the positions, in T packed in this order of the blocks, of the entries that are not fixed at 0."""
    positions, at = [], 0
    for k in order:
        block = design.blocks[k]
        q = len(block.columns)
        part_of = {column: number for number, part in enumerate(block.partition) for column in part}
        positions += [at + i * q + j for i in range(q) for j in range(i + 1) if part_of[i] == part_of[j]]
        at += q * q
    return np.array(positions, dtype=np.int64)


def _scale(Z: Floats) -> Floats:
    """Return the columns' root mean squares, 1 for a column of zeros."""
    rms = np.sqrt(np.mean(Z**2, axis=0))
    return np.where(rms > 0, rms, 1.0)


@dataclass(frozen=True)
class Integrated:
    """A problem of the prior's design, and which of its fixed columns are integrated out.

    Attributes
    ----------
    problem : Problem
        Its response has X `origin` taken out: the normal priors' means, and a least-squares fit for the other columns.
    sd : (p,) float64
        Prior sd of each fixed column: inf for a flat prior (these come last), 0 for a coefficient that is fixed or
        `loose`.
    loose : tuple of int
        Fixed columns with another prior, which has to be kept as a variable.
    places : tuple of str
        Place of each fixed column's prior.
    at : (p,) float64
        What was taken out of the response for each column.
    bases : TermBases
        What the problem's coefficients and random effects are beside those that are reported: gamma = R beta, T b.
    """

    problem: Problem
    sd: Floats
    loose: tuple[int, ...]
    places: tuple[str, ...]
    at: Floats
    bases: TermBases


def integrate(design: Design, priors: Mapping[str, Prior]) -> Integrated:
    """Return the problem in which coefficients with a normal, a flat or a fixed prior are integrated out.

    It is that of the prior's design: beta = R^-1 gamma for the coefficients gamma that the priors are of.
    """
    bases, own, prior = prior_bases(design, priors), prior_design(design, priors), coefficient_prior(priors, design)
    w = np.ones(design.n) if design.weights is None else design.weights
    target, root = design.y - design.offset, np.sqrt(w)
    least_squares = np.linalg.lstsq(own.X * root[:, None], target * root)[0]
    known = np.asarray(prior.normal) & np.isfinite(prior.sd)
    at = np.where(known, prior.mean, least_squares)
    sd = np.where(prior.normal, prior.sd, 0.0)
    order = np.argsort(~np.isfinite(sd), kind="stable")
    fixed, at, sd, basis = own.X[:, order], at[order], sd[order], bases.fixed.inverse[:, order]
    places = tuple(coefficient_places(priors, design)[j] for j in order)
    _check_flat(fixed * root[:, None], sd, places)
    problem = reduced(own, np.ascontiguousarray(fixed), target - fixed @ at, basis, basis @ at, 0.0)
    loose = tuple(int(j) for j in np.flatnonzero(~np.asarray(prior.normal)[order]))
    return Integrated(problem, sd, loose, places, at, bases)


def loose_names(integrated: Integrated) -> dict[int, str]:
    """Return the names of the variables that are the sampled coefficients, by fixed column, in the basis of the priors.

    Recovery asks for their draws, so that they do not begin with an underscore; and a grouping factor may be called
    anything.
    """
    stem = "coefficient"
    while any(f"{stem}_{j}" in integrated.problem.design.coords for j in integrated.loose):
        stem += "_"
    return {j: f"{stem}_{j}" for j in integrated.loose}


def _check_flat(fixed: Floats, sd: Floats, places: tuple[str, ...]) -> None:
    """Refuse flat priors on columns that depend on one another: there is no posterior."""
    flat = ~np.isfinite(sd)
    columns = fixed[:, flat] / _scale(fixed[:, flat])
    if flat.any() and np.linalg.matrix_rank(columns) < flat.sum():
        names = listing([place for place, is_flat in zip(places, flat, strict=True) if is_flat])
        raise PriorError(
            f"the priors of {names} are flat, but their columns are linearly dependent, so that there is no posterior; "
            "give them proper priors, or leave a column out"
        )
