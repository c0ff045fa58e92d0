"""What ignoring groups costs: the pooled and the mixed regression on data whose slopes differ between groups.

Run with ``python examples/pooled_vs_mixed.py``: it prints a table and writes demo/pooled_vs_mixed.png.

Each group has an intercept b0 ~ N(0, 1) and a slope 1 + b0 + N(0, 1), so that the two are correlated, and rows with x
and the residual from N(0, 1). The pooled regression has an intercept for each group but one slope, y ~ x + group; the
mixed one is y ~ x + (x | group) by REML. Both are unbiased for the mean slope of 1. The pooled standard error takes all
rows for independent reports on the slope, though only the groups are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

import bayesmm as bmm
from bayesmm.display.figures import ACCENT, GREY, INK, key, panels, png, title
from bayesmm.runtime.arguments import check_seed, check_whole

SLOPE = 1.0  # mean of the groups' slopes
MIXED = "y ~ x + (x | group)"
CI_PROB = 0.95
METHODS = ("pooled", "mixed")
SHOWN = 100  # intervals drawn in the figure
FIGURE = Path("demo") / "pooled_vs_mixed.png"


def simulate_groups(groups: int = 10, rows: int = 10, seed: int | None = None) -> pd.DataFrame:
    """Simulate groups whose slopes differ and are correlated with their intercepts (0.71).

    Parameters
    ----------
    groups, rows : int
        Number of groups, and rows in each.
    seed : int, optional

    Returns
    -------
    pandas.DataFrame
        Columns group ("g01", ...), x and y.

    Raises
    ------
    ValueError
        If there are fewer than two groups, or fewer than three rows in a group, which a slope for each needs; or for
        what is no seed.
    """
    check_whole("groups", groups, 2)
    check_whole("rows", rows, 3)
    check_seed(seed)
    return _simulated(groups, rows, np.random.default_rng(seed))


def _simulated(groups: int, rows: int, rng: np.random.Generator) -> pd.DataFrame:
    intercepts = rng.standard_normal(groups)
    slopes = SLOPE + intercepts + rng.standard_normal(groups)
    group, x = np.repeat(np.arange(groups), rows), rng.standard_normal(groups * rows)
    y = intercepts[group] + slopes[group] * x + rng.standard_normal(groups * rows)
    return pd.DataFrame({"group": [f"g{g + 1:02d}" for g in group], "x": x, "y": y})


@dataclass(frozen=True, eq=False)
class Slopes:
    """The slope of one regression in each simulated data set.

    Attributes
    ----------
    method : {"pooled", "mixed"}
    estimate, se : (datasets,) float64
    df : float
        Degrees of freedom of the t quantile of the intervals: rows - coefficients, or groups - 1.
    """

    method: str
    estimate: np.ndarray
    se: np.ndarray
    df: float

    @property
    def half_width(self) -> np.ndarray:
        """Half the width of the 95 % intervals, (datasets,)."""
        from scipy.stats import t

        return t.ppf((1 + CI_PROB) / 2, self.df) * self.se

    @property
    def covered(self) -> np.ndarray:
        """Whether each interval covers the true slope, (datasets,) bool."""
        return np.abs(self.estimate - SLOPE) <= self.half_width

    @property
    def actual(self) -> float:
        """The standard deviation of the estimates over the data sets: what the standard error is meant to be."""
        return float(self.estimate.std(ddof=1))


def compare_pooled(datasets: int = 500, groups: int = 10, rows: int = 10, seed: int = 1) -> tuple[Slopes, Slopes]:
    """Fit both regressions to simulated data sets; a few milliseconds each.

    Parameters
    ----------
    datasets : int
        At least 2.
    groups, rows : int
        Of each data set.
    seed : int

    Returns
    -------
    pooled, mixed : Slopes
    """
    check_whole("datasets", datasets, 2)
    check_seed(seed, optional=False)
    simulate_groups(groups, rows, seed)  # checks the other arguments
    found = np.empty((datasets, 2, 2))
    for i, stream in enumerate(np.random.SeedSequence(seed).spawn(datasets)):
        data = _simulated(groups, rows, np.random.default_rng(stream))
        point = bmm.Model(MIXED, data).maximize()
        found[i] = pooled_slope(data), (point.beta[1], np.sqrt(point.beta_cov[1, 1]))
    df = groups * rows - groups - 1, groups - 1
    pooled, mixed = (Slopes(m, *found[:, k].T, df[k]) for k, m in enumerate(METHODS))
    return pooled, mixed


def pooled_slope(data: pd.DataFrame) -> tuple[float, float]:
    """Return the slope of y ~ x + group by least squares, and its standard error."""
    within = data[["x", "y"]] - data.groupby("group")[["x", "y"]].transform("mean")
    x, y = within["x"].to_numpy(), within["y"].to_numpy()
    slope = x @ y / (x @ x)
    left = y - slope * x
    return slope, np.sqrt(left @ left / (len(data) - data["group"].nunique() - 1) / (x @ x))


def table(results: Sequence[Slopes]) -> pd.DataFrame:
    """Return, for each regression, the spread of its slopes, the standard error that it reports, and the coverage."""
    rows = {
        r.method: {
            "mean slope": r.estimate.mean(),
            "actual SE": r.actual,
            "reported SE": r.se.mean(),
            "ratio": r.se.mean() / r.actual,
            "coverage of 95 % intervals": r.covered.mean(),
        }
        for r in results
    }
    return pd.DataFrame(rows).T


def plot(results: Sequence[Slopes], data: pd.DataFrame):
    """Draw one simulated data set, and the intervals of both regressions in the first hundred of them.

    Parameters
    ----------
    results : (pooled, mixed) Slopes
        As `compare_pooled` returns them.
    data : pandas.DataFrame
        As `simulate_groups` returns it.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = panels(3, 3.6, 4.2)
    _draw_data(axes[0], data, GREY, INK)
    limit = max(np.abs(r.estimate - SLOPE)[:SHOWN].max() + r.half_width[:SHOWN].max() for r in results)
    for ax, result in zip(axes[1:], results, strict=True):
        _draw_intervals(ax, result, limit, GREY, ACCENT, INK)
    entries = {"covers the true slope": ("-", GREY), "misses it": ("-", ACCENT), "true mean slope": ("--", INK)}
    key(figure, {"one group, with its own slope": ("o", GREY)} | entries)
    title(figure, "95 % intervals for the mean slope, from simulated data whose slopes differ between groups")
    return figure


def _draw_data(ax, data: pd.DataFrame, grey: str, ink: str) -> None:
    ends = np.array([data["x"].min(), data["x"].max()])
    for _, group in data.groupby("group"):
        slope, intercept = np.polyfit(group["x"], group["y"], 1)
        ax.plot(group["x"], group["y"], "o", color=grey, markersize=2.5, alpha=0.6)
        own = np.array([group["x"].min(), group["x"].max()])
        ax.plot(own, intercept + slope * own, color=grey, linewidth=0.9)
    slope, mean = pooled_slope(data)[0], data[["x", "y"]].mean()
    ax.plot(ends, mean["y"] + slope * (ends - mean["x"]), color=ink, linewidth=2)
    ax.set(xlabel="x", ylabel="y")
    said = f"One of the data sets: {data['group'].nunique()} groups\nthick: the pooled slope"
    ax.set_title(said, fontsize=9, loc="left")


def _draw_intervals(ax, result: Slopes, limit: float, grey: str, accent: str, ink: str) -> None:
    order = np.argsort(result.estimate[:SHOWN])
    estimate, half = result.estimate[:SHOWN][order], result.half_width[:SHOWN][order]
    covered = result.covered[:SHOWN][order]
    for colour, chosen in ((grey, covered), (accent, ~covered)):
        at = np.flatnonzero(chosen)
        ax.hlines(at, estimate[at] - half[at], estimate[at] + half[at], color=colour, linewidth=1.2)
    ax.axvline(SLOPE, color=ink, linestyle="--", linewidth=1.2)
    ax.set(xlim=(SLOPE - limit, SLOPE + limit), xlabel="slope", yticks=[])
    ax.spines["left"].set_visible(False)
    drawn = f" ({len(estimate)} shown)" if len(estimate) < len(result.covered) else ""
    said = f"{100 * result.covered.mean():.0f} % of {len(result.covered):,} intervals cover the truth{drawn}\n"
    said += f"standard error: reported {result.se.mean():.2f}, actual {result.actual:.2f}"
    formula = {"pooled": "Pooled: y ~ x + group", "mixed": "Mixed: y ~ x + (x | group)"}[result.method]
    ax.set_title(f"{formula}\n{said}", fontsize=9, loc="left")


def main() -> None:
    results = compare_pooled(datasets=500, groups=10, rows=10, seed=1)
    print(table(results).round(3).to_string())
    FIGURE.parent.mkdir(exist_ok=True)
    FIGURE.write_bytes(png(plot(results, simulate_groups(10, 10, seed=1))))
    print(FIGURE)


if __name__ == "__main__":
    main()
