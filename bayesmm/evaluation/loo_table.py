"""The three kinds of leave-one-out cross-validation of one fit beside one another, and when to use which."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from bayesmm.display.frames import Tabled
from bayesmm.display.text_tables import table, wrap
from bayesmm.evaluation.loo import SMOOTHED, Loo, loo, reliability
from bayesmm.runtime.arguments import check_bool
from bayesmm.runtime.progress import working

ROWS, GIVEN, INTEGRATED = "rows", "rows, effects drawn", "rows, effects integrated"
WHEN = {
    ROWS: "for predictions of new rows.",
    GIVEN: "for predictions of new rows of the groups in the data. The random effects of the row's groups are held at "
    "their draws, which the row itself has helped to place: the weights are uneven, Pareto k often too high.",
    INTEGRATED: "the same question and, but for Monte Carlo error, the same number: the effects of the row's group are "
    "integrated out given its other rows, which gives more even weights. Use it wherever it can be had.",
}
LEVELS = (
    "for predictions of groups that are not in the data, and for comparing what models say between groups. All rows of "
    "a level go, and its effects are integrated out over N(0, Sigma)."
)


@dataclass(frozen=True, eq=False)
class LooTable(Tabled):
    """The kinds of leave-one-out cross-validation that a fit allows.

    Attributes
    ----------
    table : pandas.DataFrame
        Index kind; points, elpd, se, mcse, p_loo, k_before (the largest Pareto k of the weights), again (points
        computed from the posterior without them), unreliable.
    loos : mapping of str to Loo
    refused : mapping of str to str
        The kinds that the model does not allow, and why.
    """

    table: pd.DataFrame
    loos: Mapping[str, Loo]
    refused: Mapping[str, str]

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    __repr__ = __str__


@working("leave-one-out of rows and of groups")
def loo_table(fit, *, refit: bool | None = None) -> LooTable:
    """Leave out rows given their random effects, rows with these integrated out, and the levels of each factor.

    Parameters
    ----------
    fit : Fit
    refit : bool, optional
        What becomes of points whose Pareto k is too high, see `bayesmm.evaluation.loo.loo`.

    Returns
    -------
    LooTable
    """
    check_bool("refit", refit, optional=True)
    names = [fit.design.blocks[k].group for k in fit.design.factors]
    groups = {f"levels of {name}": {"by": name} for name in names}
    kinds = {GIVEN: {}, INTEGRATED: {"integrated": True}, **groups} if groups else {ROWS: {}}
    loos, refused = {}, {}
    for kind, arguments in kinds.items():
        try:
            loos[kind] = loo(fit, **arguments, refit=refit)
        except ValueError as error:
            refused[kind] = str(error)
    rows = {kind: _row(one) for kind, one in loos.items()}
    return LooTable(pd.DataFrame.from_dict(rows, orient="index").rename_axis("kind"), loos, refused)


def _row(one: Loo) -> dict[str, float]:
    again = int((one.table["method"] != SMOOTHED).sum())
    numbers = {"points": len(one.table), "elpd": one.elpd, "se": one.se, "mcse": one.mcse, "p_loo": one.p_loo}
    return numbers | {"k_before": one.table["k_before"].max(), "again": again, "unreliable": len(one.unreliable)}


def _lines(kinds: LooTable) -> list[str]:
    rows = [
        [str(kind), f"{row['points']:,.0f}", *(f"{row[name]:.1f}" for name in ("elpd", "se", "p_loo")),
         f"{row['mcse']:.2g}", f"{row['k_before']:.2f}", f"{row['again']:.0f}", f"{row['unreliable']:.0f}"]
        for kind, row in kinds.table.iterrows()
    ]  # fmt: skip
    headers = ["left out", "points", "elpd", "SE", "p_loo", "MC error", "max k", "again", "unreliable"]
    out = ["Leave-one-out cross-validation, by what is left out", "", *table(headers, rows), ""]
    out += wrap("max k: the largest Pareto k of the weights; again: points computed from the posterior without them.")
    when = {kind: WHEN[kind] for kind in kinds.table.index if kind in WHEN}
    levels = [kind for kind in kinds.table.index if kind not in WHEN]
    when |= {", ".join(levels): LEVELS} if levels else {}
    out += [line for kind, text in when.items() for line in wrap(f"{kind}: {text}")]
    said = [f"{kind}: {reliability(one)}" for kind, one in kinds.loos.items() if len(one.unreliable)]
    said += [f"{kind}: not in the table, because {why}." for kind, why in kinds.refused.items()]
    out += [line for text in said for line in wrap(text)]
    return out + (wrap("Sums over rows are not comparable with sums over levels.") if levels else [])
