"""Families of a user's own, as a user writes them: each in one record, with its log density in PyTensor."""

import numpy as np
import pytensor.tensor as pt

import bayesmm as bmm

WAITING = bmm.Family(
    name="waiting",
    links=("log", "inverse"),
    support="positive",
    log_density=lambda y, mu, trials, aux: -pt.log(mu) - y / mu,
    variance=lambda mu, aux: mu**2,
    draw=lambda rng, mu, trials, aux: rng.exponential(mu),
)


def _gamma_density(y, mu, trials, aux):
    shape = aux[0]
    return shape * pt.log(shape * y / mu) - shape * y / mu - pt.log(y) - pt.gammaln(shape)


OWN_GAMMA = bmm.Family(
    name="own_gamma",
    links=("log", "inverse"),
    support="positive",
    parameters=(bmm.Auxiliary("shape", r"\kappa", "InverseGamma", {"alpha": 1, "beta": 1}),),
    log_density=_gamma_density,
    variance=lambda mu, aux: mu**2 / aux[0],
    draw=lambda rng, mu, trials, aux: rng.gamma(aux[0], mu / aux[0]),
)


def _beta_binomial_density(y, mu, trials, aux):
    a, b = mu * aux[0], (1 - mu) * aux[0]
    ways = pt.gammaln(trials + 1) - pt.gammaln(y + 1) - pt.gammaln(trials - y + 1)
    total = pt.gammaln(aux[0]) - pt.gammaln(trials + aux[0])
    return ways + total + pt.gammaln(y + a) - pt.gammaln(a) + pt.gammaln(trials - y + b) - pt.gammaln(b)


def _beta_binomial_draw(rng, mu, trials, aux):
    number = np.ones_like(mu) if trials is None else trials
    return rng.binomial(np.asarray(number).astype(int), rng.beta(mu * aux[0], (1 - mu) * aux[0])).astype(float)


BETA_BINOMIAL = bmm.Family(
    name="beta_binomial",
    links=("logit", "probit", "cloglog"),
    support="successes",
    parameters=(bmm.Auxiliary("phi", r"\phi", "Gamma", {"alpha": 2, "beta": 0.1}),),
    log_density=_beta_binomial_density,
    variance=lambda mu, aux: mu * (1 - mu),
    draw=_beta_binomial_draw,
)
