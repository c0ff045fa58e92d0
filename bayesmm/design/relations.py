"""Known covariances among the levels of a grouping factor, ``(1 | gr(animal, cov = A))``: pedigrees, phylogenies, maps.

b ~ N(0, s^2 K) with K the rows and columns of the matrix that are the levels', found by their labels (for animals:
Henderson 1976, Biometrics 32). The likelihood takes the factor as one level with a column for each of its levels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from bayesmm.design.covariance.structure import Covariance, Entry, Part
from bayesmm.design.residual.structure import lies_within, residual_weights, typical_weight
from bayesmm.design.summed import is_summed
from bayesmm.design.term_basis import TermBases, untouched
from bayesmm.errors import DataError, listing

Array = np.ndarray

MOST_TURNED = 2000  # levels; a dense eigenvalue problem of their size takes seconds
MOST_COUPLED = 1e8  # multiply-adds of an evaluation with other factors: 0.1 s
ONE_LEVEL = "known"  # the name of the covariance among the columns of a block that `expanded` made


@dataclass(frozen=True, eq=False)
class Matrix:
    """A covariance matrix of labels, as it was given.

    Attributes
    ----------
    labels : tuple of str, length m
    values : (m, m) float64
    named : bool
        False of an array, or of rows in their order: the labels are the places.
    """

    labels: tuple[str, ...]
    values: Array
    named: bool = True

    @cached_property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest eigenvalue: every design of new responses asks for them."""
        found = np.linalg.eigvalsh(self.values)
        return float(found[0]), float(found[-1])


@dataclass(frozen=True, eq=False)
class Relation:
    """The known covariance of a block's levels.

    Attributes
    ----------
    name : str
        Of the matrix.
    K : (G, G) float64
    """

    name: str
    K: Array

    @cached_property
    def root(self) -> Array:
        """L, (G, G), lower triangular, with L L' = K."""
        return np.linalg.cholesky(self.K)

    def taken(self, levels: Array) -> "Relation":
        """Return that of some of the levels."""
        return replace(self, K=self.K[np.ix_(levels, levels)])


def relation_of(name: str, group: str, matrix: Matrix, levels: Sequence[str]) -> Relation:
    """Return the covariance of a factor's levels, which a matrix has by their labels.

    Raises
    ------
    DataError
        It lacks a level, or is not positive definite.
    """
    place = {label: i for i, label in enumerate(matrix.labels)}
    missing = [level for level in levels if level not in place]
    if missing:
        has = listing(map(repr, matrix.labels), limit=3)
        raise DataError(
            f"matrices[{name!r}] has no row for {len(missing):,} of the {len(levels):,} levels of '{group}' "
            f"({listing(map(repr, missing), limit=3)}); its labels are {has}"
        )
    at = [place[level] for level in levels]
    K = matrix.values[np.ix_(at, at)]
    lowest, largest = np.linalg.eigvalsh(K)[[0, -1]]
    if not lowest > len(K) * np.finfo(float).eps * largest:
        raise DataError(
            f"matrices[{name!r}] is not positive definite for the levels of '{group}': its smallest eigenvalue is "
            f"{lowest:.3g}; two levels may be the same, or the matrix may be a precision or a distance"
        )
    return Relation(name, K)


def given_relatives(relation: Relation, matrix: Matrix, levels: Sequence[str], new: Sequence[str]):
    """Return what the effects of the levels of a fit say of those of others that the matrix has.

    Parameters
    ----------
    relation : Relation
        Of the levels of the fit, (G,).
    matrix : Matrix
        As it was given.
    levels, new : sequences of str
        Those of the fit, and the others, (m,).

    Returns
    -------
    W : (m, G) float64
        Their mean given the effects b of the fit is W b.
    root : (m, m) float64
        R R' is their covariance matrix then, over the variance of the effects.
    """
    place = {label: i for i, label in enumerate(matrix.labels)}
    own, others = [place[level] for level in levels], [place[label] for label in new]
    across = matrix.values[np.ix_(others, own)]
    W = np.linalg.solve(relation.K, across.T).T
    lengths, vectors = np.linalg.eigh(matrix.values[np.ix_(others, others)] - W @ across.T)
    return W, vectors * np.sqrt(np.maximum(lengths, 0.0))  # a level may be known exactly from the others


# ----------------------------------------------------------------------------------------------------------------------
# as a block of one level


def is_related(design) -> bool:
    """Return whether any block has a known covariance of its levels, or is treated so: see `relations_of`."""
    return any(block.relation is not None for block in design.blocks) or crosses(design)


def is_turned(design) -> bool:
    """Return whether the posterior of a Gaussian design takes its related levels as independent ones.

    See `bayesmm.likelihood.turned`: one block is related, which has one column, and residuals are independent, with no
    parameter besides sigma. All effects of other blocks meet all of its levels, in dense matrices.
    """
    related = [block for block in design.blocks if block.relation is not None]
    if len(related) != 1 or not design.family.gaussian or is_summed(design):
        return False
    if design.residual.estimated or design.residual.correlated is not None or design.residual.known is not None:
        return False
    G, others = len(related[0].levels), [block for block in design.blocks if block.relation is None]
    m = sum(len(block.levels) * len(block.columns) for block in others)
    return len(related[0].columns) == 1 and G <= MOST_TURNED and m**2 * (G + 2 * m) <= MOST_COUPLED


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
    return block.Z if block.relation is None else block.Z * np.sqrt(np.diag(block.relation.K)[block.index])[:, None]


def mean_variance(block) -> float:
    """Return the mean entry in the diagonal of K over the rows: the variance of a typical level over s^2."""
    return 1.0 if block.relation is None else float(np.diag(block.relation.K)[block.index].mean())


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
