"""What a posterior says about its model: remarks that fail nothing, each with what to change in this model.

The counts are judged by responses simulated from the posterior, always with the same random numbers, so that a fit has
one answer.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bayesmm.design.parameters import Parameter, coefficients, sd_places, variance_parameters
from bayesmm.design.summed import is_summed
from bayesmm.display.text_tables import apart
from bayesmm.errors import DataError
from bayesmm.evaluation.checks.check import Check
from bayesmm.evaluation.checks.sampling import FEW_LEVELS
from bayesmm.evaluation.checks.terms import (
    BAR,
    bends,
    centring,
    factor_text,
    movers,
    smaller,
    terms_text,
    without_correlation,
)
from bayesmm.evaluation.prior_marginals import AT_MEANS, PriorMarginal, draws_on_prior_scale, prior_marginal
from bayesmm.posterior.auxiliaries import auxiliary_values
from bayesmm.posterior.density import density, support_of
from bayesmm.posterior.draws import in_basis, is_constant, kept_effects, posterior_residuals
from bayesmm.posterior.predict import predict
from bayesmm.posterior.residuals import FEWEST_DRAWS, MOST_NUMBERS, replicates, thinned
from bayesmm.priors import sds_without_prior

SINGULAR_LIMIT = 0.05  # least eigenvalue of a correlation matrix, posterior median; of two terms |r| above 0.95; ours
BOUND_LIMIT = 0.5  # density at a bound, as a share of its greatest height: half-normal and flatter have 1; ours
CONFLICT_LIMIT = 0.01  # prior probability of values as far out as the posterior median
COEFFICIENTS_LIMIT = 200  # coefficients that are held against their priors (1 ms each): the first of more
TINY = 1e-9  # probability beyond which a prior's tail is not followed
HALVINGS = 60  # of an interval of probabilities, down to rounding
OUTLIER_PROBABILITY = 0.001  # that the largest of all residuals of a right model exceeds its limit
SKEW_LIMIT, SKEW_ERRORS = 0.5, 3.0  # "moderately skewed" from 0.5 on, where it is 3 standard errors from 0 too
P_LIMIT = 0.01  # posterior predictive p below which a note is made
MOST_ROWS = MOST_NUMBERS // FEWEST_DRAWS  # of more, replicated responses would take seconds at each print


@dataclass(frozen=True)
class Simulated:
    """The link's means and replicated responses of the same posterior draws, (draws, n); auxiliaries (draws, 1)."""

    means: np.ndarray
    replicated: np.ndarray
    auxiliaries: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class CheckInputs:
    """What the remarks are made from.

    Attributes
    ----------
    fit : Fit
    marginals : tuple of (Parameter, PriorMarginal, (draws,) array)
        Of each parameter that varies and whose draws are finite; of the coefficients the first 200.
    residuals : (n,) or None
        Of a normal response, where the random effects were kept.
    simulated : Simulated or None
        Of counts, where the random effects were kept and there are not too many rows.
    """

    fit: object
    marginals: tuple[tuple[Parameter, PriorMarginal, np.ndarray], ...]
    residuals: np.ndarray | None
    simulated: Simulated | None


def check_inputs(fit) -> CheckInputs:
    """Gather what the remarks are made from."""
    found = []
    for parameter in variance_parameters(fit.design) + coefficients(fit.design)[:COEFFICIENTS_LIMIT]:
        marginal = prior_marginal(fit.design, fit.model.priors, parameter)
        draws = draws_on_prior_scale(fit, parameter, marginal)
        if np.isfinite(draws).all() and not is_constant(draws[None])[0]:
            found.append((parameter, marginal, draws.ravel()))
    whole = len(kept_effects(fit)) == len(fit.design.blocks) and not is_summed(fit.design)
    family = fit.design.family
    counted = family.support.numbers and not family.observed and fit.design.n <= MOST_ROWS
    return CheckInputs(
        fit=fit,
        marginals=tuple(found),
        residuals=_residuals(fit) if whole and family.normal else None,
        simulated=simulate(fit) if whole and counted else None,
    )


def _residuals(fit) -> np.ndarray | None:
    """Return the residuals at the posterior means; None where the sds of rows cannot be computed with."""
    try:
        return posterior_residuals(fit)
    except DataError:
        return None


def simulate(fit) -> Simulated:
    """Draw responses from the posterior, and keep the means that they are drawn about."""
    replicated = replicates(fit)
    few = thinned(fit, len(replicated))
    eta = predict(few, kind="linear").draws.reshape(-1, fit.design.n)
    return Simulated(fit.design.family.inverse(eta), replicated, tuple(auxiliary_values(few)))


def few_groups(inputs: CheckInputs) -> Check:
    """Look for a grouping factor with so few levels that its sds rest on their prior."""
    blocks = [inputs.fit.design.blocks[k] for k in inputs.fit.design.groups]
    if not blocks:
        return Check("few groups", True, math.nan, FEW_LEVELS, "the model has no random effects")
    few = [block for block in blocks if len(block.labels) < FEW_LEVELS]
    priors = inputs.fit.model.priors
    asked = [block for block in few if sds_without_prior(priors, block)]
    block = min(asked or blocks, key=lambda each: len(each.labels))
    count = len(block.labels)
    if not few:
        return Check("few groups", True, count, FEW_LEVELS, f"{block.group} has {count:,} levels, and no factor fewer")
    factor, where = factor_text(block)
    sds = sds_without_prior(priors, block)
    if not sds:
        if all(priors[place].distribution == "Fixed" for place, _ in sd_places(block)):
            return Check("few groups", True, count, FEW_LEVELS, f"{factor} has {count} levels, and no sd to learn")
        message = (
            f"{factor} has {count} levels, so that the prior given for {block.names.sd} matters; see fit.sensitivity()"
        )
        return Check("few groups", True, count, FEW_LEVELS, message)
    message = (
        f"{factor} has {count} levels, too few to learn an sd from: give {sds} an informative prior, "
        f"or make {factor} a fixed effect{where}."
    )
    return Check("few groups", True, count, FEW_LEVELS, message, note=True)


def singular(inputs: CheckInputs) -> Check:
    """Look for a covariance matrix that is nearly singular in half of the posterior.

    It is that at the means of the predictors: far from them any intercept and slope correlate.
    """
    fit, worst, where = inputs.fit, math.inf, ""
    for k, block in enumerate(fit.design.blocks):
        whole = in_basis(fit, block, fit.design.spec.bases.blocks[k])[1] if block.correlated else None
        for part in (part for part in block.partition if len(part) > 1):
            R = whole[..., part, :][..., part]
            if not np.isfinite(R).all():
                continue
            least = float(np.median(np.linalg.eigvalsh(R)[..., 0]))
            if least < worst:
                step = without_correlation(fit.design, k) + centring(fit.design, k)
                worst, where = least, strongest(block, part, np.median(R, axis=(0, 1)), step)
    if not where:
        return Check("singular", True, math.nan, SINGULAR_LIMIT, "the model has no correlations")
    value, least = apart(worst, SINGULAR_LIMIT, 2, "g")
    found = f"least eigenvalue of a correlation matrix {value} (limit {least})"
    if worst >= SINGULAR_LIMIT:
        return Check("singular", True, worst, SINGULAR_LIMIT, found)
    return Check("singular", True, worst, SINGULAR_LIMIT, f"{found}: {where}", note=True)


def strongest(block, part: tuple[int, ...], R: np.ndarray, step: str) -> str:
    """Return the strongest correlation of a part of a block, and what to do about it; `step` leaves it out."""
    i, j = divmod(int(np.abs(R - np.eye(len(R))).argmax()), len(R))
    first, second = block.columns[part[min(i, j)]], block.columns[part[max(i, j)]]
    return (
        f"the correlation of {first} and {second} in {block.group} is {R[i, j]:.2f}, so the data do not tell the two "
        f"apart; leave one of them out of the terms of {block.group}, or {step}."
    )


def boundary(inputs: CheckInputs) -> Check:
    """Look for a posterior that is piled up at a bound: an sd at 0, a correlation at +-1, a prior's own end."""
    worst, where = -math.inf, None
    for parameter, marginal, draws in inputs.marginals:
        bounds = bounds_of(parameter, marginal)
        if np.isinf(bounds).all():
            continue
        grid, height = density(np.clip(draws, *bounds), bounds)
        for bound, at, there in zip(bounds, grid[[0, -1]], height[[0, -1]], strict=True):
            share = there / height.max() if abs(at - bound) < grid[1] - grid[0] else 0.0
            if share > worst:
                worst, where = float(share), (parameter, marginal, bound, draws, float(share))
    if worst < BOUND_LIMIT:
        share = max(worst, 0.0) if math.isfinite(worst) else math.nan
        fixed = "every parameter is held fixed by its prior"
        text = (
            f"no posterior is high at a bound: at most {share:.2f} of its peak (limit {BOUND_LIMIT})"
            if inputs.marginals
            else fixed
        )
        return Check("boundary", True, share, BOUND_LIMIT, text)
    other = next((check.name for check in (prior_conflict(inputs), residual_shape(inputs)) if check.note), "")
    return Check("boundary", True, worst, BOUND_LIMIT, say_bound(inputs.fit.design, *where, other), note=True)


def bounds_of(parameter: Parameter, marginal: PriorMarginal) -> tuple[float, float]:
    """Return the bounds of a parameter: those of its kind, and those of a uniform prior."""
    low, high = support_of(parameter)
    if marginal.prior is None or marginal.prior.support != "interval" or marginal.quantile is None:
        return low, high
    ends = [marginal.quantile(0.0), marginal.quantile(1.0)]
    return max(low, ends[0]), min(high, ends[1])


def say_bound(
    design, parameter: Parameter, marginal: PriorMarginal, bound: float, draws: np.ndarray, share: float, other: str
) -> str:
    """Return what it means that a posterior is high at a bound, and what to do; `other` may be a note of the cause.

    A prior in the wrong place and outliers can drive an sd to 0: no reason yet to leave its term out.
    """
    height = f"its density there is {100 * share:.0f} % of that at its peak"
    found = f"the posterior of {marginal.label} does not exclude {bound:g} ({height})"
    if bound not in support_of(parameter):
        return f"{found}, where its prior {marginal.prior} ends: widen that prior."
    if parameter.kind == "sd" and other:
        return f"{found}; that may be a consequence of what the note on {other} says, so mend that first."
    if parameter.kind in ("sd", "corr"):
        return f"{found}: {_say_effects(design, parameter, draws, marginal.label.endswith(AT_MEANS))}"
    own = next((own for own in design.family.parameters if own.name == parameter.label), None)
    if parameter.kind == "sigma" or own is None:
        return f"{found}: the data would have no scatter of their own there; look for rows that determine each other."
    said = f"{found}: the data do not show that it differs from {bound:g}"
    return (
        f"{said}, where the family is the {own.limit}; fit that." if own.limit and own.limit_at == bound else f"{said}."
    )


def _say_effects(design, parameter: Parameter, draws: np.ndarray, at_means: bool) -> str:
    """Return what it means that the sd of an effect is near 0 or a correlation near +-1, and what to do.

    An sd at the means of the other columns of its factor is another than that at their 0, which leaving the term out of
    the formula as it stands would set to 0.
    """
    block = design.blocks[parameter.block]
    if parameter.kind == "sd" and block.smooth:
        return f"the data do not show that {bends(design, parameter)}; {smaller(design, parameter.block)}."
    if parameter.kind == "sd":
        term = block.columns[parameter.terms[0]]
        upper = np.quantile(draws, 0.975)
        numbers, indicators = movers(design, parameter.block, parameter.terms[0]) if at_means else ([], [])
        where = " where the other terms are at their means" if numbers or indicators else ""
        step = f"leave it out of the terms of {block.group}{', with center() around the others' * bool(numbers)}, or "
        return (
            f"the data do not show that {term} differs between the levels of {block.group}{where}; "
            f"{'' if indicators else step}report {upper:.3g} (the 97.5 % point) as an upper limit."
        )
    step = without_correlation(design, parameter.block)
    step += (f" before {block.group}" if step == BAR else "") + centring(design, parameter.block)
    return f"the data do not tell its {terms_text(block, parameter.terms)} apart; {step}, or leave one out."


def prior_conflict(inputs: CheckInputs) -> Check:
    """Look for a posterior in the tail of its prior."""
    proper = [(p, b, draws) for p, b, draws in inputs.marginals if b.quantile is not None]
    if not proper:
        return Check("prior conflict", True, math.nan, CONFLICT_LIMIT, "no prior has quantiles to compare with")
    tails = [tail(marginal, float(np.median(draws))) for _, marginal, draws in proper]
    worst = int(np.argmin(tails))
    (_, marginal, draws), least = proper[worst], tails[worst]
    centre = float(np.median(draws))
    where = f"the prior of {marginal.label} gives values as far out as its posterior median of {centre:.3g}"
    value, limit = apart(least, CONFLICT_LIMIT, 2, "g")
    message = f"{where} a probability of {value} (limit {limit})"
    if least >= CONFLICT_LIMIT:
        return Check("prior conflict", True, least, CONFLICT_LIMIT, message)
    advice = f"check the units of the prior {marginal.prior}, or widen it until {centre:.3g} is no surprise."
    return Check("prior conflict", True, least, CONFLICT_LIMIT, f"{message}: {advice}", note=True)


def tail(marginal: PriorMarginal, value: float) -> float:
    """Return the prior probability of values as far out as this one; above only, for a prior highest at its start."""
    low, high = TINY, 1 - TINY
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if marginal.quantile(middle) < value else (low, middle)
    below = 0.5 * (low + high)
    start, centre = (marginal.density(np.array(marginal.quantile(p))) for p in (CONFLICT_LIMIT / 2, 0.5))
    return 1 - below if start > centre else 2 * min(below, 1 - below)


def residual_shape(inputs: CheckInputs) -> Check:
    """Look for outliers and skewness among the residuals of a normal response."""
    if inputs.residuals is None or not np.isfinite(inputs.residuals).all():
        text = "judged for normal responses only, with the random effects kept: see bmm.plots.plot_qq"
        return Check("residual shape", True, math.nan, math.nan, text)
    from scipy.special import ndtri

    residuals = inputs.residuals / inputs.residuals.std()
    limit = float(-ndtri(OUTLIER_PROBABILITY / (2 * len(residuals))))
    largest = float(np.abs(residuals).max())
    if largest > limit:
        return Check(
            "residual shape", True, largest, limit, say_outliers(inputs.fit.design, residuals, limit), note=True
        )
    skewness, error = float((residuals**3).mean()), math.sqrt(6 / len(residuals))
    most = max(SKEW_LIMIT, SKEW_ERRORS * error)
    skewed = " (limit ".join(apart(skewness, math.copysign(most, skewness))) + ")"
    if abs(skewness) > most:
        to_log = skewness > 0 and bool((inputs.fit.design.y > 0).all())  # a logarithm lengthens a tail that points down
        remedy = "model its logarithm" if to_log else "transform it"
        other = f", or use family={inputs.fit.design.family.skewed!r}" if to_log else ""
        message = (
            f"the residuals have a skewness of {skewed}: {inputs.fit.design.response} is not normal about its mean; "
            f"{remedy}{other}."
        )
        return Check("residual shape", True, abs(skewness), most, message, note=True)
    value, end = apart(largest, limit)
    text = f"the largest is {value} sds (limit {end}), the skewness {skewed}"
    return Check("residual shape", True, largest, limit, text)


def say_outliers(design, residuals: np.ndarray, limit: float) -> str:
    """Name the row with the largest residual, and say what to do."""
    row = design.row_labels[int(np.abs(residuals).argmax())]
    count = int((np.abs(residuals) > limit).sum())
    others = f", one of {count:,} beyond the limit" if count > 1 else ""
    value, most = apart(float(np.abs(residuals).max()), limit, 1)
    return (
        f"the residual of row {row} is {value} sds (limit {most}{others}): check the row, "
        f"or use family={design.family.outliers!r}, which gives such rows less weight."
    )


def dispersion(inputs: CheckInputs) -> Check:
    """Compare the scatter of counts about their means with that of replicated counts."""
    design, simulated = inputs.fit.design, inputs.simulated
    if simulated is None or (design.trials is not None and (design.trials == 1).all()):
        return not_simulated("dispersion")
    family, own, size = design.family, simulated.auxiliaries, 1.0 if design.trials is None else design.trials
    with np.errstate(divide="ignore", invalid="ignore"):
        mu = simulated.means
        weights, mean = 1 / family.scattered(mu, size, own), family.expected(mu, own)
        scatter = [np.nansum(weights * np.square(y / size - mean), axis=1) for y in (design.y, simulated.replicated)]
    p, ratio = float((scatter[1] >= scatter[0]).mean()), float(np.median(scatter[0]) / np.median(scatter[1]))
    found = f"the responses scatter {ratio:.2f} times as much as the model's own, {said_p(p, len(scatter[1]))}"
    if p >= P_LIMIT:
        return Check("dispersion", True, p, P_LIMIT, found)
    return Check("dispersion", True, p, P_LIMIT, f"{found}: {more_scatter(design)}", note=True)


def more_scatter(design) -> str:
    """Return what to change in a model of counts that scatter more than it allows."""
    other = f"use family={design.family.overdispersed!r}, or " if design.family.overdispersed else ""
    if design.family.support.trials:
        return (
            f"{other}add a column that numbers the rows, say row, and the term (1 | row), or a predictor that says why."
        )
    if other:
        return f"{other}add a predictor that says why."
    return "add a random effect or a predictor that says why some rows have far more than others."


def zeros(inputs: CheckInputs) -> Check:
    """Compare the number of zeros among counts with that among replicated counts."""
    design, simulated = inputs.fit.design, inputs.simulated
    if simulated is None:
        return not_simulated("zeros")
    observed, replicated = int((design.y == 0).sum()), (simulated.replicated == 0).sum(axis=1)
    p = float((replicated >= observed).mean())
    found = f"{observed:,} zeros, of which the model expects {replicated.mean():,.1f}, {said_p(p, len(replicated))}"
    if p >= P_LIMIT:
        return Check("zeros", True, p, P_LIMIT, found)
    return Check("zeros", True, p, P_LIMIT, f"{found}: {more_zeros(design)}", note=True)


def more_zeros(design) -> str:
    """Return what to change in a model of counts with more zeros than it allows."""
    instead = [repr(name) for name in (design.family.overdispersed, design.family.more_zeros) if name]
    other = f"use family={' or '.join(instead)}, or " if instead else ""
    return f"{other}model whether {design.response} is 0 apart from how large it is otherwise."


def said_p(p: float, replicates: int = 1) -> str:
    """Return a p with its limit; the share of replicates is, where it is 0, below one of them."""
    value, limit = apart(p, P_LIMIT, 2, "g")
    return f"p {f'= {value}' if p else f'< {1 / replicates:.2g}'} (limit {limit})"


def not_simulated(name: str) -> Check:
    """Return the check of counts where there are none to simulate."""
    text = f"judged for counts only, of at most {MOST_ROWS:,} rows, with the random effects kept"
    return Check(name, True, math.nan, P_LIMIT, text)


NOTES: tuple[Callable[[CheckInputs], Check], ...] = (
    few_groups,
    singular,
    boundary,
    prior_conflict,
    residual_shape,
    dispersion,
    zeros,
)
