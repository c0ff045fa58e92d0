"""Prior: one distribution with its parameters, checked when it is made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite

import numpy as np

from bayesmm.errors import PriorError, listing, suggest
from bayesmm.priors.distributions import DISTRIBUTIONS, OTHER_PARAMETERS, Distribution, lkj_log_density, lkj_slope
from bayesmm.runtime.arguments import is_real

ON = ("sd", "variance")
AT = ("zero", "means")
SPECIAL = ("Fixed", "Custom")  # a value, and a function: no distributions of the table


@dataclass(frozen=True, init=False, repr=False)
class Prior:
    """A prior distribution, with PyMC's names and parameters.

    Parameters
    ----------
    distribution : str
        Normal, StudentT, Cauchy, Laplace, Uniform, Beta, Flat, HalfNormal, HalfStudentT, HalfCauchy, HalfFlat,
        Exponential, Gamma, InverseGamma, LogNormal; LKJ for correlations. "Fixed" (value=...) is what a number becomes,
        "Custom" (function=...) what a function becomes: ``function(name, dims)`` is called inside the PyMC model and
        returns the variable. `dims` is () for one number, as a coefficient is in every graph, and names the dimension
        where the function is the prior of all standard deviations of a grouping factor, whose vector it then makes.
    on : {"sd", "variance"}
        For a standard deviation: whether the distribution is of the sd or of its square.
    at : {"zero", "means"}
        For a coefficient, an sd or the correlations of random effects, or a parameter with a formula (``sigma ~ x``):
        whether the distribution is of the parameter as it is reported, which is an effect where the predictors that it
        interacts with are 0, or a sigma where x is 0; or of the effect, or the sigma, at the means of those predictors.
        The defaults are at the means, so that they do not depend on where a predictor has its zero
        (`bayesmm.design.term_basis`); they only say so where it makes a difference.
    **parameters : float
        As in PyMC, in PyMC's other parameterisations too (`tau` for `sigma`, ...). Locations may be left out and are
        0 then; scales may not: they are in the units of the response.

    Raises
    ------
    PriorError
        For an unknown distribution or parameter, a missing one, one that is no finite number, or a scale that is not
        above 0.

    Examples
    --------
    >>> Prior("HalfStudentT", nu=3, sigma=20)
    Prior('HalfStudentT', nu=3.0, sigma=20.0)
    """

    distribution: str
    on: str
    at: str
    values: tuple[tuple[str, float], ...]
    function: Callable | None

    def __init__(
        self, distribution: str, *numbers: float, on: str = "sd", at: str = "zero", **parameters: float
    ) -> None:
        _check_names(distribution, on, at)
        if numbers:  # the order of the same distribution's parameters differs from package to package
            raise PriorError(
                f"Prior({distribution!r}, {', '.join(map(str, numbers))}) has numbers without names; parameters go by "
                f"name, as in Prior('Normal', mu=0, sigma=1)"
            )
        set_field = object.__setattr__  # the one place where a field of a frozen record is set: its construction
        set_field(self, "distribution", distribution)
        set_field(self, "on", on)
        set_field(self, "at", at)
        set_field(self, "function", _function(parameters) if distribution == "Custom" else None)
        set_field(self, "values", () if distribution == "Custom" else tuple(_values(distribution, parameters).items()))
        if on == "variance" and (distribution in SPECIAL or self.support == "correlation"):
            raise PriorError(f"on='variance' is for the distribution of a standard deviation, not for {distribution}")

    @property
    def parameters(self) -> dict[str, float]:
        """PyMC's standard parameters by name; `value` of a fixed parameter."""
        return dict(self.values)

    @property
    def support(self) -> str:
        """Where the values are: "real", "positive", "interval", "correlation", "point" (fixed), "any" (a function)."""
        special = {"Fixed": "point", "Custom": "any"}
        return special.get(self.distribution) or DISTRIBUTIONS[self.distribution].support

    @property
    def ends(self) -> tuple[float, float]:
        """The ends of the support, where it is an interval: of the distribution, also where that is of the variance."""
        return DISTRIBUTIONS[self.distribution].ends(self.parameters)

    def logpdf(self, x: float | np.ndarray) -> float | np.ndarray:
        """Return the log density on the parameter's natural scale.

        Parameters
        ----------
        x : array of any shape
            Values of the coefficient, or of the sd also where the distribution is of the variance (the Jacobian log
            2x is in). For LKJ one correlation matrix, (q, q).

        Returns
        -------
        array of the shape of x, or float
            -inf outside the support; 0 inside that of Flat and HalfFlat, which are improper. For LKJ a float.

        Raises
        ------
        PriorError
            For "Fixed" and "Custom", which have no density here, and for masked values.
        """
        if self.distribution == "LKJ":
            return lkj_log_density(_numbers(x), **self.parameters)
        return self._density(x)[0]

    def dlogpdf(self, x: float | np.ndarray) -> float | np.ndarray:
        """Return the derivative of `logpdf` with respect to x, in the shape of x; 0 outside the support.

        For LKJ, (q, q): the derivative with respect to each correlation (one parameter, though it stands in two
        places); 0 on the diagonal.
        """
        if self.distribution == "LKJ":
            return lkj_slope(_numbers(x), **self.parameters)
        return self._density(x)[1]

    def quantile(self, p: float) -> float | None:
        """Return the quantile of the parameter (the sd, also for a distribution of the variance); None if improper."""
        known = self._known()
        if known.quantile is None:
            return None
        value = float(known.quantile(p, **self.parameters)) + 0.0  # -log(1 - 0) is -0, which would print as "-0"
        return value**0.5 if self.on == "variance" else value

    def _known(self) -> Distribution:
        if self.distribution in SPECIAL:
            raise PriorError(f"a {self.distribution.lower()} prior has no density in closed form")
        return DISTRIBUTIONS[self.distribution]

    def _density(self, x: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        known, x = self._known(), _numbers(x)
        at = x**2 if self.on == "variance" else x
        inside = known.inside(at, self.parameters) & (x >= 0 if self.on == "variance" else True)
        with np.errstate(all="ignore"):  # limits at 0 and at infinity, and places outside that are replaced below
            value, slope = known.density(at, **self.parameters)
            if self.on == "variance":  # s = sqrt(v): p(s) = p_v(s^2) 2 s
                value, slope = value + np.log(2 * x), slope * 2 * x + 1 / x
        return np.where(inside, value, -np.inf)[()], np.where(inside, slope, 0.0)[()]

    @property
    def statement(self) -> str:
        """The distribution as text, without what it is of."""
        inside = ", ".join(f"{name}={value:.4g}" for name, value in self.values)
        if self.distribution == "Fixed":
            return f"{self.parameters['value']:.6g} (fixed)"
        if self.distribution == "Custom":
            inside = function_name(self.function)
        return f"{self.distribution}({inside})" + " on the variance" * (self.on == "variance")

    def __str__(self) -> str:
        return self.statement + " at the means" * (self.at == "means")

    def __repr__(self) -> str:
        pieces = [repr(self.distribution), *(f"{name}={value!r}" for name, value in self.values)]
        pieces += [f"function={self.function!r}"] * (self.function is not None)
        pieces += ["on='variance'"] * (self.on == "variance") + ["at='means'"] * (self.at == "means")
        return f"Prior({', '.join(pieces)})"


def _numbers(x: object) -> np.ndarray:
    """Return values as an array; of a masked one, the fill values are none of them."""
    if np.ma.is_masked(x):
        raise PriorError("a masked value has no density; leave such values out, as x.compressed() does")
    return np.asarray(x, dtype=float)


def as_prior(value: object, key: str) -> Prior:
    """Return a user's value as a Prior: a Prior as it is, a number as Fixed, a function as Custom.

    Raises
    ------
    PriorError
        For anything else, naming `key`.
    """
    if isinstance(value, Prior):
        return value
    if is_real(value):
        return Prior("Fixed", value=value)
    if callable(value):
        return Prior("Custom", function=value)
    raise PriorError(
        f"the prior of {key!r} is {value!r}, but should be a Prior such as Prior('Normal', mu=0, sigma=10), "
        "a number (which fixes the parameter) or a function that returns a PyMC variable"
    )


def function_name(function: Callable) -> str:
    """Return what to call a user's function in a message."""
    return getattr(function, "__name__", type(function).__name__)


def _check_names(distribution: str, on: str, at: str) -> None:
    names = [*DISTRIBUTIONS, *SPECIAL]
    if distribution not in names:
        known = f"; there are {listing(names, limit=len(names))}"
        raise PriorError(f"{distribution!r} is no known distribution{suggest(str(distribution), names)}{known}")
    if on not in ON:
        raise PriorError(f"on should be 'sd' or 'variance', not {on!r}")
    if at not in AT:
        raise PriorError(f"at should be 'zero' or 'means', not {at!r}{suggest(str(at), AT)}")


def _function(parameters: Mapping[str, object]) -> Callable:
    if set(parameters) != {"function"} or not callable(parameters["function"]):
        raise PriorError(
            "a Custom prior takes one parameter, function, called as function(name, dims) inside the PyMC model"
        )
    return parameters["function"]


def _values(distribution: str, parameters: Mapping[str, object]) -> dict[str, float]:
    """Return the standard parameters of a distribution in their order, each a finite number and each scale above 0."""
    given = {name: _number(distribution, name, value) for name, value in parameters.items()}
    if distribution == "Fixed":
        _check_parameters(distribution, given, ("value",), {})
        return given
    known = DISTRIBUTIONS[distribution]
    given = _standard(distribution, given)
    _check_parameters(distribution, given, known.parameters, known.defaults)
    values = {name: given.get(name, known.defaults.get(name)) for name in known.parameters}
    for name in known.positive:
        if values[name] <= 0:
            raise PriorError(f"{name} of {distribution} should be above 0, not {values[name]:g}")
    if "lower" in values and values["lower"] >= values["upper"]:
        raise PriorError(
            f"lower of {distribution} should be below upper, not {values['lower']:g} with {values['upper']:g}"
        )
    return values


def _number(distribution: str, name: str, value: object) -> float:
    if isinstance(value, Prior):
        raise PriorError(
            f"{name} of {distribution} should be one finite number, and is a prior; the sd of effects has its own, "
            "under the name that model.priors shows"
        )
    if not is_real(value) or not isfinite(value):
        raise PriorError(f"{name} of {distribution} should be one finite number, not {value!r}")
    return float(value)


def _standard(distribution: str, given: dict[str, float]) -> dict[str, float]:
    """Return the parameters with those of another parameterisation of PyMC's (precision, mean and sd) replaced."""
    for names, convert in OTHER_PARAMETERS.get(distribution, {}).items():
        if set(names) <= set(given):
            for name in names:
                if given[name] <= 0:
                    raise PriorError(f"{name} of {distribution} should be above 0, not {given[name]:g}")
            standard = convert(*(given[name] for name in names))
            if set(standard) & set(given):
                raise PriorError(f"{distribution} takes {listing(standard)} or {listing(names)}, not both")
            return {name: value for name, value in given.items() if name not in names} | standard
    return given


def _check_parameters(distribution: str, given: Mapping, names: tuple[str, ...], defaults: Mapping) -> None:
    takes = f"{distribution} takes {listing(names) or 'no parameters'}"
    for name in given:
        if name not in names:
            raise PriorError(f"{distribution} has no parameter {name!r}{suggest(name, names)}; {takes}")
    missing = [name for name in names if name not in given and name not in defaults]
    if missing:
        raise PriorError(f"{distribution} is missing {listing(missing)}; {takes}")
