"""The rows of a table as the columns of a smooth: those without a penalty for X, the others as random effects."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bayesmm.design.coding import Factor, Numbers
from bayesmm.design.smooths import USUAL_BASIS, USUAL_SIZE, Smooth, learn_smooth, smooth_columns
from bayesmm.errors import DataError
from bayesmm.formula.formula import Call, Expr, literal, text_of
from bayesmm.runtime.messages import label_text

MAY_BEND = 3  # distinct values from which on a curve through them is no straight line
Array = np.ndarray


@dataclass(frozen=True, eq=False)
class SmoothRows:
    """A smooth and the rows that it is of.

    Attributes
    ----------
    call : Call
    smooth : Smooth
    x : sequence of (n,) float64
        Its variables.
    by : Factor, Numbers or None
        The factor with a curve for each level, or the number that multiplies the curve.
    """

    call: Call
    smooth: Smooth
    x: Sequence[Array]
    by: Factor | Numbers | None


def learn_rows(call: Call, given: Mapping[str, Expr], x: Sequence[Array], by: Factor | Numbers | None) -> Smooth:
    """Return the smooth that a call asks for, with what it learns from the rows."""
    name, function = text_of(call), call.function
    sizes = literal(given["k"]) if "k" in given else float(USUAL_SIZE[function])
    sizes = sizes if isinstance(sizes, tuple) else (sizes,) * len(x)
    if len(sizes) != len(x) or not all(size.is_integer() for size in sizes):
        shown = ", ".join(f"{size:g}" for size in sizes)
        raise DataError(f"{name} has k = {shown}; expected a whole number" + (" or two" if len(x) > 1 else ""))
    basis = literal(given["bs"]) if "bs" in given else USUAL_BASIS[function]
    centred = not (isinstance(by, Numbers) and np.ptp(by.values) > 0)
    smooth = learn_smooth(name, function, x, [int(size) for size in sizes], basis, centred=centred)
    levels = by.levels.labels if isinstance(by, Factor) else ()
    for level, label in enumerate(levels):
        if not (by.codes == level).any():
            raise DataError(f"{name} has no row of the level {label_text(label)}, so no curve for it; leave it out")
    reach = [tuple(float(end) for v in x for end in _ends(v[by.codes == k])) for k in range(len(levels))]
    return replace(smooth, levels=levels, reach=tuple(reach))


def _ends(values: Array) -> tuple[Array, Array]:
    return values.min(), values.max()


def straight_levels(rows: SmoothRows) -> list[str]:
    """Return the levels of whose curve the rows cannot show a bend, having one or two values of its variable."""
    if not isinstance(rows.by, Factor) or len(rows.x) > 1:
        return []
    levels = enumerate(rows.smooth.levels)
    return [label for k, label in levels if len(np.unique(rows.x[0][rows.by.codes == k])) < MAY_BEND]


def _shares(rows: SmoothRows) -> list[tuple[str, Array]]:
    """Return what multiplies the columns in each curve, (n, 1), with what tells the curve from others of the smooth."""
    if isinstance(rows.by, Factor):
        return [(label, (rows.by.codes == k)[:, None] * 1.0) for k, label in enumerate(rows.smooth.levels)]
    return [("", np.ones((1, 1)) if rows.by is None else rows.by.values)]


def fixed_columns(rows: SmoothRows, call: Call) -> Numbers:
    """Return the columns without a penalty, those of each curve side by side."""
    fixed, _ = smooth_columns(rows.smooth, rows.x)
    numbers = [""] if fixed.shape[1] == 1 else [str(j + 1) for j in range(fixed.shape[1])]
    shares = _shares(rows)
    fields = [", ".join(filter(None, (label, number))) for label, _ in shares for number in numbers]
    return Numbers(np.hstack([fixed * share for _, share in shares]), tuple(fields))


@dataclass(frozen=True, eq=False)
class Curve:
    """The penalised columns of one curve or surface.

    Attributes
    ----------
    name : str
        ``s(x)``, ``s(x):f[a]``.
    Z : (n, q) float64
    parts : tuple of int
        Number of columns of each penalised part.
    names : tuple of str
        Of the parts.
    """

    name: str
    Z: Array
    parts: tuple[int, ...]
    names: tuple[str, ...]


def curves(rows: SmoothRows) -> Iterator[Curve]:
    """Yield the curves of a smooth: one, or one for each level of the factor."""
    _, penalised = smooth_columns(rows.smooth, rows.x)
    Z, name = np.hstack(penalised), text_of(rows.call)
    for label, share in _shares(rows):
        own = f"{name}[{label}]" if label else name
        yield Curve(own, np.ascontiguousarray(Z * share), rows.smooth.parts[1:], rows.smooth.names)
