"""Likelihood ratio tests of nested models, and what is wrong with them at a boundary."""

from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import pandas as pd

from bayesmm.design.same_rows import check_same_rows, same_column
from bayesmm.display.frames import Tabled
from bayesmm.display.text_tables import shorten, wrap
from bayesmm.errors import DataError
from bayesmm.estimation.estimates import Estimates
from bayesmm.estimation.maximize import maximize
from bayesmm.families.families import limits_of
from bayesmm.families.limits import same_limits
from bayesmm.inference.checks import check_point, family_text
from bayesmm.inference.nesting import Step, compare_designs
from bayesmm.inference.tails import chi2_tail
from bayesmm.inference.text import frame_lines
from bayesmm.runtime.arguments import check_bool
from bayesmm.runtime.messages import count
from bayesmm.runtime.threads import few_threads

FORMULA_WIDTH = 90  # columns of a formula in the list of models
# Two logarithms of a likelihood that differ by less are the same to the optimiser.
SAME_LOGLIK = 1e-6


@dataclass(frozen=True, eq=False)
class LikelihoodRatio(Tabled):
    """A table of likelihood ratio tests, the smallest model first.

    Attributes
    ----------
    table : pandas.DataFrame
        Index model (from 1); npar, AIC, BIC, logLik, deviance, Chisq, Df, Pr(>Chisq), Pr(mixture); each test is
        against the row above. ``Pr(mixture)`` is the p-value that holds when a variance is 0 under the smaller model,
        and NaN where there is no such variance or its distribution has no simple form.
    models : tuple of str
        The formulas, in the order of the table, with the families where they differ.
    points : tuple of PointFit
        The fits that were compared, refitted by ML where that was needed.
    notes : tuple of str
        What was refitted, which models are not nested, what the p-values mean at a boundary.
    """

    table: pd.DataFrame
    models: tuple[str, ...]
    points: tuple[Estimates, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        names = [f"{i}: {shorten(text, FORMULA_WIDTH)}" for i, text in enumerate(self.models, start=1)]
        shown = self.table.dropna(axis="columns", how="all")
        notes = [line for note in self.notes for line in wrap(note)]
        return "\n".join(["Likelihood ratio test", *names, "", *frame_lines(shown), *([""] if notes else []), *notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from bayesmm.display.html import table_html

        models = [f"{i}: {text}" for i, text in enumerate(self.models, start=1)]
        return table_html(["Likelihood ratio test", *models, *self.notes], self.table.dropna(axis="columns", how="all"))


@few_threads
def lrt(a: Estimates, b: Estimates, *more: Estimates, refit: bool = True) -> LikelihoodRatio:
    """Compare nested models by likelihood ratios, as lme4's anova() does.

    Parameters
    ----------
    a, b, *more : PointFit
        Fits of the same rows and response, in any order: the table sorts them by their number of parameters.
    refit : bool
        True: REML fits are refitted by ML, which is valid whatever differs. False: their REML log-likelihoods are
        compared as they are, as lmtest's lrtest() does; that is a test only where the fixed effects are the same.

    Returns
    -------
    LikelihoodRatio

    Raises
    ------
    DataError
        If the fits are of other rows, another response or weights, of families of which none is a special case of the
        other, or one is the mode of a posterior.

    Notes
    -----
    Nested families are those of which one has a parameter more that makes it the other where it is infinite: the shape
    of a negative binomial (Poisson), the degrees of freedom of Student's t (Gaussian). Other families are compared by
    `bayesmm.compare_models`.

    A variance that is 0 under the smaller model lies on the boundary of the larger one, and twice the log likelihood
    ratio is then not chi-square with Df degrees of freedom, whose p-value is too large. Where the larger model has one
    more random effect, correlated with q others, the distribution is the even mixture of chi-squares with q and q + 1
    degrees of freedom, plus those of the other parameters tested (Stram & Lee 1994, Biometrics 50, 1171-1177, cases 1
    to 3). The same even mixture, of a point at 0 and one degree of freedom, holds for one parameter of a family, whose
    inverse is 0 under the smaller model (Self & Liang 1987, Journal of the American Statistical Association 82,
    605-610, case 5; for counts Lawless 1987, Canadian Journal of Statistics 15, 209-225).
    """
    check_bool("refit", refit)
    points = (a, b, *more)
    _check_comparable(points)
    _check_families(points)
    order = np.argsort([point.npar for point in points], kind="stable")
    points, notes = [points[i] for i in order], []
    if refit and any(point.method == "REML" for point in points):
        refitted = [point for point in points if point.method == "REML"]
        notes.append(f"{count(len(refitted), 'REML fit')} refitted by ML")
        points = [type(p).of(maximize(p.design, "ML")) if p.method == "REML" else p for p in points]
    steps = [compare_designs(small.design, large.design) for small, large in pairwise(points)]
    table = _table(points, steps)
    notes += [note for i, step in enumerate(steps, start=1) for note in _notes(i, step, points, table)]
    several = len({family_text(point.design) for point in points}) > 1
    models = tuple(
        point.design.formula.text + (f" ({family_text(point.design)})" if several else "") for point in points
    )
    return LikelihoodRatio(table, models, tuple(points), tuple(notes))


def _check_comparable(points: tuple[Estimates, ...]) -> None:
    """Raise a DataError unless all fits are of the same response, rows and weights."""
    for point in points:
        check_point(point)
    first = points[0].design
    for number, point in enumerate(points, start=1):
        design = point.design
        if point.method == "MAP":
            raise DataError(
                f"fit {number} is the mode of a posterior (MAP), and a likelihood ratio is for maximised likelihoods; "
                "use maximize('REML') or maximize('ML')"
            )
        check_same_rows(first, design, "the fits", "likelihoods")
        if not (same_column(design.weights, first.weights) and same_column(design.trials, first.trials)):
            raise DataError("the fits have different weights or trials, so that their likelihoods cannot be compared")
        if not same_limits(design.limits, first.limits):
            said = "the fits have differently censored or truncated responses"
            raise DataError(f"{said}, so that their likelihoods cannot be compared")


def _check_families(points: tuple[Estimates, ...]) -> None:
    """Raise a DataError for two families of which none is a special case of the other."""
    for a, b in combinations([point.design for point in points], 2):
        if limits_of(a.family, b.family) is None and limits_of(b.family, a.family) is None:
            raise DataError(
                f"the fits have different families ({family_text(a)} and {family_text(b)}), of which neither is a "
                "special case of the other, so that there is no likelihood ratio test; bmm.compare_models({'a': one, "
                "'b': other}) compares their AIC"
            )


def _table(points: list[Estimates], steps: list[Step]) -> pd.DataFrame:
    loglik = np.array([point.loglik for point in points])
    npar = np.array([point.npar for point in points])
    nested = np.array([False, *(not step.reasons for step in steps)])
    chisq = np.where(nested, np.append(np.nan, np.maximum(2 * np.diff(loglik), 0.0)), np.nan)
    df = np.array([np.nan, *np.diff(npar).astype(float)])
    tested = nested & (df > 0)
    tests = zip(chisq[1:], df[1:], steps, strict=True)
    mixture = [np.nan, *(mixture_p(c, d) if _simple(step) else np.nan for c, d, step in tests)]
    table = {
        "npar": npar,
        "AIC": [point.aic for point in points],
        "BIC": [point.bic for point in points],
        "logLik": loglik,
        "deviance": -2 * loglik,
        "Chisq": chisq,
        "Df": df,
        "Pr(>Chisq)": np.where(tested, chi2_tail(np.where(tested, chisq, 0.0), np.where(tested, df, 1.0)), np.nan),
        "Pr(mixture)": mixture,
    }
    return pd.DataFrame(table, index=pd.RangeIndex(1, len(points) + 1, name="model"))


def _simple(step: Step) -> bool:
    """Return whether one parameter is at its bound in the smaller model: the cases with a known even mixture.

    That is one more random effect, or one more parameter of the family, but not both.
    """
    return not step.reasons and step.added + len(step.limits) == 1


def mixture_p(chisq: float, df: float) -> float:
    """Return the p-value of the even mixture of chi-squares with df - 1 and df degrees of freedom (0: a point at 0)."""
    lower = float(chi2_tail(chisq, df - 1)) if df > 1 else float(chisq <= 2 * SAME_LOGLIK)
    return (lower + float(chi2_tail(chisq, df))) / 2


def _notes(i: int, step: Step, points: list[Estimates], table: pd.DataFrame) -> list[str]:
    """Return what has to be said of the test of model i + 1 against model i."""
    pair, methods = f"models {i} and {i + 1}", {points[i - 1].method, points[i].method}
    if table["Df"][i + 1] == 0:
        return [f"{pair} have the same number of parameters: there is nothing to test"]
    if step.reasons:
        return [
            f"{pair} are not nested ({'; '.join(step.reasons)}): a p-value means nothing and is left blank; compare "
            "their AIC"
        ]
    notes = []
    if methods == {"REML", "ML"}:
        notes.append(f"{pair} are fitted by REML and by ML, whose likelihoods cannot be compared; leave refit=True")
    elif methods == {"REML"} and not step.same_fixed:
        notes.append(
            f"{pair} have different fixed effects, and REML likelihoods are then not comparable: the p-value means "
            "nothing; leave refit=True"
        )
    if points[i].loglik < points[i - 1].loglik - SAME_LOGLIK and len(methods) == 1 and step.same_fixed:
        notes.append(f"model {i + 1} has a lower likelihood than model {i}, which it contains: it has not converged")
    if len({point.nagq for point in points[i - 1 : i + 1] if point.design.blocks}) > 1:
        notes.append(f"{pair} integrate their random effects by different rules; give both the same nagq")
    return notes + _boundary_notes(pair, step)


def _boundary_notes(pair: str, step: Step) -> list[str]:
    if step.added <= 0 and not step.limits:
        return []
    what = ["the variance tested is 0"] if step.added > 0 else []
    what += step.limits
    said = f"{pair}: {' and '.join(what)} under the smaller model, at the boundary, so that Pr(>Chisq) is too large"
    if _simple(step):
        return [f"{said}; Pr(mixture) is by the 50:50 mixture of chi-squares with Df - 1 and Df degrees of freedom"]
    more = f"{count(step.added, 'random effect')} more" + (" and another parameter" if step.limits else "")
    return [f"{said} (conservative); with {more} there is no simple mixture"]
