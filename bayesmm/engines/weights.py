"""Prior weights in a lazy frame: checked, and rows of weight 0 left out."""

from dataclasses import dataclass, replace

import narwhals.stable.v2 as nw

from bayesmm.design.reading import LARGEST_WEIGHT
from bayesmm.design.variables import KIND_NAMES, NUMERIC
from bayesmm.engines.complete import Complete
from bayesmm.engines.expressions import Columns, indicator, number
from bayesmm.engines.finite import check_finite
from bayesmm.engines.frames import Opened, collected
from bayesmm.engines.states import learn_states
from bayesmm.errors import DataError
from bayesmm.formula.formula import Column, Formula, text_of
from bayesmm.runtime.messages import are, count, note


@dataclass(frozen=True, eq=False)
class Weighted:
    """The rows whose weight is above 0, and the weight as the engine computes it; None where there are no weights."""

    rows: Complete
    weight: nw.Expr | None


def weighted_rows(formula: Formula, opened: Opened, complete: Complete, weights: str | None) -> Weighted:
    """Return the rows whose weight is above 0; what the weights' expression learns, it learns of all rows.

    Raises
    ------
    DataError
        Weights are given twice, are no numbers, or a weight is negative, missing, infinite, or too large or small.
    """
    if weights is None and formula.weights is None:
        return Weighted(complete, None)
    if weights is not None and formula.weights is not None:
        raise DataError("weights are given twice, in the formula and as an argument; give them once")
    expr = Column(weights, (0, 0)) if weights is not None else formula.weights
    what, kinds = f"the weights '{text_of(expr)}'", opened.kinds
    if isinstance(expr, Column) and kinds[expr.name] not in NUMERIC:
        raise DataError(f"{what} hold {KIND_NAMES[kinds[expr.name]]}; expected numbers of 0 or more")
    plain = Columns(opened.places, kinds, {}, {}, {})
    own = replace(plain, states=learn_states(opened.engine, complete, [expr], plain))
    check_finite(opened.engine, complete, [expr], own)
    w = number(expr, own)
    frame = complete.frame.with_columns(w=w)
    good, zero = (nw.col("w") > 0) & (nw.col("w") < float("inf")), nw.col("w") == 0
    counted = frame.with_columns(good=indicator(good), zero=indicator(zero)).select(
        nw.col("good").sum(), nw.col("zero").sum(), low=nw.col("w").min(), high=nw.col("w").max()
    )
    table = collected(opened.engine, "check the weights", counted)
    kept, lost = int(table["good"][0]), int(table["zero"][0])
    if kept + lost < complete.n:
        bad = complete.n - kept - lost
        raise DataError(
            f"{what} are negative, missing or infinite in {count(bad, 'row')}; expected numbers of 0 or more"
        )
    if kept < 2:
        raise DataError(f"{count(kept, 'row')} of {complete.n:,} can be used; a model needs at least two")
    low, high = float(table["low"][0]), float(table["high"][0])
    if high > LARGEST_WEIGHT or 0 < low < 1 / LARGEST_WEIGHT:
        raise DataError(f"{what} are outside {1 / LARGEST_WEIGHT:g} to {LARGEST_WEIGHT:g}; take another unit")
    if not lost:
        return Weighted(complete, w)
    said = (*complete.said, note(f"{count(lost, 'row')} of weight 0 {are(lost)} left out"))
    left = frame.filter(nw.col("w") > 0).select(*opened.places.values())
    return Weighted(replace(complete, frame=left, n=kept, said=said, ends={}), w)
