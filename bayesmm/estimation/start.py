"""Where the user lets a maximisation start."""

from collections.abc import Mapping

import numpy as np

from bayesmm.design.covariance.structure import Entry
from bayesmm.design.parameters import block_parameters, free_auxiliaries, part_parameters, residual_parameters
from bayesmm.design.records import Design
from bayesmm.design.relations import relations_of
from bayesmm.design.summed import rows_of, sd
from bayesmm.errors import listing, suggest
from bayesmm.families.family import POSITIVE_VALUES
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.likelihood.orthogonal import lower_factor
from bayesmm.likelihood.theta import StructuredPart, Theta
from bayesmm.runtime.arguments import is_real

FARTHEST = 1e4  # of an effect's sd, times the spread of the linear predictor; from further out the likelihood is flat
FARTHEST_OWN = 1e8  # of sigma, times or below the response's spread, and of the family's other parameters; both ours


def start_theta(
    design: Design,
    theta: Theta,
    order: tuple[int, ...],
    bases: tuple[Floats, ...],
    unit: float,
    start: Mapping[str, float],
    size: float,
) -> Floats:
    """Return theta, in units of `unit`: what `start` names, sds of `size` and no correlation for the rest."""
    packed = _start_factors(design, order, bases, unit, start, size)
    return theta.from_packed(packed, lambda own: _start_structure(design, own, unit, start, size))


def _start_structure(
    design: Design, own: StructuredPart, unit: float, start: Mapping[str, float], size: float
) -> Floats:
    """Return the coordinates of one structure's parameters."""
    x, parameters = own.start(size), part_parameters(own.block, design.blocks[own.block], own.part)
    named = [start[p.label] / (unit if p.kind == "sd" else 1.0) if p.label in start else 0.0 for p in parameters]
    return np.where([p.label in start for p in parameters], own.coordinates(named), x)


def _start_factors(
    design: Design, order: tuple[int, ...], bases: tuple[Floats, ...], unit: float, start: Mapping, size: float
) -> Floats:
    """Return T / unit in the given bases, packed in `order`: what `start` names, sds of `size` for the others."""
    factors = [np.empty(0)]
    for k in order:
        block, B, q = design.blocks[k], bases[k], len(design.blocks[k].columns)
        sds, R, named = size * np.diag(B), np.eye(q), False
        for i, place in enumerate(block.names.sd_labels):
            pairs = {j: block.names.corr_label(j, i) for j in range(i)}
            named = named or place in start or any(pair in start for pair in pairs.values())
            sds[i] = start[place] / unit if place in start else sds[i]
            for j, pair in pairs.items():
                R[i, j] = R[j, i] = start.get(pair, 0.0)
        factors.append((_start_factor(block.name, sds, R, B) if named else size * np.eye(q)).ravel())
    return np.concatenate(factors)


def _start_factor(name: str, sds: Floats, R: Floats, B: Floats) -> Floats:
    """Return the factor T with B T T' B' the covariance matrix."""
    try:
        return lower_factor(np.linalg.solve(B, sds[:, None] * np.linalg.cholesky(R)))
    except np.linalg.LinAlgError:
        raise ValueError(f"the correlations of {name} in start belong to no covariance matrix") from None


def check_start(design: Design, start: Mapping[str, float]) -> None:
    """Raise ValueError for a place that the model has not, or a value that cannot be there."""
    own = [parameter for k, block in enumerate(design.blocks) for parameter in block_parameters(k, block)]
    positive = [own.name for own in free_auxiliaries(design) if own.bounds == POSITIVE_VALUES]
    sds = [p.label for p in own if p.kind == "sd"] + positive
    corrs, entries = [p.label for p in own if p.kind == "corr"], _entries(design)
    others = {p.label: p.support for p in residual_parameters(design)}
    others |= {own.name: own.bounds for own in free_auxiliaries(design) if own.bounds != POSITIVE_VALUES}
    known = [*sds, *corrs, *others]
    if not isinstance(start, Mapping):
        example = f"{{{(sds + corrs or ['sigma'])[0]!r}: 1.0}}"
        raise ValueError(f"start should be a mapping of places to numbers, such as {example}, not {start!r}")
    for place, value in start.items():
        if not is_real(value):
            raise ValueError(f"start[{place!r}] should be a number, not {value!r}")
        if place not in known:
            raise ValueError(
                f"start names {place!r}, which is no standard deviation or correlation of the model; the places are "
                f"{listing(known)}{suggest(place, known)}"
            )
        if place in others and not others[place][0] < value < others[place][1]:
            between = "between {:g} and {:g}".format(*others[place])
            raise ValueError(f"start[{place!r}] must be a number {between}, not {value!r}")
        if place in sds and not (np.isfinite(value) and value > 0):
            raise ValueError(f"start[{place!r}] must be a positive number, not {value!r}")
        if place in sds:
            _check_near(design, place, float(value))
        low, high = entries[place].bounds if place in corrs else (-1, 1)
        if place in corrs and not low < value < high:
            raise ValueError(f"start[{place!r}] must be a correlation between {low:.4g} and {high:.4g}, not {value!r}")


def _check_near(design: Design, place: str, value: float) -> None:
    """Raise ValueError for a value from which no search finds back: the likelihood is flat or overflows there."""
    spread = sd(design.y, 0) if design.family.link == "identity" else 1.0  # of the linear predictor
    sizes = _sizes(design)
    if place in sizes:
        low, high = 0.0, FARTHEST * spread / (sizes[place] or 1.0)  # a column of zeros has no size
    else:
        unit = spread if place == "sigma" else 1.0
        low, high = unit / FARTHEST_OWN, unit * FARTHEST_OWN
    if not low <= value <= high:
        between = f"at most {high:.2g}" if low == 0 else f"between {low:.2g} and {high:.2g}"
        raise ValueError(
            f"start[{place!r}] is {value:g}, which is so far from what these data can have that no search would find "
            f"back; take a value {between}"
        )


def _entries(design: Design) -> dict[str, Entry]:
    """Return what each sd and correlation is, by label."""
    parts = [(block, part) for block in design.blocks for part in block.parts]
    found = [zip(part_parameters(0, block, part), part.entries, strict=True) for block, part in parts]
    return {parameter.label: entry for own in found for parameter, entry in own}


def _sizes(design: Design) -> dict[str, float]:
    """Return the root mean square of the column that each sd is of, the largest if there are several, by label."""
    found = {}
    for block in design.blocks:
        rms = np.sqrt(np.square(rows_of(block.Z)).mean(axis=0))
        for part in block.parts:
            for parameter, entry in zip(part_parameters(0, block, part), part.entries, strict=True):
                if entry.kind == "sd":
                    found[parameter.label] = float(max(rms[part.columns[i]] for (i,) in entry.places))
    return found


def without_related(design: Design, start: Mapping[str, float] | None) -> dict[str, float] | None:
    """Return where a search starts, but for the sds of related levels, which are known otherwise there."""
    if start is None:
        return None
    check_start(design, start)
    made = zip(design.blocks, relations_of(design), strict=True)
    own = {label for block, relation in made if relation is not None for label in block.names.sd_labels}
    return {label: value for label, value in start.items() if label not in own}
