"""Which figures stand in which section of a report, with their captions and what is read where they cannot be seen."""

from functools import partial

from bayesmm.design.parameters import coefficients, variance_parameters
from bayesmm.design.summed import is_summed
from bayesmm.display.html_tables import Figure, name
from bayesmm.inference.checks import has_profile
from bayesmm.reporting import plots
from bayesmm.reporting.figures import picture
from bayesmm.reporting.plots.shrinkage import no_regressions
from bayesmm.reporting.tables import has_effects

FACTORS = 3  # grouping factors by which the fit to the data is shown
PROFILED = 4  # variance parameters with profile intervals; of more they take longer than all other figures together
PANELS = 12  # levels of a factor with a panel each; of more, their means are drawn
SECTIONS = ("priors", "estimates", "comparison", "fit", "diagnostics")


def figures(fit, comparison) -> dict[str, tuple[Figure, ...]]:
    """Return the pictures of each section but those of the random effects.

    Parameters
    ----------
    fit : Fit
    comparison : Comparison
    """
    makers = (priors, estimates, forest, fit_to_data, diagnostics)
    return {section: make(fit, comparison) for section, make in zip(SECTIONS, makers, strict=True)}


def priors(fit, comparison) -> tuple[Figure, ...]:
    """Return the priors with the posteriors under them."""
    if not (coefficients(fit.design) or variance_parameters(fit.design)):
        return ()
    return (
        picture(
            partial(plots.plot_priors, fit),
            "What the data have changed: the prior of each parameter over its posterior.",
            "A panel for each parameter: a dashed line is its prior density, a shaded area its posterior density, with "
            "the posterior mean and 95 % interval under it.",
        ),
    )


def estimates(fit, comparison) -> tuple[Figure, ...]:
    """Return the densities of the variance components."""
    if not variance_parameters(fit.design):
        return ()
    few = len(variance_parameters(fit.design)) <= PROFILED
    method, profiled = comparison.method, few and has_profile(fit.design)
    interval = " and its 95 % profile interval" if profiled else ""
    return (
        picture(
            partial(plots.plot_variances, fit, comparison.point, intervals=profiled),
            f"Posterior densities of the variance components{f', with {method}{interval} marked' * bool(method)}.",
            "A panel for each standard deviation, correlation and parameter of the family: its posterior density, mean "
            f"and 95 % interval{f', and a line at the estimate of {method}' * bool(method)}.",
        ),
    )


def forest(fit, comparison) -> tuple[Figure, ...]:
    """Return the forest of the comparison."""
    if not comparison.parameters or comparison.point is None:
        return ()
    method = comparison.method
    return (
        picture(
            partial(plots.plot_comparison, comparison),
            f"Every parameter: {method} against the posterior, in posterior standard deviations.",
            f"A forest plot with a row for each parameter: posterior mean, 95 % interval and {method}. The numbers are "
            "those of the tables of estimates.",
        ),
    )


def fit_to_data(fit, comparison) -> tuple[Figure, ...]:
    """Return the lines of the groups, the predictive distribution and the residuals, where the effects were kept."""
    design = fit.design
    if is_summed(design) or not all(has_effects(fit, k) for k in range(len(design.blocks))):
        return ()
    if design.family.nominal:  # a row has no fitted number, and so no residual
        return distributions(fit)
    return (
        *lines(fit),
        *curves(fit),
        *distributions(fit),
        picture(
            partial(plots.plot_residuals, fit),
            "Residuals against fitted values, with the medians and the middle halves of bins of them.",
            "A point for each row; a line joins the medians of the bins, dashed lines their quartiles.",
        ),
        picture(
            partial(plots.plot_qq, fit),
            "Residuals against normal quantiles, with the envelope of simulated ones.",
            "The sorted residuals over the quantiles of a normal distribution, and the band that all of them stay in "
            "with probability 0.95 if the model holds.",
        ),
    )


def distributions(fit) -> tuple[Figure, ...]:
    """Return the distribution of the observed responses and that of the model, of a censored one as survival."""
    design, y = fit.design, name(fit.design.response)
    if design.limits is not None and design.limits.censored.any():
        survival = picture(
            partial(plots.plot_survival, fit),
            f"P({y} > t) by the data alone (Kaplan-Meier, Turnbull) and as fitted, the mean over the rows.",
            "A line with steps is the estimate without a model, marks are right-censored rows; a dashed line is the "
            "mean of the fitted curves, with the band that holds 95 % of their draws.",
        )
        return (survival,)
    if design.categories:
        shares = picture(
            partial(plots.plot_categories, fit),
            f"The shares of the categories of {y} in the data and as fitted, the mean over the rows.",
            "Two stacked bars: the shares of the categories among the rows, and the posterior means of their "
            "probabilities.",
        )
        return shares, *(by_group(fit, k) for k in design.factors[:FACTORS] if not design.family.nominal)
    shown = picture(
        partial(plots.plot_predictive, fit),
        f"The observed {y} and what the fitted model gives for the same rows.",
        "The distribution of the observed responses over the band that 95 % of the replicated ones stay in.",
    )
    by_groups = () if design.responses else design.factors[:FACTORS]  # whose figures have one axis
    return shown, *(by_group(fit, k) for k in by_groups)


def by_group(fit, k: int) -> Figure:
    """Return the predictive distribution in each level of a factor, of many levels the means only."""
    block, y = fit.design.blocks[k], name(fit.design.response)
    group, count = name(block.group), len(block.levels)
    if count <= PANELS:
        return picture(
            partial(plots.plot_predictive, fit, block.group),
            f"The observed {y} and what the fitted model gives for the same rows, in each level of {group}.",
            f"A panel for each of the {count} levels of {group}: the distribution of the observed responses over the "
            "band that 95 % of the replicated ones stay in.",
        )
    return picture(
        partial(plots.plot_group_means, fit, block.group),
        f"The mean {y} of each level of {group}, and the interval that holds 95 % of its means in replicated data.",
        f"A row for each of the {count:,} levels of {group}, sorted by the replicated means: a line is their 95 % "
        "interval, a dot the observed mean, a diamond one outside the interval.",
    )


def curves(fit) -> tuple[Figure, ...]:
    """Return the smooths, if there are any."""
    if len(fit.design.groups) == len(fit.design.blocks):
        return ()
    return (
        picture(
            partial(plots.smooths, fit),
            "The smooths, with the band that holds each point with probability 0.95 and the one that holds the whole.",
            "A panel for each smooth: its posterior mean along its variable with two bands, or in two by level lines.",
        ),
    )


def lines(fit) -> tuple[Figure, ...]:
    """Return the lines of the groups of the first factor, if there is a numeric predictor to draw them along."""
    if not fit.design.factors:
        return ()
    group = name(fit.design.blocks[fit.design.factors[0]].group)
    try:
        shown = picture(
            partial(plots.plot_lines, fit),
            f"The mean of each level of {group} with its 95 % band, its data, and the mean of an average level.",
            f"A panel for each of the levels of {group} shown: points are its data, a line with a band its posterior "
            "mean, a second line the mean of an average level.",
        )
    except ValueError:  # what plot_lines says of a model without a numeric predictor
        return ()
    return (shown,)


def diagnostics(fit, comparison) -> tuple[Figure, ...]:
    """Return the traces of the chains and, if the sampler recorded it, their energy."""
    shown: tuple[Figure, ...] = ()
    if variance_parameters(fit.design):
        traces = picture(
            partial(plots.plot_traces, fit),
            "Traces of the chains, and the ranks of their draws among those of all chains.",
            "Two panels for each variance parameter: the draws of every chain in their order, and how they rank.",
        )
        shown = (traces,)
    if "sample_stats" in fit.tree.children and "energy" in fit.tree["sample_stats"].data_vars:
        energy = picture(
            partial(plots.plot_energy, fit),
            "Energy of each chain: its changes from draw to draw should be spread as widely as its values.",
            "A panel for each chain with two densities: of the energy, and of its changes from draw to draw.",
        )
        shown = (*shown, energy)
    return shown


def effect_figures(fit, point, k: int) -> tuple[Figure, ...]:
    """Return the sorted effects of one factor, and how far they are drawn towards one another; none if not kept."""
    if not has_effects(fit, k):
        return ()
    block = fit.design.blocks[k]
    group, count = name(block.group), len(block.levels)
    return (
        picture(
            partial(plots.plot_effects, fit, point, block.group),
            f"Random effects of {group}, sorted: posterior means with 95 % intervals"
            + ("." if point is None else f", and the conditional modes of {point.method}."),
            f"A row for each of the {count:,} levels of {group} and a panel for each of its terms, sorted by the "
            "posterior mean; a line is the 95 % interval"
            + ("." if point is None else ", a mark on it the conditional mode of the maximised fit."),
        ),
        *shrinkage(fit, k),
    )


def shrinkage(fit, k: int) -> tuple[Figure, ...]:
    """Return the arrows of one factor; none where the rows of a level have no regression of their own, or none here."""
    if fit.design.family.observed or is_summed(fit.design) or no_regressions(fit.design, fit.design.blocks[k]):
        return ()
    block = fit.design.blocks[k]
    group = name(block.group)
    shown = picture(
        partial(plots.plot_shrinkage, fit, block.group),
        f"Shrinkage in {group}: from the regression of each level's own rows to its coefficients in the model.",
        f"An arrow for each level of {group}: it starts at the coefficients that its own rows give and ends at "
        "those of the model, nearer to the others'.",
    )
    return (shown,)
