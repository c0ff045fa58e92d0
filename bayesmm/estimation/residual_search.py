"""What a search moves besides the relative factors where the residual has a structure: its parameters as real numbers.

Where sigma is one of the values that the sds of the rows are a function of, as beside known standard errors, it is the
first, as it is: its sign means nothing, so that a sigma of 0 is an interior stationary point as an sd of effects is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from bayesmm.design.parameters import residual_labels, response_sds
from bayesmm.design.records import Design
from bayesmm.design.residual.independent import whitened_to_one
from bayesmm.design.residual.reals import from_reals, real_slopes, signed_power, to_reals
from bayesmm.design.residual.standard_errors import floor
from bayesmm.design.residual.structure import Residuals, Values, values_by_label
from bayesmm.design.summed import sd
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.likelihood.gaussian_likelihood import Solution
from bayesmm.likelihood.problem import Problem, orthogonal_problem, residual_problem
from bayesmm.likelihood.varying import varying_labels
from bayesmm.likelihood.varying_likelihood import At

AT_BOUND = 1e-4  # of an interval: a search in logits comes no nearer to its ends than the criterion can tell


def at_bound(term: Residuals, values: Values) -> frozenset[str]:
    """Return the labels of the parameters that are at an end of their interval."""
    found = set()
    for own in term.parameters:
        low, high = own.support
        near = AT_BOUND * (high - low) if np.isfinite(high - low) else 0.0
        for label, value in zip(residual_labels(own), values[own.name], strict=True):
            moved = signed_power(value, own.gap)
            if min(moved - low, high - moved) < near:
                found.add(label)
    return frozenset(found)


def theta_scales(problem: Problem, packed: Floats, scale: float) -> Floats:
    """Return what multiplies theta, (t,), where `packed` multiplies the entries of T, and `scale` sds of structures.

    Parameters of structures that are no sds, such as correlations, stay as they are.
    """
    return problem.theta.from_packed(packed, lambda part: np.where(part.start(2.0) == part.start(1.0), 1.0, scale))


@dataclass(frozen=True, eq=False)
class ResidualSearch:
    """The problem of a design as a function of coordinates of its residual's parameters.

    They have the scale of the likelihood, whatever the units of the data are: see `scales`.

    Attributes
    ----------
    design : Design
    given : mapping of str to float
        Where the user lets the search start, by label.
    """

    design: Design
    given: Mapping[str, float] = field(default_factory=dict)

    @property
    def joint(self) -> bool:
        """Whether sigma is one of the coordinates."""
        return self.design.residual.sigma == "joint"

    @cached_property
    def unit(self) -> float:
        """What the sds are measured in where sigma is no scale: the spread of the response."""
        return 1.0 if self.design.residual.sigma == "scale" else sd(self.design.y, 0) or 1.0

    @cached_property
    def first_values(self) -> dict[str, Floats]:
        """The values at the start; of sigma, the spread of the response."""
        return values_by_label(self.design.residual, {"sigma": self.unit, **self.given})

    @cached_property
    def start(self) -> Floats:
        """The coordinates there."""
        own = to_reals(self.design.residual, self.first_values)
        return np.concatenate([self.first_values["sigma"], own]) if self.joint else own

    @cached_property
    def first(self) -> Problem:
        """The problem there."""
        return self.exact(self.first_values)

    @cached_property
    def scales(self) -> Floats:
        """What the coordinates are measured in, those of theta first: (t + s,).

        Of theta the sd of the response that it is of, 1 where there is none; of the coefficient of a number, one over
        its spread. With several responses sigma is no scale, and each of them has a unit of its own.
        """
        own = [1 / np.array(p.sizes or (1.0,) * p.size) for p in self.design.residual.parameters]
        sigma = [np.array([self.unit])] if self.joint else []
        return np.concatenate([self._theta_scales, *sigma, *own])

    @property
    def _theta_scales(self) -> Floats:
        problem, scale = self.first, self.unit
        packed = [np.full(q * q, scale) for q in problem.cp.q]
        if self.design.responses:
            sds = np.array([self.first_values[name][0] for name in response_sds(self.design.responses)])
            columns = [problem.columns[k].Z for k in problem.cp.order]
            own = [sds[self.design.response_codes[np.abs(Z).argmax(axis=0)]] for Z in columns]
            packed = [np.repeat(each, len(each)) for each in own]
            scale = float(np.exp(np.mean(np.log(np.concatenate([np.ones(1), *packed])))))
        return theta_scales(problem, np.concatenate([np.empty(0), *packed]), scale)

    def values(self, x: Floats) -> dict[str, Floats]:
        """Return the values at coordinates x."""
        if not self.joint:
            return from_reals(self.design.residual, x)
        sigma = max(abs(float(x[0])), floor(self.design.residual.parts[0].rows))
        return {**from_reals(self.design.residual, x[1:]), "sigma": np.array([sigma])}

    def exact(self, values: Values) -> Problem:
        """Return the problem at values, its columns orthonormal there; with sigma 1 where that is no scale."""
        return orthogonal_problem(whitened_to_one(self.design, values))

    @cached_property
    def _quick(self) -> Callable[[Values], tuple[Problem, At | None]]:
        if not self.design.residual.estimated:
            return lambda values: (self.first, None)
        return residual_problem(self.design, self.first_values)

    def problem(self, x: Floats) -> tuple[Problem, At | None]:
        """Return the problem at coordinates x, and what its derivatives are made of where these are known."""
        return self._quick(self.values(x))

    def slopes(self, x: Floats, at: At, T: Floats, sigma: float, solution: Solution) -> Floats:
        """Return the derivatives of log p in the coordinates, (s,), for `At.slopes`."""
        found, first = at.slopes(T, sigma, solution), int(self.joint)
        order = {label: 1 + i for i, label in enumerate(varying_labels(self.design))}
        own = [order[label] for part in self.design.residual.parameters for label in residual_labels(part)]
        out = found[own] * real_slopes(self.design.residual, x[first:])
        return np.concatenate([np.sign(x[:1]) * found[:1], out]) if self.joint else out
