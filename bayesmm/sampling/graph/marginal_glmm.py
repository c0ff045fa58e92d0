"""The marginal graph of a generalised model: a PyMC model with the random effects integrated out by quadrature.

Its free variables are the coefficients, the standard deviations, the correlation factors and the family's auxiliary
parameters. The random effects come back afterwards: `bayesmm.sampling.recovery_glmm`.
"""

from collections.abc import Mapping

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor import TensorVariable

from bayesmm.design.records import Design
from bayesmm.likelihood.lattice import LATTICE
from bayesmm.likelihood.quadrature import prepare
from bayesmm.priors import Prior, prior_bases, prior_design
from bayesmm.sampling.graph.distributions import scalar
from bayesmm.sampling.graph.explicit import add_coefficients
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
    data, auxiliaries = prepare(prior_design(design, priors)), design.family.auxiliaries
    (block,), (basis,) = design.blocks, prior_bases(design, priors).blocks
    with pm.Model(coords=dict(design.coords)) as graph:
        gamma = add_coefficients(design, priors) if design.p else pt.zeros(0)
        L = add_factor(block, basis, priors)
        aux = _padded([scalar(name, name, priors[name]) for name in auxiliaries])
        inputs = quadrature_inputs(data, len(auxiliaries), nodes)
        pm.Potential("marginal_likelihood", QuadratureLikelihood()(gamma, L, aux, *inputs)[0])
    return graph


def _padded(values: list[TensorVariable]) -> TensorVariable:
    """Return the auxiliaries as two numbers."""
    return pt.stack([*values, *[pt.constant(np.zeros(()))] * (2 - len(values))])
