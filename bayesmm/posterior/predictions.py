"""Predictions: draws for every row of a table, and what is read from them."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import xarray as xr

from bayesmm.design.frames import open_table
from bayesmm.design.responses import row_index, stacked_again
from bayesmm.design.summed import is_summed
from bayesmm.families.circle import around, mean_direction
from bayesmm.formula.responses import RESPONSE, ROW
from bayesmm.posterior.categories_plot import plot_categories
from bayesmm.posterior.convergence import quantiles, sds_of_draws
from bayesmm.posterior.draws import CI_PROB
from bayesmm.posterior.predictions_plot import plot_predictions, settings_of
from bayesmm.runtime.arguments import check_probability

CATEGORY = "category"  # the dimension of the probabilities of ordered categories
COLUMNS = ("mean", "sd", "lower", "upper")
CHUNK = 20_000_000  # numbers that are sorted at a time for quantiles: 160 MB


@dataclass(frozen=True, eq=False)
class Predictions:
    """Posterior draws of the linear predictor, the mean or the response of the rows of a table.

    Attributes
    ----------
    tree : xarray.DataTree
        Group ``predictions`` with one variable, named by its kind ("linear", "mean" or "response"), (chain, draw,
        obs), and of probabilities of categories (chain, draw, obs, category); obs counts the rows of the table from 0.
        The attribute "bayesmm" is JSON: kind, groups, new_levels, response, columns (that the predictions depend on),
        seed; "angle" where the numbers are angles, "counts" where they are counts or means of them.
    labels : array, shape (rows,)
        The rows' labels in the table's index; their positions where it has none.
    table : DataFrame
        What the model uses of the table that was predicted.
    observed : array, shape (rows,), or None
        The responses of 0 and 1 of the fit's own rows, which the figure shows the shares of.
    """

    tree: xr.DataTree
    labels: np.ndarray
    table: pd.DataFrame
    observed: np.ndarray | None = None

    @property
    def kind(self) -> str:
        """What was predicted: "linear", "mean" or "response"."""
        return next(iter(self.tree["predictions"].data_vars))

    @property
    def draws(self) -> np.ndarray:
        """The draws as an array, (chains, draws, rows), and of probabilities (chains, draws, rows, categories)."""
        return self.tree["predictions"][self.kind].to_numpy()

    def to_frame(self, ci_prob: float = CI_PROB) -> pd.DataFrame:
        """Return mean, sd and the equal-tailed interval (lower, upper) of each row, with the row labels of the table.

        Of probabilities of categories each row has as many rows as there are categories, whose labels are a second
        level of the index. Of angles the mean is the mean direction, and the others are of the angles at most pi from
        it, so that an end of the interval may lie beyond pi or -pi. Intervals of new responses that are whole numbers
        end at whole numbers, and hold at least this probability.

        Parameters
        ----------
        ci_prob : float
            Probability of the interval.

        Raises
        ------
        ValueError
            If `ci_prob` is not between 0 and 1.
        """
        check_probability("ci_prob", ci_prob)
        values = self.draws.reshape(np.prod(self.draws.shape[:2]), -1)
        out = np.empty((values.shape[1], len(COLUMNS)))
        step, settings = max(1, CHUNK // max(len(values), 1)), settings_of(self)
        angle, method = settings.get("angle", False), "inverted_cdf" if settings.get("whole") else "linear"
        for at in range(0, len(out), step):
            part = values[:, at : at + step]
            out[at : at + step, 0] = part.mean(axis=0)
            if angle:
                out[at : at + step, 0] = mean_direction(part, 0)
                part = around(part, out[at : at + step, 0])
            out[at : at + step, 1] = sds_of_draws(part)
            out[at : at + step, 2:] = quantiles(part, [(1 - ci_prob) / 2, (1 + ci_prob) / 2], method).T
        index = row_index(self.labels, RESPONSE in self.table)
        if self.categories:
            pairs = [[label, category] for label in self.labels for category in self.categories]
            index = pd.MultiIndex.from_tuples(map(tuple, pairs), names=["row", CATEGORY])
        return pd.DataFrame(out, index=index, columns=list(COLUMNS))

    @property
    def categories(self) -> tuple[str, ...]:
        """The labels of the categories whose probabilities were predicted; empty for everything else."""
        known = self.tree["predictions"].coords
        return tuple(map(str, known[CATEGORY].to_numpy())) if CATEGORY in known else ()

    def _check_order(self, what: str) -> None:
        if not settings_of(self).get("order", True):
            raise ValueError(
                f"{what} is not defined for categories without an order; to_frame() has their probabilities"
            )

    def numbers(self) -> "Predictions":
        """Return the expected number of the category, 1 ... K, in place of probabilities; itself if there are none.

        Raises
        ------
        ValueError
            The categories have no order.
        """
        if not self.categories:
            return self
        self._check_order("the number of a category")
        found = self.tree["predictions"].to_dataset()
        counted = (found[self.kind] * (np.arange(len(self.categories)) + 1.0)).sum(CATEGORY).to_dataset(name=self.kind)
        tree = xr.DataTree.from_dict({"predictions": counted.drop_vars(CATEGORY, errors="ignore")})
        tree.attrs.update(self.tree.attrs)
        return replace(self, tree=tree)

    def plot(self, ax=None, cumulative: bool = False):
        """Draw the predictions with their intervals, and probabilities of categories stacked.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw if there is one panel; a new figure if not given.
        cumulative : bool
            Of categories, whether to draw the probabilities of each and those below, with 95 % intervals.

        Returns
        -------
        Plot
            Of `predictions_plot.plot_predictions` or `categories_plot.plot_categories` in `bayesmm.posterior`.

        Raises
        ------
        ValueError
            There is no row to draw, there are several panels for `ax`, or no categories to cumulate.
        """
        if not len(self.labels):
            raise ValueError("there is nothing to draw: the predictions have no rows")
        if cumulative and self.categories:
            self._check_order("the probability of a category or a lower one")
        if self.categories:
            return plot_categories(self, ax, cumulative)
        if cumulative:
            raise ValueError("cumulative=True is for probabilities of categories, and these predictions have none")
        return plot_predictions(self, ax)

    def __str__(self) -> str:
        chains, draws, rows = self.draws.shape[:3]
        head = f"Predictions ({self.kind}) of {rows:,} rows from {chains * draws:,} draws; intervals 95 % equal-tailed"
        return f"{head}\n{self.to_frame().to_string(max_rows=20)}"

    __repr__ = __str__


def table_of(design, data: object) -> pd.DataFrame:
    """Return the columns of a table, of those that the model uses; of the fit's own rows where it is None."""
    if data is None:
        hidden = (design.response, ROW) if design.responses else (design.response,)
        return design.frame.drop(columns=[name for name in design.frame if name in hidden])
    if design.responses:
        table = stacked_again(open_table(data), design.formula)
        own = {str(name): j for j, name in enumerate(table.names) if name in design.frame and name != ROW}
        return pd.DataFrame({name: table.read(j) for name, j in own.items()})
    there = {str(name) for name in open_table(data).names}
    names = design.X.sums.sample if is_summed(design) else design.frame
    return pd.DataFrame({name: np.asarray(data[name]) for name in names if name in there})
