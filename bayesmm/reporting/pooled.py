"""The fits of multiply imputed data as one: tables and print."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
import xarray as xr

from bayesmm.design.parameters import (
    category_effects,
    coefficient_label,
    coefficients,
    variance_entries,
    variance_parameters,
)
from bayesmm.display.frames import WholeFrame
from bayesmm.display.text_tables import ceiled, column, p_text, table, wrap
from bayesmm.display.text_tables import count as whole
from bayesmm.estimation.estimates import Estimates
from bayesmm.inference.marginal_effects.uncertainty import exponentiated
from bayesmm.inference.pooling import averaged, on_links, pooled_summary
from bayesmm.inference.ratios import check_exponentiated
from bayesmm.posterior import draws
from bayesmm.reporting.tidy import KEYS, STATISTICS, keyed
from bayesmm.runtime.arguments import check_bool, check_probability
from bayesmm.runtime.messages import count

SHARES = ("lambda", "fmi")
WHOLE = ("ess_bulk", "ess_tail")  # columns


@dataclass(frozen=True)
class _Mixed:
    """What the tables of a posterior are made from: the model of the first imputation, and the draws of all."""

    model: object
    tree: xr.DataTree

    @property
    def design(self):
        """The design of the first imputation."""
        return self.model.design


@dataclass(frozen=True, eq=False)
class Pooled:
    """The fits of multiply imputed data, pooled.

    Maximised fits are pooled by Rubin's rules (`bayesmm.inference.pooling`). Of posteriors the draws are mixed, as many
    of each imputation: the mixture is the posterior that averages over what is missing. The chains of two imputations
    have two targets, so that R-hat is the largest of any imputation, and effective sample sizes are sums.

    Attributes
    ----------
    fits : mapping of label to PointFit or Fit
        One for each imputation.
    df_com : float, "residual" or None
        Degrees of freedom of the complete data: see `bayesmm.fit_multiple`.
    missing : mapping of label to str
        Why imputations have no fit; they are in no number of this result.
    """

    fits: Mapping[object, object]
    df_com: float | str | None = None
    missing: Mapping[object, str] = field(default_factory=dict)

    @property
    def design(self):
        """The design of the first imputation."""
        return self._all[0].design

    @property
    def maximised(self) -> bool:
        """Whether the fits are by `maximize`."""
        return isinstance(self._all[0], Estimates)

    @property
    def _all(self) -> list:
        return list(self.fits.values())

    @cached_property
    def tree(self) -> xr.DataTree:
        """The mixed draws of posteriors, ArviZ's group posterior alone: chains of all imputations side by side."""
        if self.maximised:
            raise AttributeError("maximised fits have no draws; fit_multiple(..., how='sample') has")
        parts = [fit.tree["posterior"].to_dataset() for fit in self._all]
        # an imputed grouping factor may have other levels: the random effects that all fits have are kept
        parts = [part[[name for name in part.data_vars if name in parts[0].data_vars]] for part in parts]
        least = min(part.sizes["draw"] for part in parts)  # one that was interrupted must not count less
        each, number = [part.isel(draw=slice(least)) for part in parts], 0
        for i, part in enumerate(each):
            each[i] = part.assign_coords(chain=np.arange(number, number + part.sizes["chain"]))
            number += part.sizes["chain"]
        return xr.DataTree.from_dict({"posterior": xr.concat(each, "chain", join="inner")})

    def summary(self, ci_prob: float = draws.CI_PROB) -> pd.DataFrame:
        """Return every parameter but the random effects, index parameter.

        Of maximised fits estimate, se, df, t, p, lower, upper, lambda and fmi: see
        `bayesmm.inference.pooling.pooled_summary`. Of posteriors mean, sd, lower, upper, ess_bulk, ess_tail, r_hat, and
        lambda, the share of the variance that the missing values make.
        """
        check_probability("ci_prob", ci_prob)
        if self.maximised:
            return WholeFrame(pooled_summary(self._all, self.df_com, ci_prob))
        own = coefficients(self.design) + variance_parameters(self.design)
        return WholeFrame(self._described(own, ci_prob))

    def _described(self, parameters: list, ci_prob: float) -> pd.DataFrame:
        """Return the statistics of the mixed draws of parameters, with R-hat and ESS by imputation."""
        found = draws.describe(draws.draws_of(_Mixed(self._all[0].model, self.tree), parameters), ci_prob)
        each = [draws.describe(draws.draws_of(fit, parameters), ci_prob) for fit in self._all]
        for name in ("ess_bulk", "ess_tail"):
            found[name] = np.sum([own[name] for own in each], axis=0)
        found["r_hat"] = np.max([own["r_hat"] for own in each], axis=0)
        between = (1 + 1 / len(each)) * np.var([own["mean"] for own in each], axis=0, ddof=1)
        within = np.mean([own["sd"] ** 2 for own in each], axis=0)
        with np.errstate(invalid="ignore"):
            found["lambda"] = between / (within + between)
        return found.set_index(pd.Index([own.label for own in parameters], name="parameter"))

    def fixef(self, exponentiate: bool = False) -> pd.DataFrame:
        """Return the coefficients, index coef, with the columns of `summary`.

        With `exponentiate` ratios and their intervals, where the link has such.
        """
        check_bool("exponentiate", exponentiate)
        labels = self._coefficients()
        found = self.summary().loc[list(labels)].set_index(pd.Index(list(labels.values()), name="coef"))
        if not exponentiate:
            return WholeFrame(found)
        check_exponentiated(self.design)
        if self.maximised:
            return WholeFrame(exponentiated(found))
        ratios = draws.fixef(_Mixed(self._all[0].model, self.tree), np.exp)
        return WholeFrame(ratios.assign(**{name: found[name] for name in ("ess_bulk", "ess_tail", "r_hat", "lambda")}))

    def _coefficients(self) -> dict[str, str]:
        """Return what the coefficients are called among parameters and by `fixef`."""
        if self.design.family.nominal:
            return {parameter.label: name for name, parameter in category_effects(self.design)}
        return {coefficient_label(name): name for name in self.design.coefficients}

    def varcorr(self) -> pd.DataFrame:
        """Return sds and correlations, the residual last, as `varcorr` of a fit has them.

        Those of maximised fits are of the averages of the covariance matrices, which no average of correlations
        could make impossible; `between` is the standard deviation of sdcor between imputations. Of posteriors the
        statistics of the mixed draws.
        """
        if self.maximised:
            found = averaged(self._all)
            each = [Estimates.varcorr(point)["sdcor"].to_numpy(float) for point in self._all]
            return WholeFrame(Estimates.varcorr(found).assign(between=np.std(each, axis=0, ddof=1)))
        kinds = (*draws.VARCORR, "residual") if self.design.responses else draws.VARCORR
        parameters = [parameter for parameter in variance_entries(self.design) if parameter.kind in kinds]
        keys = [draws.variance_keys(self.design, parameter) for parameter in parameters]
        table = self._described(parameters, draws.CI_PROB).reset_index(drop=True)
        return WholeFrame(pd.concat([pd.DataFrame(keys, columns=["grp", "var1", "var2"], dtype=object), table], axis=1))

    def tidy(self, ci_prob: float = draws.CI_PROB) -> pd.DataFrame:
        """Return a row for each parameter with the columns of R's broom.mixed, and lambda and fmi.

        See `bayesmm.reporting.tidy.tidy`.
        """
        found = self.summary(ci_prob)
        keys, kept = keyed(self.design, found)
        names = [name for name in found.columns if name in STATISTICS or name in SHARES]
        out = pd.concat([keys, kept[names].rename(columns=STATISTICS)], axis=1)
        return WholeFrame(out[[*KEYS, *(name for name in out.columns if name not in KEYS and out[name].notna().any())]])

    def __str__(self) -> str:
        design, how = self.design, self._all[0].method if self.maximised else "posterior"
        rows = sorted({fit.design.n for fit in self._all})
        title = f"{count(len(self.fits), 'imputation')} pooled, {how}"
        lines = [title, f"Formula: {design.formula.text}"]
        if not design.family.linear:
            lines.append(f"Family: {design.family.label} ({design.family.link} link)")
        groups = [f"{block.group}, {len(block.labels):,}" for block in (design.blocks[k] for k in design.groups)]
        sizes = " to ".join(f"{n:,}" for n in (rows if len(rows) < 3 else (rows[0], rows[-1])))
        lines += [f"Number of obs: {sizes}{'; groups: ' if groups else ''}{'; '.join(groups)}", ""]
        found = self.summary()
        names = [name for name in found.columns if found[name].notna().any()]
        shown = [_shown(name, found[name]) for name in names]
        body = [[str(label), *cells] for label, *cells in zip(found.index, *shown, strict=True)]
        notes = [line for note in self._notes() for line in wrap(note)]
        return "\n".join([*lines, *table(["", *names], body), "", *notes])

    __repr__ = __str__

    def _notes(self) -> list[str]:
        """Return what the numbers are, and which fits have failed a check."""
        if self.maximised:
            out = ["Coefficients by Rubin's rules with Barnard and Rubin's df; lambda: share of the variance that the "
                   "missing values make; fmi: fraction of missing information.",
                   "Sds and correlations are those of the averages of the covariance matrices."]  # fmt: skip
            if on_links(list(self.fits.values())):
                out.append("Parameters of the family by the same rules on their links, and transformed back.")
            wrong = {label: "not converged" for label, fit in self.fits.items() if not fit.converged}
        else:
            out = ["Draws of all imputations mixed; R-hat: the largest of any imputation; ESS: their sums; lambda: "
                   "share of the variance that the missing values make."]  # fmt: skip
            failed = {label: [c.name for c in fit.checks() if not c.ok] for label, fit in self.fits.items()}
            wrong = {label: f"failed {', '.join(names)}" for label, names in failed.items() if names}
        out += [f"Imputation {label}: {said}." for label, said in wrong.items()]
        return out + [f"Imputation {label} is not among them: {said}." for label, said in self.missing.items()]


def _shown(name: str, values: pd.Series) -> list[str]:
    """Return a column as text: R-hat rounded up, and ESS whole numbers, as in the prints of a fit."""
    if name == "p":
        return p_column(values)
    if name in WHOLE or name == "r_hat":
        return [ceiled(value) if name == "r_hat" else whole(value) for value in values]
    return column(values.to_numpy(float), 4)


def p_column(values: pd.Series) -> list[str]:
    """Return p-values as text, empty where there is none."""
    return ["" if np.isnan(p) else p_text(p) for p in values]
