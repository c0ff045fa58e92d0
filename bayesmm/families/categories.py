"""Moments, draws and the distribution function of a response of categories 1 ... K, from their probabilities."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bayesmm.families.auxiliary import Auxiliary
from bayesmm.families.family import Family
from bayesmm.families.kernel import Kernels, kernel

Array = np.ndarray
Probabilities = Callable[[str, Array, Sequence[Array]], Array]  # (link, eta, thresholds) -> (..., K)


def functions(probabilities: Probabilities) -> dict[str, Callable]:
    """Return what a family of ordered categories has besides its probabilities, by the names of `Family`."""
    given = {"mean": mean, "variance": variance, "draw": draw, "cdf": cdf}
    own = {name: OfProbabilities(function, probabilities) for name, function in given.items()}
    return {"probabilities": probabilities} | own


@dataclass(frozen=True)
class OfProbabilities:
    """A function of a family with its probabilities as the first argument: equal to itself out of a pickle."""

    function: Callable[..., Array]
    probabilities: Probabilities

    def __call__(self, *arguments: object) -> Array:
        """Return its value for the other arguments."""
        return self.function(self.probabilities, *arguments)


def mean(probabilities: Probabilities, link: str, eta: Array, thresholds: Sequence[Array]) -> Array:
    """Return the expected number of the category."""
    p = probabilities(link, eta, thresholds)
    return p @ np.arange(1.0, p.shape[-1] + 1)


def variance(probabilities: Probabilities, link: str, eta: Array, thresholds: Sequence[Array]) -> Array:
    """Return the variance of the number of the category."""
    p = probabilities(link, eta, thresholds)
    k = np.arange(1.0, p.shape[-1] + 1)
    return p @ k**2 - np.square(p @ k)


def draw(
    probabilities: Probabilities, link: str, rng: np.random.Generator, eta: Array, trials: object, thresholds: tuple
) -> Array:
    """Return random categories, 1 ... K."""
    below = np.cumsum(probabilities(link, eta, thresholds), axis=-1)[..., :-1]
    u = rng.uniform(size=below.shape[:-1])
    drawn = 1.0 + (u[..., None] > below).sum(axis=-1)
    return np.where(np.isnan(below).any(axis=-1), np.nan, drawn)


def cdf(
    probabilities: Probabilities, link: str, y: Array, eta: Array, trials: object, thresholds: tuple
) -> Array:  # fmt: skip
    """Return P(Y <= y)."""
    p = probabilities(link, eta, thresholds)
    below = np.concatenate([np.zeros((*p.shape[:-1], 1)), np.minimum(np.cumsum(p, axis=-1), 1.0)], axis=-1)
    below[..., -1] = 1.0
    k = np.broadcast_to(np.clip(np.floor(y), 0, below.shape[-1] - 1), below.shape[:-1]).astype(np.int64)
    return np.take_along_axis(below, k[..., None], axis=-1)[..., 0]


def together(eta: Array, thresholds: Sequence[Array]) -> Array:
    """Return eta less each threshold, (..., K - 1)."""
    return np.stack(np.broadcast_arrays(*(eta - np.asarray(tau, dtype=float) for tau in thresholds)), axis=-1)


@kernel
def along_predictor(M, sign, out):
    """Set the derivatives in eta in what `Kernels.joint` gives, from those in the thresholds.

    The density depends on thresholds less eta, sign -1, or on log odds and eta: the derivative in eta is the sum of
    those in all of them, times the sign.
    """
    second, third = M, M + M * M
    out[0] = 0.0
    for a in range(1, M):
        out[0] += sign * out[a]
    for b in range(1, M):
        total = 0.0
        for a in range(1, M):
            total += sign * out[second + a * M + b]
        out[second + b] = out[second + b * M] = total
        for c in range(1, M):
            total = 0.0
            for a in range(1, M):
                total += sign * out[third + (a * M + b) * M + c]
            out[third + b * M + c] = out[third + (b * M) * M + c] = out[third + (b * M + c) * M] = total
    out[second] = 0.0
    for b in range(1, M):
        out[second] += sign * out[second + b]
        total = 0.0
        for a in range(1, M):
            total += sign * out[third + a * M + b]
        out[third + b] = out[third + b * M] = out[third + b * M * M] = total
    out[third] = 0.0
    for b in range(1, M):
        out[third] += sign * out[third + b]


# ----------------------------------------------------------------------------------------------------------------------
# with a discrimination, F(disc (threshold - eta)): the last of the parameters

DISC = Auxiliary("disc", r"\alpha", relative=True)


@dataclass(frozen=True)
class Discriminating:
    """A function (link, ..., eta, ..., thresholds) where the last of the thresholds multiplies the others and eta.

    Eta is the argument at `place`.
    """

    function: Callable
    place: int

    def __call__(self, *arguments: object) -> object:
        """Return its value at the products."""
        *given, (*thresholds, disc) = arguments
        given[self.place] = disc * given[self.place]
        return self.function(*given, [disc * tau for tau in thresholds])


@kernel
def along_discrimination(count, eta, aux, out):
    """Set the derivatives in thresholds and disc, from those in disc times the thresholds: see `Kernels.scores`."""
    total = 0.0
    for k in range(count):
        total += out[k] * (aux[k] - eta) if out[k] != 0.0 else 0.0
        out[k] *= aux[count]
    out[count] = total


def scaled_family(family: Family, kernels: Kernels) -> Family:
    """Return a family with a parameter `disc`, which multiplies thresholds and linear predictor."""
    return replace(
        family,
        parameters=(DISC,),
        kernels=kernels,
        graph_density=Discriminating(family.graph_density, 2),
        residuals={},
        **functions(Discriminating(family.probabilities, 1)),
    )
