"""Parameters drawn from priors and data drawn from models, in NumPy alone: nothing here asks the package for a number.

What a prior is of, and how a family's parameters are to be read, is the package's; how to draw from them is not.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.special import expit, gamma, gammaln, ndtr

import bayesmm as bmm

GROUPS, ROWS, TRIALS = 8, 6, 6
PREDICTOR = 0.5  # of the row of a new group
Rng = np.random.Generator
Values = dict[str, float]

LOCATION = bmm.Prior("Normal", mu=0, sigma=1)
HALF = bmm.Prior("Normal", mu=0, sigma=0.5)
SD = bmm.Prior("HalfNormal", sigma=0.7)
SCALE = bmm.Prior("Gamma", alpha=4, beta=4)  # mean 1, sd 0.5
SHAPE = bmm.Prior("Gamma", alpha=4, beta=2)
SHARE = bmm.Prior("Uniform", lower=0.05, upper=0.6)
CORRELATION = bmm.Prior("Uniform", lower=-0.9, upper=0.9)
LKJ = bmm.Prior("LKJ", eta=2)


@dataclass
class Truth:
    """Parameters by their labels, each drawn when it is asked for; the priors that they are from, by their places.

    The priors are the same in every data set, so that those of the first serve for the model.
    """

    rng: Rng
    values: Values = field(default_factory=dict)
    priors: dict[str, bmm.Prior] = field(default_factory=dict)

    def take(self, label: str, prior: bmm.Prior, place: str = "") -> float:
        """Draw a parameter from its prior."""
        self.priors[place or label] = prior
        self.values[label] = drawn(self.rng, prior)
        return self.values[label]


def drawn(rng: Rng, prior: bmm.Prior) -> float:
    """Return a number from a prior; of LKJ the correlation of a 2 x 2 matrix, whose (r + 1) / 2 is Beta(eta, eta)."""
    own = prior.parameters
    match prior.distribution:
        case "Normal":
            return float(rng.normal(own["mu"], own["sigma"]))
        case "HalfNormal":
            return float(abs(rng.normal(0, own["sigma"])))
        case "Gamma":
            return float(rng.gamma(own["alpha"], 1 / own["beta"]))
        case "Uniform":
            return float(rng.uniform(own["lower"], own["upper"]))
        case "LKJ":
            return float(2 * rng.beta(own["eta"], own["eta"]) - 1)
        case "Fixed":
            return float(own["value"])
    raise ValueError(f"no generator for {prior.distribution}")


def table(rng: Rng) -> pd.DataFrame:
    """Return a table without response: 8 groups of 6 rows, a centred predictor, times, factors, a second grouping."""
    g, t = np.repeat(np.arange(GROUPS), ROWS), np.tile(np.arange(ROWS), GROUPS)
    x = rng.normal(size=len(g))
    return pd.DataFrame(
        {
            "x": x - x.mean(),
            "g": [f"g{i}" for i in g],
            "h": [f"h{(i + j) % 5}" for i, j in zip(g, t, strict=True)],
            "t": t,
            "f": np.array(list("abc"))[t % 3],
            "s": np.array(list("pq"))[g % 2],
            "n": np.full(len(g), TRIALS),
        }
    )


def codes(column: pd.Series) -> np.ndarray:
    """Return the number of each row's level, the levels in alphabetical order."""
    return np.unique(column, return_inverse=True)[1]


def fixed_part(truth: Truth, data: pd.DataFrame, centre: bmm.Prior = LOCATION, slope: bmm.Prior = HALF) -> np.ndarray:
    """Draw the intercept and the slope of x, and return the linear predictor."""
    intercept = truth.take("beta[Intercept]", centre, "Intercept")
    return intercept + truth.take("beta[x]", slope) * data["x"].to_numpy()


def intercepts(truth: Truth, column: pd.Series, name: str, prior: bmm.Prior = SD) -> np.ndarray:
    """Draw random intercepts for the levels of a column and return those of the rows; the first is kept as a value."""
    own = codes(column)
    b = truth.take(f"sd_{name}[Intercept]", prior) * truth.rng.normal(size=own.max() + 1)
    truth.values[f"b_{name}"] = b[0]
    return b[own]


# ----------------------------------------------------------------------------------------------------------------------
# responses of the families


@dataclass(frozen=True)
class Response:
    """How a family's responses are drawn.

    Attributes
    ----------
    draw : callable
        ``draw(rng, eta, own)``: responses for linear predictors and the family's own parameters.
    own : mapping
        The priors of those.
    centre : Prior
        Of the intercept.
    trials : bool
    """

    draw: Callable[[Rng, np.ndarray, Values], np.ndarray]
    own: Mapping[str, bmm.Prior] = field(default_factory=dict)
    centre: bmm.Prior = LOCATION
    trials: bool = False


def above_zero(draw: Callable[[np.ndarray], np.ndarray], mean: np.ndarray) -> np.ndarray:
    """Return counts given that they are above 0: drawn again until they are."""
    y = draw(mean)
    while (y == 0).any():
        y[y == 0] = draw(mean[y == 0])
    return y


def mixed(rng: Rng, shape: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that draws negative binomial counts of given means."""
    return lambda mean: rng.poisson(mean * rng.gamma(shape, 1 / shape, len(mean)))


def branching(rng: Rng, mean: np.ndarray, phi: float) -> np.ndarray:
    """Return generalised Poisson counts: all descendants of a Poisson number of ancestors (Consul & Jain 1973)."""
    s = np.sqrt(1 + phi)
    alive = rng.poisson(mean / s)
    total = alive.copy()
    while alive.any():
        alive = rng.poisson(alive * (1 - 1 / s))
        total += alive
    return total


def skewed(rng: Rng, mean: np.ndarray, sigma: float, alpha: float) -> np.ndarray:
    """Return skew normal variables of a mean and an sd (Azzalini 1985): a folded normal and a normal one."""
    delta = alpha / np.sqrt(1 + alpha**2)
    omega = sigma / np.sqrt(1 - 2 * delta**2 / np.pi)
    z = delta * np.abs(rng.normal(size=len(mean))) + np.sqrt(1 - delta**2) * rng.normal(size=len(mean))
    return mean + omega * (z - delta * np.sqrt(2 / np.pi))


def compound(rng: Rng, mean: np.ndarray, phi: float, power: float) -> np.ndarray:
    """Return Tweedie amounts: sums of a Poisson number of gamma variables."""
    number = rng.poisson(mean ** (2 - power) / (phi * (2 - power)))
    scale = phi * (power - 1) * mean ** (power - 1)
    return np.where(number > 0, rng.gamma(np.maximum(number, 1) * (2 - power) / (power - 1), scale), 0.0)


def zeros(rng: Rng, share: float, y: np.ndarray) -> np.ndarray:
    """Return the responses, a share of them replaced by 0."""
    return np.where(rng.uniform(size=len(y)) < share, 0, y)


def beta(rng: Rng, mean: np.ndarray, phi: float) -> np.ndarray:
    """Return beta variables, inside of (0, 1)."""
    return np.clip(rng.beta(phi * mean, phi * (1 - mean)), 1e-12, 1 - 1e-12)


def conway(rng: Rng, mean: np.ndarray, shape: float) -> np.ndarray:
    """Return Conway-Maxwell-Poisson counts, p(k) = lambda^k / k!^shape / Z with lambda by bisection for the mean."""
    k, u, (mean, place) = np.arange(MOST_COUNTS), rng.uniform(size=len(mean)), np.unique(mean, return_inverse=True)
    low, high = np.full(len(mean), -60.0), np.full(len(mean), 60.0)
    for _ in range(80):
        log_p = (low + high)[:, None] / 2 * k - shape * gammaln(k + 1)
        p = np.exp(log_p - log_p.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        above = p @ k > mean
        low, high = np.where(above, low, (low + high) / 2), np.where(above, (low + high) / 2, high)
    y = np.zeros(len(u))
    for i, total in enumerate(np.cumsum(p, axis=1)):
        y[place == i] = np.searchsorted(total, u[place == i])
    return y


def with_ends(rng: Rng, eta: np.ndarray, own: Values) -> np.ndarray:
    """Return ordered beta shares: a logistic variable about eta says which are 0, below a cut, and which are 1."""
    latent = eta + rng.logistic(size=len(eta)) - own["cutzero"]
    return np.where(latent < 0, 0.0, np.where(latent > own["width"], 1.0, beta(rng, expit(eta), own["phi"])))


def ones_and_zeros(rng: Rng, eta: np.ndarray, own: Values) -> np.ndarray:
    """Return zero-one inflated beta shares: a share zoi are ends, of which coi are 1."""
    ends = (rng.uniform(size=len(eta)) < own["coi"]).astype(float)
    return np.where(rng.uniform(size=len(eta)) < own["zoi"], ends, beta(rng, expit(eta), own["phi"]))


def laplace(rng: Rng, eta: np.ndarray, own: Values) -> np.ndarray:
    """Return asymmetric Laplace variables: above eta with probability 1 - q, exponential on either side."""
    q, above = own["quantile"], rng.uniform(size=len(eta)) > own["quantile"]
    return eta + own["sigma"] * rng.exponential(size=len(eta)) * np.where(above, 1 / q, -1 / (1 - q))


MOST_COUNTS = 400
COUNTS = bmm.Prior("Normal", mu=0.7, sigma=0.5)
AMOUNTS = bmm.Prior("Normal", mu=0.3, sigma=0.5)
ALPHA = bmm.Prior("Normal", mu=0, sigma=3)
POWER = bmm.Prior("Uniform", lower=1.2, upper=1.8)
PRECISION = bmm.Prior("Gamma", alpha=4, beta=0.5)
FREEDOM = bmm.Prior("Gamma", alpha=8, beta=1)

RESPONSES = {
    "gaussian": Response(lambda r, e, a: r.normal(e, a["sigma"]), {"sigma": SCALE}),
    "student": Response(
        lambda r, e, a: e + a["sigma"] * r.standard_t(a["nu"], len(e)), {"sigma": SCALE, "nu": FREEDOM}
    ),
    "poisson": Response(lambda r, e, a: r.poisson(np.exp(e)), {}, COUNTS),
    "negbinomial": Response(lambda r, e, a: mixed(r, a["shape"])(np.exp(e)), {"shape": SHAPE}, COUNTS),
    "bernoulli": Response(lambda r, e, a: r.binomial(1, expit(e))),
    "binomial": Response(lambda r, e, a: r.binomial(TRIALS, expit(e)), trials=True),
    "gamma": Response(lambda r, e, a: r.gamma(a["shape"], np.exp(e) / a["shape"]), {"shape": SHAPE}, AMOUNTS),
    "beta": Response(lambda r, e, a: beta(r, expit(e), a["phi"]), {"phi": PRECISION}),
    "skew_normal": Response(lambda r, e, a: skewed(r, e, a["sigma"], a["alpha"]), {"sigma": SCALE, "alpha": ALPHA}),
    "exgaussian": Response(
        lambda r, e, a: e - a["tau"] + r.exponential(a["tau"], len(e)) + r.normal(0, a["sigma"], len(e)),
        {"sigma": SCALE, "tau": SCALE},
    ),
    "betabinomial": Response(
        lambda r, e, a: r.binomial(TRIALS, beta(r, expit(e), a["phi"])), {"phi": PRECISION}, trials=True
    ),
    "nbinom1": Response(lambda r, e, a: r.poisson(a["phi"] * r.gamma(np.exp(e) / a["phi"])), {"phi": SCALE}, COUNTS),
    "genpois": Response(lambda r, e, a: branching(r, np.exp(e), a["phi"]), {"phi": SCALE}, COUNTS),
    "lognormal": Response(lambda r, e, a: np.exp(r.normal(e, a["sigma"])), {"sigma": SCALE}),
    "inverse_gaussian": Response(lambda r, e, a: r.wald(np.exp(e), a["shape"]), {"shape": SHAPE}, AMOUNTS),
    "exponential": Response(lambda r, e, a: r.exponential(np.exp(e)), {}, AMOUNTS),
    "weibull": Response(
        lambda r, e, a: np.exp(e) / gamma(1 + 1 / a["shape"]) * r.weibull(a["shape"], len(e)),
        {"shape": SHAPE},
        AMOUNTS,
    ),
    "zero_inflated_poisson": Response(lambda r, e, a: zeros(r, a["zi"], r.poisson(np.exp(e))), {"zi": SHARE}, COUNTS),
    "zero_inflated_negbinomial": Response(
        lambda r, e, a: zeros(r, a["zi"], mixed(r, a["shape"])(np.exp(e))), {"shape": SHAPE, "zi": SHARE}, COUNTS
    ),
    "zero_inflated_binomial": Response(
        lambda r, e, a: zeros(r, a["zi"], r.binomial(TRIALS, expit(e))), {"zi": SHARE}, trials=True
    ),
    "hurdle_poisson": Response(
        lambda r, e, a: zeros(r, a["hu"], above_zero(r.poisson, np.exp(e))), {"hu": SHARE}, COUNTS
    ),
    "hurdle_negbinomial": Response(
        lambda r, e, a: zeros(r, a["hu"], above_zero(mixed(r, a["shape"]), np.exp(e))),
        {"shape": SHAPE, "hu": SHARE},
        COUNTS,
    ),
    "truncated_poisson": Response(lambda r, e, a: above_zero(r.poisson, np.exp(e)), {}, COUNTS),
    "truncated_negbinomial": Response(
        lambda r, e, a: above_zero(mixed(r, a["shape"]), np.exp(e)), {"shape": SHAPE}, COUNTS
    ),
    "tweedie": Response(
        lambda r, e, a: compound(r, np.exp(e), a["phi"], a["power"]), {"phi": SCALE, "power": POWER}, AMOUNTS
    ),
}
RESPONSES |= {
    "hurdle_gamma": Response(
        lambda r, e, a: zeros(r, a["hu"], r.gamma(a["shape"], np.exp(e) / a["shape"])),
        {"shape": SHAPE, "hu": SHARE},
        AMOUNTS,
    ),
    "hurdle_lognormal": Response(
        lambda r, e, a: zeros(r, a["hu"], np.exp(r.normal(e, a["sigma"]))), {"sigma": SCALE, "hu": SHARE}, AMOUNTS
    ),
    "zero_inflated_beta": Response(
        lambda r, e, a: zeros(r, a["zi"], beta(r, expit(e), a["phi"])), {"phi": PRECISION, "zi": SHARE}
    ),
    "zero_one_inflated_beta": Response(ones_and_zeros, {"phi": PRECISION, "zoi": SHARE, "coi": SHARE}),
    "ordered_beta": Response(
        with_ends, {"phi": PRECISION, "cutzero": bmm.Prior("Normal", mu=-1.5, sigma=0.5), "width": PRECISION}
    ),
    "loglogistic": Response(
        lambda r, e, a: np.exp(e + r.logistic(size=len(e)) / a["shape"]), {"shape": SHAPE}, AMOUNTS
    ),
    "shifted_lognormal": Response(
        lambda r, e, a: a["ndt"] + np.exp(r.normal(e, a["sigma"])),
        {"sigma": SCALE, "ndt": bmm.Prior("Uniform", lower=0.0, upper=0.5)},
        AMOUNTS,
    ),
    "compois": Response(lambda r, e, a: conway(r, np.exp(e), a["shape"]), {"shape": SCALE}, COUNTS),
    "von_mises": Response(lambda r, e, a: r.vonmises(2 * np.arctan(e), a["kappa"]), {"kappa": SHAPE}, HALF),
    "asymmetric_laplace": Response(laplace, {"sigma": SCALE, "quantile": bmm.Prior("Fixed", value=0.7)}),
}
LINKS = {"logit": expit, "probit": ndtr}


def response(truth: Truth, data: pd.DataFrame, eta: np.ndarray, family: str) -> pd.DataFrame:
    """Draw the family's own parameters and the response of every row, and return the table with it."""
    own = RESPONSES[family]
    values = {name: truth.take(name, prior) for name, prior in own.own.items()}
    return data.assign(y=own.draw(truth.rng, eta, values))
