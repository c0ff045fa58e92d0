"""Independent draws from the posterior, by importance sampling of its marginal parameters.

What the marginal likelihood leaves has a handful of dimensions: the draws of a heavy-tailed mixture around its modes,
adapted twice and weighted, are as good as NUTS there, at the cost of some thousand evaluations without gradient. They
are thinned to unweighted draws, and what was integrated out comes back exactly, as it does for NUTS. How far the
weights can be trusted is measured by the shape k of the Pareto distribution fitted to the largest ones (Vehtari,
Simpson, Gelman, Yao & Gabry 2024, JMLR 25(72)); where they cannot, there are no draws, and NUTS has to make them.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version

import numpy as np
import xarray as xr
from scipy.special import logsumexp

from bayesmm.design.covariance.structures import structured_terms
from bayesmm.design.predictors import check_of_mean
from bayesmm.design.records import Design
from bayesmm.errors import listing
from bayesmm.likelihood.coordinates import LOG, coordinates
from bayesmm.likelihood.crossproducts import Floats, Ints
from bayesmm.likelihood.marginal import Marginal, check_marginal, generalised, generalised_coordinates, marginal
from bayesmm.likelihood.near_mode import near_mode
from bayesmm.likelihood.problem import Integrated
from bayesmm.likelihood.structured_blocks import sampled_of
from bayesmm.likelihood.varying import varies, varying_labels
from bayesmm.priors import Priors
from bayesmm.priors.resolve import coefficient_prior
from bayesmm.runtime.arguments import chosen_seed
from bayesmm.runtime.memory import BUDGET, BYTES, COPIES, free_memory
from bayesmm.runtime.progress import counter
from bayesmm.runtime.streams import of_run
from bayesmm.runtime.threads import one_thread
from bayesmm.sampling.marginal import NOWHERE, as_tree, centre, check_start, units
from bayesmm.sampling.mode import Mode, find_modes
from bayesmm.sampling.pareto import k_limit, pareto_smoothed
from bayesmm.sampling.proposal import FREEDOM, Mixture, adapted, around, component_densities, defended, draw
from bayesmm.sampling.recovery import recorded, with_effects
from bayesmm.storage.runs import Run

NAME = "importance"
# Beyond it the efficiency of independent draws falls quickly and NUTS is the better tool.
MAX_PARAMETERS = 20
ADAPTATIONS, ADAPTATION_DRAWS = 2, 1000
# Draws of the proposal for each draw that is kept, and at least so many. A draw is kept twice only where its weight is
# above this many times the average: the less even the weights were in the adaptation, the more are drawn.
LEAST_FACTOR, POOL_FACTOR, LEAST_POOL, SPARE = 2, 4, 4000, 1.7
LEAST_EFFECTIVE = 0.25  # independent draws that those kept are worth, of each: with fewer NUTS is as quick
# Where else a search for a mode starts: all sds larger and smaller by these factors.
ELSEWHERE = (8.0, 1 / 8)
FAR_BELOW = 20.0  # of a mode's log mass: it matters no more
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
    integrated: Integrated | None,
    *,
    near: Mapping[str, float] = NOWHERE,
    draws: int = 1000,
    chains: int = 4,
    seed: int | None = None,
    keep_effects: bool = True,
    progress: bool = True,
    began: float | None = None,
) -> tuple[xr.DataTree | None, str]:
    """Sample a posterior by independent draws.

    Parameters
    ----------
    design, priors, integrated, near
        As `marginal.ready` takes them.
    draws, chains : int
        The independent draws are laid out as `chains` chains of `draws`, as those of a sampler are.
    seed : int, optional
        The same seed and versions give the same draws. None: a new seed, which is recorded.
    keep_effects : bool
        False leaves the random effects out.
    progress : bool
        Show a progress bar; never shown where the output is no terminal or notebook.
    began : float, optional
        ``time.perf_counter()`` from which the seconds are counted.

    Returns
    -------
    xarray.DataTree or None
        The groups and variables of a NUTS fit; sample_stats holds `lp`, the log density in the coordinates of
        the marginal posterior, and `log_weight`, relative to the average of the pool. The attribute "bayesmm" is JSON:
        sampler, draws, chains, seed, pareto_k, pool (draws of the proposal), efficiency (effective number of the pool
        for each of its draws), effective (of the draws that were kept), distinct (of those, how many differ), seconds,
        versions. None where the draws cannot be trusted.
    str
        What is wrong with them: see `untrusted`.

    Raises
    ------
    ValueError
        If there is no start of finite density, or if the draws would not fit in memory.
    """
    began = time.perf_counter() if began is None else began
    check_memory(design, draws * chains, keep_effects)
    seed = chosen_seed(seed)
    total = ADAPTATIONS * ADAPTATION_DRAWS + LEAST_FACTOR * draws * chains
    with one_thread(), counter(progress, "Independent draws", total) as advance:
        goal = generalised(design, priors) if integrated is None else marginal(design, priors, integrated)
        rng = of_run(seed, 2)
        pool = weighted_draws(goal, priors, near, draws * chains, rng, advance)
        kept = resampled(pool.weights, draws * chains, rng)
        why = untrusted(pool, kept)
        if why:
            return None, why
        tree = as_tree(goal, _run(pool, kept, (chains, draws)))
        tree.attrs["bayesmm"] = json.dumps(_record(pool, kept, (chains, draws), seed))
        tree = with_effects(tree, design, priors, integrated, seed, keep_effects=keep_effects)
    return recorded(tree, effects="marginal", seconds=time.perf_counter() - began), ""


def _record(pool: Pool, kept: Ints, shape: tuple[int, int], seed: int) -> dict[str, object]:
    """Return what a fit says of how its (chains, draws) draws were made."""
    return (
        {"sampler": NAME, "draws": int(shape[1]), "chains": int(shape[0]), "seed": seed}
        | {"interrupted": False, "warnings": []}
        | {"pareto_k": pool.pareto_k, "pool": len(pool.x), "efficiency": pool.effective / len(pool.x)}
        | {"effective": effective_number(pool.weights, len(kept)), "distinct": len(np.unique(kept))}
        | {"versions": {package: version(package) for package in RECORDED}}
    )


def untrusted(pool: Pool, kept: Ints) -> str:
    """Return what is wrong with weighted draws, as the end of a sentence about them; nothing where they will do."""
    if pool.pareto_k > k_limit(len(pool.x)):
        return f"have a Pareto k of {pool.pareto_k:.2f}, above {k_limit(len(pool.x)):.2f}, and cannot be trusted"
    effective = effective_number(pool.weights, len(kept))
    if effective < LEAST_EFFECTIVE * len(kept):
        return f"would have weights so uneven that {len(kept):,} of them are worth {effective:,.0f}"
    return ""


def check_applies(design: Design, priors: Priors, effects: str) -> None:
    """Raise ValueError, before any work, if independent draws cannot be had of a model, or not in this way."""
    check_priors(priors)
    if effects == "explicit":
        raise ValueError(
            f"sampler={NAME!r} integrates the random effects out; use effects='marginal', or sampler='nutpie'"
        )
    if not design.family.smooth:
        raise ValueError(
            f"sampler={NAME!r} goes by derivatives, and the log density of the {design.family.name} family has a "
            "corner; use sampler='nutpie'"
        )
    check_of_mean(design, f"sampler={NAME!r}", "use sampler='nutpie'")
    if not design.family.gaussian:
        check_marginal(design)
    size = parameters(design, priors)
    if size > MAX_PARAMETERS:
        others = "coefficients whose prior is not normal" if design.family.gaussian else "coefficients"
        raise ValueError(
            f"sampler={NAME!r} is for at most {MAX_PARAMETERS} marginal parameters (sds, correlations, "
            f"{listing([*design.family.auxiliaries, others])}), and this model has {size}; use sampler='nutpie'"
        )


def serves(design: Design, priors: Priors) -> bool:
    """Return whether independent draws can be had of a model."""
    if structured_terms(design, compiled=True) or (design.residual.estimated and not varies(design)):
        return False
    try:
        check_applies(design, priors, "auto")
    except ValueError:
        return False
    return True


def check_priors(priors: Mapping) -> None:
    """Raise ValueError if a prior is a function, whose density only PyMC knows."""
    custom = [place for place, prior in priors.items() if prior.distribution == "Custom"]
    if custom:
        raise ValueError(
            f"sampler={NAME!r} needs priors in closed form, and the prior of {custom[0]} is a function; "
            "use sampler='nutpie'"
        )


def parameters(design: Design, priors: Priors) -> int:
    """Return the number of parameters of the marginal posterior that no prior fixes."""
    if not design.family.gaussian:
        return int(generalised_coordinates(design, priors)[0].sizes[2])
    structure = sampled_of(design, priors, varying_labels(design) if design.residual.estimated else ())
    c = coordinates(structure.blocks, structure.priors(priors), structure.names, ())
    return int(c.sizes[2]) + int(np.count_nonzero(~np.asarray(coefficient_prior(priors, design).normal)))


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


def weighted_draws(
    goal: Marginal,
    priors: Priors,
    near: Mapping[str, float],
    size: int,
    rng: np.random.Generator,
    advance: Callable[..., None] = lambda number, total=None: None,
) -> Pool:
    """Return weighted draws of the adapted proposal, enough for `size` unweighted ones.

    `advance` is called with numbers of draws that are done, and once with their total.

    Raises
    ------
    ValueError
        If the density is not finite where the search for its mode starts.
    """
    if goal.posterior.size == 0:  # all is fixed by the priors: nothing is left to draw but what was integrated out
        return Pool(np.zeros((size, 0)), np.zeros(size), np.full(size, 1 / size), 0.0)
    modes = modes_of(goal, priors, near)
    goal = replace(goal, posterior=near_mode(goal, modes[0].x, modes[0].factor))
    proposal = around(np.array([mode.x for mode in modes]), np.array([mode.factor for mode in modes]))
    whole = Mixture(np.ones(1), proposal.centres[:1], proposal.factors[:1])  # one t for all of it
    factor = POOL_FACTOR
    for _ in range(ADAPTATIONS):
        pool = _weighted(goal, proposal, ADAPTATION_DRAWS, rng, advance)
        proposal, whole = (adapted(mixture, pool.x, pool.weights) for mixture in (proposal, whole))
        factor = np.clip(SPARE * len(pool.x) / pool.effective, LEAST_FACTOR, POOL_FACTOR)
    sd = np.sqrt(FREEDOM / (FREEDOM - 2))  # of a t of scale 1
    proposal = defended(proposal, whole.centres[0], sd * whole.factors[0])
    number = max(int(factor * size), LEAST_POOL)
    advance(0, ADAPTATIONS * ADAPTATION_DRAWS + number)
    return _weighted(goal, proposal, number, rng, advance)


def modes_of(goal: Marginal, priors: Priors, near: Mapping[str, float]) -> list[Mode]:
    """Return the modes of the density of x that have some of its mass, the highest first.

    The search starts at the middle of the priors or `near`, and with larger and smaller sds, which have modes of their
    own where the data leave open whether a factor or the residual varies.
    """
    middle = centre(goal, priors, near)
    c = goal.posterior.coordinates
    sds, further = len(np.unique(c.sd_of)), () if goal.structure is None else goal.structure.signed
    places = [
        int(c.at[i])
        for i, kind in enumerate(c.kind)
        if kind == LOG and (i < sds or (i < len(goal.places) and goal.places[i] in further))
    ]
    starts = [middle]
    for ratio in ELSEWHERE if places else ():
        starts.append(middle.copy())
        starts[-1][places] += np.log(ratio)
    modes = find_modes(goal.posterior, starts, units(goal, priors))
    if not modes:
        check_start(goal, priors, middle)
        raise ValueError("the search for the mode of the posterior did not get anywhere; use sampler='nutpie'")
    mass = [mode.value + np.log(np.diag(mode.factor)).sum() for mode in modes]
    return [mode for mode, own in zip(modes, mass, strict=True) if own > max(mass) - FAR_BELOW]


def _weighted(
    goal: Marginal, proposal: Mixture, size: int, rng: np.random.Generator, advance: Callable[[int], None]
) -> Pool:
    x = draw(proposal, size, rng)
    lp = goal.posterior.many(x, advance)
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
