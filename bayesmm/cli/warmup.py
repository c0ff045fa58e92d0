"""Compiling ahead of the first fit: small models that use every compiled function, in parallel processes."""

import os
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

import numpy as np

from bayesmm.families.families import FAMILIES
from bayesmm.families.family import Family
from bayesmm.families.links import LINKS
from bayesmm.likelihood.dense_coupling import dense_derivatives, dense_elimination
from bayesmm.likelihood.gaussian_lanes import MANY
from bayesmm.likelihood.interpolated_gaussian import interpolated_likelihood
from bayesmm.runtime.progress import counter
from bayesmm.runtime.streams import data_set

SEED, ROWS, LEVELS, TRIALS, VISITS = 1, 48, 6, 3, 3
SHORT = dict(draws=20, tune=20, chains=1, seed=SEED, progress=False)
# jobs; each other one is of a family
LINEAR, CROSSED, SEVERAL, STRUCTURED, LARGE = "linear", "crossed", "several predictors", "structured", "large"


def warm_up(cores: int | None = None, progress: bool = True) -> float:
    """Compile all that is compiled when it is first needed; return the seconds that it took.

    What is on disk already is read, so that a second call takes some seconds.
    """
    began, (first, *rest) = time.perf_counter(), generalised()
    # what the second compiles calls what the first has compiled
    waves = (first, LINEAR), (*rest, LARGE, CROSSED, SEVERAL, STRUCTURED)
    with (
        counter(progress, "Compiling for this machine", sum(map(len, waves))) as advance,
        ProcessPoolExecutor(cores or os.cpu_count() or 1, mp_context=get_context("spawn")) as pool,
    ):
        for wave in waves:
            for done in as_completed([pool.submit(run, job) for job in wave]):
                done.result()
                advance()
    return time.perf_counter() - began


def generalised() -> list[str]:
    """Return the names of the families that are a part of the compiled likelihood, canonical ones first.

    Of a family that is called by address its own functions alone are compiled, at its first use: a second or two.
    """
    found = [family for family in FAMILIES.values() if not family.gaussian and family.inlined]
    return [family.name for family in sorted(found, key=lambda family: family.canonical != family.link)]


def run(job: str) -> None:
    """Fit the small models of one job."""
    import pandas as pd

    import bayesmm as bmm

    warnings.simplefilter("ignore")
    rng = data_set(SEED)
    table = pd.DataFrame({"g": np.arange(ROWS) % LEVELS, "h": np.arange(ROWS) // LEVELS, "x": rng.normal(size=ROWS)})
    table["s"] = 1.0
    linear = next(family for family in FAMILIES.values() if family.gaussian)
    if job == STRUCTURED:
        table["y"], table["v"] = rng.normal(size=ROWS), table["h"].astype(str)
        for formula in structured_formulas():
            str(bmm.Model(formula, table[table["h"] < VISITS]).sample(sampler="importance", **SHORT))
        return
    if job == LARGE:
        large(rng)
        return
    family = linear if job == LINEAR else FAMILIES[generalised()[0] if job in (CROSSED, SEVERAL) else job]
    if job == SEVERAL:
        table["y"] = response(linear, table["x"].to_numpy(), rng)
        bmm.Model(("y ~ x + (1 | g)", "sigma ~ 1 + (1 | h)"), table).maximize()
        return
    table["y"] = response(family, table["x"].to_numpy(), rng)
    random = {LINEAR: ("(x | g) + (1 | h)",), CROSSED: ("(1 | g) + (1 | h)",)}.get(job, ("(1 | g)", ""))
    for part in random:
        trials = {"trials": np.full(ROWS, TRIALS)} if family.of_one_trial else {}
        model = bmm.Model(f"y ~ x + {part}" if part else "y ~ x", table, family.name, **trials)
        model.maximize()
        for sampler in ("auto",) if job == CROSSED else ("auto", "importance"):
            str(model.sample(sampler=sampler, **SHORT))
    if job == CROSSED:
        str(bmm.Model("y ~ x + (1 | g)", table).sample(effects="explicit", **SHORT))


def large(rng: np.random.Generator) -> None:
    """Maximise linear models of many groups, none like another, and of two factors with many levels.

    What only larger ones use is compiled without a model.
    """
    import bayesmm as bmm

    for made in (interpolated_likelihood, dense_elimination, dense_derivatives):
        made()

    rows = 2 * MANY * VISITS
    y, x = rng.normal(size=(2, rows))
    table = {"y": y, "x": x, "g": np.arange(rows) // VISITS, "h": rng.integers(MANY, size=rows)}
    for formula in ("y ~ x + (x | g)", "y ~ x + (1 | g) + (1 | h)"):
        bmm.Model(formula, table).maximize()


def structured_formulas() -> list[tuple[str, ...]]:
    """Return models that use the compiled code of every structure of residuals and of random effects."""
    residuals = [f"y ~ x + {text} + (1 | g)" for text in ("ar(h, g)", "cosy(g)", "unstr(h, g)")]
    effects = [f"y ~ x + {name}(0 + v | g)" for name in ("cs", "ar1", "toep")]
    known = [f"y | se(s{sigma}) ~ x + ar(h, g)" for sigma in ("", ", sigma = TRUE")]
    return [*((text, "sigma ~ x") for text in residuals), *((text,) for text in (*effects, *known))]


def response(family: Family, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return random responses of a family, whose parameters besides the mean are 2."""
    mean = LINKS[family.link].inverse(0.5 + 0.1 * x)
    return family.draw(rng, mean, TRIALS if family.of_one_trial else None, (2.0,) * len(family.auxiliaries))
