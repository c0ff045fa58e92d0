"""How marginal quantities print, and what is said of them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bayesmm.display.text_tables import NAME_WIDTH, column, number, p_text, shorten, table, value_text, wrap
from bayesmm.estimation.estimates import Estimates
from bayesmm.families.links import LINKS
from bayesmm.inference.marginal_effects.quantities import Estimand
from bayesmm.inference.marginal_effects.rows import label_count
from bayesmm.inference.ratios import RATIOS
from bayesmm.posterior.draws import draws_text, tree_sizes
from bayesmm.runtime.messages import count

DIGITS = 3  # significant digits of the smallest sd or se
SDS_OF_INTERVAL = 4  # a 95 % interval is as long as about so many sds
LABEL_WIDTH = 2 * NAME_WIDTH  # columns of a label: a contrast has two names
NO_OTHERS = "No other factors to average over"  # of marginal means, in their first note
FORMULA_WIDTH = 70  # columns of a formula in the print


def render(result) -> str:
    """Return title, table and notes of a result as text of at most 100 columns."""
    lines = [line for note in result.notes for line in wrap(note)]
    return "\n".join([*wrap(result.title), *table_lines(result.table), "", *lines])


def table_lines(frame: pd.DataFrame) -> list[str]:
    """Return a table of labels and statistics as text."""
    size = label_count(frame)
    if "median" in frame.columns[size:] and not _beyond(frame.iloc[:, size:]).any():
        frame = frame.iloc[:, :-1]  # the last column; beside a mean that tells the same it is only wide
    keys, numbers = frame.iloc[:, :size], frame.iloc[:, size:]
    keys = keys if size else pd.DataFrame({"": frame.index})
    cells = [[shorten(value_text(value), LABEL_WIDTH) for value in keys[name]] for name in keys]
    # the sd of draws with a long tail may be far larger than their interval
    spread = np.fmin(numbers.iloc[:, 1], (numbers["upper"] - numbers["lower"]) / SDS_OF_INTERVAL)
    cells += [_cells(name, numbers[name].to_numpy(dtype=float), spread) for name in numbers]
    heads = [shorten(str(name), NAME_WIDTH) for name in keys]
    return table([*heads, *numbers], list(map(list, zip(*cells, strict=True))), left=len(heads))


def _cells(name: str, values: np.ndarray, spread: np.ndarray) -> list[str]:
    if name == "p":
        return [p_text(p) for p in values]
    if name in ("df", "t", "z", "pd"):
        return ["Inf" if np.isposinf(v) else number(v, {"df": 1, "pd": 3}.get(name, 2)) for v in values]
    return column(values, DIGITS, spread)


# ----------------------------------------------------------------------------------------------------------------------
# words


def quantity_words(fit, estimand: Estimand) -> str:
    """Return what is averaged: "mean of Reaction"; "probability of y"; "linear predictor of y (logit scale)"."""
    design = fit.design
    link = LINKS[design.family.link]
    if estimand.kind == "linear" and link.name != "identity":
        return f"linear predictor of {design.response} ({link.scale})"
    what = "probability" if design.family.support.successes else "mean"
    return f"{what} of {design.response}"


def origin_words(origin) -> str:
    """Return what the numbers of a result are, or what its contrasts are of: "mean of y", "odds ratio of y"."""
    link = origin.fit.design.family.link
    if origin.ratio and origin.estimand.kind == "linear":
        return f"{RATIOS[link]} of {origin.fit.design.response}"
    return quantity_words(origin.fit, origin.estimand) + (", ratios" if origin.ratio else "")


def effects_note(fit, estimand: Estimand) -> list[str]:
    """Return which random effects entered; nothing for a model without."""
    factors = ", ".join(fit.design.blocks[k].group for k in fit.design.groups)
    words = {
        "population": f"Random effects ({factors}) are 0: groups='population'.",
        "averaged": f"Averaged over new groups, whose effects ({factors}) are drawn anew: groups='averaged'.",
        "conditional": f"With the random effects ({factors}) of each row's groups: groups='conditional'.",
    }
    return [words[estimand.groups]] if factors else []


def scale_note(fit, estimand: Estimand) -> list[str]:
    """Return what is to say of linear predictors of ordered categories."""
    if not fit.design.family.ordered or estimand.kind != "linear":
        return []
    return ["Values are on the latent scale, without the thresholds: only their differences say something."]


def interval_note(fit, estimand: Estimand, words: str = "") -> str:
    """Return where the intervals come from."""
    percent = f"Intervals: {100 * estimand.ci_prob:.4g} %"
    if not isinstance(fit, Estimates):
        return f"{percent} equal-tailed, from {draws_text(fit.tree)}."
    gaussian = fit.design.family.gaussian and not words.startswith("Kenward")  # whose errors know of that
    averaged = estimand.groups == "averaged" and not (fit.joint is not None and fit.joint.knows_variances)
    held = (
        "; the variance parameters are held at their estimates" if fit.design.blocks and (gaussian or averaged) else ""
    )
    return f"{percent}, {fit.method}, {words or 'normal (z)'}{held}."


def undefined_note(fit, found) -> list[str]:
    """Return what is to say of quantities that are blank, or that the priors alone determine."""
    return [*_no_mean_note(fit, found), *_dependence_note(fit, found.defined)]


def _no_mean_note(fit, found) -> list[str]:
    """Return what is to say where a linear predictor has no mean, with the inverse link."""
    lost = int((np.isnan(found.values).any(axis=0) & found.defined).sum())
    if not lost or fit.design.family.link != "inverse":
        return []
    return [
        f"Blank: in {count(lost, 'row')} there is a linear predictor of 0 or less, where the inverse link has no mean."
    ]


def _dependence_note(fit, defined: np.ndarray) -> list[str]:
    """Return what is to say where columns of X depend on each other."""
    if defined.all():
        return []
    which = count(int((~defined).sum()), "row")
    if isinstance(fit, Estimates):
        return [f"Blank: {which} not estimable, because columns of X that depend on each other would be needed apart."]
    return [f"The data do not determine {which}: columns of X depend on each other, and the priors tell them apart."]


def tail_note(table: pd.DataFrame) -> list[str]:
    """Return what is to say where a few draws make the mean, as of exp of a normal variable with a large variance."""
    outside = int(_beyond(table).sum()) if "mean" in table else 0
    if not outside:
        return []
    return [
        f"The mean of {count(outside, 'row')} is outside its interval: a few very large draws make it, and it may not "
        "exist; read the median and the interval."
    ]


def _beyond(table: pd.DataFrame) -> pd.Series:
    """Return which rows of a posterior's statistics have a mean outside of its interval, (rows,) bool."""
    return (table["mean"] < table["lower"]) | (table["mean"] > table["upper"])


def shaped(fit, values: np.ndarray) -> np.ndarray:
    """Return draws (s, r) as (chains, draws, r)."""
    return values.reshape(*tree_sizes(fit.tree), values.shape[1])


def title_of(fit, words: str) -> str:
    """Return the first line of a print."""
    return f"{words}: {shorten(fit.design.formula.text, FORMULA_WIDTH)}"


def labelled(keys: pd.DataFrame, statistics: pd.DataFrame, index: Sequence[object] | None = None) -> pd.DataFrame:
    """Return labels and statistics side by side."""
    joined = pd.concat([keys.reset_index(drop=True), statistics], axis=1)
    return joined if index is None else joined.set_axis(pd.Index(index), axis=0)
