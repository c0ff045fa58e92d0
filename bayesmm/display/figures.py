"""The pieces that every figure is made of: a grid of axes, a key, a title, safe text, grey inks."""

import io
import textwrap

import numpy as np

from bayesmm.display.text_tables import shorten, width

INK, GREY, LIGHT, ACCENT = "#1a1a1a", "#808080", "#d4d4d4", "#b2182b"  # without colour the accent is a dark grey
CHAIN_STYLES = ("-", "--", ":", "-.")  # chains are told apart without colour
CHAIN_INKS = ("#000000", "#d55e00", "#0072b2", "#888888")  # Okabe & Ito's palette, also for the colour-blind
DPI = 150
PADDING = 0.07  # inches around each panel: a title must not read as the name of the axis above it
LABEL_WIDTH = 34  # columns of a name in a figure
TITLE_LETTERS = 11.5  # letters of a title that an inch has room for
AXIS_LETTERS = 14.0  # of the name of an axis
TAIL = 0.4  # of a name that is cut: its end


def plain(text: object, limit: int = LABEL_WIDTH) -> str:
    """Return a name as text that Matplotlib shows as it is: short, no mathematics, no leading underscore.

    A pair of ``$`` starts mathematics (and raises if that is wrong); a legend leaves out labels that start with ``_``.
    """
    safe = cut(str(text), limit).replace("$", r"\$")
    return f" {safe}" if safe.startswith("_") else safe


def cut(text: str, limit: int) -> str:
    """Return a name in at most `limit` columns, cut in its middle: levels and terms mostly differ at their ends."""
    tail = int(TAIL * (limit - 3))
    head = limit - 3 - tail
    ends = text[:head], text[-tail:]
    if len(text) <= limit or not all(end.isprintable() and width(end) == len(end) for end in ends):
        return shorten(text, limit)
    return "...".join(ends)


def panels(count: int, wide: float, high: float, columns: int = 3):
    """Return a figure and `count` axes without frames, `columns` in a row, each of this size in inches; (count,)."""
    import matplotlib.pyplot as plt  # here: importing bayesmm must not load it

    columns = 2 if count == 4 and columns > 2 else min(count, columns)  # four panels are two rows of two
    rows = -(-count // columns)
    size = (wide * columns + 0.4, high * rows + 1.0)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    figure.get_layout_engine().set(h_pad=PADDING, w_pad=PADDING)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
        ax.xaxis.label.set_size(9)
    for ax in axes.flat[count:]:
        ax.set_visible(False)
    return figure, axes.ravel()[:count]


def key(figure, entries: dict[str, tuple[str, str]]) -> None:
    """Draw one legend under all panels: label -> (how it is drawn, colour).

    How: a line style, a marker, "s" for a shaded area, "band" for a thick line or "|-|" for a line between two ends.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = []
    for label, (how, colour) in entries.items():
        if how == "s":
            handles.append(Patch(color=colour, label=plain(label, 80)))
        elif how == "band":
            handles.append(Line2D([], [], color=colour, linewidth=5, label=plain(label, 80)))
        elif how == "|-|":
            handles.append(Line2D([], [], color=colour, linewidth=1.2, marker="|", label=plain(label, 80)))
        elif how in CHAIN_STYLES:
            handles.append(Line2D([], [], color=colour, linestyle=how, linewidth=1.6, label=plain(label, 80)))
        else:
            handles.append(Line2D([], [], linestyle="none", label=plain(label, 80), **marker(how, colour)))
    columns = max(1, min(len(handles), int(figure.get_figwidth() // 1.9)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)


def marker(how: str, colour: str) -> dict[str, object]:
    """Return the look of a marker: diamonds (point estimates) are hollow, so that what is under them is seen."""
    hollow = {"markerfacecolor": "white", "markeredgewidth": 1.5} if how == "D" else {"markerfacecolor": colour}
    return {"marker": how, "markersize": 6, "markeredgecolor": colour, **hollow}


def title(figure, text: str, subtitle: str = "") -> None:
    """Write a title over all panels, in as many lines as it needs, with the model under it."""
    width = int(TITLE_LETTERS * figure.get_figwidth())
    lines = textwrap.wrap(text, width) + ([plain(subtitle, min(100, width))] if subtitle else [])
    figure.suptitle("\n".join(lines), fontsize=11, x=0.02, ha="left")


def per(term: str) -> str:
    """Return the unit of a random term: that of the response, per unit of a slope."""
    return "" if term == "Intercept" else f" per unit of {plain(term)}"


def name_axes(ax, x: str = "", y: str = "") -> None:
    """Name the axes of a panel, in as many lines as its size asks for."""
    grid, inches = ax.get_subplotspec().get_gridspec(), ax.figure.get_size_inches()
    across, up = (
        int(AXIS_LETTERS * size / count) for size, count in zip(inches, (grid.ncols, grid.nrows), strict=True)
    )
    ax.set_xlabel("\n".join(textwrap.wrap(x, across, break_long_words=False)), fontsize=9)
    ax.set_ylabel("\n".join(textwrap.wrap(y, up, break_long_words=False)), fontsize=9)


def label_edges(axes, x: str, y: str, shared: bool = False) -> None:
    """Name the axes of a grid at its edges: the lowest panel of each column, the first of each row.

    With `shared` scales the others have no numbers either.
    """
    lowest = {ax.get_subplotspec().colspan.start: ax for ax in axes}  # in order: the last of a column stays
    for ax in axes:
        bottom, first = ax in lowest.values(), ax.get_subplotspec().colspan.start == 0
        name_axes(ax, x if bottom else "", y if first else "")
        if shared:
            ax.tick_params(labelbottom=bottom, labelleft=first)


def chain_ink(chain: int) -> dict[str, object]:
    """Return the line of a chain: four styles and inks, repeated after four."""
    return {"color": CHAIN_INKS[chain % len(CHAIN_INKS)], "linestyle": CHAIN_STYLES[chain % len(CHAIN_STYLES)]}


def view(ax, values: np.ndarray, extra: list[float]) -> None:
    """Show all but the outermost draws (1 in 1,000 of each side), and these values too."""
    low, high = np.quantile(values, [0.001, 0.999])
    finite = [value for value in extra if np.isfinite(value)]
    low, high = min([low, *finite]), max([high, *finite])
    margin = 0.03 * (high - low)
    ax.set_xlim(low - margin, high + margin)


def png(figure) -> bytes:
    """Return a figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()
