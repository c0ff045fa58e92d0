"""What the priors do to a posterior: its sensitivity to their weight, and how much of them it keeps."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from bayesmm.design.parameters import Parameter, coefficients, variance_parameters
from bayesmm.design.series import as_numbers
from bayesmm.display.frames import Tabled
from bayesmm.display.text_tables import BLANK, shorten, table, wrap
from bayesmm.errors import listing
from bayesmm.evaluation.prior_marginals import draws_on_prior_scale, prior_marginal
from bayesmm.evaluation.prior_sensitivity.draw_densities import integrated_log_likelihood, log_prior, rest_size
from bayesmm.posterior.density import density, support_of
from bayesmm.posterior.draws import draws_of, is_constant, tree_sizes
from bayesmm.posterior.residuals import DRAWS, FEWEST_DRAWS, thinned
from bayesmm.runtime.progress import working
from bayesmm.runtime.threads import few_threads

Array = np.ndarray
THRESHOLD = 0.05  # of both sensitivities: Kallioinen et al. (2024), and the default of ArviZ and priorsense
CONFLICT, STRONG, NOTHING, FIXED = "prior-data conflict", "strong prior / weak likelihood", "-", "fixed by its prior"
CONSTANT = "constant"  # of a further quantity, whose draws are all the same
WEAK_OVERLAP = 0.35  # Garrett & Zeger (2000), Biometrics 56(4): above it the data have said little
MOST_REST = 200  # random effects in dense matrices; with more, a few hundred draws are taken, which are enough
FORMULA_WIDTH, NAMED = 450, 5  # columns of a formula; names in a sentence
DECIMALS = 3


@dataclass(frozen=True, eq=False)
class Sensitivity(Tabled):
    """How much a posterior depends on the weight of its priors and of its likelihood.

    Attributes
    ----------
    table : pandas.DataFrame
        A row for each quantity: prior, likelihood (the distance that the posterior moves for each doubling of the
        weight), diagnosis ("prior-data conflict", "strong prior / weak likelihood", "-", "fixed by its prior" or
        "constant").
    likelihood : str
        How the random effects were integrated out of the likelihood.
    title : str
    """

    table: pd.DataFrame
    likelihood: str
    title: str

    def __str__(self) -> str:
        return "\n".join(_sensitivity_lines(self))

    __repr__ = __str__


@dataclass(frozen=True, eq=False)
class PriorOverlap(Tabled):
    """The common area of prior and posterior density.

    Attributes
    ----------
    table : pandas.DataFrame
        A row for each parameter: prior (in words), overlap (0 to 1; NaN where the prior has no density in closed form,
        is improper, or fixes the parameter).
    title : str
    """

    table: pd.DataFrame
    title: str

    def __str__(self) -> str:
        return "\n".join(_overlap_lines(self))

    __repr__ = __str__


# ----------------------------------------------------------------------------------------------------------------------
# power-scaling


@working("the sensitivity to the priors")
@few_threads
def sensitivity(fit, quantities: Mapping[str, object] | None = None) -> Sensitivity:
    """Return how much each reported quantity depends on the priors and on the likelihood, without refitting.

    Parameters
    ----------
    fit : Fit
    quantities : mapping of str to (chains, draws) array, optional
        Further quantities, such as ``fit.r2().draws``; the coefficients, sds, correlations and the family's parameters
        are always there.

    Returns
    -------
    Sensitivity

    Raises
    ------
    PriorError
        If a prior is a function, whose density is not known in closed form.
    ValueError
        There are fewer than 100 draws; `quantities` is no mapping, or one of them has the name of a parameter, another
        shape than the draws, or values that are no finite numbers.

    Notes
    -----
    Power-scaling (Kallioinen, Paananen, Bürkner & Vehtari 2024, Statistics and Computing 34:57): the draws are weighted
    by prior^(a - 1) or likelihood^(a - 1), a = 0.99 and 1.01, the weights smoothed, and the sensitivity is the distance
    between the weighted and the unweighted posterior (cumulative Jensen-Shannon) for each doubling of a; ArviZ's
    `psense`. All priors are scaled together. The distribution of the random effects is no prior here but a part of the
    likelihood, in which they are integrated out; see `draw_densities`.
    """
    if quantities is not None and not isinstance(quantities, Mapping):
        kind = type(quantities).__name__
        raise ValueError(f"quantities must be a mapping of names to draws, such as fit.r2().draws, not {kind}")
    total = int(np.prod(tree_sizes(fit.tree)))
    if total < FEWEST_DRAWS:
        raise ValueError(f"power-scaling weights the draws and needs at least {FEWEST_DRAWS}; the fit has {total}")
    parameters = coefficients(fit.design) + variance_parameters(fit.design)
    known = {parameter.label for parameter in parameters}
    further = {_new_name(name, known): _checked(fit, name, values) for name, values in (quantities or {}).items()}
    if rest_size(fit.design) > MOST_REST:
        step = max(1, -(-total // DRAWS))
        further = {name: values[:, ::step] for name, values in further.items()}
        fit = thinned(fit, DRAWS)
    prior = log_prior(fit)
    likelihood, how = integrated_log_likelihood(fit)
    draws = np.concatenate([draws_of(fit, parameters), *(values[None] for values in further.values())])
    found = _psense(draws, prior, likelihood)
    names = pd.Index([*(parameter.label for parameter in parameters), *further], name="quantity", dtype=object)
    frame = pd.DataFrame({"prior": found[0], "likelihood": found[1]}, index=names)
    still = [FIXED] * len(parameters) + [CONSTANT] * len(further)
    frame["diagnosis"] = [_diagnosis(*row) for row in zip(frame["prior"], frame["likelihood"], still, strict=True)]
    return Sensitivity(frame, how, f"Power-scaling sensitivity: {shorten(fit.design.formula.text, FORMULA_WIDTH)}")


def _new_name(name: object, known: set[str]) -> str:
    """Return the name of a further quantity, which no parameter has."""
    if str(name) in known:
        raise ValueError(f"{str(name)!r} is already there; give it another name in quantities")
    return str(name)


def _checked(fit, name: object, values: object) -> Array:
    """Return the draws of a further quantity as (chains, draws)."""
    found, shape = as_numbers(values), tree_sizes(fit.tree)
    if found.dtype.kind not in "biuf":
        raise ValueError(f"the draws of {str(name)!r} should be numbers, not {type(values).__name__}")
    found = found.astype(float)
    if found.shape != shape:
        raise ValueError(
            f"the draws of {str(name)!r} have the shape {found.shape}; those of the fit are {shape[0]} chains of "
            f"{shape[1]} draws"
        )
    if not np.isfinite(found).all():
        raise ValueError(f"the draws of {str(name)!r} are not all finite, so that no distance can be measured")
    return found


def _psense(draws: Array, prior: Array, likelihood: Array) -> Array:
    """Return the sensitivity of (k, chains, draws) quantities to prior and likelihood, (2, k); NaN where constant.

    A prior that is the same for all draws, a flat one, moves nothing however it is weighted.
    """
    from arviz_stats import psense  # here, because it takes half a second to import

    found, varies = np.full((2, len(draws)), np.nan), ~is_constant(draws)
    if not varies.any():
        return found
    groups = {"posterior": xr.Dataset({"x": (("quantity", "chain", "draw"), draws[varies])})}
    for name, values in (("log_prior", prior), ("log_likelihood", likelihood)):
        groups[name] = xr.Dataset({name: (("chain", "draw"), values.reshape(draws.shape[1:]))})
    tree = xr.DataTree.from_dict(groups)
    for row, group in enumerate(("prior", "likelihood")):
        flat = np.ptp(tree[f"log_{group}"][f"log_{group}"].to_numpy()) == 0
        found[row, varies] = 0.0 if flat else psense(tree, group=group)["x"].to_numpy()
    return found


def _diagnosis(prior: float, likelihood: float, still: str) -> str:
    """Return the diagnosis; `still` is that of draws that are all the same."""
    if np.isnan(prior):
        return still
    if prior < THRESHOLD:
        return NOTHING
    return CONFLICT if likelihood >= THRESHOLD else STRONG


def _sensitivity_lines(found: Sensitivity) -> list[str]:
    rows = [
        [
            shorten(name),
            *(BLANK if np.isnan(v) else f"{v:.{DECIMALS}f}" for v in (row.prior, row.likelihood)),
            row.diagnosis,
        ]
        for name, row in zip(found.table.index, found.table.itertuples(), strict=True)
    ]
    explained = (
        "prior, likelihood: how far the posterior moves for each doubling of the weight of all priors, or of the "
        "likelihood (Kallioinen, Paananen, Bürkner & Vehtari 2024, whose threshold for both is "
        f"{THRESHOLD}). In the likelihood: {found.likelihood}."
    )
    lines = [found.title, "", *table(["", "prior", "likelihood", "diagnosis"], rows), ""]
    return lines + [line for sentence in (explained, *_advice(found.table)) for line in wrap(sentence)]


def _advice(frame: pd.DataFrame) -> list[str]:
    """Return what to do, a sentence for each diagnosis that occurs."""
    names = {word: list(frame.index[frame["diagnosis"] == word]) for word in (CONFLICT, STRONG)}
    said = []
    if names[CONFLICT]:
        said.append(
            f"{CONFLICT.capitalize()} for {listing(names[CONFLICT], NAMED)}: both decide, so they disagree or the "
            "prior is informative; see in print(fit.model.priors) whether it says what is known, and fit with a wider "
            "one beside it."
        )
    if names[STRONG]:
        said.append(
            f"{STRONG.capitalize()} for {listing(names[STRONG], NAMED)}: the data say little and the prior decides; "
            "give the reason for it, or report how the answer changes with another one."
        )
    return said or ["No quantity depends noticeably on the priors."]


# ----------------------------------------------------------------------------------------------------------------------
# overlap


@working("comparing priors with posteriors")
@few_threads
def prior_overlap(fit) -> PriorOverlap:
    """Return how much of each parameter's prior is left in its posterior: the area under both densities.

    Parameters
    ----------
    fit : Fit

    Returns
    -------
    PriorOverlap
        1 where the data changed nothing, near 0 where the posterior is far narrower than the prior or elsewhere. The
        prior's density is the exact one (of a correlation the marginal of its LKJ prior), the posterior's a kernel
        density. An intercept whose prior is at the predictors' means is compared there, as ``Intercept_centred``.
    """
    rows = {}
    for parameter in coefficients(fit.design) + variance_parameters(fit.design):
        marginal = prior_marginal(fit.design, fit.model.priors, parameter)
        draws = draws_on_prior_scale(fit, parameter, marginal).ravel()
        proper = marginal.density is not None and marginal.quantile is not None
        rows[marginal.label] = (
            "" if marginal.prior is None else str(marginal.prior),
            _overlap(parameter, draws, marginal.density) if proper and np.ptp(draws) > 0 else np.nan,
        )
    index = pd.Index(list(rows), name="parameter", dtype=object)
    frame = pd.DataFrame(list(rows.values()), columns=["prior", "overlap"], index=index)
    return PriorOverlap(frame, f"Prior-posterior overlap: {shorten(fit.design.formula.text, FORMULA_WIDTH)}")


def _overlap(parameter: Parameter, draws: Array, prior) -> float:
    """Return the integral of the smaller of two densities, over where the posterior has any."""
    support = support_of(parameter)
    grid, height = density(np.clip(draws, *support), support)
    area = np.trapezoid(height, grid)
    with np.errstate(all="ignore"):  # a prior may be infinite at its bound
        smaller = np.minimum(height / area, prior(grid))
    return float(min(1.0, np.trapezoid(smaller, grid)))


def _overlap_lines(found: PriorOverlap) -> list[str]:
    rows = [
        [
            shorten(name),
            shorten(row.prior),
            BLANK if np.isnan(row.overlap) else f"{row.overlap:.{DECIMALS}f}",
        ]
        for name, row in zip(found.table.index, found.table.itertuples(), strict=True)
    ]
    high = list(found.table.index[found.table["overlap"] > WEAK_OVERLAP])
    says = "The data have changed every prior that has a density."
    if high:
        says = f"The data say little about {listing(high, NAMED)}, whose posterior has much of the prior in it."
    explained = (
        "overlap: the area under both densities, 1 where the data changed nothing; above "
        f"{WEAK_OVERLAP} the data have said little (Garrett & Zeger 2000)."
    )
    return [found.title, "", *table(["", "prior", "overlap"], rows, left=2), "", *wrap(explained), *wrap(says)]
