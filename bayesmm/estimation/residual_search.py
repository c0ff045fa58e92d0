"""What a search moves besides the relative factors where the residual has a structure: its parameters as real numbers.

Where sigma is one of the values that the sds of the rows are a function of, as beside known standard errors, it is the
first, as it is: its sign means nothing, so that a sigma of 0 is an interior stationary point as an sd of effects is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from bayesmm.design.parameters import residual_labels, response_sds
from bayesmm.design.records import Design
from bayesmm.design.residual.independent import whitened_to_one
from bayesmm.design.residual.standard_errors import floor
from bayesmm.design.residual.structure import Residuals, Values, from_reals, to_reals, values_by_label
from bayesmm.design.summed import sd
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.likelihood.problem import Problem, orthogonal_problem, residual_problem

AT_BOUND = 1e-4  # of an interval: a search in logits comes no nearer to its ends than the criterion can tell


def at_bound(term: Residuals, values: Values) -> frozenset[str]:
    """Return the labels of the parameters that are at an end of their interval."""
    found = set()
    for own in term.parameters:
        low, high = own.support
        near = AT_BOUND * (high - low) if np.isfinite(high - low) else 0.0
        for label, value in zip(residual_labels(own), values[own.name], strict=True):
            if min(value - low, high - value) < near:
                found.add(label)
    return frozenset(found)


@dataclass(frozen=True, eq=False)
class ResidualSearch:
    """The problem of a design as a function of coordinates of its residual's parameters.

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
    def first_values(self) -> dict[str, Floats]:
        """The values at the start; of sigma, the spread of the response."""
        given = {"sigma": sd(self.design.y, 0), **self.given}
        return values_by_label(self.design.residual, given)

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
    def theta_scales(self) -> Floats:
        """What each entry of theta is measured in, (t,): the sd of the response that it is of, 1 where there is one.

        With several responses sigma is no scale, and each of them has a unit of its own.
        """
        problem = self.first
        packed = [np.ones(q * q) for q in problem.cp.q]
        if self.design.responses:
            sds = np.array([self.first_values[name][0] for name in response_sds(self.design.responses)])
            columns = [problem.columns[k].Z for k in problem.cp.order]
            own = [sds[self.design.response_codes[np.abs(Z).argmax(axis=0)]] for Z in columns]
            packed = [np.repeat(each, len(each)) for each in own]
        scale = float(np.exp(np.mean(np.log(np.concatenate([np.ones(1), *packed])))))
        return problem.theta.from_packed(
            np.concatenate([np.empty(0), *packed]),
            lambda part: np.where(part.start(2.0) == part.start(1.0), 1.0, scale if self.design.responses else 1.0),
        )

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
    def _quick(self):
        return residual_problem(self.design, self.first_values)

    def problem(self, x: Floats) -> Problem:
        """Return the problem at coordinates x."""
        values = self.values(x)
        return self.exact(values) if self.joint else self._quick(values)
