"""The verdicts of `fit.compare()` on cases whose cause is known: a confusion table of labels against verdicts."""

import warnings
from collections import Counter
from dataclasses import replace

import numpy as np
import xarray as xr

import bayesmm as bmm
from bayesmm.sampling.importance import NAME, serves
from validation.labelled import CASES, EXPECTED, Case
from validation.records import Finding, Settings

TITLE = "The verdict on known causes"
TABLE = "labelled cases"
SHORT_CELLS = ()  # its quick cases are in the tests
DRAWS, CHAINS = 1000, 4
MOST_CONFUSED = 2  # pairs of a label and another verdict


def cells() -> tuple[str, ...]:
    """Return the one cell: a confusion table is of all cases."""
    return (TABLE,)


def check(cell: str, settings: Settings) -> Finding:
    """Return the verdicts on all cases."""
    return found([judged(case) for case in CASES])


def judged(case: Case) -> dict[str, object]:
    """Return what `compare` says of a case's parameter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = case.data(np.random.default_rng(case.seed))
        model = bmm.Model(case.formula, data, case.family, dict(case.priors) or None)
        sampler = NAME if serves(model.design, model.priors) else "auto"
        fit = model.sample(DRAWS, chains=CHAINS, seed=case.seed, sampler=sampler, progress=False, cores=1)
        point, fit = None, moved(fit, case.spoil)
        if case.tamper is not None:
            point = case.tamper(model.maximize(), fit.summary()["sd"].to_dict())
        row = fit.compare(point).table.set_index("parameter").loc[case.parameter]
    numbers = {name: float(row[name]) for name in ("point", "map", "mean", "median", "mode", "sd", "difference")}
    return numbers | {
        "label": case.label,
        "name": case.name,
        "parameter": case.parameter,
        "verdict": row["verdict"],
        "cause": row["cause"],
        "as meant": row["verdict"] in EXPECTED[case.label],
    }


def moved(fit, sds: float):
    """Return the fit with the draws of its coefficients moved by so many sds."""
    if not sds:
        return fit
    posterior = fit.tree["posterior"].to_dataset()
    wrong = posterior.assign(beta=posterior["beta"] + sds * posterior["beta"].std(("chain", "draw")))
    tree = fit.tree.copy()
    tree["posterior"] = xr.DataTree(wrong)
    return replace(fit, tree=tree)


def found(rows: list[dict]) -> Finding:
    """Return the finding: which labels got another verdict, and whether a conflict was called agreement."""
    confused = Counter((row["label"], row["verdict"]) for row in rows if not row["as meant"])
    hidden = [row["name"] for row in rows if row["label"] == "conflict" and row["verdict"] == "agree"]
    pairs = "; ".join(f"{label} called {verdict} {number} times" for (label, verdict), number in confused.items())
    words = f"{sum(row['as meant'] for row in rows)} of {len(rows)} as meant" + (f"; {pairs}" if pairs else "")
    if hidden:
        words = f"a conflict was called agreement: {', '.join(hidden)}; {words}"
    return Finding(not hidden and len(confused) <= MOST_CONFUSED, words, {"rows": rows})
