"""What a figure is of: a posterior, which grouping factor and which of its levels, and how it says so."""

import functools
from collections.abc import Callable

import numpy as np

from bayesmm.display.figures import plain
from bayesmm.errors import listing, suggest
from bayesmm.estimation.corner import no_maximum


def of_posterior[Function: Callable](function: Function) -> Function:
    """Return a function of a posterior with a TypeError for everything else, such as a maximised fit."""

    @functools.wraps(function)
    def checked(fit, *args: object, **options: object) -> object:
        check_posterior(function.__name__, fit)
        return function(fit, *args, **options)

    return checked


def check_posterior(name: str, fit: object) -> None:
    """Raise a TypeError for what is no posterior, with what there is for a maximised fit."""
    if not hasattr(fit, "tree"):
        raise TypeError(
            f"{name} draws a posterior, from sample(), not a {type(fit).__name__}; bmm.plots.smooths and "
            "bmm.predictions(...).plot() draw a maximised fit"
        )


def maximised(fit):
    """Return the maximised fit of a posterior's model; None where there is none."""
    return None if no_maximum(fit.design) else fit.model.maximize()


def check_single(design, name: str) -> None:
    """Raise a ValueError where a figure would put several responses, in units of their own, on one axis."""
    if design.responses:
        raise ValueError(
            f"{name} draws one response, and this model has {listing(design.responses)}; plot_predictive has a panel "
            "for each, and predict() the numbers"
        )


def factor(design, group: str | None) -> int:
    """Return the position of a grouping factor among the design's blocks, of the first if none is named.

    Raises
    ------
    ValueError
        If the model has no such factor.
    """
    places = {design.blocks[k].group: k for k in design.factors}
    if not places:
        raise ValueError("the model has no grouping factor that puts each row into one level, which this figure is of")
    if group is not None and group not in places:
        near = suggest(group, list(places)) if isinstance(group, str) else ""
        raise ValueError(f"group is {group!r}; the grouping factors of this model are {listing(list(places))}{near}")
    return places[group] if group is not None else design.factors[0]


def largest(block, limit: int) -> np.ndarray:
    """Return the positions of the `limit` levels with the most rows, in the order of the levels; all of fewer."""
    rows = np.bincount(block.index, minlength=len(block.levels))
    return np.sort(np.argsort(-rows, kind="stable")[:limit])


def said(block, shown: int) -> str:
    """Return how many levels of a factor are shown, and by which rule: "18 levels of Subject"."""
    levels, name = len(block.levels), plain(block.group)
    if shown == levels:
        return f"{levels:,} levels of {name}"
    rows = np.bincount(block.index, minlength=levels)
    if (rows == rows[0]).all():
        return f"the first {shown} of {levels:,} levels of {name} (all with {rows[0]:,} rows)"
    return f"the {shown} levels of {name} with the most rows, of {levels:,}"


def share_of(design) -> str:
    """Return what the name of a binomial's response begins with where its shares of successes are drawn."""
    return "" if design.trials is None else "share of "
