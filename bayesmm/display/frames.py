"""Data frames that print all that they hold of a row, and results that are printed from a data frame."""

import shutil

import pandas as pd

ROWS, FEWEST = 60, 20  # of which some are printed where there are more; and how many then


class Tabled:
    """A result whose numbers are a data frame, `table`."""

    table: pd.DataFrame

    def to_frame(self) -> pd.DataFrame:
        """Return a copy of `table`, by the name that predictions and tables have for theirs."""
        return self.table.copy()


class WholeFrame(pd.DataFrame):
    """A data frame whose print leaves out no column and cuts no name; where it is wider than the line it goes on below.

    pandas prints "..." for what it leaves out, of a table of tests perhaps the degrees of freedom. What is made from it
    is an ordinary data frame.
    """

    def __repr__(self) -> str:
        line = shutil.get_terminal_size().columns
        with pd.option_context("display.max_colwidth", None):
            return self.to_string(max_rows=ROWS, min_rows=FEWEST, line_width=line)

    def _repr_html_(self) -> str:
        with pd.option_context("display.max_columns", None, "display.max_colwidth", None):
            return super()._repr_html_()
