"""What a page is made of, as plain data: tables of text, figures, remarks. The templates only set it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayesmm.display.text_tables import column, number, p_text, shorten

NAME_WIDTH = 200  # characters of a name on a page; a level may be 10 kB long
TEXT_WIDTH = 20_000  # of a formula: the most that the grammar takes
MISSING = "–"
DIGITS = 4  # significant digits of the smallest number of a column
INTERVAL = "95 % interval"


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes
    ----------
    caption : str
    headers : tuple of str
        One for each column; the first column holds the names of the rows.
    rows : tuple of tuple of str
    words : frozenset of int
        Columns of words, which are set to the left; the first is one.
    sentences : frozenset of int
        Those of them that hold whole sentences, and must not become too narrow to read.
    marked : frozenset of int
        Rows to look at first: a failed check, a parameter that did not converge, a disagreement.
    """

    caption: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: frozenset[int] = frozenset({0})
    sentences: frozenset[int] = frozenset()
    marked: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Figure:
    """A picture inside the page.

    Attributes
    ----------
    caption, alt : str
        What stands under it, and what is read where it cannot be seen.
    source : str
        A ``data:`` address with the whole picture.
    width, height : int
        In CSS pixels.
    """

    caption: str
    alt: str
    source: str
    width: int
    height: int


def name(text: object, limit: int = NAME_WIDTH) -> str:
    """Return a name for a page: printable characters only, cut where it is longer than `limit`."""
    return shorten(text, limit)


def filled(texts: Sequence[str]) -> list[str]:
    """Return the texts with a dash for each missing number."""
    return [text or MISSING for text in texts]


def frame_table(frame: pd.DataFrame, caption: str, first: str = "") -> Table:
    """Return a data frame as a table, its index as the first column; whole numbers and p-values as such.

    Parameters
    ----------
    frame : DataFrame
    caption : str
    first : str
        Header of the column of row names.
    """
    columns = [[name(label) for label in frame.index]]
    words = {0}
    for place, header in enumerate(frame.columns, start=1):
        values = frame[header]
        if not pd.api.types.is_numeric_dtype(values):
            words.add(place)
        columns.append(cells(values, str(header)))
    headers = (first, *(name(header) for header in frame.columns))
    return Table(caption, headers, tuple(zip(*columns, strict=True)), frozenset(words))


def cells(values: pd.Series, header: str) -> list[str]:
    """Return the cells of one column of a data frame."""
    if not pd.api.types.is_numeric_dtype(values):
        return [MISSING if pd.isna(value) else name(value) for value in values]
    numbers = values.to_numpy(dtype=float)
    if header == "p" or header.startswith(("p_", "Pr(")):
        return filled([p_text(p) for p in numbers])
    finite = numbers[np.isfinite(numbers)]
    if len(finite) and (finite == np.round(finite)).all():
        return filled([number(value, 0) for value in numbers])
    return filled(column(numbers, DIGITS))
