"""Responses of categories drawn from their models: step by step, by the odds of neighbours, without an order."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.special import softmax

import bayesmm as bmm
from validation.simulated import HALF, LOCATION, Rng, Truth, intercepts

THRESHOLD = bmm.Prior("Normal", mu=0, sigma=1.5)
STEPS = (1, 2, 3)  # of four ordered categories
LABELS = ("a", "b", "c")  # of categories without an order
Make = Callable[[Truth, pd.DataFrame], pd.DataFrame]


def drawn_by(rng: Rng, p: np.ndarray) -> np.ndarray:
    """Return the number of a category of each row, 0 ... K - 1, by the probabilities p, (n, K)."""
    return (rng.uniform(size=len(p))[:, None] > np.cumsum(p, axis=1)).sum(axis=1).clip(max=p.shape[1] - 1)


def sequential(rng: Rng, eta: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """Return categories that are reached step by step: at each a logistic variable about eta goes on or not."""
    goes_on = eta[:, None] + rng.logistic(size=(len(eta), len(cuts))) > cuts
    return 1 + np.cumprod(goes_on, axis=1).sum(axis=1)


def adjacent(rng: Rng, eta: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """Return categories whose log odds of neighbours are eta less a threshold."""
    steps = np.cumsum(eta[:, None] - cuts, axis=1)
    return 1 + drawn_by(rng, softmax(np.column_stack([np.zeros(len(eta)), steps]), axis=1))


def ascending(truth: Truth) -> np.ndarray:
    """Draw thresholds that are ascending numbers of one normal distribution."""
    labels = [f"threshold[{k}|{k + 1}]" for k in STEPS]
    cuts = np.sort([truth.take(label, THRESHOLD, "threshold") for label in labels])
    truth.values.update(zip(labels, cuts, strict=True))
    return cuts


def with_thresholds(truth: Truth, data: pd.DataFrame, respond, moved: np.ndarray | None = None) -> pd.DataFrame:
    """Draw thresholds in any order, and the response; `moved`, (n, K), is what the predictor does to each of them."""
    eta = intercepts(truth, data["g"], "g")
    if moved is None:
        eta = eta + truth.take("beta[x]", HALF) * data["x"].to_numpy()
    cuts = np.array([truth.take(f"threshold[{k}|{k + 1}]", THRESHOLD, "threshold") for k in STEPS])
    return data.assign(y=respond(truth.rng, eta, cuts if moved is None else cuts - moved))


def unordered(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    """Draw log odds of each category but the first, with a predictor and intercepts of groups, and the response."""
    odds = [np.zeros(len(data))]
    for label in LABELS[1:]:
        at = truth.take(f"mu[{label}]", LOCATION, "mu")
        at = at + truth.take(f"beta_mu[x, {label}]", HALF, "beta_mu") * data["x"].to_numpy()
        odds.append(at + intercepts(truth, data["g"], f"mu{label}_g"))
    p = softmax(np.column_stack(odds), axis=1)
    return data.assign(y=np.array(LABELS)[drawn_by(truth.rng, p)])


def discriminating(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    """Draw ordered categories whose latent variable is spread less, or more, by the predictor: disc is exp(b x)."""
    eta = truth.take("beta[x]", HALF) * data["x"].to_numpy() + intercepts(truth, data["g"], "g")
    cuts = ascending(truth)
    spread = np.exp(-truth.take("log_disc[x]", HALF) * data["x"].to_numpy())
    latent = eta + spread * truth.rng.logistic(size=len(eta))
    return data.assign(y=1 + (latent[:, None] > cuts).sum(axis=1))


def of_each_threshold(truth: Truth, data: pd.DataFrame) -> pd.DataFrame:
    """Draw categories by the odds of neighbours, where the predictor has an effect at each threshold."""
    slopes = [truth.take(f"cs[x, {k}|{k + 1}]", HALF) for k in STEPS]
    return with_thresholds(truth, data, adjacent, np.outer(data["x"], slopes))


DRAWS = {
    "sratio": lambda truth, data: with_thresholds(truth, data, sequential),
    "acat": lambda truth, data: with_thresholds(truth, data, adjacent),
    "categorical": unordered,
}
NUMBER = {"sratio": len(STEPS) + 1, "acat": len(STEPS) + 1, "cumulative": len(STEPS) + 1, "categorical": len(LABELS)}


def with_all(rng: Rng, family: str, data: pd.DataFrame, make: Make | None = None) -> tuple[Truth, pd.DataFrame]:
    """Return parameters and data of which every category has rows: others are drawn again, by the data alone."""
    while True:
        truth = Truth(rng)
        found = (make or DRAWS[family])(truth, data)
        if found["y"].nunique() == NUMBER[family]:
            return truth, found
