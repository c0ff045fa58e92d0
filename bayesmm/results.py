"""What a user holds: Fit, a posterior, and PointFit, a maximised model; each method calls what does the work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

from bayesmm.design.records import Design
from bayesmm.display.frames import WholeFrame
from bayesmm.estimation.estimates import Estimates
from bayesmm.evaluation import checks, compare_reml, loo, loo_table, smooths
from bayesmm.evaluation.prior_sensitivity import sensitivity
from bayesmm.evaluation.variance import explained
from bayesmm.inference.ratios import check_exponentiated
from bayesmm.posterior import draws, predict
from bayesmm.reporting import summary, tidy
from bayesmm.reporting.predict_to import predict_to
from bayesmm.runtime.arguments import check_bool, check_probability
from bayesmm.runtime.other_names import no_attribute, says_other_names
from bayesmm.storage import files

if TYPE_CHECKING:
    from bayesmm.evaluation.evidence import Evidence
    from bayesmm.evaluation.likelihood_vs_reml import ConsistencyCheck


@dataclass(frozen=True, eq=False)
class Fit:
    """The posterior of a mixed model.

    Attributes
    ----------
    model : Model
        What was fitted.
    tree : xarray.DataTree
        Groups posterior, sample_stats, observed_data and constant_data, as ArviZ reads them. Coefficients and standard
        deviations are on the scale of the linear predictor, for a Gaussian model that of the response.
    """

    model: object
    tree: xr.DataTree

    @property
    def design(self) -> Design:
        """Response, fixed-effects matrix and random-effects blocks."""
        return self.model.design

    def fixef(self, exponentiate: bool = False) -> pd.DataFrame:
        """Return the fixed effects: index coef; mean, sd, lower, upper (95 %), ess_bulk, ess_tail, r_hat.

        With `exponentiate` those of exp(coefficient): ratios of means with a log link, odds ratios with a logit link.
        """
        check_bool("exponentiate", exponentiate)
        if exponentiate:
            check_exponentiated(self.design)
        return WholeFrame(draws.fixef(self, np.exp if exponentiate else None))

    def varcorr(self) -> pd.DataFrame:
        """Return sds and correlations, the residual last: grp, var1, var2, and the columns of `fixef`."""
        return WholeFrame(draws.varcorr(self))

    def ranef(self) -> pd.DataFrame:
        """Return the random effects: grpvar, term, grp, and the columns of `fixef`; 5 s for 10,000 effects."""
        return WholeFrame(draws.ranef(self))

    def coef(self) -> dict[str, pd.DataFrame]:
        """Return, for each factor, the posterior means of each level's coefficients: levels x coefficients."""
        return draws.coef(self)

    def smooths(self, ci_prob: float = draws.CI_PROB) -> pd.DataFrame:
        """Return smoothing sds and effective degrees of freedom: see `bayesmm.evaluation.smooths.smooths`."""
        return WholeFrame(smooths.smooths(self, ci_prob))

    def sigma(self) -> pd.DataFrame:
        """Return the residual standard deviation: one row with the columns of `fixef`."""
        return WholeFrame(draws.sigma(self))

    def summary(self, ci_prob: float = draws.CI_PROB) -> pd.DataFrame:
        """Return every parameter with mean, sd, equal-tailed interval of probability `ci_prob`, ESS and R-hat."""
        return WholeFrame(draws.summary(self, ci_prob))

    @says_other_names
    def predict(
        self,
        data: object = None,
        kind: str = "mean",
        groups: str | Sequence[str] = "conditional",
        new_levels: str = "error",
        seed: int | None = None,
        trials: object = None,
    ) -> predict.Predictions:
        """Return predictions with their uncertainty for rows of a table; without `data`, for the rows of the fit.

        Of the mean response (`kind` "mean"), of a new response ("response") or of the linear predictor ("linear"); with
        the random effects of each row's groups (`groups` "conditional"), of a typical group ("population") or averaged
        over new ones ("averaged"). A group that the fit did not see is an error, or has effects drawn (`new_levels`
        "sample") or of 0 ("zero"). The result has a table, ``to_frame()``, all draws, ``draws``, and a figure,
        ``plot()``. See `bayesmm.posterior.predict.predict`.
        """
        return predict.predict(self, data, kind, groups, new_levels, seed, trials)

    def posterior_predictive(
        self, draws: int | None = None, seed: int | None = None, groups: str = "conditional"
    ) -> xr.DataTree:
        """Return the data drawn again from the posterior, of these groups or of "new" ones, as ArviZ reads them.

        See `bayesmm.posterior.posterior_predictive.posterior_predictive`.
        """
        from bayesmm.posterior.posterior_predictive import posterior_predictive

        return posterior_predictive(self, draws, seed, groups)

    predict_to = predict_to

    def checks(self, time: object = None) -> checks.Checks:
        """Return the checks of sampling and model; `time`, a column or values of rows, orders residuals in groups."""
        return checks.run_checks(self, time)

    def compare(self, point=None, consistency: bool | str = False) -> compare_reml.Comparison:
        """Return posterior and `point` (REML if not given) with a verdict on each parameter: `compare_reml.compare`."""
        return compare_reml.compare(self, point, consistency)

    def consistency(self, of: str = "likelihood") -> "ConsistencyCheck":
        """Return the check that REML is the mode of this posterior where its priors are flat: of a linear model.

        `of="graph"` checks the PyMC graph, in seconds to minutes: see `bayesmm.evaluation.consistency.consistency`.
        """
        from bayesmm.evaluation.consistency import consistency

        return consistency(self, of)

    def loo(self, by: str | None = None, *, integrated: bool = False, refit: bool | None = None) -> loo.Loo:
        """Return the PSIS-LOO of the rows, or of the levels of the factor `by`; see `bayesmm.evaluation.loo.loo`."""
        return loo.loo(self, by, integrated=integrated, refit=refit)

    def log_likelihood(self, by: str | None = None, *, integrated: bool = False):
        """Return the tree with a group log_likelihood, for `az.loo` and `az.compare`: `loo.with_log_likelihood`."""
        return loo.with_log_likelihood(self, by, integrated=integrated)

    def loo_table(self, *, refit: bool | None = None) -> loo_table.LooTable:
        """Return the LOO of rows, of rows with their effects integrated out, and of levels, and when to use which."""
        return loo_table.loo_table(self, refit=refit)

    def icc(self, mean: str = "rows") -> explained.VarianceShares:
        """Return each factor's intraclass correlation, as draws and table; see `variance.explained.icc`."""
        return explained.icc(self, mean)

    def r2(self, mean: str = "rows") -> explained.VarianceShares:
        """Return Nakagawa's and the Bayesian R^2, as draws and table; see `variance.explained.r2`."""
        return explained.r2(self, mean)

    def prior_overlap(self) -> sensitivity.PriorOverlap:
        """Return how much of a prior is left in its posterior; see `prior_sensitivity.sensitivity.prior_overlap`."""
        return sensitivity.prior_overlap(self)

    def sensitivity(self, quantities: Mapping[str, object] | None = None) -> sensitivity.Sensitivity:
        """Return how much each quantity depends on the priors; see `prior_sensitivity.sensitivity.sensitivity`."""
        return sensitivity.sensitivity(self, quantities)

    def evidence(self, seed: int | None = None) -> "Evidence":
        """Return log p(y) by bridge sampling, with its error; see `bayesmm.evaluation.evidence.evidence`."""
        from bayesmm.evaluation.evidence import evidence

        return evidence(self, seed)

    def hypothesis(self, weights: Mapping[str, float], **asked: object):
        """Return the probability and the evidence ratio of a hypothesis: ``hypothesis({"Days": 1}, greater=10)``.

        `asked` is one of greater=, less=, between=, equal=; see `bayesmm.evaluation.hypothesis.hypothesis`.
        """
        from bayesmm.evaluation.hypothesis import hypothesis

        return hypothesis(self, weights, **asked)

    def tidy(self, effects: str | Sequence[str] = tidy.USUAL, ci_prob: float = draws.CI_PROB) -> pd.DataFrame:
        """Return a row for each parameter, with the columns of R's broom.mixed: see `bayesmm.reporting.tidy.tidy`."""
        return tidy.tidy(self, effects, ci_prob)

    def glance(self) -> pd.DataFrame:
        """Return one row about the whole fit: see `bayesmm.reporting.tidy.glance`."""
        return tidy.glance(self)

    def augment(self, data: object = None) -> pd.DataFrame:
        """Return the rows with .fitted, .fixed and .resid: see `bayesmm.reporting.tidy.augment`."""
        return tidy.augment(self, data)

    def save(self, path: str | Path, *, overwrite: bool = False, dtype: str = "float64") -> None:
        """Write draws, data and model into one netCDF-4 file, whole or not at all; `bayesmm.load` reads it again."""
        files.save(self.model, self.tree, path, overwrite=overwrite, dtype=dtype)

    def report(self, path: str | Path = "report.html", *, title: str | None = None, overwrite: bool = False) -> Path:
        """Write the fit into one HTML file that loads nothing; see `bayesmm.reporting.write.report`."""
        from bayesmm.reporting.write import report

        return report(self, path, title=title, overwrite=overwrite)

    def __getattr__(self, name: str) -> object:
        """Say what an attribute of another package is called here."""
        raise no_attribute(self, name)

    def _repr_html_(self) -> str:
        from bayesmm.reporting.notebook import fit_html

        return fit_html(self)

    def __str__(self) -> str:
        return summary.render_fit(self)

    __repr__ = __str__


class PointFit(Estimates):
    """A maximised model, REML, ML or MAP: its estimates, with lme4's accessors and all that is computed from them.

    Its attributes are those of `bayesmm.estimation.estimates.Estimates`.
    """

    def fixef(
        self, ddf: str | None = None, exponentiate: bool = False, *, se: str | None = None, cluster: object = None
    ) -> pd.DataFrame:
        """Return the coefficients: index coef; estimate, se, t; z and its two-sided p for generalised models.

        With `ddf` ("satterthwaite", "kenward-roger" or "containment", of a meta-analysis "knapp-hartung") df and p as
        well: `inference.degrees.t_table`.
        With `exponentiate` ratios and their intervals, where the link has such: `inference.habits.exponentiated`.
        With `se="CR2"` cluster-robust standard errors beside the model's: `inference.cluster_robust.cluster_robust`.
        """
        check_bool("exponentiate", exponentiate)
        if se is not None or cluster is not None:
            from bayesmm.inference.cluster_robust import robust_table

            return WholeFrame(robust_table(self, se, cluster, ddf, exponentiate))
        if exponentiate:
            from bayesmm.inference.habits import exponentiated

            return WholeFrame(exponentiated(self, ddf))
        if ddf is None:
            return WholeFrame(super().fixef())
        from bayesmm.inference.degrees import t_table

        return WholeFrame(t_table(self, ddf))

    def varcorr(self) -> pd.DataFrame:
        """Return variances and covariances as lme4's as.data.frame(VarCorr()): see `Estimates.varcorr`."""
        return WholeFrame(super().varcorr())

    def ranef(self) -> pd.DataFrame:
        """Return the conditional modes of the random effects: see `Estimates.ranef`."""
        return WholeFrame(super().ranef())

    def smooths(self) -> pd.DataFrame:
        """Return smoothing sds and effective degrees of freedom: see `bayesmm.evaluation.smooths.smooths`."""
        return WholeFrame(smooths.smooths(self))

    @property
    def params(self) -> pd.Series:
        """The coefficients by name; all parameters are in `parameters`."""
        return self.fixef()["estimate"].rename("params")

    @property
    def pvalues(self) -> pd.Series:
        """The p-values of the coefficients, by t with Satterthwaite's df or by z: `inference.habits`."""
        from bayesmm.inference.habits import coefficient_table

        return coefficient_table(self)["p"].rename("pvalues")

    def conf_int(self, alpha: float = 0.05) -> pd.DataFrame:
        """Return intervals of the coefficients by t or z, index coef; `confint` has those by profile likelihood."""
        from bayesmm.inference.habits import wald

        check_probability("alpha", alpha)
        return wald(self, 1 - alpha)

    def summary(self, ci_prob: float = draws.CI_PROB) -> pd.DataFrame:
        """Return every parameter with its estimate, the coefficients with tests and Wald intervals.

        ``print(point)`` has lme4's summary; see `bayesmm.inference.habits.summary`.
        """
        from bayesmm.inference.habits import summary

        return summary(self, ci_prob)

    def __getattr__(self, name: str) -> object:
        """Say what an attribute of another package is called here."""
        raise no_attribute(self, name)

    def confint(self, level: float = 0.95, method: str = "profile") -> pd.DataFrame:
        """Return confidence intervals of probability `level`: index parameter; lower, upper.

        By "profile" likelihood of every parameter, or "wald" of those with a standard error: `inference.confint`.
        """
        from bayesmm.inference.confint import confint

        return WholeFrame(confint(self, level, method))

    def profile(self, place: str, level: float = 0.99):
        """Return the profile likelihood of one parameter, such as "sigma", by ML: see `inference.profile.profile`."""
        from bayesmm.inference.profile import profile

        return profile(self, place, level)

    def tidy(self, effects: str | Sequence[str] = tidy.USUAL, ci_prob: float = draws.CI_PROB) -> pd.DataFrame:
        """Return a row for each parameter, with the columns of R's broom.mixed: see `bayesmm.reporting.tidy.tidy`."""
        return tidy.tidy(self, effects, ci_prob)

    def glance(self) -> pd.DataFrame:
        """Return one row about the whole fit: see `bayesmm.reporting.tidy.glance`."""
        return tidy.glance(self)

    def augment(self, data: object = None) -> pd.DataFrame:
        """Return the rows with .fitted, .fixed and .resid: see `bayesmm.reporting.tidy.augment`."""
        return tidy.augment(self, data)

    @says_other_names
    def predict(
        self,
        data: object = None,
        kind: str = "mean",
        groups: str | Sequence[str] = "conditional",
        new_levels: str = "error",
        se: bool = False,
    ) -> pd.DataFrame:
        """Return predictions for rows of a table, with `se` their standard errors; without `data`, of the fit's rows.

        Of the mean response (`kind` "mean") or the linear predictor ("linear"); with the random effects of each row's
        groups (`groups` "conditional"), of a typical group ("population") or averaged over new ones ("averaged"). A new
        group is an error, or has effects of 0 (`new_levels` "zero"). See `predict_point`, also for the column `sd`.
        """
        from bayesmm.posterior.predict_point import predict_point

        return WholeFrame(predict_point(self, data, kind, groups, new_levels, se))

    predict_to = predict_to

    def checks(self, time: object = None) -> checks.Checks:
        """Return the checks of the model: convergence, singular, dispersion, zeros, autocorrelation, influence.

        `time`, a column or values of rows, orders residuals in groups: see `evaluation.checks.point.point_checks`.
        """
        from bayesmm.evaluation.checks.point import point_checks

        return point_checks(self, time)

    def icc(self, mean: str = "rows"):
        """Return the intraclass correlation of each factor at the estimates: see `variance.explained.icc`."""
        from bayesmm.evaluation.variance.explained import icc

        return icc(self, mean)

    def r2(self, mean: str = "rows"):
        """Return Nakagawa's marginal and conditional R^2 at the estimates: see `variance.explained.r2`."""
        from bayesmm.evaluation.variance.explained import r2

        return r2(self, mean)

    @property
    def parameters(self) -> dict[str, float]:
        """The estimates by place, to be changed and given to `Model.simulate` or `power`; NaN for what has none."""
        from bayesmm.posterior.parameter_values import estimates

        return estimates(self)

    @says_other_names
    def simulate(self, draws: int = 1, seed: int | None = None, effects: str = "new") -> pd.DataFrame:
        """Return responses simulated from the estimates, rows x sim_1, sim_2, ...

        The random effects are drawn anew, or are the modes (`effects` "kept"); curves stay: see `Model.simulate`.
        """
        from bayesmm.posterior.simulate import simulate_point

        return simulate_point(self, draws, seed, effects)

    def bootstrap(
        self,
        samples: int = 1000,
        seed: int | None = None,
        cores: int | None = None,
        progress: bool = True,
        executor: object = None,
    ):
        """Return the parametric bootstrap: simulate, and fit again; see `simulation.bootstrap.bootstrap`."""
        from bayesmm.inference.simulation.bootstrap import bootstrap

        return bootstrap(self, samples, seed, cores, progress, executor)

    def __str__(self) -> str:
        from bayesmm.reporting.summary import render_point

        return render_point(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from bayesmm.reporting.notebook import point_html

        return point_html(self)
