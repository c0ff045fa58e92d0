"""Further runs, where the first can be mended by how it is sampled: they are reported, and the best one is kept."""

import json
import sys
from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr

from bayesmm.posterior.convergence import ESS_LIMIT, R_HAT_LIMIT, bfmi, diagnostics
from bayesmm.runtime.progress import working
from bayesmm.sampling.nuts import TARGET_ACCEPT
from bayesmm.sampling.recovery import recorded

# Divergent draws are tried again with smaller steps, which cost about twice the time; of more than this share the model
# is to be looked at, not the step.
CAREFUL, FEW = 0.99, 0.05
# Chains that nearly mix are run again, so many times as long, and every so many-th draw is kept; those that are further
# away have another fault than their length. With the same seed they go through the same draws. Work decides, not time,
# for the draws of a seed are the same on any machine: gradients times rows, 5e7 of which are 5 to 30 seconds. All ours.
LONGER, NEAR_R_HAT, NEAR_ESS, MOST_WORK, MOST_PARAMETERS = 3, 1.05, 100, 5e7, 1000


def better(
    tree: xr.DataTree,
    again: Callable[[Mapping[str, object]], xr.DataTree],
    settings: Mapping[str, object],
    *,
    say: bool,
) -> xr.DataTree:
    """Return the draws, or those of a second run with smaller steps if a few diverged and fewer do then.

    The record of the run says that there was a second one, and what the first had.
    """
    found, share = divergences(tree)
    if json.loads(tree.attrs["bayesmm"])["interrupted"] or not 0 < share <= FEW:
        return tree
    if say:
        print(f"bayesmm: {found:,} draws diverged; sampling again with target_accept={CAREFUL}", file=sys.stderr)
    try:
        with working("sampling again, with smaller steps", say):
            second = again(settings | {"target_accept": CAREFUL})
    except (KeyboardInterrupt, ValueError):  # before its first draw; the draws of the first run are there
        second = None
    stopped = second is None or json.loads(second.attrs["bayesmm"])["interrupted"]
    then = None if second is None else divergences(second)[0]
    runs = {"first": {"divergences": found, "target_accept": TARGET_ACCEPT}}
    if not stopped and then < found:
        return recorded(second, runs=runs)
    runs["second"] = {"divergences": then, "target_accept": CAREFUL, "interrupted": stopped}
    return recorded(tree, runs=runs)


def divergences(tree: xr.DataTree) -> tuple[int, float]:
    """Return how many draws diverged, and their share; none where the sampler does not record it."""
    if "sample_stats" not in tree.children or "diverging" not in tree["sample_stats"].data_vars:
        return 0, 0.0
    diverging = tree["sample_stats"]["diverging"].to_numpy()
    return int(diverging.sum()), float(diverging.mean())


def longer(
    tree: xr.DataTree,
    again: Callable[[Mapping[str, object]], xr.DataTree],
    settings: Mapping[str, object],
    *,
    rows: int,
    say: bool,
) -> xr.DataTree:
    """Return the draws, or 1 in `LONGER` of so many times as many where the chains nearly mix and the model is small.

    The record of the run says of `longer` ones how many draws there were, and what R-hat and ESS had been; or why they
    were dropped. Draws that diverge have another fault than their number: there is no longer run.

    Parameters
    ----------
    tree : xarray.DataTree
    again : callable
        Samples with other settings.
    settings : mapping of str to object
    rows : int
        Of the data.
    say : bool
        Say so on stderr.
    """
    record = json.loads(tree.attrs["bayesmm"])
    if record["interrupted"] or divergences(tree)[0] or not worth_more(tree, rows):
        return tree
    r_hat, ess = mixing(tree)
    if (r_hat <= R_HAT_LIMIT and ess >= ESS_LIMIT) or not (r_hat <= NEAR_R_HAT and ess >= NEAR_ESS):
        return tree
    draws = tree["posterior"].sizes["draw"]
    if say:
        text = f"R-hat is up to {r_hat:.3f}, ESS down to {int(ess)}; sampling {LONGER} times as long"
        print(f"bayesmm: {text}", file=sys.stderr)
    was = {"draws": LONGER * draws, "every": LONGER, "r_hat": round(r_hat, 4), "ess": int(ess)}
    try:
        with working("sampling again, for longer", say):
            found = again(settings | {"draws": LONGER * draws, "target_accept": record["target_accept"]})
    except (KeyboardInterrupt, ValueError):  # before its first draw, or too many; the draws of the first run are there
        found = None
    if found is None or json.loads(found.attrs["bayesmm"])["interrupted"]:
        return recorded(tree, longer=was | {"dropped": "was stopped"})
    if diverged := divergences(found)[0]:
        return recorded(tree, longer=was | {"dropped": f"had {diverged:,} divergent draw{'s' * (diverged > 1)}"})
    was["e_bfmi"] = bfmi(found["sample_stats"]["energy"].to_numpy()).tolist()  # steps of draws that are not kept too
    runs = {"runs": record["runs"]} if "runs" in record else {}
    return recorded(every_third(found), draws=draws, longer=was, **runs)


def worth_more(tree: xr.DataTree, rows: int) -> bool:
    """Return whether a run three times as long is a small matter, and chains of this length could pass their checks."""
    posterior = tree["posterior"]
    if "sample_stats" not in tree.children or not {"n_steps", "energy"} <= set(tree["sample_stats"].data_vars):
        return False
    chains, draws = posterior.sizes["chain"], posterior.sizes["draw"]
    parameters = sum(values.size for values in posterior.data_vars.values()) / (chains * draws)
    work = float(tree["sample_stats"]["n_steps"].sum()) * rows
    return chains > 1 and chains * draws >= 10 * ESS_LIMIT and work <= MOST_WORK and parameters <= MOST_PARAMETERS


def mixing(tree: xr.DataTree) -> tuple[float, float]:
    """Return the largest R-hat and the smallest bulk or tail ESS of what was sampled; constants have none."""
    posterior = tree["posterior"]
    each = [values.to_numpy() for values in posterior.data_vars.values()]
    draws = np.concatenate([one.reshape(*one.shape[:2], -1) for one in each], axis=2)
    found = diagnostics(np.moveaxis(draws.astype(float), 2, 0))
    least = np.fmin(found["ess_bulk"], found["ess_tail"])
    return float(np.nanmax(found["r_hat"], initial=1.0)), float(np.nanmin(least, initial=np.inf))


def every_third(tree: xr.DataTree) -> xr.DataTree:
    """Return every `LONGER`-th draw."""
    out = {}
    for name, group in tree.children.items():
        found = group.to_dataset()
        if "draw" in found.dims:
            found = found.isel(draw=slice(LONGER - 1, None, LONGER))
            found = found.assign_coords(draw=np.arange(found.sizes["draw"]))
        out[name] = found
    thinned = xr.DataTree.from_dict(out)
    thinned.attrs.update(tree.attrs)
    return thinned
