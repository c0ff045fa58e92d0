"""The evidence p(y) of a model by bridge sampling, and what it rests on.

The random effects, and of a Gaussian model the coefficients with normal priors, are integrated out, in closed form or
by quadrature, so that the bridge (Meng & Wong 1996, Statistica Sinica 6) is one in a handful of dimensions: between the
posterior in the coordinates of `integral`, all constants of likelihood and priors included, and a mixture of t
distributions fitted to half of its draws. Its error is that of Frühwirth-Schnatter (2004, Econometrics Journal 7(1));
the draws of the mixture give a second estimate, by importance sampling, to hold it against.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from bayesmm.design.parameters import residual_labels
from bayesmm.display.text_tables import apart, wrap
from bayesmm.errors import PriorError
from bayesmm.evaluation.integral import Integral, coordinates_of, fitted, integral_of, marginal_of, refusal, weighted
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.likelihood.marginal import Marginal
from bayesmm.posterior.draws import tree_sizes
from bayesmm.runtime.arguments import check_seed, chosen_seed
from bayesmm.runtime.messages import count
from bayesmm.runtime.progress import working
from bayesmm.runtime.streams import stream
from bayesmm.runtime.threads import few_threads
from bayesmm.sampling.pareto import k_limit
from bayesmm.sampling.proposal import component_densities

IMPROPER = ("Flat", "HalfFlat")
# Of the iteration for the bridge: relative change of the estimate, and the most steps, of which ten are usual.
TOLERANCE, STEPS = 1e-10, 1000
LARGEST_SE = 0.1  # of the log evidence: a Bayes factor known to 10 %
APART = 5.0  # standard errors between the two estimates
MOST_COORDINATES = 30  # beyond, a mixture fitted to some thousand draws is no longer near to the posterior


@dataclass(frozen=True)
class Evidence:
    """The log evidence of a model, log p(y).

    Attributes
    ----------
    log_evidence, se : float
        By bridge sampling, and its Monte Carlo error. In nats.
    importance, importance_se, pareto_k : float
        By importance sampling from the same proposal.
    coordinates : int
        Number of parameters that are not integrated out in closed form or by quadrature; with 0 the value is exact.
    draws : int
        Posterior draws that the bridge stands on (half of all), and as many of the proposal.
    seed : int
    scaled_priors : tuple of str
        Places whose prior is the default, the scale of which is taken from the data.
    """

    log_evidence: float
    se: float
    importance: float
    importance_se: float
    pareto_k: float
    coordinates: int
    draws: int
    seed: int
    scaled_priors: tuple[str, ...]

    @property
    def trouble(self) -> str | None:
        """What speaks against the estimate, in a sentence; None if nothing does."""
        gap = abs(self.log_evidence - self.importance)
        if not np.isfinite(self.log_evidence) or self.se > LARGEST_SE:
            value, most = apart(self.se, LARGEST_SE, 2, "g")
            return f"the error of the log evidence, {value}, is above {most}: sample with more draws"
        if self.pareto_k < k_limit(self.draws) and gap > APART * np.hypot(self.se, self.importance_se):
            return f"two estimates of it are {gap:.2g} apart: the draws may not have converged"
        return None

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    __repr__ = __str__


@working("the evidence, by bridge sampling")
@few_threads
def evidence(fit, seed: int | None = None) -> Evidence:
    """Estimate the log evidence of a fitted model, log p(y), all parameters integrated out.

    Parameters
    ----------
    fit : Fit
    seed : int, optional
        Of the draws of the proposal; a new one if not given.

    Returns
    -------
    Evidence

    Raises
    ------
    PriorError
        A prior is improper: there is no evidence.
    ValueError
        The model's random effects are not integrated out in closed form or by quadrature, a prior is a function, or
        there are too many parameters or too few draws.
    """
    check_seed(seed)
    check(fit)
    model = marginal_of(fit)
    seed = chosen_seed(seed)
    scaled = tuple(place.name for place, prior in fit.model.priors.entries if _is_scaled(place, prior))
    if model.posterior.size == 0:  # all is fixed by the priors but what is integrated out
        exact = float(model.posterior.many(np.zeros((1, 0)))[0])
        return Evidence(exact, 0.0, exact, 0.0, -np.inf, 0, 0, seed, scaled)
    if model.posterior.size > MOST_COORDINATES:
        raise ValueError(
            f"bridge sampling is for at most {MOST_COORDINATES} parameters besides what is integrated out, and this "
            f"model has {model.posterior.size}"
        )
    value, se, other, draws = bridge(fit, model, stream(seed, "evidence", fit.design.formula.text))
    return Evidence(
        value, se, other.log_value, other.se, other.pareto_k, model.posterior.size, draws, seed, scaled
    )  # fmt: skip


def check(fit) -> None:
    """Raise what `evidence` does for a model that has none, or none that can be computed."""
    improper = [place for place, prior in fit.model.priors.items() if prior.distribution in IMPROPER]
    if improper:
        prior = fit.model.priors[improper[0]]
        raise PriorError(
            f"the prior of {improper[0]} is {prior}, which is improper, so that the evidence is known only up to an "
            "arbitrary factor; give it a proper prior"
        )
    said = refusal(fit) or _unknown_order(fit)
    if said:
        raise ValueError(f"the evidence cannot be computed: {said}")


def _unknown_order(fit) -> str | None:
    """Return why the density of thresholds in order is known only up to a factor; None where it is known."""
    own = [label for p in fit.design.residual.parameters if p.ordered for label in residual_labels(p)]
    if len({fit.model.priors[label] for label in own}) > 1:
        return "the thresholds have different priors, and how often values of these are in order is not known"
    return None


def _is_scaled(place, prior) -> bool:
    return prior == place.default and place.kind != "correlation"


def bridge(fit, model: Marginal, rng: np.random.Generator) -> tuple[float, float, Integral, int]:
    """Return the log evidence, its error, the estimate by importance sampling, and the number of posterior draws."""
    chains, length = tree_sizes(fit.tree)
    x = coordinates_of(fit, model).reshape(chains, length, -1)
    half = length // 2
    proposal = fitted(model.posterior, x[:, :half].reshape(chains * half, -1), rng)
    own = x[:, half:].reshape(chains * (length - half), -1)
    at_own = model.posterior.many(own) - logsumexp(component_densities(proposal, own), axis=0)
    at_proposed = weighted(model.posterior, proposal, len(own), rng)[1]
    shape = chains, length - half
    value, se = solved(at_own.reshape(shape), at_proposed)
    return value, se, integral_of(at_proposed), len(own)


def solved(own: Floats, proposed: Floats) -> tuple[float, float]:
    """Return the log of the ratio of normalising constants by the optimal bridge, and its error.

    Parameters
    ----------
    own : (chains, draws) float64
        Log of the density over the proposal's, at draws of the density.
    proposed : (n,) float64
        The same at draws of the proposal.

    Notes
    -----
    Meng & Wong (1996): r = mean[l / (s1 l + s2 r)] over the proposal's draws / mean[1 / (s1 l + s2 r)] over the
    density's, iterated; s1 is the share of the density's draws by their effective number, as in Gronau et al. (2017,
    Journal of Mathematical Psychology 81).
    """
    from arviz_stats.base import array_stats

    n, flat = len(proposed), own.ravel()
    effective = min(float(array_stats.ess(own, method="mean")), flat.size)
    s1 = effective / (effective + n)
    log_s1, log_s2 = np.log(s1), np.log1p(-s1)
    r = float(np.median(flat))
    for _ in range(STEPS):
        over = logsumexp(proposed - np.logaddexp(log_s1 + proposed, log_s2 + r)) - np.log(n)
        under = logsumexp(-np.logaddexp(log_s1 + flat, log_s2 + r)) - np.log(flat.size)
        before, r = r, float(over - under)
        if not abs(r - before) > TOLERANCE * abs(r):
            break
    # Frühwirth-Schnatter (2004): relative variances of the two means, that of dependent draws by their effective number
    first = np.exp(proposed - r - np.logaddexp(log_s1 + proposed - r, log_s2))
    second = np.exp(-np.logaddexp(log_s1 + own - r, log_s2))
    ess = float(array_stats.ess(second, method="mean"))
    return r, float(np.sqrt(first.var() / first.mean() ** 2 / n + second.var() / second.mean() ** 2 / ess))


# ----------------------------------------------------------------------------------------------------------------------
# print

WARNING = (
    "The evidence averages the likelihood over the priors: it changes with the width of every prior, also where the "
    "posterior does not."
)


def about_scales(places: Sequence[str]) -> list[str]:
    """Return a sentence on priors that take their scale from the data, if there are any."""
    if not places:
        return []
    few = ", ".join(places[:4]) + (", ..." if len(places) > 4 else "")
    return [
        f"The default priors ({few}) take their scale from the data and were not made for this; give priors that you "
        "would defend before seeing the data."
    ]


def _lines(found: Evidence) -> list[str]:
    how = (
        f"Bridge sampling in {count(found.coordinates, 'dimension')}, {found.draws:,} posterior draws; by importance "
        f"sampling {found.importance:.3f} (error {found.importance_se:.2g}, Pareto k {found.pareto_k:.2f})."
        if found.coordinates
        else "Exact: every parameter is fixed by its prior or integrated out in closed form."
    )
    said = [how, *([f"NOT RELIABLE: {found.trouble}."] if found.trouble else []), WARNING]
    said += about_scales(found.scaled_priors)
    head = f"Log evidence, log p(y): {found.log_evidence:.3f} (Monte Carlo error {found.se:.2g})"
    return [head, *(line for text in said for line in wrap(text))]
