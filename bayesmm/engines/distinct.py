"""The distinct rows of a lazy frame with their numbers: all that a model of any family needs of them.

Counts and yes/no responses beside factors have few distinct rows, however many there are; continuous columns have as
many as there are rows, and then the table is refused.
"""

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd

from bayesmm.engines.complete import complete_rows
from bayesmm.engines.frames import Opened, collected, open_frame
from bayesmm.errors import DataError
from bayesmm.formula.formula import Formula
from bayesmm.runtime.memory import BYTES, too_much
from bayesmm.runtime.progress import working

FEW = 100_000  # rows up to which a table is taken over, however many of them differ
MOST_SHARE = 0.5  # of the rows that may differ: with more, counting them saves nothing; ours


def distinct_rows(
    formula: Formula, data: object, weights: object, trials: object, missing: str
) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the distinct rows of the columns that a formula names, and how many rows each stands for.

    Raises
    ------
    DataError
        There are weights, which the counts take the place of; or nearly as many rows differ as there are.
    """
    if weights is not None or formula.weights is not None:
        raise DataError(
            "weights beside a lazy frame are for gaussian models with the identity link; collect the frame for others"
        )
    if trials is not None and not isinstance(trials, str | int | float):
        raise DataError("trials beside a lazy frame should be the name of a column of it, or one number")
    beside = trials if isinstance(trials, str) else None
    opened = open_frame(formula, data, beside)
    complete = complete_rows(opened, list(opened.places), missing)
    keys = list(opened.places.values())
    grouped = complete.frame.group_by(*keys).agg(nw.len().alias("rows"))
    with working(f"counting the distinct rows by {opened.engine}"):
        if complete.n > FEW:
            counted = collected(opened.engine, "count the distinct rows", grouped.select(nw.len().alias("cells")))
            _check(int(counted["cells"][0]), complete.n, len(keys))
        table = collected(opened.engine, "count the distinct rows", grouped)
    order = np.lexsort([table[key].astype(str) if table[key].dtype == object else table[key] for key in keys[::-1]])
    frame = pd.DataFrame({name: _column(opened, name, table[place][order]) for name, place in opened.places.items()})
    return frame, table["rows"].astype(float)[order]


def _check(cells: int, n: int, columns: int) -> None:
    if cells > MOST_SHARE * n:
        raise DataError(
            f"{cells:,} of the {n:,} rows differ in the columns of the model, so that nothing is gained by counting "
            "equal ones, and families other than the gaussian need the rows; round the continuous columns, or collect "
            "a sample"
        )
    need = too_much(4.0 * BYTES * cells * columns)
    if need:
        raise DataError(f"the {cells:,} distinct rows of the columns of the model need {need}")


def _column(opened: Opened, name: str, values: np.ndarray) -> pd.Series:
    dtype = opened.dtypes[name]
    if isinstance(dtype, nw.Enum):
        own = pd.Categorical(values, list(dtype.categories), ordered=opened.kinds[name] == "ordered")
        return pd.Series(own)
    return pd.Series(values).infer_objects()
