"""Analysis of variance: sequential tests of one fit's terms, or the likelihood ratios of several fits."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayesmm.arguments.checks import check_bool
from bayesmm.errors import DataError, listing
from bayesmm.inference.containment import containment_of_terms
from bayesmm.inference.degrees import check_method
from bayesmm.inference.kenward_roger import kenward_roger
from bayesmm.inference.linear import sums_of_squares
from bayesmm.inference.lrt import LikelihoodRatio, lrt
from bayesmm.inference.satterthwaite import satterthwaite
from bayesmm.inference.tails import f_tail
from bayesmm.inference.terms import check_gaussian, estimated, term_columns
from bayesmm.inference.text import frame_lines
from bayesmm.layout import wrap
from bayesmm.marginal.crossproducts import Floats
from bayesmm.pointfit import PointFit
from bayesmm.runtime.threads import few_threads


@dataclass(frozen=True, eq=False)
class Anova:
    """A table of sequential F tests.

    Attributes
    ----------
    title : str
    response : str
    table : pandas.DataFrame
        A row for each term, in the order of the formula. Linear model: Df, Sum Sq, Mean Sq, F value, Pr(>F), with a
        row ``Residuals``. Mixed model: npar, Sum Sq, Mean Sq, F value, and DenDF, Pr(>F) if a method was asked for;
        these three are NaN where Kenward and Roger's approximation breaks down.
    """

    title: str
    response: str
    table: pd.DataFrame

    @property
    def notes(self) -> list[str]:
        """Return a sentence on the terms without a test, if there are any."""
        if "DenDF" not in self.table or not (blank := self.table["DenDF"].isna()).any():
            return []
        terms = listing([repr(term) for term in self.table.index[blank]])
        return [
            f"Note: Kenward and Roger's approximation breaks down for {terms}, whose denominator has very few degrees "
            "of freedom; ddf='satterthwaite' has an answer"
        ]

    def __str__(self) -> str:
        notes = [line for note in self.notes for line in wrap(note)]
        head = [*wrap(self.title), *wrap(f"Response: {self.response}")]
        return "\n".join([*head, "", *frame_lines(self.table), *([""] if notes else []), *notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from bayesmm.reporting.notebook import table_html

        return table_html([self.title, f"Response: {self.response}", *self.notes], self.table)


@few_threads
def anova(point: PointFit, *more: PointFit, ddf: str | None = None, refit: bool = True) -> Anova | LikelihoodRatio:
    """Test the terms of one model in their order, or several models against one another.

    Parameters
    ----------
    point : PointFit
        Of a Gaussian model by REML or ML. Without random effects the sequential (type I) sums of squares of least
        squares; with them, lme4's: each term after those before it, on the scale of the estimated covariance.
    *more : PointFit
        If any, the answer is ``lrt(point, *more, refit=refit)``.
    ddf : {None, "satterthwaite", "kenward-roger", "containment"}
        Denominator degrees of freedom for a mixed model; None gives F without a p-value, as lme4 does.
    refit : bool
        For `lrt`.

    Returns
    -------
    Anova or LikelihoodRatio

    Raises
    ------
    ValueError
        For an unknown `ddf`, or one given together with several fits.
    DataError
        For a family or a fit that the test is not for.
    """
    check_bool("refit", refit)
    if ddf is not None:
        check_method(ddf)
    if more:
        if ddf is not None:
            raise ValueError(f"ddf={ddf!r} is for the terms of one fit, and {1 + len(more)} were given")
        return lrt(point, *more, refit=refit)
    check_gaussian(point, "an analysis of variance")
    design = point.design
    if not design.blocks:
        return Anova("Analysis of variance: sequential sums of squares", design.response, sums_of_squares(point))
    title = "Analysis of variance: sequential Wald F tests of the fixed effects"
    said = "" if ddf is None else f", degrees of freedom by {ddf.title()}"
    return Anova(title + said, design.response, wald_table(point, ddf))


def wald_table(point: PointFit, ddf: str | None) -> pd.DataFrame:
    """Return lme4's anova table of a mixed model.

    With C = R^-1 R^-T the coefficients' covariance over sigma^2, R upper triangular (from a QR factorisation of the
    inverse of a root of C, which the coefficients' origins do not condition badly), the entries of R beta are
    independent with variance sigma^2, and those of a term are its contribution after the terms before it.
    """
    design, kept = point.design, estimated(point.design)
    terms = [term for term in term_columns(design)[int(design.has_intercept) :] if term.columns]
    if not terms:
        raise DataError(f"the fixed part of {design.formula.text!r} has no term to test; it has only an intercept")
    R = np.linalg.qr(_inverse(point.scaled.root[kept]) * point.sigma, mode="r")
    rows = [R[[kept.index(j) for j in term.columns]] for term in terms]
    npar = np.array([len(r) for r in rows])
    ss = np.array([np.sum((r @ point.beta[kept]) ** 2) for r in rows])
    F = ss / npar / point.sigma**2
    table = {"npar": npar, "Sum Sq": ss, "Mean Sq": ss / npar, "F value": F}
    if ddf is not None:
        F, df = _tests(point, ddf, rows, {term.columns: term.label for term in terms}, F)
        table |= {"F value": F, "DenDF": df, "Pr(>F)": f_tail(F, npar, df)}
    return pd.DataFrame(table, index=pd.Index([term.label for term in terms], name="term"))


def _inverse(root: Floats) -> Floats:
    """Return the inverse of a matrix whose rows are in different units."""
    size = np.linalg.norm(root, axis=1)
    return np.linalg.inv(root / size[:, None]) / size


def _tests(point: PointFit, ddf: str, rows: list[Floats], terms: dict[tuple[int, ...], str], F: Floats):
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
