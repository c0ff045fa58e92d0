"""Known covariances among the levels of a grouping factor, ``(1 | gr(animal, cov = A))``: pedigrees, phylogenies, maps.

b ~ N(0, s^2 K) with K the rows and columns of the matrix that are the levels', found by their labels (for animals:
Henderson 1976, Biometrics 32). The likelihood takes the factor as one level with a column for each of its levels.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from bayesmm.design.covariance.structure import Covariance, Entry, Part
from bayesmm.design.related_levels import MOST_DENSE, Members, Relation
from bayesmm.design.residual.structure import lies_within, residual_weights, typical_weight
from bayesmm.design.summed import is_summed
from bayesmm.design.term_basis import TermBases, untouched
from bayesmm.errors import DataError

Array = np.ndarray

MOST_TURNED = 2000  # levels; a dense eigenvalue problem of their size takes seconds
MOST_COUPLED = 1e8  # multiply-adds of an evaluation with other factors: 0.1 s
MOST_SPARSE = 2e9  # the same with so many levels that there is no other way
ONE_LEVEL = "known"  # the name of the covariance among the columns of a block that `expanded` made


def is_related(design) -> bool:
    """Return whether any block has a known covariance of its levels, or is treated so: see `relations_of`."""
    return any(block.relation is not None for block in design.blocks) or crosses(design)


def is_turned(design) -> bool:
    """Return whether the posterior of a Gaussian design takes its related levels as independent ones.

    See `bayesmm.likelihood.turned`; this is for up to some thousand levels.
    """
    return _leads(design, MOST_COUPLED) and len(related_blocks(design)[0].levels) <= MOST_TURNED and has_dense(design)


def is_sparse(design) -> bool:
    """Return whether it takes them by the sparse inverse of their covariance, which a pedigree gives.

    See `bayesmm.likelihood.sparse_levels`.
    """
    return (
        _leads(design, MOST_SPARSE)
        and not is_turned(design)
        and isinstance(related_blocks(design)[0].relation.given, Members)
    )


def is_coupled(design) -> bool:
    """Return whether the other factors of a sparse design make an evaluation long."""
    return not _leads(design, MOST_COUPLED)


def has_dense(design) -> bool:
    """Return whether the related levels have a covariance matrix of moderate size."""
    own = related_blocks(design)[0].relation.given
    return not isinstance(own, Members) or own.family.pedigree.m <= MOST_DENSE


def related_blocks(design) -> list:
    """Return the blocks whose levels have a known covariance."""
    return [block for block in design.blocks if block.relation is not None]


def _leads(design, most: float) -> bool:
    """Return whether the effects of a Gaussian design's related levels can be integrated out first of all.

    One block is related, which has one column, and residuals are independent, with no parameter besides sigma. All
    effects of other blocks meet all of its levels, in dense matrices: `most` multiply-adds in an evaluation.
    """
    related = related_blocks(design)
    if len(related) != 1 or not design.family.gaussian or is_summed(design):
        return False
    if design.residual.estimated or design.residual.correlated is not None or design.residual.known is not None:
        return False
    G, others = len(related[0].levels), [block for block in design.blocks if block.relation is None]
    m = sum(len(block.levels) * len(block.columns) for block in others)
    return len(related[0].columns) == 1 and m**2 * (G + 2 * m) <= most


def unrelated(design):
    """Return the design with the levels of every factor independent."""
    return replace(design, blocks=tuple(replace(block, relation=None) for block in design.blocks))


def relations_of(design) -> tuple[Relation | None, ...]:
    """Return the covariance of each block's levels, None where these are independent and apart.

    The likelihood has a leading factor within whose levels the residuals of a series lie. Where there is none, a block
    of one column is taken as one level, with the covariance I.

    Raises
    ------
    DataError
        There is no such block.
    """
    known = [block.relation for block in design.blocks]
    if any(one is not None for one in known) or not crosses(design):
        return tuple(known)
    alone = [k for k, block in enumerate(design.blocks) if len(block.columns) == 1]
    if not alone:
        raise DataError(
            f"the series of {design.residual.text} do not lie within the levels of any grouping factor, so that the "
            "likelihood has no sparse form; add a group term of the series, such as (1 | gr), or sample()"
        )
    k = min(alone, key=lambda k: len(design.blocks[k].levels))
    known[k] = Relation("", np.eye(len(design.blocks[k].levels)))
    return tuple(known)


def crosses(design) -> bool:
    """Return whether the series of correlated residuals lie within the levels of no grouping factor."""
    if not design.blocks or design.residual.correlated is None or is_summed(design):
        return False
    return not any(lies_within(design.residual, block.index) for block in design.blocks)


def expanded(design):
    """Return the design in which each related block has one level, and a column for each of its levels.

    The covariance matrix of these columns is s^2 K, a structure with one parameter.
    """
    own = zip(design.blocks, relations_of(design), strict=True)
    return replace(design, blocks=tuple(b if one is None else _one_level(b, one) for b, one in own))


def columns_for(index: Array, Z: Array, G: int) -> Array:
    """Return the columns of such a block, (m, G), of rows with a level each, -1 for none, and its z, (m, 1)."""
    return (index[:, None] == np.arange(G)) * Z


def _one_level(block, relation: Relation):
    G = len(block.levels)
    covariance = Covariance(
        name=ONE_LEVEL, words="known", entries=_entries, factor=partial(_factor, relation.root), tex=_tex
    )
    part = Part(tuple(range(G)), covariance, block.parts[0].text)
    Z = np.ascontiguousarray(columns_for(block.index, block.Z, G))
    index = np.zeros(len(Z), dtype=np.int64)
    return replace(block, index=index, levels=("all",), columns=block.levels, Z=Z, parts=(part,), relation=None)


def is_one_level(block) -> bool:
    """Return whether a block is one that `expanded` made of a related one."""
    return any(part.covariance.name == ONE_LEVEL for part in block.parts)


def _entries(q: int) -> tuple[Entry, ...]:
    return (Entry("sd", tuple((i,) for i in range(q))),)


def _factor(root: Array, values: Sequence, q: int):
    return values[0] * root


def _tex(symbols: Sequence[str]) -> str:
    return rf"{symbols[0]}^{{2}} K"


def over_levels(block, b: Array) -> Array:
    """Return effects, (..., G, q), with the covariance of the levels, of ones that are independent between levels."""
    return b if block.relation is None else block.relation.root @ b


def drawn_effects(block, rng: np.random.Generator, L: Array) -> Array:
    """Return random effects of all levels, (G, q), whose covariance within a level is L L'."""
    own = None if block.relation is None else block.relation.given
    if isinstance(own, Members):
        family = own.family
        return family.pedigree.drawn(rng.standard_normal((family.pedigree.m, len(L))))[family.at] @ L.T
    return over_levels(block, rng.standard_normal((len(block.levels), len(L))) @ L.T)


def over_levels_again(block, b: Array) -> Array:
    """Return the effects that are independent between levels, (G, q), of those that `over_levels` gives."""
    return b if block.relation is None else np.linalg.solve(block.relation.root, b)


def by_levels(design, modes: Sequence[Array], conditional: Sequence[Array]) -> tuple[list[Array], list[Array]]:
    """Return the effects, (G, q), and their covariances, (G, q, q), of each block, of those of `expanded`."""
    made = list(zip(relations_of(design), modes, conditional, strict=True))
    b = [own if relation is None else own.T.copy() for relation, own, _ in made]
    return b, [C if one is None else np.diagonal(C[0]).copy()[:, None, None] for one, _, C in made]


def columns_of_rows(block) -> Array:
    """Return Z, (n, q), times the root of the level's own entry in K, so that z'Sigma z is the variance of each row."""
    return block.Z if block.relation is None else block.Z * np.sqrt(block.relation.variances[block.index])[:, None]


def mean_variance(block) -> float:
    """Return the mean entry in the diagonal of K over the rows: the variance of a typical level over s^2."""
    return 1.0 if block.relation is None else float(block.relation.variances[block.index].mean())


def expanded_bases(design, bases: TermBases) -> TermBases:
    """Return the bases of the blocks of `expanded`."""
    made = zip(design.blocks, bases.blocks, strict=True)
    return replace(bases, blocks=tuple(own if b.relation is None else untouched(len(b.levels)) for b, own in made))


def expanded_point(point):
    """Return a fit with the blocks of `expanded`."""
    made = zip(relations_of(point.design), point.covariances, point.modes, point.conditional, strict=True)
    found = [
        (S, b, C) if relation is None else (S[0, 0] * relation.K, b.T, np.diag(C[:, 0, 0])[None])
        for relation, S, b, C in made
    ]
    covariances, modes, conditional = zip(*found, strict=True)
    own = dict(covariances=covariances, modes=modes, conditional=conditional, coordinates=None)
    return replace(point, design=expanded(point.design), **own)


def collapsed(point, design, singular: float):
    """Return a fit of `expanded` as one of the design itself; an sd below `singular` residual sds is one of 0."""
    weights = residual_weights(design, point.residual) if design.family.gaussian and not is_summed(design) else None
    unit = point.sigma if weights is None else point.sigma / np.sqrt(typical_weight(weights))
    covariances, tiny, relations = [], False, relations_of(design)
    for relation, S in zip(relations, point.covariances, strict=True):
        if relation is None:
            covariances.append(S)
            continue
        variance = S[0, 0] / relation.K[0, 0]
        tiny = tiny or variance < (singular * unit) ** 2
        covariances.append(np.array([[variance]]))
    modes, conditional = by_levels(design, point.modes, point.conditional)
    own = dict(covariances=tuple(covariances), modes=tuple(modes), conditional=tuple(conditional))
    others = any(relation is None for relation in relations)
    return replace(point, design=design, coordinates=None, singular=tiny or (others and point.singular), **own)
