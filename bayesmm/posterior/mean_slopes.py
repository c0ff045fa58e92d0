"""The derivatives of predicted means in all parameters of a maximised model, for standard errors of these."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from bayesmm.design.predictors import MEAN, part_of
from bayesmm.design.residual.of_family import own_of_rows
from bayesmm.estimation.centred_formulas import centred
from bayesmm.estimation.glm import own_values
from bayesmm.estimation.glmm import Warm, coordinates, make_problem
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.likelihood.own_parameters import own_parameters
from bayesmm.likelihood.problem import orthonormal_columns
from bayesmm.posterior.means import mean_of, slope_of
from bayesmm.posterior.predict import Rows, columns_of_block
from bayesmm.priors import formula_bases, formula_places

# Of a parameter on the real line, or of a coefficient times the size of its column: the error of central differences is
# about its square, 1e-8, and their rounding 1e-12.
STEP = 1e-4
ALONG = 1e-3  # of a standard error: the differences of the modes are off by its square
LEAST_VARIANCE = 1e-2  # of linear predictors, on the scale of a link: the step in a smaller one is as if it were this


def mean_slopes(
    point, rows: Rows, eta: Floats, spread: Floats | None = None, data: object = None,
    effects: Mapping[str, Floats] | None = None,
) -> Floats:  # fmt: skip
    """Return the derivatives of the means of rows in the parameters of `point.joint`; in the coefficients without one.

    Parameters
    ----------
    point : PointFit
    rows : Rows
        m rows, with what the formulas of parameters read of them.
    eta : (m,) float64
        Their linear predictors.
    spread : (m,) float64, optional
        The sd of the effects that means are averaged over.
    data : table, optional
        The rows as a table, of which the columns of these effects are made: with `spread`.
    effects : mapping of str to (m,) float64, optional
        What random effects add to the links of parameters of the family.

    Returns
    -------
    (m, p + a + s) float64
    """
    own = own_of(point, rows, effects)
    in_beta = slope_of(point.design.family, eta, own, spread)[:, None] * rows.X
    if point.joint is None:
        return in_beta
    parts = [in_beta, _in_own(point, rows, eta, spread, effects)]
    if point.joint.knows_variances:
        parts.append(_in_covariances(point, rows, eta, spread, data))
    return np.hstack(parts)


def own_of(point, rows: Rows, effects: Mapping[str, Floats] | None = None) -> tuple:
    """Return the family's parameters besides mu at the estimates, or its thresholds; (m,) each by formula."""
    if not point.design.residual.by_row:
        return point.own
    own = {**point.auxiliaries, **point.levels}
    return own_of_rows(point.design, own, point.residual, rows.residual, effects or {})


def _in_own(point, rows: Rows, eta: Floats, spread: Floats | None, effects: Mapping[str, Floats] | None) -> Floats:
    """Return the derivatives in the model's own parameters, (m, a), the family's on the real line.

    The differences are in the parameters at the means of their formulas' columns, where a step moves the rows by about
    as much wherever a column has its zero.
    """
    design, own = point.design, own_parameters(point.design)
    s, family = len(own.scalars), design.family
    first, levels = [point.link(each) for each in own.scalars], design.residual.levels
    at = np.concatenate([first, *point.residual.values()])
    steps = STEP / np.concatenate([np.ones(s), own_parameters(centred(design)).sizes])
    out, (to_zero, to_means) = np.empty((len(rows), len(at))), _formula_maps(design, own.labels)

    def mean(values: Floats) -> Floats:
        scalars = {o.name: o.moved(value)[0] for o, value in zip(own.scalars, values[:s], strict=True)}
        if not design.residual.by_row:
            return mean_of(family, eta, tuple(scalars.values()), spread)
        pairs = zip(own.scalars, values[:s].tolist(), strict=True)
        scalars |= {levels[each.name]: value for each, value in pairs if levels.get(each.name) in point.levels}
        found = own_of_rows(design, scalars, own_values(design, values[s:]), rows.residual, effects or {})
        return mean_of(family, eta, found, spread)

    with np.errstate(over="ignore", invalid="ignore"):
        for j, step in enumerate((to_zero * steps).T):
            out[:, j] = (mean(at + step) - mean(at - step)) / (2 * steps[j])
        return out @ to_means


def _formula_maps(design, labels: Sequence[str]) -> tuple[Floats, Floats]:
    """Return A and R, (a, a): A times own parameters at the means of formulas' columns is those at 0, R its inverse."""
    A, R = np.eye(len(labels)), np.eye(len(labels))
    bases = formula_bases(design).parameters
    for part in design.residual.formulas:
        places = [labels.index(label) for label in formula_places(part)]
        at, basis = np.ix_(places, places), bases[part.formula]
        A[at], R[at] = basis.inverse, basis.R
    return A, R


def _in_covariances(point, rows: Rows, eta: Floats, spread: Floats | None, data: object) -> Floats:
    """Return the derivatives in the entries of the covariance matrices of the effects, (m, s)."""
    design, coordinates = point.design, point.scaled
    sizes = [len(B) ** 2 for B in coordinates.bases]
    out = np.zeros((len(rows), sum(sizes)))
    if spread is None:
        return out
    variance, own = np.square(spread), own_of(point, rows)
    step = STEP * np.maximum(variance, LEAST_VARIANCE)
    up, down = variance + step, np.maximum(variance - step, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        high, low = (mean_of(design.family, eta, own, np.sqrt(v)) for v in (up, down))
        slope = (high - low) / (up - down)
    starts = np.cumsum([0, *sizes])
    for k in design.groups:
        Z = part_of(design.blocks[k], columns_of_block(design, k, data), MEAN) @ coordinates.bases[k]
        out[:, starts[k] : starts[k + 1]] = slope[:, None] * (Z[:, :, None] * Z[:, None, :]).reshape(len(rows), -1)
    return out


def modes_along(point) -> Iterator[list[Floats]]:
    """Yield, for each column of `point.joint.search`, the derivatives of the modes of each block along it.

    Those of a generalised model's ML fit, in the fit's coordinates, (G_k, q_k); by differences.
    """
    design = centred(point.design)
    problem, x = make_problem(design, orthonormal_columns(design)), point.optimum.parameters
    nothing, u = np.empty((point.design.p, 0)), np.concatenate([np.empty(0), *(b.ravel() for b in point.modes)])
    for column in point.joint.search.T:
        up, down = (coordinates(problem, x + sign * ALONG * column, Warm(0 * u), nothing).modes for sign in (1.0, -1.0))
        yield [(high - low) / (2 * ALONG) for high, low in zip(up, down, strict=True)]


def covariance_root(point) -> Floats:
    """Return the root of the covariance of what `mean_slopes` has the derivatives in."""
    return point.scaled.root if point.joint is None else point.joint.root
