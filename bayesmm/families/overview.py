"""The table of families in docs/families.md, made from their records: ``python -m bayesmm.families.overview``."""

import math

from bayesmm.families.families import FAMILIES, MODULES
from bayesmm.families.family import Auxiliary, Family
from bayesmm.families.with_first import With

TITLE = """# Families

Made from the records of the families by `python -m bayesmm.families.overview`, and held to them by a test.

`family=` takes a name, `link=` one of its links (the first if not given). *Response* is what it may be. *Parameters*
are those besides the one that the formula is of, mu, with the values they may have and their default priors; give
others by `priors={"name": ...}`. *Mean* is that of the response where it is not mu: predictions, marginal means and
slopes with `kind="mean"` are of it. *Effects*: in posteriors the random effects of one grouping factor can be
integrated out, or they are always sampled with the other parameters ("written out"), because an observation far out may
give a density with two modes. *Elsewhere* lists names that other packages have for it; the error for an unknown family
knows them.
"""
MEAN_CATEGORY = "the expected number of the category"
HEADS = ("family", "what it is", "response", "links", "parameters", "mean", "effects", "elsewhere")


def page() -> str:
    """Return the page."""
    lines = [HEADS, ("---",) * len(HEADS), *map(_row, FAMILIES.values(), MODULES)]
    having = ", ".join(f"`{family.name}`" for family in FAMILIES.values() if family.tails is not None)
    known = f"\nResponses may be [censored and truncated](censoring.md) with {having}.\n"
    return TITLE + known + "\n" + "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _row(family: Family, module: object) -> tuple[str, ...]:
    parameters = "; ".join(map(_parameter, family.parameters)) or "none"
    if family.ordered:
        kind = "ascending" if family.ascending else "real"
        parameters = f"`threshold`, K - 1 {kind} numbers, StudentT(nu=3, sigma=2.5) at the predictors' means"
        parameters += "".join(f"; `{name}`, by a formula alone" for name in family.formulas)
    if family.nominal:
        parameters = "`mu`, the log odds of each category but the first, and their coefficients `beta_mu`"
    effects = "integrated out or written out" if family.one_mode and not family.nominal else "written out"
    if family.ordered:
        mean = "none" if family.nominal else MEAN_CATEGORY
    else:
        mean = _mean(family)
    what, elsewhere = module.__doc__.splitlines()[0].removesuffix("."), ", ".join(family.aliases) or "the same"
    return f"`{family.name}`", what, _response(family), ", ".join(family.links), parameters, mean, effects, elsewhere


def _mean(family: Family) -> str:
    """Return the mean of a response: mu, what its function says of itself, or that times the share above 0."""
    if family.mean is None:
        return "mu"
    made = isinstance(family.mean, With)  # of another one and zeros, with the probability p
    said = (family.mean.function if made else family.mean).__doc__.removeprefix("Return ").removesuffix(".")
    if not made:
        return said
    said = said.replace("(1 - p)", f"(1 - {family.auxiliaries[-1]})") if family.auxiliaries else said
    return said.replace("times the other mean", _mean(family.mean.first)) if said.endswith("mean") else said


def _parameter(own: Auxiliary) -> str:
    low, high = own.bounds
    between = "any number" if math.isinf(low) else "above 0" if math.isinf(high) else f"{low:g} to {high:g}"
    numbers = own.parameters if isinstance(own.parameters, dict) else None
    if not own.prior:
        prior = "HalfStudentT by the data's scale"
    elif numbers is None:
        prior = f"{own.prior} by the data's scale"
    else:
        prior = f"{own.prior}({', '.join(f'{name}={value:g}' for name, value in numbers.items())})"
    return f"`{own.name}`, {between}, {prior}" + (f" {own.unit}" if own.unit.startswith("(") else "")


def _response(family: Family) -> str:
    support = family.support
    if support.ordered:
        return f"{'' if family.nominal else 'ordered '}categories, or whole numbers from 1 on"
    if support.successes:
        return "successes out of trials" if support.trials else "0 and 1"
    if support.counts:
        return f"whole numbers of {0 if support.zero else 1} or more"
    if support.nonnegative:
        return "0 or more"
    if support.angle:
        return "angles from -pi to pi"
    if support.proportion and support.atoms:
        return "0 to 1" if len(support.atoms) == 2 else "0 to below 1"
    return "above 0" if support.positive else "between 0 and 1" if support.proportion else "any number"


if __name__ == "__main__":
    print(page(), end="")
