"""What a family of response distributions is: the record that all other rooms ask."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from bayesmm.families.residuals import Residual
from bayesmm.families.responses import Response
from bayesmm.families.support import Support
from bayesmm.runtime.messages import Message

Array = np.ndarray

# Moment estimates of a dispersion are kept within these limits.
SMALLEST_START, LARGEST_START = 0.1, 1e3


@dataclass(frozen=True)
class Auxiliary:
    """A parameter of a family besides the mean, above 0.

    Attributes
    ----------
    name : str
        "sigma" is in units of the response, and its default prior is `bayesmm.priors.defaults`'s.
    tex : str
        Its symbol.
    prior : str
        The distribution of its default prior.
    parameters : mapping of str to float
        Those of the prior.
    unit : str
        What its values are measured in, as the table of priors says it.
    limit : str
        The family that is reached as it grows without bound.
    label : str
        What a table of standard deviations says beside a sigma that is none.
    """

    name: str
    tex: str
    prior: str = ""
    parameters: Mapping[str, float] = field(default_factory=dict, hash=False)
    unit: str = ""
    limit: str = ""
    label: str = ""


SIGMA = Auxiliary("sigma", r"\sigma")


def no_auxiliaries(y: Array, mu: Array) -> Array:
    """Return the starting values of a family without auxiliaries."""
    return np.empty(0)


def dispersion_start(value: float) -> Array:
    """Return a moment estimate of a dispersion as a starting value, within its limits."""
    return np.clip(np.nan_to_num(np.array([value]), nan=1.0), SMALLEST_START, LARGEST_START)


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family of response distributions with one of its links.

    Its functions are defined at the top of a module, so that models can be pickled.

    Attributes
    ----------
    name : str
    code : int
        What it is called in compiled code, of `bayesmm.families.codes`.
    aliases : tuple of str
        What other packages call it, in small letters.
    links : tuple of str
        The link functions it may have, the default first.
    link : str
        The one chosen of `links`.
    support : Support
        What the response may be.
    parameters : tuple of Auxiliary
        Its parameters besides the mean.
    check_response : callable
        ``(Response) -> list of Message``; raises a DataError for values that the family cannot have.
    variance : callable
        ``(mu, aux) -> variance of a single trial``; `aux` are the auxiliaries in their order.
    draw : callable
        ``(rng, mu, trials, aux) -> y``, float64 of the shape that mu, trials and aux broadcast to.
    residuals : mapping of str to Residual
        The variance on the scale of each link.
    start : callable
        ``(y, mu) -> (a,) float64``: moment estimates of the auxiliaries, given responses and fitted means.
    tex : str
        The distribution of y_i in LaTeX.
    normal : bool
        Whether the response is normal about its mean.
    several_modes : tuple of str
        Links with which a density in eta may have two modes, or a plateau beside one, for a far observation.
    scatter : callable or None
        ``aux (2, draws) -> variance``, of a response whose variance does not depend on its mean and is not `variance`.
    cost : float
        Of one density with its derivatives in compiled code, in nanoseconds.
    of_one_trial : str
        The family that it is where every row has one trial.
    overdispersed, outliers, skewed : str
        The family to take instead where counts scatter more, there are outliers, or a positive response is skewed.
    """

    name: str
    code: int
    aliases: tuple[str, ...] = ()
    links: tuple[str, ...]
    link: str
    support: Support
    parameters: tuple[Auxiliary, ...] = ()
    check_response: Callable[[Response], list[Message]]
    variance: Callable[..., Array]
    draw: Callable[..., Array]
    residuals: Mapping[str, Residual] = field(compare=False)
    start: Callable[[Array, Array], Array] = no_auxiliaries
    tex: str
    normal: bool = False
    several_modes: tuple[str, ...] = ()
    scatter: Callable[[Array], Array] | None = None
    cost: float = 90.0
    of_one_trial: str = ""
    overdispersed: str = ""
    outliers: str = ""
    skewed: str = ""

    @property
    def auxiliaries(self) -> tuple[str, ...]:
        """Names of the parameters besides the mean."""
        return tuple(parameter.name for parameter in self.parameters)

    @property
    def discrete(self) -> bool:
        """Whether the response is whole numbers."""
        return self.support.discrete

    @property
    def residual(self) -> Residual:
        """How the variance about the linear predictor is taken on the scale of the link."""
        return self.residuals[self.link]

    @property
    def gaussian(self) -> bool:
        """Whether the model is linear with normal errors, so that its integrals are exact."""
        return self.normal and self.link == "identity"

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
