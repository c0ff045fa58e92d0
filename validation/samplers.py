"""Three ways to one posterior: effects integrated out and sampled by NUTS, drawn independently, or written out."""

import warnings
from itertools import combinations

import numpy as np

import bayesmm as bmm
from bayesmm.design.parameters import coefficients, variance_parameters
from bayesmm.posterior.draws import draws_of
from bayesmm.sampling.importance import NAME, serves
from validation.exact import LEVELS, mcse
from validation.models import CASES
from validation.records import Finding, Settings

TITLE = "Agreement of the samplers"
SHORT_CELLS = ("poisson",)
FARTHEST = 4.5  # standard errors of a difference
DRAWS, CHAINS, CAREFUL, TUNE = 1500, 4, 0.95, 1000
MODELS = (
    "gaussian, correlated slopes", "gaussian, crossed", "gaussian, nested, unbalanced", "bernoulli, intercepts",
    "poisson, correlated slopes", "negbinomial, intercepts", "binomial", "gamma", "weibull", "poisson", "cumulative",
)  # fmt: skip
WAYS = {
    "NUTS, integrated out": {"effects": "marginal"},
    "independent draws": {"sampler": NAME},
    "NUTS, written out": {"effects": "explicit", "target_accept": CAREFUL, "tune": TUNE},
}


def cells() -> tuple[str, ...]:
    """Return the names of the models, which are those of the calibration."""
    return MODELS


def check(cell: str, settings: Settings) -> Finding:
    """Return the z-scores of every pair of ways, for every parameter and statistic."""
    case = CASES[cell]
    simulated = case.draw(np.random.default_rng(11))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = bmm.Model(case.formula, simulated.data, case.family, simulated.priors, **case.options)
        values = {}
        for seed, (way, options) in enumerate(WAYS.items()):
            if way == "independent draws" and not serves(model.design, model.priors):
                continue
            fit = model.sample(DRAWS, chains=CHAINS, seed=seed, progress=False, cores=1, **options)
            values[way] = statistics(fit)
    rows = [
        (f"{one} - {other}", label, (values[one][label][0] - values[other][label][0])
         / np.hypot(values[one][label][1], values[other][label][1]))
        for one, other in combinations(values, 2) for label in values[one]
    ]  # fmt: skip
    scores = {pair: [float(z) for own, _, z in rows if own == pair] for pair, *_ in rows}
    worst = max(rows, key=lambda row: abs(row[2]))
    words = f"{len(rows)} differences, farthest {abs(worst[2]):.1f} ({worst[1]}, {worst[0]})"
    return Finding(bool(abs(worst[2]) <= FARTHEST), words, {"z": scores})


def statistics(fit) -> dict[str, tuple[float, float]]:
    """Return mean, sd and quantiles of every parameter, each with its Monte Carlo standard error."""
    parameters = variance_parameters(fit.design) + coefficients(fit.design)
    found = {}
    for parameter, draws in zip(parameters, draws_of(fit, parameters), strict=True):
        found[f"mean of {parameter.label}"] = draws.mean(), mcse(draws, method="mean")
        found[f"sd of {parameter.label}"] = draws.std(ddof=1), mcse(draws, method="sd")
        for q in LEVELS:
            found[f"{q:.0%} of {parameter.label}"] = np.quantile(draws, q), mcse(draws, method="quantile", prob=q)
    return found
