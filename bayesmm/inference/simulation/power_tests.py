"""The simulations of a power analysis: responses drawn anew, fitted and tested, here or by an executor's workers."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from bayesmm.design.records import Design
from bayesmm.errors import DataError
from bayesmm.estimation.estimates import Estimates
from bayesmm.inference.checks import has_profile
from bayesmm.inference.degrees import t_table
from bayesmm.inference.simulation.bootstrap import refitted
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.posterior.parameter_values import parameter_values
from bayesmm.posterior.simulate import drawn
from bayesmm.runtime.streams import stream


def responses(
    designs: Sequence[Design], settings: Sequence[tuple[int, ...]], values_at: Callable, seed: int
) -> Callable[[int, int], Floats]:
    """Return a function of the number of a setting and of a simulation: a simulated response."""

    def response(j: int, k: int) -> Floats:
        return drawn(designs[j], values_at(rng := stream(seed, "power", *settings[j], k)), rng)

    return response


def effect(values_at: Callable, seed: int, coefficient: int) -> float:
    """Return the coefficient that the responses are simulated with, where it is the same in all of them."""
    return float(values_at(stream(seed, "power", 0, 0)).beta[coefficient])


def simulated_tests(
    design: Design,
    parameters: object,
    designs: Sequence[Design],
    settings: Sequence[tuple[int, ...]],
    coefficient: int,
    level: float,
    seed: int,
) -> Callable[[int], bool | None]:
    """Return a function of the number of a simulation: whether the test rejects, None where there is none.

    An executor calls it where its workers are.
    """
    response = responses(designs, settings, parameter_values(design, parameters), seed)
    rejects = _test(design, coefficient, level)

    def task(i: int) -> bool | None:
        j = i % len(designs)
        try:
            y = response(j, i // len(designs))
        except DataError:  # no mean with these random effects: counted as failed
            return None
        return rejects(replace(designs[j], y=y))

    return task


def check_possible(response: Callable[[int, int], Floats], designs: int, first: int) -> None:
    """Raise the DataError of the last of the first data sets if none of them can be drawn."""
    last = None
    for j in range(designs):
        for k in range(first):
            try:
                response(j, k)
            except DataError as error:
                last = error
            else:
                return
    raise last


def _test(design: Design, coefficient: int, level: float) -> Callable[[Design], bool | None]:
    """Return a function of a design with a simulated response: whether the test rejects, None where there is none."""
    gaussian = design.family.gaussian

    def rejects(simulated: Design) -> bool | None:
        point = refitted(simulated, "REML" if gaussian else "ML")
        p = np.nan if point is None else p_value(point, coefficient)
        return None if np.isnan(p) else bool(p <= level)

    return rejects


def by_t(design: Design) -> bool:
    """Return whether there are Satterthwaite's degrees of freedom, which know no parameters of the residuals."""
    return design.family.gaussian and has_profile(design)


def p_value(point: Estimates, coefficient: int) -> float:
    """Return the two-sided p-value of a coefficient: t with Satterthwaite's degrees of freedom, or z."""
    if by_t(point.design):
        return float(t_table(point, "satterthwaite")["p"].iloc[coefficient])
    from scipy.special import erfc

    z = point.beta[coefficient] / np.sqrt(point.beta_cov[coefficient, coefficient])
    return float(erfc(np.abs(z) / np.sqrt(2)))
