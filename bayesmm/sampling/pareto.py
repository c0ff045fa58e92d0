"""Pareto-smoothed importance weights, and how far they can be trusted (Vehtari et al. 2024, JMLR 25(72))."""

import math
from collections.abc import Mapping

import numpy as np
from scipy.special import logsumexp

from bayesmm.likelihood.crossproducts import Floats

# Above it the error falls so slowly with the number of draws that more of them are no help.
LARGEST_K = 0.7
# A log weight this far below the largest is 0 for any purpose, and finite.
LOWEST = -700.0


def k_limit(draws: int) -> float:
    """Return the Pareto k up to which the importance weights of this many draws can be trusted.

    Vehtari et al. (2024): min(1 - 1 / log10(S), 0.7), which is 0.7 from 2,155 draws on. With a single draw there is
    none, -inf.
    """
    return min(1 - 1 / math.log10(draws), LARGEST_K) if draws > 1 else -math.inf


def trusted(record: Mapping[str, object]) -> bool:
    """Return whether the weights behind recorded draws can be trusted; those of NUTS have none to doubt."""
    return "pareto_k" not in record or bool(record["pareto_k"] <= k_limit(record["pool"]))


def pareto_smoothed(log_weights: Floats) -> tuple[Floats, float]:
    """Return the log weights, (n,), with the largest smoothed and their sum 1, and the Pareto shape k.

    Vehtari et al. (2024), algorithm 1. A k that cannot be estimated is infinite: there were too few draws with any
    weight.
    """
    from arviz_stats.base import array_stats  # here, because it takes half a second to import

    relative = np.maximum(log_weights - log_weights.max(), LOWEST)
    smoothed, k = array_stats.psislw(-relative)  # it takes log likelihoods left out, which are minus the log weights
    return smoothed - logsumexp(smoothed), float(k) if np.isfinite(k) else np.inf
