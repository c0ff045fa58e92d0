"""Model: a formula and a data frame, made into a design, priors, a graph, and its two answers."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import pandas as pd

from bayesmm.design.covariance.structures import parse_formula
from bayesmm.design.design import design_of, given_again
from bayesmm.design.records import Design
from bayesmm.design.residual.of_family import check_determined
from bayesmm.design.summed import absent_rows, is_summed
from bayesmm.errors import DataError
from bayesmm.estimation.estimates import Estimates
from bayesmm.estimation.maximize import maximize
from bayesmm.estimation.model_warnings import check_residual, guarded, say_estimated
from bayesmm.families.families import get_family
from bayesmm.families.family import Family
from bayesmm.formula.formula import Formula
from bayesmm.likelihood.problem import Integrated, integrate
from bayesmm.priors import Priors, prior_design, resolve_priors
from bayesmm.results import Fit, PointFit
from bayesmm.runtime.arguments import check_bool, check_functions, check_seed, check_whole
from bayesmm.runtime.other_names import says_other_names
from bayesmm.sampling.choose_graph import check_effects, chosen_effects, effects_of_graph
from bayesmm.sampling.graph.centering import centred_by_rule, check_centred, chosen_centring
from bayesmm.sampling.sample import sample
from bayesmm.storage.accumulated import design_of_any


class Model:
    """A mixed model: what to fit, before it is fitted.

    Parameters
    ----------
    formula : str or sequence of str
        ``"Reaction ~ Days + (Days | Subject)"``, of columns of `data`; further ones, ``"zi ~ x"``, are of parameters.
    data : pandas.DataFrame, polars.DataFrame, pyarrow.Table or dict of arrays
        One row for each observation. The columns used are copied. Or a lazy frame (Polars, DuckDB, Dask, Spark, Ibis,
        SQLFrame), whose engine gives sums alone, or what `accumulate` returned: see docs/large_data.md.
    family : str or Family
        "gaussian", "student", "poisson", "negbinomial", "bernoulli", "binomial", "gamma", "beta", a `bmm.Family`, or
        another of docs/families.md: ordered categories, counts with more zeros, reaction times, times to failure.
    priors : mapping, optional
        By class (``"beta"``, ``"sd"``, ``"corr"``) or name (``"sigma"``, ``"nu"``, ``"shape"``, ``"phi"``) or,
        stronger, by place (``"beta[Days]"``, ``"sd_Subject"``, ``"sd_Subject[Days]"``, ``"corr_Subject"``,
        ``"Intercept"``); values are `Prior`, a number (fixed at it), or a function that returns a PyMC distribution.
    link : str, optional
        "identity", "log", "logit", "probit", "cloglog", "inverse" or "tan_half"; each family has its own, the first of
        which is meant if none is given.
    trials : str, int or array of shape (n,), optional
        Of the binomial family, whose response is then the number of successes. In the formula: ``y / n ~``,
        ``cbind(y, n - y) ~`` or ``y | trials(n) ~``.
    weights : str or array of shape (n,), optional
        Prior weights. Gaussian family with identity link: the residual variance of row i is sigma^2 / w_i. Otherwise
        row i counts w_i times: its log density is multiplied by w_i. Beside proportions in (0, 1) of a binomial they
        are the numbers of trials, as in R's glm; beside trials they must not be the trials again.
    missing : {"drop", "error"}
        What to do with rows that have a missing value in a column that the model uses.
    transforms : mapping of str to function, optional
        Functions of one or more columns that the formula may call, besides the built-in ones.
    contrasts : mapping of str to str or matrix, optional
        Of factors that stand in the formula by their names: "treatment", "sum", "helmert", "poly", "sas", "diff", as in
        R, or a matrix with a row for each level (a DataFrame: by its index) and one column fewer.
    matrices : mapping of str to table, optional
        Known covariances: of levels, ``(1 | gr(animal, cov = A))``, labelled or a pedigree (id, sire, dam); of the
        residuals, ``fcor(V)``, a table or an array with the rows of `data` in their order.

    Attributes
    ----------
    design : Design
        Response, fixed-effects matrix, random-effects blocks, their labels; its `spec` makes that of another table.
    priors : Priors
        The prior of every parameter, by place; ``dict(model.priors)`` can be edited and given to a new Model.
    family : Family
        With its link; bernoulli where a binomial was asked for and there are no trials.

    Raises
    ------
    FormulaError, DataError, PriorError
        What was found, what was expected, and the valid choices.
    """

    def __init__(
        self,
        formula: str | Sequence[str],
        data: object,
        family: str = "gaussian",
        priors: Mapping[str, object] | None = None,
        *,
        link: str | None = None,
        trials: object = None,
        weights: object = None,
        missing: str = "drop",
        transforms: Mapping[str, Callable] | None = None,
        contrasts: Mapping[str, object] | None = None,
        matrices: Mapping[str, object] | None = None,
    ) -> None:
        check_functions("transforms", transforms)
        own = dict(weights=weights, missing=missing, transforms=transforms, trials=trials)
        own |= dict(contrasts=contrasts, matrices=matrices)
        family = get_family(family, link)
        parsed = parse_formula(formula, transforms or (), family)
        design = design_of_any(parsed, data, family, own)
        resolved = resolve_priors(design, design.family, priors)
        self._hold(guarded(design, resolved), resolved)

    def _hold(self, design: Design, priors: Priors, kept: dict | None = None) -> "Model":
        """Take the things that a model consists of; `kept` is compiled code of models that share it."""
        self.design, self.priors, self.kept = design, priors, {} if kept is None else kept
        return self

    @classmethod
    def of(cls, design: Design, priors: Priors, kept: dict | None = None) -> "Model":
        """Return the model of a design and its priors, which none of its methods has been asked for yet."""
        return object.__new__(cls)._hold(design, priors, kept)

    @property
    def formula(self) -> Formula:
        """The design's formula."""
        return self.design.formula

    @property
    def family(self) -> Family:
        """The design's family, with its link."""
        return self.design.family

    def with_data(self, data: object, *, trials: object = None, weights: object = None) -> "Model":
        """Return the same model of other data: its coefficients and its priors mean what they mean here.

        Levels and contrasts of the factors of the fixed part, knots of splines, and means and standard deviations of
        ``scale`` and ``poly`` are those that this model learned; a column that is constant in the new data stays. The
        priors are these ones to the digit, also those that were scaled by this model's data. Only the levels of the
        grouping factors are those of the new data. Compiled code is used again, also that of the explicit graph by
        nutpie (compiled at the first such refit) where the numbers of rows and of levels are the same.

        Parameters
        ----------
        data : table
            With the columns of the first data; rows with missing values are treated as there.
        trials, weights : str or array, optional
            Needed where this model was given numbers; a column that was named is looked up in the new data.

        Returns
        -------
        Model

        Raises
        ------
        FormulaError, DataError
            As for a new model, and where the new data have a level of a factor of the fixed part that the first data
            have not, or a column of another kind.
        """
        design = design_of(self.design.spec, data, **given_again(self.design, weights, trials))
        return self.of(guarded(design, self.priors), self.priors, self.kept)

    def with_priors(self, priors: Mapping[str, object] | None) -> "Model":
        """Return the same model of the same data, which are not read again, with other priors.

        Parameters
        ----------
        priors : mapping or None
            As for a new model: defaults but for what is named. ``{**model.priors, "sigma": ...}`` changes one only.

        Returns
        -------
        Model

        Raises
        ------
        PriorError
        """
        resolved = resolve_priors(self.design, self.family, priors)
        return self.of(guarded(self.design, resolved, before=self.priors), resolved)

    @says_other_names
    def maximize(self, method: str | None = None, nagq: int = 1, start: Mapping[str, float] | None = None) -> PointFit:
        """Return the maximum of the marginal likelihood (REML, ML) or of the marginal posterior (MAP).

        Parameters
        ----------
        method : {"REML", "ML", "MAP"}, optional
            REML if not given, ML for generalised models, which have no REML. "MAP" is the mode of the marginal
            posterior of (sds, correlations, sigma) on their natural scales under ``model.priors``, with the
            coefficients and the random effects integrated out; of a generalised model, of the coefficients too.
        nagq : int
            Quadrature nodes for each random effect of a generalised model: 1 is Laplace's approximation (with the
            observed curvature, as glmmTMB); more, for one grouping factor with at most three random effects for each
            level. "MAP" with 1 takes sampling's number where it can. A Gaussian model allows only 1: it is exact.
        start : mapping, optional
            Starting standard deviations, correlations and auxiliary parameters by place.

        Raises
        ------
        ValueError
            For an unknown method or one that the family has not, a wrong `nagq`, or a place that is not in the model.
        DataError
            If the model fits the response exactly, its likelihood is finite nowhere, or REML and ML cannot tell an
            effect apart from the residual.
        PriorError
            For "MAP" where a prior is a function.
        """
        if method != "MAP":
            check_determined(self.design)
            check_residual(self.design)  # whose sd is estimated, whatever its prior says
            chosen = tuple(own.name for own in self.family.parameters if own.chosen)
            say_estimated(self.priors, chosen if self.design.residual.sigma != "known" else ("sigma", *chosen))
        return PointFit.of(maximize(self.design, method, self.priors, start, nagq))

    def graph(self, effects: str = "auto", centred: str | bool | Mapping[str, bool] = "auto"):
        """Return the PyMC model.

        Parameters
        ----------
        effects : {"auto", "marginal", "explicit"}
            "marginal": random effects and coefficients with a normal prior are integrated out. "explicit": all are
            variables of the graph. "auto": marginal, unless a cost model says that its dense algebra would be slower.
        centred : "auto", bool, or mapping of factor to bool
            Whether the effects of a factor are sampled as they are, or in units of their standard deviations. "auto"
            centres a single factor whose effects are well determined by the data: mean reliability above one half,
            also with its sd two standard errors below the maximised one (REML, for generalised models Laplace).

        Returns
        -------
        pymc.Model
        """
        from bayesmm.sampling.graph.explicit import build_explicit
        from bayesmm.sampling.graph.marginal import build_marginal
        from bayesmm.sampling.graph.marginal_glmm import build_marginal_glmm

        check_centred(centred, self._factors)
        effects = self.effects(effects_of_graph(self.design, effects), compiled=False)
        if effects == "marginal" and self.family.gaussian:
            return build_marginal(self.design, self.priors, self._integrated)
        if effects == "marginal" and self.design.blocks:
            return build_marginal_glmm(self.design, self.priors)
        return build_explicit(self.design, self.priors, centred=chosen_centring(centred, self._factors, self._by_rule))

    def effects(self, effects: str = "auto", *, compiled: bool = True) -> str:
        """Return what ``effects`` means, "marginal" or "explicit": `compiled`, or as a graph for PyMC's samplers."""
        return chosen_effects(self.design, self.priors, effects, lambda: self._integrated.problem, compiled=compiled)

    @cached_property
    def _integrated(self) -> Integrated:
        return integrate(self.design, self.priors)

    @property
    def _reduced(self) -> Integrated | None:
        return self._integrated if self.family.gaussian else None

    @property
    def _factors(self) -> list[str]:
        return [block.name for block in self.design.blocks]

    def _by_rule(self) -> list[bool]:
        """Return for each factor whether it is centred; none where the likelihood has no maximum to go by."""
        if len(self.design.blocks) > 1:
            return [False] * len(self.design.blocks)
        try:
            return centred_by_rule(self._prior_point)
        except DataError:
            return [False]

    @cached_property
    def _prior_point(self) -> Estimates:
        """The maximum of the likelihood in the parameters that the priors are of."""
        return maximize(prior_design(self.design, self.priors))

    @says_other_names
    def sample(
        self,
        draws: int = 1000,
        tune: int | None = None,
        chains: int = 4,
        seed: int | None = None,
        sampler: str = "auto",
        effects: str = "auto",
        progress: bool = True,
        *,
        centred: str | bool | Mapping[str, bool] = "auto",
        target_accept: float = 0.9,
        cores: int | None = None,
        keep_effects: bool = True,
        file: str | Path | None = None,
        store: str | Path | None = None,
    ) -> Fit:
        """Sample the posterior by NUTS.

        Parameters
        ----------
        draws, tune, chains : int, `tune` optional
            Draws kept and warm-up draws of each chain; None: 200 from the mode (marginal effects), else 1,000.
        seed : int, optional
            The same seed and sampler give identical draws. None: a new one, recorded in the fit.
        sampler : {"auto", "nutpie", "pymc", "importance"}
            "auto" is nutpie. "importance": independent draws, quicker, where at most 20 parameters are left with the
            effects integrated out; of the others only `draws`, `chains`, `seed` and `keep_effects` matter.
        effects, centred
            See `graph`.
        progress : bool
            Show a progress bar; never shown where the output is no terminal.
        target_accept : float
            Between 0 and 1; nearer to 1 means smaller steps. After 0.9 a run with 0.99, or a longer one, may follow.
        cores : int, optional
            Chains run at the same time, and threads at most; by default as many as there are processors.
        keep_effects : bool
            False: the random effects b are not stored, which saves memory where there are very many.
        file : path, optional
            Keep the fit in this file: if it holds the draws of the same model (formula, data, family, priors), asked
            for by the same arguments, they are read; else the model is sampled and the file written anew. A line on
            stderr says which (unless ``progress=False``).
        store : path, optional
            Write the draws into this new folder while they are made, for nutpie: a Zarr hierarchy that `load` reads,
            also when the process was killed. Memory does not grow with the draws until they are read at the end; with
            ``keep_effects=False`` that is little. A folder that has the same fit is read, any other left as it is.

        Returns
        -------
        Fit
            Also after Ctrl-C, with the draws that were finished, and marked as interrupted.

        Raises
        ------
        ValueError
            For an argument out of range, draws that would not fit in memory, or a model whose density is not finite
            where the sampler would start.
        FitFileError
            If `file` or `store` cannot be written, is something else, or is damaged: it is left as it is, and nothing
            is sampled.
        """
        check_effects(effects)
        check_centred(centred, self._factors)
        check_bool("progress", progress)
        asked = dict(
            draws=draws, tune=tune, chains=chains, seed=seed, sampler=sampler, effects=effects, centred=centred,
            target_accept=target_accept, keep_effects=keep_effects,
        )  # fmt: skip
        return Fit(self, sample(self, asked, progress=progress, cores=cores, file=file, store=store))

    def prior_predictive(self, draws: int = 500, seed: int | None = None):
        """Draw parameters from the priors, and data given them: a DataTree with ``prior`` and ``prior_predictive``."""
        check_whole("draws", draws, 1)  # before PyMC is imported and its graph built
        check_seed(seed)
        if is_summed(self.design):
            raise absent_rows(self.design.X.sums.engine)
        from bayesmm.sampling.graph.nuts import prior_predictive
        from bayesmm.sampling.recovery import effects_first

        return effects_first(prior_predictive(self.graph("explicit", centred=False), draws, seed), self.design, "prior")

    def simulate(self, parameters: object, draws: int = 1, seed: int | None = None) -> pd.DataFrame:
        """Draw responses from the model with known parameters, rows x sim_1, sim_2, ...

        `parameters`: a value for every parameter by place, a PointFit or a Fit: `bayesmm.posterior.simulate.simulate`.
        """
        from bayesmm.posterior.simulate import simulate

        return simulate(self, parameters, draws, seed)

    def equation(self) -> str:
        """Return the model with its priors in LaTeX."""
        from bayesmm.reporting.equation import equation

        return equation(self.design, self.priors, self.family)

    def __repr__(self) -> str:
        from bayesmm.reporting.summary import render_model

        return render_model(self)

    def _repr_html_(self) -> str:
        from bayesmm.reporting.notebook import model_html

        return model_html(self)


def fit(
    formula: str | Sequence[str],
    data: object,
    family: str = "gaussian",
    priors: Mapping[str, object] | None = None,
    *,
    link: str | None = None,
    trials: object = None,
    weights: object = None,
    missing: str = "drop",
    transforms: Mapping[str, Callable] | None = None,
    contrasts: Mapping[str, object] | None = None,
    matrices: Mapping[str, object] | None = None,
    **sampling: object,
) -> Fit:
    """Fit a mixed model by NUTS, ``Model(...).sample(...)``: the arguments of `Model`, and those of `Model.sample`."""
    own = dict(link=link, trials=trials, weights=weights, missing=missing, transforms=transforms)
    own |= dict(contrasts=contrasts, matrices=matrices)
    return Model(formula, data, family, priors, **own).sample(**sampling)
