"""What a model gives cause to say before it is fitted, once design and priors are known: separation, overflow."""

import warnings
from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from bayesmm.design.coding import INTERCEPT
from bayesmm.design.groups import FEW_LEVELS, few_levels, residual_confounded, too_few
from bayesmm.design.parameters import sd_places
from bayesmm.design.records import Design
from bayesmm.design.summed import is_summed
from bayesmm.errors import BayesmmWarning, DataError, listing
from bayesmm.estimation.separation import separated
from bayesmm.formula.formula import text_of
from bayesmm.priors import Prior, Priors, coefficient_prior, prior_design, sds_without_prior
from bayesmm.runtime.messages import Message, warning

# The linear programme takes a few seconds at this size (rows times columns); a larger model is not looked at.
MOST_NUMBERS = 1_000_000
# A mean 1e15 times another's: beyond all data, and a good part of the way to the end of the doubles.
FACTOR = 1e15
TAIL = 1.645  # prior sds: one draw in ten is further out


def guarded(design: Design, priors: Priors, before: Priors | None = None) -> Design:
    """Return a design with what there is to say about it together with its priors.

    What was said of it with the priors `before`, if given, is left out.

    Raises
    ------
    DataError
        Random effects cannot be told apart from the residual.
    """
    check_residual(design, priors)
    design = replace(design, messages=_of_few_levels(design, priors))
    if is_summed(design):  # what follows is of rows of other families
        return design
    said = set() if before is None else set(guard_messages(design, before))
    kept = (message for message in design.messages if message not in said)
    return replace(design, messages=(*kept, *guard_messages(design, priors)))


def guard_messages(design: Design, priors: Mapping[str, Prior]) -> list[Message]:
    """Return what is to say about a design together with its priors.

    Parameters
    ----------
    design : Design
    priors : mapping of place to Prior

    Returns
    -------
    list of Message
        Warnings: columns that separate the response, whose estimates the priors set; columns and offsets that the
        exponential of a log link turns into means beyond all data; counts beyond all data.
    """
    return [*_separation(design), *_overflow(design, priors), *_large_counts(design)]


def _of_few_levels(design: Design, priors: Priors) -> tuple[Message, ...]:
    """Return the messages of a design with those on few levels as they are with these priors.

    A design is made before its priors are known, and asks for informative ones; whoever gave them is not asked again.
    """
    said = list(design.messages)
    for block in design.blocks:
        if block.smooth or block.members or len(block.levels) >= FEW_LEVELS:
            continue
        known = all(priors[name].distribution == "Fixed" for name, _ in sd_places(block))  # nothing to learn
        now = [] if known else [few_levels(block, sds_without_prior(priors, block))]
        at = [i for i, message in enumerate(said) if message.text.startswith(too_few(block))] or [len(said)]
        said[at[0] : at[0] + 1] = now
    return tuple(said)


def check_residual(design: Design, priors: Mapping[str, Prior] | None = None) -> None:
    """Raise a DataError where random effects cannot be told apart from a residual whose sd no prior holds fixed."""
    known = priors is not None and "sigma" in priors and priors["sigma"].distribution == "Fixed"
    if not design.family.has_residual_sd or known or design.residual.sigma != "scale":
        return
    for block in design.blocks:
        said = None if block.relation is not None else residual_confounded(block, design.weights)
        if said:
            raise DataError(said)


def say_estimated(priors: Mapping[str, Prior], known: Collection[str] = ()) -> None:
    """Warn of parameters that the priors hold fixed where a likelihood is maximised, which knows no priors.

    Those that are `known` are so in the likelihood too.
    """
    fixed = [
        f"{place} = {prior.parameters['value']:g}"
        for place, prior in priors.items()
        if prior.distribution == "Fixed" and place not in known
    ]
    if fixed:
        warnings.warn(
            f"REML and ML estimate every parameter, also what the priors hold fixed ({listing(fixed)}); "
            "maximize('MAP') and sample() keep it",
            BayesmmWarning,
            stacklevel=3,
        )


def _large_counts(design: Design) -> list[Message]:
    """Warn of counts beyond all data."""
    if not design.family.support.counts or design.y.max() < FACTOR:
        return []
    row = design.rows[int(design.y.argmax())]
    return [
        warning(f"'{design.response}' is {design.y.max():.4g} in row {row}, more than is ever counted; is it a count?")
    ]


def _separation(design: Design) -> list[Message]:
    size = 1.0 if design.trials is None else design.trials
    one_kind = not design.y.any() or bool((design.y == size).all())  # which the check of the response has said
    if design.p == 0 or one_kind or design.n * design.p > MOST_NUMBERS:
        return []
    names = separated(design)
    if not names:
        return []
    rest = "the likelihood grows without end with that coefficient, so that only its prior keeps the estimate finite"
    return [warning(f"{_how(design, names)}; {rest}")]


def _how(design: Design, names: list[str]) -> str:
    """Return how the columns separate the response: by a threshold on one of them, if possible."""
    others = [name for name in names if name != INTERCEPT] or names
    if design.family.support.counts:
        return f"the rows where '{design.response}' is 0 let the coefficient of {listing(others)} grow without bound"
    if design.has_intercept:
        size = 1.0 if design.trials is None else design.trials
        for name in others:
            x = design.X[:, design.coefficients.index(name)]
            for one, other in ((design.y > 0, design.y < size), (design.y < size, design.y > 0)):
                if x[one].min(initial=np.inf) >= x[other].max(initial=-np.inf):
                    return _threshold(design, name, x, x[one].min(), x[other].max())
    which = others[0] if len(others) == 1 else f"a combination of {listing(others)}"
    return f"{which} separates '{design.response}'"


def _threshold(design: Design, name: str, x: np.ndarray, lowest: float, highest: float) -> str:
    """Return ``x > 0.5 separates y``; where the two kinds meet at a value, only the rows beside it are of one kind."""
    if lowest > highest:
        return f"{name} > {(lowest + highest) / 2:.4g} separates '{design.response}'"
    sides = [f"{name} {sign} {lowest:.4g}" for sign, rows in (("<", x < lowest), (">", x > lowest)) if rows.any()]
    if len(sides) == 1:
        return f"{name} separates '{design.response}', which is the same in every row with {sides[0]}"
    return f"{name} separates '{design.response}', which is one thing where {sides[0]} and the other where {sides[1]}"


def _overflow(design: Design, priors: Mapping[str, Prior]) -> list[Message]:
    """Warn of columns and offsets that give means beyond `FACTOR` times the usual one, on a log link."""
    if design.family.link != "log":
        return []
    said, limit = [], np.log(FACTOR)
    prior = coefficient_prior(priors, design)
    distances = np.abs(prior_design(design, priors).X)
    for j, name in enumerate(design.coefficients):
        reach = TAIL * prior.sd[j] * distances[:, j].max()
        if name != INTERCEPT and np.isfinite(reach) and reach > limit:
            row = design.rows[int(distances[:, j].argmax())]
            said.append(
                f"under its prior, {name} multiplies the mean of '{design.response}' by more than {FACTOR:g} or its "
                f"inverse in row {row} in one draw of ten; is that value, or the prior, on the right scale?"
            )
    if np.ptp(design.offset) > limit:
        texts = listing(f"offset({text_of(offset)})" for offset in design.formula.offsets)
        said.append(
            f"{texts} goes from {design.offset.min():.4g} to {design.offset.max():.4g} on the log scale, a factor of "
            f"more than {FACTOR:g} in the mean; an exposure t is written offset(log(t))"
        )
    return [warning(text) for text in said]
