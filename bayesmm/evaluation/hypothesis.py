"""A hypothesis about a weighted sum of parameters: its posterior probability, and what the data say for it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayesmm.design.parameters import Parameter, category_effects, coefficient_label, is_coefficient
from bayesmm.display.frames import Tabled
from bayesmm.display.text_tables import number, table, wrap
from bayesmm.errors import listing, suggest
from bayesmm.evaluation.prior_marginals import AT_MEANS, prior_marginal
from bayesmm.posterior.density import REAL_SUPPORT, density, support_of
from bayesmm.posterior.draws import CI_PROB, describe, parameter_draws
from bayesmm.posterior.parameter_values import scalars
from bayesmm.priors import Prior, coefficient_prior, prior_bases
from bayesmm.priors.basis import coefficient_places
from bayesmm.runtime.arguments import is_real
from bayesmm.runtime.streams import stream

PRIOR_DRAWS = 16_384  # of each prior without a closed form for the sum; evenly spaced in probability
FEW = 10  # draws on the rarer side, below which the odds are rough
KINDS = ("greater", "less", "between", "equal")


@dataclass(frozen=True, eq=False)
class HypothesisTest(Tabled):
    """What a posterior says about a hypothesis.

    Attributes
    ----------
    hypothesis : str
        As a sentence of symbols: "Days > 10".
    table : pandas.DataFrame
        One row: mean, sd, lower, upper of the sum (95 %); probability, of the hypothesis, and mcse, its Monte Carlo
        error; odds, probability / (1 - probability); prior, its probability before the data; evidence_ratio, posterior
        odds over prior odds, or for "equal" the posterior density over the prior density there (Savage-Dickey), in
        favour of the hypothesis. For "equal" there are no probabilities. NaN where a prior is improper, or a function.
    draws : array, shape (chains, draws)
        Of the weighted sum.
    notes : tuple of str
    """

    hypothesis: str
    table: pd.DataFrame
    draws: np.ndarray
    notes: tuple[str, ...]

    def __str__(self) -> str:
        row = self.table.iloc[0]
        shown = self.table.dropna(axis="columns", how="all")
        cells = [_cell(name, float(row[name])) for name in shown]
        lines = table(["", *(name.replace("_", " ") for name in shown)], [[self.hypothesis, *cells]])
        return "\n".join(
            ["Hypothesis about the posterior", *lines, "", *(x for note in self.notes for x in wrap(note))]
        )

    __repr__ = __str__


def _cell(name: str, value: float) -> str:
    if name in ("probability", "prior"):
        return number(value, 4)
    return f"{value:.4g}" if math.isfinite(value) else str(value)


@dataclass(frozen=True, eq=False)
class _Before:
    """What the priors say about the sum: its distribution function and its density, or why there are none."""

    cdf: object = None
    pdf: object = None
    trouble: str = ""


def hypothesis(
    fit,
    weights: Mapping[str, float],
    *,
    greater: float | None = None,
    less: float | None = None,
    between: tuple[float, float] | None = None,
    equal: float | None = None,
) -> HypothesisTest:
    """Return the probability of a hypothesis about a weighted sum of parameters, and its evidence ratio.

    Parameters
    ----------
    fit : Fit
    weights : mapping of str to float
        Of coefficients by name, "Days", or of any parameter by its place, "sd_Subject[Days]".
    greater, less, equal : float, optional
    between : pair of float, optional
        One of these four: the sum is above, below, between, or equal to this.

    Returns
    -------
    HypothesisTest

    Raises
    ------
    ValueError
        Not one of the four is given, a number is not finite, or a name is no parameter.

    Notes
    -----
    The evidence ratio of an interval is the Bayes factor of it against its complement: posterior odds over prior odds.
    brms' hypothesis() calls the posterior odds alone so; they are in the column odds. Of a point it is the Bayes factor
    of the point against all other values, by Savage and Dickey's density ratio (Dickey 1971, Annals of Mathematical
    Statistics 42, 204-223). Both depend on the prior of the parameter, as they should; with a default prior, which is
    wide, a point is favoured.
    """
    given = {k: v for k, v in zip(KINDS, (greater, less, between, equal), strict=True) if v is not None}
    kind, at = _checked(given)
    parameters = _parameters(fit, weights)
    draws = sum(weight * parameter_draws(fit, parameter) for parameter, weight in parameters)
    values, name = draws.ravel(), _sum_text(weights)
    before = _before(fit, parameters)
    text = {"greater": "{} > {:g}", "less": "{} < {:g}", "between": "{1:g} < {0} < {2:g}", "equal": "{} = {:g}"}
    row = describe(draws[None])[["mean", "sd", "lower", "upper"]].iloc[0].to_dict()
    more, notes = (_point if kind == "equal" else _interval)(draws, values, kind, at, before, parameters)
    said = text[kind].format(name, *at)
    notes = [f"Interval: {100 * CI_PROB:g} % equal-tailed. {notes[0]}", *notes[1:], *filter(None, [before.trouble])]
    return HypothesisTest(said, pd.DataFrame([row | more]), draws, tuple(notes))


def _checked(given: Mapping[str, object]) -> tuple[str, tuple[float, ...]]:
    if len(given) != 1:
        raise ValueError(
            f"give one of greater, less, between and equal, as in hypothesis({{'x': 1}}, greater=0), not "
            f"{listing(given) or 'none'}"
        )
    ((kind, at),) = given.items()
    ends = tuple(at) if isinstance(at, list | tuple) else (at,)
    fine = len(ends) == (2 if kind == "between" else 1) and all(is_real(x) and math.isfinite(x) for x in ends)
    if not fine or (len(ends) == 2 and not ends[0] < ends[1]):
        expected = "two numbers, the lower first" if kind == "between" else "a finite number"
        raise ValueError(f"{kind} should be {expected}, not {at!r}")
    return kind, tuple(float(x) for x in ends)


def _parameters(fit, weights: object) -> list[tuple[Parameter, float]]:
    """Return the parameters of a sum with their weights."""
    if not isinstance(weights, Mapping) or not weights:
        raise ValueError(f"the hypothesis should be about weights by parameter, such as {{'x': 1}}, not {weights!r}")
    known = {parameter.label: parameter for parameter in scalars(fit.design)}
    named = dict(category_effects(fit.design)) if fit.design.family.nominal else {}  # as fixef() calls them
    found = []
    for name, weight in weights.items():
        label = named[name].label if name in named else name if name in known else coefficient_label(str(name))
        if label not in known:
            short = [*fit.design.coefficients, *(other for other in known if not is_coefficient(other))]
            near = suggest(str(name), short)
            raise ValueError(f"{name!r} is no parameter of the model{near}; they are {listing(short)}")
        if not is_real(weight) or not math.isfinite(weight):
            raise ValueError(f"the weight of {name!r} should be a finite number, not {weight!r}")
        found.append((known[label], float(weight)))
    return found


def _sum_text(weights: Mapping[str, float]) -> str:
    text = ""
    for name, weight in weights.items():
        size = "" if abs(weight) == 1 else f"{abs(weight):.6g} "
        sign = "-" if weight < 0 else "+"
        text += f" {sign} {size}{name}" if text else f"{'-' * (weight < 0)}{size}{name}"
    return text


# ----------------------------------------------------------------------------------------------------------------------
# what is asked


def _interval(draws, values, kind: str, at: tuple[float, ...], before: _Before, parameters) -> tuple[dict, list[str]]:
    """Return the probabilities of an interval and the posterior odds over the prior odds."""
    low, high = {"greater": (at[0], math.inf), "less": (-math.inf, at[0])}.get(kind, at)
    inside = (values > low) & (values < high)
    p, rare = float(inside.mean()), int(min(inside.sum(), (~inside).sum()))
    ess = float(describe(inside.reshape(1, *draws.shape).astype(float))["ess_bulk"].item()) if rare else math.nan
    found = {"probability": p, "mcse": math.sqrt(p * (1 - p) / ess) if ess > 0 else math.nan, "odds": _odds(p)}
    prior = math.nan
    if before.cdf is not None:
        prior = float(before.cdf(high) - before.cdf(low))
    ratio = found["odds"] / _odds(prior) if 0 < prior < 1 else math.nan
    notes = ["Evidence ratio: posterior odds over prior odds, of the hypothesis against its contrary."]
    if rare < FEW:
        notes.append(f"Only {rare} of {len(values):,} draws are on one side, so that the odds are rough.")
    return found | {"prior": prior, "evidence_ratio": ratio}, notes


def _point(draws, values, kind: str, at: tuple[float, ...], before: _Before, parameters) -> tuple[dict, list[str]]:
    """Return the Savage-Dickey density ratio of a point."""
    single = parameters[0][0] if len(parameters) == 1 and parameters[0][1] == 1 else None
    grid, height = density(values, REAL_SUPPORT if single is None else support_of(single))
    after = float(np.interp(at[0], grid, height, left=0.0, right=0.0))
    prior = 0.0 if before.pdf is None else before.pdf(at[0])
    ratio = after / prior if prior > 0 else math.nan
    notes = ["Evidence ratio: posterior density over prior density at this value (Savage-Dickey)."]
    if min((values > at[0]).sum(), (values < at[0]).sum()) < FEW:
        notes.append("The value is beyond nearly all draws, where their density is not known: the ratio is near 0.")
    return {"evidence_ratio": ratio}, notes


def _odds(p: float) -> float:
    return p / (1 - p) if p < 1 else math.inf


# ----------------------------------------------------------------------------------------------------------------------
# the prior of a sum


def _before(fit, parameters: list[tuple[Parameter, float]]) -> _Before:
    """Return the distribution of the sum under the priors."""
    design, priors = fit.design, fit.model.priors
    c = np.zeros(design.p)
    for parameter, weight in parameters:
        if parameter.kind == "coefficient":
            c[parameter.terms[0]] += weight
    own = np.linalg.solve(prior_bases(design, priors).fixed.R.T, c) if design.p else c  # c'beta = own'gamma
    own[np.abs(own) < 1e-12 * np.abs(own).max(initial=0.0)] = 0.0
    parts = [(priors[place], w) for place, w in zip(coefficient_places(priors, design), own, strict=True) if w != 0]
    others = [(parameter, weight) for parameter, weight in parameters if parameter.kind != "coefficient"]
    if not others:
        moments = coefficient_prior(priors, design)
        if moments.normal[own != 0].all() and np.isfinite(moments.sd[own != 0]).all():
            mean, sd = (values[own != 0] * own[own != 0] for values in (moments.mean, moments.sd))
            return _normal(float(mean.sum()), float(np.linalg.norm(sd)))
    return _sampled(fit, parts, others)


def _normal(mean: float, sd: float) -> _Before:
    from scipy.special import ndtr

    if sd == 0:
        return _Before(trouble="Without an evidence ratio: the prior holds the sum at one value.")

    def pdf(x: float) -> float:
        return math.exp(-0.5 * ((x - mean) / sd) ** 2) / (sd * math.sqrt(2 * math.pi))

    return _Before(lambda x: float(ndtr((x - mean) / sd)), pdf)


def _sampled(fit, parts: list[tuple[Prior, float]], others: list[tuple[Parameter, float]]) -> _Before:
    """Return the distribution of a sum of independent variables by draws that are evenly spaced in probability."""
    quantiles = [(_quantile(prior), weight, str(prior)) for prior, weight in parts]
    for parameter, weight in others:
        marginal = prior_marginal(fit.design, fit.model.priors, parameter)
        there = marginal.quantile is not None and not marginal.label.endswith(AT_MEANS)
        quantiles.append((marginal.quantile if there else None, weight, f"the prior of {parameter.label}"))
    missing = [words for quantile, _, words in quantiles if quantile is None]
    if sum(parameter.kind == "corr" for parameter, _ in others) > 1:
        missing.append("the joint prior of several correlations")
    if missing:
        return _Before(trouble=f"Without an evidence ratio: {listing(missing)} has no distribution to compare with.")
    total, grid = np.zeros(PRIOR_DRAWS), (np.arange(PRIOR_DRAWS) + 0.5) / PRIOR_DRAWS
    for k, (quantile, weight, _) in enumerate(quantiles):
        found = np.array([quantile(p) for p in grid])
        total += weight * (found if k == 0 else stream(0, "prior of a sum", k).permutation(found))
    total.sort()

    def cdf(x: float) -> float:
        return np.searchsorted(total, x) / PRIOR_DRAWS

    if len(quantiles) == 1 and others:
        marginal = prior_marginal(fit.design, fit.model.priors, others[0][0])
        w = quantiles[0][1]
        return _Before(cdf, lambda x: float(marginal.density(np.array(x / w))) / abs(w))
    at, height = density(total)
    return _Before(cdf, lambda x: float(np.interp(x, at, height, 0.0, 0.0)))


def _quantile(prior: Prior):
    """Return the quantiles of a prior, of a fixed value that value; None where it has none."""
    if prior.distribution == "Fixed":
        return lambda p: prior.parameters["value"]
    return None if prior.distribution == "Custom" or prior.quantile(0.5) is None else prior.quantile
