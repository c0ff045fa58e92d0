"""Points whose importance weights cannot be trusted: their predictive density from the posterior without them.

With the random effects integrated out a posterior has few coordinates, and independent draws of the one without a point
give p(the others) in a tenth of a second; p(y) / p(the others) is the density of the point given the others (see
`integral`). It is to a few coordinates what moment matching (Paananen, Piironen, Bürkner & Vehtari 2021, Statistics and
Computing 31:16) is to many: the proposal is fitted to the density without the point, instead of the draws moved to it.
Where there are too many coordinates, or no such density, the model is sampled again without the point.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.special import logsumexp

from bayesmm.design.records import Block
from bayesmm.evaluation.checks import run_checks
from bayesmm.posterior.draws import sampling_record, tree_sizes
from bayesmm.posterior.log_likelihood import Split, by_level, by_row, conditional, split_of_rows
from bayesmm.runtime.streams import derived_seed, stream
from bayesmm.sampling.pareto import k_limit, trusted

if TYPE_CHECKING:
    from bayesmm.likelihood.marginal import Marginal

DRAWN, REFIT = "independent draws", "refit"
# Above this k the variance of the weights is infinite, and an estimate may be off by a few tenths where it passes for
# reliable (Vehtari, Gelman & Gabry 2017).
NOISY = 0.5
# Multiply-adds that are spent unasked: about a minute.
WORK = 5e10
SETTINGS = ("draws", "tune", "chains", "sampler", "effects", "centred", "target_accept")  # of the fit, for a refit


@dataclass(frozen=True)
class Again:
    """A point from the posterior without it.

    Attributes
    ----------
    elpd, mcse : float
        Log predictive density and its Monte Carlo error.
    pareto_k : float
        Of the independent draws; of a refit NaN, and infinite if its checks failed.
    method : str
        DRAWN or REFIT.
    """

    elpd: float
    mcse: float
    pareto_k: float
    method: str


def again(
    fit, split: Split | None, by: str | None, k: np.ndarray, *, limit: float, refit: bool | None
) -> Mapping[int, Again]:
    """Return what could be computed of the points with a high Pareto k from the posterior without them.

    Parameters
    ----------
    fit : Fit
    split : Split or None
        As the points' log likelihoods were computed.
    by : str or None
    k : (n,) float64
        Of the weights of the points: rows, or levels of `by`.
    limit : float
        Pareto k up to which an estimate can be trusted. Independent draws are so cheap that they are taken from
        `NOISY` on.
    refit : bool or None
        True: all points, by sampling again where independent draws do not do. None: only by independent draws, and
        only if that is a matter of a minute. False: none.

    Returns
    -------
    mapping of int to Again
        By the place of the point.
    """
    from bayesmm.evaluation.integral import DRAWS, is_small, marginal_of, refusal, work  # here: most fits never need it

    high, noisy = (np.flatnonzero(~(k <= most)).tolist() for most in (limit, min(limit, NOISY)))
    if refit is False or not noisy:
        return {}
    found, model = {}, marginal_of(fit) if refusal(fit) is None else None
    if model is not None and is_small(model):
        points = noisy if refit or work(model) * (1 + len(noisy)) <= WORK else high
        if refit or work(model) * (1 + len(points)) <= WORK:
            found = _drawn(fit, model, {i: _others(fit, split, by, i) for i in points})
            found = {i: one for i, one in found.items() if not one.pareto_k >= k[i]}
    for i in high if refit else ():
        if i not in found or not found[i].pareto_k <= k_limit(DRAWS):
            sampled = _sampled(fit, split, by, i, _others(fit, split, by, i))
            found |= {} if sampled is None else {i: sampled}
    return found


def limits(methods: pd.Series, limit: float) -> np.ndarray:
    """Return the Pareto k up to which each point can be trusted, (n,): `limit` where it was not computed again."""
    from bayesmm.evaluation.integral import DRAWS

    return np.where(methods == DRAWN, k_limit(DRAWS), limit)


def _others(fit, split: Split | None, by: str | None, i: int) -> np.ndarray:
    """Return which rows, (n,) bool, are left without a point."""
    rows = fit.design.table_rows if fit.design.responses else np.arange(fit.design.n)
    return rows != i if by is None else fit.design.blocks[split.outer].index != i


def _drawn(fit, model: "Marginal", kept: Mapping[int, np.ndarray]) -> dict[int, Again]:
    """Return the points by independent draws of the posteriors without them."""
    from bayesmm.evaluation.integral import coordinates_of, integral, without

    x = coordinates_of(fit, model)
    whole, found = integral(model.posterior, x, stream(0, "without a point", 0)), {}
    for i, rows in kept.items():
        if not rows.any():  # the only level of its factor
            continue
        rest = integral(without(fit, model, rows), x, stream(0, "without a point", 1 + i))
        if np.isfinite(rest.log_value):
            k = max(whole.pareto_k, rest.pareto_k)
            found[i] = Again(whole.log_value - rest.log_value, float(np.hypot(whole.se, rest.se)), k, DRAWN)
    return found


def _sampled(fit, split: Split | None, by: str | None, i: int, kept: np.ndarray) -> Again | None:
    """Return a point by sampling again without it; None if effects that are held are then not known."""
    design = fit.design
    if split is None and design.blocks:
        split = _integrable(design)
    held = range(len(design.blocks)) if split is None else split.held
    if not kept.any() or any(_loses_levels(design.blocks[j], kept) for j in held):
        return None
    model, settings = _without(fit, kept), _settings(fit, i)
    other = model.sample(**settings, progress=False)
    if not trusted(sampling_record(other.tree)):  # NUTS asks nothing of its proposal
        other = model.sample(**settings | {"sampler": "auto"}, progress=False)
    if sampling_record(other.tree).get("interrupted"):
        raise KeyboardInterrupt
    view = replace(fit, tree=other.tree)  # the whole data with the draws that have not seen the point
    values = conditional(view) if split is None else (by_row if by is None else by_level)(view, split)
    return _mean(values[:, i].reshape(tree_sizes(other.tree)), all(check.ok for check in run_checks(other)))


def _loses_levels(block: Block, kept: np.ndarray) -> bool:
    """Return whether a level, or a member, is in none of the rows that are kept, (n,) bool."""
    if block.members:
        present = (block.Z[kept] != 0).any(axis=0).reshape(-1, len(block.members))  # term by term
        return not present.any(axis=0).all()
    return len(np.unique(block.index[kept])) < len(block.levels)


def _integrable(design) -> Split | None:
    try:
        return split_of_rows(design)
    except ValueError:  # not all factors are nested in one
        return None


def _without(fit, kept: np.ndarray):
    """Return the model of the rows that are kept, with the priors of the whole data."""
    given = {name: values[kept] for name, values in fit.design.beside.items()}
    return fit.model.with_data(fit.design.frame[kept], **given)


def _settings(fit, i: int) -> dict[str, object]:
    record = sampling_record(fit.tree)
    asked = {name: value for name, value in record.get("asked", {}).items() if name in SETTINGS}
    return asked | {"seed": derived_seed(int(record.get("seed", 0)), "sampling without a point", i)}


def _mean(values: np.ndarray, ok: bool) -> Again:
    """Return the log of the mean density of draws of log densities, (chains, draws)."""
    from arviz_stats.base import array_stats

    total = logsumexp(values)
    density = np.exp(values - values.max())
    ess = float(array_stats.ess(density, method="mean"))
    mcse = density.std() / density.mean() / np.sqrt(ess)
    return Again(float(total - np.log(values.size)), float(mcse), np.nan if ok else np.inf, REFIT)
