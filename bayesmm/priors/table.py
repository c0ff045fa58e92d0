"""The printed table of priors: place, distribution, and what it says on the scale of the response."""

import textwrap
from collections.abc import Sequence

from bayesmm.priors.defaults import AUXILIARY, CORRELATION, ONE_CORRELATION, RESIDUAL, Place
from bayesmm.priors.distributions import lkj_interval
from bayesmm.priors.prior import Prior, function_name

PROBABILITY = 0.95  # of the interval in the sentence, as everywhere in the package
AT_MEANS = (
    "at the means: the prior is of the effect where the predictors that interact with it, or that have random slopes "
    "beside it, are at their means; so it does not depend on where a predictor has its zero"
)
OF_PARAMETERS = (
    "at the means: the prior is of the effect where the predictors that interact with it, or that have random slopes "
    "beside it, are at their means, and of a parameter where those of its formula are; so it does not depend on where "
    "a predictor has its zero"
)
NAME_WIDTH = 200  # characters of a place's name; a level or a column may be called anything
UNIT_WIDTH = 200
LINE_WIDTH = 100  # of the footnote, as of all that is printed
FALLING = ("HalfNormal", "HalfStudentT", "HalfCauchy", "Exponential")  # densities that are highest at 0
ROWS = 40  # printed; the mapping has them all


def prior_table(entries: Sequence[tuple[Place, Prior]]) -> str:
    """Return the table of (place, prior) pairs as text, a line each."""
    rows = [(_short(place.name, NAME_WIDTH), str(prior), sentence(place, prior)) for place, prior in entries[:ROWS]]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(2)]
    lines = [f"{name:<{widths[0]}}  {prior:<{widths[1]}}  {says}" for name, prior, says in rows]
    hidden = len(entries) - ROWS
    lines += [f"... and {hidden:,} more"] if hidden > 0 else []
    return "\n".join([*lines, *_footnote(entries)])


def _footnote(entries: Sequence[tuple[Place, Prior]]) -> list[str]:
    return textwrap.wrap(at_the_means(entries), LINE_WIDTH, subsequent_indent="  ")


def at_the_means(entries: Sequence[tuple[Place, Prior]]) -> str:
    """Return what "at the means" says of priors; nothing where none is there."""
    found = [place for place, prior in entries if prior.at == "means"]
    own = any(place.kind in (AUXILIARY, RESIDUAL) or not place.wider for place in found if place.kind != CORRELATION)
    return "" if not found else OF_PARAMETERS if own else AT_MEANS


def sentence(place: Place, prior: Prior, width: int = UNIT_WIDTH) -> str:
    """Return what a prior says about its parameter, in the parameter's units, their name in at most `width` letters.

    A density that falls from 0 has its 95 % below a bound; others have 2.5 % outside on either side.
    """
    unit = _short(place.unit, width) if place.kind != ONE_CORRELATION else "as a correlation"
    if prior.distribution == "Fixed":
        return f"held at {prior.parameters['value']:.4g} {unit}"
    if prior.distribution == "Custom":
        return f"as the function {function_name(prior.function)} says, {_in(unit)}"
    if place.kind == CORRELATION:
        bound = lkj_interval(place.size, prior.parameters["eta"], PROBABILITY)
        return f"each correlation: 95 % between {-bound:.2f} and {bound:.2f}"
    tail = 0 if prior.distribution in FALLING and prior.on == "sd" else (1 - PROBABILITY) / 2
    lower, upper = prior.quantile(tail), prior.quantile(tail + PROBABILITY)
    if lower is None:
        return f"improper: every value counts the same, {_in(unit)}"
    return f"95 % between {_number(lower)} and {_number(upper)} {unit}"


def _in(unit: str) -> str:
    """Return ``in units of y``, ``on the log scale of y`` or ``as shape (...)``, which need no other word."""
    return f"in {unit}" if unit.startswith("units") else unit


def _number(value: float) -> str:
    """Return a number with three significant digits, plainly where that is short."""
    text = f"{value:.3g}"
    return f"{value:.0f}" if "e" in text and abs(value) < 1e6 and abs(value) >= 1 else text


def _short(text: str, limit: int) -> str:
    clean = "".join(c if c.isprintable() else " " for c in text)
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."
