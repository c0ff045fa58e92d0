"""The places of a model that take a prior, each with its default.

Defaults follow the scale of the data, so that they mean the same in any unit: a coefficient moves the response by
about 2.5 of its standard deviations when the predictor moves by one of its own (Gelman, Hill & Vehtari 2020,
Regression and Other Stories, section 9.5); sds are half-Student-t with 3 degrees of freedom (Gelman 2006, Bayesian
Analysis 1(3), section 4); correlations are LKJ with shape 2.
"""

from dataclasses import dataclass

import numpy as np

from bayesmm.design import Block, Design
from bayesmm.priors.prior import Prior

COEFFICIENT_SCALE = 2.5  # prior sd of a standardised coefficient: rstanarm's default and that of the book above
SD_DEGREES = 3.0  # degrees of freedom of the half-t: heavy tails, finite mean and variance; as in brms
LKJ_SHAPE = 2.0  # weakly towards no correlation: a density of 0 at correlations of -1 and 1
MAD_TO_SD = 1.4826  # 1 / the 0.75 quantile of N(0, 1): makes the MAD of a normal sample its sd, as R's mad() does
CONSTANT_TOLERANCE = 1e-8  # relative to the column: a spread or a residual smaller than this is rounding

INTERCEPT, COEFFICIENT, SD, CORRELATION = "intercept", "coefficient", "sd", "correlation"
INTERCEPT_NAMES = ("Intercept_centred", "Intercept")


@dataclass(frozen=True)
class Place:
    """A parameter, or a set of correlations, that takes one prior.

    Attributes
    ----------
    name : str
        Such as "Intercept_centred", "beta[Days]", "sd_Subject[Days]", "corr_Subject", "sigma".
    kind : str
        INTERCEPT, COEFFICIENT, SD or CORRELATION.
    wider : tuple of str
        The keys that cover this place and others, the weakest first: ("sd", "sd_Subject").
    default : Prior
    unit : str
        What its values are measured in; for CORRELATION empty.
    size : int
        Rows of the largest correlation matrix; 1 elsewhere.
    """

    name: str
    kind: str
    wider: tuple[str, ...]
    default: Prior
    unit: str
    size: int = 1


def places(design: Design) -> tuple[Place, ...]:
    """Return every place of the model in its order: coefficients, each block's sds and correlations, sigma."""
    centre = design.y - design.offset  # the response as the linear predictor has to meet it
    scale = robust_scale(centre)
    found = [*_fixed(design, centre)]
    for block in design.blocks:
        found += _sds(design, block, scale)
        if block.correlated:
            largest = max(len(part) for part in block.partition)
            found.append(Place(f"corr_{block.name}", CORRELATION, ("corr",), Prior("LKJ", eta=LKJ_SHAPE), "", largest))
    residual = Prior("HalfStudentT", nu=SD_DEGREES, sigma=scale)
    return (*found, Place("sigma", SD, (), residual, f"units of {design.response}"))


def robust_scale(values: np.ndarray) -> float:
    """Return 1.4826 times the median absolute deviation of `values`, (n,), or their sd where that is 0."""
    mad = MAD_TO_SD * float(np.median(np.abs(values - np.median(values))))
    return mad if mad > 0 else float(np.std(values, ddof=1))


def spread(column: np.ndarray) -> float:
    """Return the sd of a column, (n,), or its size if it is constant; 1, an indicator's size, if it is 0 throughout.

    Columns of zeros are the empty cells of an interaction, about which the data say nothing.
    """
    sd, size = float(np.std(column, ddof=1)), float(np.abs(column).max())
    return (sd if sd > CONSTANT_TOLERANCE * size else size) or 1.0


def root_mean_square(values: np.ndarray) -> float:
    """Return the root of the mean of the squares of `values`, (n,); 1 if they are all 0."""
    return float(np.sqrt(np.mean(np.square(values)))) or 1.0


def _fixed(design: Design, centre: np.ndarray) -> list[Place]:
    """Return the places of the intercept and of the other coefficients."""
    constant = _constant(design)
    sd = COEFFICIENT_SCALE * float(np.std(centre, ddof=1))
    found = []
    for j, name in enumerate(design.coefficients):
        x, unit = design.X[:, j], f"units of {design.response} per unit of {name}"
        if design.has_intercept and j == 0:
            at = f"units of {design.response} at the predictors' means"
            found.append(Place(INTERCEPT_NAMES[0], INTERCEPT, (), Prior("Normal", mu=centre.mean(), sigma=sd), at))
            continue
        if constant is None:  # through the origin: sizes count, not deviations from a mean
            prior = Prior("Normal", mu=0, sigma=COEFFICIENT_SCALE * root_mean_square(centre) / root_mean_square(x))
        else:
            share = constant[j]
            indicator = share != 0 and np.isin(x, (0, 1 / share)).all()
            prior = Prior("Normal", mu=share * centre.mean(), sigma=sd * abs(share) if indicator else sd / spread(x))
        found.append(Place(f"beta[{name}]", COEFFICIENT, ("beta",), prior, unit))
    return found


def _constant(design: Design) -> np.ndarray | None:
    """Return a, (p,), with X a = 1 without an intercept; None if there is no such a, zeros if there is an intercept.

    With y ~ 0 + f the coefficients are the groups' means, and their prior is about the mean of y as an intercept's
    would be.
    """
    a = np.zeros(design.p)
    if design.has_intercept or design.p == 0:
        return a
    free = [j for j in range(design.p) if j not in design.aliased]
    a[free] = np.linalg.lstsq(design.X[:, free], np.ones(design.n))[0]
    a[np.abs(a) < CONSTANT_TOLERANCE * np.abs(a).max(initial=0.0)] = 0.0
    near = np.abs(a - np.rint(a)) < CONSTANT_TOLERANCE  # rounding: the share of an indicator is 1
    a[near] = np.rint(a[near])
    return a if np.abs(design.X @ a - 1).max() < CONSTANT_TOLERANCE else None


def _sds(design: Design, block: Block, scale: float) -> list[Place]:
    found = []
    for column, z in zip(block.columns, block.Z.T, strict=True):
        prior = Prior("HalfStudentT", nu=SD_DEGREES, sigma=scale / spread(z))
        per = "" if column == "Intercept" else f" per unit of {column}"
        wider = ("sd", f"sd_{block.name}")
        found.append(Place(f"sd_{block.name}[{column}]", SD, wider, prior, f"units of {design.response}{per}"))
    return found
