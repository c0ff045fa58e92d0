"""What a row costs at a node of the quadrature, family by family: the values of `Family.cost`.

Run with ``python -m benchmarks.costs [NAME ...]``. 300 groups of 8 rows with a random intercept, simulated from the
family with its default link; the time of the posterior's value and gradient at its mode, over the rows and the nodes
that a level usually takes (`quadrature.usual_nodes`). Seconds are those of a processor.
"""

import argparse
import os
import time
import warnings

import numpy as np
import pandas as pd

from bayesmm import Model
from bayesmm.families.families import FAMILIES, get_family
from bayesmm.families.family import Family
from bayesmm.likelihood.quadrature import fits, usual_nodes
from bayesmm.sampling.marginal import ready

GROUPS, ROWS, SECONDS, CATEGORIES, TRIALS = 300, 8, 0.2, 4, 10


def simulated(family: Family) -> pd.DataFrame:
    """Return responses of the family in groups, its parameters amid their ranges."""
    rng = np.random.default_rng(20)
    g, x = np.repeat(np.arange(GROUPS), ROWS), rng.normal(size=GROUPS * ROWS)
    eta = 0.3 + 0.3 * x + 0.5 * rng.normal(size=GROUPS)[g]
    data = {"x": x, "g": g, "trials": TRIALS}
    if family.ordered:
        cuts = np.array([-0.7, 0.2, 1.1])
        aux = tuple(np.full(len(x), cut) for cut in cuts)
        y = family.draw(rng, eta, None, aux)
    else:
        mu = family.inverse(np.abs(eta) + 0.2 if family.link in ("inverse", "identity") else eta)
        aux = tuple(np.full(len(x), middle(own.bounds)) for own in family.parameters)
        y = family.draw(rng, mu, TRIALS if family.support.trials else None, aux)
    return pd.DataFrame(data | {"y": y})


def middle(bounds: tuple[float, float]) -> float:
    """Return a value between bounds: a third of the way, 2 above 0, and 0.5 of any number."""
    low, high = bounds
    if np.isfinite([low, high]).all():
        return low + (high - low) / 3
    return low + 2.0 if np.isfinite(low) else 0.5


def cost(family: Family) -> float:
    """Return the nanoseconds of a row at a node."""
    left = "y | trials(trials)" if family.support.trials else "y"
    model = Model(f"{left} ~ x + (1 | g)", simulated(family), family=family)
    if not fits(model.design):
        raise ValueError("no quadrature")
    made, batches = ready(model.design, model.priors, None), []
    posterior, x = made.at.posterior, made.at.centre
    for _ in range(5):
        began, calls = time.process_time(), 0
        while time.process_time() - began < SECONDS:
            posterior(x)
            calls += 1
        batches.append((time.process_time() - began) / calls)
    return 1e9 * min(batches) / (model.design.n * usual_nodes(model.design))


def main() -> None:
    """Print a line for each family."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="families; all if none is named")
    print("family                          measured, ns   recorded   load", flush=True)
    for name in parser.parse_args().names or sorted(FAMILIES):
        family = get_family(name)
        if family.gaussian or not family.smooth:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = f"{cost(family):12.1f}"
            except (ValueError, ArithmeticError) as error:
                found = f"{type(error).__name__}: {str(error)[:60]}"
        recorded = "canonical" if family.canonical == family.link else f"{family.cost:9.0f}"
        print(f"{name:30s} {found}   {recorded:>9s}   {os.getloadavg()[0]:.0f}", flush=True)


if __name__ == "__main__":
    main()
