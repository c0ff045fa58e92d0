"""Responses as the fitted model would give them again, for the rows of its data, and residuals that compare with them.

A few hundred posterior draws are enough to see by, so the draws are thinned first.
"""

from dataclasses import replace

import numpy as np
import xarray as xr

from bayesmm.design.ordered import check_order
from bayesmm.design.predictors import MEAN, columns_of, part_of, random_parameters
from bayesmm.design.relations import drawn_effects
from bayesmm.design.residual.structure import residual_weights
from bayesmm.families.circle import mean_of_draws
from bayesmm.families.limits import scores_between, shares_below
from bayesmm.posterior.auxiliaries import auxiliary_values
from bayesmm.posterior.draws import factor_draws, residual_draws, tree_sizes
from bayesmm.posterior.predict import conditioned_on, linear, predict, rows_of
from bayesmm.posterior.responses import draw_response
from bayesmm.runtime.streams import stream

DRAWS = 400  # an interval's end then rests on 10 draws, a p-value has a Monte Carlo error of 0.025 at most
MOST_NUMBERS = 4_000_000  # of a replication: 32 MB; with more rows fewer draws are taken ...
FEWEST_DRAWS = 100  # ... but not fewer than these


def thinned(fit, draws: int = DRAWS):
    """Return the same fit with `draws` draws or a little fewer, evenly spaced, and nothing but its posterior."""
    chains, length = tree_sizes(fit.tree)
    step = max(1, -(-chains * length // draws))
    posterior = fit.tree["posterior"].to_dataset().isel(draw=slice(None, None, step))
    return replace(fit, tree=xr.DataTree.from_dict({"posterior": posterior}))


def replicates(fit, seed: int = 0) -> np.ndarray:
    """Return responses drawn from the posterior predictive distribution of the same rows and groups, (draws, n).

    Of a binomial, numbers of successes.

    Raises
    ------
    ValueError
        If the random effects were not kept.
    """
    return predict(_few(fit), kind="response", seed=seed).draws.reshape(-1, fit.design.n)


def replicates_of_new_groups(fit, seed: int = 0) -> np.ndarray:
    """Return responses of the same rows in groups whose effects are drawn from N(0, Sigma), (draws, n).

    The effects of the data's own groups follow their rows, so that these lie nearer to the middle of their replicates
    than further rows would; among those of new groups they have every place with the same probability. Where a link
    gives such groups no mean, the replicates are those of the data's groups.
    """
    design, rng = fit.design, stream(seed, "replicates of new groups")
    few, mu, aux = means_of_new_groups(fit, rng)
    if np.isnan(mu).any():
        return replicates(fit, seed)
    values, drawn = residual_draws(few), []
    for s, mean in enumerate(mu):
        own = {name: found[s] for name, found in values.items()}
        weights, correlation = residual_weights(design, own), design.residual.correlation(design.residual.rows, own)
        its = tuple(a[s] if a.shape[1] > 1 else a[s, 0] for a in aux)
        drawn.append(draw_response(design.family, rng, mean, design.drawn_with, its, weights, correlation))
    return np.array(drawn)


def means_of_new_groups(fit, rng: np.random.Generator):
    """Return a fit of fewer draws, the inverse of the link for the same rows in new groups, (draws, n), and the
    family's parameters there, (draws, 1) or (draws, n) each.
    """
    few, design = _few(fit), fit.design
    check_order(
        design, "the place of a response among its replicates", "predict() has the probability of each category"
    )
    # not predict(kind="linear"), which refuses where thresholds have effects of their own: those are in the parameters
    eta = linear(few, rows_of(design, None, conditioned_on(design, "population")), "error", 0)
    effects = {name: np.zeros_like(eta) for name in random_parameters(design)}
    for block in (design.blocks[k] for k in design.groups):  # smooths are in eta
        Z = {name: part_of(block, block.Z, name) for name in (MEAN, *effects) if columns_of(block, name).any()}
        for s, L in enumerate(factor_draws(few, block)):
            b = drawn_effects(block, rng, L)
            for name, own in Z.items():
                (eta if name == MEAN else effects[name])[s] += (own * b[block.index]).sum(axis=1)
    return few, design.family.inverse(eta), auxiliary_values(few, effects=effects)


def _few(fit):
    return thinned(fit, max(FEWEST_DRAWS, min(DRAWS, MOST_NUMBERS // max(fit.design.n, 1))))


def fitted_means(fit, groups: str = "conditional") -> np.ndarray:
    """Return the posterior means of the fitted values, on the scale of the response, (n,); of a binomial, shares.

    Of ordered categories they are expected numbers of the category, of angles mean directions.
    """
    draws = predict(thinned(fit), groups=groups).numbers().draws.reshape(-1, fit.design.n)
    return mean_of_draws(fit.design.family, draws, 0)


def residuals_of_new_groups(fit, seed: int = 0, replicated: np.ndarray | None = None) -> np.ndarray:
    """Return normal scores of the places of the responses among those of new groups, (n,), ties broken at random.

    By the distribution function of the family, averaged over the draws (Dunn & Smyth 1996): of a count the place is
    anywhere between P(Y < y) and P(Y <= y), and of a censored response anywhere in what is known of it. Families
    without one, or with one that takes long, have the places among replicates.

    Parameters
    ----------
    fit : Fit
    seed : int
    replicated : (draws, n), optional
        Those of `replicates_of_new_groups`, if they are at hand.
    """
    family, design = fit.design.family, fit.design
    _, mu, own = means_of_new_groups(fit, stream(seed, "residuals of new groups"))
    if family.cdf is None or family.cdf_is_sum or np.isnan(mu).any():
        return quantile_residuals(
            design.y, replicates_of_new_groups(fit, seed) if replicated is None else replicated, seed
        )
    aux = tuple(own)
    first, last = (
        np.broadcast_to(ends, mu.shape).mean(axis=0)
        for ends in shares_below(family, design.y, mu, aux, design.trials, design.limits)
    )
    return scores_between(first, last, stream(seed, "places of the data"))


def quantile_residuals(y: np.ndarray, replicated: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return normal scores of the places of the responses among their replicates, (n,).

    Standard normal if the model holds, for counts too: ties are broken at random (Dunn & Smyth 1996, Journal of
    Computational and Graphical Statistics 5(3)).

    Parameters
    ----------
    y : (n,)
    replicated : (draws, n)
    seed : int
    """
    from scipy.special import ndtri

    below, tied = (replicated < y).sum(axis=0), (replicated == y).sum(axis=0)
    share = stream(seed, "ties of the data").uniform(size=len(y))
    return ndtri((below + share * (tied + 1)) / (len(replicated) + 1))


def replicate_scores(replicated: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return the normal scores of each replicate among all, (draws, n): what `quantile_residuals` of data would be."""
    from scipy.special import ndtri

    ties, within = stream(seed, "ties of the replicates").uniform(size=(2, *replicated.shape))
    order = np.lexsort((ties, replicated), axis=0)
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(len(order))[:, None], axis=0)
    return ndtri((ranks + within) / len(order))
