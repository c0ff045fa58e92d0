"""What a family of response distributions is: the record that all other rooms ask.

A family of the package is one file that exports one record, and is in the register `bayesmm.families.families`. A
family of the user's own is the same record, with its log density in PyTensor in place of compiled kernels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bayesmm.families.auxiliary import MOST_PARAMETERS as MOST_PARAMETERS
from bayesmm.families.auxiliary import POSITIVE_VALUES as POSITIVE_VALUES
from bayesmm.families.auxiliary import REAL_VALUES as REAL_VALUES
from bayesmm.families.auxiliary import SHARES as SHARES
from bayesmm.families.auxiliary import SIGMA as SIGMA
from bayesmm.families.auxiliary import Auxiliary
from bayesmm.families.kernel import Kernels, Tails
from bayesmm.families.links import LINKS
from bayesmm.families.maximum import Maximum
from bayesmm.families.own_checks import check_family
from bayesmm.families.residuals import Residual, delta
from bayesmm.families.responses import Response, check_support
from bayesmm.families.support import SUPPORTS, Support
from bayesmm.families.with_first import With
from bayesmm.runtime.messages import Message

Array = np.ndarray

# Moment estimates of a dispersion are kept within these limits.
SMALLEST_START, LARGEST_START = 0.1, 1e3
EQUIDISTANT = "equidistant"  # of thresholds: as far apart as the first two
SYMMETRIC = "symmetric"  # of thresholds: as far apart above the middle as below it


def _usual_tex(family: "Family") -> str:
    """Return the distribution of y_i in LaTeX by its name and parameters."""
    name = family.name.replace("_", r"\_")
    trials = [r"n_{i}"] if family.support.trials else []
    return rf"\mathrm{{{name}}}({', '.join([*trials, r'\mu_{i}', *(p.symbol for p in family.parameters)])})"


def dispersion_start(value: float) -> Array:
    """Return a moment estimate of a dispersion as a starting value, within its limits."""
    return np.clip(np.nan_to_num(np.array([value]), nan=1.0), SMALLEST_START, LARGEST_START)


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family of response distributions with one of its links.

    ``family=`` takes one that you have made. Everything is done with it that is done with those of the package, and it
    is not stored with a fit: ``bmm.load(path, family=...)`` asks for it again. Define its functions at the top of a
    module where models are to be pickled.

    Attributes
    ----------
    name : str
    links : tuple of str
        The link functions it may have, the default first: "identity", "log", "logit", "probit", "cloglog",
        "inverse", "tan_half".
    support : Support or str
        What the response may be: "real", "positive", "proportion", "counts", "binary", or "successes" out of trials.
    log_density : callable
        Of a family of your own: ``(y, mu, trials, aux) -> log density`` of a row, with its constants, in functions of
        PyTensor that work element by element. mu is the mean (of one trial), trials 1 where there are none, aux the
        values of `parameters` in their order. All derivatives are taken from it.
    variance : callable
        ``(mu, aux) -> variance of a single trial``, on arrays that broadcast.
    draw : callable
        ``(rng, mu, trials, aux) -> y``, float64 of the shape that mu, trials and aux broadcast to; `rng` is a NumPy
        generator, trials None where there are none.
    parameters : tuple of Auxiliary
        Its parameters besides the mean, three at most.
    link : str
        The one chosen of `links`; the first if not given.
    start : callable
        ``(y, mu) -> (a,) float64``: moment estimates of the parameters, given responses and fitted means; ones if not
        given.
    tex : str
        The distribution of y_i in LaTeX, with mu_i for its mean.
    check_response : callable
        ``(Response) -> list of Message``; raises a DataError for values that the family cannot have. By the support if
        not given.
    residuals : mapping of str to Residual
        The variance on the scale of each link; by the delta method if not given.
    aliases : tuple of str
        What other packages call it, in small letters.
    kernels : Kernels or None
        Of a family of the package, the log density of a row for compiled code, with hand-made derivatives.
    graph_density : callable or None
        The same in PyTensor: ``(link, y, eta, trials, aux) -> (where it exists, its value there)``.
    number : int
        What compiled code knows a family of the package by; given by the register.
    canonical : str
        The link with which the log density is y eta - size c(eta), less a constant, where c is log(1 + exp eta) for
        "logit" and exp eta for "log".
    whole_strip : bool
        Whether the log density is analytic within pi of the real axis of eta with every link, as it is with the logit
        link; pi / 2 otherwise.
    normal : bool
        Whether the response is normal about its mean.
    several_modes : tuple of str
        Links with which a density in eta may have two modes, or a plateau beside one, for a far observation.
    smooth : bool
        Whether the log density has derivatives everywhere; where it has a corner, only sampling and `maximum` are
        possible.
    rounded : Family or None
        Of such a family one of the same parameters with the corner rounded off: its curvature is the sampler's metric.
    maximum : callable or None
        Of a family whose log density has a corner, ``(y, X, weights, aux) -> Maximum`` of y = X beta + error, X of full
        rank, `aux` with NaN for what is estimated.
    concave_links : tuple of str
        Links with which the log density of a row is concave in eta, whatever the response and the parameters are.
    scatter : callable or None
        ``aux (a, draws) -> variance``, of a response whose variance does not depend on its mean and is not `variance`.
    cost : float
        Of one density with its derivatives in compiled code, in nanoseconds: measured by ``benchmarks.costs``.
    of_one_trial : str
        The family that it is where every row has one trial.
    overdispersed, outliers, skewed : str
        The family to take instead where counts scatter more, there are outliers, or a positive response is skewed.
    more_zeros : str
        The family to take instead where there are more zeros than it expects.
    mean : callable or None
        ``(mu, aux) -> the mean of the response``, of one trial, where that is not mu itself: mu is then what the
        link is of, such as the mean of the counts that are no extra zeros. `variance` is the response's at this mu.
    mean_of : tuple of str or None
        The parameters that this mean depends on besides mu; all of them if not given.
    proportional : bool or None
        Whether that mean is a multiple of mu. None: if it is not given.
    quadratic : bool or None
        Whether moreover `variance` is a quadratic function of mu, which is then known by three values. None: of the
        families of the package.
    share_variance : callable or None
        ``(mu, trials, aux) -> the variance of the share of successes``, where it is not `variance` over the trials.
    cdf : callable or None
        ``(y, mu, trials, aux) -> P(Y <= y)``, on arrays.
    cdf_is_sum : bool
        Whether that is a sum of many terms, too slow for every draw of a posterior.
    tails : Tails or None
        The same in logarithms, for compiled code: of a family whose response may be censored or truncated.
    observed : str
        How the response is known where that is not by its value: "censored", "truncated", or both.
    varying : bool
        Whether its parameters have random effects of their own, so that no integral of a normal response is exact.
    probabilities : callable or None
        Of ordered categories, ``(link, eta, thresholds) -> P(Y = k)``, (..., K), for eta (...) and K - 1 thresholds
        that broadcast with it. Its `variance`, `draw`, `mean` and `cdf` take the linear predictor in place of mu, the
        thresholds in place of the parameters, and the link's name first: (link, mu, aux).
    first_thresholds : callable or None
        Of ordered categories, ``(link, shares (K,)) -> (K - 1,)``: the thresholds with which they have these
        probabilities where the linear predictor is 0.
    ascending : bool
        Whether the thresholds ascend.
    every : bool
        Whether the density of a row depends on all thresholds, which are then all that it depends on: its kernels have
        them as `aux` and their number as `size`. Otherwise `aux` are the two around its category.
    nominal : bool
        Whether the categories have no order: what stands for thresholds are the log odds of each beside the first,
        which are parameters of the family named by the category once the response is known. Eta, an offset, is added to
        all of them.
    spacing : str
        "equidistant" where the thresholds are as far apart as the first two, "symmetric" where those above the middle
        mirror those below it.
    scaled : Family or None
        The same family with a parameter `disc` besides, which multiplies thresholds and linear predictor.
    """

    name: str
    links: tuple[str, ...]
    support: Support | str
    variance: Callable[..., Array]
    draw: Callable[..., Array]
    log_density: Callable[..., object] | None = None
    parameters: tuple[Auxiliary, ...] = ()
    link: str = ""
    start: Callable[[Array, Array], Array] | None = None
    tex: str = ""
    check_response: Callable[[Response], list[Message]] = check_support
    residuals: Mapping[str, Residual] = field(default_factory=dict, compare=False)
    aliases: tuple[str, ...] = ()
    kernels: Kernels | None = None
    graph_density: Callable[..., tuple] | None = None
    number: int = -1
    canonical: str = ""
    whole_strip: bool = False
    normal: bool = False
    several_modes: tuple[str, ...] = ()
    smooth: bool = True
    rounded: "Family | None" = field(default=None, compare=False)
    maximum: Callable[..., Maximum] | None = None
    concave_links: tuple[str, ...] = ()
    scatter: Callable[[Array], Array] | None = None
    cost: float = 90.0
    of_one_trial: str = ""
    overdispersed: str = ""
    outliers: str = ""
    skewed: str = ""
    more_zeros: str = ""
    mean: Callable[..., Array] | None = None
    mean_of: tuple[str, ...] | None = None
    proportional: bool | None = None
    quadratic: bool | None = None
    share_variance: Callable[..., Array] | None = None
    cdf: Callable[..., Array] | None = None
    cdf_is_sum: bool = False
    tails: Tails | None = None
    observed: str = ""
    varying: bool = False
    probabilities: Callable[..., Array] | None = None
    first_thresholds: Callable[..., Array] | None = None
    ascending: bool = True
    every: bool = False
    nominal: bool = False
    spacing: str = ""
    scaled: "Family | None" = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Check a family of the user's own, and fill in what it need not say."""
        support = SUPPORTS.get(self.support, self.support) if isinstance(self.support, str) else self.support
        object.__setattr__(self, "support", support)
        if self.kernels is None:
            check_family(self)
        if self.proportional is None:
            object.__setattr__(self, "proportional", self.mean is None)
        if self.quadratic is None:
            object.__setattr__(self, "quadratic", self.kernels is not None and self.proportional)
        if not self.tex:
            object.__setattr__(self, "tex", _usual_tex(self))
        if not self.link:
            object.__setattr__(self, "link", self.links[0])
        for name in ("variance", "draw", "mean", "cdf") if self.ordered else ():
            given = getattr(self, name)
            plain = given.function if isinstance(given, With) else given
            object.__setattr__(self, name, With(plain, self.link))

    @property
    def label(self) -> str:
        """What a sentence calls it: "poisson", or "censored poisson"."""
        return f"{self.observed} {self.name}" if self.observed else self.name

    @property
    def own(self) -> bool:
        """Whether it is the user's, and not of the package."""
        return self.kernels is None

    @property
    def inlined(self) -> bool:
        """Whether its kernels, with the link of `row`, are a part of the compiled likelihood: see `Kernels`."""
        return not self.own and (self.canonical != "" or self.kernels.smooth is not None)

    def first(self, y: Array, mu: Array) -> Array:
        """Return starting values of the parameters, (a,), given responses and fitted means."""
        return np.ones(len(self.parameters)) if self.start is None else np.asarray(self.start(y, mu), dtype=np.float64)

    def expected(self, mu: Array, aux: Sequence[Array]) -> Array:
        """Return the mean of the response, of one trial, where the link gives mu; the shape that both broadcast to."""
        return mu if self.mean is None else self.mean(mu, tuple(aux))

    def scattered(self, mu: Array, trials: Array, aux: Sequence[Array]) -> Array:
        """Return the variance of a response, or of the share of successes in so many trials."""
        if self.share_variance is None:
            return self.variance(mu, tuple(aux)) / trials
        return self.share_variance(mu, trials, tuple(aux))

    @property
    def auxiliaries(self) -> tuple[str, ...]:
        """Names of the parameters besides the mean."""
        return tuple(parameter.name for parameter in self.parameters)

    @property
    def in_mean(self) -> tuple[str, ...]:
        """Names of the parameters that the mean of the response depends on besides mu."""
        if self.mean is None:
            return ()
        return self.auxiliaries if self.mean_of is None else self.mean_of

    @property
    def ordered(self) -> bool:
        """Whether the response is one of several ordered categories."""
        return self.probabilities is not None

    @property
    def formulas(self) -> tuple[str, ...]:
        """Names of the parameters that may have a formula of their own."""
        if not self.ordered:
            return self.auxiliaries
        known = self if self.scaled is None else self.scaled
        return tuple(own.name for own in known.parameters if own.relative)

    def inverse(self, eta: Array) -> Array:
        """Return what the family's functions take as mu: the inverse of the link, of ordered categories eta itself."""
        return np.asarray(eta) if self.ordered else LINKS[self.link].inverse(eta)

    @property
    def has_residual_sd(self) -> bool:
        """Whether it has a residual sd, sigma."""
        return SIGMA.name in self.auxiliaries

    @property
    def discrete(self) -> bool:
        """Whether the response is whole numbers."""
        return self.support.discrete

    @property
    def residual(self) -> Residual:
        """How the variance about the linear predictor is taken on the scale of the link."""
        return self.residuals.get(self.link) or delta(self.variance, self.link, published=False)

    @property
    def gaussian(self) -> bool:
        """Whether the model is linear with normal errors, so that its integrals are exact."""
        return self.linear and not self.varying

    @property
    def linear(self) -> bool:
        """Whether the response is normal about a linear predictor, also where sigma has random effects."""
        return self.normal and self.link == "identity"

    @property
    def concave(self) -> bool:
        """Whether the log density of a row is concave in eta."""
        return self.link in self.concave_links

    @property
    def straight(self) -> bool:
        """Whether the mean of the response is the linear predictor."""
        return self.link == "identity" and self.mean is None

    @property
    def one_mode(self) -> bool:
        """Whether a density in eta has one mode and no plateau beside it, however far an observation lies from it."""
        return self.link not in self.several_modes


def draw_response(
    family: Family, rng: np.random.Generator, mu: Array, trials: object, aux: tuple, weights: Array | None = None
) -> Array:
    """Return random responses with these means: `Family.draw`, with prior weights.

    A weight divides the variance of a Gaussian response. Elsewhere it counts how often a row is taken, and a draw is of
    one response whatever its weight.
    """
    if weights is not None and family.gaussian:
        aux = (aux[0] / np.sqrt(weights), *aux[1:])
    return family.draw(rng, mu, trials, tuple(aux))
