"""Responses drawn given their means: a family's, and those of a linear model whose residuals are correlated."""

import numpy as np

from bayesmm.design.residual.correlation import Correlation
from bayesmm.families.family import Family
from bayesmm.families.family import draw_response as independent

Array = np.ndarray


def draw_response(
    family: Family,
    rng: np.random.Generator,
    mu: Array,
    trials: object,
    aux: tuple,
    weights: Array | None = None,
    correlation: Correlation | None = None,
) -> Array:
    """Return random responses with these means, (n,) or (draws, n); `correlation` is that of a Gaussian's residuals."""
    drawn = independent(family, rng, mu, trials, aux, weights)
    if correlation is None:
        return drawn
    scale = aux[0] / (1.0 if weights is None else np.sqrt(weights))
    return mu + scale * correlation.drawn((drawn - mu) / scale)
