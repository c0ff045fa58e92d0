"""Linear models whose prior weights are of any unit, such as one over squared standard errors, with weights about 1.

Weights c times as large are the same model with sigma sqrt(c) times as large. A search measures the sds of random
effects by sigma, and so do differences for degrees of freedom: they are made where weights are about 1, and what is
found is said for the weights as they are.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from bayesmm.design.records import Design
from bayesmm.design.relations import expanded, is_related, is_sparse
from bayesmm.design.residual.structure import typical_weight
from bayesmm.design.summed import is_summed
from bayesmm.estimation.estimates import Estimates
from bayesmm.estimation.residual_search import ResidualSearch, theta_scales
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.likelihood.problem import orthogonal_problem
from bayesmm.runtime.arguments import is_real

FAR = 100.0  # weights that are on average this many times 1, or less than one over it, are of another unit; ours


def weight_size(design: Design) -> float:
    """Return the weight of a typical row of a linear model, where it is far from 1; else 1.

    It is 1 too where sigma is no scale, and of other families, whose weights count rows.
    """
    if not design.family.gaussian or design.weights is None or is_summed(design) or design.residual.sigma != "scale":
        return 1.0
    size = typical_weight(design.weights)
    return 1.0 if 1 / FAR <= size <= FAR else size


def with_weights_about_1(design: Design) -> Design:
    """Return the design with its weights over their geometric mean."""
    return replace(design, weights=design.weights / weight_size(design))


def start_about_1(design: Design, start: Mapping[str, float] | None) -> Mapping[str, float] | None:
    """Return where a search of that design starts: sigma is another there."""
    if not (isinstance(start, Mapping) and is_real(start.get("sigma"))):
        return start
    return {**start, "sigma": start["sigma"] / np.sqrt(weight_size(design))}


def at_weights(point: Estimates, design: Design) -> Estimates:
    """Return the fit of a design from that of `with_weights_about_1`."""
    return _moved(point, design, np.sqrt(weight_size(design)))


def about_1(point: Estimates) -> Estimates:
    """Return a fit as that of its design with weights about 1, whose coefficients and effects are the same."""
    size = weight_size(point.design)
    return point if size == 1.0 else _moved(point, with_weights_about_1(point.design), 1 / np.sqrt(size))


def _moved(point: Estimates, design: Design, by: float) -> Estimates:
    """Return the fit with sigma `by` times as large, and the sds of effects relative to it by that smaller."""
    sigma, parameters = point.sigma * by, point.optimum.parameters.copy()
    scales = _theta_scales(design, 1 / by)
    parameters[: len(scales)] *= scales
    own = {**point.auxiliaries, "sigma": sigma} if "sigma" in point.auxiliaries else point.auxiliaries
    optimum = replace(point.optimum, parameters=parameters)
    return replace(point, design=design, sigma=sigma, auxiliaries=own, optimum=optimum)


def _theta_scales(design: Design, scale: float) -> Floats:
    """Return what theta is to be multiplied by, (t,): `scale`, and 1 for parameters that are no sds."""
    design = expanded(design) if is_related(design) and not is_sparse(design) else design
    problem = ResidualSearch(design).first if design.residual.estimated else orthogonal_problem(design)
    packed = np.concatenate([np.empty(0), *(np.full(q * q, scale) for q in problem.cp.q)])
    return theta_scales(problem, packed, scale)
