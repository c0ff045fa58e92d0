"""What figures of a table have in common that draw lines along a number where they can, and a row for each row else."""

import pandas as pd

LINE_POINTS = 3  # values of a number from which they make a line
PANELS = 12  # of lines, at most
TALL, ROW = 9.0, 0.24  # inches of the longest figure, and of a row
LABELLED_ROWS = 40  # rows that still have room for their names


def makes_a_line(column: pd.Series) -> bool:
    """Return whether a column is a number with values enough for a line."""
    return column.dtype.kind in "iuf" and column.nunique() >= LINE_POINTS


def rows_high(rows: int) -> float:
    """Return the inches of a figure of so many rows."""
    return min(TALL, ROW * rows + 0.9)
