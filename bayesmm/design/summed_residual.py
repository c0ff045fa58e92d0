"""Sums of a model whose residuals have a structure: several sets, of which the values of its parameters make one.

What is summed is C'R^-1 C, and R^-1 is a combination of few matrices that do not depend on the parameters: of the rows
of each stratum; of rows with themselves, with those before them and of those before them, by the steps between the two
(AR(1): Pinheiro & Bates 2000, section 5.3.3); of all rows and of the sums of series of each length (compound symmetry).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from bayesmm.design.residual import autoregressive, compound_symmetry
from bayesmm.design.sum_sets import LAGS, LENGTHS, STRATA, ResidualSums
from bayesmm.design.summed import RowLevels, SummedColumn, SummedMatrix, Sums


def combined(sums: Sums, weights: np.ndarray, logarithms: float) -> Sums:
    """Return the sums with the sets weighted, (S,); `logarithms` is what these weights add to log|W|."""
    own = sums.residual
    levels = zip(sums.levels, own.levels, strict=True)
    pairs = zip(sums.pairs, own.pairs, strict=True)
    return replace(
        sums,
        weighted=np.tensordot(weights, own.weighted, 1),
        levels=tuple(replace(one, products=np.tensordot(weights, sets, 1)) for one, sets in levels),
        pairs=tuple(replace(one, products=np.tensordot(weights, sets, 1)) for one, sets in pairs),
        sum_log_weights=sums.sum_log_weights + logarithms,
        residual=None,
    )


def divided(sums: Sums, variance: float) -> Sums:
    """Return the sums with weights that are so many times smaller."""
    return replace(
        sums,
        weighted=sums.weighted / variance,
        levels=tuple(replace(one, products=one.products / variance) for one in sums.levels),
        pairs=tuple(replace(one, products=one.products / variance) for one in sums.pairs),
        sum_log_weights=sums.sum_log_weights - sums.n * float(np.log(variance)),
    )


def at_values(design, values: Mapping[str, np.ndarray]):
    """Return a design of sums in which the structures of its residuals have become weights, at values."""
    sums = design.X.sums
    plain = replace(design, residual=replace(design.residual, parts=()))
    if sums.residual is None:  # known standard errors, which the engine has weighted with
        return plain
    return with_sums(plain, combined(sums, *weights_of_sets(design, values)))


def weights_of_sets(design, values: Mapping[str, np.ndarray]) -> tuple[np.ndarray, float]:
    """Return the weight of each set of sums, (S,), at values of the residuals' parameters, and what log|W| gains."""
    own = design.X.sums.residual
    return _WEIGHTS[own.kind](own, design.residual, values)


def mean_inverse_weight(design, values: Mapping[str, np.ndarray]) -> np.ndarray | float:
    """Return the mean over the rows of what sigma^2 is multiplied by, for values (draws, k): d^2 / w."""
    sums = design.X.sums
    own = sums.residual
    if own is None or own.kind != STRATA:
        return sums.mean_inverse_weight
    d = design.residual.parts[0].structure.relative_sd(np, design.residual.parts[0].rows, values)
    return np.square(d) @ own.inverse / sums.n


class SetKinds(NamedTuple):
    """What the weight of each set follows from, as compiled code has it: see `likelihood.varying.Classes`.

    The weight of a set is that of its kind of entries of C^-1 over the sds of the two kinds of rows it has.
    """

    kind: np.ndarray  # (S,)
    left: np.ndarray  # (S,)
    right: np.ndarray  # (S,)
    table: np.ndarray  # of the kinds of entries of C^-1: see `residual.correlation.Entries`
    sds: np.ndarray  # (kinds of rows, k) what the sd follows from
    count: np.ndarray  # (kinds of rows,)


def kinds_of_sets(design) -> SetKinds:
    """Return what the weights of the sets of sums follow from."""
    own = design.X.sums.residual
    S, n = len(own.weighted), np.array([float(design.X.sums.n)])
    none, alike = np.zeros(S, np.int64), (np.zeros((1, 1)), n)
    if own.kind == STRATA:
        rows = np.arange(S)
        sds = design.residual.parts[0].rows.reshape(S, -1)  # of the strata: the keys, or these less their margins
        return SetKinds(none, rows, rows, np.zeros((1, 1)), np.ascontiguousarray(sds), own.count)
    if own.kind == LENGTHS:
        return SetKinds(np.arange(S), none, none, compound_symmetry.kinds_table(own.keys[:, 0], own.count), *alike)
    kind = np.arange(S)
    kind[2::3], kind[3::3] = kind[3::3].copy(), kind[2::3].copy()  # products with the row before stand second here
    return SetKinds(kind, none, none, autoregressive.kinds_table(own.keys[:, 0], own.count), *alike)


def with_sums(design, sums: Sums):
    """Return a design of other sums of the same columns."""
    blocks = tuple(
        replace(block, index=RowLevels(sums, k), Z=SummedMatrix(sums, block.Z.A))
        for k, block in enumerate(design.blocks)
    )
    own = dict(y=SummedColumn(sums, design.y.a), offset=SummedColumn(sums, design.offset.a))
    return replace(design, X=SummedMatrix(sums, design.X.A), blocks=blocks, **own)


# ----------------------------------------------------------------------------------------------------------------------
# the weights of the sets, and what they add to log|W|


def _of_strata(own: ResidualSums, residual, values: Mapping[str, np.ndarray]) -> tuple[np.ndarray, float]:
    weights = np.square(1 / residual.parts[0].structure.relative_sd(np, residual.parts[0].rows, values))
    return weights, float(own.count @ np.log(weights))


def _of_lags(own: ResidualSums, residual, values: Mapping[str, np.ndarray]) -> tuple[np.ndarray, float]:
    """Sets: the first rows of series, then for each step g: rows, their products with the ones before, those before.

    Given the one before, a row has the mean phi times that and the variance 1 - phi^2, phi = rho^g.
    """
    phi = values[residual.parts[0].parameters[0].name][0] ** own.keys[:, 0]
    left = 1 - phi**2
    weights = np.stack([1 / left, -phi / left, phi**2 / left], axis=1)
    return np.concatenate([[1.0], weights.ravel()]), -float(own.count @ np.log(left))


def _of_lengths(own: ResidualSums, residual, values: Mapping[str, np.ndarray]) -> tuple[np.ndarray, float]:
    """Sets: all rows, then for each length k the sums of series: C^-1 = (I - r / (1 + (k - 1) r) 11') / (1 - r)."""
    r, k = values[residual.parts[0].parameters[0].name][0], own.keys[:, 0]
    whole = 1 + (k - 1) * r
    logdet = (k - 1) * np.log(1 - r) + np.log(whole)
    return np.concatenate([[1 / (1 - r)], -r / ((1 - r) * whole)]), -float(own.count @ logdet)


_WEIGHTS: dict[str, Callable] = {STRATA: _of_strata, LAGS: _of_lags, LENGTHS: _of_lengths}
