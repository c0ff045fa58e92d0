"""Skewed responses: skew normal ones with mean mu, sd sigma and the slant alpha (Azzalini 1985).

With delta = alpha / sqrt(1 + alpha^2) and b = sqrt(2 / pi), the location is mu - omega delta b and the scale omega is
sigma c, c = 1 / sqrt(1 - b^2 delta^2): z = (y - location) / omega = (y - mu) / (sigma c) + delta b.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bayesmm.families.binomial import graph_log_normal_cdf
from bayesmm.families.family import REAL_VALUES, SIGMA, Auxiliary, Family
from bayesmm.families.gaussian import variance
from bayesmm.families.kernel import Kernels, Tensor, kernel
from bayesmm.families.residuals import Residual
from bayesmm.families.special import LOG_2PI, log_normal_cdf
from bayesmm.families.support import REAL

Array = np.ndarray

B = math.sqrt(2 / math.pi)
LARGEST_SKEW, LEAST_SLANT = 0.9, 0.5  # of a start: a slant of 0 has no slope in the likelihood, and 0.995 is the most


def _standard(y: Array, mu: Array, aux: tuple) -> tuple[Array, Array]:
    """Return z and omega."""
    sigma, alpha = aux
    delta = alpha / np.sqrt(1 + np.square(alpha))
    omega = sigma / np.sqrt(1 - np.square(B * delta))
    return (y - mu) / omega + B * delta, omega


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random responses."""
    sigma, alpha = aux
    shape = np.broadcast_shapes(np.shape(mu), np.shape(sigma), np.shape(alpha))
    delta = alpha / np.sqrt(1 + np.square(alpha))
    omega = sigma / np.sqrt(1 - np.square(B * delta))
    z = delta * np.abs(rng.standard_normal(shape)) + np.sqrt(1 - np.square(delta)) * rng.standard_normal(shape)
    return mu + omega * (z - B * delta)


def cdf(y: Array, mu: Array, trials: object, aux: tuple) -> Array:
    """Return P(Y <= y)."""
    from scipy.special import ndtr, owens_t

    z = _standard(y, mu, aux)[0]
    return np.clip(ndtr(z) - 2 * owens_t(z, aux[1]), 0.0, 1.0)


def start(y: Array, mu: Array) -> Array:
    """Return a first sigma and slant, by moments."""
    r = y - mu
    sd = float(np.sqrt(np.nanmean(r**2))) or 1.0
    skew = float(np.clip(np.nan_to_num(np.nanmean(r**3) / sd**3), -LARGEST_SKEW, LARGEST_SKEW))
    size = abs(skew) ** (2 / 3)
    delta = np.sqrt(np.pi / 2 * size / (size + (2 - np.pi / 2) ** (2 / 3)))
    slant = max(delta / np.sqrt(max(1 - delta**2, 1e-3)), LEAST_SLANT)
    return np.array([sd, math.copysign(slant, skew)])


def _on_identity(mean: None, aux: Array) -> Array:
    return aux[0] ** 2


# ----------------------------------------------------------------------------------------------------------------------
# the log density of a row, compiled and in PyTensor


@kernel
def density(link, y, size, eta, aux):
    """Return the log density and its derivatives: see `Kernels`."""
    sigma, alpha = aux[0], aux[1]
    delta = alpha / math.sqrt(1.0 + alpha * alpha)
    omega = sigma / math.sqrt(1.0 - B * B * delta * delta)
    z = (y - eta) / omega + B * delta
    value, h1, h2, h3 = log_normal_cdf(alpha * z)
    value += math.log(2.0) - math.log(omega) - 0.5 * (LOG_2PI + z * z)
    d2 = (alpha * alpha * h2 - 1.0) / omega / omega
    return value, (z - alpha * h1) / omega, d2, -alpha * alpha * alpha * h3 / omega / omega / omega


@kernel
def score(link, y, size, eta, aux):
    """Return the derivatives in sigma and alpha."""
    sigma, alpha = aux[0], aux[1]
    root = math.sqrt(1.0 + alpha * alpha)
    delta, d_delta = alpha / root, 1.0 / root / root / root
    c = 1.0 / math.sqrt(1.0 - B * B * delta * delta)
    d_c = B * B * delta * d_delta * c * c * c
    r = (y - eta) / sigma / c
    z = r + B * delta
    h = log_normal_cdf(alpha * z)[1]
    slope = alpha * h - z
    return -(1.0 + slope * r) / sigma, z * h - d_c / c + slope * (B * d_delta - r * d_c / c)


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there."""
    import pytensor.tensor as pt

    sigma, alpha = aux
    delta = alpha / pt.sqrt(1 + alpha**2)
    omega = sigma / pt.sqrt(1 - (B * delta) ** 2)
    z = (y - eta) / omega + B * delta
    value = np.log(2) - pt.log(omega) - 0.5 * (z**2 + LOG_2PI) + graph_log_normal_cdf(alpha * z)
    return pt.ones_like(eta, dtype=bool), value


ALPHA = Auxiliary("alpha", r"\alpha", "Normal", {"mu": 0.0, "sigma": 4.0}, "(slant; 0: normal)", bounds=REAL_VALUES)

family = Family(
    name="skew_normal",
    aliases=("skewnormal", "skew-normal", "sn"),
    links=("identity",),
    link="identity",
    concave_links=("identity",),
    support=REAL,
    parameters=(replace(SIGMA, label="residual sd (sigma)"), ALPHA),
    variance=variance,
    draw=draw,
    cdf=cdf,
    kernels=Kernels(density, score),
    graph_density=graph_density,
    residuals={"identity": Residual(_on_identity, "sigma^2", published=False)},
    start=start,
    tex=r"\mathrm{SkewNormal}(\text{mean } \mu_{i},\ \text{sd } \sigma,\ \alpha)",
    cost=200.0,
)
