"""Plain text for a terminal: numbers with sensible digits, names made safe and kept whole, columns that line up."""

import math
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import zip_longest

from bayesmm.runtime.arguments import is_real

LINE_WIDTH = 100  # columns; what the printed tables may take
NAME_WIDTH = 200  # columns of a name: those of people are shorter; a level may be 10 kB long
WORD_WIDTH = 60  # columns of a word in a sentence: a name out of the data may be 10 kB long
NAME_LEAST = 16  # columns; a table is wider than a line before its names get fewer, and a name goes on below
NAME_ENDS = " :,]_-./|"  # after one of these a name goes on in the next line
CONTINUED = "  "  # before what goes on
TAIL = 0.4  # of a name that is cut: its end
ROW_LIMIT = 20  # rows of one printed table, so that a summary still fits a screen; the data frames have them all
DIGITS = 4  # significant digits of the smallest number of a column, as R's summaries print them
FIXED_WIDTH = 12  # a column of fixed-point numbers wider than this is printed number by number instead
SMALLEST_P = 2.0**-52  # R's format.pval prints no smaller p-value
SCIENTIFIC_BELOW = 1e-4  # p-values below are printed with an exponent
CEILED = 1e-9  # of a last digit: what was rounded up before is not again
MORE_DIGITS = 15  # beyond those asked for, to tell two numbers apart: as many as a double has
BLANK = ""  # what a missing number prints as
WHOLE = 1e15  # up to which whole numbers are themselves


def value_text(value: object) -> str:
    """Return a value of a column as tables and figures show it: whole numbers whole, others with six digits."""
    if not is_real(value):
        return str(value)
    whole = math.isfinite(value) and float(value).is_integer() and abs(value) < WHOLE
    return f"{float(value):.0f}" if whole else f"{float(value):.6g}"


def width(text: str) -> int:
    """Return how many terminal columns `text` takes: East Asian wide characters take two, combining marks none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def shorten(text: object, limit: int = NAME_WIDTH) -> str:
    """Return `text` in at most `limit` columns of printable characters, its middle left out where it is longer.

    Line breaks and control characters (which could move the cursor or colour a terminal) are shown as escapes.
    """
    text = str(text)
    if len(text) <= limit and width(printable(text)) <= limit:
        return printable(text)
    tail = int(TAIL * (limit - 3))
    end = fitting(printable(text[-limit:])[::-1], tail)[::-1]  # names mostly differ at their ends
    return f"{fitting(printable(text[:limit]), limit - 3 - tail)}...{end}"


def printable(text: str) -> str:
    """Return a text with escapes in place of the characters that cannot be printed."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def fitting(text: str, limit: int) -> str:
    """Return the beginning of a text that fits into so many columns."""
    taken = 0
    for kept, character in enumerate(text):
        taken += width(character)
        if taken > limit:
            return text[:kept]
    return text


def decimals_for(values: Iterable[float], digits: int = DIGITS) -> int:
    """Return the decimals that show the smallest non-zero value with `digits` significant digits (0 at least)."""
    sizes = [abs(v) for v in values if math.isfinite(v) and v != 0]
    return max(0, digits - 1 - math.floor(math.log10(min(sizes)))) if sizes else 0


def number(value: float, decimals: int) -> str:
    """Return `value` with this many decimals, a missing value as a blank and a rounded -0 as 0."""
    if math.isnan(value):
        return BLANK
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def apart(value: float, limit: float, digits: int = 2, kind: str = "f", up: bool = False) -> tuple[str, str]:
    """Return a value and the limit it is held against, with digits enough that they read the same only if they are.

    Parameters
    ----------
    value, limit : float
    digits : int
        Of the value, where they are far apart.
    kind : {"f", "g", "%"}
        Decimals, significant digits, or decimals of a percentage; the limit is shown without zeros at its end.
    up : bool
        Round the value up, as `ceiled` does with R-hat: of "f".
    """
    for more in range(digits, digits + MORE_DIGITS):
        shown = math.ceil(value * 10**more - CEILED) / 10**more if up and math.isfinite(value) else value
        texts = f"{shown:.{more}{kind}}", f"{limit:.{more}{kind}}"
        if texts[0] != texts[1] or value == limit:
            break
    number, sign = (texts[1][:-1], "%") if kind == "%" else (texts[1], "")
    return texts[0], (number.rstrip("0").rstrip(".") if "." in number else number) + sign


def column(values: Sequence[float], digits: int = DIGITS, scale: Iterable[float] | None = None) -> list[str]:
    """Return the numbers of one column with common decimals, so that their points line up.

    Parameters
    ----------
    values : sequence of float
        The numbers; NaN is printed as a blank.
    digits : int
        Significant digits of the smallest number of `scale`.
    scale : iterable of float, optional
        The numbers that set the decimals (the standard errors, say); `values` if not given, or if none is above 0.
    """
    known = [] if scale is None else [size for size in scale if size > 0]
    decimals = decimals_for(known or values, digits)
    texts = [number(v, decimals) for v in values]
    if max((len(t) for t in texts), default=0) <= FIXED_WIDTH:
        return texts
    return [BLANK if math.isnan(v) else f"{v:.{digits + 1}g}" for v in values]


def p_text(p: float) -> str:
    """Return a p-value, ``<2e-16`` below the rounding unit as R prints it, a missing one as a blank."""
    if math.isnan(p):
        return BLANK
    return "<2e-16" if p < SMALLEST_P else f"{p:.2e}" if p < SCIENTIFIC_BELOW else f"{p:.4f}"


def count(value: float) -> str:
    """Return a whole number with thousands separators, a missing one as a blank."""
    return BLANK if math.isnan(value) else f"{math.floor(value):,}" if math.isfinite(value) else str(value)


def pad(text: str, columns: int, left: bool) -> str:
    """Return `text` filled with blanks to this many terminal columns."""
    fill = " " * (columns - width(text))
    return text + fill if left else fill + text


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Return the lines of a table, its first `left` columns aligned to the left and the others to the right.

    Names go on in a next line where the table would be wider than `LINE_WIDTH`; rows after `ROW_LIMIT` are counted.

    Parameters
    ----------
    headers, rows : sequences of text
        One text per column; every row as long as the headers.
    left : int
        Number of columns of names.
    """
    shown = [list(headers), *map(list, rows[:ROW_LIMIT])]
    limits = name_limits([max(map(width, cells)) for cells in zip(*shown, strict=True)], left)
    parts = [[broken(cell, limits[j]) if j < left else [cell] for j, cell in enumerate(row)] for row in shown]
    widths = [max(width(part) for cell in cells for part in cell) for cells in zip(*parts, strict=True)]
    lines = [
        " " + " ".join(pad(cell, widths[j], j < left) for j, cell in enumerate(line)).rstrip()
        for row in parts
        for line in zip_longest(*row, fillvalue="")
    ]
    hidden = len(rows) - ROW_LIMIT
    return lines + ([f" ... and {hidden:,} more"] if hidden > 0 else [])


def name_limits(widths: Sequence[int], left: int) -> list[int]:
    """Return the widths of a table's columns, the longest of names made narrower until it fits."""
    excess = sum(widths) + len(widths) - LINE_WIDTH
    longest = max(range(left), key=widths.__getitem__, default=0)
    if excess <= 0 or left == 0 or widths[longest] <= NAME_LEAST:
        return list(widths)
    second = max([widths[j] for j in range(left) if j != longest], default=0)
    limit = max(NAME_LEAST, widths[longest] - excess, min(second, widths[longest] - 1))
    return name_limits([limit if j == longest else own for j, own in enumerate(widths)], left)


def broken(name: str, limit: int) -> list[str]:
    """Return a name in lines of at most so many columns, which end where a part of it ends if there is such a place."""
    lines, before = [], ""
    while width(before + name) > limit:
        most = fitting(name, limit - len(before))
        at = max(most.rfind(end) for end in NAME_ENDS) + 1
        at = at if at > len(most) // 2 else len(most)
        lines.append(before + name[:at])
        name, before = name[at:], CONTINUED
    return [*lines, before + name]


def wrap(text: str, indent: str = "  ", first: str = "") -> list[str]:
    """Return a sentence as lines of at most `LINE_WIDTH` columns, the first starting with `first`, others indented.

    Words are made printable, and cut where one alone would not fit the line.
    """
    lines, line = [], first
    for word in (shorten(word, WORD_WIDTH) for word in text.split()):
        blank = "" if line in (first, indent) else " "
        if blank and width(line) + 1 + width(word) > LINE_WIDTH:
            lines.append(line)
            line, blank = indent, ""
        line += blank + word
    return [*lines, line]


def ceiled(r_hat: float) -> str:
    """Return R-hat with three decimals, rounded up, so that what is printed is never better than what is true."""
    return f"{math.ceil(r_hat * 1000 - CEILED) / 1000:.3f}" if math.isfinite(r_hat) else ""
