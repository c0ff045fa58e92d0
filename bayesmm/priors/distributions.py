"""The distributions that a prior may have: parameters, support, log density and its derivative, quantiles.

Names, parameters and meaning are PyMC's. Densities act on arrays of any shape; outside the support they are -inf with
slope 0.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from scipy import special  # not scipy.stats, which takes a third of a second to import

LOG_2PI = np.log(2 * np.pi)
NOTHING: Mapping[str, float] = MappingProxyType({})

Array = np.ndarray
Pair = tuple[np.ndarray, np.ndarray]
Density = Callable[..., Pair]  # (x, **parameters) -> log density and d log density / dx


@dataclass(frozen=True)
class Distribution:
    """One distribution.

    Attributes
    ----------
    parameters : tuple of str
        PyMC's names, in PyMC's order.
    positive : tuple of str
        The parameters that must be above 0.
    support : {"real", "positive", "interval", "correlation"}
        "interval" is between `ends`; "correlation" is the set of correlation matrices.
    density : callable
        ``density(x, **parameters) -> (log density, its derivative)``, arrays of the shape of x, inside the support;
        None for matrices.
    quantile : callable or None
        ``quantile(p, **parameters)``; None where there is none (improper priors, matrices).
    defaults : mapping
        Values that PyMC gives when they are left out: locations only, never a scale, which is in somebody's units.
    location : tuple of str or None
        The parameters that move with the variable when a constant is added to it; None if it does not stay in the
        family.
    half : str or None
        The distribution to offer where only positive values make sense.
    at_zero : bool
        Whether 0 belongs to the support, of a positive distribution.
    """

    parameters: tuple[str, ...]
    positive: tuple[str, ...]
    support: str
    density: Density | None
    quantile: Callable[..., float] | None
    defaults: Mapping[str, float] = field(default_factory=lambda: NOTHING)
    location: tuple[str, ...] | None = None
    half: str | None = None
    at_zero: bool = True

    def ends(self, parameters: Mapping[str, float]) -> tuple[float, float]:
        """Return the ends of an interval: `lower` and `upper`, where these are parameters, or 0 and 1."""
        return parameters.get("lower", 0.0), parameters.get("upper", 1.0)

    def inside(self, x: Array, parameters: Mapping[str, float]) -> Array:
        """Return where x is in the support."""
        if self.support == "interval":
            low, high = self.ends(parameters)
            return (x >= low) & (x <= high)
        if self.support == "positive":
            return x >= 0 if self.at_zero else x > 0
        return ~np.isnan(x)


def normal(x: Array, mu: float, sigma: float) -> Pair:
    """Return log density and slope of the normal distribution."""
    z = (x - mu) / sigma
    return -0.5 * (z**2 + LOG_2PI) - np.log(sigma), -z / sigma


def student_t(x: Array, nu: float, mu: float, sigma: float) -> Pair:
    """Return log density and slope of Student's t with location and scale (Gelman et al. 2013, BDA3, table A.1)."""
    z = (x - mu) / sigma
    constant = special.gammaln((nu + 1) / 2) - special.gammaln(nu / 2) - 0.5 * np.log(nu * np.pi) - np.log(sigma)
    return constant - (nu + 1) / 2 * np.log1p(z**2 / nu), -(nu + 1) * z / (nu + z**2) / sigma


def cauchy(x: Array, alpha: float, beta: float) -> Pair:
    """Return log density and slope of the Cauchy distribution, Student's t with one degree of freedom."""
    z = (x - alpha) / beta
    return -np.log(np.pi * beta) - np.log1p(z**2), -2 * z / (1 + z**2) / beta


def laplace(x: Array, mu: float, b: float) -> Pair:
    """Return log density and slope of the Laplace distribution; the slope at its kink is 0."""
    return -np.abs(x - mu) / b - np.log(2 * b), -np.sign(x - mu) / b


def uniform(x: Array, lower: float, upper: float) -> Pair:
    """Return log density and slope of the uniform distribution."""
    return np.full_like(x, -np.log(upper - lower)), np.zeros_like(x)


def beta(x: Array, alpha: float, beta: float) -> Pair:
    """Return log density and slope of the beta distribution."""
    value = special.xlogy(alpha - 1, x) + special.xlog1py(beta - 1, -x) - special.betaln(alpha, beta)
    rise = (alpha - 1) / x if alpha != 1 else np.zeros_like(x)  # 0 / 0 at the ends
    return value, rise - ((beta - 1) / (1 - x) if beta != 1 else np.zeros_like(x))


def flat(x: Array) -> Pair:
    """Return log density and slope of the improper flat prior: 0, as in PyMC."""
    return np.zeros_like(x), np.zeros_like(x)


def exponential(x: Array, lam: float) -> Pair:
    """Return log density and slope of the exponential distribution with rate `lam`."""
    return np.log(lam) - lam * x, np.full_like(x, -lam)


def gamma(x: Array, alpha: float, beta: float) -> Pair:
    """Return log density and slope of the gamma distribution with shape `alpha` and rate `beta`."""
    constant = alpha * np.log(beta) - special.gammaln(alpha)
    power = (alpha - 1) / x if alpha != 1 else np.zeros_like(x)  # 0 / 0 at the origin
    return constant + special.xlogy(alpha - 1, x) - beta * x, power - beta


def inverse_gamma(x: Array, alpha: float, beta: float) -> Pair:
    """Return log density and slope of the inverse gamma distribution with shape `alpha` and scale `beta`."""
    constant = alpha * np.log(beta) - special.gammaln(alpha)
    return constant - (alpha + 1) * np.log(x) - beta / x, (beta / x - alpha - 1) / x


def log_normal(x: Array, mu: float, sigma: float) -> Pair:
    """Return log density and slope of the log-normal distribution; `mu` and `sigma` are of log x."""
    value, slope = normal(np.log(x), mu, sigma)
    return value - np.log(x), (slope - 1) / x


def folded(density: Density, **location: float) -> Density:
    """Return the density of |x| for a density that is symmetric about its location 0."""

    def half(x: Array, **parameters: float) -> Pair:
        value, slope = density(x, **location, **parameters)
        return value + np.log(2), slope

    return half


def _mu(value: float = 0.0) -> Mapping[str, float]:
    return MappingProxyType({"mu": value})


DISTRIBUTIONS: Mapping[str, Distribution] = MappingProxyType(
    {
        "Normal": Distribution(
            ("mu", "sigma"), ("sigma",), "real", normal, lambda p, mu, sigma: mu + sigma * special.ndtri(p),
            _mu(), ("mu",), "HalfNormal",
        ),
        "StudentT": Distribution(
            ("nu", "mu", "sigma"), ("nu", "sigma"), "real", student_t,
            lambda p, nu, mu, sigma: mu + sigma * special.stdtrit(nu, p), _mu(), ("mu",), "HalfStudentT",
        ),
        "Cauchy": Distribution(
            ("alpha", "beta"), ("beta",), "real", cauchy,
            lambda p, alpha, beta: alpha + beta * np.tan(np.pi * (p - 0.5)),
            MappingProxyType({"alpha": 0.0}), ("alpha",), "HalfCauchy",
        ),
        "Laplace": Distribution(
            ("mu", "b"), ("b",), "real", laplace,
            lambda p, mu, b: mu - b * np.sign(p - 0.5) * np.log1p(-2 * abs(p - 0.5)),
            _mu(), ("mu",), "Exponential",
        ),
        "Uniform": Distribution(
            ("lower", "upper"), (), "interval", uniform, lambda p, lower, upper: lower + p * (upper - lower),
            location=("lower", "upper"),
        ),
        "Beta": Distribution(
            ("alpha", "beta"), ("alpha", "beta"), "interval", beta,
            lambda p, alpha, beta: special.betaincinv(alpha, beta, p),
        ),
        "Flat": Distribution((), (), "real", flat, None, location=(), half="HalfFlat"),
        "HalfNormal": Distribution(
            ("sigma",), ("sigma",), "positive", folded(normal, mu=0.0),
            lambda p, sigma: sigma * special.ndtri((1 + p) / 2),
        ),
        "HalfStudentT": Distribution(
            ("nu", "sigma"), ("nu", "sigma"), "positive", folded(student_t, mu=0.0),
            lambda p, nu, sigma: sigma * special.stdtrit(nu, (1 + p) / 2),
        ),
        "HalfCauchy": Distribution(
            ("beta",), ("beta",), "positive", folded(cauchy, alpha=0.0),
            lambda p, beta: beta * np.tan(np.pi / 2 * p),
        ),
        "HalfFlat": Distribution((), (), "positive", flat, None),
        "Exponential": Distribution(
            ("lam",), ("lam",), "positive", exponential, lambda p, lam: -np.log1p(-p) / lam
        ),
        "Gamma": Distribution(
            ("alpha", "beta"), ("alpha", "beta"), "positive", gamma,
            lambda p, alpha, beta: special.gammaincinv(alpha, p) / beta,
        ),
        "InverseGamma": Distribution(
            ("alpha", "beta"), ("alpha", "beta"), "positive", inverse_gamma,
            lambda p, alpha, beta: beta / special.gammainccinv(alpha, p), at_zero=False,
        ),
        "LogNormal": Distribution(
            ("mu", "sigma"), ("sigma",), "positive", log_normal,
            lambda p, mu, sigma: np.exp(mu + sigma * special.ndtri(p)), _mu(), at_zero=False,
        ),
        "LKJ": Distribution(("eta",), ("eta",), "correlation", None, None),
    }
)  # fmt: skip


def _from_mean(mu: float, sigma: float) -> dict[str, float]:
    return {"alpha": (mu / sigma) ** 2, "beta": mu / sigma**2}


def _beta_from_mean(mu: float, nu: float) -> dict[str, float]:
    return {"alpha": mu * nu, "beta": (1 - mu) * nu}


def _inverse_from_mean(mu: float, sigma: float) -> dict[str, float]:
    alpha = 2 + (mu / sigma) ** 2
    return {"alpha": alpha, "beta": mu * (alpha - 1)}


# PyMC's other parameterisations: distribution -> the parameters that replace others -> the standard ones from them.
OTHER_PARAMETERS: Mapping[str, Mapping[tuple[str, ...], Callable[..., dict[str, float]]]] = MappingProxyType(
    {
        "Normal": {("tau",): lambda tau: {"sigma": tau**-0.5}},
        "HalfNormal": {("tau",): lambda tau: {"sigma": tau**-0.5}},
        "LogNormal": {("tau",): lambda tau: {"sigma": tau**-0.5}},
        "StudentT": {("lam",): lambda lam: {"sigma": lam**-0.5}},
        "HalfStudentT": {("lam",): lambda lam: {"sigma": lam**-0.5}},
        "Exponential": {("scale",): lambda scale: {"lam": 1 / scale}},
        "Gamma": {("mu", "sigma"): _from_mean},
        "Beta": {("mu", "nu"): _beta_from_mean},
        "InverseGamma": {("mu", "sigma"): _inverse_from_mean},
    }
)


def lkj_log_density(R: np.ndarray, eta: float) -> float:
    """Return the log density of the LKJ distribution.

    Parameters
    ----------
    R : (q, q) array
        A correlation matrix.
    eta : float
        Shape; 1 is uniform over the correlation matrices.

    Returns
    -------
    float
        Normalised over the q (q - 1) / 2 correlations (Lewandowski, Kurowicka & Joe 2009, J. Multivariate Anal.
        100(9), 1989-2001); -inf where R is not positive definite.
    """
    q = len(R)
    k = np.arange(1, q)
    constant = np.sum(
        special.gammaln(eta + (q - 1) / 2) - k / 2 * np.log(np.pi) - special.gammaln(eta + (q - 1 - k) / 2)
    )
    definite = np.linalg.eigvalsh(R)[0] > 0
    return float(constant + (eta - 1) * np.linalg.slogdet(R)[1]) if definite else -np.inf


def lkj_slope(R: np.ndarray, eta: float) -> np.ndarray:
    """Return d log density / d r_ij, (q, q), r_ij and r_ji being one parameter; the diagonal is 0."""
    slope = 2 * (eta - 1) * np.linalg.inv(R)
    return slope - np.diag(np.diag(slope))


def lkj_interval(q: int, eta: float, prob: float) -> float:
    """Return the bound that one correlation of a (q, q) matrix is within, either side of 0, with probability `prob`.

    (r + 1) / 2 is Beta(a, a) with a = eta - 1 + q / 2 (Lewandowski, Kurowicka & Joe 2009).
    """
    a = eta - 1 + q / 2
    return float(2 * special.betaincinv(a, a, (1 + prob) / 2) - 1)
