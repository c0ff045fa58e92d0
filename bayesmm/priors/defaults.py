"""The places of a model that take a prior, each with its default.

Defaults follow the scale of the data, so that they mean the same in any unit: a coefficient moves the response by
about 2.5 of its standard deviations when the predictor moves by one of its own (Gelman, Hill & Vehtari 2020,
Regression and Other Stories, section 9.5); sds are half-Student-t with 3 degrees of freedom (Gelman 2006, Bayesian
Analysis 1(3), section 4); correlations are LKJ with shape 2. With a link the scales are those of `priors.scales`.

They are also the same wherever a predictor has its zero: a coefficient beside an interaction that it is part of, and
the random effects that a random slope is correlated with, have their defaults at the means of what they depend on, and
the sd of a predictor is that of its column with the margins taken out (`bayesmm.design.term_basis`). So has a parameter
with a formula of its own, such as sigma: its default is of the value at the means of the formula's columns.
"""

from collections.abc import Iterator, Set
from dataclasses import dataclass, replace

import numpy as np

from bayesmm.design.covariance.structure import Entry, Part
from bayesmm.design.parameters import (
    INTERCEPT_AT_MEANS,
    Parameter,
    coefficient_label,
    free_auxiliaries,
    of_response,
    part_parameters,
    residual_labels,
    response_intercepts,
    within_response,
)
from bayesmm.design.predictors import columns_of
from bayesmm.design.records import Block, Design
from bayesmm.design.residual.of_family import LEVELS, SDS, link_code, specific_sign
from bayesmm.design.summed import is_constant, is_indicator, largest, rows_of, sd
from bayesmm.design.term_basis import TermBasis, constant_share, untouched
from bayesmm.families.links import LINKS
from bayesmm.priors.basis import formula_places
from bayesmm.priors.prior import Prior
from bayesmm.priors.scales import Scales, auxiliary_priors, link_scales, robust_scale, root_mean_square

LKJ_SHAPE = 2.0  # weakly towards no correlation: a density of 0 at correlations of -1 and 1
CONSTANT_TOLERANCE = 1e-8  # relative to the column: a spread or a residual smaller than this is rounding

SD_DEGREES = 3.0  # degrees of freedom of the half-t: heavy tails, finite mean and variance; as in brms

INTERCEPT, COEFFICIENT, SD, CORRELATION = "intercept", "coefficient", "sd", "correlation"
ONE_CORRELATION = "one correlation"  # a parameter of a covariance structure, with a prior of its own
AUXILIARY = "auxiliary"  # a parameter of the family besides the mean, sigma excepted, which is an SD
KNOWN = Prior("Fixed", value=1.0)  # of sigma, where the sds of the rows are a structure's
AT_MEANS = "at the predictors' means"  # where the prior of an intercept, or of a threshold, is
RESIDUAL = "residual"  # a parameter of the residual structure besides sigma


@dataclass(frozen=True)
class Place:
    """A parameter, or a set of correlations, that takes one prior.

    Attributes
    ----------
    name : str
        Such as "Intercept_centred", "beta[Days]", "sd_Subject[Days]", "corr_Subject", "sigma", "shape".
    kind : str
        INTERCEPT, COEFFICIENT, SD, CORRELATION, ONE_CORRELATION or AUXILIARY.
    wider : tuple of str
        The keys that cover this place and others, the weakest first: ("sd", "sd_Subject").
    default : Prior
    unit : str
        What its values are measured in; for CORRELATION empty.
    size : int
        Rows of the largest correlation matrix; 1 elsewhere.
    bounds : tuple of float
        Of ONE_CORRELATION, AUXILIARY and RESIDUAL.
    """

    name: str
    kind: str
    wider: tuple[str, ...]
    default: Prior
    unit: str
    size: int = 1
    bounds: tuple[float, float] = (-1.0, 1.0)


def places(design: Design, as_reported: Set[str] = frozenset()) -> tuple[Place, ...]:
    """Return every place of the model in its order: coefficients, each block's sds and correlations, auxiliaries,
    the residual's.

    The defaults of the blocks named in `as_reported` are on their sds and correlations as they are reported; those of
    the others are at the means of what the effects depend on.
    """
    scales = ColumnScales.of(design)
    found = [*_fixed(design, scales)]
    for block, basis in zip(design.blocks, design.spec.bases.blocks, strict=True):
        own = untouched(len(block.columns)) if block.name in as_reported else basis
        found += _sds(design, block, own, scales)
        largest = max((len(part.columns) for part in block.parts if part.covariance.free), default=1)
        if largest > 1:
            prior = Prior("LKJ", eta=LKJ_SHAPE, at=_at(not own.trivial))
            found.append(Place(block.names.corr, CORRELATION, ("corr",), prior, "", largest))
        found += _one_correlations(block)
    return (*found, *_auxiliaries(design), *_residuals(design, scales.each[0]))


@dataclass(frozen=True, eq=False)
class ColumnScales:
    """The scales of a design; of several responses those of each, on whose rows its columns are.

    Attributes
    ----------
    each : tuple of Scales
    codes : (n,) int64 or None
        Which response each row is; None where there is one.
    intercepts : frozenset of str
        The names of their intercepts.
    """

    each: tuple[Scales, ...]
    codes: np.ndarray | None
    intercepts: frozenset[str] = frozenset()

    @classmethod
    def of(cls, design: Design) -> "ColumnScales":
        """Return those of a design."""
        codes, found = design.response_codes, []
        if codes is None:
            return cls((link_scales(design),), None)
        for k, name in enumerate(design.responses):
            rows = codes == k
            found.append(link_scales(replace(design, y=design.y[rows], offset=design.offset[rows], response=name)))
        return cls(tuple(found), codes, response_intercepts(design.responses))

    def at(self, column) -> tuple[Scales, object]:
        """Return the scales that a column, (n,), is measured by, and the column in the rows of their response."""
        if self.codes is None:
            return self.each[0], column
        k = int(self.codes[np.abs(column).argmax()])  # in other rows it is 0 but for rounding
        return self.each[k], column[self.codes == k]


def _at(moved: bool) -> str:
    return "means" if moved else "zero"


def spread(column) -> float:
    """Return the sd of a column, (n,), or its size if it is constant; 1, an indicator's size, if it is 0 throughout.

    Columns of zeros are the empty cells of an interaction, about which the data say nothing.
    """
    own, size = sd(column), largest(column)
    return (own if own > CONSTANT_TOLERANCE * size else size) or 1.0


def _fixed(design: Design, known: ColumnScales) -> list[Place]:
    """Return the places of the intercept and of the other coefficients."""
    free_level = design.has_intercept or design.family.ordered
    basis, share = design.spec.bases.fixed, None if free_level else constant_share(rows_of(design.X))
    X, moved = basis.taken_out(design.X), basis.moved
    found = []
    for j, name in enumerate(design.coefficients):
        scales, x = known.at(X[:, j])
        own = [response for response in design.responses if name.startswith(of_response(response, ""))]
        unit = f"{scales.unit} per unit of {within_response(own[0], name) if own else name}"
        if name in response_intercepts(design.responses):
            unit = f"{scales.unit} {AT_MEANS}"
        if design.has_intercept and j == 0:
            at = f"{scales.unit} {AT_MEANS}"
            prior = Prior("Normal", mu=scales.centre, sigma=scales.intercept)
            found.append(Place(INTERCEPT_AT_MEANS, INTERCEPT, (), prior, at))
            continue
        if share is not None and not share.any():  # through the origin: sizes count, not deviations from a mean
            own, mean = scales.origin / root_mean_square(x), 0.0
        elif share is None or share[j] == 0:
            own, mean = scales.coefficient / spread(x), 0.0
        else:  # with y ~ 0 + f the coefficients are the groups' means: about the mean of y, as an intercept is
            own = scales.intercept * abs(share[j]) if is_indicator(x, 1 / share[j]) else scales.coefficient / spread(x)
            mean = share[j] * scales.centre
        prior = Prior("Normal", mu=mean, sigma=own, at=_at(moved[j]))
        found.append(Place(coefficient_label(name), COEFFICIENT, ("beta",), prior, unit))
    return found


def _sds(design: Design, block: Block, basis: TermBasis, known: ColumnScales) -> list[Place]:
    """Return the places of a block's sds; one of several columns has the narrowest of their scales."""
    found = {}
    at = _at(not basis.trivial)  # all or none of a block: also those that are the same there
    wider, sizes = ("sd", block.names.sd), []
    Z = basis.taken_out(block.Z)
    own = _scales_of_parameters(design, block)
    for j in range(Z.shape[1]):
        scales, z = known.at(Z[:, j])
        effects, slopes, _ = own.get(j, (scales.effects, scales.slopes, ""))
        sizes.append((effects if is_constant(z) else slopes) / spread(z))
    for part, parameter, entry in _entries(block, "sd"):
        columns = [part.columns[i] for (i,) in entry.places]
        scale, scales = min(sizes[j] for j in columns), known.at(Z[:, columns[0]])[0]
        if block.members:  # as of a factor with one level in each row
            scales, whole = known.at(block.Z[:, columns].sum(axis=1))
            scale = (scales.effects if np.ptp(whole) <= CONSTANT_TOLERANCE else scales.slopes) / spread(whole)
        if block.smooth:  # with this sd a column moves the response by its spread, on the average
            scale = float(np.mean([sizes[j] ** -2 for j in columns]) ** -0.5)
        prior = _own(entry) or Prior("HalfStudentT", nu=SD_DEGREES, sigma=scale, at=at)
        one = block.columns[columns[0]] if len(columns) == 1 else "Intercept"
        one = "Intercept" if is_constant(Z[:, columns[0]]) and columns[0] in own else one
        per = "" if one in ("Intercept", *known.intercepts) else f" per unit of {one}"
        unit = own[columns[0]][2] if columns[0] in own else scales.unit
        found[parameter.terms] = Place(parameter.label, SD, wider, prior, f"{unit}{per}")
    return [found[terms] for terms in sorted(found)]


def _scales_of_parameters(design: Design, block: Block) -> dict[int, tuple[float, float, str]]:
    """Return for the columns that act on a parameter of the family the scales of its effects, and their unit.

    They are those of the coefficients of its formula, on the link of its bounds.
    """
    found = {}
    for own in design.family.parameters:
        for j in np.flatnonzero(columns_of(block, own.name)):
            code, of_thresholds = link_code(own), design.family.every and own.name not in design.family.formulas
            unit = f"on the {LINKS[design.family.link].scale}" if of_thresholds else LEVELS[code].format(own.name)
            found[int(j)] = (SDS[code], SDS[code], unit)
    return found


def _one_correlations(block: Block) -> Iterator[Place]:
    """Yield the places of the correlations of structures in which each has a prior of its own."""
    for part, parameter, entry in _entries(block, "corr"):
        if not part.covariance.free:
            low, high = entry.bounds
            prior = _own(entry) or Prior("Uniform", lower=low, upper=high)
            yield Place(parameter.label, ONE_CORRELATION, (), prior, "", bounds=entry.bounds)


def _entries(block: Block, kind: str) -> Iterator[tuple[Part, Parameter, Entry]]:
    """Yield the parameters of a block that are sds, or correlations, with what they are in their structure."""
    for part in block.parts:
        for parameter, entry in zip(part_parameters(0, block, part), part.entries, strict=True):
            if entry.kind == kind:
                yield part, parameter, entry


def _own(entry: Entry) -> Prior | None:
    """Return the default prior that a structure gives one of its parameters, if it does."""
    return Prior(entry.prior, **entry.numbers) if entry.prior else None


def _auxiliaries(design: Design) -> Iterator[Place]:
    """Yield the places of the family's parameters besides the mean; those with a formula are at its columns' means."""
    moved = {part.formula for part in design.residual.formulas if part.has_level and part.basis.moved[0]}
    for place in _auxiliaries_at_zero(design):
        prior = place.default
        if place.name in moved:
            prior = Prior(prior.distribution, on=prior.on, at="means", **prior.parameters)
        yield replace(place, default=prior)


def _auxiliaries_at_zero(design: Design) -> Iterator[Place]:
    if design.residual.sigma == "known":
        yield Place("sigma", SD, (), KNOWN, f"the sds of the rows are those of {design.residual.text}")
    for own in free_auxiliaries(design):
        if own.prior:
            continue
        centre = design.y - design.offset if design.family.link == "identity" else design.y
        scale = robust_scale(centre if own.of is None else own.of(design.y)) / design.residual.size_of_known
        kind, unit = SD if own.name == "sigma" else AUXILIARY, own.unit or f"units of {design.response}"
        yield Place(own.name, kind, (), Prior("HalfStudentT", nu=SD_DEGREES, sigma=scale), unit, bounds=own.bounds)
    for own, prior in auxiliary_priors(design):
        yield Place(own.name, AUXILIARY, (), prior, own.unit, bounds=own.bounds)


def _residuals(design: Design, scales: Scales) -> Iterator[Place]:
    """Yield the places of the parameters of the residual structure besides sigma."""
    moved = {
        label
        for part in design.residual.formulas
        for label, at_means in zip(formula_places(part), part.basis.moved, strict=True)
        if at_means
    }
    for own in design.residual.parameters:
        wider, labels = () if own.terms is None else (own.name,), residual_labels(own)
        if own.at_means:
            prior = threshold_prior(design, scales)
            unit = f"{scales.unit} {AT_MEANS}"
            yield from (Place(label, RESIDUAL, wider, prior, unit, bounds=own.support) for label in labels)
            continue
        for label, size in zip(labels, own.sizes or (1.0,) * len(labels), strict=True):
            start = {**own.arguments, "sigma": scales.coefficient} if own.slopes else dict(own.arguments)
            arguments = start if size == 1 else {**start, "sigma": start["sigma"] / size}
            prior = Prior(own.prior, at=_at(label in moved), **arguments)
            yield Place(label, RESIDUAL, wider, prior, own.unit, bounds=own.support)


def threshold_prior(design: Design, scales: Scales) -> Prior:
    """Return the default prior of a threshold: at the predictors' means, as an intercept's, with brms' heavy tails."""
    middle = -specific_sign(design.family) * float(design.offset.mean())
    return Prior("StudentT", nu=SD_DEGREES, mu=middle + 0.0, sigma=scales.intercept)
