"""Bayesian mixed-effects models from an lme4 formula: the posterior beside the REML fit.

>>> import bayesmm as bmm
>>> model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.load_dataset("sleepstudy"))
>>> point = model.maximize()  # lme4's answer
>>> fit = model.sample(seed=1)  # the posterior
>>> print(fit.compare(point))

Importing this package loads nothing heavy: pandas, PyMC, Numba and matplotlib come with the first name that needs them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from bayesmm.runtime.version import __version__

if TYPE_CHECKING:
    from bayesmm.errors import BayesmmWarning, DataError, FitFileError, FormulaError, PriorError, UnfinishedError
    from bayesmm.evaluation.bayes_factors import bayes_factors
    from bayesmm.evaluation.checks import Check
    from bayesmm.evaluation.compare_reml import Comparison
    from bayesmm.evaluation.loo_compare import compare_models
    from bayesmm.evaluation.prior_sensitivity.prior_check import prior_check
    from bayesmm.evaluation.variance.heterogeneity import heterogeneity
    from bayesmm.example_data import datasets, load_dataset
    from bayesmm.families.family import Auxiliary, Family
    from bayesmm.inference.anova import anova
    from bayesmm.inference.cluster_robust import cluster_robust
    from bayesmm.inference.lrt import lrt
    from bayesmm.inference.marginal_effects.comparisons import comparisons, slopes
    from bayesmm.inference.marginal_effects.means import emmeans
    from bayesmm.inference.marginal_effects.predictions import predictions
    from bayesmm.inference.simulation.power import power
    from bayesmm.loading import load
    from bayesmm.many import Fits, fit_many, fit_multiple
    from bayesmm.model import Model, fit
    from bayesmm.priors import Prior
    from bayesmm.reporting.pooled import Pooled
    from bayesmm.reporting.side_by_side import table
    from bayesmm.reporting.write import report
    from bayesmm.results import Fit, PointFit
    from bayesmm.storage.accumulated import Accumulated, accumulate, load_accumulated

__all__ = [
    "Accumulated",
    "Auxiliary",
    "BayesmmWarning",
    "Check",
    "Comparison",
    "DataError",
    "Family",
    "Fit",
    "FitFileError",
    "Fits",
    "FormulaError",
    "Model",
    "PointFit",
    "Pooled",
    "Prior",
    "PriorError",
    "UnfinishedError",
    "__version__",
    "accumulate",
    "anova",
    "bayes_factors",
    "cluster_robust",
    "compare_models",
    "comparisons",
    "datasets",
    "emmeans",
    "fit",
    "fit_many",
    "fit_multiple",
    "heterogeneity",
    "load",
    "load_accumulated",
    "load_dataset",
    "lrt",
    "power",
    "predictions",
    "prior_check",
    "report",
    "slopes",
    "table",
]

# public name -> the module that has it
_HOME = {
    "Accumulated": "bayesmm.storage.accumulated",
    "Auxiliary": "bayesmm.families.family",
    "BayesmmWarning": "bayesmm.errors",
    "Check": "bayesmm.evaluation.checks",
    "Comparison": "bayesmm.evaluation.compare_reml",
    "DataError": "bayesmm.errors",
    "Family": "bayesmm.families.family",
    "Fit": "bayesmm.results",
    "Fits": "bayesmm.many",
    "FitFileError": "bayesmm.errors",
    "FormulaError": "bayesmm.errors",
    "Model": "bayesmm.model",
    "PointFit": "bayesmm.results",
    "Pooled": "bayesmm.reporting.pooled",
    "Prior": "bayesmm.priors",
    "PriorError": "bayesmm.errors",
    "UnfinishedError": "bayesmm.errors",
    "accumulate": "bayesmm.storage.accumulated",
    "anova": "bayesmm.inference.anova",
    "bayes_factors": "bayesmm.evaluation.bayes_factors",
    "cluster_robust": "bayesmm.inference.cluster_robust",
    "compare_models": "bayesmm.evaluation.loo_compare",
    "comparisons": "bayesmm.inference.marginal_effects.comparisons",
    "datasets": "bayesmm.example_data",
    "emmeans": "bayesmm.inference.marginal_effects.means",
    "fit": "bayesmm.model",
    "fit_many": "bayesmm.many",
    "fit_multiple": "bayesmm.many",
    "heterogeneity": "bayesmm.evaluation.variance.heterogeneity",
    "load": "bayesmm.loading",
    "load_accumulated": "bayesmm.storage.accumulated",
    "load_dataset": "bayesmm.example_data",
    "lrt": "bayesmm.inference.lrt",
    "power": "bayesmm.inference.simulation.power",
    "predictions": "bayesmm.inference.marginal_effects.predictions",
    "prior_check": "bayesmm.evaluation.prior_sensitivity.prior_check",
    "report": "bayesmm.reporting.write",
    "slopes": "bayesmm.inference.marginal_effects.comparisons",
    "table": "bayesmm.reporting.side_by_side",
}


def __getattr__(name: str) -> object:
    """Load a public name at its first use (PEP 562)."""
    if name == "plots":  # the one module that is public as such
        return import_module("bayesmm.reporting.plots")
    if name not in _HOME:
        from bayesmm.runtime.other_names import FUNCTIONS

        said = f"; here it is {FUNCTIONS[name]}" if name in FUNCTIONS else ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{said}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
