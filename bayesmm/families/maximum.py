"""The maximum of a likelihood that a family knows itself, where no search by derivatives finds it."""

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Maximum:
    """The maximum of the likelihood of a model without random effects, as a family knows it.

    Attributes
    ----------
    beta : (p,) float64
    beta_cov : (p, p) float64
    aux : (a,) float64
        The family's parameters, those that were chosen as they were given.
    loglik : float
    unique : bool
        Whether no other coefficients have the same likelihood.
    steps : int
        Of the algorithm.
    """

    beta: Array
    beta_cov: Array
    aux: Array
    loglik: float
    unique: bool
    steps: int
