"""The pictures of the validation page, as SVG: the ranks of the calibration, the distances of exact posteriors."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from validation.calibration import RANKS, bins, null_gammas, pointwise
from validation.models import CASES, CENTRAL
from validation.records import Record

LINE, BAND, RED, GREY = "#2b6cb0", "#dbe7f3", "#c53030", "#718096"
EVERY = 3  # ranks between two points of a line, for a small file; whether it leaves the band is seen at all
INSIDE = 0.99  # of the ranks' counts, pointwise; of ECDFs, all points together


def draw(name: str, folder: Path, figure) -> str:
    """Write a figure to the folder and return the name of its file."""
    import matplotlib.pyplot as plt

    path = folder / f"validation_{name}.svg"
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    return path.name


def figure(rows: int, columns: int, width: float, height: float):
    """Return a figure without a screen and its axes, (rows, columns)."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams |= {"svg.hashsalt": "validation", "font.size": 7, "svg.fonttype": "none"}
    import matplotlib.pyplot as plt

    return plt.subplots(rows, columns, figsize=(width, height), squeeze=False, layout="constrained")


def central_ranks(records: Sequence[Record], folder: Path) -> str | None:
    """Draw a histogram of the ranks of every quantity of the central models, with the band of uniform ones."""
    own = [record for record in records if CASES[record.cell].kind == CENTRAL and record.numbers.get("ranks")]
    if not own:
        return None
    most = max(len(record.numbers["ranks"]) for record in own)
    fig, axes = figure(len(own), most, 1.15 * most, 1.05 * len(own))
    for line, record in zip(axes, own, strict=True):
        quantities = list(record.numbers["ranks"].items())
        for axis, (name, ranks) in zip(line, quantities, strict=False):
            histogram(axis, np.array(ranks))
            axis.set_title(short(name), fontsize=6, pad=2)
        for axis in line[len(quantities) :]:
            axis.set_axis_off()
        line[0].set_ylabel(record.cell.replace(", ", ",\n"), fontsize=6)
    return draw("ranks", folder, fig)


def histogram(axis, ranks: np.ndarray) -> None:
    """Draw the counts of ranks in bins, with the band that a uniform bin's count has."""
    number = bins(len(ranks))
    counts = np.histogram(ranks, number, (0, RANKS + 1))[0]
    low, high = stats.binom.ppf([(1 - INSIDE) / 2, (1 + INSIDE) / 2], len(ranks), 1 / number)
    outside = (counts < low) | (counts > high)
    axis.axhspan(low, high, color=BAND, lw=0)
    axis.bar(np.arange(number), counts, width=0.85, color=np.where(outside, RED, LINE))
    axis.set(xticks=[], yticks=[], ylim=(0, max(counts.max(), high) * 1.1))
    axis.spines[["top", "right", "left"]].set_visible(False)


def all_ranks(records: Sequence[Record], folder: Path) -> str | None:
    """Draw the ECDFs of all ranks less those of uniform ones, a panel for each family and structure."""
    own = [record for record in records if CASES[record.cell].kind != CENTRAL and record.numbers.get("ranks")]
    if not own:
        return None
    columns = 7
    rows = -(-len(own) // columns)
    fig, axes = figure(rows, columns, 9.5, 1.15 * rows)
    for axis, record in zip(axes.ravel(), own, strict=False):
        ecdfs(axis, record)
    for axis in axes.ravel()[len(own) :]:
        axis.set_axis_off()
    return draw("ecdf", folder, fig)


def ecdfs(axis, record: Record) -> None:
    """Draw the ECDF differences of one model's quantities in the band that holds 99 % of uniform ones, all over."""
    ranks = [np.array(own) for own in record.numbers["ranks"].values()]
    number = len(ranks[0])
    x = np.arange(1, RANKS + 1) / (RANKS + 1)
    limit = np.quantile(null_gammas(number), 1 - INSIDE)
    inside = pointwise(number) >= limit
    low, high = inside.argmax(axis=0) / number, (number - inside[::-1].argmax(axis=0)) / number
    axis.fill_between(x[::EVERY], (low - x)[::EVERY], (high - x)[::EVERY], color=BAND, lw=0)
    for own in ranks:
        below = np.searchsorted(np.sort(own), np.arange(1, RANKS + 1), side="left") / number
        out = ((below < low) | (below > high)).any()
        axis.plot(x[::EVERY], (below - x)[::EVERY], color=RED if out else LINE, lw=0.7, alpha=0.9)
    axis.set(xticks=[], yticks=[])
    axis.set_title(f"{record.cell} ({number})", fontsize=6, pad=2)
    axis.spines[["top", "right", "left", "bottom"]].set_visible(False)


def distances(z: Sequence[float], folder: Path) -> str | None:
    """Draw the z-scores of the exact posteriors beside a normal density."""
    if not len(z):
        return None
    fig, axes = figure(1, 1, 4, 1.9)
    axis, grid = axes[0, 0], np.linspace(-4.5, 4.5, 200)
    axis.hist(np.clip(z, -4.5, 4.5), np.linspace(-4.5, 4.5, 37), density=True, color=LINE)
    axis.plot(grid, stats.norm.pdf(grid), color=RED, lw=1)
    axis.set(title=f"{len(z):,} distances from exact numbers, in Monte Carlo errors", yticks=[])
    axis.spines[["top", "right", "left"]].set_visible(False)
    return draw("distances", folder, fig)


def short(name: str) -> str:
    """Return a name that fits over a small panel."""
    name = name.replace("Intercept", "Int").replace("new group's response", "new group").replace(" likelihood", " lik")
    return name if len(name) < 22 else name[:20] + "…"
