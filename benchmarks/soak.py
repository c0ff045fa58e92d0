"""Many random models in one process: do all samplers agree, does memory grow, does anything fail without a reason?

    python -m benchmarks.soak --models 200 --seed 1     # half an hour and more
    python -m benchmarks.soak --models 5                # a quick look

For each model these are compared pairwise: what is sampled by default (marginal NUTS where the effects integrate out
cheaply), NUTS with the effects written out and, of marginal posteriors, independent draws. Compared are the means of
every coefficient, sd and parameter of the family, of their logarithms where all draws are positive (that of a negative
binomial's shape may have no mean itself): within 5 Monte Carlo errors where both have an effective size of at least
400. A run whose own checks fail is not compared, and is listed with what failed. The exit status is 1 if two runs that
pass their checks disagree, or if something is raised.
"""

import argparse
import resource
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from arviz_stats import ess, mcse

import bayesmm as bmm

LEAST_ESS, ERRORS = 400, 5.0
PARTS = ("", "(1 | g)", "(x | g)", "(x || g)", "(1 | g) + (1 | h)", "(1 | g / k)")
RESPONSES = {
    "gaussian": lambda rng, eta: eta + rng.normal(size=len(eta)),
    "student": lambda rng, eta: eta + rng.standard_t(4, len(eta)),
    "poisson": lambda rng, eta: rng.poisson(np.exp(eta)),
    "negbinomial": lambda rng, eta: rng.negative_binomial(3, 3 / (3 + np.exp(eta))),
    "bernoulli": lambda rng, eta: rng.binomial(1, 1 / (1 + np.exp(-eta))),
    "gamma": lambda rng, eta: rng.gamma(4, np.exp(eta) / 4),
    "lognormal": lambda rng, eta: np.exp(eta + 0.5 * rng.normal(size=len(eta))),
    "weibull": lambda rng, eta: np.exp(eta) * rng.weibull(1.5, len(eta)),
    "exponential": lambda rng, eta: rng.exponential(np.exp(eta)),
    "nbinom1": lambda rng, eta: rng.negative_binomial(np.exp(eta) / 2, 1 / 3),
    "zero_inflated_poisson": lambda rng, eta: rng.poisson(np.exp(eta)) * rng.binomial(1, 0.7, len(eta)),
    "hurdle_poisson": lambda rng, eta: np.maximum(rng.poisson(np.exp(eta)), 1) * rng.binomial(1, 0.7, len(eta)),
}
WAYS = {"auto": {}, "explicit": {"effects": "explicit"}, "independent": {"sampler": "importance"}}


@dataclass(frozen=True)
class Run:
    """What one way of sampling gave: draws of each parameter, (chain, draw), or why it is not compared."""

    draws: dict[str, np.ndarray]
    reason: str = ""


def random_model(rng: np.random.Generator) -> bmm.Model:
    """Return a model of a random family, shape and size, on data of its own."""
    family, part = str(rng.choice(list(RESPONSES))), str(rng.choice(PARTS))
    groups, rows = int(rng.integers(4, 16)), int(rng.integers(4, 16))
    n = groups * rows
    g, h, k = np.repeat(np.arange(groups), rows), rng.integers(0, 5, n), np.tile(np.arange(rows) % 2, groups)
    x = rng.normal(size=n)
    sds = rng.uniform(0.2, 1.0, 3)
    eta = 0.5 + 0.4 * x
    eta = eta + sds[0] * rng.normal(size=groups)[g] * ("g" in part) + sds[1] * rng.normal(size=5)[h] * ("h)" in part)
    eta = eta + sds[1] * rng.normal(size=groups)[g] * x * ("x |" in part)
    eta = eta + sds[2] * rng.normal(size=2 * groups)[2 * g + k] * ("/" in part)
    y = RESPONSES[family](rng, np.clip(eta, -4, 4))
    data = pd.DataFrame({"y": y, "x": x, "g": g, "h": h, "k": k}).astype({"g": str, "h": str, "k": str})
    return bmm.Model(" + ".join(["y ~ x", part] if part else ["y ~ x"]), data, family)


def run(model: bmm.Model, way: str, seed: int) -> Run:
    """Return what one way gives, with a reason if it fails its own checks."""
    fit = model.sample(draws=1000, seed=seed, progress=False, **WAYS[way])
    failed = [check.name for check in fit.checks() if not check.ok]
    posterior = fit.tree["posterior"]
    names = [name for name in posterior.data_vars if not name.startswith(("b_", "corr_"))]
    values = {name: posterior[name].to_numpy() for name in names}
    draws = {
        f"{name}{list(place)}": array[(..., *place)]
        for name, array in values.items()
        for place in np.ndindex(array.shape[2:])
    }
    return Run(draws, f"checks failed: {', '.join(failed)}" if failed else "")


def distances(one: Run, other: Run) -> Iterator[tuple[str, float]]:
    """Give each parameter with the difference of its means in Monte Carlo errors, where these are known well."""
    for name in one.draws.keys() & other.draws.keys():
        pair = one.draws[name], other.draws[name]
        if all((draws > 0).all() for draws in pair):
            pair = tuple(np.log(draws) for draws in pair)
        if min(float(ess(draws)) for draws in pair) >= LEAST_ESS:
            error = np.hypot(*(float(mcse(draws)) for draws in pair))
            yield name, abs(pair[0].mean() - pair[1].mean()) / error


def soak(models: int, seed: int) -> int:
    """Fit the models, print what is found, and return the number of faults."""
    faults, compared, worst, began = 0, 0, 0.0, time.monotonic()
    for i in range(models):
        model = random_model(np.random.default_rng([seed, i]))
        name, runs = f"{i}: {model.family.name}, {model.formula.text}, {model.design.n} rows", {}
        for way in WAYS:
            if way == "independent" and model.effects("auto") != "marginal":
                continue  # nothing is integrated out, or at a price that nobody pays
            try:
                runs[way] = run(model, way, seed=i + 1)
            except Exception as error:  # whatever it is, it is a finding, and the others go on
                faults += 1
                print(f"RAISED  {name}, {way}: {type(error).__name__}: {error}", flush=True)
        for way, found in runs.items():
            if found.reason:
                print(f"noted   {name}, {way}: {found.reason}", flush=True)
        fine = {way: found for way, found in runs.items() if not found.reason}
        for one, other in combinations(fine, 2):
            for parameter, distance in distances(fine[one], fine[other]):
                compared, worst = compared + 1, max(worst, distance)
                if distance > ERRORS:
                    faults += 1
                    print(f"DIFFER  {name}, {one} and {other}: {parameter} by {distance:.1f} errors", flush=True)
        if i % 10 == 9 or i == models - 1:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            now = f"{time.monotonic() - began:.0f} s, memory {resident():.0f} MiB, peak {peak:.0f} MiB"
            print(f"{i + 1} models, {now}; {compared} means compared, furthest {worst:.1f} errors", flush=True)
    return faults


def resident() -> float:
    """Return the memory of the process now, in MiB."""
    with open("/proc/self/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmRSS"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    warnings.simplefilter("ignore", bmm.BayesmmWarning)
    return int(soak(args.models, args.seed) > 0)


if __name__ == "__main__":
    sys.exit(main())
