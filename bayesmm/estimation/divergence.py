"""What has no finite maximum in a generalised model, in words."""

from typing import Any

import numpy as np

from bayesmm.errors import listing
from bayesmm.estimation.separation import pure_factors, separated
from bayesmm.likelihood.crossproducts import Floats

# Beyond this an auxiliary parameter has left for 0 or infinity (its logarithm; e^16 is nine million).
LOG_LIMIT = 16.0
# The fixed part of a separated model is further out than this when the search stops (a mean within e^-8 of its end).
FAR = 8.0


def divergence(problem: Any, x: Floats) -> str:
    """Return in words what of a `GlmmProblem` at x has no finite maximum: a coefficient, an sd, an auxiliary; or ""."""
    design, (beta, _, logs) = problem.design, (x[part] for part in problem.parts)
    at = problem.auxiliaries(logs) if design.family.nominal else problem.fixed @ beta + problem.offset
    far = np.abs(at).max() > FAR
    names = separated(design) if far else []
    if names:
        plural = "s" if len(names) > 1 else ""
        return (
            f"the coefficient{plural} of {listing(names)} grow{'' if plural else 's'} without bound, because the "
            "columns separate the responses (complete or quasi-complete separation); no finite maximum exists"
        )
    pure = pure_factors(design)
    if pure:
        return (
            f"the sd of Intercept in {pure[0]} grows without bound, because each level of {pure[0]} has only one kind "
            "of response; no finite maximum exists"
        )
    for parameter, at in zip(problem.own.scalars, logs, strict=False):
        if abs(at) > LOG_LIMIT:
            end = parameter.bounds[int(at > 0)]
            limit = parameter.limit if end == parameter.limit_at else ""
            instead = f"where the family is the {limit}: fit that" if limit else "the likelihood has no maximum inside"
            return f"{parameter.name} goes to {end:g}, {instead}".replace("inf,", "infinity,")
    return ""
