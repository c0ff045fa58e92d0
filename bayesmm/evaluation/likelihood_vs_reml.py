"""The consistency check of the compiled likelihood: under flat priors its mode must be REML.

The function that NUTS and the independent draws sample has other code around the factorisation than REML has: sigma is
a parameter and not profiled out, sds and correlations are on their natural scales about the means of the predictors,
and fixed columns are as the default priors have them, not orthonormal. With flat priors and no Jacobian it is the REML
likelihood as a function of (sds, correlations, sigma). It takes milliseconds, for any number of groups.
"""

from dataclasses import dataclass, replace

import numpy as np

from bayesmm.design.covariance.structures import structured_terms
from bayesmm.design.parameters import sd_places
from bayesmm.design.records import Design
from bayesmm.estimation.estimates import Estimates
from bayesmm.estimation.map import Goal, sd_units
from bayesmm.estimation.optimizer import Search, newton
from bayesmm.evaluation.compare_reml_text import consistency_lines
from bayesmm.likelihood.coordinates import FIXED, Coordinates, arctanh_partial, coordinate, first_terms
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.likelihood.marginal import gaussian_coordinates, gaussian_posterior
from bayesmm.likelihood.orthogonal import lower_factor, square_root
from bayesmm.likelihood.problem import Integrated, integrate
from bayesmm.likelihood.structured_blocks import is_structured
from bayesmm.priors import Prior, default_priors

# The gap that counts as none: a wrong term shows as 1e-1 or more, and the rounding of a criterion of 1e6 is 1e-8 or so.
GAP = 1e-3
DEPENDENT = "the fixed effects are linearly dependent, so that their integral under flat priors is infinite"
GRAPH, LIKELIHOOD = "graph", "likelihood"  # what a check is of


@dataclass(frozen=True, repr=False)
class ConsistencyCheck:
    """The REML criterion by another way beside that of the fit.

    Attributes
    ----------
    criterion : float
        -2 log of the density under flat priors, coefficients and random effects integrated out: of the graph at its own
        optimum; of the compiled likelihood at the fit's estimates, or where Newton's steps lead from there if that is
        farther from the fit's criterion. NaN if not computed.
    point_criterion : float
        The REML criterion of the fit.
    gap : float
        Their difference.
    ok : bool
        The gap is below GAP.
    message : str
    of : {"likelihood", "graph"}
        Whether the density is that of the compiled likelihood or of the explicit PyMC graph.
    """

    criterion: float
    point_criterion: float
    gap: float
    ok: bool
    message: str
    of: str

    def __str__(self) -> str:
        return "\n".join(consistency_lines(self))

    __repr__ = __str__


def checked(criterion: float, point: Estimates, evaluations: str, of: str) -> ConsistencyCheck:
    """Return the record of a criterion that was found."""
    gap = float(criterion - point.criterion)
    outcome = "the same optimum" if abs(gap) < GAP else "NOT the same optimum"
    return ConsistencyCheck(float(criterion), point.criterion, gap, abs(gap) < GAP, f"{outcome}, {evaluations}", of)


def not_computed(point: Estimates, reason: str, of: str) -> ConsistencyCheck:
    """Return the record of a check that was not made."""
    return ConsistencyCheck(np.nan, point.criterion, np.nan, True, f"not computed: {reason}", of)


def check_likelihood(design: Design, point: Estimates) -> ConsistencyCheck:
    """Find the REML criterion as the mode of the compiled marginal posterior under flat priors, and compare.

    Parameters
    ----------
    design : Design
    point : PointFit
        A REML fit of the same design.

    Returns
    -------
    ConsistencyCheck
        `criterion` is NaN, and the message says why, where only the PyMC graph has the model's density, or a column of
        X depends on others.
    """
    if design.aliased:
        return not_computed(point, DEPENDENT, LIKELIHOOD)
    structured = any(is_structured(part) for block in design.blocks for part in block.parts)
    if structured or structured_terms(design, compiled=True) or design.residual.estimated:
        reason = "only the PyMC graph has the density of its covariance structure; fit.consistency('graph') checks that"
        return not_computed(point, reason, LIKELIHOOD)
    integrated = integrate(design, default_priors(design, design.family))
    integrated = replace(integrated, sd=np.full(design.p, np.inf))
    c, places = gaussian_coordinates(integrated, flat_priors(design), jacobian=False)
    units, sds = np.ones(c.sizes[2]), np.concatenate([np.empty(0), *sd_units(integrated, point)])[first_terms(c)]
    units[c.at[: len(sds)]] = sds
    goal = Goal(gaussian_posterior(c, integrated), places, np.diag(units))
    search = Search(goal)
    y = goal.y(coordinates_of(point, integrated, c))
    criterion = max(search(y)[0], search(newton(search, y))[0], key=lambda found: abs(found - point.criterion))
    return checked(criterion, point, f"{search.evaluations} evaluations of the compiled density", LIKELIHOOD)


def flat_priors(design: Design) -> dict[str, Prior]:
    """Return priors without influence on the mode of (sds, correlations, sigma)."""
    known = design.residual.sigma == "known"
    priors = {"sigma": Prior("Fixed", value=1.0) if known else Prior("HalfFlat")}
    for block in design.blocks:
        priors |= dict.fromkeys((place for place, _ in sd_places(block)), Prior("HalfFlat"))
        priors[block.names.corr] = Prior("LKJ", eta=1.0)
    return priors


def coordinates_of(point: Estimates, integrated: Integrated, c: Coordinates) -> Floats:
    """Return the coordinates of a fit of the user's design, (d,); a correlation of 1 is cut just below it."""
    x, scalars, pair = np.zeros(c.sizes[2]), [], 0
    for Sigma, basis, pairs in zip(point.covariances, integrated.bases.blocks, c.n_pairs, strict=True):
        own, at = basis.R @ Sigma @ basis.R.T, slice(pair, pair + pairs)
        sds = np.sqrt(np.diag(own))
        unit = np.where(sds > 0, sds, 1.0)
        C = lower_factor(square_root(own / unit[:, None] / unit))
        x[c.pair_at[at]] = arctanh_partial(C[None], c.row[at], c.column[at])[0]
        scalars, pair = [*scalars, *sds], pair + pairs
    scalars = [scalars[j] for j in first_terms(c)]
    for i, value in enumerate([*scalars, point.sigma]):
        if c.kind[i] != FIXED:
            x[c.at[i]] = coordinate(c, i, float(value))
    return x
