"""Where the curves of a design's smooths are: their columns of X, their block of random effects, their variables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bayesmm.design.coding import column_names
from bayesmm.design.frames import open_table
from bayesmm.design.records import Design
from bayesmm.design.smooths import Smooth, smooth_columns
from bayesmm.design.state import Scope
from bayesmm.design.transforms import numeric
from bayesmm.design.variables import read_variable
from bayesmm.formula.formula import Call, arguments_of, column_nodes, text_of
from bayesmm.runtime.messages import Rows

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class CurvePlace:
    """One curve or surface of a smooth.

    Attributes
    ----------
    name : str
        ``s(x)``, ``s(x):f[a]``.
    call : Call
    smooth : Smooth
    variables : tuple of str
        What it is a function of, as the formula writes it.
    fixed : tuple of int
        Its columns of X.
    block : int
        Of its penalised part.
    level : str
        Of the factor by whose levels there is a curve each; empty without.
    """

    name: str
    call: Call
    smooth: Smooth
    variables: tuple[str, ...]
    fixed: tuple[int, ...]
    block: int
    level: str

    def columns(self, x: Sequence[Array]) -> Array:
        """Return the columns at values of the variables, (m, fixed + penalised): times coefficients, the curve."""
        fixed, penalised = smooth_columns(self.smooth, x)
        return np.hstack([fixed, *penalised])


def curve_places(design: Design) -> Iterator[CurvePlace]:
    """Yield the curves and surfaces of a design, in the order of the formula."""
    blocks = [k for k in range(len(design.blocks)) if k not in design.groups]
    for call in design.formula.smooths:
        smooth, name, given = design.spec.states[call], text_of(call), arguments_of(call)
        variables = tuple(text_of(given[one]) for one in ("x", "z") if one in given)
        numbers = [""] if smooth.parts[0] == 1 else [str(j + 1) for j in range(smooth.parts[0])]
        for level in smooth.levels or ("",):
            fields = [", ".join(filter(None, (level, number))) for number in numbers]
            fixed = tuple(design.coefficients.index(label) for label in column_names([name], [fields]))
            own = f"{name}[{level}]" if level else name
            yield CurvePlace(own, call, smooth, variables, fixed, blocks.pop(0), level)


def curve_values(design: Design, place: CurvePlace) -> list[Array]:
    """Return the values of a curve's variables in the rows of the design, (n,) each, those of its level only."""
    table = open_table(design.frame)
    names = dict.fromkeys(node.name for node in column_nodes(place.call))
    variables: Mapping = {name: read_variable(name, design.frame[name])[0] for name in names}
    scope = Scope(variables, Rows(np.arange(table.n), table.labels), design.spec.transforms, dict(design.spec.states))
    given = arguments_of(place.call)
    found = [numeric(given[one], scope) for one in ("x", "z") if one in given]
    rows = design.blocks[place.block].Z.any(axis=1) if place.level else np.ones(table.n, dtype=bool)
    return [values[rows] for values in found]
