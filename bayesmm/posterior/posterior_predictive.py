"""The posterior predictive distribution of the data, in the form that ArviZ reads."""

import json

import numpy as np
import xarray as xr

from bayesmm.errors import DataError, listing
from bayesmm.posterior.draws import tree_sizes
from bayesmm.posterior.parameter_values import posterior_values
from bayesmm.posterior.predict import check_choice, check_draws, checked_seed, predict, rows_of
from bayesmm.posterior.residuals import thinned
from bayesmm.posterior.simulate import drawn
from bayesmm.runtime.arguments import check_seed, check_whole
from bayesmm.runtime.progress import working
from bayesmm.runtime.streams import stream

GROUPS = ("conditional", "new")


@working("drawing replicated data")
def posterior_predictive(
    fit, draws: int | None = None, seed: int | None = None, groups: str = "conditional"
) -> xr.DataTree:
    """Draw the data again from every posterior draw.

    Parameters
    ----------
    fit : Fit
    draws : int, optional
        About how many, evenly spaced over all chains, and at most those of the posterior; all if not given.
    seed : int, optional
        The same seed gives the same draws. None: a new one, recorded in the tree.
    groups : {"conditional", "new"}
        "conditional": the groups of the data, with the random effects of the draw. "new": other groups with the same
        rows, whose effects are drawn from N(0, Sigma): whether the model gives such groups at all. Curves of smooths
        are those of the draw in both: they are a part of the mean.

    Returns
    -------
    xarray.DataTree
        Groups posterior_predictive, with y (chain, draw, obs), and observed_data, with y (obs): what ArviZ's
        ``plot_ppc_dist`` and its relatives take. Of a binomial response, numbers of successes. The attribute "bayesmm"
        is JSON: draws, seed, groups.

    Raises
    ------
    ValueError
        For an argument out of range, draws that would not fit in memory, or random effects that are needed and were not
        kept: all for ``groups="conditional"``, those of smooths for others.
    DataError
        New groups have no mean: with the inverse link a linear predictor is not above 0.
    """
    check_choice("groups", groups, GROUPS)
    if draws is not None:
        check_whole("draws", draws, 1)
    check_seed(seed)
    _check_enough(fit, draws)
    needed = [block for block in fit.design.blocks if groups == "conditional" or block.smooth]
    missing = [block.group for block in needed if block.names.effects not in fit.tree["posterior"].data_vars]
    if missing:
        smooth = any(block.smooth for block in needed)
        raise ValueError(
            f"the fit was made with keep_effects=False, so the effects of {listing(missing)} are not known; sample "
            f"again with keep_effects=True{'' if smooth else ", or use groups='new'"}"
        )
    chosen = fit if draws is None else thinned(fit, draws)
    seed = checked_seed(seed)
    values = (_of_new_groups if groups == "new" else _of_known_groups)(chosen, seed)
    shape = tree_sizes(chosen.tree)
    obs = ("obs", fit.design.rows)
    y = xr.Dataset(
        {"y": (("chain", "draw", "obs"), _typed(fit, values).reshape(*shape, -1))},
        {name: chosen.tree["posterior"][name] for name in ("chain", "draw")} | {"obs": obs},
    )
    observed = xr.Dataset({"y": ("obs", _typed(fit, fit.design.y))}, {"obs": obs})
    tree = xr.DataTree.from_dict({"posterior_predictive": y, "observed_data": observed})
    tree.attrs["bayesmm"] = json.dumps({"draws": int(np.prod(shape)), "seed": int(seed), "groups": groups})
    return tree


def _check_enough(fit, draws: int | None) -> None:
    """Raise ValueError for more draws than the posterior has: each is used once, as brms and ArviZ do."""
    number = int(np.prod(tree_sizes(fit.tree)))
    if draws is not None and draws > number:
        raise ValueError(
            f"draws is {draws:,}, and the posterior has {number:,} draws; ask for at most {number:,}, or sample more"
        )


def _of_known_groups(fit, seed: int) -> np.ndarray:
    return predict(fit, kind="response", seed=seed).draws.reshape(-1, fit.design.n)


def _of_new_groups(fit, seed: int) -> np.ndarray:
    check_draws(fit, rows_of(fit.design, None, ()))
    smooths = [k for k, block in enumerate(fit.design.blocks) if block.smooth]
    values_at, number = posterior_values(fit, smooths), int(np.prod(tree_sizes(fit.tree)))
    try:
        return np.stack(
            [drawn(fit.design, values_at(s), stream(seed, "posterior predictive", s)) for s in range(number)]
        )
    except DataError as error:  # what it says is for parameters that a person chose
        raise DataError(
            f"some of the new groups have a linear predictor of 0 or less, where the {fit.design.family.link} link has "
            "no mean, so that the model cannot give such data; use groups='conditional'"
        ) from error


def _typed(fit, values: np.ndarray) -> np.ndarray:
    """Return whole numbers as such: ArviZ draws them as counts."""
    return values.astype(np.int64) if fit.design.family.discrete else values
