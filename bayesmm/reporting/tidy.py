"""Fits as tables that programs read: tidy, glance and augment with the columns of R's broom.mixed."""

from collections.abc import Mapping, Sequence

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd

from bayesmm.design.ordered import check_order
from bayesmm.design.parameters import (
    Parameter,
    by_levels,
    category_effects,
    coefficients,
    tidy_term,
    variance_parameters,
)
from bayesmm.design.responses import row_index
from bayesmm.display.frames import WholeFrame
from bayesmm.errors import listing, suggest
from bayesmm.estimation.estimates import Estimates
from bayesmm.evaluation.checks import draws_checks
from bayesmm.families.circle import left_over, mean_of_draws
from bayesmm.formula.responses import ROW
from bayesmm.inference.habits import summary as point_summary
from bayesmm.inference.marginal_effects.uncertainty import quantile
from bayesmm.posterior import draws
from bayesmm.posterior.predict import predict
from bayesmm.posterior.predict_point import predict_point
from bayesmm.posterior.predictions import table_of
from bayesmm.runtime.arguments import check_probability

EFFECTS = ("fixed", "ran_pars", "ran_vals", "auxiliary")
USUAL = ("fixed", "ran_pars", "auxiliary")
# What the columns of our tables are called there
STATISTICS = {
    "estimate": "estimate", "mean": "estimate", "se": "std.error", "sd": "std.error", "t": "statistic",
    "z": "statistic", "df": "df", "p": "p.value", "lower": "conf.low", "upper": "conf.high", "r_hat": "rhat",
    "ess_bulk": "ess", "ess_tail": "ess.tail",
}  # fmt: skip
KEYS = ["effect", "group", "level", "term"]


def tidy(fit, effects: str | Sequence[str] = USUAL, ci_prob: float = draws.CI_PROB) -> pd.DataFrame:
    """Return one row for each parameter, as broom.mixed's ``tidy``.

    Parameters
    ----------
    fit : Fit or PointFit
    effects : str or sequence of str
        Which rows: "fixed" coefficients; "ran_pars", sds and correlations of random effects and the residual sd;
        "ran_vals", the random effects; "auxiliary", the other parameters of the family and of the residual structure.
    ci_prob : float
        Probability of the intervals: of a posterior equal-tailed ones, of a maximised fit Wald's, which sds and
        correlations do not have, and of auxiliary parameters thresholds and coefficients of formulas only.

    Returns
    -------
    pandas.DataFrame
        effect, group (of random effects), level (of random effects), term (``sd__Days``, ``cor__Intercept.Days``,
        ``sd__Observation`` for the residual), estimate (of a posterior the mean), std.error (the sd), and what there
        is of statistic, df, p.value, conf.low, conf.high, rhat, ess, ess.tail.

    Raises
    ------
    ValueError
        For a name that is none of the four, or a probability that is not between 0 and 1.
    """
    wanted = check_effects(effects)
    check_probability("ci_prob", ci_prob)
    table, parts = _parameters(fit, ci_prob), []
    for effect in wanted:
        rows = _effects(fit, ci_prob) if effect == "ran_vals" else table[table["effect"] == effect]
        parts.append(rows)
    out = pd.concat(parts, ignore_index=True)
    kept = [name for name in out.columns if name in KEYS or out[name].notna().any()]
    return WholeFrame(out[[*KEYS, *(name for name in kept if name not in KEYS)]])


def check_effects(effects: object) -> tuple[str, ...]:
    """Return the kinds of rows asked for; a ValueError for another."""
    wanted = (effects,) if isinstance(effects, str) else tuple(effects)
    for name in wanted:
        if name not in EFFECTS:
            near = suggest(name, EFFECTS) if isinstance(name, str) else ""
            raise ValueError(f"effects must be among {listing(EFFECTS)}, not {name!r}{near}")
    return wanted


def _parameters(fit, ci_prob: float) -> pd.DataFrame:
    """Return the rows of all parameters that are no random effects."""
    table = point_summary(fit, ci_prob) if isinstance(fit, Estimates) else _posterior(fit, ci_prob)
    keys, rows = keyed(fit.design, table)
    return pd.concat([keys, _renamed(rows)], axis=1)


def keyed(design, table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return effect, group, level and term of the parameters that a table has by label, and its rows in their order."""
    entries = {p.label: ("fixed", None, name) for p, name in _named(design)}
    entries |= {p.label: _variance_key(design, p) for p in variance_parameters(design) if p.label not in entries}
    labels = [label for label in entries if label in table.index]
    keys = pd.DataFrame([entries[label] for label in labels], columns=["effect", "group", "term"], dtype=object)
    return keys.assign(level=None), table.loc[labels].reset_index(drop=True)


def _named(design) -> list[tuple[Parameter, str]]:
    if design.family.nominal:
        return [(parameter, name) for name, parameter in category_effects(design)]
    return list(zip(coefficients(design), design.coefficients, strict=True))


def _posterior(fit, ci_prob: float) -> pd.DataFrame:
    parameters = coefficients(fit.design) + variance_parameters(fit.design)
    table = draws.describe(draws.draws_of(fit, parameters), ci_prob)
    return table.set_axis([parameter.label for parameter in parameters], axis=0)


def _variance_key(design, parameter: Parameter) -> tuple[str, str | None, str]:
    """Return effect, group and term of a parameter that is no coefficient."""
    if parameter.kind not in draws.VARCORR:
        return "auxiliary", None, parameter.label
    group, *terms = draws.variance_keys(design, parameter)
    if terms[0] is None:
        return "ran_pars", group, tidy_term("sd", "Observation")
    own = [term for term in terms if term is not None]
    return "ran_pars", group, tidy_term("sd" if len(own) == 1 else "cor", *own)


def _renamed(table: pd.DataFrame) -> pd.DataFrame:
    return table[[name for name in table.columns if name in STATISTICS]].rename(columns=STATISTICS)


def _effects(fit, ci_prob: float) -> pd.DataFrame:
    """Return the rows of the random effects."""
    if isinstance(fit, Estimates):
        table = Estimates.ranef(fit).rename(columns={"condval": "estimate", "condsd": "se"})
        half = quantile((1 + ci_prob) / 2, np.full(len(table), np.inf)) * table["se"]
        table = table.assign(lower=table["estimate"] - half, upper=table["estimate"] + half)
    else:
        kept = draws.kept_effects(fit)
        tables = [
            pd.concat([draws.effect_keys(fit.design.blocks[k]), draws.describe_effects(fit, k, ci_prob)], axis=1)
            for k in by_levels(fit.design)
            if k in kept
        ]
        table = pd.concat(tables, ignore_index=True) if tables else draws.ranef(fit)
    keys = pd.DataFrame({"effect": "ran_vals", "group": table["grpvar"], "level": table["grp"], "term": table["term"]})
    return pd.concat([keys, _renamed(table)], axis=1)


def glance(fit) -> pd.DataFrame:
    """Return one row about a whole fit, as broom.mixed's ``glance``.

    Returns
    -------
    pandas.DataFrame
        nobs, sigma (missing for a family without, and of several responses). Of a maximised fit: logLik, AIC, BIC,
        deviance (-2 logLik), npar, df.residual (nobs - npar), method, converged, singular. Of a posterior: algorithm,
        chains, draws (of all chains together), rhat.max and ess.min (of all parameters, random effects too, as its
        checks have them), divergences, checks.failed (the names of the checks that failed; empty where all passed).
    """
    design = fit.design
    own_sigma = design.family.has_residual_sd and not design.responses  # of which each has its own
    if isinstance(fit, Estimates):
        own = {
            "sigma": fit.sigma if own_sigma else np.nan,
            "logLik": fit.loglik, "AIC": fit.aic, "BIC": fit.bic, "deviance": -2 * fit.loglik, "npar": fit.npar,
            "df.residual": design.n - fit.npar, "method": fit.method, "converged": fit.converged,
            "singular": fit.singular,
        }  # fmt: skip
        return WholeFrame(pd.DataFrame([{"nobs": design.n} | own]))
    about, table = draws.sampling_record(fit.tree), _posterior(fit, draws.CI_PROB)
    chains, each = draws.tree_sizes(fit.tree)
    stats = fit.tree["sample_stats"].data_vars if "sample_stats" in fit.tree.children else {}
    diverging = int(stats["diverging"].sum()) if "diverging" in stats else 0
    checks = {check.name: check for check in draws_checks(fit)}
    ess = [checks[name].value for name in ("bulk ESS", "tail ESS")]
    return WholeFrame(pd.DataFrame([{
        "nobs": design.n,
        "sigma": table.loc["sigma", "mean"] if own_sigma and "sigma" in table.index else np.nan,
        "algorithm": about.get("sampler"), "chains": chains, "draws": chains * each,
        "rhat.max": checks["R-hat"].value if "R-hat" in checks else table["r_hat"].max(), "ess.min": np.min(ess),
        "divergences": diverging, "checks.failed": ", ".join(name for name, check in checks.items() if not check.ok),
    }]))  # fmt: skip


def augment(fit, data: object = None) -> pd.DataFrame:
    """Return the rows of the model with what it says of each, as broom.mixed's ``augment``.

    Parameters
    ----------
    fit : Fit or PointFit
    data : table, optional
        Other rows with the model's predictors; those of the model if not given.

    Returns
    -------
    pandas.DataFrame
        The columns of the model, and .fitted (the mean of the response with the random effects; of a posterior its
        mean; of ordered categories the expected number of the category; of angles the mean direction), .fixed (the same
        for an average group: random effects of 0) and, of the model's own rows, .resid (the response less .fitted; of a
        binomial, the share of successes less its probability; of ordered categories by their numbers; of angles the
        shorter way round).

    Raises
    ------
    DataError
        The response has categories without an order.
    """
    design = fit.design
    check_order(design, "the number of a category")
    made = predict_point if isinstance(fit, Estimates) else predict
    means = {
        name: _means(design, made(fit, data, groups=groups))
        for name, groups in ((".fitted", "conditional"), (".fixed", "population"))
    }
    if design.responses:
        frame = table_of(design, data)
        if data is None:
            frame = design.frame.set_axis(row_index(design.row_labels, several=True), axis=0).drop(columns=ROW)
    else:
        frame = design.frame.set_axis(design.row_labels, axis=0) if data is None else _as_pandas(data)
    out = frame.assign(**means)
    if data is None:
        shares = design.y if design.trials is None else design.y / design.trials
        out[".resid"] = left_over(design.family, shares, means[".fitted"])
    return WholeFrame(out)


def _as_pandas(data: object) -> pd.DataFrame:
    """Return a table of any kind that `predict` takes as one of pandas."""
    if isinstance(data, pd.DataFrame | Mapping):
        return pd.DataFrame(data)
    return nw.from_native(data, eager_only=True).to_pandas()


def _means(design, predictions) -> np.ndarray:
    """Return the predicted means, (rows,), of ordered categories the expected numbers; of a posterior of its draws."""
    if not isinstance(predictions, pd.DataFrame):
        return mean_of_draws(design.family, predictions.numbers().draws, (0, 1))
    if design.family.ordered:
        return predictions.to_numpy() @ np.arange(1.0, len(design.categories) + 1)
    return predictions["estimate"].to_numpy()
