"""Model: a formula and a data frame, made into a design, priors, a graph, and its two answers."""

import json
import time
from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np

from bayesmm.design import Design, make_design
from bayesmm.errors import listing, suggest
from bayesmm.families import Family, get_family
from bayesmm.fit import Fit
from bayesmm.formula import parse
from bayesmm.maximize import maximize
from bayesmm.pointfit import PointFit
from bayesmm.priors import Priors, resolve_priors
from bayesmm.reduction import Integrated, Problem, integrate

EFFECTS = ("auto", "marginal", "explicit")
# A factor is centred where the data know its effects better than the prior does: mean reliability above one half. The
# centred parameterisation mixes at a rate of about 1 - reliability, the non-centred one at about the reliability
# (Papaspiliopoulos, Roberts & Skoeld 2007, Statistical Science 22(1), section 2). What counts is the posterior, so the
# sd is taken this many standard errors below REML, on the log scale, where the error is about 1 / sqrt(2 (G - 1)):
# with 5 blocks and REML's reliability of 0.54 the centred graph has 122 divergences and an ESS of 13, the other 1,844.
# With several factors, whose centred effects share one intercept, none is centred: in a crossed design of 12 x 10
# levels with reliabilities of 0.96 and 0.86 the ESS is 210 with both centred, 395 with one, 1,545 with none.
CENTRED_ABOVE, STANDARD_ERRORS = 0.5, 2.0
# The cost model of "auto", in multiply-adds for each gradient. The marginal likelihood factorises and inverts a dense
# matrix of the size of the rest, and scatters the coupling of each pattern; the explicit graph passes over all rows,
# at about ten operations a number. The marginal posterior needs about a fifth of the gradients (benchmarks/: steps
# for each effective draw).
INVERSE_COST, ROW_COST, FEWER_GRADIENTS = 2.0, 10.0, 5.0


class Model:
    """A mixed model: what to fit, before it is fitted.

    Parameters
    ----------
    formula : str
        Such as ``"Reaction ~ Days + (Days | Subject)"``; the names are columns of `data`, never Python variables.
    data : pandas.DataFrame, polars.DataFrame, pyarrow.Table or dict of arrays
        One row for each observation. The columns used are copied.
    family : str
        "gaussian".
    priors : mapping, optional
        By class (``"beta"``, ``"sd"``, ``"corr"``, ``"sigma"``) or, stronger, by place (``"beta[Days]"``,
        ``"sd_Subject"``, ``"sd_Subject[Days]"``, ``"corr_Subject"``, ``"Intercept"``); values are `Prior`, a number
        (fixes the parameter), or a function that returns a PyMC distribution.
    weights : str or array of shape (n,), optional
        Prior weights: the residual variance of row i is sigma^2 / w_i.
    missing : {"drop", "error"}
        What to do with rows that have a missing value in a column that the model uses.
    transforms : mapping of str to function, optional
        Functions of one or more columns that the formula may call, besides the built-in ones.

    Attributes
    ----------
    design : Design
        Response, fixed-effects matrix, random-effects blocks, their labels and encoders.
    priors : Priors
        The prior of every parameter, by place; ``dict(model.priors)`` can be edited and given to a new Model.
    family : Family

    Raises
    ------
    FormulaError, DataError, PriorError
        One sentence each: what was found, what was expected, and the valid choices.
    """

    def __init__(
        self,
        formula: str,
        data: object,
        family: str = "gaussian",
        priors: Mapping[str, object] | None = None,
        *,
        weights: object = None,
        missing: str = "drop",
        transforms: Mapping[str, Callable] | None = None,
    ) -> None:
        self.family: Family = get_family(family)
        self.formula = parse(formula, transforms or ())
        self.design: Design = make_design(
            self.formula, data, weights=weights, missing=missing, transforms=transforms, family=self.family.name
        )
        self.priors: Priors = resolve_priors(self.design, self.family, priors)

    def maximize(self, method: str = "REML", nagq: int = 1, start: Mapping[str, float] | None = None) -> PointFit:
        """Return the maximum of the marginal likelihood (REML, ML) or of the marginal posterior (MAP).

        Parameters
        ----------
        method : {"REML", "ML", "MAP"}
            "MAP" is the mode of the marginal posterior of (sds, correlations, sigma) on their natural scales under
            ``model.priors``, with the coefficients and the random effects integrated out.
        nagq : int
            Quadrature nodes for each random effect. A Gaussian model is integrated exactly, so that only 1 makes sense.
        start : mapping, optional
            Starting standard deviations by place.

        Raises
        ------
        ValueError
            For an unknown method, `nagq` other than 1, or a place that is not in the model.
        PriorError
            For "MAP" where a prior is a function.
        """
        if nagq != 1:
            raise ValueError(f"nagq must be 1 for the gaussian family, whose integral is exact, not {nagq!r}")
        return maximize(self.design, method, self.priors, start)

    def graph(self, effects: str = "auto", centred: str | bool | Mapping[str, bool] = "auto"):
        """Return the PyMC model.

        Parameters
        ----------
        effects : {"auto", "marginal", "explicit"}
            "marginal": the random effects and the coefficients with a normal prior are integrated out. "explicit":
            all are variables of the graph. "auto": marginal, unless a cost model says that its dense algebra would be
            slower.
        centred : "auto", bool, or mapping of factor to bool
            Whether the effects of a factor are sampled as they are, or in units of their standard deviations. "auto"
            centres a single factor whose effects are well determined by the data: mean reliability above one half,
            also with its sd two standard errors below REML.

        Returns
        -------
        pymc.Model
        """
        from bayesmm.graph.explicit import build_explicit
        from bayesmm.graph.marginal import build_marginal

        if self.effects(effects) == "marginal":
            return build_marginal(self.design, self.priors, self._integrated)
        return build_explicit(self.design, self.priors, centred=self._centred(centred))

    def effects(self, effects: str = "auto") -> str:
        """Return which graph ``effects`` means for this model, "marginal" or "explicit"."""
        if effects not in EFFECTS:
            raise ValueError(
                f"effects must be one of {listing(EFFECTS)}, not {effects!r}{suggest(str(effects), EFFECTS)}"
            )
        if effects != "auto":
            return effects
        return "marginal" if marginal_is_cheaper(self._integrated.problem) else "explicit"

    @cached_property
    def _integrated(self) -> Integrated:
        return integrate(self.design, self.priors)

    def _centred(self, centred: str | bool | Mapping[str, bool]) -> dict[str, bool]:
        names = [block.name for block in self.design.blocks]
        if isinstance(centred, bool):
            return dict.fromkeys(names, centred)
        chosen = dict(zip(names, centred_by_rule(self._reml), strict=True)) if names else {}
        if centred == "auto":
            return {name: bool(value) for name, value in chosen.items()}
        if not isinstance(centred, Mapping):
            raise ValueError(f"centred must be 'auto', True, False, or a mapping of factor to bool, not {centred!r}")
        for name in centred:
            if name not in names:
                raise ValueError(
                    f"centred names {name!r}; the grouping factors are {listing(names)}{suggest(name, names)}"
                )
        return {name: bool(centred.get(name, chosen[name])) for name in names}

    @cached_property
    def _reml(self) -> PointFit:
        return self.maximize()

    def sample(
        self,
        draws: int = 1000,
        tune: int = 1000,
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
    ) -> Fit:
        """Sample the posterior by NUTS.

        Parameters
        ----------
        draws, tune, chains : int
            Draws kept and warm-up draws of each chain.
        seed : int, optional
            The same seed and sampler give identical draws. None: a new one, recorded in the fit.
        sampler : {"auto", "nutpie", "pymc", "importance"}
            "auto" is nutpie. "importance": no NUTS but independent draws, quicker, for models with at most 12 sds,
            correlations and the like; of the other arguments only `draws`, `chains`, `seed` and `keep_effects` matter.
        effects, centred
            See `graph`.
        progress : bool
            Show a progress bar; never shown where the output is no terminal.
        target_accept : float
            Between 0 and 1; nearer to 1 means smaller steps.
        cores : int, optional
            Chains run at the same time.
        keep_effects : bool
            False: the random effects b are not stored, which saves memory where there are very many.

        Returns
        -------
        Fit
            Also after Ctrl-C, with the draws that were finished, and marked as interrupted.

        Raises
        ------
        ValueError
            For an argument out of range, draws that would not fit in memory, or a model whose density is not finite
            where the sampler would start.
        """
        from bayesmm.recovery import check_memory, recorded, with_effects, without_effects
        from bayesmm.sampling import check_arguments, sample_graph

        settings = dict(
            draws=draws, tune=tune, chains=chains, seed=seed, sampler=sampler, target_accept=target_accept, cores=cores
        )  # fmt: skip
        check_arguments(**settings)
        check_memory(self.design, draws, chains, keep_effects=keep_effects)
        began = time.perf_counter()
        chosen = self.effects(effects)
        if sampler == "importance":
            from bayesmm.importance import sample_independent

            own = dict(draws=draws, chains=chains, seed=seed, effects=effects, keep_effects=keep_effects, began=began)
            return Fit(self, sample_independent(self.design, self.priors, self._reml, **own))
        tree = sample_graph(self.graph(chosen, centred), **settings, progress=progress, began=began)
        if chosen == "marginal":
            seed = json.loads(tree.attrs["bayesmm"])["seed"]
            tree = with_effects(tree, self.design, self._integrated, seed, keep_effects=keep_effects)
        elif not keep_effects:
            tree = without_effects(tree, self.design)
        return Fit(self, recorded(tree, effects=chosen, seconds=time.perf_counter() - began))

    def prior_predictive(self, draws: int = 500, seed: int | None = None):
        """Draw parameters from the priors, and data given them.

        Parameters
        ----------
        draws : int
        seed : int, optional

        Returns
        -------
        xarray.DataTree
            Groups ``prior`` and ``prior_predictive``.
        """
        from bayesmm.sampling import prior_predictive

        return prior_predictive(self.graph("explicit", centred=False), draws, seed)

    def equation(self) -> str:
        """Return the model with its priors in LaTeX."""
        from bayesmm.equation import equation

        return equation(self.design, self.priors, self.family)

    def __repr__(self) -> str:
        from bayesmm.summary import render_model

        return render_model(self)


def fit(
    formula: str,
    data: object,
    family: str = "gaussian",
    priors: Mapping[str, object] | None = None,
    *,
    weights: object = None,
    missing: str = "drop",
    transforms: Mapping[str, Callable] | None = None,
    **sampling: object,
) -> Fit:
    """Fit a mixed model by NUTS: ``Model(...).sample(...)``.

    Parameters
    ----------
    formula, data, family, priors, weights, missing, transforms
        See `Model`.
    **sampling
        See `Model.sample`.

    Returns
    -------
    Fit
    """
    model = Model(formula, data, family, priors, weights=weights, missing=missing, transforms=transforms)
    return model.sample(**sampling)


def centred_by_rule(point: PointFit) -> list[bool]:
    """Return for each factor whether the explicit graph centres it: see CENTRED_ABOVE."""
    if len(point.covariances) > 1:
        return [False] * len(point.covariances)
    return [bool(r > CENTRED_ABOVE) for r in reliabilities(point, STANDARD_ERRORS)]


def reliabilities(point: PointFit, standard_errors: float = 0.0) -> np.ndarray:
    """Return the mean reliability of each factor's effects, (K,): 1 - conditional variance / variance.

    `standard_errors` is how far below REML's the variance is taken: for a variance k times as large, a reliability r
    becomes k r / (1 - r + k r).
    """
    out = []
    for Sigma, conditional in zip(point.covariances, point.conditional, strict=True):
        variance = np.diag(Sigma)
        mean_conditional = np.diagonal(conditional, axis1=1, axis2=2).mean(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            r = np.where(variance > 0, 1 - mean_conditional / variance, 0.0)
        k = np.exp(-2 * standard_errors / np.sqrt(2 * max(len(conditional) - 1, 1)))
        out.append(np.mean(k * r / (1 - r + k * r)))
    return np.array(out)


def marginal_is_cheaper(problem: Problem) -> bool:
    """Return whether an effective draw costs less with the random effects integrated out: see the constants above."""
    cp, design = problem.cp, problem.design
    widths = np.diff(cp.leading.start).astype(float)
    q = max(cp.q[0], 1) if cp.order else 1
    marginal = q * float(widths @ widths) + INVERSE_COST * float(len(cp.rest.z)) ** 3
    numbers = design.n * (design.p + sum(block.Z.shape[1] for block in design.blocks))
    return marginal <= FEWER_GRADIENTS * ROW_COST * numbers
