"""Every family that bambi has too, beside it: `python -m benchmarks.families [NAME ...]` prints a table as it goes.

Data of the size of bambi's own examples, simulated; regression without random effects, as there. Both as they come:
their own priors, 4 x 1,000 draws, bambi by nutpie, which is its quicker way. The two take turns to go first. Seconds
are those of processors, which a machine that is busy with other work does not change much, from formula and data to the
finished draws, compilation included; an uncounted short fit of bayesmm puts its compiled code on disk.
"""

import argparse
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.measures import quality

DRAWS, CHAINS, SEED = 1000, 4, 20
HEAD = (
    "| family | rows | bayesmm, CPU s | min ESS | bambi, CPU s | min ESS | ESS/s, ratio | load |\n" + "|---" * 8 + "|"
)
Rng = np.random.Generator
Floats = np.ndarray


@dataclass(frozen=True)
class Pair:
    """One family in both libraries.

    Attributes
    ----------
    n : int
        Rows, as in bambi's example of it.
    draw : callable
        ``(rng, eta) -> y`` for a linear predictor of two columns.
    bambi : str
        Its name there, if that is another.
    link, bambi_link : str
        The default if not given.
    response : str
        The left side of bambi's formula.
    trials : int
        Of a family of successes; 0 for others.
    """

    n: int
    draw: Callable[[Rng, Floats], Floats]
    bambi: str = ""
    link: str | None = None
    bambi_link: str | None = None
    response: str = "y"
    trials: int = 0


def inflated(rng: Rng, y: Floats, share: float = 0.3) -> Floats:
    """Return the responses, a share of them replaced by 0."""
    return np.where(rng.uniform(size=len(y)) < share, 0, y)


def mixed(rng: Rng, eta: Floats) -> Floats:
    """Return negative binomial counts."""
    return rng.poisson(np.exp(eta) * rng.gamma(2.0, 0.5, len(eta)))


def logistic(eta: Floats) -> Floats:
    """Return the inverse logit."""
    return 1 / (1 + np.exp(-eta))


def rated(rng: Rng, eta: Floats) -> Floats:
    """Return ordered categories 1 ... 4."""
    return 1 + (eta[:, None] + rng.logistic(size=(len(eta), 1)) > np.array([-1.0, 0.5, 1.5])).sum(axis=1)


def named(rng: Rng, eta: Floats) -> Floats:
    """Return one of three categories without an order."""
    utility = np.column_stack([np.zeros(len(eta)), eta, -0.5 * eta]) + rng.gumbel(size=(len(eta), 3))
    return np.array(["a", "b", "c"])[utility.argmax(axis=1)]


PAIRS = {
    "student": Pair(100, lambda r, e: e + r.standard_t(4, len(e)), "t"),
    "asymmetric_laplace": Pair(1000, lambda r, e: e + r.laplace(size=len(e)), "asymmetriclaplace"),
    "exgaussian": Pair(500, lambda r, e: e + r.normal(size=len(e)) + r.exponential(size=len(e))),
    "beta": Pair(250, lambda r, e: r.beta(8 * logistic(e), 8 * (1 - logistic(e)))),
    "betabinomial": Pair(
        50, lambda r, e: r.binomial(20, r.beta(8 * logistic(e), 8 * (1 - logistic(e)))), "beta_binomial",
        response="p(y, n)", trials=20,
    ),
    "gamma": Pair(4624, lambda r, e: r.gamma(2.0, np.exp(e) / 2), link="log", bambi_link="log"),
    "inverse_gaussian": Pair(4624, lambda r, e: r.wald(np.exp(e), 3.0), "wald", "log", "log"),
    "weibull": Pair(200, lambda r, e: np.exp(e) * r.weibull(1.5, len(e))),
    "exponential": Pair(200, lambda r, e: r.exponential(np.exp(e))),
    "negbinomial": Pair(314, mixed, "negativebinomial"),
    "zero_inflated_poisson": Pair(250, lambda r, e: inflated(r, r.poisson(np.exp(e)))),
    "zero_inflated_negbinomial": Pair(250, lambda r, e: inflated(r, mixed(r, e)), "zero_inflated_negativebinomial"),
    "hurdle_poisson": Pair(250, lambda r, e: inflated(r, 1 + r.poisson(np.exp(e)))),
    "hurdle_gamma": Pair(250, lambda r, e: inflated(r, r.gamma(2.0, np.exp(e) / 2))),
    "von_mises": Pair(31, lambda r, e: r.vonmises(2 * np.arctan(0.3 * e), 4.0), "vonmises"),
    "cumulative": Pair(1470, rated),
    "sratio": Pair(1470, rated),
    "categorical": Pair(150, named),
}  # fmt: skip


def table_of(name: str) -> pd.DataFrame:
    """Return the simulated data of a family."""
    pair, rng = PAIRS[name], np.random.default_rng([SEED, *map(ord, name)])
    x1, x2 = rng.normal(size=(2, pair.n))
    frame = pd.DataFrame({"x1": x1, "x2": x2, "y": pair.draw(rng, 0.3 + 0.5 * x1 - 0.3 * x2)})
    return frame.assign(n=pair.trials) if pair.trials else frame


def by_bayesmm(name: str, frame: pd.DataFrame, draws: int = DRAWS):
    """Return a posterior's variables."""
    import bayesmm as bmm

    pair = PAIRS[name]
    left = "y | trials(n)" if pair.trials else "y"
    fit = bmm.Model(f"{left} ~ x1 + x2", frame, name, link=pair.link).sample(
        draws, chains=CHAINS, seed=1, progress=False
    )
    return fit.tree["posterior"].to_dataset()


def by_bambi(name: str, frame: pd.DataFrame):
    """Return a posterior's variables."""
    import bambi

    pair = PAIRS[name]
    categories = {"cumulative", "sratio", "categorical"}
    own = frame.assign(y=pd.Categorical(frame["y"], ordered=name != "categorical")) if name in categories else frame
    model = bambi.Model(f"{pair.response} ~ x1 + x2", own, family=pair.bambi or name, link=pair.bambi_link)
    options = {"draws": DRAWS, "tune": 1000, "chains": CHAINS, "random_seed": 1, "progressbar": False}
    return model.fit(inference_method="nutpie", **options)["posterior"].to_dataset()


def least_ess(posterior, rows: int) -> float:
    """Return the bulk ESS of the worst parameter: of all variables but those of the rows and those held fixed."""
    found = {}
    for name, values in posterior.data_vars.items():
        own = values.transpose("chain", "draw", ...).to_numpy()
        own = own.reshape(*own.shape[:2], -1)
        if own.shape[2] < rows:
            found |= {f"{name}{j}": own[..., j] for j in range(own.shape[2]) if np.ptp(own[..., j]) > 0}
    return quality(found).min_ess


def line(name: str, first: bool) -> str:
    """Return a row of the table; `first` says whether bayesmm begins."""
    frame, seconds, ess = table_of(name), {}, {}
    by_bayesmm(name, frame, 50)
    ways = {"bayesmm": by_bayesmm, "bambi": by_bambi}
    for who in ways if first else reversed(ways):
        began = time.process_time()
        posterior = ways[who](name, frame)
        seconds[who] = time.process_time() - began
        ess[who] = least_ess(posterior, PAIRS[name].n)
    ratio = ess["bayesmm"] / seconds["bayesmm"] / (ess["bambi"] / seconds["bambi"])
    numbers = " | ".join(f"{seconds[who]:.1f} | {ess[who]:,.0f}" for who in ways)
    return f"| `{name}` | {len(frame):,} | {numbers} | {ratio:.1f} | {os.getloadavg()[0]:.0f} |"


def main() -> None:
    """Print the table of the families that are asked for, of all without."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(PAIRS)}")
    asked = parser.parse_args().names or list(PAIRS)
    warnings.simplefilter("ignore")
    import bambi  # noqa: F401  before the clock starts

    print(HEAD, flush=True)
    for i, name in enumerate(asked):
        try:
            print(line(name, i % 2 == 0), flush=True)
        except Exception as error:  # one that does not run is said, and the others go on
            said = str(error).splitlines()[0][:80] if str(error) else ""
            print(f"| `{name}` | not run: {type(error).__name__}: {said} | | | | | | |", flush=True)


if __name__ == "__main__":
    main()
