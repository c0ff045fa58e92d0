"""What data the priors expect, beside the observed ones: a prior predictive check in numbers."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayesmm.display.text_tables import shorten, table, wrap
from bayesmm.errors import listing
from bayesmm.runtime.arguments import check_model
from bayesmm.runtime.progress import working

Array = np.ndarray
PROB = 0.90  # of the range of each statistic
DRAWS = 500
FORMULA_WIDTH = 70
# Whether priors are too narrow for an observed statistic below, and above, what they expect: wide priors expect more
# spread than there is, and do no harm by that.
NARROW = {
    "mean": (True, True),
    "sd": (False, True),
    "min": (True, False),
    "max": (False, True),
    "share of zeros": (True, True),
}


@dataclass(frozen=True, eq=False)
class PriorCheck:
    """Statistics of data sets drawn from the priors, beside the observed ones.

    Attributes
    ----------
    table : pandas.DataFrame
        A row for each statistic of the responses (of a binomial, the shares of successes): observed, median, lower and
        upper (the middle 90 % of the prior predictive data sets), below (the share of those with a smaller value, ties
        counted half).
    outside : float
        Share of all prior predictive responses that lie outside the range of the observed ones.
    draws : int
        Number of data sets.
    title : str
    """

    table: pd.DataFrame
    outside: float
    draws: int
    title: str

    @property
    def surprising(self) -> list[str]:
        """The statistics that say that the priors are too narrow or in the wrong place: see NARROW."""
        rows = zip(self.table.index, *(self.table[name] for name in ("observed", "lower", "upper")), strict=True)
        return [
            name
            for name, observed, lower, upper in rows
            if (NARROW[name][0] and observed < lower) or (NARROW[name][1] and observed > upper)
        ]

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    __repr__ = __str__


@working("drawing data from the priors")
def prior_check(model, draws: int = DRAWS, seed: int | None = None) -> PriorCheck:
    """Compare data drawn from a model's priors with the observed ones, before any fit.

    Parameters
    ----------
    model : Model
    draws : int
        Data sets, each with parameters of its own.
    seed : int, optional

    Returns
    -------
    PriorCheck

    Raises
    ------
    TypeError
        For what is no Model.
    ValueError
        For `draws` or `seed` out of range.
    PriorError
        If a prior is improper.

    Notes
    -----
    Good priors leave the observed statistics well inside; they need not be narrow. See Gabry, Simpson, Vehtari,
    Betancourt & Gelman (2019), Journal of the Royal Statistical Society A 182(2). `plots.plot_prior_predictive` draws
    the same.
    """
    check_model(model)
    design = model.design
    size = 1.0 if design.trials is None else design.trials
    drawn = np.asarray(model.prior_predictive(draws, seed)["prior_predictive"]["y"].values[0], dtype=float) / size
    observed, rows = design.y / size, {}
    for name, statistic in _statistics(design).items():
        values, at = statistic(drawn), float(statistic(observed[None])[0])
        known = values[np.isfinite(values)]
        if len(known):
            low, middle, high = np.quantile(known, [(1 - PROB) / 2, 0.5, (1 + PROB) / 2])
            rows[name] = at, middle, low, high, float((known < at).mean() + (known == at).mean() / 2)
    index = pd.Index(list(rows), name="statistic", dtype=object)
    frame = pd.DataFrame(list(rows.values()), columns="observed median lower upper below".split(), index=index)
    outside = float(((drawn < observed.min()) | (drawn > observed.max())).mean())
    return PriorCheck(frame, outside, len(drawn), _title(design))


def _statistics(design) -> dict[str, Callable[[Array], Array]]:
    """Return the statistics of data sets, (draws, n) -> (draws,), that say something about this kind of response."""
    every = {"mean": lambda y: y.mean(axis=1)}
    if design.family.support.binary:
        return every
    every |= {
        "sd": lambda y: y.std(axis=1, ddof=1),
        "min": lambda y: y.min(axis=1),
        "max": lambda y: y.max(axis=1),
    }
    if design.family.discrete:
        every["share of zeros"] = lambda y: (y == 0).mean(axis=1)
    return every


def _title(design) -> str:
    what = "share of successes" if design.trials is not None else shorten(design.response)
    return f"Prior predictive check of {what}: {shorten(design.formula.text, FORMULA_WIDTH)}"


def _lines(check: PriorCheck) -> list[str]:
    frame = check.table
    rows = zip(frame.index, *([f"{value:.4g}" for value in frame[name]] for name in frame), strict=True)
    explained = (
        f"observed: of the data; median, lower, upper: of {check.draws:,} data sets drawn from the priors (middle "
        f"{100 * PROB:.0f} %); below: the share of those with a smaller value."
    )
    if len(frame) > 1:  # a response of 0 and 1 has no other values
        explained += f" {100 * check.outside:.0f} % of the drawn responses are outside the range of the observed ones."
    lines = [check.title, "", *table(["", *frame.columns], [list(row) for row in rows]), "", *wrap(explained)]
    return lines + wrap(_verdict(check))


def _verdict(check: PriorCheck) -> str:
    if check.surprising:
        return (
            f"The priors hardly allow for the observed {listing(check.surprising)}: see in print(model.priors) which "
            "of them says so, and widen or move it."
        )
    if "sd" in check.table.index and check.table["observed"]["sd"] < check.table["lower"]["sd"]:
        return "The priors allow for the data, and for more spread than the data have: they are wide."
    return "The priors allow for the data."
