"""Analysis of variance: tests of one fit's terms, or the likelihood ratios of several fits."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayesmm.design.ordered import CS
from bayesmm.design.predictors import check_of_mean
from bayesmm.design.records import Design
from bayesmm.display.frames import Tabled
from bayesmm.display.text_tables import wrap
from bayesmm.errors import DataError, listing
from bayesmm.estimation.estimates import Estimates
from bayesmm.inference.checks import check_gaussian, check_likelihood, check_point, estimated
from bayesmm.inference.containment import containment_of_terms
from bayesmm.inference.degrees import known_method
from bayesmm.inference.hypotheses import check_type, hypotheses, said
from bayesmm.inference.kenward_roger import kenward_roger
from bayesmm.inference.linear import RESIDUALS, sums_of_squares
from bayesmm.inference.lrt import LikelihoodRatio, lrt
from bayesmm.inference.satterthwaite import satterthwaite
from bayesmm.inference.tails import chi2_tail, f_tail
from bayesmm.inference.text import frame_lines
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.runtime.arguments import check_bool
from bayesmm.runtime.threads import few_threads


@dataclass(frozen=True, eq=False)
class Anova(Tabled):
    """A table of F tests of a model's terms.

    Attributes
    ----------
    title : str
    response : str
    table : pandas.DataFrame
        A row for each term, in the order of the formula. Linear model: Df, Sum Sq, Mean Sq, F value, Pr(>F), with a
        row ``Residuals``. Mixed model: npar, Sum Sq, Mean Sq, F value, and DenDF, Pr(>F) if a method was asked for;
        these three are NaN where Kenward and Roger's approximation breaks down. Generalised model: Chisq, Df,
        Pr(>Chisq).
    left : str
        The formulas whose terms have no row, ``cs(f)`` or ``sigma ~ x``; empty if there are none.
    """

    title: str
    response: str
    table: pd.DataFrame
    left: str = ""

    @property
    def notes(self) -> list[str]:
        """Return a sentence on the terms without a test, if there are any, or on there being none to test."""
        found = [f"Note: {self.left} has no row; bmm.lrt compares models with and without it"] if self.left else []
        if set(self.table.index) <= {RESIDUALS}:
            return ["Note: there is nothing to test, because the fixed part has no term besides an intercept", *found]
        if "DenDF" not in self.table or not (blank := self.table["DenDF"].isna()).any():
            return found
        terms = listing([repr(term) for term in self.table.index[blank]])
        return [
            *found,
            f"Note: Kenward and Roger's approximation breaks down for {terms}, whose denominator has very few degrees "
            "of freedom; ddf='satterthwaite' has an answer",
        ]

    def __str__(self) -> str:
        notes = [line for note in self.notes for line in wrap(note)]
        head = [*wrap(self.title), *wrap(f"Response: {self.response}")]
        table = ["", *frame_lines(self.table)] if len(self.table) else []
        return "\n".join([*head, *table, *([""] if notes else []), *notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from bayesmm.display.html import table_html

        return table_html([self.title, f"Response: {self.response}", *self.notes], self.table)


@few_threads
def anova(
    point: Estimates, *more: Estimates, ddf: str | None = None, refit: bool = True, type: str | int | None = None
) -> Anova | LikelihoodRatio:
    """Test the terms of one model, or several models against one another.

    Parameters
    ----------
    point : PointFit
        By REML or ML. Of a Gaussian model without random effects the sums of squares are those of least squares; with
        them, they are on the scale of the estimated covariance, as in lme4's table. Of other families the tests are
        Wald's chi-square, as in car's Anova() of a glmer fit.
    *more : PointFit
        If any, the answer is ``lrt(point, *more, refit=refit)``.
    ddf : {None, "satterthwaite", "kenward-roger", "containment"}
        Denominator degrees of freedom for a mixed model; None gives F without a p-value, as lme4 does.
    refit : bool
        For `lrt`.
    type : {"I", "II", "III", 1, 2, 3}, optional
        What is tested of a term: "I" (if not given, as R's anova of lm and lme4): it after the terms before it in the
        formula, so that their order matters where the data are unbalanced. "II": it after all terms that do not contain
        it, as ``car::Anova``. "III": it after all others, averaged over the levels of the factors that it interacts
        with, as lmerTest and SAS, and where the numbers that it interacts with are 0, which the title says: center()
        around a number makes that its mean. The coding of the factors makes no difference to any of them. See
        `bayesmm.inference.hypotheses`.

    Returns
    -------
    Anova or LikelihoodRatio

    Raises
    ------
    ValueError
        For an unknown `ddf` or `type`, or one given together with several fits.
    DataError
        For a family or a fit that the test is not for, or for type III where there are coefficients that cannot be
        estimated.
    """
    check_bool("refit", refit)
    ddf = None if ddf is None else known_method(ddf)
    kind = check_type("I" if type is None else type)
    if more:
        for name, value in (("ddf", ddf), ("type", type)):
            if value is not None:
                raise ValueError(f"{name}={value!r} is for the terms of one fit, and {1 + len(more)} were given")
        return lrt(point, *more, refit=refit)
    check_point(point)
    design = point.design
    smooths = [block.group for block in design.blocks if block.smooth]
    if smooths:
        raise DataError(
            f"an analysis of variance tests coefficients, and {listing(smooths)} has penalised effects too; compare "
            "models with bmm.lrt or by loo(), and see the intervals of fixef()"
        )
    left = _check_terms(design)
    if not design.family.gaussian:
        return _generalised(point, ddf, kind, left)
    check_gaussian(point, "an analysis of variance")
    what = f"type {kind}, {said(design, kind)}"
    if not design.blocks:
        title = f"Analysis of variance, sums of squares of {what}"
        return Anova(title, design.response, sums_of_squares(point, kind))
    title = f"Analysis of variance, Wald F tests of {what}"
    title += "" if ddf is None else f"; degrees of freedom by {ddf.title()}"
    return Anova(title, design.response, wald_table(point, ddf, kind))


def _check_terms(design: Design) -> str:
    """Return the formulas whose terms are not those of X; a DataError where all terms are in them."""
    if design.family.nominal and design.formula.scales:
        raise DataError(
            "each term of a model of categories without an order has a coefficient for each category, which an "
            "analysis of variance does not test; bmm.lrt compares models with and without it"
        )
    left = listing([scale.text for scale in design.formula.scales if scale.terms])
    specific = [scale.text for scale in design.formula.scales if scale.name == CS]
    if specific and not design.formula.terms:
        raise DataError(
            f"{specific[0]} has effects on each threshold, which an analysis of variance does not test; bmm.lrt "
            "compares models with and without it"
        )
    return left


def _generalised(point: Estimates, ddf: str | None, kind: str, left: str) -> Anova:
    """Return Wald chi-square tests of the terms, as car's Anova() of a glmer fit."""
    if ddf is not None:
        check_of_mean(point.design, f"ddf={ddf!r}", "without it the tests are Wald's chi-square")
        raise DataError(f"ddf={ddf!r} is for the gaussian family; other families have Wald chi-square tests")
    check_likelihood(point, "an analysis of variance")
    tested, kept = hypotheses(point, kind), estimated(point.design)
    chisq = np.array([np.sum((one.rows @ point.beta[kept]) ** 2) for one in tested]) / point.sigma**2
    df = np.array([len(one.rows) for one in tested], dtype=int)
    table = pd.DataFrame({"Chisq": chisq, "Df": df, "Pr(>Chisq)": chi2_tail(chisq, df)})
    title = f"Analysis of deviance, Wald chi-square tests of type {kind}, {said(point.design, kind)}"
    index = pd.Index([one.label for one in tested], name="term", dtype=object)
    return Anova(title, point.design.response, table.set_axis(index, axis=0), left)


def wald_table(point: Estimates, ddf: str | None, kind: str = "I") -> pd.DataFrame:
    """Return lme4's anova table of a mixed model, or that of another type."""
    tested, kept = hypotheses(point, kind), estimated(point.design)
    rows = [one.rows for one in tested]
    npar = np.array([len(r) for r in rows], dtype=int)
    ss = np.array([np.sum((r @ point.beta[kept]) ** 2) for r in rows])
    F = ss / npar / point.sigma**2
    table = {"npar": npar, "Sum Sq": ss, "Mean Sq": ss / npar, "F value": F}
    if ddf is not None and rows:
        F, df = _tests(point, ddf, rows, {one.columns: one.label for one in tested}, F)
        table |= {"F value": F, "DenDF": df, "Pr(>F)": f_tail(F, npar, df)}
    return pd.DataFrame(table, index=pd.Index([one.label for one in tested], name="term", dtype=object))


def _tests(point: Estimates, ddf: str, rows: list[Floats], terms: dict[tuple[int, ...], str], F: Floats):
    """Return the F values and their denominator degrees of freedom; Kenward-Roger adjusts F too."""
    if ddf == "containment":
        return F, containment_of_terms(point, terms)
    if ddf == "satterthwaite":
        found = satterthwaite(point)
        return F, np.array([found.df_of_rows(r) for r in rows])
    found, beta = kenward_roger(point), point.beta[estimated(point.design)]
    tests = [found.f_test(r) for r in rows]
    adjusted = [
        scale * (r @ beta) @ np.linalg.solve(r @ found.adjusted @ r.T, r @ beta) / len(r)
        for r, (_, scale) in zip(rows, tests, strict=True)
    ]
    return np.array(adjusted), np.array([df for df, _ in tests])
