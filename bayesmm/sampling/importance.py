"""Independent draws from the posterior, by importance sampling of its few marginal parameters.

What the marginal likelihood leaves has a handful of dimensions: the draws of a heavy-tailed mixture around the mode,
adapted twice and weighted, are as good as NUTS there, at the cost of some thousand evaluations without gradient. They
are thinned to unweighted draws, and beta and b come back exactly, as they do for NUTS. How far the weights can be
trusted is measured by the shape k of the Pareto distribution fitted to the largest ones (Vehtari, Simpson, Gelman, Yao
& Gabry 2024, JMLR 25(72)).
"""

import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import xarray as xr
from scipy.special import logsumexp

from bayesmm.design.records import Design
from bayesmm.estimation.estimates import Estimates
from bayesmm.estimation.map import gaussian_start
from bayesmm.estimation.optimizer import Search, hessian, minimum
from bayesmm.likelihood.crossproducts import Floats, Ints
from bayesmm.likelihood.marginal import Marginal, marginal
from bayesmm.likelihood.problem import integrate
from bayesmm.priors import Priors
from bayesmm.priors.resolve import coefficient_prior
from bayesmm.runtime.arguments import LARGEST_SEED
from bayesmm.runtime.memory import BUDGET, BYTES, COPIES, free_memory
from bayesmm.runtime.streams import of_run
from bayesmm.runtime.threads import one_thread
from bayesmm.sampling.direct import as_tree
from bayesmm.sampling.pareto import pareto_smoothed
from bayesmm.sampling.proposal import FREEDOM, Mixture, adapted, around, component_densities, defended, draw
from bayesmm.sampling.recovery import recorded, with_effects
from bayesmm.storage.runs import Run

NAME = "importance"
# Beyond about ten dimensions the efficiency of independent draws falls quickly and NUTS is the better tool: a factor
# with three correlated coefficients and one with two have 10 parameters with sigma.
MAX_PARAMETERS = 12
ADAPTATIONS, ADAPTATION_DRAWS = 2, 1000
# Draws of the proposal for each draw that is kept, and at least so many: a draw is kept twice only where its weight is
# above this many times the average.
POOL_FACTOR, LEAST_POOL = 4, 4000
RECORDED = ("numpy", "numba", "scipy", "arviz")


@dataclass(frozen=True)
class Pool:
    """Weighted draws.

    Attributes
    ----------
    x : (n, d) float64
        Coordinates of the marginal posterior.
    lp : (n,) float64
        Their log density.
    weights : (n,) float64
        Pareto-smoothed importance weights, summing to 1.
    pareto_k : float
        Shape of the largest weights, which can be trusted up to `k_limit`.
    """

    x: Floats
    lp: Floats
    weights: Floats
    pareto_k: float

    @property
    def effective(self) -> float:
        """Effective number of draws, 1 / sum of squared weights."""
        return float(1 / np.square(self.weights).sum())


def sample_independent(
    design: Design,
    priors: Priors,
    find_reml: Callable[[], Estimates],
    *,
    draws: int = 1000,
    chains: int = 4,
    seed: int | None = None,
    effects: str = "auto",
    keep_effects: bool = True,
    began: float | None = None,
) -> xr.DataTree:
    """Sample the posterior of a Gaussian model by independent draws.

    Parameters
    ----------
    design : Design
    priors : Priors
        All in closed form.
    find_reml : function
        Returns REML's estimates of the prior's design, where the search for the mode starts; called once nothing is
        left to refuse.
    draws, chains : int
        The independent draws are laid out as `chains` chains of `draws`, as those of a sampler are.
    seed : int, optional
        The same seed and versions give the same draws. None: a new seed, which is recorded.
    effects : {"auto", "marginal"}
        As in `Model.sample`: independent draws are of the marginal posterior.
    keep_effects : bool
        False leaves the random effects out.
    began : float, optional
        ``time.perf_counter()`` from which the seconds are counted.

    Returns
    -------
    xarray.DataTree
        The groups and variables of a NUTS fit; sample_stats holds `lp`, the log density in the coordinates of
        the marginal posterior, and `log_weight`, relative to the average of the pool. The attribute "bayesmm" is JSON:
        sampler, draws, chains, seed, pareto_k, pool (draws of the proposal), efficiency (effective number of the pool
        for each of its draws), effective (of the draws that were kept), distinct (of those, how many differ), seconds,
        versions.

    Raises
    ------
    ValueError
        If the model is not Gaussian, or has too many marginal parameters, a prior that is a function, or no start of
        finite density; if the random effects are asked for as parameters; or if the draws would not fit in memory.
    """
    began = time.perf_counter() if began is None else began
    check_applies(design, priors, effects)
    check_memory(design, draws * chains, keep_effects)
    seed = secrets.randbelow(LARGEST_SEED + 1) if seed is None else int(seed)
    with one_thread():
        reml = find_reml()
        goal = marginal(design, priors, integrate(design, priors))
        tree = _sampled(goal, priors, reml, (chains, draws), seed)
        tree = with_effects(tree, design, priors, goal.integrated, seed, keep_effects=keep_effects)
    return recorded(tree, effects="marginal", seconds=time.perf_counter() - began)


def _sampled(goal: Marginal, priors: Priors, reml: Estimates, shape: tuple[int, int], seed: int) -> xr.DataTree:
    """Return the (chains, draws) draws of the marginal parameters, with the record of how they were made."""
    chains, draws = shape
    rng = of_run(seed, 2)
    pool = weighted_draws(goal, priors, reml, max(POOL_FACTOR * draws * chains, LEAST_POOL), rng)
    kept = resampled(pool.weights, draws * chains, rng)
    tree = as_tree(goal, _run(pool, kept, shape))
    tree.attrs["bayesmm"] = json.dumps(
        {"sampler": NAME, "draws": int(draws), "chains": int(chains), "seed": seed}
        | {"interrupted": False, "warnings": []}
        | {"pareto_k": pool.pareto_k, "pool": len(pool.x), "efficiency": pool.effective / len(pool.x)}
        | {"effective": effective_number(pool.weights, len(kept)), "distinct": len(np.unique(kept))}
        | {"versions": {package: version(package) for package in RECORDED}}
    )
    return tree


def check_applies(design: Design, priors: Priors, effects: str) -> None:
    """Raise ValueError, before any work, if independent draws cannot be had of a model, or not in this way."""
    if not design.family.gaussian:
        raise ValueError(
            f"sampler={NAME!r} draws from the marginal posterior of gaussian models, and the family is "
            f"{design.family.name}; use sampler='nutpie'"
        )
    check_priors(priors)
    if effects == "explicit":
        raise ValueError(
            f"sampler={NAME!r} integrates the random effects out; use effects='marginal', or sampler='nutpie'"
        )
    check_size(design, priors)


def check_priors(priors: Mapping) -> None:
    """Raise ValueError if a prior is a function, whose density only PyMC knows."""
    custom = [place for place, prior in priors.items() if prior.distribution == "Custom"]
    if custom:
        raise ValueError(
            f"sampler={NAME!r} needs priors in closed form, and the prior of {custom[0]} is a function; "
            "use sampler='nutpie'"
        )


def check_size(design: Design, priors: Priors) -> None:
    """Raise ValueError if there are more parameters than independent draws are good for."""
    scales = ["sigma", *(place for block in design.blocks for place in block.names.sd_labels)]
    size = sum(priors[place].distribution != "Fixed" for place in scales)
    size += sum(len(part) * (len(part) - 1) // 2 for block in design.blocks for part in block.partition)
    size += int(np.count_nonzero(~np.asarray(coefficient_prior(priors, design).normal)))
    if size > MAX_PARAMETERS:
        raise ValueError(
            f"sampler={NAME!r} is for at most {MAX_PARAMETERS} marginal parameters (sds, correlations, sigma, and "
            f"coefficients whose prior is not normal), and this model has {size}; use sampler='nutpie'"
        )


def check_memory(design: Design, size: int, keep_effects: bool) -> None:
    """Raise ValueError if `size` draws would not fit in half of the free memory."""
    effects = sum(len(block.levels) * len(block.columns) for block in design.blocks) if keep_effects else 0
    squares = sum(len(block.columns) ** 2 for block in design.blocks)
    # of the pool: the coordinates, the factors, and what is made of them
    need = BYTES * COPIES * size * (effects + design.p + POOL_FACTOR * (squares + design.p + MAX_PARAMETERS))
    free = free_memory()
    if free is not None and need > BUDGET * free:
        raise ValueError(
            f"{size:,} draws of {design.p + effects:,} coefficients and random effects, and the pool that they are "
            f"taken from, need {need / 1e9:.2g} GB, more than half of the {free / 1e9:.2g} GB of free memory; take "
            "fewer draws, or keep_effects=False"
        )


def weighted_draws(goal: Marginal, priors: Priors, reml: Estimates, size: int, rng: np.random.Generator) -> Pool:
    """Return `size` weighted draws of the adapted proposal.

    Raises
    ------
    ValueError
        If the density is not finite where the search for its mode starts.
    """
    if goal.posterior.size == 0:  # all is fixed by the priors: nothing is left to draw but beta and b
        return Pool(np.zeros((size, 0)), np.zeros(size), np.full(size, 1 / size), 0.0)
    centre, search = mode(goal, priors, reml)
    if not np.isfinite(search(centre)[0]):
        raise ValueError(
            "the marginal posterior density is 0 at the REML estimate and where all sds equal sigma, so its mode was "
            "not found; widen the priors of the sds and sigma, or use sampler='nutpie'"
        )
    proposal = around(centre, hessian(search, centre) / 2)
    whole = Mixture(np.ones(1), proposal.centres[:1], proposal.factors[:1])  # one t for all of it
    for _ in range(ADAPTATIONS):
        pool = _weighted(goal, proposal, ADAPTATION_DRAWS, rng)
        proposal, whole = (adapted(mixture, pool.x, pool.weights) for mixture in (proposal, whole))
    sd = np.sqrt(FREEDOM / (FREEDOM - 2))  # of a t of scale 1
    return _weighted(goal, defended(proposal, whole.centres[0], sd * whole.factors[0]), size, rng)


def mode(goal: Marginal, priors: Priors, reml: Estimates) -> tuple[Floats, Search]:
    """Return the mode of the density of x, (d,), and -2 log density with its gradient as a function."""
    c = goal.posterior.coordinates

    def criterion(x: Floats) -> tuple[float, Floats]:
        value, slope = goal.posterior(x)
        return -2 * value, -2 * slope

    search = Search(criterion)
    starts = [gaussian_start(c, goal.places, goal.integrated, priors, reml, moved) for moved in (False, True)]
    return min((minimum(search, start) for start in starts), key=lambda x: search(x)[0]), search


def _weighted(goal: Marginal, proposal: Mixture, size: int, rng: np.random.Generator) -> Pool:
    x = draw(proposal, size, rng)
    lp = goal.posterior.many(x)
    smoothed, k = pareto_smoothed(lp - logsumexp(component_densities(proposal, x), axis=0))
    return Pool(x, lp, np.exp(smoothed), k)


def resampled(weights: Floats, size: int, rng: np.random.Generator) -> Ints:
    """Return the positions of `size` draws, (size,), in random order, each taken `size` times its weight, up or down.

    Systematic resampling from a shuffled pool (Douc, Cappé & Moulines 2005, ISPA): a draw with less than 1 / size of
    the weight is taken at most once, so that a pool several times as large gives few duplicates.
    """
    order = rng.permutation(len(weights))
    ends = np.cumsum(weights[order])
    marks = (rng.random() + np.arange(size)) / size * ends[-1]
    taken = np.minimum(np.searchsorted(ends, marks, side="right"), len(weights) - 1)
    return rng.permutation(order[taken])


def effective_number(weights: Floats, size: int) -> float:
    """Return how many independent draws are worth the `size` resampled ones.

    The variance of a mean is that of the weighted pool, sum w^2, and what rounding the copies adds, sum f (1 - f) /
    size^2 with f the fraction of size w; if no draw has more than 1 / size of the weight the two add up to 1 / size.
    """
    fraction = np.modf(size * weights)[0]
    return float(1 / (np.square(weights).sum() + (fraction * (1 - fraction)).sum() / size**2))


def _run(pool: Pool, kept: Ints, shape: tuple[int, int]) -> Run:
    """Return the draws at the positions `kept` as a sampler's run."""
    chain_draw = {"chain": np.arange(shape[0]), "draw": np.arange(shape[1])}
    stats = {"lp": pool.lp[kept], "log_weight": np.log(pool.weights[kept] * len(pool.x))}
    stats = {name: (("chain", "draw"), values.reshape(shape)) for name, values in stats.items()}
    x = {"x": (("chain", "draw", "coordinate"), pool.x[kept].reshape(*shape, pool.x.shape[1]))}
    return Run(xr.Dataset(x, chain_draw), xr.Dataset(stats, chain_draw), interrupted=False)
