"""The figures of `bayesmm.reporting.plots` as pictures inside a page: SVG where that is small, else WebP."""

import base64
import io
from collections.abc import Callable

from bayesmm.display.figures import DPI
from bayesmm.display.html_tables import Figure
from bayesmm.runtime.extras import need_plots

SVG_POINTS = 4_000  # of all lines and areas; up to here sharp lines at any size are worth more than a smaller file
LOSSLESS_POINTS = 6_000  # of noise, as the draws of chains are, a raster without loss would be large
QUALITY = 80  # of 100, where detail is given up: chosen by eye on traces of chains
PIXELS = 96  # CSS pixels of an inch


def picture(draw: Callable[[], object], caption: str, alt: str) -> Figure:
    """Draw a figure, close it, and return it as a picture.

    Parameters
    ----------
    draw : function
        Draws and returns a Plot, as every function of `bayesmm.reporting.plots` does.
    caption, alt : str
        See `Figure`. What is read begins with the figure's own title, which says what was found.
    """
    plt = need_plots()  # here: importing bayesmm must not load it
    figure = draw().figure
    try:
        kind, data = encoded(figure)
        width, height = (round(PIXELS * inches) for inches in figure.get_size_inches())
        heading = figure.get_suptitle().split("\n")
    finally:
        plt.close(figure)
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
    return Figure(caption, f"{spoken(heading)}. {alt}", source, width, height)


def spoken(heading: list[str]) -> str:
    """Return the title of a figure as text, without the escapes that keep Matplotlib from reading mathematics."""
    return " ".join(" ".join(heading).replace(r"\$", "$").split())


def encoded(figure) -> tuple[str, bytes]:
    """Return the kind of a picture ("svg+xml" or "webp") and its bytes."""
    figure.draw_without_rendering()  # places everything; each file would else do it again, which takes the most time
    figure.set_layout_engine("none")
    points = count_points(figure)
    if points <= SVG_POINTS:
        return "svg+xml", drawn(figure, "svg")
    how = {"lossless": True, "method": 1} if points <= LOSSLESS_POINTS else {"quality": QUALITY, "method": 2}
    return "webp", drawn(figure, "webp", dpi=DPI, pil_kwargs=how)


def count_points(figure) -> int:
    """Return the number of points of the lines and areas of a figure."""
    lines = sum(len(line.get_xdata()) for ax in figure.axes for line in ax.lines)
    areas = (path for ax in figure.axes for drawn in ax.collections for path in drawn.get_paths())
    return lines + sum(len(path.vertices) for path in areas)


def drawn(figure, kind: str, **more: object) -> bytes:
    """Return a figure as a file: of an SVG letters are shapes, so that no font is needed. Same figure, same bytes."""
    from matplotlib import rc_context

    buffer = io.BytesIO()
    metadata = {"metadata": {"Date": None, "Creator": None}} if kind == "svg" else {}
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": "bayesmm"}):
        figure.savefig(buffer, format=kind, **metadata, **more)
    return buffer.getvalue()
