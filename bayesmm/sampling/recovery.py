"""From a sampled marginal graph to the tree that the explicit graph would have given: beta and b come back, exactly."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from bayesmm.design.records import Block, Design
from bayesmm.design.summed import is_summed
from bayesmm.design.term_basis import TermBasis
from bayesmm.likelihood.conditional_gaussian import Recovered, recover
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.likelihood.eliminated import Polynomials, is_costly, polynomials
from bayesmm.likelihood.gaussian import relative_sds
from bayesmm.likelihood.gaussian_factorisation import FixedPrior
from bayesmm.likelihood.joint_quadrature import written_columns
from bayesmm.likelihood.problem import Integrated, sampled_names
from bayesmm.likelihood.turned import of_levels
from bayesmm.likelihood.varying import varying_parts
from bayesmm.likelihood.varying_draws import recover_varying
from bayesmm.priors import Prior, own_at_means, prior_bases
from bayesmm.runtime.memory import BYTES, COPIES, too_much
from bayesmm.runtime.streams import of_run
from bayesmm.runtime.threads import in_threads, one_thread
from bayesmm.sampling.recovery_glmm import drawn_effects

# A correlation matrix of a draw may be 1e-16 from singular; this much of the identity makes its factor exist, and moves
# a correlation by less than any draw can show.
RIDGE = 1e-12
MANY_DRAWS = 1000  # with fewer, exact evaluations are no more than those that polynomials are made of


@dataclass(frozen=True)
class Draws:
    """Posterior draws of the variance parameters, chains one after the other."""

    sds: tuple[Floats, ...]  # (draws, q_k) of the effects of the prior's design
    factors: tuple[Floats, ...]  # (draws, q_k, q_k) of their correlation matrices
    sigma: Floats  # (draws,) that the effects are relative to
    residual: Floats | None = None  # (draws, s) sigma and the residual's other parameters, where there are any


def check_memory(design: Design, draws: int, chains: int, *, keep_effects: bool = True) -> None:
    """Refuse a run whose coefficients and random effects, once recovered, would not fit in half of the free memory.

    Parameters
    ----------
    design : Design
    draws, chains : int
    keep_effects : bool

    Raises
    ------
    ValueError
        With the estimate, and what to change.
    """
    sizes = {block.group: len(block.levels) * len(block.columns) for block in design.blocks} if keep_effects else {}
    numbers = design.p + sum(sizes.values())
    need = too_much(BYTES * COPIES * numbers * draws * chains)
    if not need:
        return
    largest = max(sizes, key=sizes.__getitem__, default="")
    effects = f" ({sizes[largest]:,} of them for {largest!r})" if sizes else ""
    advice = ", or keep_effects=False, which does not store the random effects" if sizes else ""
    raise ValueError(
        f"{chains:,} chains of {draws:,} draws of {numbers:,} coefficients and random effects{effects} need {need}; "
        f"take fewer draws{advice}"
    )


def completed(
    tree: xr.DataTree,
    design: Design,
    priors: Mapping[str, Prior],
    integrated: Integrated | None,
    seed: int,
    *,
    keep_effects: bool = True,
) -> xr.DataTree:
    """Return `with_effects`; after a Ctrl-C without the random effects, and marked as interrupted: no draw is lost."""
    try:
        return with_effects(tree, design, priors, integrated, seed, keep_effects=keep_effects)
    except KeyboardInterrupt:
        done = with_effects(tree, design, priors, integrated, seed, keep_effects=False)
        return recorded(done, interrupted=True)


def with_effects(
    tree: xr.DataTree,
    design: Design,
    priors: Mapping[str, Prior],
    integrated: Integrated | None,
    seed: int,
    *,
    keep_effects: bool = True,
) -> xr.DataTree:
    """Return the tree with beta and b drawn from their exact conditional distribution for every posterior draw.

    Parameters
    ----------
    tree : xarray.DataTree
        What sampling the marginal graph gave: sds, correlations, sigma, and the coefficients that were sampled.
    design : Design
    priors : mapping of place to Prior
    integrated : Integrated or None
        What the graph was made from; None for a generalised model, whose coefficients have been sampled.
    seed : int
        The run's seed: the same seed gives the same draws.
    keep_effects : bool
        False leaves b out, to save memory.

    Raises
    ------
    ValueError
        If a draw's standard deviations are too large beside sigma for the arithmetic: the posterior is improper, or
        nearly.

    Returns
    -------
    xarray.DataTree
        Groups posterior (with the variables of the explicit graph), sample_stats, observed_data, constant_data.
    """
    posterior = tree["posterior"].to_dataset().transpose("chain", "draw", ...)
    if integrated is None:
        return _with_drawn(tree, posterior, design, priors, seed, keep_effects)
    shape = posterior.sizes["chain"], posterior.sizes["draw"]
    draws = _draws(posterior, design, integrated, shape)
    T, mean = packed_factors(integrated, draws), _means(posterior, integrated, shape)
    near = None if keep_effects else _polynomials(integrated, T, draws, mean)

    def chain_of(k: int) -> Recovered:
        chain = slice(k * shape[1], (k + 1) * shape[1])
        own = T[chain], draws.sigma[chain], mean[chain], integrated.sd
        rng = of_run(seed, 1, k)  # so that a chain does not depend on how many there are
        if draws.residual is None:
            return recover(integrated.problem.cp, *own, rng, keep_effects=keep_effects, near=near)
        varying = integrated.problem.cp, integrated.varying, draws.residual[chain]
        return recover_varying(*varying, *own, rng=rng, keep_effects=keep_effects)

    try:
        with one_thread():  # with polynomials a chain is a few products of arrays
            chains = range(shape[0])
            parts = in_threads(chain_of, chains) if near is None else [chain_of(k) for k in chains]
    except np.linalg.LinAlgError as error:
        raise ValueError(_too_wide(T)) from error
    found = _joined(parts)
    kept = as_reported(posterior.drop_vars(list(sampled_names(integrated).values())), design)
    groups = {
        "posterior": _complete(kept, design, integrated, found, shape),
        "sample_stats": tree["sample_stats"].to_dataset(),
        **data_groups(design),
    }
    out = xr.DataTree.from_dict(groups)
    out.attrs.update(tree.attrs)
    return out


def _with_drawn(
    tree: xr.DataTree,
    posterior: xr.Dataset,
    design: Design,
    priors: Mapping[str, Prior],
    seed: int,
    keep_effects: bool,
) -> xr.DataTree:
    """Return the tree of a generalised model with its one block's random effects, if it has one."""
    if keep_effects and design.blocks:
        cores = json.loads(tree.attrs["bayesmm"]).get("cores")
        posterior = _with_block(posterior, design, 0, priors, seed, cores)
    groups = {"posterior": as_reported(posterior, design), "sample_stats": tree["sample_stats"].to_dataset()}
    groups |= data_groups(design)
    out = xr.DataTree.from_dict(groups)
    out.attrs.update(tree.attrs)
    return out


def _with_block(
    posterior: xr.Dataset, design: Design, k: int, priors: Mapping[str, Prior], seed: int, cores: int | None
) -> xr.Dataset:
    """Return the posterior with draws of the effects of block k given its other draws, which have all other effects.

    Those of the other blocks are coefficients here, of columns behind the fixed ones.
    """
    block, basis = design.blocks[k], prior_bases(design, priors).blocks[k]
    others = [b for i, b in enumerate(design.blocks) if i != k]
    own = replace(design, X=written_columns(design, k), blocks=(replace(block, Z=basis.taken_out(block.Z)),))
    shape = posterior.sizes["chain"], posterior.sizes["draw"]
    names = [*(["beta"] if design.p else []), *(b.names.effects for b in others)]
    coefficients = [posterior[name].to_numpy().reshape(*shape, -1) for name in names]
    given = posterior.drop_vars(["beta", "coef"], errors="ignore")
    if coefficients:
        given = given.assign(beta=(("chain", "draw", "coef"), np.concatenate(coefficients, axis=2)))
    sds, C = _block_draws(posterior, block, shape[0] * shape[1])
    effects = drawn_effects(given, own, sds[:, :, None] * C, seed, cores)
    to_reported(effects, basis)
    labels = {block.name: list(block.levels), block.names.term_dim: list(block.columns)}
    variable = (("chain", "draw", *block.names.effect_dims), effects)
    return posterior.assign({block.names.effects: variable}).assign_coords(labels)


def with_innermost(tree: xr.DataTree, design: Design, priors: Mapping[str, Prior]) -> xr.DataTree:
    """Return a tree with effects written out also with those that were integrated out beside them, if any were."""
    posterior, about = tree["posterior"].to_dataset(), json.loads(tree.attrs["bayesmm"])
    left = [k for k, block in enumerate(design.blocks) if block.names.effects not in posterior]
    for k in left:
        posterior = _with_block(
            posterior.transpose("chain", "draw", ...), design, k, priors, about["seed"], about.get("cores")
        )
    return with_posterior(tree, posterior) if left else tree


def _polynomials(integrated: Integrated, T: Floats, draws: Draws, mean: Floats) -> Polynomials | None:
    """Return what takes the place of the random effects where they are costly and nobody asks for them."""
    cp, theta, plain = integrated.problem.cp, integrated.problem.theta, integrated.structure.plain
    nothing = len(T) < MANY_DRAWS or not (integrated.sd > 0).any()
    if draws.residual is not None or nothing or not (plain and is_costly(cp, theta)):
        return None
    sigma = float(np.median(draws.sigma))
    prior = FixedPrior(mean.mean(axis=0), *relative_sds(integrated.sd, sigma))
    with one_thread():
        return polynomials(cp, theta.free, T, sigma, prior)


def _joined(chains: list[Recovered]) -> Recovered:
    """Return the draws of all chains, one chain after the other."""
    effects = zip(*(chain.effects for chain in chains), strict=True)
    return Recovered(np.concatenate([chain.fixed for chain in chains]), tuple(map(np.concatenate, effects)))


def _too_wide(T: Floats) -> str:
    """Return what to say of draws without a factor; the sampler's density has the same, so only rounding leads here."""
    return (
        f"a posterior draw has random effects with a standard deviation {np.abs(T).max():.1g} times sigma, beyond "
        "what the arithmetic can separate; give sd and sigma proper priors on the scale of the response"
    )


def _draws(posterior: xr.Dataset, design: Design, integrated: Integrated, shape: tuple[int, int]) -> Draws:
    size = shape[0] * shape[1]
    sds, factors = [], []
    for block in design.blocks:
        found = _block_draws(posterior, block, size)
        sds.append(found[0])
        factors.append(found[1])
    sigma = np.ascontiguousarray(np.broadcast_to(posterior["sigma"].to_numpy(), shape).reshape(size))
    if integrated.varying is None:
        return Draws(tuple(sds), tuple(factors), sigma)
    parameters = [own for part in varying_parts(design) for own in part.parameters]
    values = {own.name: posterior[own.name].to_numpy().reshape(size, own.size) for own in parameters}
    own, values = own_at_means(design, integrated.bases, {"sigma": sigma}, values)  # of the prior's design
    residual = np.column_stack([own["sigma"], *(values[each.name] for each in parameters)])
    return Draws(tuple(sds), tuple(factors), integrated.varying.sigma(residual), residual)


def _block_draws(posterior: xr.Dataset, block: Block, size: int) -> tuple[Floats, Floats]:
    """Return a block's sds, (size, q), and the factors of its correlation matrices, (size, q, q), at the means."""
    q = len(block.columns)
    R = np.broadcast_to(np.eye(q), (size, q, q))
    names = block.names
    moved = names.sd_at_means in posterior
    if block.correlated:
        R = posterior[names.corr_at_means if moved else names.corr].to_numpy().reshape(size, q, q)
    sds = posterior[names.sd_at_means if moved else names.sd].to_numpy()
    return sds.reshape(size, q), np.linalg.cholesky((1 - RIDGE) * R + RIDGE * np.eye(q))


def packed_factors(integrated: Integrated, draws: Draws) -> Floats:
    """Return the relative factors of the scaled columns, (draws, sum q_k^2), in the order of the cross-products."""
    problem, parts = integrated.problem, [np.empty((len(draws.sigma), 0))]
    for k in problem.cp.order:
        L = (problem.scales[k] * draws.sds[k] / draws.sigma[:, None])[:, :, None] * draws.factors[k]
        parts.append(L.reshape(len(L), -1))
    return np.concatenate(parts, axis=1)


def _means(posterior: xr.Dataset, integrated: Integrated, shape: tuple[int, int]) -> Floats:
    """Return the fixed columns' means less what the response has taken out of it, (draws, p)."""
    mean = np.zeros((shape[0] * shape[1], len(integrated.at)))
    for j, name in sampled_names(integrated).items():
        mean[:, j] = posterior[name].to_numpy().ravel() - integrated.at[j]
    return mean


def _complete(
    posterior: xr.Dataset, design: Design, integrated: Integrated, found: Recovered, shape: tuple[int, int]
) -> xr.Dataset:
    """Return the posterior with beta (coef) and b_<name> (<name>, <name>_term), on the user's scale."""
    problem, added, labels = integrated.problem, {}, {}
    if design.p:
        beta = problem.origin + found.fixed @ problem.basis.T
        added["beta"] = (("chain", "draw", "coef"), beta.reshape(*shape, design.p))
        labels["coef"] = list(design.coefficients)
    for effects, k in zip(found.effects, problem.cp.order if found.effects else (), strict=True):
        block, names = design.blocks[k], design.blocks[k].names
        turn = None if block.relation is None else problem.cp.source.factors[k].turn
        if turn is not None:
            effects = of_levels(turn, effects)
        np.divide(effects, problem.scales[k], out=effects)  # they may fill half of the memory: no third copy
        to_reported(effects, integrated.bases.blocks[k])
        added[names.effects] = (("chain", "draw", *names.effect_dims), effects.reshape(*shape, *effects.shape[1:]))
        labels |= {block.name: list(block.levels), names.term_dim: list(block.columns)}
    return posterior.assign(added).assign_coords(labels)


def to_reported(effects: Floats, basis: TermBasis) -> None:
    """Turn effects T b of the prior's design, (..., q), into b, in their own memory."""
    inverse = basis.inverse
    for i in basis.order:  # an effect is made of itself and of those of terms that contain its own, which come later
        for j in np.flatnonzero(inverse[i]):
            if j != i:
                effects[..., i] += inverse[i, j] * effects[..., j]


def as_reported(posterior: xr.Dataset, design: Design) -> xr.Dataset:
    """Return a posterior without the sds and correlations at the means, which those that are reported come from."""
    at_means = [name for block in design.blocks for name in (block.names.sd_at_means, block.names.corr_at_means)]
    return posterior.drop_vars(at_means, errors="ignore")


def data_groups(design: Design) -> dict[str, xr.Dataset]:
    """Return the groups observed_data and constant_data of a design, as they are in a tree of the explicit graph.

    None where the rows stay with an engine.
    """
    if is_summed(design):
        return {}
    rows, constant = {"obs": design.rows}, {}
    if design.p:
        constant["X_data"] = (("obs", "coef"), design.X)
        rows["coef"] = list(design.coefficients)
    for block in design.blocks:
        names = block.names
        constant[names.index] = ("obs", block.index.astype(np.int32))  # PyMC's integers of data
        constant[names.Z] = (("obs", names.term_dim), block.Z)
        rows[names.term_dim] = list(block.columns)
    if design.offset.any():
        constant["offset_data"] = ("obs", design.offset)
    if design.weights is not None:
        constant["weights_data"] = ("obs", design.weights)
    constant |= {name: ("obs", values) for name, values in design.row_data.items()}
    named = {_unused(name, design): values for name, values in constant.items()}
    return {
        "observed_data": xr.Dataset({"y": ("obs", design.y)}, coords={"obs": design.rows}),
        "constant_data": xr.Dataset(named, coords=rows),
    }


def _unused(name: str, design: Design) -> str:
    """Return a name that is no dimension, as the explicit graph makes it."""
    while name in design.coords:
        name += "_"
    return name


def without_effects(tree: xr.DataTree, design: Design) -> xr.DataTree:
    """Return the tree of an explicit graph without its random effects b."""
    effects = [block.names.effects for block in design.blocks]
    return with_posterior(tree, tree["posterior"].to_dataset().drop_vars(effects, errors="ignore"))


def effects_first(tree: xr.DataTree, design: Design, group: str = "posterior") -> xr.DataTree:
    """Return the tree with the random effects before the other variables of a group.

    ArviZ labels the entries of a variable in the order of the dimensions of all variables. That is the order in which
    these have them, and the sds have the terms alone, which come after the levels in effects.
    """
    values = tree[group].to_dataset()
    effects = [block.names.effects for block in design.blocks if block.names.effects in values]
    ordered = values[[*effects, *(name for name in values.data_vars if name not in effects)]]
    groups = {name: node.to_dataset() for name, node in tree.children.items()}
    out = xr.DataTree.from_dict(groups | {group: ordered})
    out.attrs.update(tree.attrs)
    return out


def with_posterior(tree: xr.DataTree, posterior: xr.Dataset) -> xr.DataTree:
    """Return the tree with another posterior."""
    groups = {name: node.to_dataset() for name, node in tree.children.items()}
    out = xr.DataTree.from_dict(groups | {"posterior": posterior})
    out.attrs.update(tree.attrs)
    return out


def recorded(tree: xr.DataTree, **entries: object) -> xr.DataTree:
    """Return the tree with further entries in its record of the run, the JSON text of the attribute "bayesmm"."""
    out = tree.copy()
    out.attrs["bayesmm"] = json.dumps(json.loads(tree.attrs["bayesmm"]) | entries)
    return out
