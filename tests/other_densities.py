"""The families beside those of `densities`: log densities by SciPy or as they are defined, random parameters, data.

All are functions of arrays (y, size, mu, aux), mu being what the link gives.
"""

import numpy as np
from scipy import optimize, special, stats

from bayesmm.families.families import FAMILIES, get_family
from bayesmm.families.family import MOST_PARAMETERS

B = np.sqrt(2 / np.pi)


def _skew_normal(y, size, mu, aux):
    sigma, alpha = aux[:2]
    delta = alpha / np.sqrt(1 + alpha**2)
    omega = sigma / np.sqrt(1 - (B * delta) ** 2)
    return stats.skewnorm.logpdf(y, alpha, mu - omega * delta * B, omega)


def _genpois(y, size, mu, aux):
    s = np.sqrt(1 + aux[0])
    theta, slope = mu / s, 1 - 1 / s
    return np.log(theta) + special.xlogy(y - 1, theta + slope * y) - theta - slope * y - special.gammaln(y + 1)


def _poisson(y, size, mu, aux):
    return stats.poisson.logpmf(y, mu)


def _negbinomial(y, size, mu, aux):
    return stats.nbinom.logpmf(y, aux[0], aux[0] / (aux[0] + mu))


def _binomial(y, size, mu, aux):
    return stats.binom.logpmf(y, size, mu)


def _inflated(base, at):
    def value(y, size, mu, aux):
        own = (1 - aux[at]) * np.exp(base(y, size, mu, aux))
        with np.errstate(divide="ignore"):  # far out in the tail
            return np.log(np.where(np.asarray(y) == 0, aux[at], 0.0) + own)

    return value


def _above_zero(base):
    def value(y, size, mu, aux):
        above = base(y, size, mu, aux) - np.log(-np.expm1(base(np.zeros_like(mu), size, mu, aux)))
        return np.where(np.asarray(y) > 0, above, -np.inf)

    return value


def _hurdle(base, at):
    above = _above_zero(base)

    def value(y, size, mu, aux):
        positive = np.log1p(-aux[at]) + above(np.maximum(y, 1), size, mu, aux)
        return np.where(np.asarray(y) == 0, np.log(aux[at]), positive)

    return value


def _weibull(y, size, mu, aux):
    return stats.weibull_min.logpdf(y, aux[0], scale=mu / special.gamma(1 + 1 / aux[0]))


def _tweedie(y, size, mu, aux):
    """A sum over the number of gamma variables, at each y."""
    phi, p = aux[:2]
    mu = mu * np.ones_like(y)
    rate, shape, scale = mu ** (2 - p) / (phi * (2 - p)), (2 - p) / (p - 1), phi * (p - 1) * mu ** (p - 1)
    top = np.max(rate) + np.max(y ** (2 - p)) / (phi * (2 - p))
    n = np.arange(1.0, 2 * top + 200)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = stats.poisson.logpmf(n, rate[..., None]) + stats.gamma.logpdf(
            np.asarray(y)[..., None], n * shape, scale=scale[..., None]
        )
        return np.where(np.asarray(y) > 0, special.logsumexp(terms, axis=-1), -rate)


def _beside_zeros(base, at):
    """Of what is 0 with a probability, and otherwise has a density."""

    def value(y, size, mu, aux):
        some = np.where(np.asarray(y) == 0, 0.5, y)
        return np.where(np.asarray(y) == 0, np.log(aux[at]), np.log1p(-aux[at]) + base(some, size, mu, aux))

    return value


def _gamma(y, size, mu, aux):
    return stats.gamma.logpdf(y, aux[0], scale=mu / aux[0])


def _lognormal(y, size, mu, aux):
    return stats.lognorm.logpdf(y, aux[0], scale=mu)


def _beta(y, size, mu, aux):
    return stats.beta.logpdf(y, mu * aux[0], (1 - mu) * aux[0])


def _asymmetric_laplace(y, size, mu, aux):
    sigma, q = aux[:2]
    return stats.laplace_asymmetric.logpdf(y, np.sqrt(q / (1 - q)), mu, sigma / np.sqrt(q * (1 - q)))


def _ordered_beta(y, size, mu, aux):
    y, mu = np.broadcast_arrays(np.asarray(y, dtype=float), mu)
    eta, cuts = special.logit(mu), (aux[1], aux[1] + aux[2])
    some = np.where((y == 0) | (y == 1), 0.5, y)
    between = np.log(special.expit(eta - cuts[0]) - special.expit(eta - cuts[1])) + _beta(some, size, mu, aux)
    ends = np.where(y == 0, special.log_expit(cuts[0] - eta), special.log_expit(eta - cuts[1]))
    return np.where((y == 0) | (y == 1), ends, between)


def _zero_one_inflated_beta(y, size, mu, aux):
    some = np.where((np.asarray(y) == 0) | (np.asarray(y) == 1), 0.5, y)
    ends = np.log(aux[1]) + np.where(np.asarray(y) == 1, np.log(aux[2]), np.log1p(-aux[2]))
    return np.where(np.asarray(y) == some, np.log1p(-aux[1]) + _beta(some, size, mu, aux), ends)


def _compois(y, size, mu, aux):
    """By sums to far beyond the mean; lambda by Brent's method."""
    y, mu = np.broadcast_arrays(np.asarray(y, dtype=float), mu)
    k = np.arange(3000.0)
    found = {}

    def terms(theta):
        return k * theta - aux[0] * special.gammaln(k + 1)

    def mean(theta):
        return np.sum(k * np.exp(terms(theta) - special.logsumexp(terms(theta))))

    for m in np.unique(mu):
        ends = np.log(m / (1 + m)) - 1e-9, max(np.log(m), aux[0] * np.log1p(m)) + 1e-9
        theta = optimize.brentq(lambda t, m=m: np.log(mean(t) / m), *ends, xtol=1e-15, rtol=1e-15)
        found[m] = theta, special.logsumexp(terms(theta))
    theta, log_z = np.array([found[m] for m in mu.ravel()]).T.reshape(2, *mu.shape)
    return y * theta - aux[0] * special.gammaln(y + 1) - log_z


LOG_DENSITIES = {
    "betabinomial": lambda y, n, mu, aux: stats.betabinom.logpmf(y, n, mu * aux[0], (1 - mu) * aux[0]),
    "nbinom1": lambda y, n, mu, aux: stats.nbinom.logpmf(y, mu / aux[0], 1 / (1 + aux[0])),
    "genpois": _genpois,
    "lognormal": lambda y, n, mu, aux: stats.lognorm.logpdf(y, aux[0], scale=mu),
    "inverse_gaussian": lambda y, n, mu, aux: stats.invgauss.logpdf(y, mu / aux[0], scale=aux[0]),
    "exponential": lambda y, n, mu, aux: stats.expon.logpdf(y, scale=mu),
    "weibull": _weibull,
    "skew_normal": _skew_normal,
    "exgaussian": lambda y, n, mu, aux: stats.exponnorm.logpdf(y, aux[1] / aux[0], mu - aux[1], aux[0]),
    "zero_inflated_poisson": _inflated(_poisson, 0),
    "zero_inflated_negbinomial": _inflated(_negbinomial, 1),
    "zero_inflated_binomial": _inflated(_binomial, 0),
    "hurdle_poisson": _hurdle(_poisson, 0),
    "hurdle_negbinomial": _hurdle(_negbinomial, 1),
    "truncated_poisson": _above_zero(_poisson),
    "truncated_negbinomial": _above_zero(_negbinomial),
    "tweedie": _tweedie,
    "hurdle_gamma": _beside_zeros(_gamma, 1),
    "hurdle_lognormal": _beside_zeros(_lognormal, 1),
    "zero_inflated_beta": _beside_zeros(_beta, 1),
    "loglogistic": lambda y, n, mu, aux: stats.logistic.logpdf(np.log(y), np.log(mu), 1 / aux[0]) - np.log(y),
    "shifted_lognormal": lambda y, n, mu, aux: stats.lognorm.logpdf(y, aux[0], loc=aux[1], scale=mu),
    "compois": _compois,
    "ordered_beta": _ordered_beta,
    "zero_one_inflated_beta": _zero_one_inflated_beta,
    "asymmetric_laplace": _asymmetric_laplace,
    "von_mises": lambda y, n, mu, aux: stats.vonmises.logpdf(y, aux[0], loc=mu),
}
SMOOTH = [name for name in LOG_DENSITIES if FAMILIES[name].smooth]  # those that have a maximum that is found
CASES = [(name, link) for name in LOG_DENSITIES for link in FAMILIES[name].links]
# Of parameters: where the densities are checked, in their order
RANGES = {
    "zi": (0.05, 0.9), "hu": (0.05, 0.9), "alpha": (-6.0, 6.0), "sigma": (0.3, 3.0), "tau": (0.3, 3.0),
    "phi": (0.2, 30.0), "shape": (0.3, 12.0), "power": (1.1, 1.9), "ndt": (0.1, 0.6), "kappa": (0.3, 40.0),
    "zoi": (0.05, 0.9), "coi": (0.05, 0.9), "cutzero": (-3.0, 1.0), "width": (0.5, 5.0),
    "quantile": (0.1, 0.9),
}  # fmt: skip


TYPICAL = {
    "zi": 0.3,
    "hu": 0.35,
    "alpha": 3.0,
    "sigma": 0.8,
    "tau": 1.2,
    "nu": 6.0,
    "shape": 3.0,
    "phi": 5.0,
    "power": 1.5,
    "ndt": 0.4,
    "kappa": 3.0,
    "zoi": 0.3,
    "coi": 0.4,
    "cutzero": -1.5,
    "quantile": 0.3,
    "width": 3.5,
}


def typical(family):
    """Return one value for each parameter of a family besides mu."""
    return tuple(TYPICAL[name] for name in family.auxiliaries)


def example(family, rng, n, trials=None):
    """Return n responses that any family of the package may have."""
    share = family.support.successes or family.support.proportion or family.support.angle
    mu = np.full(n, 0.5 if share else 3.0)
    size = trials if family.support.trials else None
    return family.draw(rng, mu, size, typical(family))


def parameters(family, rng):
    """Return random parameters, padded by zeros to as many as compiled code has places for."""
    aux = np.zeros(MOST_PARAMETERS)
    for m, name in enumerate(family.auxiliaries):
        aux[m] = rng.uniform(*RANGES[name])
    return aux


def predictors(link, rng, n):
    """Return random linear predictors."""
    return rng.uniform(0.2, 2.0, n) if link == "inverse" else rng.uniform(-2.0, 2.0, n)


def data(name, link, rng, n, eta=None, aux=None):
    """Return random (y, size, eta, aux) of a family."""
    from bayesmm.families.links import LINKS

    family = get_family(name, link)
    eta = predictors(link, rng, n) if eta is None else eta
    aux = parameters(family, rng) if aux is None else aux
    size = rng.integers(1, 12, n).astype(float) if family.support.trials else np.ones(n)
    own = tuple(aux[: len(family.parameters)])
    return family.draw(rng, LINKS[link].inverse(eta), size if family.support.trials else None, own), size, eta, aux
