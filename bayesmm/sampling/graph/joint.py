"""The joint density of data, random effects and coefficients of an explicit graph, the other priors left out."""

import numpy as np
import pytensor
import pytensor.tensor as pt

from bayesmm.design.records import Design
from bayesmm.priors import default_priors
from bayesmm.sampling.graph.explicit import INTERCEPT, SLOPES, build_explicit
from bayesmm.sampling.graph.interpreted import PYTHON, without_compiler

COEFFICIENTS = (INTERCEPT, SLOPES, "beta")


class JointDensity:
    """log p(y, b | beta, theta) of the non-centred explicit graph as a compiled function, with its gradient in w.

    Attributes
    ----------
    effects : dict of block name to slice
        Places in w of the (G, q) effects of each block, row by row.
    coefficients : slice
        Places in w of the coefficients.
    size : int
        Length of w.
    """

    def __init__(self, design: Design) -> None:
        graph = build_explicit(design, default_priors(design, design.family), centred=False)
        dims, values = graph.named_vars_to_dims, graph.rvs_to_values
        effects = {b.name: rv for b in design.blocks for rv in graph.free_RVs if b.name in (dims.get(rv.name) or ())}
        coefficients = [rv for rv in graph.free_RVs if rv.name in COEFFICIENTS]
        self._w = [values[rv] for rv in (*effects.values(), *coefficients)]
        self._theta = [values[rv] for rv in graph.free_RVs if values[rv] not in self._w]
        with without_compiler():
            initial = graph.initial_point()
        self._shapes = [np.shape(initial[v.name]) for v in (*self._w, *self._theta)]
        self._start = np.concatenate([np.ravel(initial[v.name]) for v in self._theta])
        logp = graph.logp(vars=[*effects.values(), *graph.observed_RVs], jacobian=False)
        # called a few hundred times: NumPy's milliseconds are less than the seconds that a compiler would take
        self._function = pytensor.function([*self._w, *self._theta], [logp, *pt.grad(logp, self._w)], mode=PYTHON)
        ends = np.cumsum([int(np.prod(shape)) for shape in self._shapes[: len(self._w)]])
        places = [slice(end - int(np.prod(shape)), end) for end, shape in zip(ends, self._shapes, strict=False)]
        self.effects = dict(zip(effects, places, strict=False))
        self.coefficients = slice(places[len(effects)].start if coefficients else ends[-1], ends[-1])
        self.size = int(ends[-1])
        self.evaluations = 0

    def start(self) -> np.ndarray:
        """Return the graph's own starting values of the variance parameters, unconstrained."""
        return self._start.copy()

    def __call__(self, w: np.ndarray, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the log density and its gradient in w, (size,)."""
        self.evaluations += 1
        flat, at, arguments = np.concatenate([w, theta]), 0, []
        for shape in self._shapes:
            size = int(np.prod(shape))
            arguments.append(flat[at : at + size].reshape(shape))
            at += size
        value, *gradients = self._function(*arguments)
        return float(value), np.concatenate([np.ravel(g) for g in gradients])
