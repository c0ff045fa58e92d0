"""The log prior density and the log likelihood of each draw of a posterior, the random effects integrated out.

Together they are the log posterior of the parameters that have a prior of their own. The distribution of the random
effects is a part of the likelihood, whose parameters are the coefficients, the covariance matrices and the family's
own: p(y | beta, Sigma, sigma).
"""

from collections.abc import Callable, Mapping

import numpy as np

from bayesmm.design.covariance.structure import searched
from bayesmm.design.parameters import part_parameters, residual_labels, variable_of
from bayesmm.design.predictors import random_parameters
from bayesmm.design.records import Design
from bayesmm.design.relations import expanded, is_sparse, relations_of
from bayesmm.design.residual.independent import whitened
from bayesmm.design.residual.structure import Values as Residual
from bayesmm.errors import PriorError
from bayesmm.likelihood.gaussian import evaluate, log_likelihood, pack
from bayesmm.likelihood.gaussian_factorisation import FixedPrior
from bayesmm.likelihood.problem import Problem, factors_of, reduced, scaled_columns
from bayesmm.likelihood.quadrature import fits
from bayesmm.likelihood.row_functions import codes
from bayesmm.posterior.auxiliaries import auxiliary_draws
from bayesmm.posterior.draws import (
    factor_draws,
    own_draws,
    prior_draws,
    prior_own_draws,
    residual_draws,
    tree_sizes,
    variable,
)
from bayesmm.posterior.log_likelihood import by_level, conditional, split_of
from bayesmm.priors import coefficient_places

Array = np.ndarray


# ----------------------------------------------------------------------------------------------------------------------
# prior


def log_prior(fit) -> Array:
    """Return the log prior density of each draw, up to a constant, (draws,).

    Raises
    ------
    PriorError
        If a prior is a function, whose density only PyMC knows.
    """
    design, priors, draws = fit.design, fit.model.priors, int(np.prod(tree_sizes(fit.tree)))
    custom = [place for place, prior in priors.items() if prior.distribution == "Custom"]
    if custom:
        raise PriorError(
            f"the log density of the priors is needed in closed form, and the prior of {custom[0]} is a function; "
            "write it as a Prior"
        )
    total, own = np.zeros(draws), prior_draws(fit)
    for place, values in _by_place(fit, own, draws):
        if priors[place].distribution != "Fixed":
            total += priors[place].logpdf(values)
    for block in design.blocks:
        if block.names.corr in priors:  # one prior of all correlations within a part
            eta = priors[block.names.corr].parameters["eta"]
            R = own[block.names.corr].reshape(draws, len(block.columns), -1)
            for part in (list(part.columns) for part in block.parts if part.covariance.free):
                total += (eta - 1) * np.linalg.slogdet(R[:, part][:, :, part])[1]
    return total


def _by_place(fit, own: Mapping[str, Array], draws: int) -> list[tuple[str, Array]]:
    """Return the draws of what each prior of a single number is on, (draws,), by its place."""
    design, priors, found = fit.design, fit.model.priors, []
    if design.p:
        found += zip(coefficient_places(priors, design), own["beta"].reshape(draws, -1).T, strict=True)
    for k, block in enumerate(design.blocks):
        for part in block.parts:
            parameters = part_parameters(k, block, part)
            values = [own[variable_of(design, p)][(..., *p.terms)].reshape(draws) for p in parameters]
            values = searched(part.covariance, values, len(part.columns))  # what the priors are of
            labels = (parameter.label for parameter in parameters)
            found += [(label, value) for label, value in zip(labels, values, strict=True) if label in priors]
    auxiliaries, residual = prior_own_draws(fit)
    for parameter in design.residual.parameters:
        found += zip(residual_labels(parameter), residual[parameter.name].T, strict=True)
    return [*found, *((name, values) for name, values in auxiliaries.items() if name in priors)]


# ----------------------------------------------------------------------------------------------------------------------
# likelihood


def integrated_log_likelihood(fit) -> tuple[Array, str]:
    """Return log p(y | beta, Sigma, auxiliaries) of each draw, (draws,), and in words how its integral was taken.

    It is exact for a Gaussian model; otherwise by adaptive quadrature for one grouping factor with few coefficients,
    else by Laplace's approximation.
    """
    design = fit.design
    if not design.blocks:
        return conditional(fit).sum(axis=1), "no random effects to integrate out"
    if design.family.gaussian:
        return _each(fit, _gaussian(fit)), "random effects integrated out exactly"
    if fits(design):
        levels = by_level(fit, split_of(design, 0))
        return levels.sum(axis=1), "random effects integrated out by quadrature"
    return _each(fit, _laplace(fit)), "random effects integrated out by Laplace's approximation"


def rest_size(design: Design) -> int:
    """Return the number of random effects but those of the factor with most: what dense matrices have as their size."""
    sizes = [len(block.levels) * len(block.columns) for block in design.blocks]
    return sum(sizes) - max(sizes, default=0)


def _each(fit, value: Callable[[Array, list[Array], Array, Residual], float]) -> Array:
    """Return the value of each draw of (beta, factors L, auxiliaries, those of the residual), (draws,)."""
    design = fit.design
    aux = auxiliary_draws(fit) if design.family.gaussian else own_draws(fit)[1]
    beta = variable(fit.tree, "beta").reshape(len(aux), -1) if design.p else np.zeros((len(aux), 0))
    factors, residual = [factor_draws(fit, block) for block in design.blocks], residual_draws(fit)
    known = (None,) * len(factors) if is_sparse(design) else relations_of(design)

    def at(s: int) -> float:
        own = {name: values[s] for name, values in residual.items()}
        L = [L[s] if one is None else L[s, 0, 0] * one.root for L, one in zip(factors, known, strict=True)]
        return value(beta[s], L, aux[s], own)

    return np.array([at(s) for s in range(len(aux))])


def _gaussian(fit) -> Callable[[Array, list[Array], Array, Residual], float]:
    """Return the exact log likelihood as a function of one draw; the response has a fit near the draws taken out.

    Where the residual has parameters the rows are reduced anew for each draw.
    """
    design = fit.design if is_sparse(fit.design) else expanded(fit.design)
    centre = variable(fit.tree, "beta").mean(axis=(0, 1)) if design.p else np.zeros(0)
    r = design.y - design.offset - design.X @ centre
    X, nothing, ones = np.ascontiguousarray(design.X), np.zeros(design.p), np.ones(design.p)

    def problem_at(own: Residual) -> Problem:
        return reduced(whitened(design, own), X, r, np.eye(design.p), centre, 0.0)

    known = None if design.residual.estimated else problem_at({})

    def value(beta: Array, factors: list[Array], aux: Array, own: Residual) -> float:
        problem = problem_at(own) if known is None else known
        T = pack(tuple(problem.scales[k][:, None] * factors[k] / aux[0] for k in problem.cp.order))
        found = evaluate(problem.cp, T, aux[0], FixedPrior(beta - centre, nothing, ones))
        return log_likelihood(problem.cp, found, 0)

    return value


def _laplace(fit) -> Callable[[Array, list[Array], Array, Residual], float]:
    """Return Laplace's approximation as a function of one draw; each search for the modes starts at 0."""
    from bayesmm.likelihood.laplace import Response, laplace
    from bayesmm.likelihood.laplace_cholesky import analyse  # here: few models need them
    from bayesmm.likelihood.several_laplace import joint_laplace, several_of

    design, ones = expanded(fit.design), np.ones(fit.design.n)
    columns = scaled_columns(design)
    scales, several = [1 / np.diag(own.basis) for own in columns], None
    if random_parameters(design):
        several, order = several_of(design, columns)
    else:
        layout, order = analyse(factors_of(design, columns))
    response = Response(
        *codes(design.family),
        design.y,
        ones if design.size is None else design.size,
        ones if design.weights is None else design.weights,
    )
    start = np.zeros(sum(len(block.levels) * len(block.columns) for block in design.blocks))
    parameters = own_draws(fit)[0]

    def value(beta: Array, factors: list[Array], aux: Array, own: Residual) -> float:
        T = pack(tuple(scales[k][:, None] * factors[k] for k in order))
        given = response, design.X @ beta + design.offset, T, parameters.rows(aux), start
        return (laplace(layout, *given) if several is None else joint_laplace(several, *given)).value

    return value
