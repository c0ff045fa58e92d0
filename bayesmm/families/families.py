"""The families of response distributions: one file each, and here the register that finds them by name."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from bayesmm.errors import DataError, listing, suggest
from bayesmm.families import bernoulli, beta, binomial, gamma, gaussian, negbinomial, poisson, student
from bayesmm.families.family import Family

_MODULES = (gaussian, student, poisson, negbinomial, bernoulli, binomial, gamma, beta)

FAMILIES: Mapping[str, Family] = MappingProxyType({module.family.name: module.family for module in _MODULES})


def get_family(name: str, link: str | None = None) -> Family:
    """Return a family by name, with its link.

    Parameters
    ----------
    name : str
    link : str, optional
        One of the family's links; the first of them if not given.

    Raises
    ------
    DataError
        No family has this name, or the family has no such link.
    """
    if not isinstance(name, str) or name not in FAMILIES:
        hint = _family_hint(name) if isinstance(name, str) else ""
        raise DataError(f"family {name!r} is not known{hint} (families: {listing(FAMILIES)})")
    family = FAMILIES[name]
    if link is None:
        return family
    if link not in family.links:
        hint = suggest(link, family.links) if isinstance(link, str) else ""
        has = f"has the link{'s' if len(family.links) > 1 else ''} {listing(family.links)}"
        raise DataError(f"link {link!r} is not one of the {name} family, which {has}{hint}")
    return replace(family, link=link)


def _family_hint(name: str) -> str:
    plain = name.strip().casefold()
    other = next((family.name for family in FAMILIES.values() if plain in family.aliases), None)
    return f"; did you mean '{other}'?" if other else suggest(name, FAMILIES)
