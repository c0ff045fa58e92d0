"""The pieces that every figure is made of: a grid of axes, a key, a title, safe text, grey inks."""

import functools
import io
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bayesmm.display.text_tables import broken, shorten
from bayesmm.runtime.extras import need_plots

INK, GREY, LIGHT, ACCENT = "#1a1a1a", "#808080", "#d4d4d4", "#b2182b"  # without colour the accent is a dark grey
CHAIN_STYLES = ("-", "--", ":", "-.")  # chains are told apart without colour
CHAIN_INKS = ("#000000", "#d55e00", "#0072b2", "#888888")  # Okabe & Ito's palette, also for the colour-blind
DPI = 150
PADDING = 0.07  # inches around each panel: a title must not read as the name of the axis above it
LABEL_WIDTH = 34  # columns of a name in a figure
TITLE_LETTERS = 11.5  # letters of a title that an inch has room for
AXIS_LETTERS = 14.0  # of the name of an axis
HEADING_LENGTH, SUBTITLE_LENGTH = 200, 300  # characters of a name over a panel, and of a formula under a title
LEAST_ACROSS = 16  # characters in a line over a panel
BELOW = -0.2  # where a legend begins under axes that were given, in heights of them
INNER, OUTER = (0.025, 0.975), (0.001, 0.999)  # probabilities of what is always in view, and of all that may be
NEAR_ZERO = 0.5  # of the range of counts that is shown: how far 0 may be below it for the axis to begin there; ours
REACH = 0.75  # of the inner interval: how far view goes on each side of it, where the outer one goes farther


@dataclass(frozen=True, eq=False, repr=False)
class Plot:
    """What every plot returns: a figure of Matplotlib with its axes, to be changed, shown or saved.

    ``plot[0]`` is the first of the axes, and a loop goes over all of them.

    Attributes
    ----------
    figure : matplotlib.figure.Figure
    axes : (n,) array of matplotlib.axes.Axes
        Those with data in them, in the order in which they are read.
    """

    figure: object
    axes: np.ndarray

    def save(self, path: str | Path, dpi: int = DPI) -> Path:
        """Write the figure to a file of the kind that its name ends with, and return its path; folders are made."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.figure.savefig(path, dpi=dpi)
        return path

    def __getitem__(self, which: object) -> object:
        return self.axes[which]

    def __iter__(self) -> Iterator[object]:
        return iter(self.axes)

    def __len__(self) -> int:
        return len(self.axes)

    def __repr__(self) -> str:
        return f"Plot({len(self)} panel{'s' * (len(self) != 1)}; .figure, .axes, .save(path))"


def drawn[Function: Callable](function: Function) -> Function:
    """Return the function with its axes, one or an array, as a Plot."""

    @functools.wraps(function)
    def plotting(*args: object, **options: object) -> Plot:
        axes = np.ravel(function(*args, **options))
        return Plot(axes[0].figure, axes)

    return plotting


def plain(text: object, limit: int = LABEL_WIDTH) -> str:
    """Return a name as text that Matplotlib shows as it is: short, no mathematics, no leading underscore.

    A pair of ``$`` starts mathematics (and raises if that is wrong); a legend leaves out labels that start with ``_``.
    """
    safe = shorten(text, limit).replace("$", r"\$")
    return f" {safe}" if safe.startswith("_") else safe


def panels(count: int, wide: float, high: float, columns: int = 3, ax=None):
    """Return a figure and `count` axes without frames, `columns` in a row, each of this size in inches; (count,).

    Given an `ax`, it is the only one, and stands in place of the figure too, for `key` and `title`.
    """
    plt = need_plots()  # here: importing bayesmm must not load it
    if ax is not None:
        check_axes(ax)
        return ax, bare_frames(np.array([ax]))
    columns = 2 if count == 4 and columns > 2 else min(count, columns)  # four panels are two rows of two
    rows = -(-count // columns)
    size = (wide * columns + 0.4, high * rows + 1.0)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    figure.get_layout_engine().set(h_pad=PADDING, w_pad=PADDING)
    for spare in axes.flat[count:]:
        spare.set_visible(False)
    return figure, bare_frames(axes.ravel()[:count])


def check_axes(ax: object) -> None:
    """Raise a TypeError for what is no Axes, such as the array that ``plt.subplots(1, 2)`` gives."""
    if not isinstance(ax, need_plots("matplotlib.axes").Axes):
        raise TypeError(f"ax should be one of Matplotlib's Axes, such as plt.subplots()[1], not {type(ax).__name__}")


def bare_frames(axes: np.ndarray) -> np.ndarray:
    """Return axes without the upper and the right side of their frames."""
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
        ax.xaxis.label.set_size(9)
    return axes


def heading(ax, text: str, size: float = 10, **more: object) -> None:
    """Write the title of a panel, a name out of the data perhaps, whole and in as many lines as it needs."""
    across = int(TITLE_LETTERS * inches(ax)[0] * 10 / size)
    text = plain(text, HEADING_LENGTH)
    ax.set_title("\n".join(broken(text, max(across, LEAST_ACROSS))), fontsize=size, loc="left", **more)


def inches(ax) -> tuple[float, float]:
    """Return about how wide and how high the place of a panel is."""
    wide, high = ax.figure.get_size_inches()
    place = ax.get_subplotspec()
    grid = (1, 1) if place is None else (place.get_gridspec().ncols, place.get_gridspec().nrows)
    return wide / grid[0], high / grid[1]


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
    columns, look = max(1, min(len(handles), int(figure.figure.get_figwidth() // 1.9))), dict(frameon=False, fontsize=8)
    if figure.figure is not figure:  # the axes that somebody has given, in a figure of their own
        figure.legend(handles=handles, loc="upper left", bbox_to_anchor=(0, BELOW), **look)
    else:
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, **look)


def marker(how: str, colour: str) -> dict[str, object]:
    """Return the look of a marker: diamonds (point estimates) are hollow, so that what is under them is seen."""
    hollow = {"markerfacecolor": "white", "markeredgewidth": 1.5} if how == "D" else {"markerfacecolor": colour}
    return {"marker": how, "markersize": 6, "markeredgecolor": colour, **hollow}


def title(figure, text: str, subtitle: str = "", notes: Sequence[str] = ()) -> None:
    """Write a title over all panels, in as many lines as it needs, with the model and then sentences under it."""
    if figure.figure is not figure:
        heading(figure, text)
        return
    width = int(TITLE_LETTERS * figure.get_figwidth())
    lines = textwrap.wrap(text, width) + (broken(plain(subtitle, SUBTITLE_LENGTH), width) if subtitle else [])
    lines += [line for note in notes for line in textwrap.wrap(plain(note, SUBTITLE_LENGTH), width)]
    figure.suptitle("\n".join(lines), fontsize=11, x=0.02, ha="left")


def per(term: str) -> str:
    """Return the unit of a random term: that of the response, per unit of a slope."""
    return "" if term == "Intercept" else f" per unit of {plain(term)}"


def name_axes(ax, x: str = "", y: str = "") -> None:
    """Name the axes of a panel, in as many lines as its size asks for."""
    across, up = (int(AXIS_LETTERS * size) for size in inches(ax))
    ax.set_xlabel("\n".join(textwrap.wrap(x, across, break_long_words=False)), fontsize=9)
    ax.set_ylabel("\n".join(textwrap.wrap(y, up, break_long_words=False)), fontsize=9)


def label_edges(axes, x: str, y: str, shared: bool = False) -> None:
    """Name the axes of a grid at its edges: the lowest panel of each column, the first of each row.

    With `shared` scales the others have no numbers either.
    """
    if len(axes) == 1:
        name_axes(axes[0], x, y)
        return
    lowest = {ax.get_subplotspec().colspan.start: ax for ax in axes}  # in order: the last of a column stays
    for ax in axes:
        bottom, first = ax in lowest.values(), ax.get_subplotspec().colspan.start == 0
        name_axes(ax, x if bottom else "", y if first else "")
        if shared:
            ax.tick_params(labelbottom=bottom, labelleft=first)


def chain_ink(chain: int) -> dict[str, object]:
    """Return the line of a chain: four styles and inks, repeated after four."""
    return {"color": CHAIN_INKS[chain % len(CHAIN_INKS)], "linestyle": CHAIN_STYLES[chain % len(CHAIN_STYLES)]}


def begin_at_zero(limits: Callable, ends: tuple[float, float]) -> None:
    """Let an axis of counts begin at 0 if that is near to the least of what it shows; `limits` sets its two ends."""
    if 0 <= ends[0] <= NEAR_ZERO * (ends[1] - ends[0]):
        limits(0.0)


def finite_ends(*values: np.ndarray) -> tuple[float, float]:
    """Return the least and the greatest of all finite values; 0 and 1 if there is none."""
    known = np.concatenate([np.ravel(np.asarray(some, dtype=float)) for some in values])
    known = known[np.isfinite(known)]
    return (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)


def off_the_edge(values: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    """Return the values with infinite ones beyond the ends of what is shown, where a band can be drawn to."""
    far = ends[1] - ends[0] or 1.0
    return np.clip(np.asarray(values, dtype=float), ends[0] - far, ends[1] + far)


def view(ax, values: np.ndarray, extra: Sequence[float], ends: Sequence[float] = (), cut: bool = True) -> None:
    """Show all but the outermost draws (1 in 1,000 of each side), the values in `extra`, and those of `ends`.

    If `cut`, of a heavy tail and of `ends` only the part near the 95 % interval: an arrow at the edge says how far they
    go on.
    """
    outer, inner = np.quantile(values, OUTER), np.quantile(values, INNER)
    there, beyond = ([value for value in some if np.isfinite(value)] for some in (extra, ends))
    ends = [min([outer[0], *there, *beyond]), max([outer[1], *there, *beyond])]
    reach = REACH * (inner[1] - inner[0]) if cut else np.inf
    low, high = min([max(ends[0], inner[0] - reach), *there]), max([min(ends[1], inner[1] + reach), *there])
    margin = 0.03 * (high - low)
    ax.set_xlim(low - margin, high + margin)
    for end, edge, arrow, side in ((ends[0], low, "\u25c0 {}", "left"), (ends[1], high, "{} \u25b6", "right")):
        if end != edge:
            at = 0.01 if side == "left" else 0.99
            text = arrow.format(f"to {end:.3g}")
            ax.text(at, 0.02, text, transform=ax.transAxes, fontsize=7, color=GREY, ha=side, va="bottom")


def png(figure) -> bytes:
    """Return a figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()
