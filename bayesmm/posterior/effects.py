"""What random effects add to the linear predictors of rows, draw by draw: those of known levels and of new ones."""

from collections.abc import Mapping, Sequence

import numpy as np

from bayesmm.design.predictors import columns_of, part_of, random_parameters
from bayesmm.design.related_levels import given_relatives
from bayesmm.posterior.draws import factor_draws, tree_sizes, variable
from bayesmm.runtime.streams import stream

Array = np.ndarray


def add_effects_of_rows(eta: Array, fit, groups: Sequence, name: str, new_levels: str, seed: int) -> None:
    """Add Z b to eta, (draws, rows): of the mean, or of the parameter `name`.

    `groups` are the `predict.GroupRows` that are conditioned on; the levels that the fit did not see have effects that
    are drawn if `new_levels` is "sample", and else 0.
    """
    for group in groups:
        if not columns_of(group.block, name).any():
            continue
        known, Z = np.flatnonzero(group.index >= 0), part_of(group.block, group.Z, name)
        b = variable(fit.tree, group.block.names.effects).reshape(len(eta), -1, Z.shape[1])
        for j in np.flatnonzero(columns_of(group.block, name)):
            eta[:, known] += b[:, group.index[known], j] * Z[known, j]
        if new_levels == "sample" and len(known) < len(group.index):
            L = factor_draws(fit, group.block)
            if group.block.relation is None:
                _add_new_levels(eta, group, Z, L, seed)
            else:
                _add_relatives(eta, group, Z, b[:, :, 0], L[:, 0, 0], fit.design.spec.matrices, seed)


def effects_of_parameters(fit, groups: Sequence, rows: int, new_levels: str, seed: int) -> dict[str, Array]:
    """Return what random effects add to the link of each parameter that has some, (draws, rows)."""
    draws, found = int(np.prod(tree_sizes(fit.tree))), {}
    for name in random_parameters(fit.design):
        found[name] = np.zeros((draws, rows))
        add_effects_of_rows(found[name], fit, groups, name, new_levels, seed)
    return found


def _add_new_levels(eta: Array, group, Z: Array, L: Array, seed: int) -> None:
    """Add to eta (draws, rows) the effects of the levels that the fit did not see, L z with z ~ N(0, I)."""
    new = group.index < 0
    for label in dict.fromkeys(group.labels[new]):
        rows = np.flatnonzero(new & (group.labels == label))
        z = level_stream(seed, group.block.group, label).standard_normal((len(L), L.shape[2]))
        eta[:, rows] += np.einsum("sij,sj->si", L, z) @ Z[rows].T


def _add_relatives(eta: Array, group, Z: Array, b: Array, sd: Array, matrices: Mapping, seed: int) -> None:
    """Add to eta (draws, rows) the effects of levels that the fit did not see given those, (draws, G), that it did."""
    block, new = group.block, group.index < 0
    labels = sorted(set(group.labels[new]))
    W, root = given_relatives(block.relation, matrices[block.relation.name], block.levels, labels)
    z = np.stack([level_stream(seed, block.group, label).standard_normal(len(eta)) for label in labels], axis=1)
    found = b @ W.T + sd[:, None] * (z @ root.T)
    at = np.searchsorted(labels, group.labels[new].astype(str))
    eta[:, new] += found[:, at] * Z[new, 0]


def level_stream(seed: int, group: str, label: str) -> np.random.Generator:
    """Return the random numbers of a new level: those of its name, so that the order of rows has no part in them."""
    return stream(seed, "new level", group, label)
