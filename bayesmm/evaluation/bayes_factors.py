"""Bayes factors: models beside one another by their evidence, with what the priors of the sds do to it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import softmax

from bayesmm.display.frames import Tabled
from bayesmm.display.text_tables import table, wrap
from bayesmm.estimation.estimates import Estimates
from bayesmm.evaluation.evidence import WARNING, Evidence, about_scales, check, evidence
from bayesmm.evaluation.information_criteria import model_lines
from bayesmm.evaluation.integral import coordinates_of, integral, is_small, marginal_of, work
from bayesmm.evaluation.loo_again import WORK
from bayesmm.evaluation.loo_compare import check_comparable
from bayesmm.priors import Prior, Priors
from bayesmm.runtime.arguments import check_seed, chosen_seed
from bayesmm.runtime.progress import working
from bayesmm.runtime.streams import stream

WIDTHS = (0.5, 2.0)  # of the priors of the sds, in units of what they are
# The parameters that carry the scale of a distribution, and those whose inverse does.
SCALES = {
    "HalfNormal": ("sigma",),
    "HalfStudentT": ("sigma",),
    "HalfCauchy": ("beta",),
    "InverseGamma": ("beta",),
    "Uniform": ("lower", "upper"),
}
RATES = {"Exponential": ("lam",), "Gamma": ("beta",)}
LARGEST_LOG = 700.0  # its exponential is finite


@dataclass(frozen=True, eq=False)
class BayesFactors(Tabled):
    """Models in the order of their evidence, the best first.

    Attributes
    ----------
    table : pandas.DataFrame
        Index model; log_evidence, se, log_bayes_factor (of the best over this model), se_log_bayes_factor,
        bayes_factor, probability (posterior probability under equal prior odds).
    evidences : mapping of str to Evidence
    sensitivity : pandas.DataFrame
        Index model, columns 0.5, 1.0, 2.0: the log Bayes factor of the best over this model with the priors of all sds
        of random effects so many times as wide; NaN where that would take long.
    formulas : mapping of str to str
    """

    table: pd.DataFrame
    evidences: Mapping[str, Evidence]
    sensitivity: pd.DataFrame
    formulas: Mapping[str, str]

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    __repr__ = __str__


@working("Bayes factors")
def bayes_factors(fits: Mapping[str, object], seed: int | None = None) -> BayesFactors:
    """Compare models of the same data by their evidence.

    Parameters
    ----------
    fits : mapping of str to Fit
        At least two, by the names that the table will have.
    seed : int, optional
        Of the draws of the proposals; a new one if not given.

    Returns
    -------
    BayesFactors

    Raises
    ------
    DataError
        The fits are of other rows or responses.
    PriorError
        A prior is improper.
    ValueError
        There are fewer than two fits, or what `bayesmm.evaluation.evidence.evidence` raises.
    """
    check_seed(seed)
    check_comparable("bayes_factors", fits)
    for name, fit in fits.items():
        if isinstance(fit, Estimates):
            raise TypeError(
                f"bayes_factors compares posteriors, by sample(), and {name!r} is a maximised fit; bmm.compare_models "
                "compares the AIC of these"
            )
        check(fit)
    seed = chosen_seed(seed)
    found = {str(name): evidence(fit, seed) for name, fit in fits.items()}
    formulas = {str(name): fit.design.formula.text for name, fit in fits.items()}
    numbers = _table(found)
    sensitivity = _sensitivity({str(name): fit for name, fit in fits.items()}, numbers, seed)
    return BayesFactors(numbers, found, sensitivity, formulas)


def _table(found: Mapping[str, Evidence]) -> pd.DataFrame:
    order = sorted(found, key=lambda name: -found[name].log_evidence)
    value, se = (np.array([getattr(found[name], key) for name in order]) for key in ("log_evidence", "se"))
    gap = value[0] - value
    columns = {"log_evidence": value, "se": se, "log_bayes_factor": gap}
    columns["se_log_bayes_factor"] = np.where(np.arange(len(gap)) > 0, np.hypot(se, se[0]), 0.0)
    columns["bayes_factor"] = np.exp(np.minimum(gap, LARGEST_LOG))
    columns["probability"] = softmax(value)
    return pd.DataFrame(columns, index=pd.Index(order, name="model"))


# ----------------------------------------------------------------------------------------------------------------------
# other widths of the priors


def _sensitivity(fits: Mapping[str, object], numbers: pd.DataFrame, seed: int) -> pd.DataFrame:
    out = {1.0: numbers["log_bayes_factor"]}
    for width in WIDTHS:
        values = pd.Series({name: _change(fits[name], width, seed) for name in numbers.index})
        values += numbers["log_evidence"]
        out[width] = values.iloc[0] - values
    return pd.DataFrame(out).sort_index(axis=1).rename_axis("model")


def _change(fit, width: float, seed: int) -> float:
    """Return what the log evidence of one model gains with the priors of its sds so many times as wide.

    Both integrals are of the same seed, so that much of their errors is common.
    """
    entries = fit.model.priors.entries
    priors = Priors(tuple((place, widened(p, width) if "sd" in place.wider else p) for place, p in entries))
    if dict(priors) == dict(fit.model.priors):
        return 0.0
    models = marginal_of(fit), marginal_of(fit, priors)
    if not is_small(models[0]) or work(models[0]) > WORK:
        return math.nan
    text = fit.design.formula.text
    before, after = (
        integral(model.posterior, coordinates_of(fit, models[0]), stream(seed, "other widths", text))
        for model in models
    )
    return after.log_value - before.log_value


def widened(prior: Prior, width: float) -> Prior:
    """Return the prior of `width` times a positive variable, the variable itself having the prior given.

    A fixed value stays.
    """
    factor = width**2 if prior.on == "variance" else width
    powers = dict.fromkeys(SCALES.get(prior.distribution, ()), 1) | dict.fromkeys(RATES.get(prior.distribution, ()), -1)
    changed = {name: value * factor ** powers.get(name, 0) for name, value in prior.values}
    if prior.distribution == "LogNormal":
        changed["mu"] += math.log(factor)
    return Prior(prior.distribution, on=prior.on, at=prior.at, **changed)


# ----------------------------------------------------------------------------------------------------------------------
# print


def _lines(found: BayesFactors) -> list[str]:
    numbers = found.table
    names = model_lines(numbers.index, found.formulas)
    rows = [
        [str(name), f"{row['log_evidence']:.2f}", f"{row['se']:.2g}", f"{row['log_bayes_factor']:.2f}",
         f"{row['se_log_bayes_factor']:.2g}", _factor(row["log_bayes_factor"]), _share(row["probability"])]
        for name, row in numbers.iterrows()
    ]  # fmt: skip
    headers = ["", "log evidence", "error", "log BF", "error", "BF", "probability"]
    notes = [f"{name}: NOT RELIABLE, {one.trouble}." for name, one in found.evidences.items() if one.trouble]
    notes.append("BF: the best model over this one; probability: of the model, all being equally likely beforehand.")
    scaled = dict.fromkeys(place for one in found.evidences.values() for place in one.scaled_priors)
    return [
        "Bayes factors, the best model first",
        *names,
        "",
        *table(headers, rows),
        "",
        *(line for note in notes for line in wrap(note)),
        "",
        *_sensitivity_lines(found),
        *(line for note in (WARNING, *about_scales(tuple(scaled))) for line in wrap(note)),
    ]


def _sensitivity_lines(found: BayesFactors) -> list[str]:
    changed = found.sensitivity.drop(columns=1.0)
    if changed.isna().all(axis=None) or (changed.sub(found.sensitivity[1.0], axis=0) == 0).all(axis=None):
        return []
    rows = [
        [str(name), *("" if math.isnan(value) else f"{value:.2f}" for value in row)]
        for name, row in found.sensitivity.iterrows()
    ]
    headers = ["log BF", *(f"x {width:g}" for width in found.sensitivity.columns)]
    head = "With the priors of the sds of random effects half and twice as wide:"
    return [head, *table(headers, rows), ""]


def _share(probability: float) -> str:
    return "<0.001" if probability < 0.0005 else f"{probability:.3f}"  # what would print as 0.000


def _factor(log_factor: float) -> str:
    """Return a Bayes factor with two digits, as a power of ten where it is large."""
    if log_factor < math.log(1e4):
        return f"{math.exp(log_factor):.2g}" if log_factor < math.log(99.5) else f"{math.exp(log_factor):,.0f}"
    power = log_factor / math.log(10)
    return f"{10 ** (power - math.floor(power)):.1f}e+{math.floor(power)}"
