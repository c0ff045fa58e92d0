"""What the checks read, gathered once: draws, their diagnostics, the sampler's statistics, replicated responses."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from bayesmm.design.parameters import coefficients, effect_labels, variance_parameters
from bayesmm.posterior.convergence import diagnostics, in_batches
from bayesmm.posterior.draws import (
    block_draws,
    draws_of,
    is_constant,
    kept_effects,
    sampling_record,
    tree_sizes,
)

EFFECTS_LIMIT = 200  # random effects of a factor with full diagnostics (0.5 ms each); the most suspicious of more


@dataclass(frozen=True)
class Watched:
    """The parameters that the checks look at, an entry each: label, place in the model and diagnostics."""

    label: tuple[str, ...]
    block: tuple[int, ...]  # position in design.blocks; -1 for sigma and the coefficients
    kind: tuple[str, ...]  # "sd", "corr", "sigma", "auxiliary", "coefficient" or "b"
    r_hat: np.ndarray
    ess_bulk: np.ndarray
    ess_tail: np.ndarray


@dataclass(frozen=True)
class Evidence:
    """All that the checks read, gathered once."""

    design: object
    priors: Mapping
    watched: Watched
    variances: np.ndarray  # draws of the variance parameters, (k, chains, draws)
    stats: dict[str, np.ndarray]  # sample_stats: name -> (chains, draws)
    record: dict[str, object]  # what the sampler recorded about its run
    chains: int
    draws: int


def is_independent(record: dict[str, object]) -> bool:
    """Return whether the draws are independent ones, made by importance sampling."""
    return "pareto_k" in record


def gather(fit) -> Evidence:
    """Read the posterior and the sampler's statistics once."""
    chains, draws = tree_sizes(fit.tree)
    stats = fit.tree["sample_stats"].data_vars if "sample_stats" in fit.tree.children else {}
    names = ("diverging", "energy", "reached_max_treedepth")
    record = dict(sampling_record(fit.tree))
    return Evidence(
        design=fit.design,
        priors=fit.model.priors,
        watched=limited(watch(fit), record),
        variances=draws_of(fit, variance_parameters(fit.design)),
        stats={name: stats[name].transpose("chain", "draw").values for name in names if name in stats},
        record=record,
        chains=chains,
        draws=draws,
    )


def watch(fit) -> Watched:
    """Diagnose the coefficients, the variance parameters and the random effects, of many the most suspicious ones."""
    parameters = coefficients(fit.design) + variance_parameters(fit.design)
    labels, blocks = [p.label for p in parameters], [p.block for p in parameters]
    kinds, draws = [p.kind for p in parameters], [draws_of(fit, parameters)]
    for k in kept_effects(fit):
        block = fit.design.blocks[k]
        effects = block_draws(fit, block).transpose(3, 2, 0, 1)  # (q, G, chains, draws), a view
        chosen = suspicious(effects, EFFECTS_LIMIT)
        names = effect_labels(block)
        labels += [names[i] for i in chosen]
        blocks += [k] * len(chosen)
        kinds += ["b"] * len(chosen)
        draws.append(effects[np.unravel_index(chosen, effects.shape[:2])])
    stacked = np.concatenate(draws)
    varies = np.flatnonzero(~is_constant(stacked))  # a fixed parameter cannot fail to converge
    names, blocks, kinds = (tuple(column[i] for i in varies) for column in (labels, blocks, kinds))
    return Watched(names, blocks, kinds, **diagnostics(stacked[varies]))


def limited(watched: Watched, record: dict[str, object]) -> Watched:
    """Return the diagnostics with no ESS above the recorded number of independent draws that the weights are worth.

    Autocorrelations do not see that draws were taken twice, or from a pool in which few had any weight.
    """
    most = float(record["effective"]) if is_independent(record) else math.inf
    return replace(watched, ess_bulk=np.minimum(watched.ess_bulk, most), ess_tail=np.minimum(watched.ess_tail, most))


def suspicious(draws: np.ndarray, limit: int) -> np.ndarray:
    """Return the positions of the `limit` parameters that look least converged by two cheap statistics, or all.

    Half by the plain split R-hat (Gelman et al. 2013, BDA3, eq. 11.4), half by the lag-1 autocorrelation: they take a
    tenth of the time of the full diagnostics, which for tens of thousands of effects would delay each print. `draws`
    are (..., chains, draws).
    """
    number = math.prod(draws.shape[:-2])
    if number <= limit:
        return np.arange(number)
    scores = np.concatenate([in_batches(mixing, part) for part in (draws if draws.ndim > 3 else [draws])]).T
    worst = [np.argsort(-np.nan_to_num(score, nan=np.inf))[: limit // 2] for score in scores]
    return np.unique(np.concatenate(worst))


def mixing(draws: np.ndarray) -> np.ndarray:
    """Return the plain split R-hat, squared and less its constants, and the lag-1 autocorrelation, (k, 2)."""
    half = draws.shape[2] // 2
    halves = draws[:, :, : 2 * half].reshape(len(draws), -1, half)
    r_hat = halves.mean(axis=2).var(axis=1) / halves.var(axis=2).mean(axis=1)
    centred = draws - draws.mean(axis=2, keepdims=True)
    lag1 = np.vecdot(centred[:, :, 1:], centred[:, :, :-1]).sum(axis=1) / np.vecdot(centred, centred).sum(axis=1)
    return np.stack([r_hat, lag1], axis=1)
