"""A second run, where the first can be mended by how it is sampled: it is reported, and the better one is kept."""

import json
import sys
from collections.abc import Callable, Mapping

import xarray as xr

from bayesmm.runtime.progress import working
from bayesmm.sampling.nuts import TARGET_ACCEPT
from bayesmm.sampling.recovery import recorded

# Divergent draws are tried again with smaller steps, which cost about twice the time; of more than this share the model
# is to be looked at, not the step.
CAREFUL, FEW = 0.99, 0.05


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
    except KeyboardInterrupt:  # before its first draw; the draws of the first run are there
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
