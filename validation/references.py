"""R's numbers beside ours: lme4, nlme, glmmTMB, mgcv, ordinal, survival, lmerTest and pbkrtest, from tests/reference.

Each file is a cell. `reference_files` knows how a file is read and which of our numbers each of its numbers is of.
"""

import warnings
from collections.abc import Iterable

import numpy as np

from validation.records import Finding, Settings
from validation.reference_files import FILES, Pair

TITLE = "Numbers of R packages"
SHORT_CELLS = ("row_parameters.json",)
# Of each kind: what an error is in, and the largest that passes. R's optima are polished to a gradient of 1e-8 only in
# part; where a program stops is what is left.
KINDS = {
    "criterion, log-likelihood, AIC, BIC": ("absolute", 1e-4),
    "coefficient": ("standard errors", 1e-4),
    "standard error": ("relative", 1e-3),
    "sd": ("relative", 1e-4),
    "correlation": ("absolute", 1e-4),
    "random effect": ("relative to the largest of the factor", 1e-3),
    "sd of a random effect": ("relative", 1e-3),
    "fitted value": ("relative", 1e-4),
    "residual quantile": ("absolute", 1e-4),
    "denominator df": ("relative", 1e-3),
    "test statistic": ("relative", 1e-4),
    "p-value": ("relative, of its logarithm", 1e-3),
    "interval end": ("half widths", 1e-3),
}


def cells() -> tuple[str, ...]:
    """Return the names of the files."""
    return tuple(FILES)


def check(cell: str, settings: Settings) -> Finding:
    """Return how many numbers of a file were compared, and the largest error of each kind."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pairs, left_out = FILES[cell]()
    return found(pairs, left_out)


def found(pairs: Iterable[Pair], left_out: dict[str, int]) -> Finding:
    """Return the finding of pairs of numbers; `left_out` counts the models that were not compared, by reason."""
    kinds, wrong = {}, []
    for pair in pairs:
        own = kinds.setdefault(pair.kind, {"numbers": 0, "largest": 0.0, "where": ""})
        error = float(pair.error)
        own["numbers"] += 1
        if not error <= own["largest"]:  # also NaN
            own |= {"largest": error, "where": pair.label}
        if not error <= KINDS[pair.kind][1]:
            wrong.append(f"{pair.label}: {pair.kind} {pair.ours:.8g}, R has {pair.theirs:.8g}")
    total = sum(own["numbers"] for own in kinds.values())
    words = f"{total} numbers" + "".join(f"; {number} models left out: {why}" for why, number in left_out.items())
    if wrong:
        words = f"{len(wrong)} of {total} differ, {wrong[0]}"
    return Finding(not wrong and total > 0, words, {"kinds": kinds, "numbers": total, "left out": left_out})


def log_error(ours: float, theirs: float) -> float:
    """Return the relative error of the logarithm of a p-value, which may be 0 to rounding."""
    return abs(np.log((ours + 1e-300) / (theirs + 1e-300))) / max(1.0, abs(np.log(theirs + 1e-300)))
