"""What maximisation gives: the estimates of a model, with those of lme4's accessors that need nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from types import MappingProxyType

import numpy as np
import pandas as pd

from bayesmm.design.ordered import check_order
from bayesmm.design.parameters import (
    by_levels,
    category_effects,
    free_auxiliaries,
    of_parameter,
    residual_owner,
    residual_parameters,
    responses_of,
)
from bayesmm.design.predictors import shifts
from bayesmm.design.records import Block, Design
from bayesmm.design.residual.of_family import own_of_rows
from bayesmm.design.residual.structure import NOTHING, Values, residual_weights
from bayesmm.design.summed import Elsewhere, absent_rows
from bayesmm.estimation.coefficients import add_effects, beside_effects, by_category
from bayesmm.estimation.hessians import Joint
from bayesmm.families.auxiliary import Auxiliary
from bayesmm.families.circle import left_over
from bayesmm.families.limits import scores_between, shares_below
from bayesmm.likelihood.crossproducts import Floats
from bayesmm.likelihood.fitted import Coordinates, scaled_by_columns
from bayesmm.priors import Priors
from bayesmm.runtime.streams import stream

SIGMA = "sigma"


@dataclass(frozen=True)
class Optimum:
    """How the optimiser ended.

    Attributes
    ----------
    parameters : (t,) float64
        What was optimised: theta, of most the entries of the relative factors in units of the columns' root mean
        squares (`bayesmm.likelihood.theta`; REML, ML), or the parameters of the marginal posterior (MAP).
    gradient : float
        Largest absolute entry of the criterion's gradient there.
    evaluations, starts : int
        Evaluations of the criterion with its gradient, and starting points.
    """

    parameters: Floats
    gradient: float
    evaluations: int
    starts: int


@dataclass(frozen=True, repr=False)
class Estimates:
    """A model at the maximum of its marginal likelihood (REML, ML) or of its marginal posterior (MAP).

    The likelihood of a generalised model is Laplace's approximation with the observed curvature at the mode, as
    glmmTMB has it (glmer takes the expected one, which differs for other links than the canonical), or adaptive
    quadrature's.

    Attributes
    ----------
    design : Design
    priors : Priors or None
        None unless the method is "MAP", or the family has a parameter that the user chooses, such as a quantile.
    method : str
        "REML", "ML" or "MAP".
    beta : (p,) float64
        Coefficients, on the scale of the link; NaN where a column depends linearly on earlier ones.
    beta_cov : (p, p) float64
        Covariance of `beta` at the estimated variance components; for a generalised model, from the Hessian in all
        parameters.
    sigma : float
        Residual standard deviation; 1 for families without.
    covariances : tuple of (q_k, q_k) float64
        Sigma_k of each block of the design, on the scale of the link.
    modes : tuple of (G_k, q_k) float64
        Conditional modes b of the random effects.
    conditional : tuple of (G_k, q_k, q_k) float64
        Conditional covariances of b given beta, as lme4's ``condVar``.
    criterion : float
        REML criterion, ML deviance (-2 log-likelihood), or -2 log marginal posterior density (up to the priors' own
        constants).
    loglik : float
        Log-likelihood: REML's for REML, else the ML one.
    deviance : float
        -2 log-likelihood (ML) at these variance components; so for generalised models too, as in lme4's table.
    singular : bool
        An estimated variance is 0 or a covariance matrix has not full rank.
    converged : bool
    message : str
        How the optimiser ended, in a sentence.
    seconds : float
    optimum : Optimum
    auxiliaries : mapping of str to float
        The family's parameters besides the mean, by name: "sigma", "nu", "shape", "phi".
    residual : mapping of str to (k,) float64
        Those of the residual structure besides sigma, by name.
    nagq : int
        Nodes of the quadrature for each random effect; 1 for Laplace's approximation and for the integrals of linear
        models, 0 where they were taken to a stated accuracy (`bayesmm.likelihood.lattice`).
    coordinates : Coordinates or None
        None: those that are reported.
    joint : Joint or None
        The covariance of all parameters of a generalised model, from the Hessian in all of them; None for others.
    levels : mapping of str to float
        Links of parameters with a formula where its columns are 0, by `parameters.level_name`, where they are known
        better than the parameters themselves.
    """

    design: Design
    priors: Priors | None
    method: str
    beta: Floats
    beta_cov: Floats
    sigma: float
    covariances: tuple[Floats, ...]
    modes: tuple[Floats, ...]
    conditional: tuple[Floats, ...]
    criterion: float
    loglik: float
    deviance: float
    singular: bool
    converged: bool
    message: str
    seconds: float
    optimum: Optimum
    auxiliaries: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    nagq: int = 1
    coordinates: Coordinates | None = None
    residual: Values = NOTHING
    joint: Joint | None = None
    levels: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(cls, estimates: "Estimates"):
        """Return the same estimates as an object of this class."""
        return cls(**{one.name: getattr(estimates, one.name) for one in fields(cls)})

    @cached_property
    def scaled(self) -> Coordinates:
        """The fit in its own coordinates: what is computed from it starts here, not from what is reported."""
        return scaled_by_columns(self) if self.coordinates is None else self.coordinates

    @property
    def npar(self) -> int:
        """Number of parameters: coefficients, sds and correlations, those of the family (sigma) and of the residual.

        Those that the user chose, such as a quantile, do not count.
        """
        n_theta = sum(_n_theta(block) for block in self.design.blocks)
        own = sum(not own.chosen for own in free_auxiliaries(self.design)) + self.design.residual.size
        return int(np.isfinite(self.beta).sum()) + n_theta + own

    @property
    def aic(self) -> float:
        """Akaike's criterion, -2 loglik + 2 npar."""
        return -2 * self.loglik + 2 * self.npar

    @property
    def aicc(self) -> float:
        """Akaike's criterion for small samples, AIC + 2 npar (npar + 1) / (n - npar - 1); NaN where n <= npar + 1.

        Hurvich & Tsai (1989, Biometrika 76, 297-307).
        """
        left = self.design.n - self.npar - 1
        return self.aic + 2 * self.npar * (self.npar + 1) / left if left > 0 else np.nan

    @property
    def bic(self) -> float:
        """Schwarz's criterion by lme4's rule, -2 loglik + npar log n."""
        return -2 * self.loglik + self.npar * np.log(self.design.n)

    @property
    def AIC(self) -> float:
        """Akaike's criterion, -2 loglik + 2 npar; the same as `aic`."""
        return self.aic

    @property
    def BIC(self) -> float:
        """Schwarz's criterion by lme4's rule, -2 loglik + npar log n; the same as `bic`."""
        return self.bic

    @property
    def bic_nlme(self) -> float:
        """Schwarz's criterion by nlme's rule: n - p observations count under REML."""
        n = self.design.n - (np.isfinite(self.beta).sum() if self.method == "REML" else 0)
        return -2 * self.loglik + self.npar * np.log(n)

    @property
    def own_se(self) -> Mapping[str, float]:
        """Standard errors of thresholds and of the coefficients of formulas, by label; none for a linear model."""
        return {} if self.joint is None else dict(list(self.joint.errors.items())[self.joint.scalars :])

    @property
    def vcov(self) -> pd.DataFrame:
        """Covariance matrix of the coefficients, (p, p), labelled."""
        names = list(self.design.coefficients)
        return pd.DataFrame(self.beta_cov, index=names, columns=names)

    @cached_property
    def linear(self) -> Floats:
        """Linear predictor X beta + Z b + offset, (n,)."""
        if isinstance(self.scaled.linear, Elsewhere):
            raise absent_rows(self.scaled.linear.sums.engine)
        return self.scaled.linear

    @cached_property
    def fitted(self) -> Floats:
        """Fitted means, (n,), on the scale of the response; of a binomial, probabilities."""
        family = self.design.family
        check_order(self.design, "a fitted mean")
        return family.expected(family.inverse(self.linear), self.own)

    @property
    def own(self) -> tuple[float, ...]:
        """The family's parameters besides mu in its order, or its thresholds; (n,) each where it has a formula."""
        if self.design.residual.by_row:
            own = {**self.auxiliaries, **self.levels}
            return own_of_rows(self.design, own, self.residual, effects=shifts(self.design, self.modes))
        return tuple(self.auxiliaries.values()) or (self.sigma,)

    def link(self, own: Auxiliary) -> float:
        """Return the link of one of the family's parameters, where the columns of its formula are 0 if it has one."""
        level = self.levels.get(self.design.residual.levels.get(own.name, ""))
        return own.free(self.auxiliaries[own.name]) if level is None else level

    @cached_property
    def residuals(self) -> Floats:
        """Response less fitted values, (n,); of a binomial, the share of successes less its probability.

        Of angles it is the difference the shorter way round.
        """
        trials = self.design.trials
        return left_over(self.design.family, self.design.y if trials is None else self.design.y / trials, self.fitted)

    @cached_property
    def scaled_residuals(self) -> Floats:
        """Pearson residuals: residuals over the standard deviations that the model gives them, (n,).

        What lme4's summary calls scaled residuals: times sqrt(weight) / sigma in a linear model. Of a censored or
        truncated response randomised quantile residuals: see `pearson_residuals`.
        """
        check_order(self.design, "a residual")
        return pearson_residuals(self.design, self.linear, self.own, self.residual)

    def fixef(self) -> pd.DataFrame:
        """Return the coefficients: index coef; estimate, se, t; z and its two-sided p for generalised models."""
        beta, se, names = self.beta, np.sqrt(np.diag(self.beta_cov)), self.design.coefficients
        if self.design.family.nominal:
            found = by_category(self.design, self.residual)
            names, beta = [of_parameter(*pair) for pair in found], np.array(list(found.values()))
            se = np.array([self.own_se.get(p.label, np.nan) for _, p in category_effects(self.design)])
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = beta / se
        table = {"estimate": beta, "se": se, "t": ratio}
        if not self.design.family.gaussian:
            from scipy.special import erfc

            table = {"estimate": beta, "se": se, "z": ratio, "p": erfc(np.abs(ratio) / np.sqrt(2))}
        return pd.DataFrame(table, index=pd.Index(names, name="coef"))

    def fixef_corr(self) -> pd.DataFrame:
        """Return the correlation matrix of the coefficients, (p, p), labelled."""
        sds = np.sqrt(np.diag(self.beta_cov))
        with np.errstate(divide="ignore", invalid="ignore"):  # a coefficient that its prior fixes has no spread
            return self.vcov / np.outer(sds, sds)

    def varcorr(self) -> pd.DataFrame:
        """Return the variance components as lme4's ``as.data.frame(VarCorr(.))``: grp, var1, var2, vcov, sdcor.

        Factors with more levels first; of each, the standard deviations and then the correlations; the residual last,
        where the family has one, of several responses with theirs.
        """
        rows = []
        for k in by_levels(self.design):
            rows += _varcorr_rows(self.design.blocks[k], self.covariances[k])
        if SIGMA in [own.name for own in free_auxiliaries(self.design)]:
            rows.append(("Residual", None, None, self.sigma**2, self.sigma))
        rows += self._response_rows() if self.design.responses else []
        return pd.DataFrame(rows, columns=["grp", "var1", "var2", "vcov", "sdcor"])

    def _response_rows(self) -> list[tuple]:
        """Return the residual sds and correlations of several responses."""
        sds, rows = {}, []
        for parameter in residual_parameters(self.design):
            value = float(self.residual[residual_owner(self.design, parameter).name][parameter.terms or (0,)])
            first, second, *_ = (*responses_of(self.design, parameter), None)
            if second is None:
                sds[first] = value
            scale = value**2 if second is None else value * sds[first] * sds[second]
            rows.append(("Residual", first, second, scale, value))
        return rows

    def ranef(self) -> pd.DataFrame:
        """Return the conditional modes of the random effects: grpvar, term, grp, condval, condsd."""
        parts = [_ranef_rows(self.design.blocks[k], self.modes[k], self.conditional[k]) for k in by_levels(self.design)]
        if parts:
            return pd.concat(parts, ignore_index=True)
        kinds = dict.fromkeys(("grpvar", "term", "grp"), object) | dict.fromkeys(("condval", "condsd"), float)
        return pd.DataFrame({name: np.empty(0, dtype=kind) for name, kind in kinds.items()})

    def coef(self) -> dict[str, pd.DataFrame]:
        """Return, for each factor, the coefficients of each level: fixed plus random part, levels x coefficients."""
        beta = dict(zip(self.design.coefficients, np.nan_to_num(self.beta), strict=True))
        blocks, found = self.design.blocks, {}
        known = self.auxiliaries
        links = {p.name: self.link(p) for p in free_auxiliaries(self.design) if p.name in known}
        for k in self.design.groups:
            own = beside_effects(self.design, blocks[k], beta, links, self.residual)
            found[blocks[k].group] = add_effects(self.design, own, blocks[k], self.modes[k])
        return found


def pearson_residuals(design: Design, eta: Floats, auxiliaries: Sequence[float], residual: Values = NOTHING) -> Floats:
    """Return residuals over the standard deviations that the model gives them, (n,), at linear predictors (n,).

    Of a censored or truncated response they are normal scores of its place in the distribution that the model gives it
    (Dunn & Smyth 1996), drawn within what is known of it, always by the same random numbers; so are those of a family
    whose variance is infinite. Angles are taken the shorter way round.
    """
    if design.family.observed:
        return _normal_scores(design, eta, auxiliaries)
    family, trials = design.family, 1.0 if design.trials is None else design.trials
    mu = family.inverse(eta)
    own = residual_weights(design, residual)
    weights = 1.0 if own is None else own
    with np.errstate(divide="ignore", invalid="ignore"):  # a fitted probability of 0 or 1 has no spread
        left = left_over(family, design.y / trials, family.expected(mu, auxiliaries))
        spread = family.scattered(mu, trials, auxiliaries)
        if family.cdf is not None and np.isinf(spread).any():
            return _normal_scores(design, eta, auxiliaries)
        return left * np.sqrt(weights / spread)


def _normal_scores(design: Design, eta: Floats, auxiliaries: Sequence[float]) -> Floats:
    mu = design.family.inverse(eta)
    ends = shares_below(design.family, design.y, mu, tuple(auxiliaries), design.trials, design.limits)
    first, last = (np.broadcast_to(each, mu.shape) for each in ends)
    return scores_between(first, last, stream(0, "places of censored responses"))


def _n_theta(block: Block) -> int:
    """Return the number of parameters of a block's covariance matrix."""
    return sum(len(part.entries) for part in block.parts)


def _varcorr_rows(block: Block, Sigma: Floats) -> list[tuple]:
    sds = np.sqrt(np.diag(Sigma))
    rows = [(block.group, name, None, Sigma[i, i], sds[i]) for name, i in block.sds]
    for part in block.partition:
        for a, i in enumerate(part):
            for j in part[a + 1 :]:
                scale = sds[i] * sds[j]
                corr = Sigma[i, j] / scale if scale > 0 else np.nan
                rows.append((block.group, block.columns[i], block.columns[j], Sigma[i, j], corr))
    return rows


def _ranef_rows(block: Block, b: Floats, conditional: Floats) -> pd.DataFrame:
    sds = np.sqrt(np.maximum(np.diagonal(conditional, axis1=1, axis2=2), 0.0))
    return pd.DataFrame(
        {
            "grpvar": block.group,
            "term": [term for term, _ in block.effects],
            "grp": [level for _, level in block.effects],
            "condval": b.T.ravel(),
            "condsd": sds.T.ravel(),
        }
    )
