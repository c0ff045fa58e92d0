"""Strata, as nlme's varIdent: a residual structure that no module of the package names; and data with three of them.

The residual sd is sigma in the first level of a factor and sigma exp(delta_k) in the k-th.
"""

import numpy as np
import pandas as pd

from bayesmm.design.coding import Factor
from bayesmm.design.residual.structure import ResidualParameter, ResidualStructure
from bayesmm.errors import DataError
from bayesmm.formula.functions import Parameter, Signature


def parameters(arguments):
    if not isinstance(arguments["f"], Factor):
        raise DataError("strata() takes a factor; write strata(factor(x)) for the values of x")
    terms = arguments["f"].levels.labels[1:]
    prior = {"mu": 0.0, "sigma": 1.0}
    return (ResidualParameter("delta", r"\delta", "Normal", prior, "log ratio of residual sds", terms),)


def rows(arguments):
    codes, levels = arguments["f"].codes, arguments["f"].levels.labels
    return (codes[:, None] == np.arange(1, len(levels))).astype(float)


def relative_sd(library, rows, values):
    return library.exp(values["delta"] @ rows.T)


def tex(names):
    return rf"e^{{2 \delta_{{{names['f']}[i]}}}}"


STRATA = ResidualStructure(
    name="strata",
    signature=Signature((Parameter("f", "labels"),), "residual"),
    parameters=parameters,
    rows=rows,
    relative_sd=relative_sd,
    tex=tex,
)


def table(groups=12, each=8, seed=1, slope=0.0):
    rng, n = np.random.default_rng(seed), groups * each
    g, f = np.repeat(np.arange(groups), each), rng.integers(3, size=n)
    x, sd = rng.normal(size=n), np.exp([0.0, 0.7, -0.7])[f]
    b = rng.normal(size=(groups, 2)) @ [[1.2, 0.0], [0.0, 0.6]]
    y = 3 + 0.7 * x + b[g, 0] + slope * b[g, 1] * x + sd * rng.normal(size=n)
    w = rng.uniform(0.5, 2, size=n)
    return pd.DataFrame({"y": y, "x": x, "g": [f"g{i}" for i in g], "f": np.array(["a", "b", "c"])[f], "w": w})
