"""The marginal graph: a PyMC model with the random effects and the normal coefficients integrated out.

Its free variables are the standard deviations, the correlation factors, sigma, and those coefficients whose prior is
not normal. The rest comes back afterwards, exactly: `marginal.recover`.
"""

from collections.abc import Mapping

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor import TensorVariable

from bayesmm.design.records import Block, Design
from bayesmm.design.term_basis import TermBasis
from bayesmm.likelihood.problem import Integrated, integrate, sampled_names
from bayesmm.priors import Prior
from bayesmm.sampling.graph.distributions import scalar
from bayesmm.sampling.graph.explicit import add_covariance
from bayesmm.sampling.graph.op import MarginalLikelihood, data_inputs


def build_marginal(design: Design, priors: Mapping[str, Prior], integrated: Integrated | None = None) -> pm.Model:
    """Return the model as a PyMC graph without the random effects.

    Parameters
    ----------
    design : Design
    priors : mapping of place to Prior
    integrated : Integrated, optional
        ``integrate(design, priors)``, where it is at hand.

    Returns
    -------
    pymc.Model
        Variables sd_<name>, corr_<name>, sigma as in the explicit graph (and those at the means); the marginal
        likelihood is a potential. Coefficients with a prior that is not normal are scalars, see `sampled_names`.
    """
    integrated = integrate(design, priors) if integrated is None else integrated
    with pm.Model(coords=dict(design.coords)) as graph:
        bases = integrated.bases.blocks
        factors = [add_factor(*own, priors) for own in zip(design.blocks, bases, strict=True)]
        sigma = scalar("sigma", "sigma", priors["sigma"])
        flat = ~np.isfinite(integrated.sd)
        lam = pt.switch(flat, 1.0, np.where(flat, 0.0, integrated.sd) / sigma)
        data = data_inputs(integrated.problem.cp, np.where(flat, 0.0, 1.0))
        T, mean = _packed(integrated, factors, sigma), _mean(integrated, priors)
        pm.Potential("marginal_likelihood", MarginalLikelihood()(T, sigma, lam, mean, *data)[0])
    return graph


def add_factor(block: Block, basis: TermBasis, priors: Mapping[str, Prior]) -> TensorVariable:
    """Add a block's sds and correlations; return L with L L' = Sigma, (q, q), of the effects of the prior's design."""
    sd, L = add_covariance(block, basis, priors)
    return pt.diag(sd) if L is None else sd[:, None] * L


def _packed(integrated: Integrated, factors: list[TensorVariable], sigma: TensorVariable) -> TensorVariable:
    """Return the relative factors of the scaled columns, packed in the order of the cross-products."""
    problem = integrated.problem
    parts = [(problem.scales[k][:, None] * factors[k] / sigma).ravel() for k in problem.cp.order]
    return pt.concatenate(parts) if parts else pt.zeros(0)


def _mean(integrated: Integrated, priors: Mapping[str, Prior]) -> TensorVariable:
    """Add the coefficients that are sampled; return all means, less what the response has taken out of it, (p,)."""
    values = [pt.constant(np.zeros(()))] * len(integrated.at)
    for j, name in sampled_names(integrated).items():
        values[j] = scalar(name, integrated.places[j], priors[integrated.places[j]]) - integrated.at[j]
    return pt.stack(values) if values else pt.zeros(0)
