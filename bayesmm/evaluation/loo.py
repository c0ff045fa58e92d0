"""Leave-one-out cross-validation from one posterior: rows of known groups, or whole groups, by importance sampling.

The posterior without a point is that of all data with each draw weighted by 1 / p(point | draw); the largest weights
are smoothed, and the shape k of the Pareto distribution fitted to them says whether they can be trusted (Vehtari,
Gelman & Gabry 2017, Statistics and Computing 27(5); Vehtari, Simpson, Gelman, Yao & Gabry 2024, JMLR 25(72)). ArviZ
does that; what a point is, and its likelihood, come from `log_likelihood`. Points that k says cannot be had this way
are computed from the posterior without them, see `loo_again`.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

from bayesmm.design.parameters import coefficients, variance_parameters
from bayesmm.display.frames import Tabled
from bayesmm.display.text_tables import apart, table, wrap
from bayesmm.errors import DataError, listing
from bayesmm.evaluation.loo_again import NOISY, REFIT, Again, again, limits
from bayesmm.evaluation.psis import smoothed
from bayesmm.formula.responses import ROW
from bayesmm.posterior.draws import draws_of, is_constant, tree_sizes
from bayesmm.posterior.log_likelihood import Split, by_level, by_row, conditional, split_by, split_of_rows
from bayesmm.runtime.arguments import check_bool
from bayesmm.runtime.memory import BYTES, too_much
from bayesmm.runtime.messages import count, label_text
from bayesmm.runtime.progress import working
from bayesmm.runtime.threads import few_threads
from bayesmm.sampling.pareto import k_limit

if TYPE_CHECKING:
    from arviz_stats.utils import ELPDData

POINT = "point"  # dimension of the log likelihood that ArviZ reads
COPIES = 6  # of the log likelihood: itself, its weights, and what ArviZ makes on the way; rather too many than too few
SHOWN = 5  # points with a high k that a print names
SMOOTHED = "importance"  # how a point was computed, if by weighting the draws of this posterior


@dataclass(frozen=True, eq=False)
class Loo(Tabled):
    """Expected log predictive density of points that were left out, one at a time.

    Attributes
    ----------
    elpd, se : float
        The sum over the points and its standard error; larger is better. In nats.
    p_loo : float
        Effective number of parameters: how much better the points are predicted when they are among the data.
    table : pandas.DataFrame
        A row for each point, in order of the rows of the data or of the factor's levels: elpd, mcse (its Monte Carlo
        error), pareto_k, method ("importance": by weighting the draws of this posterior; "independent draws" of, or
        "refit" to, the data without the point), k_before (that of the weights). A refit has no pareto_k.
    limit : float
        Pareto k up to which the weights of this many draws can be trusted: 0.7, less with fewer than 2,155 draws.
    by : str or None
        The grouping factor whose levels are the points; None for rows.
    integrated, held : tuple of str
        The factors whose effects were integrated out, and those that were held at their draws.
    factors : tuple of str
        Those whose levels can be left out.
    integrable : bool
        Whether ``integrated=True`` is possible and was not said: rows are then left out with the effects integrated
        out.
    estimate : arviz_stats.ELPDData
        What ArviZ's functions take; its `log_weights` are those of importance sampling for all points.
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
    factors: tuple[str, ...] = ()
    integrable: bool = False

    @property
    def unreliable(self) -> pd.DataFrame:
        """The points whose Pareto k is above the limit for the draws that they were computed from."""
        return self.table[self.table["pareto_k"] > limits(self.table["method"], self.limit)]

    @property
    def mcse(self) -> float:
        """Monte Carlo error of `elpd`."""
        return float(np.sqrt(np.square(self.table["mcse"]).sum()))

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    __repr__ = __str__


@working("leave-one-out")
@few_threads
def loo(fit, by: str | None = None, *, integrated: bool = False, refit: bool | None = None) -> Loo:
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
    refit : bool, optional
        What becomes of points whose Pareto k is too high. None: they, and those with a k above 0.5, are computed from
        independent draws of the posterior without them, where it has at most 20 parameters with the random effects
        integrated out and that takes no more than about a minute. True: also where it takes longer, and those above
        the limit by sampling again where independent draws do not do. False: nothing.

    Returns
    -------
    Loo

    Raises
    ------
    ValueError
        `by` is no grouping factor of the model, the random effects are needed and were not kept or cannot be
        integrated out, or the log likelihood would not fit in memory.

    Notes
    -----
    Rows answer "how well is a new row of these groups predicted?", and their random effects count as known from the
    group's other rows. Levels answer "how well is a new group predicted?", from the coefficients and the covariance
    matrix of the effects alone. A model may win one of the two and lose the other.
    """
    check_bool("integrated", integrated)
    check_bool("refit", refit, optional=True)
    design = fit.design
    split, values, labels = pointwise(fit, by, integrated)
    estimate = psis(fit, values)
    table = _table(fit, estimate, values, pd.Index(labels, name="row" if by is None else by))
    limit, k = k_limit(estimate.n_samples), table["pareto_k"].to_numpy()
    found = again(fit, split, by, k, limit=limit, refit=refit)
    estimate, table = _with(estimate, table, found)
    inner, held = ((), range(len(design.blocks))) if split is None else (split.inner, split.held)
    factors = [tuple(design.blocks[j].group for j in chosen if j in design.groups) for chosen in (inner, held)]
    numbers = float(estimate.elpd), float(estimate.se), float(estimate.p)
    integrable = split is None and _is_integrable(design)
    return Loo(*numbers, table, limit, by, *factors, estimate, _left_out(design), integrable)


def pointwise(fit, by: str | None, integrated: bool) -> tuple[Split | None, np.ndarray, np.ndarray]:
    """Return what is left out with what, the log likelihood of each point, (draws, points), and the points' labels."""
    design = fit.design
    split = split_by(design, by) if by is not None else split_of_rows(design) if integrated and design.blocks else None
    _check_memory(fit, len(design.blocks[split.outer].levels) if by is not None else design.n)
    try:
        values = conditional(fit) if split is None else (by_row if by is None else by_level)(fit, split)
    except ArithmeticError as error:  # of a draw far out
        raise DataError(
            f"the random effects cannot be integrated out: {error}, which lies far from the others or is of a run that "
            "has not converged; loo() of the rows given their effects needs no integral"
        ) from None
    rows = np.unique(design.frame[ROW]) if design.responses else design.row_labels
    return split, values, rows if by is None else np.array(design.blocks[split.outer].levels, dtype=object)


@working("the log likelihood")
@few_threads
def with_log_likelihood(fit, by: str | None = None, *, integrated: bool = False) -> xr.DataTree:
    """Return the tree of a fit with the log likelihood of its points, for ArviZ: ``az.loo(fit.log_likelihood())``.

    Parameters
    ----------
    fit : Fit
    by, integrated
        What a point is, as `loo` takes them.

    Returns
    -------
    xarray.DataTree
        A copy with the group log_likelihood, whose variable is y as in observed_data: (chain, draw, obs), or by levels
        (chain, draw, the factor). Several responses of a row of the table are one point, (chain, draw, row).

    Raises
    ------
    ValueError, DataError
        As `loo`.
    """
    check_bool("integrated", integrated)
    split, values, labels = pointwise(fit, by, integrated)
    chains, draws = tree_sizes(fit.tree)
    point = fit.design.blocks[split.outer].name if by else ("row" if fit.design.responses else "obs")
    if point == "obs":
        labels = fit.tree["observed_data"]["obs"].to_numpy()
    own = {"y": (("chain", "draw", point), values.reshape(chains, draws, -1))}
    index = {name: fit.tree["posterior"][name].to_numpy() for name in ("chain", "draw")}
    tree = fit.tree.copy()
    tree["log_likelihood"] = xr.DataTree(xr.Dataset(own, {**index, point: labels}))
    return tree


def _is_integrable(design) -> bool:
    """Return whether rows can be left out with the random effects integrated out: what `split_of_rows` refuses not."""
    if not design.blocks:
        return False
    try:
        split_of_rows(design)
    except (DataError, ValueError):
        return False
    return True


def _left_out(design) -> tuple[str, ...]:
    """Return the grouping factors that `split_by` takes: those whose levels can be left out."""
    found = []
    for group in (design.blocks[k].group for k in design.factors):
        with suppress(ValueError):
            split_by(design, group)
            found.append(group)
    return tuple(found)


def _table(fit, estimate: "ELPDData", values: np.ndarray, labels: pd.Index) -> pd.DataFrame:
    """Return the points as importance sampling gives them."""
    weights = np.exp(estimate.log_weights.transpose("chain", "draw", ...).to_numpy().reshape(values.shape))
    density = np.exp(values - values.max(axis=0))
    mean = (weights * density).sum(axis=0)
    with np.errstate(invalid="ignore"):  # of a point so far out that its weights are where its density is 0
        mcse = np.sqrt((np.square(weights * (density - mean))).sum(axis=0) / relative_efficiency(fit)) / mean
    k = estimate.pareto_k.to_numpy()
    columns = {"elpd": estimate.elpd_i.to_numpy(), "mcse": mcse, "pareto_k": k, "method": SMOOTHED, "k_before": k}
    return pd.DataFrame(columns, index=labels)


def _with(
    estimate: "ELPDData", table: pd.DataFrame, found: Mapping[int, Again]
) -> tuple["ELPDData", pd.DataFrame]:  # fmt: skip
    """Return both with the points that were computed again in the place of the weighted ones."""
    if not found:
        return estimate, table
    places, out = list(found), table.copy()
    for name in ("elpd", "mcse", "pareto_k", "method"):
        out.iloc[places, out.columns.get_loc(name)] = [getattr(one, name) for one in found.values()]
    elpd, k = out["elpd"].to_numpy(), out["pareto_k"].to_numpy()
    changed = replace(
        estimate,
        elpd=float(elpd.sum()),
        se=float(np.sqrt(len(elpd) * np.var(elpd))),
        p=float(estimate.p) + float(table["elpd"].sum() - elpd.sum()),
        elpd_i=estimate.elpd_i.copy(data=elpd),
        pareto_k=estimate.pareto_k.copy(data=np.nan_to_num(k, nan=-np.inf, posinf=np.inf)),
        warning=bool((k > limits(out["method"], k_limit(estimate.n_samples))).any()),
    )
    return changed, out


def psis(fit, values: np.ndarray) -> "ELPDData":
    """Return the PSIS-LOO of log likelihoods (draws, points), as ArviZ's functions take it."""
    from arviz_stats.utils import ELPDDataLOO  # here, because it takes half a second to import

    found, (draws, points) = smoothed(values, relative_efficiency(fit)), values.shape
    log_weights = found.log_weights.reshape(points, *tree_sizes(fit.tree))
    limit = k_limit(draws)
    return ELPDDataLOO(
        elpd=float(found.elpd.sum()),
        se=float(np.sqrt(points * np.var(found.elpd))),
        p=float((found.lpd - found.elpd).sum()),
        n_samples=draws,
        n_data_points=points,
        scale="log",
        warning=bool((found.k > limit).any()),
        good_k=limit,
        elpd_i=xr.DataArray(found.elpd, dims=POINT, name="elpd_i"),
        pareto_k=xr.DataArray(found.k, dims=POINT, name="pareto_k"),
        log_weights=xr.DataArray(log_weights, dims=(POINT, "chain", "draw"), name="log_weights"),
    )


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
    draws = int(np.prod(tree_sizes(fit.tree)))
    need = too_much(BYTES * COPIES * draws * points)
    if need:
        raise ValueError(
            f"{draws:,} draws of the log likelihood of {count(points, 'point')} need {need}; sample fewer draws, or "
            "leave out the levels of a factor with by="
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
        first = next((factor for factor in factors if factor in loo.factors), None)
        other = f"; for new groups use loo(by={first!r})" if first else ""
        return f"This is for new rows of the same groups{other}."
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
    """Return a sentence or two on the Pareto k, and on what became of the points where it was too high."""
    done, k = loo.table[loo.table["method"] != SMOOTHED], loo.table["k_before"]
    high = loo.table[~(k <= loo.limit)]  # a k that could not be estimated is none to trust
    largest, most = apart(k.max(), loo.limit)
    if high.empty:
        said = [f"Pareto k: all {len(k):,} are at most {most} (the largest is {largest})"]
    else:
        are = "is" if len(high) == 1 else "are"
        said = [f"Pareto k: {len(high):,} of {len(k):,} {are} above {most} ({_names(high)})"]
    said += [_how(done[done["method"] == method], method, loo.limit) for method in dict.fromkeys(done["method"])]
    bad = loo.unreliable
    if bad.empty:
        return f"{'; '.join(said)}: reliable{_error(loo)}."
    if (bad["method"] == REFIT).any():
        names = _names(bad[bad["method"] == REFIT])
        said.append(f"the checks of the fit without {names} failed, so that elpd may be off: sample with more draws")
    if (bad["method"] != REFIT).any():
        which = "" if done.empty else f" of {_names(bad[bad['method'] != REFIT])}"
        said.append(f"elpd{which} may be off, as a rule too high: {_remedy(loo)}")
    return f"{'; '.join(said)}."


def _error(loo: Loo) -> str:
    return f"; Monte Carlo error of elpd {loo.mcse:.2g}"


def _names(points: pd.DataFrame) -> str:
    return listing((label_text(label) for label in points.index), SHOWN)


def _how(points: pd.DataFrame, method: str, limit: float) -> str:
    """Return how some points with a high k were computed again."""
    one = len(points) == 1
    these = f"{len(points):,} with a k above {NOISY if method != REFIT else limit:.2g} {'was' if one else 'were'}"
    if method == REFIT:
        return f"{these} computed by sampling the model again without {'it' if one else 'each of them'}"
    said = f"{these} computed from independent draws of the posterior without {'it' if one else 'each of them'}"
    return f"{said} (k there at most {points['pareto_k'].max():.2f})"


def _remedy(loo: Loo) -> str:
    again = "refit=True, which samples the model again without each of them"
    return f"use integrated=True, or {again}" if loo.integrable else f"use {again}"
