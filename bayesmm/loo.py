"""Leave-one-out cross-validation from one posterior: rows of known groups, or whole groups, by importance sampling.

The posterior without a point is that of all data with each draw weighted by 1 / p(point | draw); the largest weights
are smoothed, and the shape k of the Pareto distribution fitted to them says whether they can be trusted (Vehtari,
Gelman & Gabry 2017, Statistics and Computing 27(5); Vehtari, Simpson, Gelman, Yao & Gabry 2024, JMLR 25(72)). ArviZ
does that; what a point is, and its likelihood, come from `loglik`.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

from bayesmm.data.messages import count, label_text
from bayesmm.errors import listing
from bayesmm.layout import table, wrap
from bayesmm.loglik import by_level, by_row, conditional, split_by, split_of_rows
from bayesmm.memory import BUDGET, BYTES, free_memory, gigabytes
from bayesmm.tables import coefficients, draws_of, is_constant, tree_sizes, variance_parameters

if TYPE_CHECKING:
    from arviz_stats.utils import ELPDData

POINT = "point"  # dimension of the log likelihood that ArviZ reads
COPIES = 6  # of the log likelihood: itself, its weights, and what ArviZ makes on the way; rather too many than too few
SHOWN = 5  # points with a high k that a print names


@dataclass(frozen=True, eq=False)
class Loo:
    """Expected log predictive density of points that were left out, one at a time.

    Attributes
    ----------
    elpd, se : float
        The sum over the points and its standard error; larger is better. In nats.
    p_loo : float
        Effective number of parameters: how much better the points are predicted when they are among the data.
    table : pandas.DataFrame
        A row for each point, in order of the rows of the data or of the factor's levels: elpd, pareto_k.
    limit : float
        Pareto k up to which a point's elpd can be trusted: 0.7, less with fewer than 2,200 draws.
    by : str or None
        The grouping factor whose levels are the points; None for rows.
    integrated, held : tuple of str
        The factors whose effects were integrated out, and those that were held at their draws.
    estimate : arviz_stats.ELPDData
        What ArviZ's functions take.
    """

    elpd: float
    se: float
    p_loo: float
    table: pd.DataFrame
    limit: float
    by: str | None
    integrated: tuple[str, ...]
    held: tuple[str, ...]
    estimate: "ELPDData"

    @property
    def unreliable(self) -> pd.DataFrame:
        """The points whose Pareto k is above the limit."""
        return self.table[self.table["pareto_k"] > self.limit]

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    __repr__ = __str__


def loo(fit, by: str | None = None, *, integrated: bool = False) -> Loo:
    """Estimate how well a model predicts what it has not seen.

    Parameters
    ----------
    fit : Fit
    by : str, optional
        A grouping factor, as written in the formula: its levels are left out, one at a time with all their rows, and
        their random effects are integrated out, with those of the factors nested in it. Effects of other factors are
        held at their draws. None: rows are left out.
    integrated : bool
        For rows: integrate the random effects of a row's group out given the group's other rows, instead of taking
        their draws. It estimates the same density with more even weights: use it where Pareto k are high. All factors
        must be nested in one.

    Returns
    -------
    Loo

    Raises
    ------
    ValueError
        `by` is no grouping factor of the model, the random effects are needed and were not kept or can not be
        integrated out, or the log likelihood would not fit in memory.

    Notes
    -----
    Rows answer "how well is a new row of these groups predicted?", and their random effects count as known from the
    group's other rows. Levels answer "how well is a new group predicted?", from the coefficients and the covariance
    matrix of the effects alone. A model may win one of the two and lose the other.
    """
    design = fit.design
    split = split_by(design, by) if by is not None else split_of_rows(design) if integrated and design.blocks else None
    _check_memory(fit, len(design.blocks[split.outer].levels) if by is not None else design.n)
    values = conditional(fit) if split is None else (by_row if by is None else by_level)(fit, split)
    labels = design.row_labels if by is None else np.array(design.blocks[split.outer].levels, dtype=object)
    estimate = psis(fit, values)
    found = {"elpd": estimate.elpd_i.to_numpy(), "pareto_k": estimate.pareto_k.to_numpy()}
    points = pd.DataFrame(found, index=pd.Index(labels, name="row" if by is None else by))
    inner, held = ((), range(len(design.blocks))) if split is None else (split.inner, split.held)
    factors = [tuple(design.blocks[j].group for j in chosen) for chosen in (inner, held)]
    numbers = float(estimate.elpd), float(estimate.se), float(estimate.p)
    return Loo(*numbers, points, float(estimate.good_k), by, *factors, estimate)


def psis(fit, values: np.ndarray) -> "ELPDData":
    """Return ArviZ's PSIS-LOO of log likelihoods (draws, points)."""
    from arviz_stats import loo as arviz_loo  # here, because it takes half a second to import

    shape = tree_sizes(fit.tree)
    likelihood = xr.Dataset({"y": (("chain", "draw", POINT), values.reshape(*shape, -1))})
    tree = xr.DataTree.from_dict({"posterior": xr.Dataset(), "log_likelihood": likelihood})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Estimated shape parameter", category=UserWarning)  # Loo says it
        return arviz_loo(tree, pointwise=True, reff=relative_efficiency(fit))


def relative_efficiency(fit) -> float:
    """Return the effective number of a draw: the mean over all parameters but the random effects, 1 at most."""
    from arviz_stats.base import array_stats

    draws = draws_of(fit, coefficients(fit.design) + variance_parameters(fit.design))
    draws = draws[~is_constant(draws)]
    if len(draws) == 0 or draws.shape[1] == 1:  # as ArviZ does with a single chain
        return 1.0
    ess = array_stats.ess(draws, method="mean")
    return float(min(1.0, np.mean(ess) / (draws.shape[1] * draws.shape[2])))


def _check_memory(fit, points: int) -> None:
    draws, free = int(np.prod(tree_sizes(fit.tree))), free_memory()
    need = BYTES * COPIES * draws * points
    if free is not None and need > BUDGET * free:
        raise ValueError(
            f"{draws:,} draws of the log likelihood of {count(points, 'point')} need {gigabytes(need)}, more than half "
            f"of the {gigabytes(free)} of free memory; sample fewer draws, or leave out the levels of a factor with by="
        )


# ----------------------------------------------------------------------------------------------------------------------
# print


def what(by: str | None, integrated: Sequence[str], held: Sequence[str]) -> str:
    """Return in words what is left out, and what becomes of the random effects."""
    if by is None:
        if integrated:
            return f"One row at a time, the effects of {listing(integrated)} integrated out given the other rows."
        given = f", given the effects of its groups ({listing(held)})" if held else ""
        return f"One row at a time{given}."
    kept = f"; the effects of {listing(held)} are held at their draws" if held else ""
    return f"One level of {by} at a time, with all its rows; effects integrated out: {listing(integrated)}{kept}."


def _advice(loo: Loo) -> str:
    """Return what question this answers, and how to ask the other one."""
    factors = [*loo.integrated, *loo.held]
    if not factors:
        return "This is for new rows."
    if loo.by is None:
        return f"This is for new rows of the same groups; for new groups use loo(by={factors[0]!r})."
    known = f" and known {listing(loo.held)}" if loo.held else ""
    return f"This is for new levels of {loo.by}{known}; for new rows of the same groups use loo()."


def _lines(loo: Loo) -> list[str]:
    draws = f"{loo.estimate.n_samples:,} draws"
    numbers = [["elpd", f"{loo.elpd:.1f}", f"{loo.se:.1f}"], ["p_loo", f"{loo.p_loo:.1f}", ""]]
    return [
        f"Leave-one-out cross-validation by importance sampling: {count(len(loo.table), 'point')}, {draws}",
        *wrap(what(loo.by, loo.integrated, loo.held)),
        "",
        *table(["", "estimate", "SE"], numbers),
        "",
        *wrap(reliability(loo)),
        *wrap(_advice(loo)),
    ]


def reliability(loo: Loo) -> str:
    """Return a sentence on the Pareto k."""
    bad, k = loo.unreliable, loo.table["pareto_k"]
    if bad.empty:
        return f"Pareto k: all {len(k):,} are below {loo.limit:.2g} (the largest is {k.max():.2f}): reliable."
    names = listing((label_text(label) for label in bad.index), SHOWN)
    return (
        f"Pareto k: {len(bad):,} of {len(k):,} {'is' if len(bad) == 1 else 'are'} above {loo.limit:.2g} ({names}), "
        f"where elpd may be off, as a rule too high: {_remedy(loo)}."
    )


def _remedy(loo: Loo) -> str:
    again = "fit the model again without each of them"
    if loo.by is None and loo.held and not loo.integrated:
        return f"use loo(integrated=True), or {again}"
    return again
