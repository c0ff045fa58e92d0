"""The marginal posterior of a fit as a density of few coordinates, and its integral.

The random effects, and of a Gaussian model the coefficients with normal priors, are integrated out, so that what is
left has a handful of dimensions: there importance sampling from a mixture of t distributions fitted to the density is
nearly exact, and its weights say how nearly. With all rows the integral is p(y), the evidence; without some of them
p(the others), and the ratio of the two is the density of those rows given the others.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import logsumexp

from bayesmm.design.covariance.structure import searched
from bayesmm.design.covariance.structures import structured_terms
from bayesmm.design.parameters import free_auxiliaries, residual_labels
from bayesmm.design.predictors import random_parameters
from bayesmm.design.records import Block, Design
from bayesmm.design.residual.independent import whitened
from bayesmm.errors import listing
from bayesmm.likelihood.coordinates import ASCENDING, FIXED, INTERVAL, LOG, arctanh_partial, first_terms
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.likelihood.marginal import (
    Marginal,
    check_marginal,
    gaussian_posterior,
    generalised,
    generalised_posterior,
    marginal,
)
from bayesmm.likelihood.posterior import LogPosterior
from bayesmm.likelihood.problem import integrate, reduced_anyhow
from bayesmm.likelihood.quadrature import usual_nodes
from bayesmm.likelihood.structured_blocks import Sampled
from bayesmm.likelihood.varying import varies
from bayesmm.posterior.draws import RIDGE, prior_draws, prior_own_draws, residual_draws, tree_sizes
from bayesmm.priors import Priors, coefficient_places, prior_design
from bayesmm.sampling.importance import MAX_PARAMETERS
from bayesmm.sampling.pareto import pareto_smoothed
from bayesmm.sampling.proposal import SPREADS, Mixture, adapted, component_densities, defended, draw

# Measured on sleepstudy and esoph, without any of their levels: with three adaptations the effective number is 0.75 to
# 0.86 of the draws for Gaussian and 0.55 for Poisson models, and the error of a log integral about 0.01.
ADAPTATIONS, ADAPTATION_DRAWS, DRAWS = 3, 1000, 4000
# Multiply-adds of one row at one node of the quadrature; and of any evaluation, its share of what is done once for each
# integral. Measured.
NODE_COST, LEAST_COST = 10.0, 2e4
LEAST_DRAWS = 100  # for their covariance matrix: more than eight for each coordinate


@dataclass(frozen=True)
class Integral:
    """The integral of a density by importance sampling.

    Attributes
    ----------
    log_value : float
    se : float
        Monte Carlo error of `log_value`.
    pareto_k : float
        Shape of the largest weights: the two above can be trusted up to `k_limit` of its draws.
    """

    log_value: float
    se: float
    pareto_k: float


def refusal(fit) -> str | None:
    """Return why there is no such density for a fit's model, as the end of a sentence; None where there is one."""
    design, priors, draws = fit.design, fit.model.priors, int(np.prod(tree_sizes(fit.tree)))
    if draws < LEAST_DRAWS:
        return f"the fit has {draws} draws, and {LEAST_DRAWS} are needed"
    moved = random_parameters(design)
    if moved:
        return f"{listing(moved)} {'has' if len(moved) == 1 else 'have'} random effects, which cannot be integrated out"
    terms = structured_terms(design, compiled=True)
    if terms:
        return f"{terms[0]} has a covariance structure, which has no compiled density"
    custom = [place for place, prior in priors.items() if prior.distribution == "Custom"]
    if custom:
        return f"the prior of {custom[0]} is a function, whose density is not known in closed form"
    if design.residual.estimated and design.family.gaussian and not varies(design):
        return f"the residuals of {design.residual.text} are in none that is compiled"
    if design.blocks and not design.family.smooth:
        return f"the log density of the {design.family.label} family has a corner, which no quadrature is for"
    if not design.family.gaussian:
        try:
            check_marginal(design)
        except ValueError as error:
            return str(error).removesuffix("; use effects='explicit'")
    return None


def marginal_of(fit, priors: Priors | None = None) -> Marginal:
    """Return the marginal posterior of a fit's model, or of that with other priors at the same places.

    Its coordinates are those of fewer rows too: see `without`.

    Raises
    ------
    ValueError
        There is none in closed form or by quadrature.
    """
    said = refusal(fit)
    if said:
        raise ValueError(said)
    design, priors = fit.design, fit.model.priors if priors is None else priors
    if design.family.gaussian:
        return marginal(design, priors, integrate(design, priors))
    return generalised(design, priors, inside=False)


def is_small(model: Marginal) -> bool:
    """Return whether there are as few coordinates as independent draws are good for."""
    return 0 < model.posterior.size <= MAX_PARAMETERS


def work(model: Marginal) -> float:
    """Return the multiply-adds of one integral, roughly."""
    if model.integrated is None:
        one = NODE_COST * model.design.n * usual_nodes(model.design)
    else:
        cp = model.integrated.problem.cp
        one = float(np.square(np.diff(cp.leading.start)).sum()) + float(len(cp.rest.z)) ** 3
        one += 0.0 if cp.kin is None else cp.kin.work(len(cp.rest.z))
    return (ADAPTATIONS * ADAPTATION_DRAWS + DRAWS) * max(one, LEAST_COST)


# ----------------------------------------------------------------------------------------------------------------------
# the draws of a fit in these coordinates


def coordinates_of(fit, model: Marginal) -> Floats:
    """Return the coordinates of a fit's draws, (draws, d): the inverse of `marginal.as_tree`."""
    c, design, own = model.posterior.coordinates, fit.design, prior_draws(fit)
    draws = int(np.prod(tree_sizes(fit.tree)))
    x, scalars, pair = np.empty((draws, model.posterior.size)), [], 0
    for (sds, R), pairs in zip(_matrices(fit, model, own), c.n_pairs, strict=True):
        scalars += list(sds.T)
        if pairs:
            part = slice(pair, pair + pairs)
            C = np.linalg.cholesky((1 - RIDGE) * R + RIDGE * np.eye(R.shape[1]))
            x[:, c.pair_at[part]] = arctanh_partial(C, c.row[part], c.column[part])
        pair += pairs
    scalars = [scalars[j] for j in first_terms(c)]
    auxiliaries, residual = prior_own_draws(fit)
    for own_parameter in design.family.parameters if model.integrated is not None else free_auxiliaries(design):
        scalars.append(auxiliaries[own_parameter.name])
    scalars += _residual_scalars(fit, model, own, residual)
    if design.p:
        gamma = own["beta"].reshape(draws, -1)[:, _order(fit, model)]
        scalars += list(gamma.T if model.integrated is None else gamma[:, list(model.integrated.sampled)].T)
    for i, value in enumerate(scalars):
        if c.kind[i] != FIXED:
            value = value - scalars[i - 1] if c.kind[i] in ASCENDING else value
            x[:, c.at[i]] = _moved_back(int(c.kind[i]), *c.ends[i], value)
    return x


def _matrices(fit, model: Marginal, own: Mapping[str, Floats]) -> Iterator[tuple[Floats, Floats]]:
    """Yield the sds, (draws, q), and the correlation matrices, (draws, q, q), of the blocks of the coordinates."""
    draws, structure = int(np.prod(tree_sizes(fit.tree))), model.structure
    for k, block in enumerate(fit.design.blocks):
        kept = np.arange(len(block.columns)) if structure is None else structure.kept[k]
        sds, R = _block_draws(block, own, draws)
        yield sds[:, kept], R[:, kept[:, None], kept]
    if structure is not None and structure.matrix is not None:
        r = residual_draws(fit)[structure.matrix.name]
        R, (i, j) = np.tile(np.eye(structure.matrix.visits), (draws, 1, 1)), np.triu_indices(structure.matrix.visits, 1)
        R[:, i, j] = R[:, j, i] = r
        yield np.ones((draws, len(R[0]))), R


def _block_draws(block: Block, own: Mapping[str, Floats], draws: int) -> tuple[Floats, Floats]:
    q = len(block.columns)
    R = own[block.names.corr] if block.correlated else np.broadcast_to(np.eye(q), (draws, q, q))
    return own[block.names.sd].reshape(draws, q), R.reshape(draws, q, q)


def _residual_scalars(fit, model: Marginal, own: Mapping[str, Floats], draws: Mapping[str, Floats]) -> list[Floats]:
    """Return the draws of the auxiliaries besides the family's, (draws,) each, in the order of the coordinates."""
    if model.integrated is None:
        columns = [column for values in draws.values() for column in values.T]
        found = {} if model.structure is None else _part_draws(fit, model.structure, own)
        return [*columns, *found.values()]
    structure = model.integrated.structure
    found = {
        label: draws[one.name][:, i]
        for one in fit.design.residual.parameters
        for i, label in enumerate(residual_labels(one))
    }
    found |= _part_draws(fit, structure, own)
    return [found[label] for label in structure.names[1:]]


def _part_draws(fit, structure: Sampled, own: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return the draws of the parameters of covariance matrices with a structure, (draws,) each, by label."""
    found = {}
    for part in structure.parts:
        sds, R = _block_draws(fit.design.blocks[part.block], own, int(np.prod(tree_sizes(fit.tree))))
        columns = np.array(part.part.columns)
        values = [
            sds[:, columns[places[0][0]]] if kind == "sd" else R[:, columns[places[0][0]], columns[places[0][1]]]
            for kind, places in ((entry.kind, entry.places) for entry in part.part.entries)
        ]
        found |= dict(zip(part.labels, searched(part.part.covariance, values, len(columns)), strict=True))
    return found


def _order(fit, model: Marginal) -> list[int]:
    """Return which column of the prior's X each fixed column of the marginal posterior is."""
    places = coefficient_places(fit.model.priors, fit.design)
    return [places.index(place) for place in (places if model.integrated is None else model.integrated.places)]


def _moved_back(kind: int, low: float, high: float, value: Floats) -> Floats:
    if kind == LOG or kind in ASCENDING:
        return np.log(value)
    return np.log((value - low) / (high - value)) if kind == INTERVAL else value


# ----------------------------------------------------------------------------------------------------------------------
# without some rows


def without(fit, model: Marginal, kept: np.ndarray) -> LogPosterior:
    """Return the marginal posterior, in the same coordinates, given only the rows where `kept`, (n,) bool, is true.

    The priors are those of the whole data: the centred intercept stays where the predictors' means of all rows are.
    """
    own, c = prior_design(fit.design, fit.model.priors), model.posterior.coordinates
    design = taken(own, kept)
    design = design if varies(own) else whitened(design)
    if model.integrated is None:
        return generalised_posterior(c, design)
    integrated = model.integrated
    fixed, basis, origin = design.X[:, _order(fit, model)], integrated.problem.basis, integrated.problem.origin
    r = design.y - design.offset - fixed @ integrated.at
    problem, varying = reduced_anyhow(design, np.ascontiguousarray(fixed), r, basis, origin)
    return gaussian_posterior(c, replace(integrated, problem=problem, varying=varying))


def taken(design: Design, kept: np.ndarray) -> Design:
    """Return a design with some of its rows, coded as they are there, and the levels that occur in them."""
    columns = ("y", "X", "offset", "rows", "row_labels", "trials", "weights")
    parts = {name: getattr(design, name)[kept] for name in columns if getattr(design, name) is not None}
    blocks = []
    for block in design.blocks:
        seen, index = np.unique(block.index[kept], return_inverse=True)
        levels = tuple(block.levels[g] for g in seen)
        known = None if block.relation is None else block.relation.taken(seen)
        own = dict(index=index.astype(np.int64), levels=levels, Z=block.Z[kept], relation=known)
        blocks.append(replace(block, **own))
    residual = design.residual.taken(kept)
    parts |= {} if design.limits is None else {"limits": design.limits[kept]}
    return replace(design, **parts, blocks=tuple(blocks), frame=design.frame[kept], residual=residual)


# ----------------------------------------------------------------------------------------------------------------------
# the integral


def fitted(target: LogPosterior, draws: Floats, rng: np.random.Generator) -> Mixture:
    """Return a mixture fitted to a density, from draws, (n, d), of it or of one that is not far from it."""
    factor = np.linalg.cholesky(np.cov(draws.T).reshape(draws.shape[1], -1))
    K = len(SPREADS)
    mixture = Mixture(
        np.full(K, 1 / K), np.tile(draws.mean(axis=0), (K, 1)), np.array([spread * factor for spread in SPREADS])
    )
    for _ in range(ADAPTATIONS):
        x, log_weights = weighted(target, mixture, ADAPTATION_DRAWS, rng)
        if np.isfinite(log_weights).any():
            mixture = adapted(mixture, x, np.exp(pareto_smoothed(log_weights)[0]))
    return defended(mixture, draws.mean(axis=0), factor)


def weighted(target: LogPosterior, mixture: Mixture, size: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return `size` draws of a mixture, (size, d), and their log weights, (size,)."""
    x = draw(mixture, size, rng)
    return x, target.many(x) - logsumexp(component_densities(mixture, x), axis=0)


def integral(target: LogPosterior, draws: Floats, rng: np.random.Generator) -> Integral:
    """Return the integral of a density, whose own draws, (n, d), or those of one near to it, are where it is sought."""
    return integral_of(weighted(target, fitted(target, draws, rng), DRAWS, rng)[1])


def integral_of(log_weights: Floats) -> Integral:
    """Return the integral that log weights, (n,), are of; its k is infinite where they are all 0."""
    if not np.isfinite(log_weights).any():
        return Integral(-np.inf, np.inf, np.inf)
    total, n = logsumexp(log_weights), len(log_weights)
    shares = np.exp(log_weights - total)
    se = np.sqrt(max(np.square(shares).sum() - 1 / n, 0.0))  # by the delta method
    return Integral(float(total - np.log(n)), float(se), pareto_smoothed(log_weights)[1])
