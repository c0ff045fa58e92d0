"""A fit at one point, as the checks of its rows and groups see it: a maximised model, or a posterior at its means."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bayesmm.design.parameters import coefficients
from bayesmm.design.predictors import linear_predictor, mean_part
from bayesmm.design.records import Block, Design
from bayesmm.design.residual.structure import residual_weights
from bayesmm.design.term_basis import TermBasis
from bayesmm.errors import DataError
from bayesmm.estimation.estimates import Estimates, pearson_residuals
from bayesmm.families.family import MOST_PARAMETERS
from bayesmm.likelihood.orthogonal import square_root
from bayesmm.posterior.draws import draws_of, in_basis, mean_auxiliaries, mean_effects, mean_own, tree_sizes, variable
from bayesmm.posterior.means import slope_of

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Fitted:
    """A model at given values of its parameters.

    Attributes
    ----------
    design : Design
    eta : (n,) float64
        The linear predictor, with the random effects.
    auxiliaries : tuple of float or (n,) float64
    covariances : tuple of (q, q) float64
        Of the random effects of each block.
    roots : tuple of (q, q) float64
        H with H H' the covariance of the effects of each block, made where its columns have their means, so that Z H
        keeps its digits wherever a predictor has its zero.
    beta_cov : (p, p) float64
        Of the coefficients.
    residual : mapping of str to (k,) float64
        The parameters of the residual structure besides sigma.
    """

    design: Design
    eta: Array
    auxiliaries: tuple[float | Array, ...]
    covariances: tuple[Array, ...]
    roots: tuple[Array, ...]
    beta_cov: Array
    residual: Mapping[str, Array]

    @property
    def trouble(self) -> str:
        """Why rows cannot be judged: an sd beyond the numbers, a mean or a covariance that is none; else ""."""
        try:
            residual_weights(self.design, self.residual)
        except DataError as error:
            return str(error)
        numbers = all(np.isfinite(values).all() for values in (self.eta, *self.covariances))
        return "" if numbers else "judged where every linear predictor and every covariance is a number"

    @cached_property
    def means(self) -> Array:
        """The inverse of the link at the linear predictor, (n,): the fitted means of most families."""
        return self.design.family.inverse(self.eta)

    @cached_property
    def pearson(self) -> Array:
        """Residuals over the standard deviations that the model gives them, (n,)."""
        return pearson_residuals(self.design, self.eta, self.auxiliaries, self.residual)

    @cached_property
    def slopes(self) -> Array:
        """The first two derivatives of each row's log density in its linear predictor, (n, 2)."""
        from bayesmm.likelihood.response_kernels import derivatives
        from bayesmm.likelihood.row_functions import codes

        design, aux = self.design, np.zeros((self.design.n, MOST_PARAMETERS))
        for m, own in enumerate(self.auxiliaries[: len(design.family.auxiliaries)]):
            aux[:, m] = own  # a number, or one for each row
        size = np.ones(design.n) if design.size is None else design.size
        rows = zip(design.y, size, self.eta, aux, strict=True)
        weights = 1.0 if design.weights is None else design.weights[:, None]
        numbers = codes(design.family)
        return weights * np.array([derivatives(*numbers, *row)[1:3] for row in rows])

    @cached_property
    def information(self) -> Array:
        """The information of each row about its linear predictor by its mean and variance, (n,): slope^2 / variance.

        Of a censored or truncated response the observed information.
        """
        if self.design.family.observed:
            return np.maximum(-self.slopes[:, 1], 0.0)
        design, trials = self.design, 1.0 if self.design.trials is None else self.design.trials
        own = residual_weights(design, self.residual)
        slope = slope_of(design.family, self.eta, self.auxiliaries)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = slope**2 / design.family.scattered(self.means, trials, self.auxiliaries)
            found = found if own is None else own * found
        return np.where(np.isfinite(found), found, 0.0)

    @cached_property
    def score(self) -> Array:
        """The derivative of each row's log density in its linear predictor, (n,), by its mean and variance.

        Exact where that is all there is to a family (gaussian, counts, gamma with their links), and for censored and
        truncated responses; else quasi-likelihood.
        """
        if self.design.family.observed:
            return self.slopes[:, 0]
        sign = np.sign(slope_of(self.design.family, self.eta, self.auxiliaries))
        return np.nan_to_num(self.pearson) * np.sqrt(self.information) * sign


def of_point(point: Estimates) -> Fitted:
    """Return a maximised model as it is."""
    own = point.scaled
    roots = tuple(B @ square_root(Sigma) for B, Sigma in zip(own.bases, own.covariances, strict=True))
    known = (point.covariances, roots, point.beta_cov, point.residual)
    return Fitted(mean_part(point.design), point.linear, point.own, *known)


def of_fit(fit) -> Fitted:
    """Return a model at the means of its posterior; a ValueError if the random effects were not kept."""
    design, tree = fit.design, fit.tree
    beta = draws_of(fit, coefficients(design)).reshape(design.p, np.prod(tree_sizes(tree)))
    eta = linear_predictor(design, beta.mean(axis=1), mean_effects(fit))
    own = mean_auxiliaries(fit)
    bases = design.spec.bases.blocks
    means = [_mean_covariance(fit, block, basis) for block, basis in zip(design.blocks, bases, strict=True)]
    roots = tuple(basis.inverse @ square_root(Sigma) for basis, Sigma in zip(bases, means, strict=True))
    covariances = tuple(root @ root.T for root in roots)
    cov = np.cov(beta).reshape(design.p, design.p) if design.p and beta.shape[1] > 1 else np.zeros((design.p,) * 2)
    return Fitted(mean_part(design), eta, own, covariances, roots, cov, mean_own(fit)[1])


def _mean_covariance(fit, block: Block, basis: TermBasis) -> Array:
    """Return the posterior mean of the covariance matrix of a block's effects at the means of its columns, (q, q)."""
    if block.correlated:
        sds, R = in_basis(fit, block, basis)
        return (sds[..., :, None] * R * sds[..., None, :]).mean(axis=(0, 1))
    return np.diag(np.square(variable(fit.tree, block.names.sd)).mean(axis=(0, 1)))
