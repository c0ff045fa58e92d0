"""The draws of a family's parameters besides the mean: as they are, of each row, and as compiled code takes them."""

from collections.abc import Callable

import numpy as np

from bayesmm.design.predictors import Shifts, columns_of, part_of, random_parameters
from bayesmm.design.residual.of_family import own_of_rows, row_thresholds, threshold_basis
from bayesmm.families.family import MOST_PARAMETERS
from bayesmm.posterior.draws import block_draws, residual_draws, scalar_draws, tree_sizes

Array = np.ndarray


def auxiliary_values(fit, read: np.ndarray | None = None, effects: Shifts | None = None) -> list[np.ndarray]:
    """Return the draws of each parameter of the family besides mu, and of thresholds before them, (draws, 1).

    One that has a formula is (draws, rows), of rows of which that has read `read` and whose random effects add
    `effects` to its link: those of the fit if not given.
    """
    own = {name: values[:, None] for name, values in scalar_draws(fit).items()}
    if not fit.design.residual.by_row:
        return list(own.values())
    if effects is None:
        effects = own_effects(fit, slice(None))
    return list(own_of_rows(fit.design, own, residual_draws(fit), read, effects))


def own_effects(fit, part: object) -> Shifts:
    """Return what the effects of known levels add to the parameters' links in some rows of the fit, (draws, m)."""
    design, draws = fit.design, int(np.prod(tree_sizes(fit.tree)))
    found = {}
    for name in random_parameters(design):
        found[name] = np.zeros((draws, len(design.y[part])))
        for block in design.blocks:
            if columns_of(block, name).any():
                b, Z = block_draws(fit, block), part_of(block, block.Z, name)[part]
                b = b.reshape(draws, *b.shape[2:])
                for j in np.flatnonzero(columns_of(block, name)):
                    found[name] += b[:, block.index[part], j] * Z[:, j]
    return found


def auxiliary_draws(fit) -> Array:
    """Return the draws of the family's auxiliaries, (draws, 3), zeros where it has fewer; or its thresholds."""
    if fit.design.family.ordered:
        part = fit.design.residual.parts[0]
        return residual_draws(fit)[part.parameters[0].name] @ threshold_basis(part).T
    aux = np.zeros((int(np.prod(tree_sizes(fit.tree))), MOST_PARAMETERS))
    for m, name in enumerate(fit.design.family.auxiliaries):
        aux[:, m] = scalar_draws(fit).get(name, 1.0)
    return aux


def auxiliaries_at(fit) -> Callable[[object], Array]:
    """Return the function of rows (a slice or places) that gives the auxiliaries as compiled code takes them.

    They are (draws, 3), or (draws, m, w) where the family has parameters that differ from row to row.
    """
    design = fit.design
    if not design.residual.by_row:
        aux = auxiliary_draws(fit)
        return lambda part: aux
    read = design.residual.rows

    def of_rows(part: object) -> Array:
        found = auxiliary_values(fit, None if read is None else read[part], own_effects(fit, part))
        if design.family.ordered:
            return row_thresholds(np, design.family, found, design.y[part])
        shape = len(found[0]), len(design.y[part])
        columns = [np.broadcast_to(own, shape) for own in found]
        return np.stack([*columns, *[np.zeros(shape)] * (MOST_PARAMETERS - len(columns))], axis=-1)

    return of_rows
