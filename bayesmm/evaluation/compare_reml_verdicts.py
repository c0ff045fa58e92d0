"""The verdict on each parameter of a posterior beside its maximised fit, and the rules that it follows."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from bayesmm.design.parameters import Parameter

# The rule of the verdicts. All distances are in posterior standard deviations.
AGREE = 0.25  # a 95 % interval moved by this much still covers 94.3 %: the reader's conclusion is the same
MODE_AGREES = 0.35  # AGREE and the error of a mode found from 1,500 effective draws (0.1; see density.mode)
# Of a density's peak: a normal one has 0.97 of it AGREE sds from its mode, less three Monte Carlo errors of 0.02 (see
# density.flat_share).
FLAT = 0.9
PULL_SHARE = 0.5  # the prior is the cause if it explains at least half of the difference
ASYMMETRY = 0.05  # (mean - median); its Monte Carlo error is 0.02 at 1,500 effective draws; a gamma(4) has 0.16
SKEW_REACH = 1.0  # skewness of a density whose own mode is elsewhere is marginal to this distance and no farther
FEW_GROUPS_REACH = math.sqrt(3)  # mean and mode of a unimodal density are never farther apart: Johnson & Rogers (1951)
FEW_GROUPS = 10  # with fewer the likelihood of an sd is far from symmetric: Gelman & Hill (2007), section 12.9
NODES = 15  # of the quadrature that Laplace's approximation is judged by; it is exact to 1e-4 on all test data
FIXED_TOLERANCE = 1e-6  # relative; a parameter that its prior fixes at the estimate agrees with it
SAME_MAXIMUM = 0.1  # between a fit that was given and the maximum sought anew: searches differ by 1e-3 at most
FAR = 50.0  # a distance that is no longer worth a number
SECOND = 0.25  # a cause that makes less of the difference is not worth a second sentence
PARTS = ("how the likelihood is maximised", "the priors", "the way from a mode to a mean")  # of a difference


@dataclass(frozen=True)
class Row:
    """The evidence about one parameter; estimates and posterior on the absolute scale."""

    parameter: Parameter
    method: str
    point: float
    se: float
    reml: float  # the mode under flat priors, from which the priors pull; of a generalised model ML by quadrature
    map: float  # the mode of the marginal posterior under the model's priors
    mean: float
    median: float
    mode: float
    sd: float
    lower: float
    upper: float
    bound: bool  # the estimate is 0, +-1 or undefined
    confounded: bool  # a coefficient that the data give only in a sum with others
    singular: str  # the grouping factor whose singular covariance matrix the estimate shares in, or ""
    group: str
    levels: int  # of the grouping factor, basis functions of a smooth; 0 for a coefficient and sigma
    counted: str = "levels"
    nagq: int = 0  # nodes of the point fit; 0 for a linear model, whose integrals are exact
    maximum: float = math.nan  # what a point fit that was given should be: the same maximum sought anew
    flat: float = math.nan  # the least density from a bound to the point estimate, a share of its peak; NaN if none
    given: float = math.nan  # the posterior mean where the other parameters have their values at the MAP

    @property
    def difference(self) -> float:
        """(mean - point) / sd; NaN if the posterior has no spread or the point estimate is missing."""
        return (self.mean - self.point) / self.sd if self.sd > 0 else math.nan

    def towards(self, amount: float) -> float:
        """Return `amount` in posterior sds, positive if it goes from the point estimate to the posterior mean."""
        return amount / self.sd * math.copysign(1, self.difference)

    @property
    def parts(self) -> tuple[float, ...]:
        """The difference in three parts that sum to 1: from the estimate to REML, to the MAP, to the posterior mean.

        The first is ML instead of REML, or Laplace's approximation; empty where there is no MAP or no difference.
        """
        steps = (self.reml - self.point, self.map - self.reml, self.mean - self.map)
        if self.sd == 0 or not all(map(math.isfinite, steps)) or self.difference == 0:
            return ()
        return tuple(self.towards(step) / abs(self.difference) for step in steps)


@dataclass(frozen=True)
class Rule:
    """A verdict, when it holds, and its cause in words."""

    verdict: str
    holds: Callable[[Row], bool]
    cause: Callable[[Row], str]


def judge(row: Row) -> Rule:
    """Return the first rule of `RULES` that holds; the last always does."""
    return next(rule for rule in RULES if rule.holds(row))


def say_why(row: Row, rule: Rule) -> str:
    """Return the cause in words and, where two causes make a good part of the difference, how much each of them does.

    A cause that works against the difference is none of it.
    """
    said = rule.cause(row)
    large = [(part, name) for part, name in zip(row.parts, PARTS, strict=False) if part >= SECOND]
    if rule.verdict not in DIVIDED or row.bound or row.confounded or row.sd == 0 or len(large) < 2:
        return said
    (most, one), (less, other) = sorted(large, reverse=True)[:2]
    verb = "make" if one == PARTS[1] else "makes"
    return (
        f"{said}. More than one cause applies: of the difference of {abs(row.difference):.2f} sds {one} {verb} "
        f"{100 * most:.0f} % and {other} {100 * less:.0f} %"
    )


def is_no_maximum(row: Row) -> bool:
    """A fit that was given is not the maximum that it says it is."""
    apart = abs(row.point - row.maximum)
    return row.sd > 0 and math.isfinite(apart) and apart > SAME_MAXIMUM * row.sd


def is_fixed(row: Row) -> bool:
    """The prior holds the parameter at one value, and it is not the estimate."""
    return row.sd == 0 and not math.isclose(row.mean, row.point, rel_tol=FIXED_TOLERANCE)


def agrees(row: Row) -> bool:
    """Both answers are the same for a reader."""
    return row.sd == 0 or abs(row.difference) <= AGREE


def is_pulled(row: Row) -> bool:
    """The marginal MAP left the REML estimate, towards the posterior mean, by half of the difference or more."""
    return row.towards(row.map - row.reml) >= PULL_SHARE * abs(row.difference)


def is_ml_bias(row: Row) -> bool:
    """The ML estimate is short of the REML estimate by half of the difference or more."""
    linear = row.method == "ML" and row.nagq == 0
    return linear and row.towards(row.reml - row.point) >= PULL_SHARE * abs(row.difference)


def is_laplace(row: Row) -> bool:
    """Laplace's approximation moves the ML estimate by half of the difference or more."""
    return row.nagq == 1 and row.towards(row.reml - row.point) >= PULL_SHARE * abs(row.difference)


def is_skewed(row: Row) -> bool:
    """The posterior's longer tail is on the side of the posterior mean."""
    return row.towards(row.mean - row.median) >= ASYMMETRY


def has_few_groups(row: Row) -> bool:
    """The parameter belongs to a factor with few levels and its posterior is skewed towards the difference."""
    return 0 < row.levels < FEW_GROUPS and is_skewed(row) and abs(row.difference) <= FEW_GROUPS_REACH


def mode_agrees(row: Row) -> bool:
    """The marginal mode, or the joint one (the MAP), is where the estimate is, and the mean is not."""
    own = abs(row.mode - row.point) <= MODE_AGREES * row.sd
    joint = abs(row.map - row.point) <= AGREE * row.sd and abs(row.difference) <= SKEW_REACH
    return is_skewed(row) and (own or joint)


def is_flat(row: Row) -> bool:
    """The posterior is flat from its bound to the estimate, so that its mode may be anywhere there; the mean is not.

    A mean is never farther from a mode of such a density than one of a flat density's is from its start.
    """
    return row.flat >= FLAT and abs(row.difference) <= FEW_GROUPS_REACH


def is_near_the_map(row: Row) -> bool:
    """The posterior mean agrees with the mode under the same priors: what is left is between two different modes."""
    return abs(row.mean - row.map) <= AGREE * row.sd and row.towards(row.map - row.reml) > 0


def is_pulled_and_skewed(row: Row) -> bool:
    """The priors moved the mode for a reader to see, and from there skewness leads on to the posterior mean."""
    mode_is_there = abs(row.mode - row.map) <= MODE_AGREES * row.sd and abs(row.mean - row.map) <= SKEW_REACH * row.sd
    return row.towards(row.map - row.reml) > AGREE and is_skewed(row) and mode_is_there


def is_joint(row: Row) -> bool:
    """Where the others have their values at the MAP, the posterior mean is there too; otherwise it moves away."""
    there = abs(row.given - row.map) <= MODE_AGREES * row.sd  # False where one of them is missing
    return there and row.towards(row.mean - row.given) >= PULL_SHARE * row.towards(row.mean - row.map) > 0


def is_pulled_and_joint(row: Row) -> bool:
    """The same, and the priors make most of the difference."""
    return is_joint(row) and row.towards(row.map - row.reml) > row.towards(row.mean - row.map)


def number(value: float) -> str:
    """Return a number for a sentence."""
    return "undefined" if math.isnan(value) else f"{value:.4g}"


def say_bound(row: Row) -> str:
    """Explain an estimate at a bound."""
    edge = "0, the least an sd can be" if row.parameter.kind == "sd" else f"{number(row.point)}, at its bound"
    if math.isnan(row.point):
        edge = "undefined because an sd is 0"
    return f"{row.method} is {edge}; the posterior has all values that the data allow, 95 % of it {span(row)}"


def span(row: Row) -> str:
    """Return the posterior interval in words."""
    return f"{number(row.lower)} to {number(row.upper)}"


def say_pull(row: Row) -> str:
    """Explain a difference that the priors make."""
    if abs(row.map - row.reml) > FAR * row.sd:
        return (
            f"the most probable value is {number(row.reml)} without priors and {number(row.map)} with them: the "
            "likelihood is nearly flat in this direction, or the priors are very narrow; the priors decide"
        )
    return (
        f"the most probable value is {number(row.reml)} without priors and {number(row.map)} with them, "
        f"{abs(row.map - row.reml) / row.sd:.2f} posterior sds apart; the mean is {abs(row.difference):.2f} sds from "
        f"{row.method}"
    )


def say_few(row: Row) -> str:
    """Explain the skewness that few levels leave."""
    return (
        f"{row.group} has {row.levels} {row.counted}, so large values cannot be ruled out (up to {number(row.upper)}); "
        f"the mean lies in that tail, the mode is {number(row.mode)}"
        if row.parameter.kind == "sd"
        else f"{row.group} has {row.levels} {row.counted}, too few to place it: the interval is {span(row)}"
    )


def say_skew(row: Row) -> str:
    """Explain a mean that lies in the longer tail."""
    return (
        f"the posterior has a longer tail on one side: its mode is {number(row.mode)}, its median "
        f"{number(row.median)}, its mean {number(row.mean)}; {row.method}, a mode, is {number(row.point)}"
    )


def say_flat(row: Row) -> str:
    """Explain a mean beside an estimate in a part of the posterior that is flat down to the bound."""
    return (
        f"the posterior is flat from its bound to {row.method}'s {number(row.point)}, so that its most "
        f"probable value may be any of these, and falls off on one side only: 95 % of it is {span(row)}, its mean "
        f"{number(row.mean)}"
    )


def say_joint(row: Row) -> str:
    """Explain a mean of one parameter beside a mode of all."""
    return (
        f"{row.method} is a mode of all parameters together, the mean is of one alone: where the others have their "
        f"most "
        f"probable values the mean is {number(row.given)}, over all the values that they may have {number(row.mean)}"
    )


def say_no_maximum(row: Row) -> str:
    """Say that a fit that was given is not what it says."""
    return (
        f"the {row.method} fit that was given has {number(row.point)}, and the maximum, sought anew, is at "
        f"{number(row.maximum)}, {abs(row.point - row.maximum) / row.sd:.2f} posterior sds from it"
    )


def say_disagree(row: Row) -> str:
    """Say that no cause was found, and without a marginal MAP that the priors were not asked."""
    if math.isnan(row.map):
        return (
            f"{row.method} is {number(row.point)}, the posterior mean {number(row.mean)}; neither a bound, skewness "
            "nor few groups explain it; what the priors do cannot be told here, without a marginal MAP: try wider ones"
        )
    found = (
        f"{row.method} is {number(row.point)}, the posterior mean {number(row.mean)}; neither the priors, a bound, "
        "skewness nor few groups explain it"
    )
    if row.nagq > 0:  # where joint and marginal modes may lie apart
        return (
            f"{found}. {row.method} is a mode of all parameters together and the mean is of one alone, so that they "
            "may differ without an error: draw by another sampler before you suspect one of the computations"
        )
    return f"{found}, so suspect one of the two computations"


def say_singular(row: Row) -> str:
    """Explain an estimate beside a covariance matrix at its bound."""
    return (
        f"{row.method}'s value belongs to a singular fit, where an effect of {row.singular}, or a weighted sum of its "
        "effects, has a variance of 0; the posterior is over all covariance matrices that the data allow"
    )


DIVIDED = ("few groups", "Laplace", "prior pull", "skew")  # verdicts of which another cause may have a part
RULES = (
    Rule("disagree", is_no_maximum, say_no_maximum),
    Rule("prior pull", is_fixed, lambda row: f"its prior holds it fixed at {number(row.mean)}"),
    Rule("boundary", lambda row: row.bound and row.sd > 0, say_bound),
    Rule(
        "prior pull",
        lambda row: row.confounded,
        lambda row: f"the data know only its sum with others; its own value is its prior's ({span(row)})",
    ),
    Rule("agree", agrees, lambda row: ""),
    Rule(
        "few groups",
        is_ml_bias,
        lambda row: f"ML makes sds too small, as if coefficients were known; by REML {number(row.reml)}",
    ),
    Rule(
        "Laplace",
        is_laplace,
        lambda row: f"Laplace's approximation is not exact; by quadrature, which is, ML is {number(row.reml)}",
    ),
    Rule("prior pull", is_pulled, say_pull),
    Rule("few groups", has_few_groups, say_few),
    Rule("skew", is_flat, say_flat),
    Rule("skew", mode_agrees, say_skew),
    Rule(
        "prior pull",
        is_pulled_and_skewed,
        lambda row: (
            f"the priors of all parameters together move the mode from {number(row.reml)} to {number(row.map)}, by "
            f"{row.towards(row.map - row.reml):.2f} posterior sds, and the longer tail about that mode moves the mean "
            f"on to {number(row.mean)}"
        ),
    ),
    Rule(
        "prior pull",
        is_near_the_map,
        lambda row: (
            f"the priors move the most probable value from {number(row.reml)} to {number(row.map)}, and the posterior "
            f"mean agrees with that, {abs(row.mean - row.map) / row.sd:.2f} posterior sds from it; a mean has the "
            "other parameters integrated out, where a mode has them at their most probable values"
        ),
    ),
    Rule("prior pull", is_pulled_and_joint, say_pull),
    Rule("skew", is_joint, say_joint),
    Rule(
        "boundary",
        lambda row: row.singular != "",
        say_singular,
    ),
    Rule("disagree", lambda row: True, say_disagree),
)  # in order: the first that holds is the verdict
