"""What a maximised fit says of everything that can be printed about a model, under the names of [published]."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd

from bayesmm.cli.reproduce.published import Place, Published
from bayesmm.design.parameters import coefficient_label, parameter_label, variance_parameters
from bayesmm.errors import DataError, listing, suggest
from bayesmm.estimation.estimates import Estimates
from bayesmm.estimation.optimizer import GRADIENT_TOLERANCE
from bayesmm.inference.degrees import t_table
from bayesmm.inference.linear import linear_summary, sums_of_squares
from bayesmm.inference.lrt import lrt
from bayesmm.posterior.point_estimates import estimate

QUARTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
RESIDUALS = ("min", "q1", "median", "q3", "max")
ANOVA = {"Df": "df", "Sum Sq": "ss", "Mean Sq": "ms", "F value": "F", "Pr(>F)": "p"}

Values = float | dict[str, "Values"]


@dataclass(frozen=True)
class Fitted:
    """The maximised model of a published result, or both models of a comparison in the printed order."""

    published: Published
    points: tuple[Estimates, ...]

    @property
    def point(self) -> Estimates:
        """The first model."""
        return self.points[0]

    @property
    def program(self) -> str:
        """Whose conventions the print follows."""
        return self.published.program


def value_at(fitted: Fitted, sections: dict[str, Values], place: Place) -> float:
    """Return the computed value of a printed number.

    Parameters
    ----------
    fitted : Fitted
    sections : dict
        What has been computed so far, by section; a section that is not in it is added.
    place : tuple of str
        Where the number stands below [published].

    Raises
    ------
    DataError
        The model has no such quantity.
    """
    if place[0] not in sections:
        sections[place[0]] = _section(fitted, place[0])
    value = sections[place[0]]
    for depth, key in enumerate(place[1:], start=1):
        if not isinstance(value, dict) or key not in value:
            known = list(value) if isinstance(value, dict) else []
            there = f"(there are {listing(known)}){suggest(key, known)}" if known else "(it is one number)"
            raise DataError(f"{'.'.join(place[:depth])} has no {key!r} {there}")
        value = value[key]
    if isinstance(value, dict):
        raise DataError(f"{'.'.join(place)} is a table: name one of {listing(value)}")
    return float(value)


def _section(fitted: Fitted, name: str) -> Values:
    kind = "comparison" if len(fitted.points) > 1 else "model"
    sections = COMPARISON if kind == "comparison" else MODEL
    if name not in sections:
        raise DataError(f"a {kind} has no {name!r} (it has {listing(sections, 20)}){suggest(name, sections)}")
    return sections[name](fitted)


def _residuals(fitted: Fitted) -> Values:
    """Return the quartiles that the program's summary shows: raw residuals for lm, scaled ones for mixed models."""
    if fitted.program == "lm":
        return dict(zip(RESIDUALS, linear_summary(fitted.point).residuals, strict=True))
    return dict(zip(RESIDUALS, np.quantile(fitted.point.scaled_residuals, QUARTILES), strict=True))


def _rows(table: pd.DataFrame) -> Values:
    return {str(label): {str(name): value for name, value in row.items()} for label, row in table.iterrows()}


def _coefficients(fitted: Fitted) -> Values:
    if fitted.program == "lm":
        return _rows(linear_summary(fitted.point).coefficients)
    return _rows(t_table(fitted.point, "containment") if fitted.program == "nlme" else fitted.point.fixef())


def _correlations(fitted: Fitted) -> Values:
    V, names = fitted.point.beta_cov, fitted.point.design.coefficients
    se = np.sqrt(np.diag(V))
    return {f"{names[j]}, {names[i]}": V[i, j] / (se[i] * se[j]) for i in range(len(names)) for j in range(i)}


def _random(fitted: Fitted) -> Values:
    values: dict[str, dict[str, dict[str, float]]] = {}
    for row in fitted.point.varcorr().itertuples(index=False):
        group = values.setdefault(row.grp, {})
        if isinstance(row.var2, str):
            group[f"{row.var1}, {row.var2}"] = {"corr": row.sdcor}
        else:
            group[str(row.var1)] = {"variance": row.vcov, "sd": row.sdcor}
    return values


def _parameters(fitted: Fitted) -> Values:
    """Return the parameters that are no coefficients, by the names that tables have for them."""
    return {p.label: estimate(fitted.point, p) for p in variance_parameters(fitted.point.design)}


def _anova(fitted: Fitted) -> Values:
    return _rows(sums_of_squares(fitted.point).rename(columns=ANOVA))


def _F(fitted: Fitted) -> Values:
    found = linear_summary(fitted.point)
    return {"F": found.F, "df1": found.F_df[0], "df2": found.F_df[1], "p": found.F_p}


def _df(fitted: Fitted) -> float:
    """Return the residual degrees of freedom: n less the coefficients (lm), or less all parameters (lme4)."""
    point = fitted.point
    return linear_summary(point).df_resid if fitted.program == "lm" else point.design.n - point.npar


def _bic(fitted: Fitted) -> float:
    return fitted.point.bic_nlme if fitted.program == "nlme" else fitted.point.bic


def _side(which: int) -> Callable[[Fitted], Values]:
    def values(fitted: Fitted) -> Values:
        point = fitted.points[which]
        names = {"npar": point.npar, "AIC": point.aic, "BIC": point.bic, "logLik": point.loglik}
        return {**names, "deviance": -2 * point.loglik}

    return values


def _test(column: str) -> Callable[[Fitted], float]:
    def value(fitted: Fitted) -> float:
        return float(lrt(*fitted.points, refit=False).table[column].iloc[-1])

    return value


# name of a section -> its value, or its table of values
MODEL: Mapping[str, Callable[[Fitted], Values]] = MappingProxyType(
    {
        "criterion": lambda fitted: fitted.point.criterion,
        "logLik": lambda fitted: fitted.point.loglik,
        "AIC": lambda fitted: fitted.point.aic,
        "BIC": _bic,
        "deviance": lambda fitted: fitted.point.deviance,
        "variance": lambda fitted: fitted.point.sigma**2,
        "sigma": lambda fitted: fitted.point.sigma,
        "nobs": lambda fitted: fitted.point.design.n,
        "df": _df,
        "R2": lambda fitted: linear_summary(fitted.point).r2,
        "R2_adjusted": lambda fitted: linear_summary(fitted.point).adj_r2,
        "F": _F,
        "gradient": lambda fitted: fitted.point.optimum.gradient,
        "gradient_limit": lambda fitted: GRADIENT_TOLERANCE,
        "residuals": _residuals,
        "levels": lambda fitted: {block.group: len(block.levels) for block in fitted.point.design.blocks},
        "coefficients": _coefficients,
        "correlations": _correlations,
        "random": _random,
        "coef": lambda fitted: {group: _rows(table) for group, table in fitted.point.coef().items()},
        "anova": _anova,
        "parameters": _parameters,
    }
)
# The first and the second model stand in the printed order, which may be that of neither size: df has a sign.
COMPARISON: Mapping[str, Callable[[Fitted], Values]] = MappingProxyType(
    {
        "first": _side(0),
        "second": _side(1),
        "chisq": _test("Chisq"),
        "df": lambda fitted: fitted.points[1].npar - fitted.points[0].npar,
        "p": _test("Pr(>Chisq)"),
    }
)


def label(place: Place) -> str:
    """Return the name of a quantity for a table: a parameter's own where it is one, else the words of its place."""
    head, *rest = place
    if head == "coefficients" and len(rest) == 2:
        return coefficient_label(rest[0]) + ("" if rest[1] == "estimate" else f" {rest[1]}")
    if head == "random" and len(rest) == 3:
        return parameter_label("var" if rest[2] == "variance" else rest[2], rest[0], rest[1])
    if head == "coef" and len(rest) == 3:
        return parameter_label("coef", *rest)
    if head == "parameters":
        return rest[0]
    if head == "correlations":
        return parameter_label("corr", "beta", *rest)
    if place == ("F", "F"):
        return "F"
    if head in ("first", "second"):
        return f"{head} model: {', '.join(rest)}"
    return " ".join(place)


def parameter(place: Place) -> str | None:
    """Return the label of the posterior's parameter that a printed number is an estimate of, or None."""
    estimates = ("sigma",), ("coefficients", "estimate"), ("random", "sd"), ("random", "corr")
    return label(place) if place[0] == "parameters" or place[:1] + place[1:][-1:] in estimates else None
