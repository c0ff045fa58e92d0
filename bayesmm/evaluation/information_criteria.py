"""Maximised models beside one another by their information criteria: AIC, AICc, BIC, differences and Akaike weights."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from bayesmm.design.dependence import spans
from bayesmm.design.records import Design
from bayesmm.display.frames import Tabled
from bayesmm.display.text_tables import number, shorten, table, wrap
from bayesmm.errors import DataError
from bayesmm.estimation.estimates import Estimates
from bayesmm.estimation.maximize import maximize
from bayesmm.runtime.messages import count

SMALL_SAMPLE = 40  # observations for each parameter, below which AICc is to be used: Burnham & Anderson (2002), 2.4
FORMULA_WIDTH = 450  # columns of a formula, five lines; one may be 20,000 characters long


@dataclass(frozen=True, eq=False)
class InformationCriteria(Tabled):
    """Maximised models in the order of their AIC, the best first.

    Attributes
    ----------
    table : pandas.DataFrame
        Index model; df (the number of parameters), logLik, AIC, AICc, BIC; difference, of AIC to the best, and weight,
        exp(-difference / 2) over its sum (Burnham & Anderson 2002, *Model Selection and Multimodel Inference*, section
        2.9.1); difference_AICc, weight_AICc, difference_BIC, weight_BIC: the same of the other two.
    points : mapping of str to PointFit
        The fits, refitted by ML where that was needed.
    formulas : mapping of str to str
    notes : tuple of str
    """

    table: pd.DataFrame
    points: Mapping[str, Estimates]
    formulas: Mapping[str, str]
    notes: tuple[str, ...]

    def lines(self, title: str) -> list[str]:
        """Return the title, the table and the notes as text."""
        rows = [
            [str(name), f"{row['df']:.0f}", number(row["logLik"], 2),
             *(number(row[key], 1) for key in ("AIC", "AICc", "BIC", "difference")), number(row["weight"], 3)]
            for name, row in self.table.iterrows()
        ]  # fmt: skip
        shown = table(["", "df", "logLik", "AIC", "AICc", "BIC", "difference", "weight"], rows)
        return [title, "", *shown, "", *(line for note in self.notes for line in wrap(note))]

    def __str__(self) -> str:
        title, *rest = self.lines("Models by AIC, the best first")
        return "\n".join([title, *model_lines(self.table.index, self.formulas), *rest])

    __repr__ = __str__


def model_lines(names: Iterable[str], formulas: Mapping[str, str]) -> list[str]:
    """Return the models with their names, in as many lines as a formula and its family need."""
    return [
        line for name in names for line in wrap(f"{shorten(name)}: {shorten(formulas[name], FORMULA_WIDTH)}", first=" ")
    ]


def maximised(who: str, fits: Mapping[str, object]) -> bool:
    """Return whether all fits are maximised ones; a ValueError where only some of them are, a TypeError for no fit."""
    for name, fit in fits.items():
        if not (isinstance(fit, Estimates) or hasattr(fit, "tree")):
            raise TypeError(f"{who} compares fits, from maximize() or sample(), and {name!r} is a {type(fit).__name__}")
    kinds = {name: isinstance(fit, Estimates) for name, fit in fits.items()}
    if len(set(kinds.values())) > 1:
        points, posteriors = (
            [repr(name) for name, kind in kinds.items() if kind is wanted] for wanted in (True, False)
        )
        raise ValueError(
            f"{who} compares fits of one kind, and {', '.join(points)} came from maximize(), {', '.join(posteriors)} "
            "from sample(); their AIC and LOO are no numbers of one scale"
        )
    return all(kinds.values())


def information_criteria(points: Mapping[str, Estimates], refit: bool = True) -> InformationCriteria:
    """Compare maximised models of the same data by AIC, AICc and BIC.

    Parameters
    ----------
    points : mapping of str to PointFit
        Of the same rows and response; see `bayesmm.compare_models`.
    refit : bool
        Whether REML fits are refitted by ML. Criteria of REML likelihoods are comparable where the fixed effects are
        the same.

    Returns
    -------
    InformationCriteria

    Raises
    ------
    DataError
        A fit is the mode of a posterior, or the likelihoods are of different kinds.
    """
    for name, point in points.items():
        if point.method == "MAP":
            raise DataError(
                f"{name!r} is the mode of a posterior (MAP), and information criteria are for maximised likelihoods; "
                "use maximize('REML') or maximize('ML')"
            )
    notes = []
    reml = [name for name, point in points.items() if point.method == "REML"]
    if refit and reml:
        notes.append(f"{count(len(reml), 'REML fit')} refitted by ML.")
        points = {n: type(p).of(maximize(p.design, "ML")) if n in reml else p for n, p in points.items()}
    elif reml:
        _check_reml(points)
    numbers = criteria_table(points)
    formulas = {str(name): described(point.design, points) for name, point in points.items()}
    return InformationCriteria(numbers, points, formulas, (*notes, *criteria_notes(points, numbers)))


def _check_reml(points: Mapping[str, Estimates]) -> None:
    """Raise a DataError unless the REML likelihoods are of the same fixed effects, and no ML one is among them."""
    for (a, first), (b, second) in combinations(points.items(), 2):
        wide, narrow = (np.delete(p.design.X, list(p.design.aliased), axis=1) for p in (first, second))
        same = first.method == second.method and spans(wide, narrow) and spans(narrow, wide)
        if not same:
            raise DataError(
                f"the REML likelihoods of {a!r} and {b!r} cannot be compared, because not both are by REML with the "
                "same fixed effects; leave refit out, which refits them by ML"
            )


def criteria_table(points: Mapping[str, Estimates]) -> pd.DataFrame:
    """Return the table of `InformationCriteria`."""
    table = pd.DataFrame(
        {
            "df": [point.npar for point in points.values()],
            "logLik": [point.loglik for point in points.values()],
            "AIC": [point.aic for point in points.values()],
            "AICc": [point.aicc for point in points.values()],
            "BIC": [point.bic for point in points.values()],
        },
        index=pd.Index([str(name) for name in points], name="model"),
    )
    for key, ending in (("AIC", ""), ("AICc", "_AICc"), ("BIC", "_BIC")):
        gap = table[key] - table[key].min()
        table[f"difference{ending}"] = gap
        table[f"weight{ending}"] = np.exp(-gap / 2) / np.exp(-gap / 2).sum()
    return table.sort_values("AIC", kind="stable")


def described(design: Design, points: Mapping[str, Estimates]) -> str:
    """Return a formula, with the family where the models have several."""
    several = len({(p.design.family.name, p.design.family.link) for p in points.values()}) > 1
    return design.formula.text + (f" ({design.family.name}, {design.family.link} link)" if several else "")


def criteria_notes(points: Mapping[str, Estimates], numbers: pd.DataFrame) -> list[str]:
    """Return what is to say of the criteria: how to read them, small samples, fits that are not what they seem."""
    notes = [
        "df: number of parameters. difference and weight are of AIC; the table has those of AICc and BIC too. Random "
        "effects count by their sds and correlations, so that these are criteria for new groups."
    ]
    n = next(iter(points.values())).design.n
    if n < SMALL_SAMPLE * numbers["df"].max():
        notes.append(f"With {n:,} rows for {numbers['df'].max():,} parameters AICc is the better of the two.")
    stopped = [str(name) for name, point in points.items() if not point.converged]
    notes += [f"{name}: {points[name].message}." for name in stopped]
    if len({point.nagq for point in points.values() if point.design.blocks}) > 1:
        notes.append("The random effects were integrated out by different rules; give all models the same nagq.")
    return notes


def criteria_of_models(fits: Mapping[str, object]) -> InformationCriteria | None:
    """Return the criteria of the models of posteriors, maximised by ML; None where priors fix or make a parameter."""
    if any(prior.support in ("point", "any") for fit in fits.values() for prior in fit.model.priors.values()):
        return None
    try:
        return information_criteria({name: maximize(fit.design, "ML") for name, fit in fits.items()})
    except (DataError, np.linalg.LinAlgError, FloatingPointError):
        return None
