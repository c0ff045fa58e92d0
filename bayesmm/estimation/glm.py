"""Where the maximisation of a generalised model starts: the model without random effects, nearly unpenalised."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bayesmm.design.records import Design
from bayesmm.design.residual.of_family import fitted_thresholds, specific_sign
from bayesmm.errors import DataError
from bayesmm.families.family import Family
from bayesmm.families.links import LINKS
from bayesmm.likelihood.crossproducts import Factor, Floats
from bayesmm.likelihood.laplace import Response, conditional_modes
from bayesmm.likelihood.laplace_cholesky import analyse
from bayesmm.likelihood.orthogonal import orthonormal
from bayesmm.likelihood.own_parameters import OwnParameters

# A prior sd of the coefficients, in units of the linear predictor's own size, so that separated data have a start too;
# wide enough that no other start feels it.
RIDGE = 30.0
# Counts and proportions are moved off their ends by this before the link is applied (R's binomial()$initialize and
# poisson()$initialize use 1/2 and 0.1).
NUDGE = 0.5
NUDGED_ANGLE = 0.9


Own = Callable[[Sequence[float]], tuple[Floats, Floats]]  # see `own_start`


@dataclass(frozen=True)
class FirstFit:
    """A model without random effects.

    Attributes
    ----------
    beta : (r,) float64
    basis : (r, r) float64
        Columns in units of one standard error, uncorrelated: basis basis' is the covariance of beta.
    fixed : (n, r) float64
        X basis.
    eta : (n,) float64
        Linear predictor.
    aux : (a,) float64
        Moment estimates of the model's own parameters.
    unit : float
        What one unit of a random effect's sd is on the scale of the link.
    """

    beta: Floats
    basis: Floats
    fixed: Floats
    eta: Floats
    aux: Floats
    unit: float


def first_fit(family: Family, response: Response, X: Floats, offset: Floats, own: Own) -> FirstFit:
    """Fit the model without random effects, its coefficients with a normal prior far too wide to matter.

    `own` gives the own parameters of the model and those of its rows, from moment estimates of the family's.

    Raises
    ------
    DataError
        If no linear predictor is found at which the likelihood is finite.
    """
    link, n = LINKS[family.link], len(offset)
    Q, R = orthonormal(X, np.full(n, 1 / n))
    target = (np.zeros(n) if family.ordered else link.function(_nudged(family, response))) - offset
    size = max(np.sqrt(np.mean(target**2)), 1.0 if family.link not in ("identity", "inverse") else 0.0)
    aux, rows = own(() if family.ordered else family.first(response.y, link.inverse(offset + Q @ (Q.T @ target) / n)))
    layout, _ = analyse([Factor(np.zeros(n, np.int64), np.ascontiguousarray(Q), 1)]) if X.shape[1] else (None, ())
    delta, covariance = np.zeros(X.shape[1]), np.eye(X.shape[1])
    if layout is not None:
        for start in (Q.T @ target / n, Q.T @ (np.full(n, _level(family, response)) - offset) / n):
            found = _ridge(layout, response, offset, RIDGE * size, rows, start)
            if found is not None:
                delta, covariance = found
                break
        else:
            raise DataError(f"no coefficients were found at which the {family.name} likelihood is finite")
    eta = offset + Q @ delta
    first = () if family.ordered else family.first(response.y, link.inverse(eta))
    aux, _ = own(first)
    to_beta = np.linalg.inv(R)
    half = np.linalg.cholesky(covariance)
    spread = first[0] if len(first) else size
    unit = {"identity": spread, "inverse": float(np.sqrt(np.mean(eta**2)))}.get(family.link, 1.0)
    return FirstFit(to_beta @ delta, to_beta @ half, np.ascontiguousarray(Q @ half), eta, aux, float(unit))


def _ridge(layout, response: Response, offset: Floats, sd: float, aux: Floats, start: Floats):
    """Return the penalised coefficients and their covariance, or None where the likelihood is 0."""
    T = sd * np.eye(len(start)).ravel()
    at = conditional_modes(layout, response, offset, T, aux, start / sd)
    covariance = at.covariances[0][0]
    if not (np.isfinite(covariance).all() and np.isfinite(at.modes[0]).all()):
        return None
    return at.modes[0][0], covariance


def _nudged(family: Family, response: Response) -> Floats:
    """Return the response as a mean that its link is defined at."""
    if family.support.successes:
        return (response.y + NUDGE) / (response.size + 2 * NUDGE)
    if family.support.counts:
        return response.y + NUDGE
    if family.support.atoms and family.support.proportion:  # off 0 and 1, as in beta regression
        return (response.y * (len(response.y) - 1) + NUDGE) / len(response.y)
    if family.support.angle:  # off pi and -pi
        return NUDGED_ANGLE * response.y
    if family.link == "log":  # gaussian, gamma: a log of what is above 0
        return np.maximum(response.y, NUDGE * (np.mean(np.abs(response.y)) or 1.0) / len(response.y))
    return response.y


def _level(family: Family, response: Response) -> float:
    """Return the linear predictor of the mean response."""
    return 0.0 if family.ordered else float(LINKS[family.link].function(np.mean(_nudged(family, response))))


def own_start(design: Design, own: OwnParameters) -> Own:
    """Return the function: moment estimates of the family's parameters -> the model's own, (a,), and the rows'.

    Thresholds start by the shares of the categories, coefficients of formulas at 0.
    """
    names = design.family.auxiliaries

    def start(first: Sequence[float]) -> tuple[Floats, Floats]:
        values = [first[names.index(parameter.name)] for parameter in own.scalars]
        for parameter in design.residual.parameters:
            values += list(share_thresholds(design)) if parameter.at_means else [parameter.start] * parameter.size
        found = np.array(values, dtype=np.float64)
        return found, own.rows(found)

    return start


def share_thresholds(design: Design) -> Floats:
    """Return the thresholds that give each category its share of the rows where nothing else has a part, (t,)."""
    size = len(design.categories)
    weights = np.ones(design.n) if design.weights is None else design.weights
    counts = np.bincount(design.y.astype(np.int64) - 1, weights, size) + NUDGE
    sign = specific_sign(design.family)  # as of effects: an offset is taken from thresholds
    whole = design.family.first_thresholds(design.family.link, counts / counts.sum()) - sign * design.offset.mean()
    return fitted_thresholds(design.residual.parts[0], whole)


def own_values(design: Design, values: Floats) -> dict[str, Floats]:
    """Return the parameters of formulas and the thresholds by name, from one vector of all."""
    parameters = design.residual.parameters
    ends = np.cumsum([own.size for own in parameters])
    return (
        {own.name: part for own, part in zip(parameters, np.split(values, ends[:-1]), strict=True)} if len(ends) else {}
    )
