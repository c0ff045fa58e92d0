"""The maximum of a model whose parameters have formulas, sought at the means of the formulas' columns.

There a parameter is nearly independent of the coefficients, and of the size of the data's, wherever a number has its
zero. What is reported is where all columns are 0, as by every fit.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from bayesmm.design.records import Design
from bayesmm.design.term_basis import TermBases
from bayesmm.estimation.estimates import Estimates
from bayesmm.estimation.hessians import Joint
from bayesmm.priors import formula_bases, formula_places, own_at_zero, prior_residual


def centred(design: Design) -> Design:
    """Return the design with the columns of parameters' formulas less their margins."""
    return replace(design, residual=prior_residual(design, formula_bases(design)))


def sought_at_means(maximum: Callable[[Design], Estimates], design: Design) -> Estimates:
    """Return the maximum of a design, found in that of `centred`; a search's start is taken for one there."""
    bases = formula_bases(design)
    return maximum(design) if bases.trivial else at_zero(maximum(centred(design)), design, bases)


def at_zero(point: Estimates, design: Design, bases: TermBases) -> Estimates:
    """Return a fit of a design whose formulas have the columns of `bases` as one of the design."""
    found, residual = own_at_zero(design, bases, point.auxiliaries, point.residual)
    own = {name: float(value) for name, value in found.items()}
    levels = {name: value for name, value in own.items() if name not in point.auxiliaries}
    auxiliaries = {name: own[name] for name in point.auxiliaries}
    joint = None if point.joint is None else joint_at_zero(point.joint, design, bases)
    parts = dict(auxiliaries=auxiliaries, residual=residual, levels=levels, joint=joint)
    return replace(point, design=design, sigma=auxiliaries.get("sigma", point.sigma), **parts)


def joint_at_zero(joint: Joint, design: Design, bases: TermBases) -> Joint:
    """Return the covariance of all parameters with those of formulas where all columns are 0, on their links."""
    root, unknown = joint.root.copy(), joint.unknown.copy()
    for part in design.residual.formulas:
        A = bases.parameters[part.formula].inverse
        places = np.array([joint.labels.index(label) for label in formula_places(part)])
        root[joint.p + places] = A @ joint.root[joint.p + places]
        unknown[places] = ((A != 0) & joint.unknown[places]).any(axis=1)
    return replace(joint, root=root, unknown=unknown)
