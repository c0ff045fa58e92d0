"""The mean of a response between 0 and 1, compiled and in PyTensor, with each link of a probability."""

import math

import numpy as np

from bayesmm.families.kernel import Tensor, kernel
from bayesmm.families.links import LOGIT, PROBIT
from bayesmm.families.special import ROOT_2PI, WILD, sigmoid

UNDERFLOW = 745.0  # exp(-t) is 0 above this


@kernel
def probability(link, eta):
    """Return mu, 1 - mu and the first three derivatives of mu, for a mean between 0 and 1."""
    if link == LOGIT:
        p, q = sigmoid(eta), sigmoid(-eta)
        return p, q, p * q, p * q * (q - p), p * q * (1.0 - 6.0 * p * q)
    if link == PROBIT:
        if abs(eta) > 38.0:  # the density is 0 from 38.6 on
            return 0.0, 0.0, 0.0, 0.0, 0.0
        density = math.exp(-0.5 * eta * eta) / ROOT_2PI
        p, q = 0.5 * math.erfc(-eta / math.sqrt(2.0)), 0.5 * math.erfc(eta / math.sqrt(2.0))
        return p, q, density, -eta * density, (eta * eta - 1.0) * density
    t = math.exp(min(eta, WILD))
    q = math.exp(-t) if t < UNDERFLOW else 0.0
    return -math.expm1(-t), q, t * q, t * q * (1.0 - t), t * q * (1.0 - 3.0 * t + t * t)


def graph_probabilities(link: str, eta: Tensor) -> tuple[Tensor, Tensor]:
    """Return p and 1 - p."""
    import pytensor.tensor as pt

    if link == "logit":
        return pt.sigmoid(eta), pt.sigmoid(-eta)
    if link == "probit":
        return 0.5 * pt.erfc(-eta / np.sqrt(2)), 0.5 * pt.erfc(eta / np.sqrt(2))
    t = pt.exp(pt.minimum(eta, WILD))
    return -pt.expm1(-t), pt.exp(-t)
