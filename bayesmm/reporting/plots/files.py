"""The figures that the command line writes."""

from functools import partial
from pathlib import Path

from bayesmm.display.figures import png
from bayesmm.errors import FitFileError
from bayesmm.evaluation.compare_reml import Comparison, compare
from bayesmm.reporting.plots.chosen import of_posterior
from bayesmm.reporting.plots.comparison import plot_comparison
from bayesmm.reporting.plots.components import plot_variances
from bayesmm.reporting.plots.effects import plot_effects
from bayesmm.reporting.plots.sampling import plot_traces
from bayesmm.runtime.extras import need_plots
from bayesmm.runtime.paths import as_path, special_kind
from bayesmm.storage.atomic_write import slug, write_bytes


@of_posterior
def save_figures(fit, directory: str | Path, comparison: Comparison | None = None) -> list[Path]:
    """Write the four kinds of figures as PNG files, a caterpillar for each grouping factor.

    Parameters
    ----------
    fit : Fit
    directory : path
        A folder, which is made if it is not there.
    comparison : Comparison, optional
        The comparison to draw; found if not given.

    Returns
    -------
    list of Path
        The files written. A factor's name becomes letters, digits and, where that loses anything, a hash.

    Raises
    ------
    FitFileError
        It is no folder, or a file of such a name in it is a device or the like.
    """
    plt = need_plots()
    directory = as_path(directory, "directory")
    if directory.exists() and not directory.is_dir():
        kind = special_kind(directory) or "a file"
        raise FitFileError(f"{directory} is {kind}; expected a folder, which is made if it is not there")
    directory.mkdir(parents=True, exist_ok=True)
    comparison = compare(fit) if comparison is None else comparison
    drawings = {
        "variance_components": lambda: plot_variances(fit, comparison.point),
        **({} if comparison.point is None else {"comparison": lambda: plot_comparison(comparison)}),
        "traces": lambda: plot_traces(fit),
    }
    for block in (fit.design.blocks[k] for k in fit.design.factors):
        drawings[f"effects_{slug(block.group)}"] = partial(plot_effects, fit, comparison.point, block.group)
    paths = []
    for name, draw in drawings.items():
        figure = draw().figure
        paths.append(directory / f"{name}.png")
        write_bytes(png(figure), paths[-1])
        plt.close(figure)
    return paths
