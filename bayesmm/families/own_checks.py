"""What a family of the user's own must be."""

import inspect
from collections.abc import Callable

from bayesmm.errors import listing
from bayesmm.families.auxiliary import MOST_PARAMETERS, SIGMA, Auxiliary
from bayesmm.families.links import LINKS
from bayesmm.families.support import SUPPORTS, Support

# The functions of a family that a user may give, and what they are called with.
FUNCTIONS = {
    "log_density": ("y", "mu", "trials", "aux"),
    "variance": ("mu", "aux"),
    "draw": ("rng", "mu", "trials", "aux"),
    "start": ("y", "mu"),
    "mean": ("mu", "aux"),
    "share_variance": ("mu", "trials", "aux"),
    "cdf": ("y", "mu", "trials", "aux"),
}


def check_family(family) -> None:
    """Raise a ValueError for a `Family` of the user's own that cannot be used."""
    name, links = family.name, family.links
    if not (isinstance(name, str) and name.isidentifier()):
        raise ValueError(f"the name of a family should be a word such as 'exponential', not {name!r}")

    def expect(fine: bool, what: str, expected: str, found: object) -> None:
        if not fine:
            raise ValueError(f"{what} of the family {name!r} should be {expected}, not {found!r}")

    expect(isinstance(family.support, Support), "support", f"one of {listing(SUPPORTS)}", family.support)
    known = isinstance(links, tuple) and links and all(link in LINKS for link in links)
    expect(known, "links", f"a tuple of {listing(LINKS)}", links)
    expect(not family.link or family.link in links, "link", f"one of its links ({listing(links)})", family.link)
    for argument, takes in FUNCTIONS.items():
        given, needed = getattr(family, argument), argument in ("log_density", "variance", "draw")
        expect(callable(given) or (given is None and not needed), argument, "a function", given)
        if given is not None and (other := _other_arguments(given, takes)):
            raise ValueError(f"{argument} of the family {name!r} should take ({', '.join(takes)}), not {other}")
    expect(family.probabilities is None, "probabilities", "None: ordered categories are the package's", "given")
    own = family.parameters
    expect(isinstance(own, tuple) and len(own) <= MOST_PARAMETERS, "parameters", "a tuple of at most three", own)
    known = {getattr(parameter, "name", None) for parameter in own}
    expect(known.issuperset(family.mean_of or ()), "mean_of", "names of its parameters", family.mean_of)
    for parameter in own:
        fine = isinstance(parameter, Auxiliary) and parameter.name.isidentifier()
        expect(fine, "a parameter", "a bmm.Auxiliary with a word as its name", parameter)
        prior = parameter.prior or parameter.name == SIGMA.name
        expect(prior, f"the default prior of {parameter.name}", "a distribution such as 'Gamma'", parameter.prior)


def _other_arguments(function: Callable, takes: tuple[str, ...]) -> str:
    """Return the arguments of a function that cannot be called with these, in their order; nothing if it can be."""
    try:
        found = inspect.signature(function)
    except ValueError:  # of a function that is no Python
        return ""
    try:
        found.bind(*takes)
    except TypeError:
        return str(found)
    names = [name for name in found.parameters if name in takes]
    return str(found) if names != [name for name in takes if name in names] else ""
