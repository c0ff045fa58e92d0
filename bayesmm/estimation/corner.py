"""Maximum likelihood of families whose log density has a corner, which neither Newton nor Laplace can go by.

Without random effects a family may know its maximum itself, `Family.maximum`; with random effects there is none to be
had, and `no_maximum` says so, in one sentence for all that would show it.
"""

from collections.abc import Mapping

import numpy as np

from bayesmm.design.parameters import free_auxiliaries
from bayesmm.design.records import Design
from bayesmm.errors import DataError
from bayesmm.estimation.estimates import Estimates, Optimum
from bayesmm.estimation.glmm import check_nagq
from bayesmm.estimation.start import check_start
from bayesmm.likelihood.crossproducts import Floats


def no_maximum(design: Design, method: str = "ML") -> str:
    """Return why a model has no maximised fit, a sentence without its full stop; empty where it has one."""
    family = design.family
    if family.smooth:
        return ""
    corner = f"the log density of the {family.label} family has a corner and no curvature"
    if family.maximum is None or design.blocks:
        return (
            f"{corner}, so that neither Newton's method nor Laplace's approximation finds the maximum of a model with "
            "random effects; sample() draws from the posterior"
        )
    if method == "MAP":
        return f"{corner}, so that the mode of its posterior is not found; use 'ML', or sample()"
    by_formula = [part.text for part in design.residual.parts if part.of]
    if by_formula:
        return (
            f"{corner}, so that its maximum is not found with {by_formula[0]} (it is where the scale is the same in "
            "all rows); sample() draws from the posterior"
        )
    return ""


def corner_maximum(design: Design, method: str, priors, start: Mapping[str, float] | None, nagq: int) -> Estimates:
    """Return the maximum of the likelihood, as the family knows it.

    Parameters
    ----------
    design : Design
    method : {"ML", "MAP"}
    priors : Priors or None
        For the values of the parameters that the user chooses; kept, so that refits have them too.
    start : mapping, optional
        Checked, and not needed.
    nagq : int

    Raises
    ------
    DataError
        There is none, or a parameter that is to be chosen is not.
    """
    said = no_maximum(design, method)
    if said:
        raise DataError(said)
    check_nagq(design, nagq)
    if start is not None:
        check_start(design, start)
    kept = [j for j in range(design.p) if j not in design.aliased]
    Q, R = np.linalg.qr(design.X[:, kept])
    weights = np.ones(design.n) if design.weights is None else design.weights
    unit = np.sqrt(design.n)
    found = design.family.maximum(design.y - design.offset, Q * unit, weights, _given(design, priors))
    root = np.linalg.inv(R) * unit
    beta, beta_cov = np.full(design.p, np.nan), np.full((design.p, design.p), np.nan)
    beta[kept], beta_cov[np.ix_(kept, kept)] = root @ found.beta, root @ found.beta_cov @ root.T
    own = dict(zip(design.family.auxiliaries, found.aux.tolist(), strict=True))
    message = f"converged ({found.steps} steps of the linear programme); standard errors hold for any errors"
    if not found.unique:
        message += "; other coefficients have the same likelihood"
    criterion = -2 * found.loglik
    return Estimates(
        design, priors, method, beta, beta_cov, own.get("sigma", 1.0), (), (), (), criterion, found.loglik, criterion,
        False, True, message, 0.0, Optimum(beta, 0.0, found.steps, 1), own,
    )  # fmt: skip


def _given(design: Design, priors) -> Floats:
    """Return the family's parameters, those that are estimated as NaN."""
    values = []
    for own in free_auxiliaries(design):
        prior = None if priors is None else priors.get(own.name)
        if own.chosen and (prior is None or prior.distribution != "Fixed"):
            raise DataError(
                f"{own.name} of the {design.family.label} family is chosen, not estimated, where its likelihood is "
                f"maximised; give it a value, priors={{{own.name!r}: 0.5}}, or use sample()"
            )
        values.append(prior.parameters["value"] if own.chosen else np.nan)
    return np.array(values, dtype=np.float64)
