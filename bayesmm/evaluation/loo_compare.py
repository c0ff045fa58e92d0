"""Models beside one another by their leave-one-out cross-validation: differences, their SEs, and stacking weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from bayesmm.design.records import Design
from bayesmm.design.same_rows import check_same_rows, same_column
from bayesmm.display.frames import Tabled
from bayesmm.display.text_tables import table, wrap
from bayesmm.errors import DataError
from bayesmm.evaluation.information_criteria import (
    InformationCriteria,
    criteria_of_models,
    information_criteria,
    maximised,
    model_lines,
)
from bayesmm.evaluation.loo import SMOOTHED, Loo, loo, reliability, what
from bayesmm.families.limits import same_limits
from bayesmm.runtime.arguments import check_bool
from bayesmm.runtime.messages import count

BESIDE = "The same models maximised by ML, without their priors"
# Sivula, Magnusson, Matamoros & Vehtari (2025), arXiv:2008.10296: below this the models predict alike, and the normal
# approximation of the difference, as that of few points, is not to be trusted.
SMALL_DIFFERENCE, FEW_POINTS = 4.0, 100


@dataclass(frozen=True, eq=False)
class ModelComparison(Tabled):
    """Models in the order of their elpd, the best first.

    Attributes
    ----------
    table : pandas.DataFrame
        Index model; elpd, se, difference (to the best), se_difference, p_loo, weight (stacking: Yao, Vehtari, Simpson &
        Gelman 2018, Bayesian Analysis 13(3)), k_high (number of points whose elpd cannot
        be trusted).
    loos : mapping of str to Loo
        The cross-validation of each model.
    formulas : mapping of str to str
    criteria : InformationCriteria or None
        AIC, AICc and BIC of the same models maximised by ML, without their priors; None where one of them has no such
        maximum, or priors that hold a parameter fixed.
    """

    table: pd.DataFrame
    loos: Mapping[str, Loo]
    formulas: Mapping[str, str]
    criteria: InformationCriteria | None = None

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    __repr__ = __str__


def compare_models(
    fits: Mapping[str, object], by: str | None = None, *, integrated: bool = False, refit: bool | None = None
) -> ModelComparison | InformationCriteria:
    """Compare models of the same data: posteriors by cross-validation, maximised fits by information criteria.

    Parameters
    ----------
    fits : mapping of str to Fit, or of str to PointFit
        At least two of one kind, by the names that the table will have.
    by : str, optional
        A grouping factor of all models whose levels are left out; None leaves out rows. See
        `bayesmm.evaluation.loo.loo`. Of posteriors.
    integrated : bool
        For rows: integrate the random effects out given the group's other rows. Of posteriors.
    refit : bool, optional
        Of posteriors: what becomes of points whose Pareto k is too high, see `bayesmm.evaluation.loo.loo`. Of maximised
        fits: whether REML fits are refitted by ML, as they are if it is not given.

    Returns
    -------
    ModelComparison or InformationCriteria
        Of posteriors with AIC, AICc and BIC of the models maximised by ML beside it; of maximised fits these alone.

    Raises
    ------
    DataError
        The fits are of other rows or responses, or the levels of `by` differ between them; a maximised fit is the mode
        of a posterior, or REML fits that are not refitted have different fixed effects.
    ValueError
        There are fewer than two fits, fits of both kinds, or what `bayesmm.evaluation.loo.loo` raises.
    """
    check_bool("integrated", integrated)
    check_bool("refit", refit, optional=True)
    check_comparable("compare_models", fits, by)
    if maximised("compare_models", fits):
        if by is not None or integrated:
            name = "integrated" if by is None else "by"
            raise ValueError(f"{name} is for the cross-validation of posteriors; leave it out for fits by maximize()")
        return information_criteria(fits, refit is not False)
    return _by_loo(fits, by, integrated, refit)


def _by_loo(fits: Mapping[str, object], by: str | None, integrated: bool, refit: bool | None) -> ModelComparison:
    """Compare posteriors by what each says of the points that are left out."""
    from arviz_stats import compare

    loos = {str(name): loo(fit, by, integrated=integrated, refit=refit) for name, fit in fits.items()}
    found = compare({name: one.estimate for name, one in loos.items()}, method="stacking", round_to="none")
    columns = {"elpd": "elpd", "se": "se", "difference": "elpd_diff", "se_difference": "dse", "p_loo": "p"}
    numbers = pd.DataFrame(
        {new: found[old].astype(float) for new, old in columns.items()} | {"weight": found["weight"]}
    )
    numbers["k_high"] = [len(loos[name].unreliable) for name in numbers.index]
    formulas = {str(name): fit.design.formula.text for name, fit in fits.items()}
    return ModelComparison(numbers.rename_axis("model"), loos, formulas, criteria_of_models(fits))


def check_comparable(who: str, fits: Mapping[str, object], by: str | None = None) -> None:
    """Raise a ValueError unless there are two named fits at least, a DataError unless they are of the same data."""
    if not isinstance(fits, Mapping) or len(fits) < 2:
        raise ValueError(f'{who} takes at least two fits with their names: {who}({{"a": fit, "b": other}})')
    for name, fit in fits.items():
        if not hasattr(fit, "design"):
            raise TypeError(f"{who} takes fits by sample() or maximize(), and {name!r} is a {type(fit).__name__}")
    for pair in pairwise(fits):
        check_same_points(*pair, *(fits[name].design for name in pair), by)


def check_same_points(a: str, b: str, first: Design, second: Design, by: str | None = None) -> None:
    """Raise a DataError unless two designs have the same rows and response, and the same levels of `by`."""
    pair = f"the models {a!r} and {b!r}"
    check_same_rows(first, second, pair, "predictions")
    if first.family.discrete != second.family.discrete:
        raise DataError(
            f"{pair} have the families {first.family.name} and {second.family.name}, and the probability of a count "
            "cannot be compared with a density"
        )
    if not same_column(first.trials, second.trials) or not (
        (first.family.gaussian and second.family.gaussian) or same_column(first.weights, second.weights)
    ):
        raise DataError(f"{pair} have different weights or trials, so that their predictions cannot be compared")
    if not same_limits(first.limits, second.limits):
        raise DataError(
            f"{pair} have differently censored or truncated responses, so that their predictions cannot be compared"
        )
    if by is not None and not np.array_equal(_levels(first, by), _levels(second, by)):
        raise DataError(f"{pair} have different levels of {by!r} in the same rows")


def _levels(design: Design, by: str) -> np.ndarray:
    """Return the level of each row; none where the factor is not in the model, which `loo` says."""
    found = [np.array(block.levels, dtype=object)[block.index] for block in design.blocks if block.group == by]
    return found[0] if found else np.empty(0)


def _lines(comparison: ModelComparison) -> list[str]:
    numbers, first = comparison.table, next(iter(comparison.loos.values()))
    names = model_lines(numbers.index, comparison.formulas)
    rows = [
        [str(name), *(f"{row[key]:.1f}" for key in ("elpd", "se", "difference", "se_difference", "p_loo")),
         f"{row['weight']:.2f}", f"{row['k_high']:.0f}"]
        for name, row in numbers.iterrows()
    ]  # fmt: skip
    headers = ["", "elpd", "SE", "difference", "SE", "p_loo", "weight", "high k"]
    return [
        "Models by leave-one-out cross-validation, the best first",
        *names,
        *wrap(_what_is_left_out(comparison)),
        "",
        *table(headers, rows),
        "",
        *(line for note in notes(comparison, len(first.table)) for line in wrap(note)),
        *(["", *comparison.criteria.lines(BESIDE)] if comparison.criteria is not None else []),
    ]


def _what_is_left_out(comparison: ModelComparison) -> str:
    """Return what is left out, in words: models may hold or integrate out effects of different factors."""
    said = {what(one.by, one.integrated, one.held) for one in comparison.loos.values()}
    if len(said) == 1:
        return said.pop()
    by = next(iter(comparison.loos.values())).by
    return "One row at a time." if by is None else f"One level of {by} at a time, with all its rows."


def notes(comparison: ModelComparison, points: int) -> list[str]:
    """Return what has to be said of the differences: how far they can be trusted."""
    out = [f"{name}: {reliability(one)}" for name, one in comparison.loos.items() if len(one.unreliable)]
    if out:
        out.append("The order of the models and their weights cannot be trusted before that is done.")
    else:
        again = sum(int((one.table["method"] != SMOOTHED).sum()) for one in comparison.loos.values())
        error = max(one.mcse for one in comparison.loos.values())
        how = "none is too high"
        if again:
            how = f"{count(again, 'point')} of all models with a high one, computed from the posterior without them"
        out.append(f"Pareto k: {how}. Monte Carlo error of elpd: {error:.2g} at most.")
    second = comparison.table["difference"].iloc[1]
    if abs(second) < SMALL_DIFFERENCE:
        out.append(f"The best two differ by less than {SMALL_DIFFERENCE:g}: they predict alike.")
    elif points < FEW_POINTS:
        out.append(f"With {points} points the SE of a difference is itself uncertain.")
    return out
