"""A model's priors: the defaults with a user's choices in their place, the stronger choice winning."""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from bayesmm.design.parameters import (
    INTERCEPT_AT_MEANS,
    INTERCEPT_AT_ZERO,
    INTERCEPT_NAMES,
    BlockNames,
    coefficient_label,
    sd_places,
)
from bayesmm.design.records import Block, Design
from bayesmm.errors import BayesmmWarning, PriorError, listing, suggest
from bayesmm.families.auxiliary import POSITIVE_VALUES, REAL_VALUES
from bayesmm.families.family import Family
from bayesmm.priors.basis import coefficient_places
from bayesmm.priors.defaults import (
    AUXILIARY,
    COEFFICIENT,
    CORRELATION,
    INTERCEPT,
    KNOWN,
    ONE_CORRELATION,
    RESIDUAL,
    SD,
    Place,
    places,
)
from bayesmm.priors.distributions import DISTRIBUTIONS
from bayesmm.priors.prior import Prior, as_prior
from bayesmm.priors.table import prior_table

CLASSES = {
    "beta": "coefficients",
    "sd": "standard deviations of random effects",
    "corr": "matrices of correlations (LKJ)",
}
_OWNERS = {AUXILIARY: "family", RESIDUAL: "residual"}
ROUNDING = 1e-6  # relative, of the scales of a default that was computed on another machine
NAMES_LISTED = 30  # in a message; a factor with many levels has many coefficients


@dataclass(frozen=True, eq=False, repr=False)
class Priors(Mapping):
    """The prior of every parameter of a model, by place, in the model's order.

    ``dict(priors)`` is an ordinary dict that can be edited and given to a new model; printing shows what each prior
    says on the scale of the response.

    Attributes
    ----------
    entries : tuple of (Place, Prior)
    """

    entries: tuple[tuple[Place, Prior], ...]

    def __getitem__(self, name: str) -> Prior:
        for place, prior in self.entries:
            if place.name == name:
                return prior
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (place.name for place, _ in self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __str__(self) -> str:
        return prior_table(self.entries)

    __repr__ = __str__


@dataclass(frozen=True)
class CoefficientPrior:
    """The prior of the coefficients, as far as it is normal.

    Attributes
    ----------
    normal : (p,) bool
        Whether the prior is normal: Normal, Flat (an infinite sd) or Fixed (an sd of 0).
    mean, sd : (p,) float64
        Units of the coefficients, of those of `prior_design`; NaN where the prior is not normal.
    """

    normal: np.ndarray
    mean: np.ndarray
    sd: np.ndarray


def default_priors(design: Design, family: Family) -> Priors:
    """Return the priors that a model has when nobody chooses: see `bayesmm.priors.defaults`."""
    return resolve_priors(design, family, None)


def resolve_priors(design: Design, family: Family, user: Mapping[str, object] | None) -> Priors:
    """Return the prior of every place, a user's choices in the place of defaults.

    Parameters
    ----------
    design : Design
    family : Family
        Of the response; its auxiliaries have places of their names.
    user : mapping of str to Prior, number or function, optional
        By class ("beta": every coefficient but the intercept; "sd": every sd of random effects; "corr") or name
        ("sigma"), stronger by factor ("sd_Subject"), strongest by place ("beta[Days]", "sd_Subject[Days]",
        "corr_Subject", "Intercept" at the predictors' 0 or "Intercept_centred" at their means).

    Returns
    -------
    Priors

    Raises
    ------
    PriorError
        For a name that is not in the model, a distribution that does not suit the parameter, or both intercepts.

    Warns
    -----
    BayesmmWarning
        For a choice without effect, because stronger ones cover all its places.
    """
    if user is not None and not isinstance(user, Mapping):
        raise PriorError(f"priors should be a mapping of names to priors, not {type(user).__name__}")
    chosen = {key: as_prior(value, key) for key, value in (user or {}).items()}
    if design.residual.sigma == "known" and chosen.get("sigma", KNOWN) != KNOWN:
        raise PriorError(
            f"there is a prior of 'sigma', and {design.residual.text} gives the sds of the rows, so that sigma is 1; "
            "leave the prior out"
        )
    at_means = places(design)
    _check_keys(chosen, _with_intercept(at_means, chosen))
    as_reported = _as_reported(design, at_means, chosen)
    chosen = _without_old_defaults(design, at_means, chosen, as_reported)
    known = _with_intercept(places(design, as_reported) if as_reported else at_means, chosen)
    entries = tuple((place, _strongest(place, chosen)) for place in known)
    _warn_shadowed(chosen, known)
    return Priors(entries)


def _as_reported(design: Design, known: tuple[Place, ...], chosen: Mapping[str, Prior]) -> frozenset[str]:
    """Return the blocks of whose sds or correlations a user has a prior as they are reported: all their priors are."""
    return frozenset(
        block.name
        for block in design.blocks
        if any((key := _key(place, chosen)) and chosen[key].at == "zero" for place in _of_block(block.name, known))
    )


def _of_block(name: str, known: tuple[Place, ...]) -> list[Place]:
    names = BlockNames(name)
    return [p for p in known if p.name == names.corr or names.sd in p.wider]


def _without_old_defaults(
    design: Design, known: tuple[Place, ...], chosen: Mapping[str, Prior], as_reported: frozenset[str]
) -> dict[str, Prior]:
    """Return the choices less those that are the defaults of a block at the means, where its priors are as reported.

    They come with ``{**model.priors, "sd_g[x]": ...}``.

    Raises
    ------
    PriorError
        A user's own prior at the means stands beside one as reported.
    """
    kept = dict(chosen)
    for name in as_reported:
        for place in _of_block(name, known):
            prior = kept.get(place.name)
            if prior is not None and prior.at == "means":
                if prior != place.default:
                    raise PriorError(
                        f"the prior of {place.name!r} is at the means and others of {name!r} are not; a correlated "
                        "group term has all its priors at='means' or none"
                    )
                del kept[place.name]
    return kept


def coefficient_prior(priors: Mapping[str, Prior], design: Design) -> CoefficientPrior:
    """Return the coefficients' priors as means and sds, each (p,), where they are normal, flat or fixed."""
    moments = [_moments(priors[name]) for name in coefficient_places(priors, design)]
    mean, sd = np.array(moments, dtype=float).reshape(-1, 2).T
    return CoefficientPrior(~np.isnan(mean), mean, sd)


def sds_without_prior(priors: Priors, block: Block) -> str:
    """Return which sds of a block nobody gave a prior, or a flat one: "sd_g" of all, "" of none."""
    entries = {place.name: (prior, place.default) for place, prior in priors.entries}
    found = [name for name, _ in sd_places(block)]
    left = [name for name in found if name not in entries or _says_nothing(*entries[name])]
    return block.names.sd if len(left) == len(found) else listing(left)


def _says_nothing(prior: Prior, default: Prior) -> bool:
    """Return whether a prior is flat or the default, to rounding: a fit that was read has its defaults made anew."""
    kind, other = ((p.distribution, p.on, p.at, tuple(p.parameters)) for p in (prior, default))
    numbers = [*prior.parameters.values()], [*default.parameters.values()]
    same = kind == other and np.allclose(*numbers, rtol=ROUNDING, atol=0.0)
    return same or prior.distribution == "HalfFlat"


def _moments(prior: Prior) -> tuple[float, float]:
    if prior.distribution == "Fixed":
        return prior.parameters["value"], 0.0
    if prior.distribution == "Flat":
        return 0.0, np.inf
    if prior.distribution == "Normal":
        return prior.parameters["mu"], prior.parameters["sigma"]
    return np.nan, np.nan


def _with_intercept(known: tuple[Place, ...], chosen: Mapping[str, Prior]) -> tuple[Place, ...]:
    """Return the places with the intercept's prior moved to the predictors' 0, if that is where the user has one."""
    if INTERCEPT_AT_ZERO not in chosen or all(place.kind != INTERCEPT for place in known):
        return known
    if INTERCEPT_AT_MEANS in chosen:
        raise PriorError(
            f"priors has both {INTERCEPT_AT_MEANS!r} and {INTERCEPT_AT_ZERO!r}, but there is one intercept: leave one "
            "of them out"
        )
    unit = {place.name: place.unit.replace("at the predictors' means", "with every predictor at 0") for place in known}
    return tuple(replace(p, name=INTERCEPT_AT_ZERO, unit=unit[p.name]) if p.kind == INTERCEPT else p for p in known)


def _check_keys(chosen: Mapping[str, Prior], known: tuple[Place, ...]) -> None:
    kinds = {key: place.kind for place in known for key in (*place.wider, place.name)}
    bounded = (ONE_CORRELATION, AUXILIARY, RESIDUAL)
    movable = {key for p in known if p.default.at == "means" for key in (*p.wider, p.name)}
    bounds = {key: p.bounds for p in known if p.kind in bounded for key in (*p.wider, p.name)}
    for key, prior in chosen.items():
        if key not in kinds:
            raise _unknown(key, kinds)
        if kinds[key] == ONE_CORRELATION:
            _check_one_correlation(key, *bounds[key], prior)
            continue
        above_zero = kinds[key] == SD or bounds.get(key) == POSITIVE_VALUES
        support = bounds.get(key, REAL_VALUES)
        _check_support(key, kinds[key], prior, above_zero and kinds[key] != RESIDUAL, support)
        _check_at(key, kinds[key], prior, key in movable)
        if kinds[key] == RESIDUAL or (kinds[key] == AUXILIARY and not above_zero):
            _check_within(key, bounds[key], prior)


def _within_text(kind: str, support: tuple[float, float]) -> str:
    """Return what to use for a parameter between two numbers, after what was found; "" for others."""
    if kind not in (RESIDUAL, AUXILIARY) or not np.isfinite(support).all():
        return ""
    return f"; use a number, or Prior('Uniform', lower=..., upper=...) from {support[0]:g} to {support[1]:g}"


def _unknown(key: str, kinds: Mapping[str, str]) -> PriorError:
    has_intercept = INTERCEPT in kinds.values()
    names = [*dict.fromkeys([*(INTERCEPT_NAMES if has_intercept else ()), *kinds])]
    if key in CLASSES:
        near = next((f"; did you mean {name!r}?" for name in names if name.startswith(f"{key}_")), "")
        found = f"the prior of {key!r} is for {CLASSES[key]}, of which the model has none{near}"
    else:
        # the reported intercept is beta[Intercept] in the posterior, but its prior has a name of its own
        reported = has_intercept and key == coefficient_label(INTERCEPT_AT_ZERO)
        own = INTERCEPT_AT_ZERO if reported else coefficient_label(key)
        near = f"; did you mean {own!r}?" if reported or own in names else suggest(str(key), names)
        found = f"the model has no parameter {key!r} to give a prior{near}"
    return PriorError(f"{found} (names: {listing(names, limit=NAMES_LISTED)})")


def _check_support(key: str, kind: str, prior: Prior, above_zero: bool, support: tuple[float, float]) -> None:
    """Refuse a distribution that cannot be the parameter's."""
    if kind == CORRELATION:
        if prior.distribution != "LKJ":
            raise PriorError(
                f"the prior of {key!r} should be Prior('LKJ', eta=...), not {prior}; "
                "to leave the correlations out, write || in the formula"
            )
        return
    if prior.distribution == "LKJ":
        of = "matrices of correlations of random effects" if kind == RESIDUAL else "correlations"
        raise PriorError(f"the prior of {key!r} is {prior}, which is for {of}{_within_text(kind, support)}")
    if above_zero:
        _check_positive(key, kind, prior)
    if kind != SD and prior.on == "variance":
        other = "a coefficient" if kind in (INTERCEPT, COEFFICIENT) else f"a parameter of the {_OWNERS[kind]}"
        raise PriorError(f"the prior of {key!r} is on the variance, but it is {other}, not a standard deviation")


def _check_at(key: str, kind: str, prior: Prior, movable: bool) -> None:
    """Refuse a prior at the means of a parameter that has none: it is the same wherever the predictors are."""
    if prior.at == "means" and not movable and (kind in (INTERCEPT, AUXILIARY, RESIDUAL) or key == "sigma"):
        instead = f"; its place is {INTERCEPT_AT_MEANS!r}" if kind == INTERCEPT else ""
        raise PriorError(
            f"the prior of {key!r} has at='means', which is for coefficients, for the sds and correlations of random "
            f"effects, and for parameters that have a formula{instead}"
        )


def _check_one_correlation(key: str, low: float, high: float, prior: Prior) -> None:
    """Refuse what is not within the bounds of a structure's correlation."""
    known = prior.support in ("point", "interval") and prior.on == "sd" and prior.at == "zero"
    numbers = prior.ends if prior.support == "interval" else tuple(prior.parameters.values())
    if not (known and all(low <= value <= high for value in numbers)):
        raise PriorError(
            f"the prior of {key!r} is {prior}, but it is a correlation between {low:.4g} and {high:.4g}; use a number, "
            f"or Prior('Uniform', lower=..., upper=...) within these"
        )
    if prior.support == "point" and not low < numbers[0] < high:
        raise PriorError(f"the prior of {key!r} holds it at {numbers[0]:g}, where the covariance matrix is singular")


def _check_positive(key: str, kind: str, prior: Prior) -> None:
    noun = "a standard deviation" if kind == SD else f"{key}"
    what = f"the prior of {key!r} is {prior}, but {noun} is above 0"
    if prior.support == "point" and prior.parameters["value"] <= 0:
        raise PriorError(what)
    if prior.support == "interval" and prior.ends[0] < 0:
        raise PriorError(f"{what}; give it lower=0")
    if prior.support == "real":
        half = DISTRIBUTIONS[prior.distribution].half
        raise PriorError(f"{what}; use {_half(half, prior)}")


def _check_within(key: str, support: tuple[float, float], prior: Prior) -> None:
    """Refuse a prior of values that a parameter of the family or of the residual cannot have."""
    ends = {"real": (-np.inf, np.inf), "positive": (0.0, np.inf)}
    if prior.support in ends:
        lower, upper = ends[prior.support]
    elif prior.support == "point":
        lower = upper = prior.parameters["value"]
    elif prior.support == "interval":
        lower, upper = prior.ends
    else:
        return  # a function, which is asked when it is called
    if lower < support[0] or upper > support[1]:
        use = _within_text(RESIDUAL, support)
        raise PriorError(
            f"the prior of {key!r} is {prior}, but its values are from {support[0]:g} to {support[1]:g}{use}"
        )


def _half(half: str, prior: Prior) -> str:
    """Return how to write the half of a prior on the real line."""
    if half == "Exponential":
        return f"Prior('Exponential', lam={1 / prior.parameters['b']:g})"
    known = DISTRIBUTIONS[half].parameters
    inside = "".join(f", {name}={value:g}" for name, value in prior.values if name in known)
    return f"Prior({half!r}{inside})"


def _key(place: Place, chosen: Mapping[str, Prior]) -> str | None:
    """Return the strongest key that covers a place; None where nobody has chosen."""
    return next((key for key in (place.name, *reversed(place.wider)) if key in chosen), None)


def _strongest(place: Place, chosen: Mapping[str, Prior]) -> Prior:
    key = _key(place, chosen)
    return place.default if key is None else chosen[key]


def _warn_shadowed(chosen: Mapping[str, Prior], known: tuple[Place, ...]) -> None:
    used = {_key(place, chosen) for place in known}
    for key in chosen:
        if key not in used:
            over = [
                k for p in known if key in p.wider for k in (p.name, *reversed(p.wider)) if k in chosen and k != key
            ]
            names = listing(dict.fromkeys(over), limit=4)
            warnings.warn(
                f"the prior of {key!r} has no effect: stronger ones are given for all its places ({names})",
                BayesmmWarning,
                stacklevel=4,  # the caller of Model(...): warn, resolve_priors, Model
            )
