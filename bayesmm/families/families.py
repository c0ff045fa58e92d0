"""The families of response distributions and their links: one row each, in the tables `FAMILIES` and `LINKS`.

The tables hold what is said in NumPy; the same rows are, by their codes, in the compiled densities of
`bayesmm.likelihood.response_kernels` and, by their names, in the graphs of `bayesmm.sampling.graph.responses`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from bayesmm.errors import DataError, listing, suggest
from bayesmm.families import responses
from bayesmm.families.responses import Response
from bayesmm.runtime.messages import Message

Array = np.ndarray

LARGEST_COUNT = float(2**53)  # a drawn count beyond it is not told apart from its neighbours, and is cut to it
SMALLEST = float(np.finfo(float).tiny)  # drawn values of a gamma or beta variable stay inside their support
BELOW_ONE = float(np.nextafter(1.0, 0.0))


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
    """

    name: str
    code: int
    function: Callable[[Array], Array]
    inverse: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    scale: str


@dataclass(frozen=True)
class Family:
    """A family of response distributions with one of its links.

    Attributes
    ----------
    name : str
    code : int
        What it is called in compiled code.
    links : tuple of str
        The link functions it may have, the default first.
    auxiliaries : tuple of str
        Its parameters besides the mean, all above 0: "sigma", the residual sd (student: the scale) in units of the
        response; "nu", degrees of freedom; "shape", with variance mu + mu^2 / shape (negbinomial) or mu^2 / shape
        (gamma); "phi", with variance mu (1 - mu) / (1 + phi).
    discrete : bool
        Whether the response is whole numbers.
    check_response : callable
        ``(Response) -> list of Message``; raises a DataError for values that the family cannot have.
    variance : callable
        ``(mu, aux) -> variance of a single trial``; `aux` are the auxiliaries in their order.
    draw : callable
        ``(rng, mu, trials, aux) -> y``, float64 of the shape that mu, trials and aux broadcast to.
    link : str
        The one chosen of `links`.
    """

    name: str
    code: int
    links: tuple[str, ...]
    auxiliaries: tuple[str, ...]
    discrete: bool
    check_response: Callable[[Response], list[Message]]
    variance: Callable[..., Array]
    draw: Callable[..., Array]
    link: str

    @property
    def gaussian(self) -> bool:
        """Whether the model is linear with normal errors, so that its integrals are exact."""
        return self.name == "gaussian" and self.link == "identity"

    @property
    def one_mode(self) -> bool:
        """Whether a density in eta has one mode and no plateau beside it, however far an observation lies from it."""
        return self.name != "student" and (self.name, self.link) != ("gaussian", "log")


# ----------------------------------------------------------------------------------------------------------------------
# links: none overflows with a warning; beyond the doubles they are inf or 0


def _exp(eta: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.exp(eta)


def _expit(eta: Array) -> Array:
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(eta, dtype=float)))


def _expit_slope(eta: Array) -> Array:
    return 0.25 / np.cosh(0.5 * np.clip(eta, -1400, 1400)) ** 2


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


LINKS: Mapping[str, Link] = MappingProxyType(
    {
        link.name: link
        for link in (
            Link("identity", 0, np.asarray, np.asarray, np.ones_like, ""),
            Link("log", 1, _log, _exp, _exp, "log scale"),
            Link("logit", 2, _logit, _expit, _expit_slope, "logit scale"),
            Link("probit", 3, _probit, _normal_cdf, _normal_density, "probit scale"),
            Link(
                "cloglog", 4, _log_minus_log, _log_minus_log_inverse, _log_minus_log_slope,
                "complementary log-log scale",
            ),
            Link(
                "inverse", 5, _positive_inverse, _positive_inverse, _positive_inverse_slope,
                "inverse scale",
            ),
        )
    }
)  # fmt: skip

# ----------------------------------------------------------------------------------------------------------------------
# variances of one response, of one trial of a binomial


def _normal_variance(mu: Array, aux: tuple) -> Array:
    return aux[0] ** 2 * np.ones_like(mu)


def _student_variance(mu: Array, aux: tuple) -> Array:
    """Return 1 / information about mu, which is finite for every nu, as the variance is not."""
    sigma, nu = aux
    return (nu + 3) / (nu + 1) * sigma**2 * np.ones_like(mu)


def _poisson_variance(mu: Array, aux: tuple) -> Array:
    return mu


def _negbinomial_variance(mu: Array, aux: tuple) -> Array:
    return mu + mu**2 / aux[0]


def _bernoulli_variance(mu: Array, aux: tuple) -> Array:
    return mu * (1 - mu)


def _gamma_variance(mu: Array, aux: tuple) -> Array:
    return mu**2 / aux[0]


def _beta_variance(mu: Array, aux: tuple) -> Array:
    return mu * (1 - mu) / (1 + aux[0])


# ----------------------------------------------------------------------------------------------------------------------
# random responses; a mean that is NaN gives NaN


def _known(mu: Array, draw: Callable[[Array], Array]) -> Array:
    """Return draws for the means that are numbers, and NaN elsewhere."""
    bad = np.isnan(mu)
    return np.where(bad, np.nan, draw(np.where(bad, 0.5, mu)))


def _draw_normal(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    return rng.normal(mu, aux[0])


def _draw_student(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    sigma, nu = aux
    return mu + sigma * rng.standard_t(nu, np.broadcast_shapes(np.shape(mu), np.shape(sigma), np.shape(nu)))


def _draw_counts(rng: np.random.Generator, mean: Array) -> Array:
    """Return Poisson counts, as floats; a mean beyond `LARGEST_COUNT` gives that."""
    return np.minimum(rng.poisson(np.minimum(mean, LARGEST_COUNT)).astype(float), LARGEST_COUNT)


def _draw_poisson(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    return _known(mu, lambda mean: _draw_counts(rng, mean))


def _draw_negbinomial(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    def draw(mean: Array) -> Array:
        factor = rng.gamma(aux[0], np.ones(np.broadcast_shapes(np.shape(mean), np.shape(aux[0])))) / aux[0]
        return _draw_counts(rng, np.minimum(mean, LARGEST_COUNT) * factor)

    return _known(mu, draw)


def _draw_binomial(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    number = np.ones_like(mu) if trials is None else trials
    return _known(mu, lambda mean: rng.binomial(np.asarray(number).astype(np.int64), mean).astype(float))


def _draw_gamma(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    def draw(mean: Array) -> Array:
        with np.errstate(over="ignore"):
            scaled = rng.gamma(aux[0], np.ones(np.broadcast_shapes(np.shape(mean), np.shape(aux[0])))) / aux[0]
            return np.maximum(mean * scaled, SMALLEST)

    return _known(mu, draw)


def _draw_beta(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    def draw(mean: Array) -> Array:
        a, b = np.maximum(mean * aux[0], SMALLEST), np.maximum((1 - mean) * aux[0], SMALLEST)
        return np.clip(np.nan_to_num(rng.beta(a, b), nan=0.5), SMALLEST, BELOW_ONE)

    return _known(mu, draw)


def draw_response(
    family: Family, rng: np.random.Generator, mu: Array, trials: object, aux: tuple, weights: Array | None = None
) -> Array:
    """Return random responses with these means: `Family.draw`, with prior weights.

    A weight divides the variance of a Gaussian response. Elsewhere it counts how often a row is taken, and a draw is of
    one response whatever its weight.
    """
    if weights is not None and family.gaussian:
        aux = (aux[0] / np.sqrt(weights), *aux[1:])
    return family.draw(rng, mu, trials, tuple(aux))


# ----------------------------------------------------------------------------------------------------------------------
# the rows

_PROBABILITY = ("logit", "probit", "cloglog")

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        family.name: family
        for family in (
            Family(
                "gaussian", 0, ("identity", "log"), ("sigma",), False, responses.check_gaussian,
                _normal_variance, _draw_normal, "identity",
            ),
            Family(
                "student", 1, ("identity",), ("sigma", "nu"), False, responses.check_student,
                _student_variance, _draw_student, "identity",
            ),
            Family(
                "poisson", 2, ("log",), (), True, responses.check_counts, _poisson_variance, _draw_poisson, "log",
            ),
            Family(
                "negbinomial", 3, ("log",), ("shape",), True, responses.check_counts,
                _negbinomial_variance, _draw_negbinomial, "log",
            ),
            Family(
                "bernoulli", 4, _PROBABILITY, (), True, responses.check_bernoulli,
                _bernoulli_variance, _draw_binomial, "logit",
            ),
            Family(
                "binomial", 5, _PROBABILITY, (), True, responses.check_binomial,
                _bernoulli_variance, _draw_binomial, "logit",
            ),
            Family(
                "gamma", 6, ("log", "inverse"), ("shape",), False, responses.check_gamma,
                _gamma_variance, _draw_gamma, "log",
            ),
            Family(
                "beta", 7, _PROBABILITY, ("phi",), False, responses.check_beta,
                _beta_variance, _draw_beta, "logit",
            ),
        )
    }
)  # fmt: skip

FAMILY_CODES: Mapping[str, int] = MappingProxyType({family.name: family.code for family in FAMILIES.values()})
LINK_CODES: Mapping[str, int] = MappingProxyType({link.name: link.code for link in LINKS.values()})

# What other packages call them.
_ELSEWHERE = {
    **dict.fromkeys(("normal", "linear"), "gaussian"),
    **dict.fromkeys(("t", "student_t", "studentt", "student-t"), "student"),
    **dict.fromkeys(("nbinom2", "nbinom", "negativebinomial", "negative binomial", "negative_binomial"), "negbinomial"),
    **dict.fromkeys(("binary", "logistic", "logit"), "bernoulli"),
    **dict.fromkeys(("count", "counts"), "poisson"),
}


def get_family(name: str, link: str | None = None) -> Family:
    """Return a family by name, with its link.

    Parameters
    ----------
    name : str
    link : str, optional
        One of the family's links; the first of them if not given.

    Raises
    ------
    DataError
        No family has this name, or the family has no such link.
    """
    if not isinstance(name, str) or name not in FAMILIES:
        hint = _family_hint(name) if isinstance(name, str) else ""
        raise DataError(f"family {name!r} is not known{hint} (families: {listing(FAMILIES)})")
    family = FAMILIES[name]
    if link is None:
        return family
    if link not in family.links:
        hint = suggest(link, family.links) if isinstance(link, str) else ""
        has = f"has the link{'s' if len(family.links) > 1 else ''} {listing(family.links)}"
        raise DataError(f"link {link!r} is not one of the {name} family, which {has}{hint}")
    return replace(family, link=link)


def _family_hint(name: str) -> str:
    other = _ELSEWHERE.get(name.strip().casefold())
    return f"; did you mean '{other}'?" if other else suggest(name, FAMILIES)
