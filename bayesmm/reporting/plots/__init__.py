"""Figures of a posterior beside the maximised fit, legible in grey.

Matplotlib is loaded at the first figure. Names from the data are never read as mathematics (``$``), are cut, and keep a
leading underscore (which matplotlib would hide). Every function returns the axes, to be changed or shown.
"""

from bayesmm.reporting.plots.categories import plot_categories
from bayesmm.reporting.plots.comparison import plot_comparison
from bayesmm.reporting.plots.components import plot_priors, plot_variances
from bayesmm.reporting.plots.effects import plot_effects
from bayesmm.reporting.plots.files import save_figures
from bayesmm.reporting.plots.forest import forest
from bayesmm.reporting.plots.group_means import plot_group_means
from bayesmm.reporting.plots.lines import plot_lines
from bayesmm.reporting.plots.predictive import plot_predictive, plot_prior_predictive
from bayesmm.reporting.plots.residuals import plot_qq, plot_residuals
from bayesmm.reporting.plots.sampling import plot_energy, plot_traces
from bayesmm.reporting.plots.shrinkage import plot_shrinkage
from bayesmm.reporting.plots.smooths import smooths
from bayesmm.reporting.plots.survival import plot_survival

__all__ = [
    "forest",
    "plot_categories",
    "plot_comparison",
    "plot_effects",
    "plot_energy",
    "plot_group_means",
    "plot_lines",
    "plot_predictive",
    "plot_prior_predictive",
    "plot_priors",
    "plot_qq",
    "plot_residuals",
    "plot_shrinkage",
    "plot_survival",
    "plot_traces",
    "plot_variances",
    "save_figures",
    "smooths",
]


def __dir__() -> list[str]:
    return list(__all__)  # without the modules that the figures are written in
