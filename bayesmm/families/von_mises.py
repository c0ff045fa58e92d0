"""Angles in radians, from -pi to pi: von Mises ones about a direction mu, with a concentration kappa.

mu is 2 arctan(eta), so that eta = tan(mu / 2) is any number: directions meet at pi and -pi, where eta is infinite.
"""

import math
from collections.abc import Sequence

import numpy as np

from bayesmm.errors import DataError
from bayesmm.families.draws import where_known
from bayesmm.families.family import Auxiliary, Family
from bayesmm.families.kernel import Kernels, Tensor, kernel
from bayesmm.families.links import TAN_HALF
from bayesmm.families.residuals import Residual
from bayesmm.families.responses import Response, check_varies
from bayesmm.families.special import LOG_2PI, chained
from bayesmm.families.support import ANGLE
from bayesmm.runtime.messages import Message

Array = np.ndarray

LARGE = 20.0  # from here on an asymptotic series has all digits: its least term is exp(-2 kappa)
TERMS, FEW_TERMS, LARGEST_START, HARMONICS = 60, 30, 500.0, 200


def check(response: Response) -> list[Message]:
    """Check angles in radians."""
    y = response.y.astype(np.float64)
    bad = np.abs(y) > np.pi * (1 + 1e-12)
    if bad.any():
        degrees = np.abs(y).max() > 2 * np.pi
        how = "degrees are np.deg2rad(angle)" if degrees else "(y + pi) % (2 * pi) - pi is the same angle"
        raise DataError(
            f"the response '{response.name}' is no angle from -pi to pi in {response.rows.text(bad)}; the family "
            f"needs radians from -pi to pi, and {how}"
        )
    check_varies(y, response.name)
    return []


def variance(mu: Array, aux: tuple) -> Array:
    """Return the mean square of the angle between a response and mu."""
    return scatter(np.asarray(aux[0])) * np.ones_like(mu)


def scatter(kappa: Array) -> Array:
    """Return pi^2 / 3 + 4 sum (-1)^j I_j(kappa) / I_0(kappa) / j^2; for a large kappa its first two terms."""
    from scipy.special import ive

    kappa = np.asarray(kappa, dtype=float)
    j = np.arange(1, HARMONICS + 1)
    few = np.minimum(kappa, 1e3)[..., None]
    sums = np.pi**2 / 3 + 4 * ((-1.0) ** j * ive(j, few) / ive(0, few) / j**2).sum(axis=-1)
    return np.where(kappa < 1e3, sums, 1 / np.maximum(kappa, 1e3) * (1 + 0.5 / np.maximum(kappa, 1e3)))


def _of_draws(aux: Array) -> Array:
    return scatter(aux[0])


def draw(rng: np.random.Generator, mu: Array, trials: object, aux: tuple) -> Array:
    """Return random angles."""

    def known(direction: Array) -> Array:
        turned = direction + rng.vonmises(0.0, aux[0] * np.ones_like(direction))
        return np.clip((turned + np.pi) % (2 * np.pi) - np.pi, -np.pi, np.pi)

    return where_known(mu, known)


def cdf(y: Array, mu: Array, trials: object, aux: tuple) -> Array:
    """Return P(Y <= y), from -pi on."""
    from scipy.stats import vonmises

    y = np.clip(y, -np.pi, np.pi)
    return np.clip(vonmises.cdf(y - mu, aux[0]) - vonmises.cdf(-np.pi - mu, aux[0]), 0.0, 1.0)


def start(y: Array, mu: Array) -> Array:
    """Return a first kappa, by the mean cosine R of y - mu (Banerjee et al. 2005)."""
    R = float(np.clip(np.nan_to_num(np.nanmean(np.cos(y - mu))), 0.05, 0.9999))
    return np.array([min(R * (2 - R**2) / (1 - R**2), LARGEST_START)])


def _on_eta(mean: Array, aux: Array) -> Array:
    """Return the variance of the angle by (d eta / d mu)^2; that is (1 + eta^2) / 2."""
    return scatter(aux[0]) * np.square(0.5 / np.square(np.cos(0.5 * mean)))


# ----------------------------------------------------------------------------------------------------------------------
# the log density of a row, compiled and in PyTensor


@kernel
def log_bessel(kappa):
    """Return log(I_0(kappa) exp(-kappa)) and I_1(kappa) / I_0(kappa) (Abramowitz & Stegun 9.6.10, 9.7.1)."""
    s0, s1 = 1.0, 1.0
    if kappa < LARGE:
        square, t0, t1 = 0.25 * kappa * kappa, 1.0, 1.0
        for k in range(1, TERMS):
            t0 *= square / (k * k)
            t1 *= square / (k * (k + 1.0))
            s0 += t0
            s1 += t1
        return math.log(s0) - kappa, 0.5 * kappa * s1 / s0
    t0, t1 = 1.0, 1.0
    for k in range(1, FEW_TERMS):
        odd = (2.0 * k - 1.0) * (2.0 * k - 1.0)
        t0 *= odd / (8.0 * k * kappa)
        t1 *= (odd - 4.0) / (8.0 * k * kappa)
        s0 += t0
        s1 += t1
    return math.log(s0) - 0.5 * (LOG_2PI + math.log(kappa)), s1 / s0


@kernel
def density(link, y, size, eta, aux):
    """Return the log density and its derivatives: see `Kernels`."""
    value, d1, d2, d3 = row(link, y, size, eta, aux)
    return row_constant(link, y, size, eta, aux)[0] + value, d1, d2, d3


@kernel
def score(link, y, size, eta, aux):
    """Return the derivative in kappa."""
    return row_score(link, y, size, eta, aux)[0] + row_constant(link, y, size, eta, aux)[1], 0.0


@kernel
def row(link, y, size, eta, aux):
    """Return the log density and its derivatives without the Bessel function."""
    kappa, d = aux[0], y - 2.0 * math.atan(eta)
    c, s = math.cos(d), math.sin(d)
    m1 = 2.0 / (1.0 + eta * eta)
    m2 = -eta * m1 * m1
    m3 = m1 * m1 * m1 * (1.5 * eta * eta - 0.5) if abs(eta) < 1e100 else 0.0
    half = math.sin(0.5 * d)  # kappa (cos d - 1) without cancellation
    return chained(-2.0 * kappa * half * half, kappa * s, -kappa * c, -kappa * s, m1, m2, m3)


@kernel
def row_score(link, y, size, eta, aux):
    """Return the derivative of what `row` returns in kappa."""
    half = math.sin(0.5 * y - math.atan(eta))
    return -2.0 * half * half, 0.0


@kernel
def row_constant(link, y, size, eta, aux):
    """Return what `row` leaves out, a series, and its derivative."""
    value, ratio = log_bessel(aux[0])
    return -LOG_2PI - value, 1.0 - ratio, 0.0


def graph_density(link: str, y: Tensor, eta: Tensor, trials: object, aux: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return where the density exists, and the log density there."""
    import pytensor.tensor as pt

    kappa = aux[0]
    d = y - 2 * pt.arctan(eta)
    value = -2 * kappa * pt.sin(0.5 * d) ** 2 - LOG_2PI - _graph_log_bessel(kappa)
    return pt.ones_like(eta, dtype=bool), value


def _graph_log_bessel(kappa: Tensor) -> Tensor:
    """Return log(I_0(kappa) exp(-kappa)) by the series of `log_bessel`, each where it is used."""
    import pytensor.tensor as pt

    low, high = pt.minimum(kappa, LARGE), pt.maximum(kappa, LARGE)
    k = np.arange(TERMS, dtype=np.float64)
    series = np.cumprod(np.concatenate([[1.0], 1 / k[1:] ** 2]))
    tail = np.cumprod(np.concatenate([[1.0], (2 * k[1:FEW_TERMS] - 1) ** 2 / (8 * k[1:FEW_TERMS])]))
    s = (series * pt.shape_padright(0.25 * low**2) ** k).sum(axis=-1)
    t = (tail * pt.shape_padright(1 / high) ** k[:FEW_TERMS]).sum(axis=-1)
    return pt.switch(kappa < LARGE, pt.log(s) - low, pt.log(t) - 0.5 * (LOG_2PI + pt.log(high)))


KAPPA = Auxiliary("kappa", r"\kappa", "Gamma", {"alpha": 2.0, "beta": 0.2}, "(variance: about 1 / kappa)")

family = Family(
    name="von_mises",
    aliases=("vonmises", "von mises", "circular"),
    links=("tan_half",),
    link="tan_half",
    support=ANGLE,
    parameters=(KAPPA,),
    check_response=check,
    variance=variance,
    quadratic=False,
    scatter=_of_draws,
    draw=draw,
    cdf=cdf,
    kernels=Kernels(density, score, TAN_HALF, row, row_score, row_constant),
    graph_density=graph_density,
    residuals={
        "tan_half": Residual(
            _on_eta, "the mean square angle to mu x (slope of the link)^2", needs_mean=True, published=False
        )
    },
    start=start,
    tex=r"\mathrm{VonMises}(\text{direction } \mu_{i},\ \kappa)",
    several_modes=("tan_half",),
    cost=140.0,
)
