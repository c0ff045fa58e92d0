"""The response of the explicit graph, for every family and link: log densities that no linear predictor breaks.

The densities are written in the linear predictor, so that nothing is lost where a mean or a probability leaves the
doubles. A linear predictor at which the density does not exist in floating point has the log density -inf, with
gradients of 0: a rejected step. The densities are those that the families give; the same, compiled, are in
`bayesmm.likelihood.response_kernels`.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor import TensorVariable

from bayesmm.design.records import Design
from bayesmm.design.residual.correlation import Correlation, Layout
from bayesmm.design.residual.of_family import of_rows
from bayesmm.families.family import Family
from bayesmm.families.limits import Limits
from bayesmm.families.links import graph_mean
from bayesmm.families.special import WILD

LARGEST = np.float64(1e100)  # of a linear predictor: beyond, products with it may leave the doubles

Terms = tuple[TensorVariable, TensorVariable]


def add_response(
    design: Design,
    eta: TensorVariable,
    auxiliaries: Mapping[str, TensorVariable],
    data: Callable[..., TensorVariable],
    residual: Mapping[str, TensorVariable] = MappingProxyType({}),
    of_parameters: Mapping[str, TensorVariable] = MappingProxyType({}),
) -> None:
    """Add the observed variable y, (obs,), to the model in context.

    Parameters
    ----------
    design : Design
    eta : variable, shape (n,)
        The linear predictor, offset included.
    auxiliaries : mapping of str to scalar variable
        Those of the family, in its order.
    data : callable
        ``data(name, values, dim) -> variable``: adds a constant to the model.
    residual : mapping of str to variable, shape (k,)
        The parameters of the residual structure besides sigma.
    of_parameters : mapping of str to variable, shape (n,)
        What random effects add to the link of each parameter that has some.

    Notes
    -----
    With the identity link and normal errors a weight divides the variance. Otherwise it multiplies the row's log
    density; a draw of y is of one response, whatever its weight.
    """
    family, aux = design.family, tuple(auxiliaries.values())
    if design.residual.by_row:
        read = design.residual.rows
        rows = None if read is None else _rows(read, data) if read.size else pt.zeros(read.shape)
        aux = of_rows(pt, family, design.residual, rows, auxiliaries, residual, of_parameters)
    weights = () if design.weights is None else (data("weights_data", design.weights, "obs"),)
    if family.gaussian:
        sigma = aux[0] / pt.sqrt(weights[0]) if weights else aux[0]
        _add_gaussian(design, eta, sigma, data, {**residual, "sigma": aux[0][None]})
        return
    trials = tuple(data(name, values, "obs") for name, values in design.row_data.items())
    kind = "int64" if family.discrete else "float64"
    pm.CustomDist(
        "y",
        eta,
        *trials,
        *weights,
        *aux,
        logp=_density(family, len(trials), len(weights)),
        random=_draws(family, len(trials), len(weights)),
        observed=data("y_data", design.y.astype(kind), "obs"),
        dims="obs",
        dtype=kind,
    )


def _add_gaussian(design: Design, eta: TensorVariable, sigma: TensorVariable, data, values: Mapping) -> None:
    """Add a normal y, whose residuals have the structures of the design."""
    residual = design.residual
    if any(part.structure.relative_sd is not None for part in residual.parts):
        sigma = sigma * residual.relative_sd(pt, _rows(residual.rows, data), values)
    observed, part = data("y_data", design.y, "obs"), residual.correlated
    if part is None:
        pm.Normal("y", eta, sigma, observed=observed, dims="obs")
        return
    layout = part.structure.layout(residual.of_part(part, residual.rows))
    root = part.structure.root(pt, layout, values)
    pm.CustomDist(
        "y", eta, sigma * pt.ones(design.n), root, logp=_correlated(layout), random=_correlated_draws(layout),
        signature="(n),(n),(k)->(n)", observed=observed, dims="obs",
    )  # fmt: skip


def _correlated(layout: Layout) -> Callable[..., TensorVariable]:
    """Return ``logp(y, eta, sd, root)``: of U (y - eta) / sd, whose elements are independent."""

    def logp(y: TensorVariable, eta: TensorVariable, sd: TensorVariable, root: TensorVariable) -> TensorVariable:
        e = (y - eta) / sd
        white = pt.inc_subtensor(pt.zeros(layout.n)[layout.row], root * e[layout.column])
        constant = pt.log(root[layout.diagonal]) - pt.log(sd) - 0.5 * np.log(2 * np.pi)
        return (constant - 0.5 * pt.square(white)).sum()

    return logp


def _correlated_draws(layout: Layout) -> Callable[..., np.ndarray]:
    """Return ``random(eta, sd, root, rng, size)``."""

    def random(eta: np.ndarray, sd: np.ndarray, root: np.ndarray, rng: np.random.Generator, size=None) -> np.ndarray:
        z = rng.standard_normal(eta.shape if size is None else (*size, eta.shape[-1]))
        return eta + sd * Correlation(layout, root).drawn(z)

    return random


def _rows(values: np.ndarray, data: Callable[..., TensorVariable]) -> TensorVariable:
    """Return what a residual structure reads of the rows, (n,) or (n, k), as data of the model in context."""
    if values.ndim == 1:
        return data("residual_data", values, "obs")
    pm.modelcontext(None).add_coord("residual_column", range(values.shape[1]))
    return data("residual_data", values, "obs", "residual_column")


def _density(family: Family, trials: int, weights: int) -> Callable[..., TensorVariable]:
    """Return ``logp(y, eta, [trials], [weights], *auxiliaries)``."""

    def logp(y: TensorVariable, eta: TensorVariable, *others: TensorVariable) -> TensorVariable:
        number = others[:trials] if family.observed else others[0] if trials else 1.0
        value = log_density(family, y, eta, number, others[trials + weights :])
        return others[trials] * value if weights else value

    return logp


def _draws(family: Family, trials: int, weights: int) -> Callable[..., np.ndarray]:
    """Return ``random(eta, [trials], [weights], *auxiliaries, rng, size)``."""
    kind = np.int64 if family.discrete else np.float64

    def random(
        eta: np.ndarray, *others: np.ndarray, rng: np.random.Generator, size: Sequence[int] | None
    ) -> np.ndarray:
        mu = np.asarray(family.inverse(eta))
        shape = np.broadcast_shapes(*(np.shape(value) for value in (mu, *others))) if size is None else tuple(size)
        number = Limits.from_graph(others[:trials]) if family.observed else others[0] if trials else None
        return family.draw(rng, np.broadcast_to(mu, shape), number, others[trials + weights :]).astype(kind)

    return random


def log_density(
    family: Family, y: TensorVariable, eta: TensorVariable, trials: object, aux: Sequence[TensorVariable]
) -> TensorVariable:
    """Return the log density of a response given its linear predictor, with constants, in their common shape.

    Parameters
    ----------
    family : Family
    y, eta : variable
        Response (successes of a binomial) and linear predictor.
    trials : variable or 1
    aux : sequence of variables
        The family's auxiliaries, in its order.
    """
    tame = pt.abs(eta) < LARGEST  # also not NaN
    density = _of_own if family.own else _of_package
    inside, value = density(family, pt.cast(y, "float64"), pt.switch(tame, eta, 0.0), trials, aux)
    return pt.switch(pt.and_(tame, inside), value, -np.inf)


def _of_package(family: Family, y: TensorVariable, eta: TensorVariable, trials: object, aux: Sequence) -> Terms:
    return family.graph_density(family.link, y, eta, trials, aux)


def _of_own(family: Family, y: TensorVariable, eta: TensorVariable, trials: object, aux: Sequence) -> Terms:
    """Return where the density of a user's own family exists, and its log there."""
    inside = eta > 0 if family.link == "inverse" else pt.abs(eta) < WILD
    near = pt.switch(inside, eta, 1.0)
    value = family.log_density(y, graph_mean(family.link, near), trials, tuple(aux))
    return pt.and_(inside, pt.invert(pt.isnan(value))), value
