"""The median absolute deviation of the response, in whose units default priors are: exact, as of a table in memory."""

import narwhals.stable.v2 as nw

from bayesmm.engines.frames import collected
from bayesmm.engines.order_statistics import median_and_deviation
from bayesmm.engines.passes import Means, Prepared
from bayesmm.priors.scales import MAD_TO_SD
from bayesmm.runtime.progress import working


def robust_scale(rows: Prepared, response: int, offset: int, means: Means) -> float:
    """Return 1.4826 times the median absolute deviation of the response less its offset; 0 is left as it is."""
    left = nw.col(f"b{response}") - nw.col(f"b{offset}") if offset else nw.col(f"b{response}")
    frame, ends = rows.frame.select(x=left), (float(means.low[response]), float(means.high[response]))
    with working(f"pass 1, median of the response by {rows.engine}"):
        if offset:
            table = collected(
                rows.engine,
                "find the range of the response",
                frame.select(low=nw.col("x").min(), high=nw.col("x").max()),
            )
            ends = float(table["low"][0]), float(table["high"][0])
        return MAD_TO_SD * median_and_deviation(rows.engine, frame, "x", rows.n, ends)[1]
