"""From a design to the well-scaled problem that the marginal likelihood is evaluated on.

Two bases of the fixed columns are used: an orthonormal one, under which flat priors (REML, ML) are exact and no digit
is lost; and that of the prior's design, for the posterior.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy.linalg import solve_triangular

from bayesmm.design.predictors import expanded
from bayesmm.design.records import Block, Design
from bayesmm.design.relations import is_related, is_sparse, is_turned
from bayesmm.design.residual.independent import whitened, whitened_to_one
from bayesmm.design.residual.structure import Values, check_no_parameters
from bayesmm.design.summed import SummedColumn, SummedMatrix, is_summed, rows_of, weighted_rows
from bayesmm.design.term_basis import TermBases
from bayesmm.errors import DataError, PriorError, listing
from bayesmm.likelihood.crossproducts import (
    CrossProducts,
    Factor,
    Floats,
    Ints,
    cross_products,
)
from bayesmm.likelihood.orthogonal import Columns, orthonormal, orthonormal_in_parts, residual, root_mean_square, scaled
from bayesmm.likelihood.sparse_levels import kin_of
from bayesmm.likelihood.structured_blocks import Sampled, sampled_of
from bayesmm.likelihood.summed import (
    cross_products_of_sums,
    in_other_basis,
    is_exact,
    orthonormal_of_sums,
    sets_of_sums,
)
from bayesmm.likelihood.theta import Theta, make_theta
from bayesmm.likelihood.turned import turn_of
from bayesmm.likelihood.varying import (
    Varying,
    first_values,
    sum_of_log_weights,
    varies,
    varying_labels,
    varying_of_sums,
    varying_parts,
    varying_products,
)
from bayesmm.likelihood.varying_likelihood import At, at_residual
from bayesmm.priors import Prior, coefficient_places, coefficient_prior, prior_bases, prior_design


@dataclass(frozen=True)
class Problem:
    """A design reduced to what the marginal likelihood needs, in well-scaled coordinates.

    Attributes
    ----------
    cp : CrossProducts
        Of the random-effects columns Z_k B_k, the `fixed` columns X `basis`, and y - offset - X `origin`.
    fixed : (n, r) float64
    response : (n,) float64
    basis : (p, r) float64
        beta = origin + basis gamma for the r fixed columns of `cp`.
    origin : (p,) float64
    columns : tuple of Columns
        The random-effects columns of each block and their basis B_k, in the design's order: b = B_k b_s, and
        Sigma_k = sigma^2 B_k T_k T_k' B_k'.
    theta : Theta
        What a search moves, and how the packed T follows from it.
    log_det : float
        What the basis takes from log|X'V^-1X|, -2 log|det basis|.
    """

    design: Design
    cp: CrossProducts
    fixed: Floats
    response: Floats
    basis: Floats
    origin: Floats
    columns: tuple[Columns, ...]
    theta: Theta
    log_det: float

    @property
    def bases(self) -> tuple[Floats, ...]:
        """B_k of each block, (q_k, q_k)."""
        return tuple(columns.basis for columns in self.columns)

    @property
    def scales(self) -> tuple[Floats, ...]:
        """What the random-effects columns were divided by, where the bases are diagonal."""
        return tuple(1 / np.diag(basis) for basis in self.bases)

    @property
    def free(self) -> Ints:
        """Positions of the free entries in the packed T (rows i >= j within one part of a block's partition)."""
        return self.theta.free

    @property
    def n_packed(self) -> int:
        """Length of the packed T."""
        return self.theta.length

    def packed(self, theta: Floats) -> Floats:
        """Return the packed T at theta."""
        return self.theta.packed(theta)

    def gradient(self, d_T: Floats, theta: Floats) -> Floats:
        """Return the derivatives in theta of what has the derivatives `d_T` in the packed T."""
        return self.theta.gradient(d_T, theta)


def orthogonal_problem(design: Design, columns: tuple[Columns, ...] | None = None) -> Problem:
    """Reduce a design with its columns orthonormalised, which is exact under a flat prior.

    X = V R with V'WV = I; the columns used are V = X R^-1, and the response has its weighted least-squares fit taken
    out, so that neither near-collinear nor badly scaled columns, nor a predictor or a response far from 0, cost digits.
    The random-effects columns are orthonormalised too, unless other `columns` are given.
    """
    design = design if design.residual.estimated else whitened(design)
    kept = [j for j in range(design.p) if j not in design.aliased]
    exact = (
        f"the {len(kept)} coefficients fit the {design.n} rows of {design.response!r} exactly, so no residual "
        "variance is left to estimate; use fewer fixed effects"
    )
    if design.n <= len(kept):
        raise DataError(exact)
    X, target = design.X[:, kept], design.y - design.offset
    if is_summed(design):
        V, R, r, coefficients = orthonormal_of_sums(X, target)
        no_residual = is_exact(r, target)
    else:
        w = np.ones(design.n) if design.weights is None else design.weights
        V, R = orthonormal(X, w)
        r, coefficients = residual(V, target, w)
        no_residual = r @ (w * r) <= np.finfo(float).eps ** 2 * (target @ (w * target))
    inverse = solve_triangular(R, np.eye(len(kept))) if kept else np.empty((0, 0))
    basis, origin = np.zeros((design.p, len(kept))), np.zeros(design.p)
    basis[kept], origin[kept] = inverse, inverse @ coefficients
    if no_residual:
        raise DataError(exact)
    log_det = 2 * np.log(np.abs(np.diag(R))).sum()
    columns = orthonormal_columns(design) if columns is None else columns
    return reduced(design, V, r, basis, origin, log_det, columns)


def residual_problem(design: Design, start: Values) -> Callable[[Values], tuple[Problem, At | None]]:
    """Return the problem of a design as a function of its residual's parameters; sigma is 1 where it is one of them.

    Where the structures have kernels the cross-products are sums that are made once, times weights: no call passes
    over the rows, and the derivatives are those of `At`. The fixed columns are then orthonormal at `start` only. Else
    every call makes them anew.
    """
    columns = orthonormal_columns(design)
    if not varies(design):
        return lambda values: (orthogonal_problem(whitened_to_one(design, values), columns), None)
    first = orthogonal_problem(whitened(design, start), columns)
    like, parts = replace(first.cp, sum_log_weights=sum_of_log_weights(design)), varying_parts(design)
    if is_summed(design):
        sums = design.X.sums
        sets = sets_of_sums(columns, SummedMatrix(sums, first.fixed.A), SummedColumn(sums, first.response.a))
        varying = varying_of_sums(design, sets)
    else:
        varying = varying_products(design, like)

    def problem(values: Values) -> tuple[Problem, At]:
        own = [values[parameter.name] for part in parts for parameter in part.parameters]
        at = at_residual(like, varying, np.concatenate([values.get("sigma", np.ones(1)), *own]))
        return replace(first, cp=at.cp), at

    return problem


def reduced(
    design: Design,
    fixed: Floats,
    r: Floats,
    basis: Floats,
    origin: Floats,
    log_det: float,
    columns: tuple[Columns, ...] | None = None,
) -> Problem:
    """Return the problem for the given fixed columns (n, r) and response r; the random effects scaled, by default."""
    check_no_parameters(design, "the reduction of the rows to cross-products")
    design = whitened(design)
    columns = scaled_columns(design) if columns is None else columns
    if is_summed(design):
        cp = cross_products_of_sums(columns, fixed, r)
    else:
        cp = cross_products(factors_of(design, columns), fixed, r, design.weights, design.residual.known)
    return Problem(design, cp, fixed, r, basis, origin, columns, make_theta(design, cp.order), log_det)


def factors_of(design: Design, columns: tuple[Columns, ...]) -> list[Factor]:
    """Return the grouping factors with the given columns."""
    if is_related(design) and not (is_turned(design) or is_sparse(design)):
        raise DataError("the levels of a factor have a known covariance, which this computation does not know")
    own = _sparse if is_sparse(design) else _turned
    return [
        Factor(b.index, c.Z, len(b.levels)) if b.relation is None else own(b, c.Z, design.weights)
        for b, c in zip(design.blocks, columns, strict=True)
    ]


def _turned(block: Block, Z: Floats, weights: Floats | None) -> Factor:
    """Return a block of related levels as one of independent ones."""
    squares = np.square(Z[:, 0]) * (1.0 if weights is None else weights)
    turn = turn_of(block.relation.root, np.bincount(block.index, squares, len(block.levels)))
    return Factor(block.index, Z, len(block.levels), turn)


def _sparse(block: Block, Z: Floats, _: Floats | None) -> Factor:
    """Return a block of related levels with all animals that relate them."""
    kin = kin_of(block.relation)
    return Factor(kin.levels[block.index], Z, kin.n, kin=kin)


def packed_of_levels(problem: Problem, packed: Floats, levels: Problem) -> Floats:
    """Return the packed T of a problem of `relations.expanded` for that of the one with turned levels.

    Of a related block it is the diagonal one of the same sd: what `Theta.from_packed` reads.
    """
    found, at = {}, 0
    for k in problem.cp.order:
        q, block = len(problem.columns[k].basis), problem.design.blocks[k]
        own = packed[at : at + q * q].reshape(q, q)
        if block.relation is not None:
            own = np.diag(problem.bases[k][0, 0] * own[0, 0] / np.diag(levels.bases[k]))
        found[k], at = own.ravel(), at + q * q
    return np.concatenate([found[k] for k in levels.cp.order])


def in_levels(problem: Problem, x: Floats, levels: Problem) -> tuple[Problem, Floats]:
    """Return a problem of `relations.expanded` and its theta for that of the one with turned levels."""
    packed = packed_of_levels(problem, problem.packed(x), levels)
    same = {(part.block, part.part): x[part.at] for part in problem.theta.structured}

    def of(part) -> Floats:
        found = same.get((part.block, part.part))
        return part.read(packed) if found is None else found

    return levels, levels.theta.from_packed(packed, of)


def scaled_columns(design: Design) -> tuple[Columns, ...]:
    """Return the random-effects columns of each block divided by their root mean squares.

    Where parameters of the family have random effects they are those of `predictors.expanded`.
    """
    return tuple(_columns(block, scaled) for block in expanded(design).blocks)


def _columns(block: Block, make: Callable[[Floats], Columns]) -> Columns:
    """Return the columns that `make` makes of a block's Z; of equivalent rows where the rows are elsewhere."""
    made = make(rows_of(block.Z))
    return in_other_basis(block.Z, made) if isinstance(block.Z, SummedMatrix) else made


def orthonormal_columns(design: Design, backwards: int | None = None) -> tuple[Columns, ...]:
    """Return the random-effects columns of each block, orthonormal within its parts with any covariance matrix.

    Of the block `backwards` the last column is the first: see `orthonormal_in_parts`. Where parameters of the family
    have random effects they are those of `predictors.expanded`.
    """
    free = [tuple(part.columns for part in block.parts if part.covariance.free) for block in design.blocks]
    own = zip(expanded(design).blocks, free, strict=True)
    return tuple(
        _columns(b, partial(orthonormal_in_parts, partition=parts, backwards=k == backwards))
        for k, (b, parts) in enumerate(own)
    )


@dataclass(frozen=True)
class Integrated:
    """A problem of the prior's design, and which of its fixed columns are integrated out.

    Attributes
    ----------
    problem : Problem
        Its response has X `origin` taken out: the normal priors' means, and a least-squares fit for the other columns.
    sd : (p,) float64
        Prior sd of each fixed column: inf for a flat prior (these come last), 0 for a coefficient that is fixed or
        `sampled`.
    sampled : tuple of int
        Fixed columns with another prior, which has to be kept as a variable.
    places : tuple of str
        Place of each fixed column's prior.
    at : (p,) float64
        What was taken out of the response for each column.
    bases : TermBases
        What the problem's coefficients and random effects are beside those that are reported: gamma = R beta, T b.
    varying : Varying or None
        Where the residual has parameters besides sigma, what the cross-products are as a function of them; those of
        the problem are at `varying.first_values`, and serve for nothing but sizes.
    structure : Sampled or None
        What is sampled of the covariance matrices; always there, but for code that makes its own.
    """

    problem: Problem
    sd: Floats
    sampled: tuple[int, ...]
    places: tuple[str, ...]
    at: Floats
    bases: TermBases
    varying: Varying | None = None
    structure: Sampled | None = None


def integrate(design: Design, priors: Mapping[str, Prior]) -> Integrated:
    """Return the problem in which coefficients with a normal, a flat or a fixed prior are integrated out.

    It is that of the prior's design: beta = R^-1 gamma for the coefficients gamma that the priors are of.
    """
    bases, prior = prior_bases(design, priors), coefficient_prior(priors, design)
    design = design if design.residual.estimated else whitened(design)
    own = prior_design(design, priors)
    target, root = (
        design.y - design.offset,
        None if design.weights is None or is_summed(own) else np.sqrt(design.weights),
    )
    least_squares = np.linalg.lstsq(weighted_rows(own.X, root), weighted_rows(target, root))[0]
    known = np.asarray(prior.normal) & np.isfinite(prior.sd)
    at = np.where(known, prior.mean, least_squares)
    sd = np.where(prior.normal, prior.sd, 0.0)
    order = np.argsort(~np.isfinite(sd), kind="stable")
    fixed, at, sd, basis = own.X[:, order], at[order], sd[order], bases.fixed.inverse[:, order]
    places = tuple(coefficient_places(priors, design)[j] for j in order)
    _check_flat(weighted_rows(fixed, root), sd, places)
    fixed = fixed if is_summed(own) else np.ascontiguousarray(fixed)
    problem, varying = reduced_anyhow(own, fixed, target - fixed @ at, basis, basis @ at)
    sampled = tuple(int(j) for j in np.flatnonzero(~np.asarray(prior.normal)[order]))
    labels = () if varying is None else varying_labels(own)
    return Integrated(problem, sd, sampled, places, at, bases, varying, sampled_of(own, priors, labels))


def reduced_anyhow(
    design: Design, fixed: Floats, r: Floats, basis: Floats, origin: Floats
) -> tuple[Problem, Varying | None]:
    """Return `reduced`, and where the residual has parameters, for which it is at some values, all that it can be."""
    if not varies(design):
        return reduced(design, fixed, r, basis, origin, 0.0), None
    problem = _whitened_problem(whitened(design, first_values(design)), fixed, r, basis, origin, 0.0)
    if is_summed(design):
        varying = varying_of_sums(design, sets_of_sums(problem.columns, fixed, r))
    else:
        varying = varying_products(design, problem.cp)
    return replace(problem, design=design), varying


def _whitened_problem(white: Design, fixed: Floats, r: Floats, *given: Floats) -> Problem:
    """Return `reduced` of a design that was whitened after `fixed` and r were made; of sums it has others."""
    if is_summed(white):
        fixed, r = SummedMatrix(white.X.sums, fixed.A), SummedColumn(white.X.sums, r.a)
    return reduced(white, fixed, r, *given)


def at_values(problem: Problem, values: Values) -> Problem:
    """Return a problem whose residual has parameters with the cross-products at their values; sigma 1 if it is one."""
    given = problem.fixed, problem.response, problem.basis, problem.origin, problem.log_det
    return _whitened_problem(whitened_to_one(problem.design, values), *given)


def sampled_names(integrated: Integrated) -> dict[int, str]:
    """Return the names of the variables that are the sampled coefficients, by fixed column, in the basis of the priors.

    Recovery asks for their draws, so that they do not begin with an underscore; and a grouping factor may be called
    anything.
    """
    stem = "coefficient"
    while any(f"{stem}_{j}" in integrated.problem.design.coords for j in integrated.sampled):
        stem += "_"
    return {j: f"{stem}_{j}" for j in integrated.sampled}


def _check_flat(fixed: Floats, sd: Floats, places: tuple[str, ...]) -> None:
    """Refuse flat priors on columns that depend on one another: there is no posterior."""
    flat = ~np.isfinite(sd)
    columns = fixed[:, flat] / root_mean_square(fixed[:, flat])
    if flat.any() and np.linalg.matrix_rank(columns) < flat.sum():
        names = listing([place for place, is_flat in zip(places, flat, strict=True) if is_flat])
        raise PriorError(
            f"the priors of {names} are flat, but their columns are linearly dependent, so that there is no posterior; "
            "give them proper priors, or leave a column out"
        )
