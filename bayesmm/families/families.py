"""The families of response distributions: one file each, and here the register that finds them by name."""

import math
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from bayesmm.errors import DataError, listing, suggest
from bayesmm.families import (
    acat,
    asymmetric_laplace,
    bernoulli,
    beta,
    betabinomial,
    binomial,
    categorical,
    compois,
    cumulative,
    exgaussian,
    exponential,
    gamma,
    gaussian,
    genpois,
    hurdle_gamma,
    hurdle_lognormal,
    hurdle_negbinomial,
    hurdle_poisson,
    inverse_gaussian,
    loglogistic,
    lognormal,
    nbinom1,
    negbinomial,
    ordered_beta,
    poisson,
    shifted_lognormal,
    skew_normal,
    sratio,
    student,
    truncated_negbinomial,
    truncated_poisson,
    tweedie,
    von_mises,
    weibull,
    zero_inflated_beta,
    zero_inflated_binomial,
    zero_inflated_negbinomial,
    zero_inflated_poisson,
    zero_one_inflated_beta,
)  # fmt: skip
from bayesmm.families.family import EQUIDISTANT, SYMMETRIC, Family
from bayesmm.families.links import LINKS, LOGIT

MODULES = (
    gaussian, student, poisson, negbinomial, bernoulli, binomial, gamma, beta,
    skew_normal, exgaussian, betabinomial, nbinom1, genpois, lognormal, inverse_gaussian, exponential, weibull,
    zero_inflated_poisson, zero_inflated_negbinomial, zero_inflated_binomial, hurdle_poisson, hurdle_negbinomial,
    truncated_poisson, truncated_negbinomial, tweedie, cumulative,
    hurdle_gamma, hurdle_lognormal, zero_inflated_beta, loglogistic, shifted_lognormal, compois, von_mises,
    ordered_beta, zero_one_inflated_beta, asymmetric_laplace, sratio, acat, categorical,
)  # fmt: skip

SPACINGS = ("flexible", SYMMETRIC, EQUIDISTANT)  # of thresholds
ABOUT_ZERO = "symmetric2"  # what ordinal calls thresholds that mirror each other about 0
FAMILIES: Mapping[str, Family] = MappingProxyType(
    {module.family.name: replace(module.family, number=number) for number, module in enumerate(MODULES)}
)
# Numbers of families, as compiled code knows them with the link of their `row` kernel: see `Family`
CANONICAL = tuple((f.number, LINKS[f.canonical].code) for f in FAMILIES.values() if f.canonical)
_NUMBERED = tuple(family for family in FAMILIES.values() if family.inlined)
NUMBERED_STRIPS = tuple(f.number for f in _NUMBERED if f.whole_strip or f.kernels.row_link == LOGIT)


def linear_family() -> Family:
    """Return the family of linear models, whose sums are all that a fit needs."""
    return get_family("gaussian")


def get_family(name: str | Family, link: str | None = None) -> Family:
    """Return a family by name, or the user's own, with its link.

    Parameters
    ----------
    name : str or Family
    link : str, optional
        One of the family's links; the first of them if not given.

    Raises
    ------
    DataError
        No family has this name, a family of the user's own has the name of another, or the family has no such link.
    """
    if isinstance(name, str) and name.endswith(")"):
        return with_option(name, link)
    if isinstance(name, Family):
        if name.own and (name.name in FAMILIES or _alias_of(name.name)):
            raise DataError(f"family {name.name!r} is one of the package; give your own another name")
        family, name = name, name.name
    elif isinstance(name, str) and name in FAMILIES:
        family = FAMILIES[name]
    else:
        hint = _family_hint(name) if isinstance(name, str) else ""
        raise DataError(
            f"family {name!r} is not known{hint} (families: {listing(FAMILIES, len(FAMILIES))}, or a bmm.Family)"
        )
    if link is None:
        return family
    if link not in family.links:
        hint = suggest(link, family.links) if isinstance(link, str) else ""
        has = f"has the link{'s' if len(family.links) > 1 else ''} {listing(family.links)}"
        raise DataError(f"link {link!r} is not one of the {name} family, which {has}{hint}")
    return replace(family, link=link)


def with_option(text: str, link: str | None = None) -> Family:
    """Return a family of ordered categories with a kind of thresholds, ``cumulative(equidistant)``.

    Raises
    ------
    DataError
        There is no such family, or it has no such kind.
    """
    name, _, option = text[:-1].partition("(")
    family, option = get_family(name.strip(), link), option.strip(" '\"").removeprefix("threshold=").strip(" '\"")
    if not family.ordered:
        raise DataError(f"family {text!r} is not known: {name} has no thresholds, so write family={name.strip()!r}")
    if option == ABOUT_ZERO:
        raise DataError(
            f"thresholds that mirror each other about 0, as those of {text!r}, are not there; "
            f"family='{family.name}({SYMMETRIC})' has the middle as one parameter more"
        )
    if family.nominal:
        raise DataError(
            f"family {text!r} is not known: the categories of {family.name} have no order, so that there are no "
            f"thresholds to be {option or 'equidistant'}; write family={family.name!r}"
        )
    if option not in SPACINGS:
        near = suggest(option, SPACINGS)
        raise DataError(
            f"the thresholds of {text!r} are not known (they are {listing(SPACINGS)}, as in "
            f"family='{family.name}({SPACINGS[-1]})'){near}"
        )
    if option == SPACINGS[0]:
        return family
    scaled = None if family.scaled is None else replace(family.scaled, name=f"{family.name}({option})", spacing=option)
    return replace(family, name=f"{family.name}({option})", spacing=option, scaled=scaled)


def limits_of(small: Family, large: Family) -> tuple[str, ...] | None:
    """Return what holds for the parameters of a family in another one, which is then a special case of it.

    Returns
    -------
    tuple of str or None
        ``("1 / shape is 0",)`` for a Poisson in a negative binomial; empty for one family; None where the smaller is no
        special case of the larger, as with another link.
    """
    if small.link != large.link:
        return None
    if small.name == large.name or (base_name(small) == base_name(large) and _is_narrower(small, large)):
        return ()
    ends = {own.name: own.limit_at for own in large.parameters if own.limit == small.name}
    limits = tuple(f"1 / {name} is 0" if end == math.inf else f"{name} is {end:g}" for name, end in ends.items())
    others = tuple(name for name in large.auxiliaries if name not in ends)
    return limits if limits and others == small.auxiliaries else None


def _is_narrower(small: Family, large: Family) -> bool:
    """Return whether all thresholds of the one kind are thresholds of the other."""
    return bool(small.spacing) and (not large.spacing or (small.spacing, large.spacing) == (EQUIDISTANT, SYMMETRIC))


def base_name(family: Family) -> str:
    """Return the name without the kind of thresholds."""
    return family.name.partition("(")[0]


def _alias_of(name: str) -> str:
    """Return the family that another package calls by this name, or an empty text."""
    plain = name.strip().casefold()
    return next((family.name for family in FAMILIES.values() if plain in family.aliases), "")


def _family_hint(name: str) -> str:
    other = _alias_of(name)
    return f"; did you mean '{other}'?" if other else suggest(name, FAMILIES)
