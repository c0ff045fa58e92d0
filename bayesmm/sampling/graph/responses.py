"""The response of the explicit graph, for every family and link: log densities that no linear predictor breaks.

The densities are written in the linear predictor, so that nothing is lost where a mean or a probability leaves the
doubles. A linear predictor at which the density does not exist in floating point has the log density -inf, with
gradients of 0: a rejected step. The same densities, compiled, are in `bayesmm.likelihood.response_kernels`.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor import TensorVariable

from bayesmm.design.records import Design
from bayesmm.families import codes
from bayesmm.families.family import Family
from bayesmm.families.links import LINKS

WILD = 230.0  # exp of more is taken as infinite, as in likelihood/response_kernels.py
NEGLIGIBLE = -30.0  # log(1 - exp(-exp(eta))) is eta below this: the next term, exp(eta) / 2, is 5e-14
LEAST = np.float64(1e-100)  # of a parameter of the beta distribution
LARGEST = np.float64(1e100)  # of a linear predictor: beyond, products with it may leave the doubles

Terms = tuple[TensorVariable, TensorVariable]


def add_response(
    design: Design,
    eta: TensorVariable,
    auxiliaries: Mapping[str, TensorVariable],
    data: Callable[..., TensorVariable],
) -> None:
    """Add the observed variable y, (obs,), to the model in context.

    Parameters
    ----------
    design : Design
    eta : variable, shape (n,)
        The linear predictor, offset included.
    auxiliaries : mapping of str to scalar variable
        Those of the family, in its order.
    data : callable
        ``data(name, values, dim) -> variable``: adds a constant to the model.

    Notes
    -----
    With the identity link and normal errors a weight divides the variance. Otherwise it multiplies the row's log
    density; a draw of y is of one response, whatever its weight.
    """
    family, aux = design.family, tuple(auxiliaries.values())
    weights = () if design.weights is None else (data("weights_data", design.weights, "obs"),)
    if family.gaussian:
        sigma = aux[0] / pt.sqrt(weights[0]) if weights else aux[0]
        pm.Normal("y", eta, sigma, observed=data("y_data", design.y, "obs"), dims="obs")
        return
    trials = () if design.trials is None else (data("trials_data", design.trials, "obs"),)
    kind = "int64" if family.discrete else "float64"
    pm.CustomDist(
        "y",
        eta,
        *trials,
        *weights,
        *aux,
        logp=_density(family, len(trials), len(weights)),
        random=_draws(family, len(trials), len(weights)),
        observed=data("y_data", design.y.astype(kind), "obs"),
        dims="obs",
        dtype=kind,
    )


def _density(family: Family, trials: int, weights: int) -> Callable[..., TensorVariable]:
    """Return ``logp(y, eta, [trials], [weights], *auxiliaries)``."""

    def logp(y: TensorVariable, eta: TensorVariable, *others: TensorVariable) -> TensorVariable:
        number = others[0] if trials else 1.0
        value = log_density(family, y, eta, number, others[trials + weights :])
        return others[trials] * value if weights else value

    return logp


def _draws(family: Family, trials: int, weights: int) -> Callable[..., np.ndarray]:
    """Return ``random(eta, [trials], [weights], *auxiliaries, rng, size)``."""
    kind = np.int64 if family.discrete else np.float64

    def random(
        eta: np.ndarray, *others: np.ndarray, rng: np.random.Generator, size: Sequence[int] | None
    ) -> np.ndarray:
        mu = np.asarray(LINKS[family.link].inverse(eta))
        shape = np.broadcast_shapes(*(np.shape(value) for value in (mu, *others))) if size is None else tuple(size)
        number = others[0] if trials else None
        return family.draw(rng, np.broadcast_to(mu, shape), number, others[trials + weights :]).astype(kind)

    return random


def log_density(
    family: Family, y: TensorVariable, eta: TensorVariable, trials: object, aux: Sequence[TensorVariable]
) -> TensorVariable:
    """Return the log density of a response given its linear predictor, with constants, in their common shape.

    Parameters
    ----------
    family : Family
    y, eta : variable
        Response (successes of a binomial) and linear predictor.
    trials : variable or 1
    aux : sequence of variables
        The family's auxiliaries, in its order.
    """
    tame = pt.abs(eta) < LARGEST  # also not NaN
    inside, value = DENSITIES[family.code](family.link, pt.cast(y, "float64"), pt.switch(tame, eta, 0.0), trials, aux)
    return pt.switch(pt.and_(tame, inside), value, -np.inf)


def _gaussian(link: str, y: TensorVariable, eta: TensorVariable, trials: object, aux: Sequence) -> Terms:
    mu = pt.exp(pt.minimum(eta, WILD)) if link == "log" else eta
    z = (y - mu) / aux[0]
    inside = eta < WILD if link == "log" else pt.ones_like(eta, dtype=bool)
    return inside, -0.5 * (z**2 + np.log(2 * np.pi)) - pt.log(aux[0])


def _student(link: str, y: TensorVariable, eta: TensorVariable, trials: object, aux: Sequence) -> Terms:
    sigma, nu = aux
    z = (y - eta) / sigma
    constant = pt.gammaln((nu + 1) / 2) - pt.gammaln(nu / 2) - 0.5 * pt.log(nu * np.pi) - pt.log(sigma)
    return pt.ones_like(eta, dtype=bool), constant - (nu + 1) / 2 * pt.log1p(z**2 / nu)


def _poisson(link: str, y: TensorVariable, eta: TensorVariable, trials: object, aux: Sequence) -> Terms:
    return eta < WILD, y * eta - pt.exp(pt.minimum(eta, WILD)) - pt.gammaln(y + 1)


def _negbinomial(link: str, y: TensorVariable, eta: TensorVariable, trials: object, aux: Sequence) -> Terms:
    shape = aux[0]
    ratio = eta - pt.log(shape)
    over = pt.softplus(ratio)  # log(1 + mu / shape)
    constant = pt.gammaln(y + shape) - pt.gammaln(shape) - pt.gammaln(y + 1)
    return pt.ones_like(eta, dtype=bool), constant + y * (ratio - over) - shape * over


def _binomial(link: str, y: TensorVariable, eta: TensorVariable, trials: object, aux: Sequence) -> Terms:
    success, failure = _log_probabilities(link, eta)
    value = y * success + (trials - y) * failure
    if isinstance(trials, TensorVariable):
        value = value + pt.gammaln(trials + 1) - pt.gammaln(y + 1) - pt.gammaln(trials - y + 1)
    return pt.ones_like(eta, dtype=bool), value


def _log_probabilities(link: str, eta: TensorVariable) -> Terms:
    """Return log p and log(1 - p)."""
    if link == "logit":
        return -pt.softplus(-eta), -pt.softplus(eta)
    if link == "probit":
        return _log_normal_cdf(eta), _log_normal_cdf(-eta)
    t = pt.exp(pt.minimum(eta, WILD))
    low = pt.log(-pt.expm1(-pt.exp(pt.clip(eta, NEGLIGIBLE, WILD))))
    return pt.switch(eta < NEGLIGIBLE, eta, low), -t


def _log_normal_cdf(x: TensorVariable) -> TensorVariable:
    """Return log Phi(x); each branch sees only arguments at which it is finite, for the sake of its gradient."""
    low, high = pt.minimum(x, -1.0), pt.maximum(x, -1.0)
    tail = pt.log(0.5 * pt.erfcx(-low / np.sqrt(2))) - 0.5 * low**2
    return pt.switch(x < -1.0, tail, pt.log1p(-0.5 * pt.erfc(high / np.sqrt(2))))


def _gamma(link: str, y: TensorVariable, eta: TensorVariable, trials: object, aux: Sequence) -> Terms:
    shape = aux[0]
    constant = shape * pt.log(shape) - pt.gammaln(shape) + (shape - 1) * pt.log(y)
    if link == "log":
        return eta > -WILD, constant - shape * eta - shape * y * pt.exp(-pt.maximum(eta, -WILD))
    above = pt.switch(eta > 0, eta, 1.0)
    return eta > 0, constant + shape * (pt.log(above) - y * above)


def _beta(link: str, y: TensorVariable, eta: TensorVariable, trials: object, aux: Sequence) -> Terms:
    phi = aux[0]
    mu, rest = _probabilities(link, eta)
    inside = pt.and_(mu * phi > LEAST, rest * phi > LEAST)
    a, b = pt.switch(inside, mu * phi, 1.0), pt.switch(inside, rest * phi, 1.0)
    constant = pt.gammaln(phi) - pt.gammaln(a) - pt.gammaln(b)
    return inside, constant + (a - 1) * pt.log(y) + (b - 1) * pt.log1p(-y)


def _probabilities(link: str, eta: TensorVariable) -> Terms:
    """Return p and 1 - p."""
    if link == "logit":
        return pt.sigmoid(eta), pt.sigmoid(-eta)
    if link == "probit":
        return 0.5 * pt.erfc(-eta / np.sqrt(2)), 0.5 * pt.erfc(eta / np.sqrt(2))
    t = pt.exp(pt.minimum(eta, WILD))
    return -pt.expm1(-t), pt.exp(-t)


# code -> (where the density exists, the log density there)
DENSITIES: Mapping[int, Callable[..., Terms]] = MappingProxyType(
    {
        codes.GAUSSIAN: _gaussian,
        codes.STUDENT: _student,
        codes.POISSON: _poisson,
        codes.NEGBINOMIAL: _negbinomial,
        codes.BERNOULLI: _binomial,
        codes.BINOMIAL: _binomial,
        codes.GAMMA: _gamma,
        codes.BETA: _beta,
    }
)
