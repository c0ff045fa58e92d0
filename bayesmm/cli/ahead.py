"""What a first fit asks a second process to compile, while it compiles what it needs before that itself.

``python -m bayesmm.cli.ahead PLAN``: see `runtime.claims`. It ends with the process that has asked for it.
"""

import os
import sys
import warnings
from collections.abc import Callable, Iterator

import numpy as np

from bayesmm.cli.warmup import generalised
from bayesmm.runtime.claims import claimed
from bayesmm.runtime.streams import data_set


def linear() -> Iterator[Callable[[], object]]:
    """Give what a Gaussian model needs once `elimination` is there: its posterior first, then the draws of effects."""
    from bayesmm.likelihood.conditional_gaussian import drawn
    from bayesmm.likelihood.gaussian_leading import covariances_of_patterns, effects_of_levels
    from bayesmm.likelihood.gaussian_likelihood import leading_derivatives
    from bayesmm.likelihood.posterior import change_of_variables, density
    from bayesmm.likelihood.whitened import whitened_density

    yield from (leading_derivatives, density, whitened_density)
    yield from (effects_of_levels, drawn, covariances_of_patterns, change_of_variables)


def levels() -> Iterator[Callable[[], object]]:
    """Give what a generalised model of one factor needs once `lattice_level` is there: the comparison, and draws."""
    import bayesmm as bmm
    from bayesmm.likelihood.conditional_quadrature import draw_effects
    from bayesmm.likelihood.posterior import change_of_variables
    from bayesmm.likelihood.quadrature import prepare
    from bayesmm.likelihood.tensor_rule import tensor_level

    model = bmm.Model("y ~ 1 + (1 | g)", {"y": [0, 1, 1, 0, 1, 1], "g": list("aabbcc")}, generalised()[0])
    yield model.maximize
    given = np.zeros((1, 1)), np.ones((1, 1, 1)), np.zeros((1, 3))
    yield lambda: draw_effects(prepare(model.design), *given, data_set(0), concave=True)
    yield from (tensor_level, change_of_variables)


def main(plan: str) -> None:
    """Compile by a plan, unless another process does so, as long as the one that has asked for it runs."""
    warnings.simplefilter("ignore")
    asked = os.getppid()
    with claimed(f"help {plan}", longest=0) as alone:
        for task in {"linear": linear, "levels": levels}[plan]() if alone else ():
            if os.getppid() != asked:
                return
            task()


if __name__ == "__main__":
    main(sys.argv[1])
