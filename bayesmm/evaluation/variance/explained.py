"""Variance explained: intraclass correlations and R^2, as posterior draws and for a maximised model."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd

from bayesmm.design.parameters import by_levels
from bayesmm.design.residual.of_family import check_same_in_rows
from bayesmm.design.summed import is_summed
from bayesmm.display.frames import Tabled
from bayesmm.display.text_tables import column, count, shorten, table, wrap
from bayesmm.errors import DataError, listing
from bayesmm.evaluation.variance.by_category import (
    SAID,
    parts_by_category,
    shares_by_category,
    variances_by_category,
)
from bayesmm.evaluation.variance.null_model import null_mean
from bayesmm.evaluation.variance.variance_parts import (
    Parts,
    conditional,
    observation_level,
    parts_of,
    population,
    scaled_design,
    values_of_fit,
    values_of_point,
)
from bayesmm.families.links import LINKS
from bayesmm.posterior.draws import CI_PROB, describe, draws_text, kept_effects, tree_sizes
from bayesmm.posterior.predict import check_choice
from bayesmm.runtime.progress import working
from bayesmm.runtime.threads import few_threads

Array = np.ndarray
Draws = Mapping[str, Array]
FORMULA_WIDTH = 450  # columns of a formula in a title
SHARE_DECIMALS = 3  # of a share; the Monte Carlo error hides the rest
PRINTED = ("mean", "sd", "lower", "upper")
MEANS = ("rows", "null")
NAKAGAWA = "Nakagawa, Johnson & Schielzeth 2017"


@dataclass(frozen=True, eq=False)
class VarianceShares(Tabled):
    """Shares of variance: intraclass correlations, or R^2.

    Attributes
    ----------
    table : pandas.DataFrame
        A row for each share, by name. Of a posterior mean, sd, lower, upper (95 % equal-tailed), ess_bulk, ess_tail,
        r_hat; of a maximised model estimate.
    variances : pandas.DataFrame
        The variances on the scale of the link that the shares are made of, with the same columns: "fixed part", each
        grouping factor, "residual"; and what of that is observation-level random effects, if there are any.
    draws : mapping of str to (chains, draws) array
        Of each share; empty for a maximised model.
    title : str
    says : tuple of str
        What each number means and on which scale, a sentence each; what is missing and why; and of a posterior how many
        draws there are, and whether the sampling was interrupted.
    """

    table: pd.DataFrame
    variances: pd.DataFrame
    draws: Draws
    title: str
    says: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    __repr__ = __str__


@working("the shares of variance")
@few_threads
def icc(fitted, mean: str = "rows") -> VarianceShares:
    """Return the intraclass correlation of each grouping factor.

    Parameters
    ----------
    fitted : Fit or PointFit
    mean : {"rows", "null"}
        The mean response at which the residual variance is taken where it depends on that: the mean of the modelled
        responses of all rows, in new groups; or that of the model without predictors, which is fitted by maximum
        likelihood for it, as the paper and R's insight and performance have it.

    Returns
    -------
    VarianceShares
        For each factor g ``icc[g]``, its variance over that of all random effects and the residual ("adjusted"), and
        ``icc_unadjusted[g]``, over that of the fixed part as well; with several factors also ``icc`` and
        ``icc_unadjusted`` of all together.

    Raises
    ------
    ValueError
        The model has no grouping factor (one with a level for each row does not count), or `mean` is something else.
    DataError
        The residual variance on the scale of the link is not defined for the family.

    Notes
    -----
    All on the scale of the link (Nakagawa, Johnson & Schielzeth 2017). A factor's variance is the mean over the rows of
    z'Sigma z, which counts random slopes (Johnson 2014); the fixed part's is that of X beta over the rows, without
    offsets. With an identity link the residual variance is the mean of sigma^2 / weight (student: sigma^2 nu / (nu -
    2)). Of the other families it is: the latent pi^2 / 3 (logit), 1 (probit) or pi^2 / 6 (cloglog) of one trial for
    bernoulli and binomial; log(1 + variance / mean^2) with a log link for poisson, negbinomial and gaussian;
    trigamma(shape) for gamma with a log link; trigamma(mean phi) + trigamma((1 - mean) phi) for beta with a logit link;
    by the delta method with the other links of gamma and beta. Categories without an order have a share for each but
    the first, of the log odds beside it, with pi^2 / 3. The variance of observation-level random effects, an
    intercept for each row, is additive overdispersion and a part of the residual's.
    """
    check_choice("mean", mean, MEANS)
    _check_defined(fitted.design, "the intraclass correlation")
    design = fitted.design
    groups = len(design.blocks) - len(observation_level(design))
    if not groups:
        found = "grouping factor but one with a level for each row" if design.blocks else "grouping factor"
        raise ValueError(
            f"the model has no {found}, so there is no intraclass correlation; r2() has the share of variance that its "
            "predictors explain"
        )
    if design.family.nominal:
        return _of_categories(fitted, "Intraclass correlation", explained=False)
    _check_residual(design, "the intraclass correlation")
    at = _null(fitted, mean)
    parts = _parts(fitted, at)
    random = sum(parts.random)
    shares = {}
    for name, variance in _by_factor(design, parts):
        shares |= _two_shares(f"[{name}]", variance, random, parts)
    if groups > 1:
        shares |= _two_shares("", random, random, parts)
    says = (
        "icc: the share of a factor's random effects in the variance that the fixed part leaves; icc_unadjusted: their "
        f"share in all variance ({NAKAGAWA}); random slopes count by their mean variance over the rows.",
        *_about_scale(design, at),
    )
    return _record(fitted, "Intraclass correlation", shares, parts, says)


@working("the shares of variance")
@few_threads
def r2(fitted, mean: str = "rows") -> VarianceShares:
    """Return how much of the variance a model explains.

    Parameters
    ----------
    fitted : Fit or PointFit
    mean : {"rows", "null"}
        As for `icc`.

    Returns
    -------
    VarianceShares
        ``r2_marginal`` (by the fixed part) and ``r2_conditional`` (by the fixed part and the random effects), of the
        variance on the scale of the link. Of a posterior also ``bayes_r2_marginal`` and ``bayes_r2_conditional``: the
        variance of the modelled means of the rows' responses, for new groups or given the groups' own effects, over
        that and the modelled variance about them, on the scale of the response. A model without random effects has
        one of each: ``r2`` and ``bayes_r2``.

    Notes
    -----
    Sources: Nakagawa & Schielzeth (2013), for random slopes Johnson (2014), for other families Nakagawa, Johnson &
    Schielzeth (2017), all as in `icc`; Gelman, Goodrich, Gabry & Vehtari (2019), with the modelled residual variance.
    For new groups the variance about a mean has that of the random effects in it, integrated out, so that with an
    identity link ``bayes_r2_marginal`` is ``r2_marginal``. Shares are explained of a binomial response. An offset is
    part of the modelled means unless the link is the identity. ``bayes_r2_marginal`` does not exist with an inverse
    link and ``bayes_r2_conditional`` needs the random effects: where they are missing, `says` tells why. In it
    observation-level effects, which no R^2 counts as explained, are integrated out.
    """
    check_choice("mean", mean, MEANS)
    _check_defined(fitted.design, "R^2")
    if fitted.design.family.nominal:
        return _of_categories(fitted, "R^2", explained=True)
    design, at = fitted.design, _null(fitted, mean)
    if not hasattr(fitted, "tree"):
        _check_residual(design, "R^2 of a maximised model")
    parts = _parts(fitted, at)
    shares, says = _on_the_link(design, parts, at)
    if hasattr(fitted, "tree"):
        found, more = _bayesian(fitted)
        shares, says = shares | found, says + more
    return _record(fitted, "R^2", shares, parts, tuple(says))


def _on_the_link(design, parts: Parts, mean: float | None) -> tuple[dict[str, Array], list[str]]:
    """Return the R^2 of variances on the scale of the link, and what they are; none where a residual's is undefined."""
    rule = design.family.residual
    if not rule.defined:
        names = "r2_marginal and r2_conditional are" if design.blocks else "r2 is"
        return {}, [f"{names} left out: the variance of the residual is {rule.says}.", _scale(design)]
    total = parts.fixed + sum(parts.random) + parts.residual
    if not design.blocks:
        says = "r2: the share of the fixed part in the variance (Nakagawa & Schielzeth 2013)."
        return {"r2": parts.fixed / total}, [says, *_about_scale(design, mean)]
    says = (
        "r2_marginal: the share of the fixed part in the variance; r2_conditional: that of the fixed part and the "
        f"random effects (Nakagawa & Schielzeth 2013; {NAKAGAWA})."
    )
    shares = {"r2_marginal": parts.fixed / total, "r2_conditional": (parts.fixed + sum(parts.random)) / total}
    return shares, [says, *_about_scale(design, mean)]


def _check_residual(design, what: str) -> None:
    """Raise a DataError where the family has no residual variance on the scale of the link."""
    rule = design.family.residual
    if not rule.defined:
        raise DataError(
            f"{what} needs the variance of the residual on the scale of the link, which is {rule.says} "
            f"({design.family.label}); varcorr() has the sds of the random effects"
        )


def _check_defined(design, what: str) -> None:
    """Raise a DataError where these shares are not defined: of several responses, of angles, and with smooths."""
    if design.responses:
        names = listing(design.responses)
        raise DataError(f"{what} is of one response, and mvbind() has {names} on scales of their own; fit each alone")
    if design.family.support.angle:
        raise DataError(
            f"{what} is a share of a variance, and that of angles, here {design.response}, depends on where the circle "
            "is cut; compare models by loo()"
        )
    smooths = [block.group for block in design.blocks if block.smooth]
    if smooths:
        raise DataError(
            f"{what} knows no smooths, here {listing(smooths)}: these are part of the mean, with a penalty; "
            "write ns(x, df = 4) for a curve that it knows, or compare models by loo()"
        )


def _bayesian(fit) -> tuple[dict[str, Array], list[str]]:
    """Return the R^2 of modelled means, and what they are."""
    if is_summed(fit.design):
        return {}, [
            "The R^2 of modelled means (bayes_r2) are left out: they need the rows, which stay with the engine."
        ]
    design, values, shares = fit.design, values_of_fit(fit), {}
    groups, missing = population(design, values), []
    if not design.blocks:
        own = groups or conditional(fit, values)
        shares["bayes_r2"] = own.explained / (own.explained + own.residual)
    else:
        if groups is not None:
            shares["bayes_r2_marginal"] = groups.explained / (groups.explained + groups.residual)
        else:
            missing.append("bayes_r2_marginal is left out: with an inverse link new groups have no mean.")
        if len(kept_effects(fit)) == len(design.blocks):
            own = conditional(fit, values)
            if own is not None:
                shares["bayes_r2_conditional"] = own.explained / (own.explained + own.residual)
            else:
                missing.append("bayes_r2_conditional is left out: with an inverse link a row has no mean.")
        else:
            missing.append("bayes_r2_conditional is left out: the fit was made with keep_effects=False.")
    scale = "share of successes" if design.family.support.trials else "response"
    names = (
        "bayes_r2" if not design.blocks else "bayes_r2_marginal (new groups) and bayes_r2_conditional (these groups)"
    )
    said = (
        f"{names}: the model gives each row a mean and a variance about it; this is the variance of the means, as a "
        "share of its sum with the average variance about them, on the scale of the "
        f"{scale} (Gelman, Goodrich, Gabry & Vehtari 2019)."
    )
    return shares, [said, *missing]


def _of_categories(fitted, title: str, *, explained: bool) -> VarianceShares:
    """Return the shares of categories without an order, for each category but the first."""
    parts = parts_by_category(fitted)
    return _made(fitted, title, shares_by_category(parts, explained), variances_by_category(parts), (SAID,))


def _parts(fitted, mean: float | None) -> Parts:
    check_same_in_rows(fitted.design, "a share of variance")
    if hasattr(fitted, "tree"):
        return parts_of(fitted.design, values_of_fit(fitted), mean)
    return parts_of(scaled_design(fitted), values_of_point(fitted), mean)


def _null(fitted, mean: str) -> float | None:
    """Return the null model's mean where it was asked for and has a part in the variances."""
    return null_mean(fitted.design) if mean == "null" and fitted.design.family.residual.needs_mean else None


def _by_factor(design, parts: Parts) -> list[tuple[str, Array]]:
    """Return the name and the variance of each grouping factor, in the order of the other tables."""
    each = observation_level(design)
    return [(design.blocks[k].group, parts.random[k]) for k in by_levels(design) if k not in each]


def _two_shares(where: str, variance: Array, random: Array, parts: Parts) -> dict[str, Array]:
    left = random + parts.residual
    return {f"icc{where}": variance / left, f"icc_unadjusted{where}": variance / (left + parts.fixed)}


def _about_scale(design, mean: float | None) -> list[str]:
    """Return the scale of the variances, how the residual's was taken there, at which mean, and what else is in it."""
    rule, said = design.family.residual, []
    if rule.needs_mean and mean is None:
        said.append(
            "The mean response is that of all rows, in new groups; mean='null' takes that of the model without "
            "predictors, as the paper and R's performance do."
        )
    elif rule.needs_mean:
        said.append(f"The mean response, {mean:.4g}, is that of the model without predictors, by maximum likelihood.")
    each = [repr(design.blocks[k].group) for k in observation_level(design)]
    if each:
        said.append(
            f"The effects of {listing(each)}, one for each row, are overdispersion: their variance is part of the "
            f"residual's ({NAKAGAWA})."
        )
    return [_scale(design), *said]


def _scale(design) -> str:
    link, rule = LINKS[design.family.link], design.family.residual
    if link.name != "identity":
        if not rule.defined:
            return f"Variances are on the {link.scale}."
        source = NAKAGAWA if rule.published else f"in the manner of {NAKAGAWA}"
        return f"Variances are on the {link.scale}; the residual's is {rule.says} ({source})."
    weighted = ", divided by the weights and averaged" if design.weights is not None else ""
    if design.residual.text:
        weighted = f", as {design.residual.text} changes it from row to row{weighted or ', averaged'}"
    offset = "; the offset is taken out of the response first" if design.offset.any() else ""
    units = f"squared units of {shorten(design.response)}"
    return f"Variances are in {units}; the residual's is {rule.says}{weighted}{offset}."


def _record(fitted, title: str, shares: dict[str, Array], parts: Parts, says: tuple[str, ...]) -> VarianceShares:
    variances = {"fixed part": parts.fixed, **dict(_by_factor(fitted.design, parts))}
    variances |= {"residual": parts.residual} if fitted.design.family.residual.defined else {}
    if observation_level(fitted.design):
        variances["overdispersion in the residual"] = parts.overdispersion
    return _made(fitted, title, shares, variances, says)


def _made(fitted, title: str, shares: dict[str, Array], variances: Draws, says: tuple[str, ...]) -> VarianceShares:
    shape = tree_sizes(fitted.tree) if hasattr(fitted, "tree") else None
    origin = (
        () if shape is None else (f"Intervals: {100 * CI_PROB:.0f} % equal-tailed, from {draws_text(fitted.tree)}.",)
    )
    draws = {} if shape is None else {name: values.reshape(shape) for name, values in shares.items()}
    return VarianceShares(
        table=_frame(shares, shape, "quantity"),
        variances=_frame(variances, shape, "part"),
        draws=MappingProxyType(draws),
        title=f"{title}: {shorten(fitted.design.formula.text, FORMULA_WIDTH)}",
        says=(*says, *origin),
    )


def _frame(columns: Draws, shape: tuple[int, int] | None, name: str) -> pd.DataFrame:
    """Return a table of (draws,) quantities, or of single ones if there is no shape of draws."""
    index = pd.Index(list(columns), name=name, dtype=object)
    if shape is None:
        return pd.DataFrame({"estimate": [float(values[0]) for values in columns.values()]}, index=index)
    draws = np.stack([values.reshape(shape) for values in columns.values()])
    with np.errstate(invalid="ignore"):
        frame = describe(draws).set_index(index)
    for row, values in zip(index, draws, strict=True):
        if np.isinf(values).any():  # which have no sd, and nothing between them that a quantile could be
            ends = np.quantile(values, [(1 - CI_PROB) / 2, (1 + CI_PROB) / 2], method="inverted_cdf")
            frame.loc[row, ["mean", "sd", "lower", "upper"]] = [np.inf, np.nan, *ends]
    return frame


# ----------------------------------------------------------------------------------------------------------------------
# print


def _lines(shares: VarianceShares) -> list[str]:
    lines = [shares.title, ""]
    lines += [*_table(shares.table, decimals=True), "", "Made of the variances:", *_table(shares.variances), ""]
    return lines + [line for sentence in shares.says for line in wrap(sentence)]


def _table(frame: pd.DataFrame, decimals: bool = False) -> list[str]:
    names = [name for name in (*PRINTED, "estimate") if name in frame]
    if decimals:
        columns = [[f"{value:.{SHARE_DECIMALS}f}" for value in frame[name]] for name in names]
    else:
        columns = [column(list(frame[name])) for name in names]
    if "ess_bulk" in frame:
        names, columns = [*names, "ESS"], [*columns, [count(value) for value in frame["ess_bulk"]]]
    return table(
        ["", *names],
        [[shorten(index), *cells] for index, *cells in zip(frame.index, *columns, strict=True)],
    )
