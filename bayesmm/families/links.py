"""The links between the mean of a response and its linear predictor: one record each, in `LINKS`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

Array = np.ndarray

IDENTITY, LOG, LOGIT, PROBIT, CLOGLOG, INVERSE, TAN_HALF = range(7)  # what they are called in compiled code


@dataclass(frozen=True)
class Latent:
    """The distribution behind a response of 0 or 1, which is 1 where the latent variable is above 0."""

    distribution: str
    variance: float
    says: str  # the variance in symbols


@dataclass(frozen=True)
class Link:
    """A link function, eta = g(mu).

    Attributes
    ----------
    name : str
    code : int
        What it is called in compiled code.
    function, inverse, slope : callable
        mu -> eta, eta -> mu, and eta -> d mu / d eta, on arrays.
    scale : str
        How a sentence names the scale of eta: "log scale".
    tex : str
        g(mu_i) in LaTeX.
    multiples : tuple of float
        Default prior sds of the intercept at the predictors' means and of a standardised coefficient, scales of the sds
        of intercepts and of standardised slopes, in the unit that `bayesmm.priors.scales` takes.
    unit : float
        That unit on the scale of eta, where the response does not set it.
    latent : Latent or None
        Of a link for probabilities.
    """

    name: str
    code: int
    function: Callable[[Array], Array]
    inverse: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    scale: str
    tex: str
    multiples: tuple[float, float, float, float]
    unit: float = 1.0
    latent: Latent | None = None


def graph_mean(link: str, eta: object) -> object:
    """Return the mean that a link gives a linear predictor, both variables of PyTensor."""
    import pytensor.tensor as pt

    return {
        "identity": lambda: eta,
        "log": lambda: pt.exp(eta),
        "logit": lambda: pt.sigmoid(eta),
        "probit": lambda: 0.5 * pt.erfc(-eta / np.sqrt(2)),
        "cloglog": lambda: -pt.expm1(-pt.exp(eta)),
        "inverse": lambda: 1 / eta,
        "tan_half": lambda: 2 * pt.arctan(eta),
    }[link]()


# ----------------------------------------------------------------------------------------------------------------------
# none overflows with a warning; beyond the doubles they are inf or 0


def _exp(eta: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.exp(eta)


def _expit(eta: Array) -> Array:
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(eta, dtype=float)))


def _expit_slope(eta: Array) -> Array:
    small = np.exp(-np.abs(eta))  # no overflow, however far out
    return small / (1.0 + small) ** 2


def _logit(mu: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.log(mu) - np.log1p(-np.asarray(mu, dtype=float))


def _probit(mu: Array) -> Array:
    from scipy.special import ndtri

    return ndtri(mu)


def _normal_cdf(eta: Array) -> Array:
    from scipy.special import ndtr

    return ndtr(eta)


def _normal_density(eta: Array) -> Array:
    return np.exp(-0.5 * np.square(eta)) / np.sqrt(2 * np.pi)


def _log_minus_log(mu: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.log(-np.log1p(-np.asarray(mu, dtype=float)))


def _log_minus_log_inverse(eta: Array) -> Array:
    return -np.expm1(-_exp(eta))


def _log_minus_log_slope(eta: Array) -> Array:
    return np.exp(np.minimum(eta, 700.0) - _exp(np.minimum(eta, 700.0)))


def _positive_inverse(eta: Array) -> Array:
    """Return 1 / eta, NaN where eta is not above 0: there is no such mean."""
    eta = np.asarray(eta, dtype=float)
    return np.divide(1.0, eta, out=np.full_like(eta, np.nan), where=eta > 0)


def _positive_inverse_slope(eta: Array) -> Array:
    return -np.square(_positive_inverse(eta))


def _log(mu: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.log(mu)


def _tan_half(mu: Array) -> Array:
    return np.tan(0.5 * np.asarray(mu, dtype=float))


def _tan_half_inverse(eta: Array) -> Array:
    return 2.0 * np.arctan(eta)


def _tan_half_slope(eta: Array) -> Array:
    with np.errstate(over="ignore"):
        return 2.0 / (1.0 + np.square(eta))


# Default priors. One sd of the response is the unit with an identity link; on the logit and complementary log-log scale
# 1, so that 2.5 is rstanarm's prior sd; on the probit scale 0.63 of that, because the normal distribution is so much
# narrower than the logistic one (the slopes of the inverse links at 0 are 0.399 and 0.25). On the log scale 1 is a
# factor of e for counts; for a positive response, which may vary by much less, as reaction times do, it is the sd of
# the logarithms. An sd of a predictor that multiplies counts by e^2 either way is rare, and predictors are skewed: with
# rstanarm's 2.5 for coefficients (and 1 for slopes), the 97.5 % quantile of the largest of esoph's counts is 1e12 in
# prior predictive draws, with these 5e6 (median 74), where the data have 17. On the inverse scale the linear predictor
# must stay above 0, so that all is kept to a fraction of its level. The tangent of half an angle is within 1 for half
# of all directions, and within 2.5 for three quarters.
_USUAL = (2.5, 2.5, 1.0, 1.0)

LINKS: Mapping[str, Link] = MappingProxyType(
    {
        link.name: link
        for link in (
            Link("identity", IDENTITY, np.asarray, np.asarray, np.ones_like, "", r"\mu_{i}", _USUAL),
            Link("log", LOG, _log, _exp, _exp, "log scale", r"\log \mu_{i}", (2.5, 1.0, 1.0, 0.4)),
            Link(
                "logit", LOGIT, _logit, _expit, _expit_slope,
                "logit scale", r"\mathrm{logit}\,\mu_{i}", _USUAL,
                latent=Latent("logistic", np.pi**2 / 3, "pi^2 / 3"),
            ),
            Link(
                "probit", PROBIT, _probit, _normal_cdf, _normal_density,
                "probit scale", r"\Phi^{-1}(\mu_{i})", _USUAL,
                unit=0.25 * np.sqrt(2 * np.pi),
                latent=Latent("normal", 1.0, "1"),
            ),
            Link(
                "cloglog", CLOGLOG, _log_minus_log, _log_minus_log_inverse, _log_minus_log_slope,
                "complementary log-log scale", r"\log(-\log(1 - \mu_{i}))", _USUAL,
                latent=Latent("Gumbel", np.pi**2 / 6, "pi^2 / 6"),
            ),
            Link(
                "inverse", INVERSE, _positive_inverse, _positive_inverse, _positive_inverse_slope,
                "inverse scale", r"1 / \mu_{i}", (0.5, 0.4, 0.2, 0.2),
            ),
            Link(
                "tan_half", TAN_HALF, _tan_half, _tan_half_inverse, _tan_half_slope,
                "tan-half scale", r"\mathrm{tan}(\mu_{i} / 2)", (2.5, 1.0, 0.5, 0.4),
            ),
        )
    }
)  # fmt: skip

OF_PROBABILITIES = tuple(link.name for link in LINKS.values() if link.latent is not None)
