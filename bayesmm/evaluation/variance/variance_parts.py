"""The variances that a mixed model is made of: of the fixed part, of each factor's random effects, of the residual.

Once on the scale of the link, where the parts add up (Nakagawa & Schielzeth 2013, Methods in Ecology and Evolution
4(2); Johnson 2014, the same journal 5(9), for random slopes; Nakagawa, Johnson & Schielzeth 2017, Journal of the Royal
Society Interface 14(134), for the residual variance of the other families), and once on the scale of the response, as
the variance of modelled means and the modelled variance about them (Gelman, Goodrich, Gabry & Vehtari 2019, The
American Statistician 73(3)). A maximised model is taken as a single draw.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from bayesmm.design.coding import INTERCEPT
from bayesmm.design.records import Design
from bayesmm.design.relations import columns_of_rows
from bayesmm.design.residual.structure import NOTHING, residual_weights
from bayesmm.design.residual.structure import Values as Residual
from bayesmm.design.summed import is_summed
from bayesmm.design.summed_residual import mean_inverse_weight
from bayesmm.evaluation.variance.averages import averaged_squares, averages
from bayesmm.evaluation.variance.linear_spread import effect_moments, is_plain, level_sums
from bayesmm.families.family import MOST_PARAMETERS
from bayesmm.posterior.auxiliaries import auxiliary_draws
from bayesmm.posterior.draws import block_draws, factor_draws, residual_draws, tree_sizes, variable
from bayesmm.posterior.predict import CHUNK, check_draws, linear, rows_of

Array = np.ndarray
Moments = Callable[[slice], tuple[Array, Array, Array]]


@dataclass(frozen=True, eq=False)
class Values:
    """The parameters that variances are made from.

    Attributes
    ----------
    beta : (draws, p) float64
    covariances : tuple of (draws, q, q) float64
        Sigma_k of each block of the design.
    auxiliaries : (draws, 3) float64
        The family's, in its order; 0 where it has fewer.
    residual : mapping of str to (draws, k) float64
        The parameters of the residual structure besides sigma.
    """

    beta: Array
    covariances: tuple[Array, ...]
    auxiliaries: Array
    residual: Residual = NOTHING


@dataclass(frozen=True, eq=False)
class Parts:
    """Variances on the scale of the link, (draws,) each.

    Attributes
    ----------
    fixed : (draws,) float64
    random : tuple of (draws,) float64
        In the order of the design's blocks; 0 for observation-level ones, which are part of the residual.
    overdispersion : (draws,) float64
        Of the observation-level random effects.
    residual : (draws,) float64
        With the overdispersion.
    """

    fixed: Array
    random: tuple[Array, ...]
    overdispersion: Array
    residual: Array


@dataclass(frozen=True, eq=False)
class Spread:
    """Modelled responses of the rows, (draws,) each: their mean, the variance of the means, and that about them."""

    mean: Array
    explained: Array
    residual: Array


def values_of_fit(fit) -> Values:
    """Return the draws of a posterior."""
    draws = int(np.prod(tree_sizes(fit.tree)))
    beta = variable(fit.tree, "beta").reshape(draws, -1) if fit.design.p else np.zeros((draws, 0))
    factors = [factor_draws(fit, block) for block in fit.design.blocks]
    covariances = tuple(L @ L.transpose(0, 2, 1) for L in factors)
    return Values(beta, covariances, auxiliary_draws(fit), residual_draws(fit))


def values_of_point(point) -> Values:
    """Return the estimates of a maximised model as one draw, random effects as in `scaled_design`."""
    own, family = np.zeros((1, MOST_PARAMETERS)), point.design.family
    for m, name in enumerate(family.auxiliaries):
        own[0, m] = point.auxiliaries.get(name, point.sigma)  # a linear model has its sigma there alone
    if family.ordered:
        own = np.array(point.own)[None]
    residual = {name: values[None] for name, values in point.residual.items()}
    covariances = tuple(Sigma[None] for Sigma in point.scaled.covariances)
    return Values(np.nan_to_num(point.beta)[None], covariances, own, residual)


def scaled_design(point) -> Design:
    """Return the design with the random-effects columns in the coordinates of `values_of_point`."""
    blocks = zip(point.design.blocks, point.scaled.bases, strict=True)
    return replace(point.design, blocks=tuple(replace(block, Z=block.Z @ B) for block, B in blocks))


# ----------------------------------------------------------------------------------------------------------------------
# on the scale of the link


def parts_of(design: Design, values: Values, mean: float | None = None) -> Parts:
    """Return the variances on the scale of the link, the residual's (`Family.residual`) at `mean` if given.

    An effect for each observation says how the rows scatter about what the others explain: additive overdispersion,
    which Nakagawa, Johnson & Schielzeth (2017, section 3) count as residual.
    """
    own, each = random_variances(design, values.covariances), observation_level(design)
    none = np.zeros(len(values.beta))
    extra = sum((own[k] for k in each), none)
    random = tuple(none if k in each else variance for k, variance in enumerate(own))
    return Parts(fixed_variance(design, values.beta), random, extra, extra + residual(design, values, mean))


def observation_level(design: Design) -> tuple[int, ...]:
    """Return the positions of the blocks with an intercept for each row, in a family without a sigma.

    Beside a known sigma, as of a meta-analysis, such an intercept is what the rows differ by.
    """
    each = (len(block.levels) == design.n and tuple(block.columns) == (INTERCEPT,) for block in design.blocks)
    return () if design.family.has_residual_sd else tuple(k for k, own in enumerate(each) if own)


def fixed_variance(design: Design, beta: Array) -> Array:
    """Return the variance of X beta over the rows, (draws,); offsets, which nobody estimated, have no part in it."""
    if is_summed(design):
        rows = design.X.rows
        centred = (rows - rows.mean(axis=0)) / np.sqrt(len(rows))
    else:
        centred = _centred(design)
    R = np.linalg.qr(centred, mode="r")
    return np.square(beta @ R.T).sum(axis=1) * design.n / (design.n - 1)


def _centred(design: Design) -> Array:
    share = row_shares(design)
    centred = (design.X - share @ design.X) * np.sqrt(share)[:, None]
    centred[:, np.ptp(design.X, axis=0) == 0] = 0.0  # the intercept, also where rounding leaves something of it
    return centred


def random_variances(design: Design, covariances: tuple[Array, ...]) -> tuple[Array, ...]:
    """Return the mean over the rows of z'Sigma z of each block, (draws,): Johnson (2014); z as `columns_of_rows`."""
    if is_summed(design):
        squares = [block.Z.rows.T @ block.Z.rows / len(block.Z.rows) for block in design.blocks]
        return tuple(np.einsum("sij,ij->s", Sigma, M) for Sigma, M in zip(covariances, squares, strict=True))
    share = row_shares(design)
    squares = [(Z * share[:, None]).T @ Z for Z in map(columns_of_rows, design.blocks)]
    return tuple(np.einsum("sij,ij->s", Sigma, M) for Sigma, M in zip(covariances, squares, strict=True))


def row_shares(design: Design) -> Array:
    """Return what each row counts in a mean over the rows, (n,): its weight, unless that is one of a variance."""
    weights = np.ones(design.n) if design.weights is None or design.family.gaussian else design.weights
    return weights / weights.sum()


def residual(design: Design, values: Values, mean: float | None = None) -> Array:
    """Return the variance of a response about its linear predictor on the scale of the link, (draws,).

    Where it depends on the mean response it is taken at `mean`, or if that is None at that of the rows.
    """
    rule = design.family.residual
    at = mean_response(design, values) if rule.needs_mean and mean is None else mean
    value = rule.value(at, _own(design, values))
    if is_summed(design):
        return np.broadcast_to(value * mean_inverse_weight(design, values.residual), len(values.beta)).astype(float)
    weights = residual_weights(design, values.residual)
    if design.family.gaussian and weights is not None:
        value = value * np.mean(1 / weights, axis=-1)
    return np.broadcast_to(value, len(values.beta)).astype(float)


def mean_response(design: Design, values: Values) -> Array:
    """Return the mean of the rows' modelled responses, (draws,), over new groups where that is defined.

    With an inverse link the average over normal effects does not exist: there it is the mean of typical groups.
    """
    found = population(design, values)
    return typical(design, values).mean if found is None else found.mean


# ----------------------------------------------------------------------------------------------------------------------
# on the scale of the response


def population(design: Design, values: Values) -> Spread | None:
    """Return the modelled responses of new groups; None with an inverse link, where their mean does not exist."""
    link = design.family.link
    if link == "inverse":
        return None
    if _is_linear(design, values):
        inside = sum(random_variances(design, values.covariances), _scatter(design, values))
        return Spread(values.beta @ (row_shares(design) @ design.X), fixed_variance(design, values.beta), inside)
    spread = _spread_over(design, values, range(len(design.blocks)))
    moments = _moments(design, values)
    return over_rows(design, values, lambda part: moments(fixed_part(design, values, part), spread(part), part))


def _moments(design: Design, values: Values) -> Callable[[Array, Array | None, slice], tuple[Array, Array, Array]]:
    """Return the function of eta, (draws, rows), the sds of effects or None, and the rows, that gives means over these.

    They are of the mean of a response, of its square and of the variance about it, (draws, rows) each.
    """
    family = design.family
    aux = tuple(_own(design, values)[:, :, None])
    inverse = family.inverse
    if not family.quadratic:
        return lambda eta, spread, part: averages(family, aux, eta, spread)
    function, multiple = _variance_function(design, values), family.expected(np.ones((1, 1)), aux)

    def moments(eta: Array, spread: Array | None, part: slice) -> tuple[Array, Array, Array]:
        constant, slope, curve = function(part)
        mu, square = _known(inverse(eta)) if spread is None else averaged_squares(family.link, eta, spread)
        return multiple * mu, multiple**2 * square, constant + slope * mu + curve * square

    return moments


def typical(design: Design, values: Values) -> Spread:
    """Return the modelled responses of groups whose effects are 0."""
    moments = _moments(design, values)
    return over_rows(design, values, lambda part: moments(fixed_part(design, values, part), None, part))


def conditional(fit, values: Values) -> Spread | None:
    """Return the modelled responses of the groups of the data, with their drawn effects.

    Observation-level effects are integrated out; None with an inverse link if there are any.

    Raises
    ------
    ValueError
        If the random effects were not kept.
    """
    design, link, each = fit.design, fit.design.family.link, observation_level(fit.design)
    if each and link == "inverse":
        return None
    rows = rows_of(design, None, [k for k in range(len(design.blocks)) if k not in each])
    check_draws(fit, rows.take(slice(0, 1)))  # whether the effects were kept; the rows come in parts
    if len(design.blocks) == 1 and is_plain(design.blocks[0]) and _is_linear(design, values) and not each:
        return _of_levels(fit, values)
    offset = design.offset if link == "identity" else np.zeros(design.n)
    spread, moments = _spread_over(design, values, each), _moments(design, values)

    def of_rows(part: slice) -> tuple[Array, Array, Array]:
        eta = linear(fit, rows.take(part), "error", 0) - offset[part]
        return moments(eta, spread(part) if each else None, part)

    return over_rows(design, values, of_rows)


def _is_linear(design: Design, values: Values) -> bool:
    """Return whether the responses are linear in the effects, with a variance that differs between rows by weights."""
    plain = design.family.gaussian and design.family.link == "identity" and not is_summed(design)
    return plain and np.ndim(_sizes(design, values)) == 1


def _scatter(design: Design, values: Values) -> Array:
    """Return the mean variance of the rows' responses about their means, (draws,), of a model that is linear."""
    scatter = design.family.scattered(np.zeros((1, 1)), 1.0, tuple(_own(design, values)[:, :, None]))
    return np.broadcast_to(scatter, (len(values.beta), 1))[:, 0] * (row_shares(design) @ (1 / _sizes(design, values)))


def _of_levels(fit, values: Values) -> Spread:
    """Return what `conditional` does, of a model that is linear with one grouping factor."""
    design, (block,), share = fit.design, fit.design.blocks, row_shares(fit.design)
    middle, b = share @ design.X, block_draws(fit, block)
    sums = level_sums(block, design.X - middle, share)
    mean, square = effect_moments(b.reshape(-1, *b.shape[2:]), values.beta, sums)
    more = design.n / (design.n - 1)
    explained = fixed_variance(design, values.beta) + (square - mean**2) * more
    return Spread(values.beta @ middle + mean, np.maximum(explained, 0.0), _scatter(design, values))


def fixed_part(design: Design, values: Values, part: slice) -> Array:
    """Return X beta of some rows, (draws, rows), with the offset unless the link is the identity.

    With that link y - offset is a response like any other; with others the offset is part of how large a mean is.
    """
    eta = values.beta @ design.X[part].T
    return eta if design.family.link == "identity" else eta + design.offset[part]


def over_rows(design: Design, values: Values, moments: Moments) -> Spread:
    """Return mean, variance between and variance within of the rows' responses.

    Parameters
    ----------
    moments : callable
        The means, over whatever is not given, of what `_moments` gives of some rows.

    Notes
    -----
    The variance within a row is the mean of the variance about its mean, and the variance of that mean.
    """
    share, size = row_shares(design), _sizes(design, values)
    about = share @ (design.y if design.trials is None else design.y / design.trials)  # against cancellation
    first = second = within = np.zeros(len(values.beta))
    for part in _slices(design.n, len(values.beta)):
        mean, square, variance = moments(part)
        first = first + (mean - about) @ share[part]
        with np.errstate(invalid="ignore", over="ignore"):  # of draws without a mean there is no share
            second = second + np.square(mean - about) @ share[part]
            within = within + (variance / size[..., part] + square - np.square(mean)) @ share[part]
    with np.errstate(invalid="ignore"):
        between = np.maximum(second - first**2, 0.0)  # rounding may leave less where all means are equal
    return Spread(about + first, between * design.n / (design.n - 1), within)


def _sizes(design: Design, values: Values) -> Array:
    """Return what the variance of each row's response is divided by: its weight, where that is one of a variance.

    Shape (n,), or (draws, n).
    """
    divisor = residual_weights(design, values.residual) if design.family.gaussian else None
    return np.ones(design.n) if divisor is None else divisor


def _variance_function(design: Design, values: Values) -> Callable[[slice], tuple[Array, Array, Array]]:
    """Return the function of rows that gives a, b and c of the variance a + b mu + c mu^2 of their responses.

    They are (draws, 1) or (draws, rows), from its values at mu of -1, 0 and 1.
    """
    family = design.family
    aux = tuple(_own(design, values)[:, :, None])
    if family.scatter is not None:
        scatter = family.scatter(_own(design, values))[:, None]
        return lambda part: (scatter, np.zeros(1), np.zeros(1))

    def function(part: slice) -> tuple[Array, Array, Array]:
        trials = 1.0 if design.trials is None else design.trials[part]
        below, constant, above = (
            np.asarray(family.scattered(np.full((1, 1), at), trials, aux), dtype=float) for at in (-1.0, 0.0, 1.0)
        )
        return constant, (above - below) / 2, (above + below) / 2 - constant

    return function


def _own(design: Design, values: Values) -> Array:
    """Return the family's parameters besides mu, (k, draws), without the places that compiled code has for more."""
    found, family = values.auxiliaries.T, design.family
    return found if family.ordered else found[: len(family.auxiliaries)]


def _known(mean: Array) -> tuple[Array, Array]:
    return mean, np.square(mean)


def _root(Sigma: Array) -> Array:
    """Return L with L L' = Sigma, which may be singular, (draws, q, q)."""
    value, vector = np.linalg.eigh(Sigma)
    return vector * np.sqrt(np.maximum(value, 0.0))[:, None, :]


def _spread_over(design: Design, values: Values, chosen: Iterable[int]) -> Callable[[slice], Array]:
    """Return the function that gives the sd of Z b over the effects of some blocks for some rows, (draws, rows)."""
    factors = [(columns_of_rows(design.blocks[k]), _root(values.covariances[k])) for k in chosen]

    def spread(part: slice) -> Array:
        total = np.zeros((1, 1))
        for Z, L in factors:
            for j in range(L.shape[2]):
                total = total + np.square(L[:, :, j] @ Z[part].T)
        return np.sqrt(total)

    return spread


def _slices(rows: int, draws: int) -> Iterator[slice]:
    step = max(1, CHUNK // max(draws, 1))
    return (slice(at, at + step) for at in range(0, rows, step))
