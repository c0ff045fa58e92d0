"""What a maximised model leaves to be said: notes on its dispersion, its zeros, its residuals, its groups.

As `model` does for a posterior. Responses are simulated from the fitted means, always with the same random numbers, so
that a fit has one answer.
"""

import math

import numpy as np

from bayesmm.design.summed import is_summed
from bayesmm.display.text_tables import apart
from bayesmm.estimation.estimates import Estimates
from bayesmm.evaluation.checks.check import Check, Checks, sourced
from bayesmm.evaluation.checks.fitted import Fitted, of_point
from bayesmm.evaluation.checks.groups import influential_groups
from bayesmm.evaluation.checks.model import P_LIMIT, more_scatter, more_zeros, said_p
from bayesmm.evaluation.checks.order import autocorrelation
from bayesmm.evaluation.checks.terms import smaller
from bayesmm.families.family import draw_response
from bayesmm.posterior.point_estimates import INTEGRATION_ERROR, by_quadrature, integration_words, singular_parts
from bayesmm.runtime.streams import stream
from bayesmm.runtime.threads import few_threads

DRAWS = 400  # simulated responses
MOST_NUMBERS = 2_000_000  # of all simulations: a quarter of a second; of more rows fewer are simulated ...
FEWEST_DRAWS = 100  # ... but not fewer than these
MOST_ROWS = MOST_NUMBERS // FEWEST_DRAWS
LITTLE = 1.1  # of chi^2 over its degrees of freedom, below which a small p only says that there are many rows; ours


@few_threads
def point_checks(point: Estimates, time: object = None) -> Checks:
    """Return the checks of a maximised model, passed and failed.

    Parameters
    ----------
    point : PointFit
    time : str or array, optional
        What orders the rows within their groups: see `order.autocorrelation`.

    Returns
    -------
    Checks
        convergence fails the fit; singular, integral, dispersion, zeros, autocorrelation and influential groups are
        notes, with the family or the term to try.
    """
    if is_summed(point.design):
        return Checks(sourced(check) for check in (converged(point), singular(point)))
    fitted = of_point(point)
    found = [converged(point), singular(point), *integral(point), *counts(point, fitted)]
    found += [autocorrelation(fitted, time), influential_groups(fitted)]
    return Checks(sourced(check) for check in found)


def remarks(point: Estimates) -> list[str]:
    """Return what stands under the print of a fit: the notes that no other line of it has.

    Counts that scatter more have more zeros too, so that these are a part of that note then. Of a search that did not
    converge there is that to be said, and the integral.
    """
    if not point.converged:
        return [f"Note, {check.name}: {check.message}" for check in integral(point) if check.note]
    own = {check.name: check for check in point_checks(point) if check.note and check.name != "singular"}
    text = {name: f"Note, {name}: {check.message}" for name, check in own.items()}
    if {"dispersion", "zeros"} <= set(text):
        text.pop("zeros")
        text["dispersion"] += f" There are {own['zeros'].message}"
    return list(text.values())


def converged(point: Estimates) -> Check:
    """Say whether the optimiser found a maximum."""
    gradient = float(point.optimum.gradient)
    return Check("convergence", point.converged, gradient, math.nan, point.message)


def integral(point: Estimates) -> list[Check]:
    """Hold the log likelihood of a generalised model against its integrals by a finer rule, where there is one."""
    exact = by_quadrature(point)
    if not np.isfinite(exact):
        return []
    off, most = apart(abs(exact - point.loglik), INTEGRATION_ERROR, 2, "g")
    said = f"the log likelihood is within {off} of the integral by a finer rule (limit {most})"
    worse = integration_words(point, exact)
    return [Check("integral", True, abs(exact - point.loglik), INTEGRATION_ERROR, worse or said, note=bool(worse))]


def singular(point: Estimates) -> Check:
    """Look for a variance of 0 and a correlation of 1 or -1."""
    blocks = point.design.blocks
    if not blocks:
        return Check("singular", True, math.nan, math.nan, "the model has no random effects")
    if not point.singular:
        return Check("singular", True, 0, 0, "no variance is 0 and no correlation 1 or -1")
    found: dict[str, list[str]] = {}
    for k in range(len(blocks)):
        for part in singular_parts(point, k):
            found.setdefault(smaller(point.design, k), []).append(part)
    parts = sum(map(len, found.values()))
    found = found or {"leave a term out": ["a covariance matrix has not full rank"]}
    said = "; ".join(f"{'; '.join(of)}: {advice}" for advice, of in found.items())
    advice = ", or sample the posterior, which keeps the sds off 0."
    return Check("singular", True, parts, 0, f"{said}{advice}", note=True)


# ----------------------------------------------------------------------------------------------------------------------
# counts


def counts(point: Estimates, fitted: Fitted) -> list[Check]:
    """Return the checks of dispersion and zeros, of counts and of numbers of successes."""
    design = fitted.design
    one_trial = design.trials is not None and (design.trials == 1).all()
    family = design.family
    judged = family.support.numbers and not (family.observed or one_trial) and design.n <= MOST_ROWS
    if not judged or not np.isfinite(fitted.means).all():
        text = f"judged for counts only, of at most {MOST_ROWS:,} rows"
        return [Check(name, True, math.nan, P_LIMIT, text) for name in ("dispersion", "zeros")]
    simulated = _simulated(fitted)
    return [dispersion(point, fitted, simulated), zeros(fitted, simulated)]


def _simulated(fitted: Fitted) -> np.ndarray:
    """Return responses drawn about the fitted means, (draws, n)."""
    design, rng = fitted.design, stream(0, "responses about the fitted means")
    number = max(FEWEST_DRAWS, min(DRAWS, MOST_NUMBERS // max(design.n, 1)))
    return np.array(
        [draw_response(design.family, rng, fitted.means, design.drawn_with, fitted.auxiliaries) for _ in range(number)]
    )


def dispersion(point: Estimates, fitted: Fitted, simulated: np.ndarray) -> Check:
    """Compare Pearson's chi^2 with its degrees of freedom, and with that of simulated responses.

    The degrees of freedom are the rows less the effective number of parameters, `effective_parameters`; without random
    effects n - p. Simulated responses are about the fitted means, to which nothing is fitted, so that theirs are n.
    """
    design = fitted.design
    size = 1.0 if design.trials is None else design.trials
    weight, family = 1.0 if design.weights is None else design.weights, design.family
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = weight / family.scattered(fitted.means, size, fitted.auxiliaries)
        left = simulated / size - family.expected(fitted.means, fitted.auxiliaries)
        drawn = np.nansum(weight * np.square(left), axis=1) / design.n
    df = design.n - effective_parameters(point, fitted)
    ratio = float(np.nansum(np.square(fitted.pearson)) / df) if df > 0 else math.nan
    p = float((1 + (drawn >= ratio).sum()) / (1 + len(drawn)))
    found = f"Pearson's chi^2 is {ratio:.2f} times its {df:,.1f} degrees of freedom, simulated {said_p(p)}"
    if p >= P_LIMIT or not ratio > LITTLE:
        return Check("dispersion", True, ratio, LITTLE, found)
    return Check("dispersion", True, ratio, LITTLE, f"{found}: {more_scatter(design)}", note=True)


def effective_parameters(point: Estimates, fitted: Fitted) -> float:
    """Return the number of coefficients and the effective number of random effects of a maximised model.

    The trace of the matrix that makes fitted linear predictors of working responses (Hodges & Sargent 2001, Biometrika
    88, 367-379): for each level q less the trace of Sigma^-1 C, with C the covariance of its effects. They are drawn to
    0 where that is q, and the data alone determine them where it is 0. C is the conditional covariance V, and what the
    coefficients add to it, K K' with K = V Z'WX H, H H' = cov(beta): exact for one factor. Effects of a parameter of
    the family are not tied to the coefficients of the mean, so that their columns of Z are 0 there.
    """
    own, X = point.scaled, point.design.X
    weighted = (X @ own.root) * fitted.information[:, None]
    total = float(np.isfinite(point.beta).sum())
    columns = [block.Z @ B for block, B in zip(fitted.design.blocks, own.bases, strict=True)]
    for block, Z, Sigma, V in zip(fitted.design.blocks, columns, own.covariances, own.conditional, strict=True):
        inverse = np.linalg.pinv(Sigma, hermitian=True)
        ZWX = np.zeros((len(V), len(Sigma), own.root.shape[1]))
        np.add.at(ZWX, block.index, Z[:, :, None] * weighted[:, None, :])
        K = V @ ZWX
        C = V + K @ K.transpose(0, 2, 1)
        rank = np.linalg.matrix_rank(Sigma, hermitian=True)
        total += max(0.0, len(V) * rank - float(np.einsum("ij,gji->", inverse, C)))
    return total


def zeros(fitted: Fitted, simulated: np.ndarray) -> Check:
    """Compare the number of zeros with that of simulated responses."""
    observed, drawn = int((fitted.design.y == 0).sum()), (simulated == 0).sum(axis=1)
    p = float((1 + (drawn >= observed).sum()) / (1 + len(drawn)))
    found = f"{observed:,} zeros, of which the model expects {drawn.mean():,.1f}, simulated {said_p(p)}"
    if p >= P_LIMIT:
        return Check("zeros", True, p, P_LIMIT, found)
    return Check("zeros", True, p, P_LIMIT, f"{found}: {more_zeros(fitted.design)}", note=True)
