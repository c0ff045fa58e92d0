"""What data the priors expect, beside the observed ones: a prior predictive check in numbers."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayesmm.display.frames import Tabled
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
    "share": (True, True),
}


@dataclass(frozen=True, eq=False)
class PriorCheck(Tabled):
    """Statistics of data sets drawn from the priors, beside the observed ones.

    Attributes
    ----------
    table : pandas.DataFrame
        A row for each statistic of the responses (of a binomial, the shares of successes; of categories, the share of
        each; of several responses, of each): observed, median, lower and upper (the middle 90 % of the prior predictive
        data sets), below (the share of those with a smaller value, ties counted half).
    outside : float
        Share of all prior predictive responses that lie outside the range of the observed ones; 0 of categories
        without an order.
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
            if (NARROW[_kind(name)][0] and observed < lower) or (NARROW[_kind(name)][1] and observed > upper)
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
    observed, rows, beyond = design.y / size, {}, 0
    for of, at in _parts(design):
        rows |= _compared(_statistics(design), observed[at], drawn[:, at], of)
        beyond += int(((drawn[:, at] < observed[at].min()) | (drawn[:, at] > observed[at].max())).sum())
    index = pd.Index(list(rows), name="statistic", dtype=object)
    frame = pd.DataFrame(list(rows.values()), columns="observed median lower upper below".split(), index=index)
    return PriorCheck(frame, beyond / drawn.size, len(drawn), _title(design))


def _parts(design) -> list[tuple[str, slice | Array]]:
    """Return the rows of each response, with what follows the names of its statistics: all rows of a single one."""
    return [(f" of {name}", design.response_codes == k) for k, name in enumerate(design.responses)] or [
        ("", slice(None))
    ]


def _kind(name: str) -> str:
    """Return which statistic of NARROW a row of the table is, which may be of one response or one category."""
    return name if name in NARROW else name.split(" of ")[0]


def _compared(statistics: dict[str, Callable], observed: Array, drawn: Array, of: str) -> dict[str, tuple]:
    """Return the rows of the table of one response, (n,), beside data sets, (draws, n)."""
    rows = {}
    for name, statistic in statistics.items():
        values, at = statistic(drawn), float(statistic(observed[None])[0])
        known = values[np.isfinite(values)]
        if len(known):
            low, middle, high = np.quantile(known, [(1 - PROB) / 2, 0.5, (1 + PROB) / 2])
            rows[f"{name}{of}"] = at, middle, low, high, float((known < at).mean() + (known == at).mean() / 2)
    return rows


def _statistics(design) -> dict[str, Callable[[Array], Array]]:
    """Return the statistics of data sets, (draws, n) -> (draws,), that say something about this kind of response."""
    shares = {f"share of {label}": _share(k + 1.0) for k, label in enumerate(design.categories)}
    if design.family.nominal:  # whose numbers say nothing
        return shares
    every = {"mean": lambda y: y.mean(axis=1)}
    if design.family.support.binary:
        return every
    every |= {
        "sd": lambda y: y.std(axis=1, ddof=1),
        "min": lambda y: y.min(axis=1),
        "max": lambda y: y.max(axis=1),
    }
    if design.family.discrete and not shares:
        every["share of zeros"] = _share(0.0)
    return every | shares


def _share(value: float) -> Callable[[Array], Array]:
    return lambda y: (y == value).mean(axis=1)


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
    if any(_kind(name) == "max" for name in frame.index):  # others have no values outside
        explained += f" {100 * check.outside:.0f} % of the drawn responses are outside the range of the observed ones."
    lines = [check.title, "", *table(["", *frame.columns], [list(row) for row in rows]), "", *wrap(explained)]
    return lines + wrap(_verdict(check))


def _verdict(check: PriorCheck) -> str:
    if check.surprising:
        return (
            f"The priors hardly allow for the observed {listing(check.surprising)}: see in print(model.priors) which "
            "of them says so, and widen or move it."
        )
    sds = check.table[[_kind(name) == "sd" for name in check.table.index]]
    if (sds["observed"] < sds["lower"]).any():
        return "The priors allow for the data, and for more spread than the data have: they are wide."
    return "The priors allow for the data."
