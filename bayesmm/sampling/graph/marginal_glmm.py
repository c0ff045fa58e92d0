"""The marginal graph of a generalised model: a PyMC model with the random effects integrated out by quadrature.

Its free variables are the coefficients, the standard deviations, the correlation factors and the family's auxiliary
parameters. The random effects come back afterwards: `bayesmm.sampling.recovery_glmm`.
"""

from collections.abc import Mapping

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor import TensorVariable

from bayesmm.design.parameters import free_auxiliaries
from bayesmm.design.records import Design
from bayesmm.design.residual.of_family import of_rows, row_thresholds
from bayesmm.families.family import MOST_PARAMETERS
from bayesmm.likelihood.lattice import LATTICE
from bayesmm.likelihood.quadrature import prepare
from bayesmm.priors import Prior, prior_bases, prior_design
from bayesmm.sampling.graph.explicit import add_coefficients, add_own
from bayesmm.sampling.graph.marginal import add_factor
from bayesmm.sampling.graph.quadrature_op import QuadratureLikelihood, quadrature_inputs


def build_marginal_glmm(design: Design, priors: Mapping[str, Prior], nodes: int = LATTICE) -> pm.Model:
    """Return the model as a PyMC graph without the random effects.

    Parameters
    ----------
    design : Design
        With one grouping factor of at most three coefficients.
    priors : mapping of place to Prior
    nodes : int, optional
        Of a Gauss-Hermite rule, for each coefficient of the grouping factor; if not given, the rule of
        `bayesmm.likelihood.lattice`.

    Returns
    -------
    pymc.Model
        Variables beta, sd_<name>, corr_<name> and the auxiliaries as in the explicit graph; the marginal likelihood is
        a potential.

    Raises
    ------
    ValueError
        For another number of grouping factors or of coefficients.
    """
    own_design = prior_design(design, priors)
    data, family = prepare(own_design), design.family
    (block,), (basis,) = design.blocks, prior_bases(design, priors).blocks
    with pm.Model(coords=dict(design.coords)) as graph:
        gamma = add_coefficients(design, priors) if design.p else pt.zeros(0)
        L = add_factor(block, basis, priors)
        names = [own.name for own in free_auxiliaries(design)]
        aux = _of_rows(own_design, *add_own(design, priors, names, gamma)[0])
        inputs = quadrature_inputs(data, data.by or len(family.parameters), nodes)
        pm.Potential("marginal_likelihood", QuadratureLikelihood()(gamma, L, aux, *inputs)[0])
    return graph


def _of_rows(
    design: Design, auxiliaries: Mapping[str, TensorVariable], residual: Mapping[str, TensorVariable]
) -> TensorVariable:
    """Return the auxiliaries as three numbers, or so many for each row in the order of the levels, as one vector."""
    nothing = pt.constant(np.zeros(()))
    if not design.residual.by_row:
        return pt.stack([*auxiliaries.values(), *[nothing] * (MOST_PARAMETERS - len(auxiliaries))])
    order = np.argsort(design.blocks[0].index, kind="stable")
    rows = None if design.residual.rows is None else pt.constant(design.residual.rows[order])
    found = of_rows(pt, design.family, design.residual, rows, auxiliaries, residual)
    if design.family.ordered:
        return row_thresholds(pt, design.family, found, design.y[order]).ravel()
    columns = [pt.zeros(design.n) + own for own in (*found, *[nothing] * (MOST_PARAMETERS - len(found)))]
    return pt.stack(columns, axis=1).ravel()
