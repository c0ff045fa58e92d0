"""Simulation-based calibration (Talts et al. 2018, arXiv:1804.06788): are the posteriors the right ones?

Parameters are drawn from the priors and data from the model; then the rank of each quantity among its posterior draws
is uniform, whatever the posterior's shape. Data sets that cannot be fitted (no variation, a category without rows) are
left out, which keeps the ranks uniform, since it depends on the data alone.
"""

import json
import warnings
from collections.abc import Callable
from functools import cache

import numpy as np
from scipy import stats

import bayesmm as bmm
from bayesmm.design.parameters import coefficients, variance_parameters
from bayesmm.errors import DataError
from bayesmm.posterior.draws import draws_of
from bayesmm.sampling.importance import NAME, serves
from validation.models import CASES, CENTRAL, STRUCTURE, Case, Simulated
from validation.records import Clock, Finding, Record, Settings
from validation.simulated import PREDICTOR

TITLE = "Simulation-based calibration"
SHORT_CELLS = ("gaussian, correlated slopes", "bernoulli, intercepts", "zero_inflated_poisson", "gr(by)")
LEAST_P = 1e-4  # of a quantity's tests; some 450 quantities with two tests each: one run in eleven has one by chance
CONFIRMED = 0.01  # p of what failed so, in other data sets: below it it has failed
RANKS = 99  # draws that a value is ranked among: 100 possible ranks, in 10 or 20 bins
DRAWS, TUNE = 600, 300  # thinned to RANKS; independent draws have no TUNE
# Of the worst variance parameter or coefficient: as many as ranks, as Talts et al. thin (algorithm 2). Of an
# autoregressive chain thinned from ESS 100 to 99 draws the variance of a rank is 0.6 % too large; that of 1,000
# uniform ranks is 2.8 % off by chance.
LEAST_ESS = 100
SPARE, LONGER = 1.5, 4  # with less the chain is run again, as much longer as it lacks and by half more, at most 4 times
KEEP_EVERY = 20.0  # seconds between two times that what is there is kept
SEED = 20261129


def cells() -> tuple[str, ...]:
    """Return the names of the models."""
    return tuple(CASES)


def longest_first() -> tuple[str, ...]:
    """Return them so that the long ones do not come last: structures, then the central ones."""
    return tuple(sorted(CASES, key=lambda name: (CASES[name].kind != STRUCTURE, CASES[name].kind != CENTRAL)))


def wanted(case: Case, settings: Settings) -> int:
    """Return how many data sets are asked for."""
    return settings.central if case.kind == CENTRAL else settings.simulations


def made(case: Case, simulated: Simulated):
    """Return the model of a data set."""
    return bmm.Model(case.formula, simulated.data, case.family, simulated.priors, **case.options)


def enough(record: Record, settings: Settings) -> bool:
    """Return whether a record has as many data sets as are asked for."""
    return "tried" in record.numbers and record.numbers["tried"] >= wanted(CASES[record.cell], settings)


def go_on(cell: str, settings: Settings, before: Record | None, keep: Callable[[Finding], object]) -> Finding:
    """Rank the values of data sets until there are as many as asked for; keep what is there from time to time.

    Where ranks do not look uniform as many other data sets decide: see `LEAST_P`.
    """
    case = CASES[cell]
    numbers = dict(before.numbers) if before is not None and "tried" in before.numbers else {"tried": 0, "ranks": {}}
    if numbers["tried"] < wanted(case, settings):  # the other data sets would be among those to come
        numbers = {name: own for name, own in numbers.items() if name not in ("again", "seen", "again p")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of data without variation, divergences: the ranks say what they do
        rank_more(case, numbers, "ranks", wanted(case, settings), keep)
        found = judged(numbers)
        if found.ok or not numbers["ranks"]:
            return found
        rank_more(case, numbers, "again", 2 * numbers["tried"], keep)
    return judged(numbers)


def rank_more(case: Case, numbers: dict, where: str, last: int, keep: Callable[[Finding], object]) -> None:
    """Add the ranks of further data sets, up to the number `last`, to those that are in `numbers` under a name."""
    clock, saved, spent = Clock(), 0.0, numbers.get("seconds", 0.0)
    count = "tried" if where == "ranks" else "seen"
    numbers.setdefault(where, {})
    numbers.setdefault(count, numbers["tried"])
    while numbers[count] < last:
        for name, rank in ranks_of(case, numbers[count]).items():
            numbers[where].setdefault(name, []).append(rank)
        numbers |= {count: numbers[count] + 1, "seconds": spent + clock.cpu}
        if clock.seconds - saved > KEEP_EVERY:
            saved = clock.seconds
            keep(judged(numbers))


def ranks_of(case: Case, number: int) -> dict[str, int]:
    """Return the rank of each quantity of one data set among its posterior draws; nothing where it cannot be fitted."""
    rng = np.random.default_rng([SEED, number])
    simulated = case.draw(rng)
    try:
        fit = fitted(made(case, simulated), number)
    except DataError:
        return {}
    if fit.tree["posterior"].sizes["draw"] < RANKS:  # stopped
        return {}
    values, draws = quantities(case, simulated, fit, number)
    thinned = {name: own[np.linspace(0, len(own) - 1, RANKS).astype(int)] for name, own in draws.items()}
    return {name: rank(values[name], own, rng) for name, own in thinned.items()}


def rank(value: float, draws: np.ndarray, rng: np.random.Generator) -> int:
    """Return how many draws are below the value; of equal ones a random number."""
    return int((draws < value).sum() + rng.integers(0, (draws == value).sum() + 1))


def fitted(model, seed: int):
    """Return a fit with enough effective draws for the ranks to be independent.

    Independent draws are cheap where effects are integrated out by default. Where they are written out NUTS is, and
    independent ones are for what it hardly moves through. Which it is depends on the data, not on the true values.
    """
    settings = {"chains": 1, "seed": seed, "progress": False, "cores": 1}
    can = serves(model.design, model.priors)
    first = can and model.effects() == "marginal"
    fit = model.sample(DRAWS, TUNE, sampler=NAME if first else "auto", **settings)
    if will_do(fit):
        return fit
    draws = longer(least_ess(fit))
    if can and not first and draws == LONGER * DRAWS:
        other = model.sample(DRAWS, TUNE, sampler=NAME, **settings)
        if will_do(other):
            return other
    return model.sample(draws, 2 * TUNE, **settings)


def will_do(fit) -> bool:
    """Return whether the draws are independent, or enough of them effective."""
    return is_independent(fit) or least_ess(fit) >= LEAST_ESS


def is_independent(fit) -> bool:
    """Return whether draws are independent: where they cannot be trusted NUTS has made them instead."""
    return json.loads(fit.tree.attrs["bayesmm"])["sampler"] == NAME


def longer(ess: float) -> int:
    """Return how many draws a chain is to have, of which the first had so few effective ones."""
    lacking = SPARE * LEAST_ESS / ess if ess > 0 else LONGER  # NaN of a chain that stands still
    return int(DRAWS * min(lacking, LONGER))


def least_ess(fit) -> float:
    """Return the smallest effective number of draws of the parameters."""
    from bayesmm.posterior.convergence import diagnose

    draws = draws_of(fit, variance_parameters(fit.design) + coefficients(fit.design))
    return float(np.nanmin(np.asarray(diagnose(draws)[0])))


def quantities(case: Case, simulated: Simulated, fit, seed: int) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Return the true values and the draws of everything that is ranked."""
    values = dict(simulated.values)
    parameters = variance_parameters(fit.design) + coefficients(fit.design)
    draws = {p.label: own.ravel() for p, own in zip(parameters, draws_of(fit, parameters), strict=True)}
    posterior = fit.tree["posterior"].dataset  # once, for each access copies the tree
    for block in fit.design.blocks:
        name = block.names.effects
        if name in values and name in posterior:
            first = posterior[name].transpose("chain", "draw", ...).to_numpy()[:, :, 0, 0]
            draws[name] = first.ravel()
    sds = [label for label in draws if label == "sigma" or label.startswith("sd_")][:2]
    if len(sds) == 2:
        name = " x ".join(sds)
        values[name], draws[name] = values[sds[0]] * values[sds[1]], draws[sds[0]] * draws[sds[1]]
    if case.log_density is not None:
        values["log likelihood"], draws["log likelihood"] = log_likelihoods(case, simulated, fit)
    if simulated.new is not None:
        values["new group's response"], draws["new group's response"] = simulated.new, predicted(fit, seed)
    return {name: values[name] for name in draws}, draws


def log_likelihoods(case: Case, simulated: Simulated, fit) -> tuple[float, np.ndarray]:
    """Return the log likelihood at the true parameters, effects included, and at every draw, by SciPy."""
    y = simulated.data["y"].to_numpy()
    eta = fit.predict(kind="linear").draws.reshape(-1, len(y))
    own = next((name for name in ("sigma", "shape") if name in simulated.values), None)
    truth = case.log_density(y, simulated.eta, simulated.values.get(own)).sum()
    aux = None if own is None else fit.tree["posterior"][own].to_numpy().reshape(-1, 1)
    return float(truth), case.log_density(y, eta, aux).sum(axis=1)


def predicted(fit, seed: int) -> np.ndarray:
    """Return draws of the response of a row of new groups; of the same seed all data sets would share their noise."""
    row = {"x": [PREDICTOR]} | {name: ["new"] for name in ("g", "h") if name in str(fit.design.formula)}
    return fit.predict(row, kind="response", new_levels="sample", seed=seed).draws.reshape(-1)


# ----------------------------------------------------------------------------------------------------------------------
# are the ranks uniform?


def judged(numbers: dict) -> Finding:
    """Return the finding: p-values of every quantity, and whether one is too small, in other data sets too."""
    tests = {name: p_values(np.array(ranks)) for name, ranks in numbers["ranks"].items()}
    bad = {name: min(own) for name, own in tests.items() if min(own) < LEAST_P}
    numbers = numbers | {"p": tests}
    fits = max((len(ranks) for ranks in numbers["ranks"].values()), default=0)
    if not fits:
        return Finding(False, "no data set could be fitted", numbers)
    left_out = numbers["tried"] - fits
    words = f"{fits} data sets" + (f", {left_out} left out" if left_out else "")
    if not bad:
        return Finding(True, words, numbers)
    if numbers.get("seen", 0) < 2 * numbers["tried"]:
        said = "; ".join(f"{name}: p = {p:.2g}" for name, p in bad.items())
        return Finding(False, f"{words}; ranks are not uniform, {said}", numbers)
    again = {name: min(p_values(np.array(numbers["again"][name]))) for name in bad}
    said = "; ".join(f"{name}: p = {p:.2g}, and {again[name]:.2g} in as many others" for name, p in bad.items())
    numbers = numbers | {"again p": again}
    return Finding(min(again.values()) >= CONFIRMED, f"{words}; {said}", numbers)


def p_values(ranks: np.ndarray) -> tuple[float, float]:
    """Return the p-values of the chi-squared test in bins and of the test by the simultaneous band of the ECDF."""
    counts = np.histogram(ranks, bins(len(ranks)), (0, RANKS + 1))[0]
    null = null_gammas(len(ranks))
    return float(stats.chisquare(counts).pvalue), float((1 + (null <= gamma(ranks)).sum()) / (1 + len(null)))


def bins(number: int) -> int:
    """Return how many bins the ranks of so many data sets are counted in."""
    return 20 if number >= 400 else 10 if number >= 50 else 5


def gamma(ranks: np.ndarray) -> float:
    """Return the smallest pointwise p-value of the ECDF (Säilynoja, Bürkner & Vehtari 2022, eq. 13)."""
    below = np.searchsorted(np.sort(ranks), np.arange(1, RANKS + 1), side="left")
    return float(pointwise(len(ranks))[below, np.arange(RANKS)].min())


@cache
def pointwise(number: int) -> np.ndarray:
    """Return the two-sided p-value of k of `number` ranks below each possible one, (number + 1, RANKS)."""
    k, share = np.arange(number + 1)[:, None], np.arange(1, RANKS + 1) / (RANKS + 1)
    low = stats.binom.cdf(k, number, share)
    return 2 * np.minimum(low, stats.binom.sf(k - 1, number, share))


@cache
def null_gammas(number: int, times: int = 20_000) -> np.ndarray:
    """Return `gamma` of ranks that are uniform, (times,)."""
    rng = np.random.default_rng([SEED, number])
    counts = rng.multinomial(number, np.full(RANKS + 1, 1 / (RANKS + 1)), times)
    below = np.cumsum(counts, axis=1)[:, :-1]
    return pointwise(number)[below, np.arange(RANKS)].min(axis=1)
