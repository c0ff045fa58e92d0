"""Check: one result, and the verdict of many."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bayesmm.display.html import fragment
from bayesmm.display.text_tables import ceiled, wrap
from bayesmm.evaluation.checks.check_html import check_table

# What each check is held against, by name; "ours" where no source has a number.
SOURCES = {
    "divergences": "Betancourt (2017), arXiv:1701.02434, section 6.2",
    "R-hat": "Vehtari et al. (2021), Bayesian Analysis 16(2), section 4",
    "bulk ESS": "Vehtari et al. (2021), Bayesian Analysis 16(2), section 4",
    "tail ESS": "Vehtari et al. (2021), Bayesian Analysis 16(2), section 4",
    "E-BFMI": "Betancourt (2016), arXiv:1604.00695; the limit is that of Stan",
    "tree depth": "the limit is that of PyMC and Stan",
    "Pareto k": "Vehtari et al. (2024), JMLR 25(72)",
    "few groups": "Gelman (2006), Bayesian Analysis 1(3), section 5",
    "prior conflict": "after Evans & Moshonov (2006), Bayesian Analysis 1(4); the limit is ours",
    "residual shape": "Bonferroni's bound for the largest; Bulmer (1979), Principles of Statistics, for the skewness",
    "dispersion": "Gelman, Meng & Stern (1996), Statistica Sinica 6(4); the limit is ours",
    "zeros": "Gelman, Meng & Stern (1996), Statistica Sinica 6(4); the limit is ours",
}
SOURCES |= {
    "integral": "a finer rule of the same kind; the limit is ours, the last digit of a printed AIC",
    "autocorrelation": "the lag-1 autocorrelation among random orders within the groups; the limits are ours",
    "influential groups": "Belsley, Kuh & Welsch (1980), Regression Diagnostics, section 2.1, for groups of rows",
}
# Remarks that the warnings about the data make already, wherever the verdict is printed beside them.
SAID_BY_DATA = ("few groups",)


@dataclass(frozen=True)
class Check:
    """One check of a posterior.

    Attributes
    ----------
    name : str
    ok : bool
        False means that the draws cannot be relied on.
    value : float
        What was measured; NaN where there is nothing of the kind.
    limit : float
        What the value is held against.
    message : str
        What was found and, if it failed or is a note, one sentence of advice for this model.
    note : bool
        A remark about the model: the draws are its posterior, but look at whether it is the right model.
    source : str
        Where the check or its limit comes from.
    """

    name: str
    ok: bool
    value: float
    limit: float
    message: str
    note: bool = False
    source: str = "ours"

    @property
    def status(self) -> str:
        """The result in a word: "failed", "note", "not judged" (there was nothing to measure) or "passed"."""
        if self.ok and not self.note and math.isnan(self.value):
            return "not judged"
        return "failed" if not self.ok else "note" if self.note else "passed"


class Checks(list[Check]):
    """The checks of a fit, a list of `Check`; printed with a line for each, what failed first."""

    def __repr__(self) -> str:
        order = ("failed", "note", "passed", "not judged")
        shown = sorted(self, key=lambda check: order.index(check.status))
        lines = [wrap(check.message, " " * 12, f"{check.status:<12}{check.name}: ") for check in shown]
        return "\n".join(line for wrapped in lines for line in wrapped)

    def _repr_html_(self) -> str:
        failed = [check.name for check in self if not check.ok]
        return fragment([f"CHECKS FAILED: {', '.join(failed)}." if failed else "Checks passed."], [check_table(self)])


def sourced(check: Check) -> Check:
    """Return a check with where it comes from, by its name."""
    return replace(check, source=SOURCES.get(check.name, check.source))


def verdict(checks: Sequence[Check]) -> str:
    """Return the verdict of the checks: one line, one more for each check that failed, and one for each note.

    Draws that fail a check may still say what is wrong with the model, which is often why they fail.
    """
    failed = [check for check in checks if not check.ok]
    first = f"CHECKS FAILED: {', '.join(check.name for check in failed)}." if failed else _passed(checks)
    notes = [check for check in checks if check.note and check.name not in SAID_BY_DATA]
    return "\n".join([
        first,
        *(f"  {check.name}: {check.message}" for check in failed),
        *(f"  Note, {check.name}: {check.message}" for check in notes),
    ])  # fmt: skip


def _passed(checks: Sequence[Check]) -> str:
    """Return the one line of a posterior that failed no check."""
    by_name = {check.name: check for check in checks}
    ess = min(by_name["bulk ESS"].value, by_name["tail ESS"].value)
    if math.isnan(ess):
        return "Checks passed: every parameter is held fixed by its prior."
    if "Pareto k" in by_name:
        k = math.ceil(by_name["Pareto k"].value * 100) / 100
        return f"Checks passed: Pareto k <= {k:.2f}, ESS >= {math.floor(ess):,}."
    r_hat = by_name["R-hat"].value
    end = "" if math.isnan(by_name["divergences"].value) else ", no divergence"
    return f"Checks passed: R-hat <= {ceiled(r_hat)}, ESS >= {math.floor(ess):,}{end}."
