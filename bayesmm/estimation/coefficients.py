"""The coefficients of each level: what its effects are deviations from, and the sums of both."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from bayesmm.design.coding import INTERCEPT
from bayesmm.design.parameters import (
    MEAN,
    effects_by_category,
    of_parameter,
    own_terms,
    residual_parameters,
    specific_columns,
)
from bayesmm.design.records import Block, Design
from bayesmm.design.residual.of_family import threshold_basis
from bayesmm.design.residual.structure import Values
from bayesmm.likelihood.crossproducts import Floats


def beside_effects(
    design: Design, block: Block, beta: Mapping[str, float], links: Mapping[str, float], values: Values
) -> dict[tuple[str, str], float]:
    """Return the coefficients that the effects of a block are deviations from, by predictor and term.

    They are the mean's, `beta`, or of a parameter the link of its level, in `links`, and the coefficients of its
    formula; of effects on several predictors all of them, the mean's first.
    """
    owners, found = block.predictors or (MEAN,), {}
    if MEAN in owners:
        found |= {(MEAN, term): float(value) for term, value in beta.items()}
    for name in dict.fromkeys(filter(None, owners)):
        if design.family.nominal:
            found |= {pair: value for pair, value in by_category(design, values).items() if pair[0] == name}
            continue
        if design.family.every and name not in design.family.formulas:
            found |= of_threshold(design, name, values)
            continue
        formula = next(part for part in design.residual.parts if part.of == name)
        found |= {(name, INTERCEPT): links[name]} if name in links else {}
        for parameter in formula.parameters:
            own = zip(parameter.terms, np.asarray(values[parameter.name], dtype=float), strict=True)
            found |= {(name, term): float(value) for term, value in own}
    return found


def by_category(design: Design, values: Values) -> dict[tuple[str, str], float]:
    """Return the coefficients of categories without an order, by the parameter and the column that they are of."""
    labels = [p.label for p in residual_parameters(design)]
    whole = np.concatenate([np.asarray(values[own.name], dtype=float) for own in design.residual.parameters])
    known = dict(zip(labels, whole, strict=True))
    return {(of, name): float(known[parameter.label]) for of, name, parameter in effects_by_category(design)}


def of_threshold(design: Design, name: str, values: Values) -> dict[tuple[str, str], float]:
    """Return a threshold, as the intercept of the parameter of this name, and what cs() adds to each coefficient."""
    part, k = design.residual.parts[0], design.family.auxiliaries.index(name)
    first, *others = (np.asarray(values[own.name], dtype=float) for own in part.parameters)
    found = {(name, INTERCEPT): float(threshold_basis(part)[k] @ first)}
    for own in others:
        slopes = own[k :: len(design.categories) - 1]
        found |= {(name, column): float(g) for column, g in zip(specific_columns(design), slopes, strict=True)}
    return found


def add_effects(design: Design, beside: Mapping[tuple[str, str], float], block: Block, b: Floats) -> pd.DataFrame:
    """Return what `beside_effects` gives plus the (G, q) effects b of a block, levels x coefficients.

    A term without a fixed part has it 0. Where the block is of several predictors a parameter's columns have its name
    before them. Effects are taken away from thresholds: these are then those of the level.
    """
    names = dict.fromkeys(term for term, _ in block.effects)
    terms = own_terms(block) if block.predictors else [(MEAN, name) for name in names]
    pairs = list(dict.fromkeys([*beside, *terms]))
    values = np.tile([beside.get(pair, 0.0) for pair in pairs], (len(block.labels), 1))
    falls = () if design.family.nominal or not design.family.every else set(design.family.auxiliaries)
    signs = [-1.0 if of in falls and name == INTERCEPT else 1.0 for of, name in terms]
    values[:, [pairs.index(pair) for pair in terms]] += b.T.reshape(len(terms), -1).T * signs
    alone = len({of for of, _ in pairs}) == 1
    columns = [name if alone or of == MEAN else of_parameter(of, name) for of, name in pairs]
    return pd.DataFrame(values, index=pd.Index(block.labels, name=block.group), columns=columns)
