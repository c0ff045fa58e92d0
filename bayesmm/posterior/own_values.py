"""The own parameters of a generalised model as compiled code takes them with the rows, at reported values.

What is reported of a parameter with a formula is its value where all columns are 0. That may be far from all rows, and
1 to all digits; so compiled code has it at the means of the columns.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from bayesmm.design.parameters import free_auxiliaries
from bayesmm.design.records import Design
from bayesmm.likelihood.own_parameters import OwnParameters, own_parameters
from bayesmm.priors import formula_bases, own_at_means, prior_residual

Array = np.ndarray


def own_in_rows(design: Design, own: Mapping[str, object], values: Mapping[str, Array]) -> tuple[OwnParameters, Array]:
    """Return the own parameters with columns of the rows, and values of them, (..., a).

    Parameters
    ----------
    design : Design
        Of a generalised model.
    own : mapping of str to number or (...,)
        The family's by name; also links, by `parameters.level_name`.
    values : mapping of str to (..., k)
        Those of formulas, and thresholds.
    """
    bases = formula_bases(design)
    own, values = own_at_means(design, bases, own, values)
    scalars = [np.asarray(own[each.name], dtype=float)[..., None] for each in free_auxiliaries(design)]
    columns = [*scalars, *(np.asarray(values[each.name]) for each in design.residual.parameters)]
    moved = replace(design, residual=prior_residual(design, bases))
    return own_parameters(moved), np.concatenate(columns, axis=-1) if columns else np.empty(0)
