"""Known standard errors, ``y | se(sei)``: meta-analysis. ``sigma = TRUE`` keeps a residual beside them.

The variance of row i is se_i^2, or sigma^2 + se_i^2 (Raudenbush 2009, in The Handbook of Research Synthesis, chapter
16; metafor's rma.mv and brms' se()).
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType

import numpy as np

from bayesmm.design.residual.structure import Arguments, Array, ResidualStructure
from bayesmm.errors import DataError
from bayesmm.families.kernel import kernel
from bayesmm.formula.formula import BESIDE
from bayesmm.formula.functions import Parameter, Signature

NAME = "se"


def parameters(arguments: Arguments) -> tuple[()]:
    """Return no parameters besides sigma."""
    return ()


def rows(arguments: Arguments) -> Array:
    """Return the standard errors, (n,)."""
    se = arguments["x"].values[:, 0]
    if not (se > 0).all():
        bad = se <= 0
        how = "0" if (se[bad] == 0).all() else "negative" if (se[bad] < 0).all() else "0 or negative"
        raise DataError(
            f"se(): {bad.sum():,} of {len(se):,} standard errors are {how} (the first is {se[bad][0]:g}); expected "
            "numbers above 0, the square roots of the sampling variances"
        )
    return se


def relative_sd(library: ModuleType, rows: object, values: Mapping[str, object]) -> object:
    """Return the standard errors, (n,): sigma is 1."""
    return rows


def joint_sd(library: ModuleType, rows: object, values: Mapping[str, object]) -> object:
    """Return sqrt(1 + (se / sigma)^2), (..., n)."""
    return library.sqrt(1 + (rows / values["sigma"]) ** 2)


@kernel
def log_se(backward, sigma, values, table, found, d_found, d_values):
    """Set log se, (S,)."""
    for s in range(table.shape[0]):
        found[s] = math.log(table[s, 0])
    return 0.0


@kernel
def log_joint(backward, sigma, values, table, found, d_found, d_values):
    """Set log sqrt(sigma^2 + se^2), (S,); return the derivative in sigma."""
    slope = 0.0
    for s in range(table.shape[0]):
        size = math.hypot(sigma, table[s, 0])
        found[s] = math.log(size)
        if backward:
            slope += d_found[s] * sigma / size / size
    return slope


def tex(arguments: Mapping[str, str]) -> str:
    """Return se_i^2."""
    return rf"{{{arguments['x']}}}_{{i}}^{{2}}"


def joint_tex(arguments: Mapping[str, str]) -> str:
    """Return 1 + se_i^2 / sigma^2."""
    return rf"(1 + {{{arguments['x']}}}_{{i}}^{{2}} / \sigma^{{2}})"


def chosen(arguments: Arguments) -> ResidualStructure:
    """Return the structure with a residual beside the standard errors where it is asked for."""
    return JOINT if arguments.get("sigma") else STRUCTURE


SIGNATURE = Signature((Parameter("x", "column"), Parameter("sigma", "logical", "FALSE")), BESIDE)
STRUCTURE = ResidualStructure(
    name=NAME,
    signature=SIGNATURE,
    parameters=parameters,
    rows=rows,
    relative_sd=relative_sd,
    tex=tex,
    words="residuals of known standard deviations",
    sigma="known",
    chosen=chosen,
    log_sd=log_se,
)
JOINT = replace(
    STRUCTURE, relative_sd=joint_sd, tex=joint_tex, sigma="joint", log_sd=log_joint,
    words="residuals of known standard deviations and one that is estimated",
)  # fmt: skip
SMALLEST = 1e-6  # of sigma, times the smallest standard error: 1e-12 of a variance


def floor(se: Array) -> float:
    """Return the sd that stands for 0."""
    return SMALLEST * float(np.min(se))
