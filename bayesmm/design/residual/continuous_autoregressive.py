"""Autoregression in continuous time, ``car(time, gr)``: the correlation of two rows of a series is car^|t - s|.

nlme's corCAR1 (Jones 1993; Pinheiro & Bates 2000, section 5.3): the times are any numbers, the correlation above 0.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType

import numpy as np

from bayesmm.design.residual import autoregressive
from bayesmm.design.residual.correlation import Layout
from bayesmm.design.residual.series import times_of
from bayesmm.design.residual.structure import Arguments, Array, ResidualParameter
from bayesmm.errors import DataError

NAME = "car"
LEAST_GAP = 1 / 300  # 0.1 to the power 300 is about the smallest double
PARAMETER = ResidualParameter(
    NAME, r"\rho", "Uniform", {"lower": 0.0, "upper": 1.0}, "correlation one unit apart", None, (0.0, 1.0), 0.5
)


def parameters(arguments: Arguments) -> tuple[ResidualParameter, ...]:
    """Return the correlation of rows one unit of time apart; a search begins where it is 1/2 over the median gap.

    Its default prior is uniform on the correlation over that gap, whatever the unit of time is. Raises a DataError
    where the times are so near to one another that it has no number.
    """
    gaps = autoregressive.gaps(times_of(NAME, arguments))
    gap = float(np.median(gaps)) if len(gaps) else 1.0
    if gap < LEAST_GAP:
        raise DataError(
            f"{NAME}(): neighbouring rows are {gap:.2g} apart, and the correlation of rows 1 apart would be too small "
            f"a number; expected a unit of time in which they are about 1 apart, as with the time times {1 / gap:.2g}"
        )
    own = replace(PARAMETER, gap=gap, start=PARAMETER.start ** (1 / gap))
    return (autoregressive.uniform_over(own),)


def rows(arguments: Arguments) -> Array:
    """Return the series and the time of each row, (n, 2)."""
    return times_of(NAME, arguments)


def root(library: ModuleType, layout: Layout, values: Mapping[str, object]) -> object:
    """Return the entries of U, (..., nnz)."""
    return autoregressive.root_of(library, layout.own, values[NAME])


WORDS = "residuals autoregressive in continuous time"
STRUCTURE = replace(autoregressive.STRUCTURE, name=NAME, words=WORDS, parameters=parameters, rows=rows, root=root)
