"""Six rows whose model matrices R has printed, and the design of a formula."""

import pandas as pd

from bayesmm.design.design import make_design
from bayesmm.formula.formula import parse

EXACT = {"rtol": 0, "atol": 0}


def design(formula, data, transforms=(), **options):
    return make_design(parse(formula, transforms), data, transforms=dict(transforms), **options)


# d <- data.frame(a = c("u","v","u","v","u","v"), b = c("p","p","q","q","r","r"),
#                 x = c(1,2,4,8,16,32), z = c(1,-1,2,0,3,1))
SIX = pd.DataFrame(
    {
        "y": [3.0, 1.0, 4.0, 1.5, 9.0, 2.6],
        "a": list("uvuvuv"),
        "b": list("ppqqrr"),
        "x": [1.0, 2, 4, 8, 16, 32],
        "z": [1.0, -1, 2, 0, 3, 1],
    }
)
