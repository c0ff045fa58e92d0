"""Responses as the fitted model would give them again, for the rows of its data, and residuals that compare with them.

A few hundred posterior draws are enough to see by, so the draws are thinned first.
"""

from dataclasses import replace

import numpy as np
import xarray as xr

from bayesmm.prediction.predict import predict
from bayesmm.tables import tree_sizes

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
    draws = max(FEWEST_DRAWS, min(DRAWS, MOST_NUMBERS // max(fit.design.n, 1)))
    return predict(thinned(fit, draws), kind="response", seed=seed).draws.reshape(-1, fit.design.n)


def fitted_means(fit) -> np.ndarray:
    """Return the posterior means of the fitted values, on the scale of the response, (n,); of a binomial, shares."""
    return predict(thinned(fit)).draws.reshape(-1, fit.design.n).mean(axis=0)


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
    share = np.random.default_rng(seed).uniform(size=len(y))
    return ndtri((below + share * (tied + 1)) / (len(replicated) + 1))
