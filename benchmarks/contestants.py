"""CONTESTANTS: who runs, one small function each. What a function does between its call and its return is timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.models import Case, Statsmodels

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import xarray as xr

BAMBI_TUNE = 1000  # its own default, which nutpie's way in does not have
SAMPLING, MAXIMISATION, GRADIENT = "sampling", "maximisation", "gradient"


class NotAvailable(Exception):
    """The contestant is not there, or cannot run the case; the text says why."""


@dataclass(frozen=True)
class Settings:
    """What every sampler is asked for; `tune` None: what it takes by itself."""

    draws: int
    tune: int | None
    chains: int
    seed: int


@dataclass(frozen=True)
class Sampled:
    """Draws of the parameters that are compared, each (chains, draws), and the divergences (None: it has none)."""

    parameters: dict[str, np.ndarray]
    divergences: int | None


@dataclass(frozen=True)
class Optimum:
    """What a maximisation found: the REML criterion, -2 log restricted likelihood; and the seconds of its phases."""

    criterion: float
    converged: bool
    phases: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Contestant:
    """One way to fit a model.

    Attributes
    ----------
    name, title, kind : str
        `kind` is SAMPLING, MAXIMISATION or GRADIENT.
    modules : tuple of str
        Imported before the clock starts; their time is recorded by itself.
    fit : function of (case, subject, settings)
        What is timed. The subject is what `prepare` returned.
    read : function of what fit returned
        Returns Sampled, Optimum, or for GRADIENT the record itself; not timed.
    prepare : function of (case, data)
        Not timed; returns the data as they are unless something else is given.
    """

    name: str
    title: str
    kind: str
    modules: tuple[str, ...]
    fit: Callable[[Case, object, Settings], object]
    read: Callable[[object], object]
    prepare: Callable[[Case, pd.DataFrame], object] = lambda case, data: data


# --- sampling ---------------------------------------------------------------------------------------------------------


def bayesmm_marginal(case: Case, data: pd.DataFrame, settings: Settings):
    return _bayesmm(case, data, settings, effects="marginal")


def bayesmm_explicit(case: Case, data: pd.DataFrame, settings: Settings):
    return _bayesmm(case, data, settings, effects="explicit")


def bayesmm_importance(case: Case, data: pd.DataFrame, settings: Settings):
    """Independent draws; they have neither chains nor tuning, so that draws x chains are asked for as they are."""
    return _bayesmm(case, data, settings, sampler="importance")


def _bayesmm(case: Case, data: pd.DataFrame, settings: Settings, **how: str):
    import bayesmm as bmm

    return bmm.fit(
        case.formula,
        data,
        family=case.family,
        draws=settings.draws,
        tune=settings.tune,
        chains=settings.chains,
        seed=settings.seed,
        keep_effects=case.keep_effects,
        progress=False,
        **how,
    )


def bambi_pymc(case: Case, data: pd.DataFrame, settings: Settings):
    return _bambi(case, data, settings, "pymc")


def bambi_nutpie(case: Case, data: pd.DataFrame, settings: Settings):
    return _bambi(case, data, settings, "nutpie")


def _bambi(case: Case, data: pd.DataFrame, settings: Settings, method: str):
    import bambi

    return bambi.Model(case.bambi, data, family=case.bambi_family or case.family).fit(
        draws=settings.draws,
        tune=BAMBI_TUNE if settings.tune is None else settings.tune,
        chains=settings.chains,
        random_seed=settings.seed,
        inference_method=method,
        progressbar=False,
    )


def read_bayesmm(fit) -> Sampled:
    """Return the coefficients, sds, correlations, and sigma or what else its family has, of a fit."""
    posterior, design = fit.tree["posterior"].to_dataset(), fit.design
    parameters = {f"beta[{name}]": _draws(posterior["beta"].sel(coef=name)) for name in design.coefficients}
    for block in design.blocks:
        q, names = len(block.columns), block.columns
        sd = posterior[f"sd_{block.name}"].transpose("chain", "draw", ...).to_numpy()
        parameters |= {f"sd_{block.name}[{names[i]}]": sd[:, :, i] for i in range(q)}
        if block.correlated:
            corr = posterior[f"corr_{block.name}"].transpose("chain", "draw", ...).to_numpy()
            pairs = [(part[i], part[j]) for part in block.partition for i in range(len(part)) for j in range(i)]
            parameters |= {f"corr_{block.name}[{names[i]}, {names[j]}]": corr[:, :, i, j] for i, j in pairs}
    parameters |= {name: _draws(posterior[name]) for name in design.family.auxiliaries}
    return Sampled(parameters, _divergences(fit.tree))


def read_bambi(tree: xr.DataTree) -> Sampled:
    """Return the coefficients, sds and sigma; names of bambi's effects have a bar, those of their sds end in _sigma."""
    posterior = tree["posterior"].to_dataset()
    names = [name for name in posterior.data_vars if "|" not in name or name.endswith("_sigma")]
    return Sampled({name: _draws(posterior[name]) for name in names}, _divergences(tree))


def _draws(values: xr.DataArray) -> np.ndarray:
    array = values.transpose("chain", "draw", ...).to_numpy()
    return array.reshape(array.shape[:2])


def _divergences(tree: xr.DataTree) -> int | None:
    stats = tree["sample_stats"].to_dataset() if "sample_stats" in tree.children else {}
    return int(stats["diverging"].sum()) if "diverging" in stats else None


# --- maximisation -----------------------------------------------------------------------------------------------------


def bayesmm_reml(case: Case, data: pd.DataFrame, settings: Settings):
    """From the data frame to the estimate."""
    import bayesmm as bmm

    began = time.perf_counter()
    model = bmm.Model(case.formula, data)
    built = time.perf_counter()
    point = model.maximize()
    return model, point, {"build": built - began, "maximize": time.perf_counter() - built}


def bayesmm_model(case: Case, data: pd.DataFrame):
    import bayesmm as bmm

    return bmm.Model(case.formula, data)


def bayesmm_maximize(case: Case, model, settings: Settings):
    """`maximize` of a Model that is there already, which passes over the rows again."""
    began = time.perf_counter()
    point = model.maximize()
    return model, point, {"maximize": time.perf_counter() - began}


def read_point(result) -> Optimum:
    """Return the optimum; its phase "rows" is the pass over the rows, measured by itself."""
    from bayesmm.likelihood.problem import orthogonal_problem

    model, point, phases = result
    began = time.perf_counter()
    orthogonal_problem(model.design)
    return Optimum(float(point.criterion), bool(point.converged), phases | {"rows": time.perf_counter() - began})


def mixedlm(case: Case, data: pd.DataFrame, settings: Settings):
    import mixedlm as library

    return library.lmer(case.mixedlm, data)


def read_mixedlm(result) -> Optimum:
    return Optimum(float(result.REMLcrit()), bool(result.converged))


def statsmodels(case: Case, data: pd.DataFrame, settings: Settings):
    from statsmodels.formula.api import mixedlm

    how: Statsmodels = case.statsmodels
    model = mixedlm(how.formula, data, groups=how.groups, re_formula=how.re_formula, vc_formula=how.components)
    return model.fit(reml=True)


def read_statsmodels(result) -> Optimum:
    return Optimum(-2 * float(result.llf), bool(result.converged))


# --- the table --------------------------------------------------------------------------------------------------------


def _gradient(effects: str) -> Callable[[Case, pd.DataFrame, Settings], object]:
    def fit(case: Case, data: pd.DataFrame, settings: Settings):
        from benchmarks.gradients import gradient_times

        return gradient_times(case, data, effects)

    return fit


_BAYESMM = (
    "bayesmm.model",
    "bayesmm.sampling.graph.nuts",
    "bayesmm.sampling.recovery",
    "bayesmm.sampling.graph.marginal",
    "bayesmm.sampling.graph.explicit",
)
_POINT = ("bayesmm.model", "bayesmm.estimation.maximize", "bayesmm.likelihood.problem")
_BAMBI = ("bambi", "nutpie")
_STATSMODELS = ("statsmodels.formula.api",)
_ROWS = (
    Contestant("marginal", "bayesmm, marginal, NUTS", SAMPLING, _BAYESMM, bayesmm_marginal, read_bayesmm),
    Contestant("importance", "bayesmm, independent draws", SAMPLING, _BAYESMM, bayesmm_importance, read_bayesmm),
    Contestant("explicit", "bayesmm, explicit, NUTS", SAMPLING, _BAYESMM, bayesmm_explicit, read_bayesmm),
    Contestant("bambi-pymc", "bambi, PyMC NUTS (its default)", SAMPLING, _BAMBI, bambi_pymc, read_bambi),
    Contestant("bambi-nutpie", "bambi, nutpie NUTS", SAMPLING, _BAMBI, bambi_nutpie, read_bambi),
    Contestant("reml", "bayesmm, from the data frame", MAXIMISATION, _POINT, bayesmm_reml, read_point),
    Contestant(
        "maximize", "bayesmm, maximize() alone", MAXIMISATION, _POINT, bayesmm_maximize, read_point, bayesmm_model
    ),
    Contestant("mixedlm", "mixedlm", MAXIMISATION, ("mixedlm",), mixedlm, read_mixedlm),
    Contestant("statsmodels", "statsmodels MixedLM", MAXIMISATION, _STATSMODELS, statsmodels, read_statsmodels),
    Contestant("gradient", "marginal graph", GRADIENT, _BAYESMM, _gradient("marginal"), lambda record: record),
    Contestant("gradient-explicit", "explicit graph", GRADIENT, _BAYESMM, _gradient("explicit"), lambda record: record),
)
CONTESTANTS: dict[str, Contestant] = {contestant.name: contestant for contestant in _ROWS}
BASELINE = {SAMPLING: "marginal", MAXIMISATION: "reml", GRADIENT: "gradient"}


def baseline(case: Case, kind: str) -> str:
    """Return the contestant that ratios are to: bayesmm as it comes, by the explicit graph if there is no other."""
    return "explicit" if kind == SAMPLING and BASELINE[kind] in case.absent else BASELINE[kind]


def entrants(case: Case) -> list[Contestant]:
    """Return who runs a case; the gradient's time is taken where the rows are repeated."""
    able = [one for one in CONTESTANTS.values() if one.name not in case.absent]
    return [one for one in able if one.kind != GRADIENT or case.copies > 1]
