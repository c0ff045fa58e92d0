"""The consistency check: REML from the explicit graph's own density.

Integrate the random effects and the coefficients out of the graph's density under flat priors, maximise what is left,
and the result must be the REML optimum. Nothing of ``likelihood/`` is used on this way, so that agreement ties the two
halves of the package together: the graph that is sampled, and the likelihood that is maximised.

The joint density is Gaussian in w = (coefficients, effects). Its gradient is linear in w, so that the graph's
gradient at 0 and at a few probes gives the Hessian exactly, and log of the integral is log p(0) + g'H^-1 g / 2 + (d /
2) log 2 pi - log|H| / 2. Effects of different levels of one factor never meet in a row, so that one probe serves all
levels of the leading factor.
"""

import numpy as np
from scipy.optimize import minimize

from bayesmm.design.records import Design
from bayesmm.design.residual.structure import lies_within
from bayesmm.estimation.estimates import Estimates
from bayesmm.evaluation.likelihood_vs_reml import DEPENDENT, GRAPH, ConsistencyCheck, checked, not_computed
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.runtime.threads import few_threads

# Beyond this many probes, or random effects in all, the check would take longer than a person waits (10 s).
MOST_PROBES, MOST_EFFECTS = 60, 400
# Central differences of a criterion of 1e3 to 1e4: rounding leaves 1e-8 / STEP, curvature STEP^2 in the gradient per
# unit of a log sd. The search stops at GRADIENT, where the criterion is about GRADIENT^2 from its minimum.
STEP, GRADIENT = 1e-4, 1e-3
# What a search is told where the density is not finite.
BAD = 1e300


@few_threads
def check_consistency(design: Design, point: Estimates) -> ConsistencyCheck:
    """Find the REML criterion from the explicit graph's density, and compare.

    Parameters
    ----------
    design : Design
    point : PointFit
        A REML fit of the same design.

    Returns
    -------
    ConsistencyCheck
        `criterion` is NaN, and the message says why, where the model has too many random effects for dense algebra,
        or a column of X that depends on others.

    Notes
    -----
    The graph is the one that is sampled, non-centred and with the default priors, whose terms are then left out: flat
    priors.
    """
    from bayesmm.sampling.graph.joint import JointDensity

    reason = _too_large(design)
    if reason:
        return not_computed(point, reason, GRAPH)
    joint = JointDensity(design)
    probes = _probes(design, joint)

    def criterion(theta: Floats) -> float:
        value = _integrated(joint, probes, theta)
        return -2 * value if np.isfinite(value) else BAD

    def gradient(theta: Floats) -> Floats:
        steps = STEP * np.eye(len(theta))
        return np.array([(criterion(theta + h) - criterion(theta - h)) / (2 * STEP) for h in steps])

    found = minimize(criterion, joint.start(), jac=gradient, method="BFGS", options={"gtol": GRADIENT})
    return checked(found.fun, point, f"{joint.evaluations} evaluations of the graph's gradient", GRAPH)


def _too_large(design: Design) -> str:
    if design.aliased:
        return DEPENDENT
    sizes = sorted(len(block.levels) * len(block.columns) for block in design.blocks)
    if sum(sizes) > MOST_EFFECTS or sum(sizes[:-1]) + design.p > MOST_PROBES:
        return f"{sum(sizes):,} random effects are too many for the dense algebra of this check"
    return ""


def _probes(design: Design, joint) -> list[tuple[Floats, Floats]]:
    """Return probes, each a w and the (size,) column of the Hessian that every row of it shows, -1 for none.

    One probe for each coefficient of the leading factor, all levels at once, and one for everything else. A row of
    the Hessian that belongs to the leading factor sees only its own level in a joint probe.
    """
    alone = [b for b in design.blocks if b.relation is None and lies_within(design.residual, b.index)]  # never meet
    leading = max(alone, key=lambda b: len(b.levels) * len(b.columns)).name if alone else None
    singles = np.ones(joint.size, dtype=bool)
    probes = []
    if leading is not None:
        place, q = joint.effects[leading], len(next(b for b in design.blocks if b.name == leading).columns)
        singles[place] = False
        for a in range(q):
            w = np.zeros(joint.size)
            w[place][a::q] = 1.0
            owner = np.full(joint.size, -1)
            owner[place] = place.start + np.arange(place.stop - place.start) // q * q + a
            probes.append((w, owner))
    for i in np.flatnonzero(singles):
        w = np.zeros(joint.size)
        w[i] = 1.0
        probes.append((w, np.full(joint.size, i)))
    return probes


def _integrated(joint, probes: list[tuple[Floats, Floats]], theta: Floats) -> float:
    """Return log of the integral of the joint density over w, exact because it is Gaussian in w."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        value, gradient = joint(np.zeros(joint.size), theta)
        precision = np.zeros((joint.size, joint.size))
        for w, owner in probes:
            column = gradient - joint(w, theta)[1]
            seen = owner >= 0
            precision[np.flatnonzero(seen), owner[seen]] = column[seen]
            if seen.all():  # a single one: by symmetry the row too
                precision[owner[0]] = column
        if not np.isfinite(precision).all():
            return -np.inf
    sign, logdet = np.linalg.slogdet(precision)
    if sign <= 0:
        return -np.inf
    quadratic = gradient @ np.linalg.solve(precision, gradient)
    return value + quadratic / 2 + joint.size / 2 * np.log(2 * np.pi) - logdet / 2
