"""Responses drawn from a model with known parameters, for the rows of its data."""

import secrets
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import pandas as pd

from bayesmm.design.predictors import Shifts, linear_predictor, shifts
from bayesmm.design.records import Design
from bayesmm.design.relations import drawn_effects
from bayesmm.design.residual.of_family import own_of_rows
from bayesmm.design.residual.structure import NOTHING, Values, residual_weights
from bayesmm.design.responses import row_index
from bayesmm.errors import DataError
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.posterior.parameter_values import ParameterValues, parameter_values
from bayesmm.posterior.predict import check_choice
from bayesmm.posterior.responses import draw_response
from bayesmm.runtime.arguments import check_seed, check_whole
from bayesmm.runtime.memory import BYTES, too_much
from bayesmm.runtime.streams import data_set

EFFECTS = ("new", "kept")
COPIES = 3  # of the simulations: the columns, their array, and the table


def simulate(model, parameters: object, draws: int = 1, seed: int | None = None) -> pd.DataFrame:
    """Draw responses from the model with known parameters, for the rows of its data.

    The random effects are drawn anew from N(0, Sigma) for each response. Smooths are a part of the mean: their curves
    are those of the fit, and only where the parameters are a mapping, which knows of none, drawn too.

    Parameters
    ----------
    model : Model
    parameters : mapping of str to float, PointFit or Fit
        A value for every parameter by place, as ``fit.summary()`` names them: ``{"beta[Intercept]": 250, "beta[Days]":
        10, "sd_Subject[Intercept]": 25, "sd_Subject[Days]": 6, "corr_Subject[Intercept, Days]": 0.1, "sigma":
        25}``; "Intercept" is understood too. Or a maximised fit, for its estimates (``point.parameters`` are these
        as a mapping); or a posterior, of which each response takes a draw at random.
    draws : int
        Number of responses.
    seed : int, optional
        The k-th response of a seed is the same for any number of them.

    Returns
    -------
    pandas.DataFrame
        A row for each row of the data that the model uses, with its label; columns sim_1, sim_2, ... They are what
        stands on the left of ``~``: of ``log(y) ~ ...`` logarithms; of a binomial, numbers of successes; of a
        response with two labels, 1 for the second; of a censored one, responses that are not. A weight divides the
        variance of a Gaussian response and has no part in others.

    Raises
    ------
    ValueError
        A parameter is unknown, missing, or cannot have its value; `draws` or `seed` is out of range.
    DataError
        The fit is of a model with other parameters, or the link gives no mean with these.
    """
    _check(model.design.n, draws, seed)
    values_at = parameter_values(model.design, parameters)
    return _table(model.design, lambda rng: drawn(model.design, values_at(rng), rng), draws, seed)


def simulate_point(point, draws: int = 1, seed: int | None = None, effects: str = "new") -> pd.DataFrame:
    """Return responses simulated from the estimates of a maximised fit; see `PointFit.simulate`."""
    check_choice("effects", effects, EFFECTS)
    _check(point.design.n, draws, seed)
    return _table(point.design, simulator(point, effects), draws, seed)


def simulator(point, effects: str = "new") -> Callable[[np.random.Generator], Floats]:
    """Return a function of a random generator: one response, (n,), drawn from the estimates of a maximised fit."""
    design = point.design
    if effects == "new":
        values_at = parameter_values(design, point)
        return lambda rng: drawn(design, values_at(rng), rng)
    own = {name: point.auxiliaries.get(name, 1.0) for name in design.family.auxiliaries} | dict(point.levels)
    effects = shifts(design, point.modes)
    return lambda rng: noise(design, point.linear, own, rng, point.residual, effects)


def drawn(design: Design, values: ParameterValues, rng: np.random.Generator) -> Floats:
    """Return a response of new levels of every factor, (n,): b ~ N(0, Sigma), then y given eta; curves are as known."""
    effects = [
        values.curves[k] if k in values.curves else drawn_effects(block, rng, L)
        for k, (block, L) in enumerate(zip(design.blocks, values.factors, strict=True))
    ]
    eta = linear_predictor(design, values.beta, effects)
    own = dict(zip(design.family.auxiliaries, values.auxiliaries, strict=True)) | dict(values.levels)
    return noise(design, eta, own, rng, values.residual, shifts(design, effects))


def noise(
    design: Design, eta: Floats, own: Mapping[str, float], rng: np.random.Generator, residual: Values = NOTHING,
    effects: Shifts = MappingProxyType({}),
) -> Floats:  # fmt: skip
    """Return a response given the linear predictor, (n,), and the family's parameters by name.

    `effects` are added to the links of parameters.

    Raises
    ------
    DataError
        There is no mean: with the inverse link a linear predictor is not above 0.
    """
    mu = design.family.inverse(eta)
    none = int(np.isnan(mu).sum())
    if none:
        raise DataError(
            f"with these parameters the linear predictor is not above 0 in {none:,} of {design.n:,} rows, where the "
            f"{design.family.link} link gives no mean; choose coefficients and sds that keep it above"
        )
    weights = residual_weights(design, residual)
    correlation = design.residual.correlation(design.residual.rows, residual)
    auxiliaries = tuple(own[name] for name in design.family.auxiliaries)
    if design.residual.by_row:
        auxiliaries = own_of_rows(design, own, residual, effects=effects)
    return draw_response(design.family, rng, mu, design.drawn_with, auxiliaries, weights, correlation)


def _check(n: int, draws: int, seed: int | None) -> None:
    check_whole("draws", draws, 1)
    check_seed(seed)
    need = too_much(BYTES * COPIES * n * draws)
    if need:
        raise ValueError(f"{draws:,} simulations of {n:,} rows need {need}; take fewer at a time, with other seeds")


def _table(design: Design, one: Callable[[np.random.Generator], Floats], draws: int, seed: int | None) -> pd.DataFrame:
    seed = secrets.randbits(128) if seed is None else seed
    values = np.column_stack([one(data_set(seed, k)) for k in range(draws)])
    kind = np.int64 if design.family.discrete else np.float64
    names = [f"sim_{k + 1}" for k in range(draws)]
    return pd.DataFrame(values.astype(kind), index=row_index(design.row_labels, bool(design.responses)), columns=names)
